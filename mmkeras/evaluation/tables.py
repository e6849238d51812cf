"""What `evaluate` shows on the terminal; the files hold all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say, show_table
from mmkeras.base.words import words
from mmkeras.evaluation.models import OWN, models_in

pd = lazy("pandas")

SHOWN_CLASSES = 20
SHOWN_PARTS = 8
SHOWN_ROWS = 3
SHOWN_COLUMNS, SHOWN_CHARACTERS = 3, 28


def show_figures(title: str, judged: Mapping[str, Any]) -> None:
    """The figures of the run's model with their intervals, and those of each class.

    Args:
        title: Whose figures of what rows.
        judged: A target's part of `evaluation.json`.
    """
    own = models_in(judged)[OWN]
    rows = [
        (words(name), f"{value:.3f}", range_of(own["intervals"].get(name))) for name, value in own["scores"].items()
    ]
    show_table(title, ("figure", "value", "95 % interval"), rows)
    classes = judged["per_class"] or []
    if 0 < len(classes) <= SHOWN_CLASSES:
        names = ("precision", "recall", "f1")
        lines = [(c["class"], c["rows"], *(figure(c[n], c["intervals"][n]) for n in names)) for c in classes]
        show_table(f"{title}, class by class", ("class", "rows", *names), lines)


def show_parts(title: str, judged: Mapping[str, Any]) -> None:
    """The first figure of each slice, and of each pattern of missing columns where there are several."""
    metric = judged["metric"]
    for column, parts in judged["slices"].items():
        rows = [(shortened(part["value"]) or "(empty)", *_part(part, metric)) for part in parts]
        show_table(f"{title}, by {column}", (column, "rows", words(metric)), rows)
    if len(judged["patterns"]) > 1:
        rows = [(", ".join(part["missing"]) or "nothing", *_part(part, metric)) for part in judged["patterns"]]
        show_table(f"{title}, by what is missing", ("missing", "rows", words(metric)), rows[:SHOWN_PARTS])


def show_confidence(target: str, judged: Mapping[str, Any]) -> None:
    """How far its probabilities can be believed, and how many rows need no person."""
    calibration, coverage = judged["calibration"], judged["coverage"]
    if calibration is not None:
        before = f"{calibration['ece_uncalibrated']:.3f} without its temperature {calibration['temperature']:.2f}"
        say(f"{target}: probabilities are off by {calibration['ece']:.3f} on average ({before})")
    if coverage is None or coverage["chosen_on"] is None:
        return
    wanted = f"{coverage['wanted']:.0%}"
    if coverage["confidence"] is None:
        say(f"{target}: no confidence makes {wanted} right on 20 validation rows or more; a person has to look at all")
        return
    reached = "no row" if coverage["accuracy"] is None else f"{coverage['accuracy']:.1%} of them right"
    say(
        f"{target}: {coverage['coverage']:.0%} of the rows can be answered automatically, those with a confidence of "
        f"{coverage['confidence']:.3f} or more ({wanted} right on the validation rows); here, {reached}"
    )


def show_rows(title: str, target: str, frame: pd.DataFrame, cells: pd.DataFrame) -> None:
    """A few rows that a person should look at, with their cells.

    Args:
        title: What the rows are.
        target: Whose answers.
        frame: As `evaluation_rows.parquet` holds it.
        cells: The same rows' cells, as `cell_table` makes them.
    """
    right, sure = frame[f"{target} right"], frame[f"{target} confidence"]
    if right.notna().any():
        # Ranked before they are chosen: pandas fills a table without rows with those of what is assigned
        mistakes = frame.assign(by=-sure)[(~right).fillna(False).astype(bool)]
        _show_some(f"{title}: most confident mistakes", target, "confidence", mistakes, cells)
        unsure = frame.assign(by=sure)[right.notna()]
        _show_some(f"{title}: least confident rows", target, "confidence", unsure, cells)
        suspect = frame[f"{target} suspect"]
        suspects = frame.assign(by=-suspect)[suspect.notna()]
        many = f"{title}: {len(suspects)} whose {target} may be wrong in the table"
        _show_some(many, target, "should be", suspects, cells)
    else:
        loss = frame[f"{target} loss"]
        worst = frame.assign(by=-loss)[loss.notna()]
        _show_some(f"{title}: furthest off", target, "loss", worst, cells)


def cell_table(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The first columns' cells, shortened, for a line of a table."""
    return pd.DataFrame({column: rows[column].map(shortened) for column in list(columns)[:SHOWN_COLUMNS]})


def shortened(value: Any) -> Any:
    """A text on one line, cut, without what a terminal would obey; anything else as it is."""
    if not isinstance(value, str):
        return value
    line = "".join(letter if letter.isprintable() else "·" for letter in " ".join(value.split()))
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"


def figure(value: float | None, interval: Sequence[float] | None) -> str:
    """`0.970 [0.939, 0.992]`, without the brackets where there is no interval."""
    if value is None:
        return ""
    return f"{value:.3f} {range_of(interval)}".rstrip()


def range_of(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _part(part: Mapping[str, Any], metric: str) -> tuple[int, str]:
    return part["rows"], figure(part["scores"].get(metric), part["intervals"].get(metric))


def _show_some(title: str, target: str, extra: str, rows: pd.DataFrame, cells: pd.DataFrame) -> None:
    if not len(rows):
        return
    rows = rows.sort_values("by", kind="stable").head(SHOWN_ROWS)
    names = ["truth", "answer", extra] if extra != "should be" else ["truth", extra, "suspect"]
    shown = rows[[f"{target} {name}" for name in names]].map(shortened)
    numbers = rows["table_row"].fillna(rows["row"])  # where a person finds it
    lines = [
        (row, *told, *cells.loc[i])
        for i, row, told in zip(rows.index, numbers, shown.itertuples(index=False), strict=True)
    ]
    show_table(title, ("row", *names, *cells.columns), lines)
