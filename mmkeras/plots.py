"""Pictures of a run: the model, the curves, what is confused with what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkeras.component import Head

if TYPE_CHECKING:
    import keras
    import numpy as np

BOX = {"boxstyle": "round,pad=0.5", "facecolor": "#eef3fa", "edgecolor": "#4a6a94"}
ARROW = {"arrowstyle": "-|>", "color": "#4a6a94", "shrinkA": 4, "shrinkB": 4}


def draw_model(model: keras.Model, columns: list[str], path: Path) -> None:
    """Each column's layers from its features to its vector, what joins them, and the targets."""
    branches = {column: _upstream(model.get_layer(f"{column}_or_absent")) for column in columns}
    heads = [layer for layer in model.layers if layer.name in model.output_names]
    seen = {layer for branch in branches.values() for layer in branch} | set(heads)
    joined = [layer for layer in model.layers if layer not in seen]
    tallest = max(len(layers) for layers in branches.values())
    figure, axes = _canvas(width=4.2 * len(columns) + 0.4, height=0.30 * (tallest + len(joined) + len(heads)) + 2.8)
    top, middle, bottom = 0.98, 0.16 + 0.02 * len(joined), 0.04
    for i, (column, layers) in enumerate(branches.items()):
        x = (i + 0.5) / len(columns)
        axes.text(x, top, f"{column}\n\n{_listed(layers)}", ha="center", va="top", bbox=BOX, family="monospace", size=8)
        axes.annotate("", (0.5 + 0.15 * (x - 0.5), middle + 0.03), (x, middle + 0.12), arrowprops=ARROW)
    axes.text(0.5, middle, _listed(joined) or "join", ha="center", va="center", bbox=BOX, family="monospace", size=8)
    axes.annotate("", (0.5, bottom + 0.01), (0.5, middle - 0.03), arrowprops=ARROW)
    axes.text(0.5, bottom, _listed(heads), ha="center", va="center", bbox=BOX, family="monospace", size=8)
    _save(figure, path)


def draw_history(history: Mapping[str, list[float]], path: Path) -> None:
    """The loss and each metric, epoch by epoch, on training and validation rows."""
    names = [name for name in history if f"val_{name}" in history]
    figure, all_axes = _subplots(len(names), width=5.0, height=3.5)
    for axes, name in zip(all_axes, names, strict=True):
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], label="training (augmented)")
        axes.plot(epochs, history[f"val_{name}"], label="validation")
        axes.set(xlabel="epoch", title=name)
        axes.legend()
        axes.grid(alpha=0.3)
    _save(figure, path)


def draw_answers(head: Head, targets: np.ndarray, predictions: np.ndarray, title: str, path: Path) -> None:
    """What a head shows of right and wrong answers: for classes, the confusion matrix."""
    figure, (axes,) = _subplots(1, width=8.0, height=7.0)
    head.draw(targets, predictions, axes)
    axes.set_title(title)
    _save(figure, path)


def _upstream(layer: Any) -> list[Any]:
    """The layers that a layer's output depends on, in the order of computation, itself last."""
    found: dict[Any, None] = {}
    waiting = [layer]
    while waiting:
        layer = waiting.pop()
        if layer not in found:
            found[layer] = None
            tensors = [tensor for node in layer._inbound_nodes[:1] for tensor in node.input_tensors]
            waiting += [tensor._keras_history.operation for tensor in tensors]
    return list(reversed(found))


def _listed(layers: list[Any]) -> str:
    """A line a layer that holds weights or changes a shape: what it is, its output's shape, its weights."""
    shown = [layer for layer in layers if type(layer).__name__ not in ("Cast", "NotEqual", "GetItem", "OnesLike", "Dropout")]
    return "\n".join(f"{_title(layer):<24}{_shape(layer):>16}{_weights(layer):>10}" for layer in shown)


def _title(layer: Any) -> str:
    kind = type(layer).__name__
    return layer.name if kind == "InputLayer" else f"{kind}({layer.layer.__class__.__name__})" if hasattr(layer, "layer") else kind


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
    figure, (axes,) = _subplots(1, width, height)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120)
