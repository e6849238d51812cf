"""How training went: its curves."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from mmkeras.reporting import charts
from mmkeras.reporting.charts import Axes, Line
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.common import finite, shown_curves
from mmkeras.reporting.summary import metric_words


def training_part(results: Results) -> dict[str, Any]:
    """Curves of losses and metrics, on training and on validation rows."""
    return {"charts": [_curve(title, names, results) for title, names in shown_curves(results).items()]}


def _curve(title: str, names: tuple[str, str], results: Results) -> Markup:
    trained, judged = (finite(results.history[name]) for name in names)
    epochs = list(range(1, len(trained) + 1))
    best = results.metrics.at("training", "best_epoch")
    lines = [
        Line("training rows (augmented)", epochs, trained, style="dashed"),
        Line("validation rows", epochs, judged),
    ]
    axes = Axes(
        "epoch",
        "",
        x_range=(1, max(len(epochs), 2)),
        marks=[(best, f"best: epoch {best}")] if best else [],
        is_whole=True,
    )
    return charts.chart(metric_words(title), lines, axes)
