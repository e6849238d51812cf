"""Words of messages: lists, rows, and the nearest of what is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import numpy as np

from mmkeras.base.lazy import lazy

pd = lazy("pandas")

ROWS_SHOWN = 5


def nearest_hint(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def joined(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def rows_where(mask: pd.Series) -> str:
    rows = np.flatnonzero(mask) + 1
    return listed_rows(rows[:ROWS_SHOWN].tolist(), len(rows))


def listed_rows(rows: Iterable[int], row_count: int) -> str:
    numbers = [str(row) for row in rows]
    more = ["…"] * (row_count > len(numbers))
    return f"row{'s' * (row_count > 1)} {', '.join(numbers + more)}"


def count_of(number: int, noun: str) -> str:
    """A number and its noun: "1 fold", "3 folds"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """About how long: "a minute", "12 minutes", "2.5 hours"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return count_of(minutes, "minute") if minutes < 90 else f"{seconds / 3600:.1f} hours"


def words(metric: str) -> str:
    """A metric's name for a terminal: "top 5 accuracy"."""
    return metric.replace("_", " ")
