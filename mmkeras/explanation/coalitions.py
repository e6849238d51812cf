"""What a network says of rows of which only some columns are there: each column is encoded once, then joined often."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.network.graph import traced
from mmkeras.network.network import Encodings, Network

tf = lazy("tensorflow")

STEP_NUMBERS = 4_000_000  # of the columns' encodings go through what joins them at once


class Coalitions:
    """A network's predictions from any of a row's columns.

    What a column is encoded to does not depend on the others, so that of M columns 2 M encodings serve 2^M patterns.

    Args:
        network: Trained.
        outputs: The names of those of its outputs that matter.
    """

    def __init__(self, network: Network, outputs: Collection[str]):
        self.network, self.columns = network, sorted(network.columns)
        self.joint = network.joint(outputs)
        self.outputs: dict[str, Any] = self.joint.output
        self.numbers = sum(math.prod(tensor.shape[1:]) for tensor in tf.nest.flatten(self.joint.input))
        self.encode = traced(self._encodings)
        self._join = traced(self._joined)

    def predictions(
        self, features: Mapping[str, Mapping[str, np.ndarray]], patterns: np.ndarray
    ) -> dict[str, np.ndarray]:
        """{output: (P, B, …)} of rows' features, only the columns of each pattern (P, M) shown, the others missing."""
        there = self.encode(features)
        absent = self.encode(
            {
                column: {name: np.zeros_like(values[:1]) for name, values in each.items()}
                for column, each in features.items()
            }
        )
        count = len(next(iter(features[self.columns[0]].values())))
        at_once = max(1, STEP_NUMBERS // (count * self.numbers))
        parts = [
            self._join(there, absent, tf.constant(patterns[start : start + at_once]))
            for start in range(0, len(patterns), at_once)
        ]
        return {
            name: np.concatenate([part[name].numpy() for part in parts]).reshape(len(patterns), count, -1)
            for name in self.outputs
        }

    def read_of(self, column: str, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Of a column's parts those that are joined."""
        return {name: parts[name] for name in self.joint.input[column]}

    def _encodings(self, features: Any) -> Encodings:
        return {
            column: self.read_of(column, model(dict(features[column]), training=False))
            for column, model in self.network.columns.items()
        }

    def _joined(self, there: Encodings, absent: Encodings, patterns: Any) -> dict[str, Any]:
        chosen = {
            column: {part: _chosen(patterns[:, i], there[column][part], absent[column][part]) for part in there[column]}
            for i, column in enumerate(self.columns)
        }
        return self.joint(chosen, training=False)


def _chosen(is_shown: Any, there: Any, absent: Any) -> Any:
    """(P,), (B, …), (1, …) -> (P * B, …)."""
    is_shown = tf.reshape(is_shown, (-1, *[1] * len(there.shape)))
    values = tf.where(is_shown, there[tf.newaxis], absent[tf.newaxis])
    return tf.reshape(values, tf.concat([[-1], tf.shape(there)[1:]], 0))
