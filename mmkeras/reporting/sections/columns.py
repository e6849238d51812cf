"""What each column is worth."""

from __future__ import annotations

from typing import Any

from mmkeras.evaluation.models import Model
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.common import shapley_bars


def columns_part(results: Results) -> list[dict[str, Any]]:
    """What each column is worth, target by target, and how far the explanations can be trusted."""
    return [
        {"target": target, "missing": _missing(results, target), "shapley": shapley_bars(results, target)}
        for target in results.targets
    ]


# What columns are worth


def _missing(results: Results, target: str) -> list[dict[str, Any]]:
    """For each column the models without it and with nothing but it; [] where evaluate did not ask."""
    models = [(column, Model("without", column), Model("only", column)) for column in results.columns]
    there = results.scores(target)
    return [
        {"column": column, "without": without, "only": only} for column, without, only in models if without in there
    ]
