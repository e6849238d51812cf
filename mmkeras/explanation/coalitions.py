"""What a model says of rows of which only some columns are there: each column is encoded once, then joined often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.network.graph import Graph, traced

tf = lazy("tensorflow")

STEP_NUMBERS = 4_000_000  # of the columns' encodings go through what joins them at once


class Coalitions:
    """A model's predictions from any of a row's columns.

    What a column is encoded to does not depend on the others, so that of M columns 2 M encodings serve 2^M patterns.

    Args:
        graph: The model's.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.columns = sorted(graph.inputs)
        self.numbers = sum(int(np.prod(tensor.shape[1:])) for _, tensor in graph.encodings)
        self.encode = traced(self._encodings)
        self._join = traced(self._joined)

    def predictions(
        self, features: Mapping[str, Mapping[str, np.ndarray]], patterns: np.ndarray
    ) -> dict[str, np.ndarray]:
        """{output: (P, B, …)} of rows' features, only the columns of each pattern (P, M) shown, the others missing."""
        there = self.encode(features)
        absent = self.encode({
            column: {name: np.zeros_like(values[:1]) for name, values in arrays.items()}
            for column, arrays in features.items()
        })  # fmt: skip
        count = len(next(iter(features[self.columns[0]].values())))
        at_once = max(1, STEP_NUMBERS // (count * self.numbers))
        parts = [
            self._join(there, absent, tf.constant(patterns[start : start + at_once]))
            for start in range(0, len(patterns), at_once)
        ]
        return {
            name: np.concatenate([part[name].numpy() for part in parts]).reshape(len(patterns), count, -1)
            for name in self.graph.outputs
        }

    def _encodings(self, features: Any) -> list[Any]:
        """What the columns are encoded to, as `Graph.encodings` lists it."""
        return self.graph.run(self.graph.values(features), [tensor for _, tensor in self.graph.encodings])

    def _joined(self, there: Sequence[Any], absent: Sequence[Any], patterns: Any) -> dict[str, Any]:
        known = {}
        for (column, tensor), value, nothing in zip(self.graph.encodings, there, absent, strict=True):
            is_shown = patterns[:, self.columns.index(column)]
            is_shown = tf.reshape(is_shown, (-1, *[1] * len(value.shape)))
            chosen = tf.where(is_shown, value[tf.newaxis], nothing[tf.newaxis])
            known[id(tensor)] = tf.reshape(chosen, tf.concat([[-1], tf.shape(value)[1:]], 0))
        names = list(self.graph.outputs)
        return dict(zip(names, self.graph.run(known, [self.graph.outputs[name] for name in names]), strict=True))
