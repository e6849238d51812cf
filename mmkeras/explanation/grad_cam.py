"""Where in a picture a convolutional network found what it answers.

References:
    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2016,
    arXiv:1610.02391.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.explanation.attribution import Asked, quantity
from mmkeras.explanation.coalitions import Coalitions
from mmkeras.network.graph import BranchGraph, traced
from mmkeras.network.network import Encodings

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")

NAME = "Grad-CAM"


class GradCam:
    """Grad-CAM of one column: the last convolution's channels, each by its mean slope, as far as they speak for f.

    L = relu(sum over c of mean over h, w of df / dA[h, w, c] * A[h, w, c]), resized to the picture. It has no unit.

    Args:
        coalitions: The network's, with what is asked among its outputs.
        column: Whose model passes pictures through convolutions.
        shape: Of its attributions: (H, W), or (N, H, W) of several pictures.
    """

    def __init__(self, coalitions: Coalitions, column: str, shape: tuple[int, ...]):
        self.coalitions, self.shape = coalitions, shape
        self.branch = coalitions.network.branch_of(column)
        graph = BranchGraph(coalitions.network.branches[self.branch].model)
        last = _last_map(graph)
        self._maps, self._onwards = graph.until(last), graph.onwards([last])
        self._heat = traced(self._compute)

    def __call__(
        self, features: Mapping[str, Mapping[str, np.ndarray]], encoded: Encodings, asked: Asked
    ) -> np.ndarray:
        """(R, *shape) of rows' features and what all columns are encoded to."""
        asked = {target: factors.astype(np.float32) for target, factors in asked.items()}
        return self._heat(self.coalitions.features_of(self.branch, features), encoded, asked).numpy()

    def _compute(self, features: Mapping[str, Any], encoded: Encodings, asked: Mapping[str, Any]) -> Any:
        maps = self._maps(features, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(maps)
            own = self.coalitions.read_of(self.branch, self._onwards([maps], features))
            predictions = self.coalitions.joint({**encoded, self.branch: own}, training=False)
            explained = tf.reduce_sum(quantity(predictions, asked))
        slopes = tape.gradient(explained, maps, unconnected_gradients="zero")
        channels = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
        heat = tf.cast(tf.nn.relu(tf.reduce_sum(channels * maps, axis=-1, keepdims=True)), tf.float32)
        return tf.reshape(tf.image.resize(heat, self.shape[-2:]), (-1, *self.shape))


def _last_map(graph: BranchGraph) -> Any:
    """What the last convolution gives, after its normalization and activation."""
    last = next(each.output for each in reversed(graph.operations) if _convolves(each))
    alike = [each.output for each in graph.after(last) if getattr(each.output, "shape", None) == last.shape]
    return alike[-1] if alike else last


def _convolves(operation: Any) -> bool:
    within = operation.network.layers if isinstance(operation, layers.nested.Nested) else [operation]
    return any(isinstance(layer, keras.layers.Conv2D) for layer in within)
