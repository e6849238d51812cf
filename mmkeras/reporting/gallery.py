"""Rows to look at: which ones, and each as a card with its cells as their modalities draw them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from mmkeras.base.lazy import lazy
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk
from mmkeras.features.columns import is_missing, table_cells
from mmkeras.reporting.results import Results
from mmkeras.table.paths import read_cell, refusal

pd = lazy("pandas")

LISTED = 10  # of each list: most confident mistakes, least confident rows, likely label errors
LISTS = 10  # more than there are
NUMBER_BINS = 10  # rows with numbers for truth are dealt into so many ranges, to show some of each
CELL_BYTES = 400_000  # one drawn cell takes no more of the page
MISSING = "missing"


@dataclass(frozen=True)
class Drawing:
    """A cell as it is shown.

    Attributes:
        html: Drawn by its modality; "" where it could not be.
        note: What stands in its place: missing, no such file …
        method: Which attribution is drawn over it; "" for none.
    """

    html: Markup
    note: str = ""
    method: str = ""


@dataclass(frozen=True)
class Card:
    """One row of the gallery.

    Attributes:
        place: Among the judged rows, from 0.
        row: Its number among the judged rows, by which the page names it.
        number: Its number in the table that they are from, by which a person finds it.
        status: What `predict` would say: ok, missing: photo …
        targets: {target: {truth, answer, confidence, right, loss, suspect, should_be}}.
        cells: {column: its drawings, the first to be shown at once}.
        worth: {target: {answer, explained, prior, columns: {column: {value, weight}}}} of the Shapley values.
    """

    place: int
    row: int
    number: int
    status: str
    targets: Mapping[str, Mapping[str, Any]]
    cells: Mapping[str, Sequence[Drawing]]
    worth: Mapping[str, Mapping[str, Any]]


def order(results: Results) -> np.ndarray:
    """(R,) places of all judged rows, those first that a reader should see most.

    Rows that a list names come first, then one of each cell of the confusion matrix, mistakes before right answers,
    then a second one of each, and so on; explained rows come before others of the same cell.
    """
    rows = results.rows
    is_explained = np.isin(np.arange(len(rows)), list(results.explained))
    ranks = np.full(len(rows), np.inf)
    for target in results.targets:
        mine = target_rows(rows, target)
        ranks = np.minimum(ranks, _ranks(mine, is_explained))
        for i, places in enumerate(lists(mine).values()):
            ranks[places] = np.minimum(ranks[places], i - LISTS)
    loss = np.max([target_rows(rows, target)["loss"].fillna(0) for target in results.targets], axis=0)
    return np.lexsort([-loss, ~is_explained, ranks])


def target_rows(rows: pd.DataFrame, target: str) -> pd.DataFrame:
    """One target's columns of the judged rows: truth, answer, confidence, right, loss, suspect, should_be."""
    names = ("truth", "answer", "confidence", "right", "loss", "suspect", "should be")
    columns = {name.replace(" ", "_"): rows.get(f"{target} {name}", pd.Series(None, rows.index)) for name in names}
    for name in columns:
        if name in ("confidence", "loss", "suspect"):
            columns[name] = pd.to_numeric(columns[name], errors="coerce")
        else:  # None where a value is not known: pandas' own NA can be compared with nothing
            values = columns[name].astype(object)
            columns[name] = values.where(values.notna(), None)
    return pd.DataFrame(columns)


def lists(rows: pd.DataFrame) -> dict[str, list[int]]:
    """{what: places of rows}: of one target's judged rows, those that deserve a look, the first most."""
    wrong = rows[(rows["right"] == False) & rows["confidence"].notna()]  # noqa: E712
    ranked = {
        "Most confident mistakes": wrong.sort_values("confidence", ascending=False, kind="stable"),
        "Likely label errors": rows[rows["suspect"].notna()].sort_values("suspect", ascending=False, kind="stable"),
        "Least confident": rows[rows["confidence"].notna()].sort_values("confidence", kind="stable"),
    }
    if rows["confidence"].isna().all():
        off = rows[rows["loss"].notna()].sort_values("loss", ascending=False, kind="stable")
        ranked = {"Furthest from the truth": off} | ranked
    return {what: each.index[:LISTED].tolist() for what, each in ranked.items() if len(each)}


def cards(results: Results, places: Sequence[int]) -> Iterator[Card]:
    """The cards of judged rows, in their order, one at a time."""
    drawn, numbers = _Drawer(results, places), results.numbers_in_table(np.asarray(places, int))
    targets = {target: target_rows(results.rows, target) for target in results.targets}
    for i, place in enumerate(places):
        row = results.rows.iloc[place]
        yield Card(
            place=int(place),
            row=int(row["row"]),
            number=int(numbers[i]),
            status=str(row.get("status") or ""),
            targets={target: _plain(rows.iloc[place]) for target, rows in targets.items()},
            cells={column: drawn.cell(column, i) for column in results.columns},
            worth={target: worth for target in targets if (worth := _worth(results, target, place))},
        )


def _ranks(rows: pd.DataFrame, is_explained: np.ndarray) -> np.ndarray:
    """(R,) which row of its cell of the confusion matrix each is; half a step later for right answers."""
    numbers = pd.to_numeric(rows["truth"], errors="coerce")
    if rows["right"].isna().all() and numbers.notna().any():
        cell = pd.qcut(numbers, NUMBER_BINS, labels=False, duplicates="drop").fillna(-1)
    else:
        cell = rows["truth"].astype(str) + "\0" + rows["answer"].astype(str)
    is_right = (rows["right"] == True).to_numpy()  # noqa: E712
    # Of right answers a fair sample, of mistakes the gravest first
    shuffled = np.random.default_rng(0).permutation(len(rows))
    within = np.where(is_right, shuffled, -rows["loss"].fillna(-np.inf))
    sorted_cells = cell.iloc[np.lexsort([within, ~is_explained])]
    rank = sorted_cells.groupby(sorted_cells).cumcount().sort_index().to_numpy()
    return rank + 0.5 * is_right


def _plain(row: pd.Series) -> dict[str, Any]:
    """A row's values as JSON holds them."""
    return {
        name: None if pd.isna(value) else getattr(value, "item", lambda v=value: v)() for name, value in row.items()
    }


class _Drawer:
    """Draws cells of chosen rows, by reading them again from the table."""

    def __init__(self, results: Results, places: Sequence[int]):
        self._results, self._places = results, list(places)
        manifest, self._why = results.judged_cells(np.array(self._places, int))
        modalities = results.schema.columns
        there = {} if manifest is None else {name: each for name, each in modalities.items() if name in manifest.rows}
        self._values = table_cells(manifest, there) if there else {}

    def cell(self, column: str, i: int) -> list[Drawing]:
        """A cell of the i-th chosen row, once for each attribution, or plain."""
        if column not in self._values:
            return [Drawing(Markup(""), self._why or "the table has no such column any more")]
        value, modality = self._values[column].iloc[i], self._results.schema.columns[column]
        if not value:
            return [Drawing(Markup(""), MISSING)]
        try:
            cell = read_cell(modality, value)
        except (ValueError, OSError) as error:
            refused = refusal(value)
            return [Drawing(Markup(""), f"{refused[0]}: {refused[1]}" if refused else f"cannot be read: {error}")]
        if _is_nothing(cell):
            return [Drawing(Markup(""), MISSING)]
        wanted = self._attributions(column, self._places[i]) or [("", None)]
        return [_draw(modality, cell, attribution, method) for method, attribution in wanted]

    def _attributions(self, column: str, place: int) -> list[tuple[str, np.ndarray]]:
        """(method, attribution) of a row's cell; the target is named where there are several."""
        if place not in self._results.explained:
            return []
        explained, row = self._results.explained[place]
        held = explained.attributions
        several = len({target for target, _, _ in held}) > 1
        mine = [key for key in held if key[1] == column and np.isfinite(held[key][row]).all()]
        mine.sort(key=lambda key: self._area(column, key[2]))
        return [
            (f"{method}, {target}" if several else method, held[target, column, method][row])
            for target, _, method in mine
        ]

    def _area(self, column: str, method: str) -> float:
        """What is left of the answer when the method's most important parts go first: the less, the better it is."""
        area = self._results.explanation.at("checks", column, method, "deletion", "most_important_first")
        return np.inf if area is None else area


def _is_nothing(cell: Any) -> bool:
    """Whether a cell that has text says that there is nothing: nan, n/a."""
    if isinstance(cell, str):
        return not cell
    return is_missing(np.asarray(cell, object) if isinstance(cell, list) else cell)


def _draw(modality: Modality, cell: Any, attribution: np.ndarray | None, method: str) -> Drawing:
    html = modality.draw(cell) if attribution is None else modality.draw(cell, attribution, method)
    if len(html) > CELL_BYTES:
        return Drawing(Markup(""), f"too large to be shown here ({len(html) / 1e6:.1f} MB)")
    return Drawing(Markup(html), method=method)


def _worth(results: Results, target: str, place: int) -> dict[str, Any]:
    """The Shapley values of a row's columns; {} where it was not explained."""
    explained, row = results.explained.get(place, (None, 0))
    table = explained.shapley if explained else None
    if table is None:
        return {}
    number = explained.rows[row]
    mine = table[(table["row"] == number) & (table["target"] == target)]
    if mine.empty:
        return {}
    columns = {
        str(each.column): {"value": float(each.value), "weight": None if pd.isna(each.weight) else float(each.weight)}
        for each in mine.itertuples()
    }
    first = mine.iloc[0]
    return {
        "answer": str(first["answer"]),
        "explained": float(first["explained"]),
        "prior": float(first["prior"]),
        "columns": dict(walk(columns)),
    }
