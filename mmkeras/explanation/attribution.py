"""What each number of one column's cell did to a prediction: integrated gradients, occlusion, Grad-CAM.

The explained quantity f is one number of a prediction: the probability of a row's answer, or a value in its unit. The
baseline is what a missing cell has as features, zeros, while what says that the cell is there (presence, masks) stays
as it is.

References:
    Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365; Selvaraju et al., Grad-CAM,
    2016, arXiv:1610.02391; Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2013,
    arXiv:1311.2901 (occlusion).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.contracts.modality import Modality
from mmkeras.explanation.coalitions import Coalitions
from mmkeras.network.graph import BranchGraph, traced
from mmkeras.network.network import Encodings

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")

GRADIENTS, OCCLUSION = "integrated gradients", "occlusion"
FIRST_STEPS, MOST_STEPS = 32, 512
TOLERANCE = 0.02  # of completeness, relative
LEAST_CHANGE = 0.01  # of the explained quantity: what changes less is measured against this
STEP_NUMBERS = 1_500_000  # of one column's content go through the model at once
MOST_PARTS = 64  # of a cell, which are deleted one after another

Asked = Mapping[str, np.ndarray]
"""{target: (R, P) factors of its prediction}, one of all in each row not 0: the explained quantity is their sum."""


class Beside(NamedTuple):
    """What stays as it is while a column's content changes: a structure of tensors, (R, …) each.

    Attributes:
        features: {column: {feature: …}} of the column itself, and of those that are read together with it.
        others: {branch: {part: …}} what the other branches are encoded to.
    """

    features: dict[str, dict[str, Any]]
    others: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """One tensor that a column's content enters the model by.

    Attributes:
        feature: Which feature of the column it holds.
        tensor: The symbolic tensor of the column's model: the input itself or what a lookup makes of it.
        pieces: A function: the feature's values (B, *shape) -> (B, *shape, …), what each of its numbers gives.
        base: What the pieces of a missing cell are: (1, *shape, …) or what broadcasts to it.
        numbers: How many numbers the pieces of one row are.
        joined: A function: pieces -> the tensor's value.
    """

    feature: str
    tensor: Any
    pieces: Callable[[Any], Any]
    base: Callable[[Any], Any]
    numbers: int
    joined: Callable[[Any], Any] = lambda pieces: pieces


class Column:
    """One column of a network, as its attributions need it; what it computes is traced once.

    Args:
        coalitions: The network's, with what is asked among its outputs.
        name: The column.
        modality: The column's.
    """

    def __init__(self, coalitions: Coalitions, name: str, modality: Modality):
        self.coalitions, self.name, self.modality = coalitions, name, modality
        self.features = sorted(modality.features.keys() - modality.switches)
        self.branch = coalitions.network.branch_of(name)
        graph = BranchGraph(coalitions.network.branches[self.branch].model)
        inputs = graph.inputs[name]
        sources = [source for feature in self.features for source in _sources(graph, feature, inputs[feature])]
        self.is_cut = all(sources) and bool(sources)
        # What no gradient can pass, such as the numbers of word pieces in a backbone's own lookup, is left out instead.
        self.sources = sources if self.is_cut else [_whole(feature, inputs[feature]) for feature in self.features]
        self._onwards = graph.onwards([source.tensor for source in self.sources])
        others = [parts for branch, parts in coalitions.joint.input.items() if branch != self.branch]
        beside = tf.nest.flatten([others, graph.inputs])
        self.numbers = sum(source.numbers for source in self.sources) + sum(map(_numbers, beside))
        empty = {name: np.zeros((1, *modality.features[name].shape), np.float32) for name in self.features}
        self.shape: tuple[int, ...] = modality.attribute(empty).shape[1:]
        self._traced: dict[Any, Any] = {}

    def prepared(self, features: Mapping[str, Mapping[str, np.ndarray]], encoded: Encodings) -> Prepared:
        """Rows with all that does not change while this column's content does.

        Args:
            features: Of all columns.
            encoded: What all branches are encoded to.
        """
        own = self.coalitions.features_of(self.branch, features)
        pieces, bases = self._function("prepare", self._prepare)(own[self.name])
        others = {branch: dict(parts) for branch, parts in encoded.items() if branch != self.branch}
        return Prepared(self, pieces, bases, tf.nest.map_structure(tf.convert_to_tensor, Beside(own, others)))

    def copies_at_once(self, rows: int) -> int:
        """How many copies of so many rows may go through the network together."""
        return max(1, STEP_NUMBERS // (rows * self.numbers))

    def _prepare(self, features: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        given = [features[source.feature] for source in self.sources]
        pieces = [source.pieces(values) for source, values in zip(self.sources, given, strict=True)]
        return pieces, [source.base(values) for source, values in zip(self.sources, given, strict=True)]

    def _function(self, name: Any, function: Callable[..., Any]) -> Any:
        """Traced once, whatever the number of rows."""
        if name not in self._traced:
            self._traced[name] = traced(function)
        return self._traced[name]

    def _explained(self, pieces: list[Any], beside: Beside, asked: Mapping[str, Any]) -> Any:
        """(B,) the explained quantity, without what is added to give it its unit."""
        values = [source.joined(values) for source, values in zip(self.sources, pieces, strict=True)]
        own = self.coalitions.read_of(self.branch, self._onwards(values, beside.features))
        return quantity(self.coalitions.joint({**beside.others, self.branch: own}, training=False), asked)

    def _gradients(
        self, pieces: list, bases: list, beside: Beside, asked: Mapping[str, Any], places: Any, weights: Any
    ) -> tuple[list[Any], Any]:
        """The integral of f's slopes over the path, by its pieces, and (S, R) f itself at each place of the path."""
        steps = tf.shape(places)[0]
        along = [_along(values, base, places) for values, base in zip(pieces, bases, strict=True)]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(along)
            explained = self._explained(along, _all_repeated(beside, steps), _all_repeated(asked, steps))
        slopes = tape.gradient(explained, along)
        if all(slope is None for slope in slopes):
            raise NoSlopeError
        integrals = [
            tf.zeros_like(values) if slope is None else _weighed(slope, weights, steps)
            for slope, values in zip(slopes, pieces, strict=True)
        ]
        return integrals, tf.reshape(explained, (steps, -1))

    def _kept(
        self, pieces: list, bases: list, beside: Beside, asked: Mapping[str, Any], kept: dict[str, Any], steps: Any
    ) -> Any:
        """(S, R) f where of each feature only what is 1 in (S * R, *its shape), or broadcasts to it, is kept."""
        left = []
        for source, values, base in zip(self.sources, pieces, bases, strict=True):
            share = tf.cast(_widened(kept[source.feature], len(values.shape)), values.dtype)
            base = _repeated(base, steps)
            left.append(base + share * (_repeated(values, steps) - base))
        explained = self._explained(left, _all_repeated(beside, steps), _all_repeated(asked, steps))
        return tf.reshape(explained, (steps, -1))


class NoSlopeError(Exception):
    """Nothing that a model says of a column changes smoothly with its content: votes."""


@dataclass(frozen=True)
class Prepared:
    """Rows of a column, ready to be explained."""

    column: Column
    pieces: list[Any]
    bases: list[Any]
    beside: Beside

    def integrated(self, asked: Asked, steps: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """{feature: (R, *its shape)} integrated gradients, and f (R,) of the baseline and of the cells as they are.

        By Gauss and Legendre's rule of so many steps.
        """
        column = self.column
        compute = column._function("gradients", column._gradients)
        totals, explained = [], []
        for places, weights in _path(steps, column.copies_at_once(len(self.pieces[0]))):
            slopes, values = compute(self.pieces, self.bases, self.beside, _floats(asked), places, weights)
            totals.append(slopes)
            explained.append(values.numpy())
        ends = np.concatenate(explained)[:2]
        parts: dict[str, np.ndarray] = {}
        for i, (source, values, base) in enumerate(zip(column.sources, self.pieces, self.bases, strict=True)):
            products = (sum(slopes[i] for slopes in totals) * (values - base)).numpy()
            gradients = _over_width(products, len(column.modality.features[source.feature].shape))
            parts[source.feature] = parts.get(source.feature, 0) + gradients
        return parts, *ends

    def kept(self, asked: Asked, kept: np.ndarray, all_of_it: bool = False) -> np.ndarray:
        """(S, R) f where only some of the content is kept and the rest is the baseline's.

        Args:
            asked: What is explained.
            kept: (S, R, *attribution) 1 where the content is kept, 0 where not.
            all_of_it: Whether the other features go where nothing of the content is kept.
        """
        column = self.column
        compute = column._function("kept", column._kept)
        explained = []
        at_once = column.copies_at_once(kept.shape[1])
        for start in range(0, len(kept), at_once):
            part = kept[start : start + at_once].astype(np.float32)
            steps, part = len(part), part.reshape(-1, *column.shape)
            others = part.reshape(len(part), -1).max(axis=1) if all_of_it else np.ones(len(part), np.float32)
            shares = dict.fromkeys(column.features, others) | {column.modality.content: part}
            explained.append(compute(self.pieces, self.bases, self.beside, _floats(asked), shares, steps).numpy())
        return np.concatenate(explained)

    @property
    def count(self) -> int:
        """Of the rows."""
        return len(self.pieces[0])

    def taken(self, rows: np.ndarray) -> Prepared:
        """Some of the rows."""
        count = self.count

        def take(values: Any) -> Any:
            by_row = tf.reshape(values, (count, -1, *values.shape[1:]))  # a cell's files may lie one after another
            return tf.reshape(tf.gather(by_row, rows), (-1, *values.shape[1:]))

        return Prepared(self.column, *tf.nest.map_structure(take, (self.pieces, self.bases, self.beside)))


@dataclass(frozen=True)
class Averaged:
    """Rows of a column beside several sets of other columns; f is the mean of what it is beside each.

    Where the others decide alone already, nothing that a column holds changes a prediction: only beside fewer of them
    is it seen what it tells.

    Attributes:
        each: The rows beside each set.
        weights: What the sets count; they add up to 1.
    """

    each: Sequence[Prepared]
    weights: Sequence[float]

    @property
    def column(self) -> Column:
        return self.each[0].column

    @property
    def count(self) -> int:
        return self.each[0].count

    def integrated(self, asked: Asked, steps: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """As `Prepared.integrated`."""
        integrated = [prepared.integrated(asked, steps) for prepared in self.each]
        parts = {name: self._mean([parts[name] for parts, _, _ in integrated]) for name in integrated[0][0]}
        return (
            parts,
            self._mean([baseline for _, baseline, _ in integrated]),
            self._mean([whole for *_, whole in integrated]),
        )

    def kept(self, asked: Asked, kept: np.ndarray, all_of_it: bool = False) -> np.ndarray:
        """As `Prepared.kept`."""
        return self._mean([prepared.kept(asked, kept, all_of_it) for prepared in self.each])

    def ends(self, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
        """(R,) f of the baseline, and of the cells as they are."""
        kept = np.zeros((2, self.count, *self.column.shape), np.float32)
        kept[1] = 1
        baseline, whole = self.kept(asked, kept, all_of_it=True)
        return baseline, whole

    def taken(self, rows: np.ndarray) -> Averaged:
        """Some of the rows."""
        return Averaged([prepared.taken(rows) for prepared in self.each], self.weights)

    def _mean(self, values: Sequence[np.ndarray]) -> np.ndarray:
        return sum(weight * value for weight, value in zip(self.weights, values, strict=True))


@dataclass(frozen=True)
class Attributed:
    """What became of some rows' explanation.

    Attributes:
        by_method: {method: (R, *attribution)} in the unit of f but for Grad-CAM, which has none.
        baseline: (R,) f of the baseline.
        whole: (R,) f of the cells as they are.
        errors: (R,) by how much the sum of integrated gradients misses their difference, relative; NaN by occlusion.
        steps: (R,) how many were taken.
    """

    by_method: dict[str, np.ndarray]
    baseline: np.ndarray
    whole: np.ndarray
    errors: np.ndarray
    steps: np.ndarray


def attribute(prepared: Averaged, asked: Asked) -> Attributed:
    """The column's attributions of some rows that have the column, by integrated gradients where it has slopes.

    So many steps are taken as bring the sum of the attributions, those of features beside the content included,
    within `TOLERANCE` of f(cell) - f(baseline), at most `MOST_STEPS`.
    """
    if prepared.column.is_cut:
        try:
            return _by_gradients(prepared, asked)
        except NoSlopeError:
            pass
    baseline, whole = prepared.ends(asked)
    nothing = np.full(len(whole), np.nan)
    return Attributed({OCCLUSION: _by_occlusion(prepared, asked, whole)}, baseline, whole, nothing, nothing)


def _by_gradients(prepared: Averaged, asked: Asked) -> Attributed:
    column, count = prepared.column, prepared.count
    attribution = np.zeros((count, *column.shape), np.float32)
    baseline, whole, errors, taken = np.zeros((4, count))
    scale = np.max([np.abs(factors).max(axis=1) for factors in asked.values()], axis=0)
    left, steps = np.arange(count), FIRST_STEPS
    while len(left) and steps <= MOST_STEPS:
        some = prepared if len(left) == count else prepared.taken(left)
        parts, baseline[left], whole[left] = some.integrated(of_rows(asked, left), steps)
        attribution[left] = column.modality.attribute(parts)
        total = sum(values.reshape(len(left), -1).sum(axis=1, dtype=np.float64) for values in parts.values())
        change = whole[left] - baseline[left]
        errors[left] = np.abs(total - change) / np.maximum(np.abs(change), LEAST_CHANGE * scale[left])
        taken[left] = steps
        left, steps = left[errors[left] > TOLERANCE], 2 * steps
    return Attributed({GRADIENTS: attribution}, baseline, whole, errors, taken)


def of_rows(asked: Asked, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What is asked of some of the rows."""
    return {target: factors[rows] for target, factors in asked.items()}


def _by_occlusion(prepared: Averaged, asked: Asked, whole: np.ndarray) -> np.ndarray:
    """(R, *attribution): what f loses with each block of the cell, evenly over the block."""
    shape = prepared.column.shape
    blocks = parts_of(shape)
    attribution = np.zeros((len(whole), *shape), np.float32)
    for block in range(blocks.max() + 1):
        inside = blocks == block
        kept = np.broadcast_to(~inside, (1, len(whole), *shape))
        attribution[:, inside] = (whole - prepared.kept(asked, kept)[0])[:, np.newaxis] / inside.sum()
    return attribution


def parts_of(shape: tuple[int, ...]) -> np.ndarray:
    """A cell's attribution in at most `MOST_PARTS` blocks of neighbours: the number of each place's block, (*shape)."""
    counts = list(shape)
    while math.prod(counts) > MOST_PARTS:
        longest = counts.index(max(counts))
        counts[longest] = (counts[longest] + 1) // 2
    blocks = np.zeros(shape, int)
    for axis, (size, count) in enumerate(zip(shape, counts, strict=True)):
        place = (np.arange(size) * count) // size
        blocks = blocks * count + place.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return blocks


def quantity(predictions: Mapping[str, Any], asked: Mapping[str, Any]) -> Any:
    """{target: (B, P)} of each -> (B,) the explained quantity, without what is added to give it its unit."""
    return tf.add_n([
        tf.reduce_sum(tf.cast(predictions[target], tf.float32) * asked[target], axis=-1) for target in sorted(asked)
    ])  # fmt: skip


# Where content enters the model


def _sources(graph: BranchGraph, feature: str, tensor: Any) -> list[Source | None]:
    """Of numbers the input itself; of integers every lookup of them; None where something else takes integers in."""
    if tensor.dtype.startswith("float"):
        return [_whole(feature, tensor)]
    return [_lookup(feature, tensor, each) for each in graph.takers(tensor) if each.output.dtype != "bool"]


def _lookup(feature: str, taken: Any, layer: Any) -> Source | None:
    tensor = layer.output
    if isinstance(layer, keras.layers.Embedding):
        return Source(feature, tensor, layer, lambda values: layer(tf.zeros_like(values)), _numbers(tensor))
    if isinstance(layer, layers.time.NgramBag):
        joined, numbers = functools.partial(tf.reduce_sum, axis=1), _numbers(tensor) * _numbers(taken)
        return Source(feature, tensor, layer.pieces, lambda ids: tf.zeros_like(layer.pieces(ids)), numbers, joined)
    return None


def _whole(feature: str, tensor: Any) -> Source:
    return Source(feature, tensor, lambda values: values, tf.zeros_like, _numbers(tensor))


def _numbers(tensor: Any) -> int:
    """Of one row."""
    return math.prod(tensor.shape[1:])


# Along the path


def _path(steps: int, at_once: int) -> list[tuple[Any, Any]]:
    """Places between baseline and cell and their weights, which add up to 1, some at a time; first the two ends."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    places, weights = np.append([0, 1], (places + 1) / 2), np.append([0, 0], weights / 2)
    starts = range(0, len(places), at_once)
    return [(_floats(places[i : i + at_once]), _floats(weights[i : i + at_once])) for i in starts]


def _along(values: Any, base: Any, places: Any) -> Any:
    """(R, …), (R, …), (S,) -> (S * R, …)."""
    places = tf.reshape(places, (-1, *[1] * len(values.shape)))
    return _folded(base + places * (values - base))


def _widened(values: Any, rank: int) -> Any:
    """Values of a lower rank with axes of 1 added at the end, up to `rank`."""
    return tf.reshape(values, tf.concat([tf.shape(values), tf.ones(rank - len(values.shape), tf.int32)], 0))


def _folded(values: Any) -> Any:
    """(S, R, …) -> (S * R, …)."""
    return tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], 0))


def _repeated(values: Any, times: Any) -> Any:
    """(R, …) -> (S * R, …)."""
    return tf.tile(values, tf.concat([[times], tf.ones(len(values.shape) - 1, tf.int32)], 0))


def _all_repeated(values: Any, times: Any) -> Any:
    """A structure of (R, …) -> of (S * R, …)."""
    return tf.nest.map_structure(lambda each: _repeated(each, times), values)


def _weighed(slopes: Any, weights: Any, steps: Any) -> Any:
    """(S * R, …), (S,) -> (R, …)."""
    slopes = tf.reshape(slopes, tf.concat([[steps, -1], tf.shape(slopes)[1:]], 0))
    return tf.tensordot(weights, slopes, 1)


def _over_width(values: np.ndarray, rank: int) -> np.ndarray:
    """(R, *shape, …) -> (R, *shape): the sum over what a lookup added."""
    return values.sum(axis=tuple(range(1 + rank, values.ndim)))


def _floats(values: Any) -> Any:
    return tf.nest.map_structure(lambda each: tf.constant(each, tf.float32), values)
