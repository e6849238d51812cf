"""What a network says of rows of which only some columns are there: a column is encoded once, then joined often."""

from __future__ import annotations

import functools
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

    What a branch is encoded to does not depend on the others, so that of M columns, each read alone, 2 M encodings
    serve 2^M patterns. Columns that are read together are encoded once for each set of them that the patterns show.

    Args:
        network: Trained.
        outputs: The names of those of its outputs that matter.
    """

    def __init__(self, network: Network, outputs: Collection[str]):
        self.network, self.columns = network, sorted(network.setting.columns)
        self.joint = network.joint(outputs)
        self.outputs: dict[str, Any] = self.joint.output
        self.numbers = sum(math.prod(tensor.shape[1:]) for tensor in tf.nest.flatten(self.joint.input))
        self.encode = traced(self._encodings)
        self._encode_one = {name: traced(functools.partial(self._encoding, name)) for name in network.branches}
        self._join = traced(self._joined)

    def predictions(
        self, features: Mapping[str, Mapping[str, np.ndarray]], patterns: np.ndarray
    ) -> dict[str, np.ndarray]:
        """{output: (P, B, …)} of rows' features, only the columns of each pattern (P, M) shown, the others missing."""
        there, absent = self.encode(features), self.encode({column: _empty(each) for column, each in features.items()})
        count = len(next(iter(features[self.columns[0]].values())))
        sets: dict[str, Any] = {}
        index = np.zeros((len(patterns), len(self.network.branches)), np.int32)
        for i, (name, branch) in enumerate(self.network.branches.items()):
            shown = patterns[:, [self.columns.index(column) for column in branch.columns]]
            known, places = np.unique(shown, axis=0, return_inverse=True)
            index[:, i] = places.ravel()
            own = self.features_of(name, features)
            each = [
                there[name] if pattern.all() else self._some(name, own, pattern) if pattern.any() else absent[name]
                for pattern in known
            ]
            sets[name] = {part: _one_after_another([parts[part] for parts in each], count) for part in each[0]}
        at_once = max(1, STEP_NUMBERS // (count * self.numbers))
        parts = [
            self._join(sets, tf.constant(index[start : start + at_once]), tf.constant(count))
            for start in range(0, len(patterns), at_once)
        ]
        return {
            name: np.concatenate([part[name].numpy() for part in parts]).reshape(len(patterns), count, -1)
            for name in self.outputs
        }

    def features_of(self, branch: str, features: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Those of the columns that a branch reads."""
        return {column: dict(features[column]) for column in self.network.branches[branch].columns}

    def read_of(self, branch: str, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Of a branch's parts those that are joined."""
        return {name: parts[name] for name in self.joint.input[branch]}

    def _some(self, branch: str, features: Mapping[str, Mapping[str, Any]], is_shown: np.ndarray) -> dict[str, Any]:
        """What a branch is encoded to where only some of its columns are shown."""
        shown = dict(zip(self.network.branches[branch].columns, is_shown, strict=True))
        return self._encode_one[branch]({
            column: each if shown[column] else {name: np.zeros_like(values) for name, values in each.items()}
            for column, each in features.items()
        })  # fmt: skip

    def _encoding(self, branch: str, features: Any) -> dict[str, Any]:
        return self.read_of(branch, self.network.branches[branch].model(features, training=False))

    def _encodings(self, features: Any) -> Encodings:
        return {name: self._encoding(name, self.features_of(name, features)) for name in self.network.branches}

    def _joined(self, sets: Encodings, index: Any, count: Any) -> dict[str, Any]:
        """{branch: {part: (U * B, …)}} of U sets of its columns, (P, M) which of them, B -> {output: (P * B, …)}."""
        chosen = {}
        for i, name in enumerate(self.network.branches):
            rows = tf.reshape(index[:, i, tf.newaxis] * count + tf.range(count), [-1])
            chosen[name] = {part: tf.gather(values, rows) for part, values in sets[name].items()}
        return self.joint(chosen, training=False)


def _empty(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One missing cell."""
    return {name: np.zeros_like(values[:1]) for name, values in features.items()}


def _one_after_another(values: list[Any], count: int) -> Any:
    """(B, …) or (1, …) each -> (U * B, …)."""
    return tf.concat([tf.broadcast_to(each, [count, *each.shape[1:]]) for each in values], 0)
