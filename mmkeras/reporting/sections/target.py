"""How good one target's answers are: figures, confusions, confidence, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from mmkeras.evaluation.models import PRIOR
from mmkeras.reporting import charts
from mmkeras.reporting.charts import Axes, Line
from mmkeras.reporting.gallery import lists, target_rows
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.common import UNIT, finite, range_of
from mmkeras.reporting.summary import METRICS, form_of, metric_words

MATRIX_CLASSES = 20  # a wider confusion matrix cannot be read
PAIRS_SHOWN = 10
OTHERS, NOT_THERE = "all others", "not there"


def target_part(results: Results, target: str) -> dict[str, Any]:
    """How good the answers to one target are."""
    judged, metric = results.targets[target], results.targets[target]["metric"]
    models = {model: scores for model, scores in results.scores(target).items() if not model.is_what_if}
    metrics = list(dict.fromkeys(name for scores in models.values() for name in scores))
    return {
        "name": target,
        "judged": judged,
        "metric": metric,
        "models": models,
        "metrics": [(name, metric_words(name), METRICS.get(name, ""), form_of(name)) for name in metrics],
        "prior": {} if PRIOR in models else results.prior_scores[target],
        "range": range_of(judged, metric),
        "matrix": _matrix(judged.get("confusion")),
        "per_class": judged.get("per_class") or [],
        "slices": judged.get("slices") or {},
        "patterns": judged.get("patterns") or [],
        "reliability": _reliability(judged.get("calibration")),
        "coverage": _coverage(judged.get("coverage")),
        "curves": _ranking(judged.get("curves")),
        "scatter": _scatter(judged.get("numbers"), target),
        "lists": lists(target_rows(results.rows, target)),
    }


def _matrix(confusion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The confusion matrix, of the classes with the most rows where there are too many to read."""
    if not confusion:
        return None
    classes, counts = list(confusion["classes"]), np.array(confusion["counts"], int)
    if not counts.size:
        return None
    pairs = _confused_pairs(classes, counts)
    left_out = len(classes) - MATRIX_CLASSES
    if left_out > 0:
        kept = np.sort(np.argsort(-(counts.sum(axis=0) + counts.sum(axis=1)), kind="stable")[:MATRIX_CLASSES])
        classes, counts = _gathered(classes, counts, kept)
    return {"classes": classes, "counts": counts.tolist(), "left_out": max(left_out, 0), "pairs": pairs}


def _gathered(classes: Sequence[str], counts: np.ndarray, kept: np.ndarray) -> tuple[list[str | None], np.ndarray]:
    """Every class that is not kept as one more, named None."""
    place = np.full(len(classes), len(kept))
    place[kept] = np.arange(len(kept))
    gathered = np.zeros((len(kept) + 1, len(kept) + 1), int)
    np.add.at(gathered, (place[:, None], place[None, :]), counts)
    return [*(classes[i] for i in kept), None], gathered


def _confused_pairs(classes: Sequence[str], counts: np.ndarray) -> list[tuple[str, str, int]]:
    """(truth, answer, rows) of the most frequent mistakes."""
    off = counts * (1 - np.eye(len(classes), dtype=int))
    best = np.argsort(-off, axis=None, kind="stable")[:PAIRS_SHOWN]
    pairs = [divmod(int(i), len(classes)) for i in best]
    return [(classes[i], classes[j], int(off[i, j])) for i, j in pairs if off[i, j]]


def _reliability(calibration: Mapping[str, Any] | None) -> Markup | None:
    bins = [each for each in (calibration or {}).get("bins") or [] if each["rows"]]
    if not bins:
        return None
    keys = "confidence", "accuracy", "low", "high"
    x, y, low, high = ([each.get(key) for each in bins] for key in keys)
    axes = Axes("confidence that it gives", "share that is right", UNIT, UNIT, diagonal=True)
    return charts.chart(
        "Is 80 % sure right in 80 %?", [Line("judged rows, with 95 % intervals", x, y, low, high, "both")], axes
    )


def _coverage(coverage: Mapping[str, Any] | None) -> Markup | None:
    curve = (coverage or {}).get("curve") or []
    if not curve:
        return None
    x, y = ([each[key] for each in curve] for key in ("coverage", "accuracy"))
    low = min([value for value in y if value is not None], default=0.0)
    wanted = coverage.get("wanted")
    lines = [Line("judged rows", x, y)]
    if wanted is not None:
        lines.append(Line("what is wanted", [0, 1], [wanted, wanted], style="dashed"))
        low = min(low, wanted)
    axes = Axes(
        "share answered automatically", "share of them that is right", UNIT, (min(0.9, np.floor(low * 10) / 10), 1.0)
    )
    return charts.chart("How much can be automatic?", lines, axes)


def _ranking(curves: Sequence[Mapping[str, Any]] | None) -> list[Markup]:
    """ROC and precision-recall curves, a line a class."""
    if not curves:
        return []
    roc = [
        Line(_with_area(each, "roc", "area"), each["roc"]["false_positive_rate"], each["roc"]["true_positive_rate"])
        for each in curves
        if each.get("roc")
    ]
    recall = [
        Line(
            _with_area(each, "precision_recall", "average_precision"),
            each["precision_recall"]["recall"],
            each["precision_recall"]["precision"],
        )
        for each in curves
        if each.get("precision_recall")
    ]
    roc_axes = Axes("false positive rate", "true positive rate", UNIT, UNIT, diagonal=True)
    recall_axes = Axes("recall", "precision", UNIT, UNIT)
    drawn = ("ROC curves (area)", roc, roc_axes), ("Precision and recall (average precision)", recall, recall_axes)
    return [charts.chart(title, lines, axes) for title, lines, axes in drawn if lines]


def _with_area(curve: Mapping[str, Any], part: str, area: str) -> str:
    value = curve[part].get(area)
    return str(curve["class"]) + (f" ({value:.3f})" if value is not None else "")


def _scatter(numbers: Mapping[str, Any] | None, target: str) -> list[Markup]:
    """Predicted against true numbers, and what is left over; one pair of charts for each number of a row."""
    if not numbers or not len(numbers.get("truth") or []):
        return []
    truth, said = (np.array(numbers[key], float).reshape(len(numbers["truth"]), -1) for key in ("truth", "predicted"))
    drawn = []
    for i in range(truth.shape[1]):
        name = target if truth.shape[1] == 1 else f"{target}, number {i + 1}"
        x, y = truth[:, i], said[:, i]
        both = (float(np.nanmin([x, y])), float(np.nanmax([x, y])))
        dots = [Line("", finite(x.tolist()), finite(y.tolist()), style="dots")]
        rest = [Line("", finite(y.tolist()), finite((y - x).tolist()), style="dots")]
        drawn.append(charts.chart(f"{name}: predicted and true", dots, Axes("true", "predicted", both, both, True)))
        drawn.append(charts.chart(f"{name}: how far off", rest, Axes("predicted", "predicted minus true")))
    return drawn
