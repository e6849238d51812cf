"""Two runs on the same rows: which is better, how sure that is, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mmkeras.base import run_files, statistics
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say, show_table, warn
from mmkeras.base.words import words
from mmkeras.contracts.registry import walk
from mmkeras.evaluation.judging import Said, bootstrapped, plain, row_columns
from mmkeras.evaluation.rows import JudgedRows, trained_rows
from mmkeras.evaluation.tables import SHOWN_ROWS, cell_table, range_of, shortened
from mmkeras.network.inference import predict_rows
from mmkeras.table.manifest import require_columns
from mmkeras.table.plan import said_of
from mmkeras.training.run import Run

pd = lazy("pandas")

MOST_ROWS = 100  # of numbers, which differ in every row


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        run: The run.
        said: {target: what it says of the rows}.
    """

    run: Run
    said: Mapping[str, Said]


def check_pair(run: Run, other: Run, rows: JudgedRows) -> Run:
    """Refuses a second run that cannot be judged on the first one's rows; returns it.

    Raises:
        ValueError: It was trained on another table or on some of these rows, is not finished, or predicts other things.
    """
    if not other.is_done:
        raise ValueError(f"{other.folder}: training is not finished; give the train command again to go on")
    schema = other.schema
    if not set(schema.targets) & set(run.schema.targets):
        ours, theirs = (", ".join(sorted(each.schema.targets)) for each in (run, other))
        raise ValueError(f"{other.folder}: predicts {theirs}, and {run.folder} {ours}; expected a target of both")
    remedy = "name a table of rows that trained neither"
    if rows.table is None and not other.is_own(run.table()):
        raise ValueError(f"{other.folder}: was trained on another table than {run.folder}; {remedy}")
    require_columns(rows.manifest, [*schema.columns, *sorted(set(schema.targets) & set(run.schema.targets))])
    trained = trained_rows(other, rows)
    if rows.table is None and trained.any():
        got = f"{trained.sum()} of the {rows.name} of {run.folder} trained it"
        raise ValueError(f"{other.folder}: {got}, so they cannot judge it; {remedy}")
    if trained.any():
        warn(f"{rows.manifest.name}: {trained.sum()} of {len(rows)} rows trained {other.folder}; figures of it flatter")
    return other


def show_against(first: Side, other: Run, rows: JudgedRows, statuses: pd.Series) -> dict[str, Any]:
    """Judges the second run on the rows of the first, shows and writes how they differ."""
    second = _asked(other, rows, set(first.said))
    targets, tables = {}, []
    for target in sorted(set(first.said) & set(second)):
        pair = first.said[target], second[target]
        targets[target] = plain(_compared(*pair, rows.units))
        differ = _differing(target, *pair, rows, statuses)
        targets[target]["rows_that_differ"] = len(differ)
        tables.append(differ)
        _show(target, first.run, other, targets[target], differ, rows)
    names = {"first": str(first.run.folder), "second": str(other.folder)}
    judged = {"name": rows.name, "count": len(rows), "groups": rows.group}
    comparison = {"runs": names, "rows": judged, "targets": targets}
    file, rows_file = (first.run.folder / run_files.against(other.name, ending) for ending in (".json", ".csv"))
    first.run.write_json(file.name, comparison)
    pd.concat(tables, ignore_index=True).to_csv(rows_file, index=False)
    say(f"differences: {file}; the rows on which they differ: {rows_file}")
    return comparison


def _asked(run: Run, rows: JudgedRows, targets: set[str]) -> dict[str, Said]:
    """What the second run says of the targets of both."""
    schema = run.schema
    predictions, _ = predict_rows(run.network(), schema, rows.manifest)
    answers = {}
    for target, head in walk(schema.targets):
        if target in targets:
            truth = said_of(rows.manifest, target, partial(head.encode_target, rows.manifest.rows[target]))
            answers[target] = Said(head.scorer, truth, predictions[target])
    return answers


def _compared(first: Said, second: Said, units: np.ndarray) -> dict[str, Any]:
    """Figures of both, and differences with intervals on the same resampled rows."""
    known = first.known & second.known
    pair, units = {"first": first.of(known), "second": second.of(known)}, units[known]
    scores = {name: said.score for name, said in pair.items()}
    compared: dict[str, Any] = {"rows": int(known.sum()), "scores": scores, "differences": {}, "mcnemar": None}
    if not known.any():
        return compared
    samples = bootstrapped({name: partial(_resampled, said) for name, said in pair.items()}, units)
    for name in [name for name in scores["first"] if name in scores["second"]]:
        difference = scores["first"][name] - scores["second"][name]
        interval = statistics.interval(samples["first"][name] - samples["second"][name])
        is_given = len(np.unique(units)) > 1 and np.isfinite(interval[0])
        compared["differences"][name] = {"difference": difference, "interval": interval if is_given else None}
    right = [said.scorer.right(said.truth, said.predictions) for said in pair.values()]
    if all(each is not None for each in right):
        compared["mcnemar"] = statistics.mcnemar(*right)
    return compared


def _resampled(said: Said, weights: np.ndarray) -> dict[str, np.ndarray]:
    return said.scorer.resampled(said.truth, said.predictions, weights)


def _differing(target: str, first: Said, second: Said, rows: JudgedRows, statuses: pd.Series) -> pd.DataFrame:
    """The rows that are answered otherwise, with all cells; of numbers those where one is much further off."""
    cells = rows.manifest.rows
    columns = [row_columns(said, cells[target], rows.is_new) for said in (first, second)]
    count = len(rows)
    frame = pd.DataFrame({
        "row": np.arange(1, count + 1),
        "table_row": pd.array([pd.NA] * count if rows.table_row is None else rows.table_row, dtype="Int64"),
        "status": statuses.to_numpy(object), "target": target, "truth": columns[0]["truth"],
    })  # fmt: skip
    for name in ("answer", "confidence", "right", "loss"):
        for side, told in zip(("first", "second"), columns, strict=True):
            frame[f"{side} {name}"] = told[name]
    frame = pd.concat([frame, cells.rename(columns=lambda name: f"cell {name}")], axis=1)
    if first.scorer.class_names is not None:
        return frame[frame["first answer"] != frame["second answer"]]
    apart = (frame["first loss"] - frame["second loss"]).abs()
    return frame.loc[apart[apart > 0].sort_values(ascending=False, kind="stable").index[:MOST_ROWS]]


def _show(
    target: str, run: Run, other: Run, compared: Mapping[str, Any], differ: pd.DataFrame, rows: JudgedRows
) -> None:
    lines = [
        (words(name), *(compared["scores"][side][name] for side in ("first", "second")), f"{each['difference']:+.3f}",
         range_of(each["interval"]))
        for name, each in compared["differences"].items()
    ]  # fmt: skip
    header = ("figure", _name(run, other), _name(other, run), "difference", "95 % interval")
    show_table(f"{target}, {rows.name}: {_name(run, other)} against {_name(other, run)}", header, lines)
    if compared["mcnemar"]:
        one, two, p = compared["mcnemar"].values()
        say(
            f"{target}: {one} rows are right with {_name(run, other)} only, {two} with {_name(other, run)} only; two "
            f"equally good models differ as much with a probability of {p:.3g} (McNemar's exact test)"
        )
    if len(differ):
        shown = differ.sort_values("first loss", ascending=False, kind="stable").head(SHOWN_ROWS)
        cells = cell_table(rows.manifest.rows, sorted(run.config.columns)).loc[shown.index]
        names = ("row", "truth", "first answer", "second answer")
        lines = [
            (*map(shortened, told), *cell)
            for told, cell in zip(
                shown[list(names)].itertuples(index=False), cells.itertuples(index=False), strict=True
            )
        ]
        show_table(f"{target}: {len(differ)} rows on which they differ", (*names, *cells.columns), lines)


def _name(run: Run, beside: Run) -> str:
    return run.name if run.name != beside.name else str(run.folder)
