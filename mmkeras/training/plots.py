"""Pictures of a run: the model, the curves, what is confused with what."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.contracts.scorer import Scorer
from mmkeras.network.network import Network

BOX = {"boxstyle": "round,pad=0.5", "facecolor": "#eef3fa", "edgecolor": "#4a6a94"}
ARROW = {"arrowstyle": "-|>", "color": "#4a6a94", "shrinkA": 4, "shrinkB": 4}
BOX_WIDTH, LINE_HEIGHT, GAP = 4.8, 0.155, 0.8  # inches
VERDICT_COLORS = {"chosen": "#1b5e20", "better": "#6a1b9a", "tied": "#4a6a94", "worse": "#b0533c"}
COLUMNS_IN_A_ROW = 5
MOST_CURVES = 8
PLUMBING = (
    "Add",
    "Beside",
    "Cast",
    "ExpandDims",
    "Maximum",
    "Mean",
    "Multiply",
    "Ones",
    "Stack",
    "Subtract",
    "Sum",
    "Transpose",
    "TrueDivide",
    "NotEqual",
    "GetItem",
    "OnesLike",
    "Dropout",
    "SpatialDropout1D",
    "Activation",
    "Reshape",
    "InputLayer",
)


def draw_model(network: Network, path: Path) -> None:
    """Each branch's layers from its features to its vector, what joins them, and the targets or what else is found."""
    model, branches = network.model, {name: network.branches[name].model.layers for name in network.trained_branches}
    answers = [layer for layer in model.layers if type(layer).__name__ == "Answer"]
    own = network.terms.keys() - network.unanswered.keys() - {layer.name for layer in answers}
    seen = {*(branch.model for branch in network.branches.values()), *answers}
    joined = [layer for layer in model.layers if layer not in seen and layer.name.removesuffix("_raw") not in own]
    stacks = [[name, "", *_lines(layers)] for name, layers in branches.items()]
    rows = [stacks[start : start + COLUMNS_IN_A_ROW] for start in range(0, len(stacks), COLUMNS_IN_A_ROW)]
    trunk, bottom = _lines(joined), [*(layer.name for layer in answers), *network.unanswered]
    if own:
        bottom.append(f"and {len(own)} predictions of single columns, each with a loss of its own")
    heights = [LINE_HEIGHT * max(map(len, row)) + 0.5 for row in rows]
    width = BOX_WIDTH * len(rows[0])
    figure, axes = _canvas(width, sum(heights) + LINE_HEIGHT * (len(trunk) + len(bottom)) + 2 * GAP + 0.5)
    below = axes.get_ylim()[1]
    for row, height in zip(rows, heights, strict=True):
        for i, stack in enumerate(row):
            _box(axes, (i + 0.5) * BOX_WIDTH, below - 0.2, stack)
        below -= height
    starts = [
        ((i + 0.5) * BOX_WIDTH, below + heights[0] - LINE_HEIGHT * len(stack) - 0.4) for i, stack in enumerate(stacks)
    ]
    for start in starts if len(rows) == 1 else [(width / 2, below)]:
        axes.annotate("", (width / 2, below - GAP + 0.1), start, arrowprops=ARROW)
    _box(axes, width / 2, below - GAP, trunk)
    below -= GAP + LINE_HEIGHT * len(trunk) + 0.2
    axes.annotate("", (width / 2, below - GAP + 0.3), (width / 2, below), arrowprops=ARROW)
    _box(axes, width / 2, below - GAP + 0.2, bottom)
    _save(figure, path)


def draw_history(history: Mapping[str, list[float]], shown: Mapping[str, tuple[str, str]], path: Path) -> None:
    """The figures of {title: (name on training rows, on validation rows)}, epoch by epoch."""
    figure, all_axes = _subplots(len(shown), width=5.0, height=3.5)
    for axes, (title, (trained, judged)) in zip(all_axes, shown.items(), strict=True):
        epochs = range(1, len(history[trained]) + 1)
        axes.plot(epochs, history[trained], label="training (augmented)")
        axes.plot(epochs, history[judged], label="validation")
        axes.set(xlabel="epoch", title=title)
        axes.legend()
        axes.grid(alpha=0.3)
    _save(figure, path)


def draw_answers(scorer: Scorer, targets: np.ndarray, predictions: np.ndarray, title: str, path: Path) -> None:
    """What a scorer shows of right and wrong answers: for classes, the confusion matrix."""
    figure, (axes,) = _subplots(1, width=8.0, height=7.0)
    scorer.plot(targets, predictions, axes)
    axes.set_title(title)
    _save(figure, path)


def picture_of_answers(scorer: Scorer, targets: np.ndarray, predictions: np.ndarray, title: str) -> np.ndarray:
    """What `draw_answers` draws as (H, W, 4) uint8, small, for a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, (axes,) = _subplots(1, width=8.0, height=7.0)
    figure.set_dpi(65)
    scorer.plot(targets, predictions, axes)
    axes.set_title(title)
    canvas = FigureCanvasAgg(figure)
    with _missing_glyphs_unsaid():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def draw_confidence(judged: Mapping[str, Any], title: str, path: Path) -> None:
    """Reliability, ROC, precision and recall, accuracy and coverage, as `evaluation.json` holds a target."""
    figure, axes = _subplots(4, width=4.2, height=4.2)
    _draw_reliability(axes[0], judged["calibration"])
    _draw_curves(axes[1], axes[2], judged["curves"] or [])
    _draw_coverage(axes[3], judged["coverage"])
    for each in axes:
        each.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        each.grid(alpha=0.3)
        if each.get_legend_handles_labels()[0]:
            each.legend(fontsize="x-small", loc="best")
    figure.suptitle(title)
    _save(figure, path)


def draw_comparison(
    names: Sequence[str],
    means: np.ndarray,
    intervals: np.ndarray,
    verdicts: Sequence[str],
    metric: str,
    title: str,
    path: Path,
) -> None:
    """(V,) means and their (V, 2) intervals, the first at the top, coloured as they stand beside the chosen one."""
    figure, (axes,) = _subplots(1, width=8.0, height=1.6 + 0.3 * len(names))
    places = range(len(names), 0, -1)
    colors = [VERDICT_COLORS.get(verdict, "#8a8a8a") for verdict in verdicts]
    axes.hlines(places, intervals[:, 0], intervals[:, 1], color=colors, linewidth=3, alpha=0.5)
    for verdict, color in VERDICT_COLORS.items():
        rows = [i for i, each in enumerate(verdicts) if each == verdict]
        if rows:
            axes.plot(means[rows], [places[i] for i in rows], "o", color=color, label=verdict)
    if "chosen" in verdicts:
        axes.axvline(means[list(verdicts).index("chosen")], color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, names)
    axes.set(title=title, xlabel=metric)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(title="beside the chosen one", loc="best", fontsize="small")
    _save(figure, path)


def _draw_reliability(axes: Any, calibration: Mapping[str, Any]) -> None:
    bins = calibration["bins"]
    x, y = [each["confidence"] for each in bins], [each["accuracy"] for each in bins]
    off = [[a - each["low"] for a, each in zip(y, bins, strict=True)], [e["high"] - e["accuracy"] for e in bins]]
    axes.plot((0, 1), (0, 1), color="gray", linestyle="--")
    axes.errorbar(x, y, yerr=[[max(value, 0) for value in side] for side in off], fmt="o-", capsize=3)
    axes.set(
        xlabel="stated probability",
        ylabel="share that came true",
        title=f"reliability (off by {calibration['ece']:.3f})",
    )


def _draw_curves(roc_axes: Any, precision_axes: Any, curves: Sequence[Mapping[str, Any]]) -> None:
    """Of the classes that are told apart worst, where there are many."""
    shown = sorted(curves, key=lambda curve: curve["roc"]["area"])[:MOST_CURVES]
    for curve in shown:
        name, roc, both = curve["class"], curve["roc"], curve["precision_recall"]
        label = f"{name} ({roc['area']:.3f})"
        roc_axes.plot(roc["false_positive_rate"], roc["true_positive_rate"], label=label)
        label = f"{name} ({both['average_precision']:.3f})"
        precision_axes.plot(both["recall"], both["precision"], label=label)
    worst = f", the worst {len(shown)} of {len(curves)}" if len(shown) < len(curves) else ""
    roc_axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC (area){worst}")
    precision_axes.set(xlabel="recall", ylabel="precision", title=f"precision, recall (average){worst}")


def _draw_coverage(axes: Any, coverage: Mapping[str, Any] | None) -> None:
    axes.set(xlabel="share of rows answered", ylabel="accuracy on them", title="answered automatically")
    if coverage is None:
        return
    axes.plot([point["coverage"] for point in coverage["curve"]], [point["accuracy"] for point in coverage["curve"]])
    axes.axhline(coverage["wanted"], color="gray", linestyle="--", linewidth=0.8)
    if coverage["accuracy"] is not None:
        label = f"confidence {coverage['confidence']:.2f} or more"
        axes.plot(coverage["coverage"], coverage["accuracy"], "o", color="#b0533c", label=label)


def _lines(layers: list[Any]) -> list[str]:
    """What each layer is, its output's shape, how many weights it has; layers that only rearrange are left out."""
    shown = [layer for layer in layers if type(layer).__name__ not in PLUMBING]
    return [f"{_title(layer):<32}{_shape(layer):>14}{_weights(layer):>11}" for layer in shown]


def _title(layer: Any) -> str:
    kind = type(layer).__name__
    if kind in ("Dense", "Softmax") and not layer.name.startswith(kind.lower()):
        return f"{kind} {layer.name}"
    return f"{kind}({type(layer.forward_layer).__name__})" if hasattr(layer, "forward_layer") else kind


def _shape(layer: Any) -> str:
    output = layer.output
    first = output[0] if isinstance(output, list | tuple) else output
    return " x ".join(str(size) for size in first.shape[1:]) or "1"


def _weights(layer: Any) -> str:
    count = layer.count_params() if hasattr(layer, "count_params") and layer.weights else 0
    return f"{count:,}" if count else ""


def _subplots(count: int, width: float, height: float) -> tuple[Any, Any]:
    # No pyplot: it would open windows and keep every figure of a long session.
    from matplotlib.figure import Figure

    figure = Figure((width * count, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    """Axes without lines whose unit is the inch."""
    figure, (axes,) = _subplots(1, width, height)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def _box(axes: Any, x: float, top: float, lines: list[str]) -> None:
    text = "\n".join(lines) or "join"
    axes.text(x, top, text, ha="center", va="top", bbox=BOX, family="monospace", size=8, linespacing=1.25)


def _save(figure: Any, path: Path) -> None:
    with _missing_glyphs_unsaid():
        figure.savefig(path, dpi=120, bbox_inches="tight")


@contextlib.contextmanager
def _missing_glyphs_unsaid() -> Iterator[None]:
    """Without a line for each letter that the font lacks, of a column's Chinese name, say; a box stands for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield
