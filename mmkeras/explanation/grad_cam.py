"""Where in a picture a convolutional network found what it answers.

References:
    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2016,
    arXiv:1610.02391.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.explanation.attribution import Asked
from mmkeras.network.graph import Graph, traced

tf = lazy("tensorflow")
keras = lazy("keras")

NAME = "Grad-CAM"


class GradCam:
    """Grad-CAM of one column: the last convolution's channels, each by its mean slope, as far as they speak for f.

    L = relu(sum over c of mean over h, w of df / dA[h, w, c] * A[h, w, c]), resized to the picture. It has no unit.

    Args:
        graph: The model's.
        column: Whose `encode` passes pictures through convolutions.
        shape: Of its attributions: (H, W), or (N, H, W) of several pictures.
    """

    def __init__(self, graph: Graph, column: str, shape: tuple[int, ...]):
        self.graph, self.shape = graph, shape
        self.map = _last_map(graph, column)
        self.fixed = graph.beside([self.map])
        self._prepare = traced(self._maps)
        self._heat = traced(self._compute)

    def __call__(
        self, features: Mapping[str, Mapping[str, np.ndarray]], encoded: Sequence[Any], asked: Asked
    ) -> np.ndarray:
        """(R, *shape) of rows' features and what they are encoded to."""
        maps, fixed = self._prepare(features, list(encoded))
        asked = {target: factors.astype(np.float32) for target, factors in asked.items()}
        return self._heat(maps, fixed, asked).numpy()

    def _maps(self, features: Any, encoded: list[Any]) -> tuple[Any, list[Any]]:
        maps, *fixed = self.graph.run(self.graph.values(features, encoded), [self.map, *self.fixed])
        return maps, fixed

    def _compute(self, maps: Any, fixed: list[Any], asked: Mapping[str, Any]) -> Any:
        known = {id(tensor): value for tensor, value in zip(self.fixed, fixed, strict=True)}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(maps)
            targets = sorted(asked)
            predictions = self.graph.run(known | {id(self.map): maps}, [self.graph.outputs[each] for each in targets])
            explained = [
                tf.reduce_sum(tf.cast(prediction, tf.float32) * asked[target])
                for target, prediction in zip(targets, predictions, strict=True)
            ]
        slopes = tape.gradient(explained, maps, unconnected_gradients="zero")
        channels = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
        heat = tf.cast(tf.nn.relu(tf.reduce_sum(channels * maps, axis=-1, keepdims=True)), tf.float32)
        return tf.reshape(tf.image.resize(heat, self.shape[-2:]), (-1, *self.shape))


def _last_map(graph: Graph, column: str) -> Any:
    """What the last convolution that sees this column alone gives, after its normalization and activation."""
    columns = graph.columns_of()
    nodes = [node for node in graph.nodes if columns[id(node.outputs[0])] == {column}]
    last = next(node.outputs[0] for node in reversed(nodes) if _convolves(node.operation))
    alike = [node.outputs[0] for node in graph.after([last]) if tuple(node.outputs[0].shape) == tuple(last.shape)]
    return alike[-1] if alike else last


def _convolves(operation: Any) -> bool:
    within = getattr(operation, "layers", [operation])  # a network of keras.applications is one operation
    return any(isinstance(layer, keras.layers.Conv2D) for layer in within)
