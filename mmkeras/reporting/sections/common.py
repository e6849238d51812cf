"""What several sections share: ranges, curves, Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmkeras.contracts.fusion import own_prediction
from mmkeras.reporting import charts
from mmkeras.reporting.results import Results

SPLITS = ("train", "valid", "test", "unused")
CURVES_SHOWN = charts.COLORS
UNIT = (0.0, 1.0)


# Settings


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """{dotted name: value as YAML has it} of nested settings; those of a chain's encoders stand by number."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {str(i): each for i, each in enumerate(value)}
        if isinstance(value, dict) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = "null" if value is None else str(value)
    return flat


# The training


def shown_curves(results: Results) -> dict[str, tuple[str, str]]:
    """{title: (name on training rows, on validation rows)} of the history's figures, without those of single columns.

    A single target's own loss is shown, not the sum of it and the columns'; `val_loss` is what chooses the epoch.
    """
    history, targets = results.history, list(results.heads)
    owns = tuple(own_prediction(target, column) for target in targets for column in results.columns)
    names = [name for name in history if f"val_{name}" in history and not name.startswith(owns)]
    losses = [f"{target}_loss" for target in targets if f"{target}_loss" in names]
    if losses and "loss" in names:
        names.remove("loss")
    pairs = {name: (name, f"val_{name}") for name in names}
    if len(targets) == 1 and losses and "val_loss" in history:
        pairs[losses[0]] = losses[0], "val_loss"
    titles = {name: name.removeprefix(f"{targets[0]}_") if len(targets) == 1 else name for name in pairs}
    order = sorted(pairs, key=lambda name: (not titles[name].endswith("loss"), name))
    return {titles[name]: pairs[name] for name in order}


def finite(numbers: Sequence[float | None]) -> list[float | None]:
    return [number if number is not None and np.isfinite(number) else None for number in numbers]


# A target's results


def range_of(judged: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """From where to where intervals of a metric are drawn."""
    ends = [end for each in judged["models"] for end in each["intervals"].get(metric) or []]
    values = [each["scores"].get(metric) for each in judged["models"]]
    known = [value for value in [*ends, *values] if value is not None]
    if known and min(known) >= 0 and max(known) <= 1:
        return UNIT
    return (min(known), max(known)) if known else UNIT


def shapley_bars(results: Results, target: str) -> dict[str, Any] | None:
    """The columns by their mean absolute Shapley value."""
    told = results.explanation.at("targets", target) if results.explanation else None
    if not told or not told.get("columns"):
        return None
    worth = told["columns"]
    ordered = sorted(worth, key=lambda column: -(worth[column].get("mean_absolute") or 0))
    ends = [worth[column].get("interval") or [worth[column].get("mean_absolute")] for column in ordered]
    most = max((abs(end) for pair in ends for end in pair if end is not None), default=1.0) or 1.0
    weighed = any(worth[column].get("weight") is not None for column in ordered)
    return {"told": told, "columns": ordered, "most": most, "weighed": weighed}
