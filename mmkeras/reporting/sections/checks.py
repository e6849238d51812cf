"""Whether the explanations hold: deletion, remainders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mmkeras.reporting import charts
from mmkeras.reporting.charts import Axes, Line
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.common import UNIT, finite


def checks_part(results: Results) -> list[dict[str, Any]]:
    """What was found when explanations were tested: one entry a column and method."""
    if not results.explanation:
        return []
    return [
        {
            "column": column,
            "method": method,
            "deletion": (checks or {}).get("deletion") or {},
            "chart": _deletion(column, method, (checks or {}).get("deletion") or {}),
        }
        for column, methods in sorted((results.explanation.at("checks") or {}).items())
        for method, checks in (methods or {}).items()
    ]


def _deletion(column: str, method: str, deletion: Mapping[str, Any]) -> Markup | None:
    curve = deletion.get("curve")
    if not curve:
        return None
    lines = [
        Line("most important first", curve["share"], finite(curve["attribution"])),
        Line("in random order", curve["share"], finite(curve["random"]), style="dashed"),
    ]
    title = f"{column}, {method}: what is left of the answer"
    return charts.chart(title, lines, Axes("share that is taken away", "explained number", UNIT))
