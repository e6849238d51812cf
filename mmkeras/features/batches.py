"""Features to batches: tf.data that gathers, shuffles, augments (training only) and batches.

Memory does not grow with the number of rows: a batch is read where it lies, in the cache or in shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.objective import Example, Objective, Setting
from mmkeras.contracts.registry import walk

if TYPE_CHECKING:
    import tensorflow as tf_types

tf = lazy("tensorflow")
ops = lazy("mmkeras.features.ops")


OBJECTIVES_DRAW = 7919  # apart from what augmentation draws of the same seed
JUDGED_SEED = (0, 2)  # of what objectives draw where they are judged


class Source(Protocol):
    """Where features come from: `Features` reads any row at any time, `Records` shards in the order they have."""

    def ordered(self, rows: np.ndarray, batch_size: int) -> tf_types.data.Dataset:
        """(row numbers (B,), what `decoded` takes) of (R,) rows in their order."""

    def shuffled(self, rows: np.ndarray, batch_size: int, seed: int, epoch: tf_types.Tensor) -> tf_types.data.Dataset:
        """As `ordered`, in an order that follows from seed and epoch alone; rows that fill no batch are left out."""

    def decoded(self, raw: Any) -> dict[str, dict[str, Any]]:
        """{column: {feature: (B, …)}}, inside a graph."""


@dataclass(frozen=True)
class Truth:
    """What a table tells beside its features, and what becomes of both.

    Attributes:
        targets: {target: (encoded (N, …), how much each row counts (N,))} of the whole table.
        cells: {column: (N,) int64}: the number of each row's cell among the distinct cells of its column.
        objectives: In whose `Objective.example` a batch goes, in turn.
        setting: What they are about.
    """

    targets: Mapping[str, tuple[np.ndarray, np.ndarray]]
    cells: Mapping[str, np.ndarray]
    objectives: Sequence[Objective]
    setting: Setting

    def example(self, features: Any, rows: tf_types.Tensor, seed: tf_types.Tensor, is_training: bool) -> tuple:
        """(features, {output: truth}, {output: weight}) of a batch of (B,) row numbers, as Keras takes it."""
        targets = {
            target: (tf.gather(values, rows), tf.gather(weights, rows))
            for target, (values, weights) in self.targets.items()
        }
        cells = {column: tf.gather(numbers, rows) for column, numbers in self.cells.items()}
        example = Example(features, {}, {}, targets, cells, seed, is_training)
        for number, objective in enumerate(self.objectives):
            own_seed = tf.random.fold_in(seed, number)
            example = objective.example(replace(example, seed=own_seed), self.setting)
        return example.features, dict(example.truths), dict(example.weights)


def batches(features: Source, rows: np.ndarray, batch_size: int, truth: Truth | None = None):
    """Rows in their order, for validation and prediction: a dataset of features, or of (features, truths, weights).

    Args:
        features: Of the whole table, in memory or cached (`Features`) or in shards (`Records`).
        rows: (R,) row numbers.
        batch_size: Rows per batch; the last one may have fewer.
        truth: What the rows are judged by; what objectives draw is the same each time.
    """
    dataset = features.ordered(rows, batch_size)
    if truth is None:
        return dataset.map(lambda rows, raw: features.decoded(raw)).prefetch(2)

    def judged(place: tf_types.Tensor, batch: tuple) -> tuple:
        rows, raw = batch
        seed = tf.random.fold_in(tf.constant(JUDGED_SEED), tf.cast(place, tf.int32))
        return truth.example(features.decoded(raw), rows, seed, is_training=False)

    return dataset.enumerate().map(judged).prefetch(2)


def training_batches(
    features: Source,
    rows: np.ndarray,
    truth: Truth,
    *,
    batch_size: int,
    epochs: range,
    seed: int,
    modality_dropout: float,
) -> tf_types.data.Dataset:
    """Shuffled and augmented batches of (features, truths, weights), epoch after epoch, without end in between.

    What a batch holds and how it looks depends on the seed, the epoch and its place in the epoch alone, so that a
    training that goes on from epoch 7 sees what one that was never stopped would have seen. Each epoch leaves out the
    rows that would not fill a batch, other ones each time.

    Args:
        features: Of the whole table, in memory or cached (`Features`) or in shards (`Records`).
        rows: (R,) row numbers, at least `batch_size`.
        truth: What the table tells beside them; its columns augment.
        batch_size: Rows per batch.
        epochs: Which epochs.
        seed: Fixes order, augmentation and hidden cells.
        modality_dropout: Chance that a cell is hidden.
    """

    def epoch_batches(epoch: tf_types.Tensor) -> tf_types.data.Dataset:
        batches = features.shuffled(rows, batch_size, seed, epoch)
        return batches.enumerate().map(lambda step, batch: (epoch, step, *batch))

    def augmented(epoch: tf_types.Tensor, step: tf_types.Tensor, rows: tf_types.Tensor, raw: Any):
        own_seed = tf.random.fold_in(tf.random.fold_in(tf.constant([seed, 1]), epoch), step)
        changed = _augment(features.decoded(raw), truth.setting.columns, own_seed, modality_dropout)
        return truth.example(changed, rows, tf.random.fold_in(own_seed, OBJECTIVES_DRAW), is_training=True)

    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(epoch_batches)
        .map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def _augment(features: Any, columns: Mapping[str, Modality], seed: Any, modality_dropout: float) -> Any:
    """A batch of features, augmented column by column, some cells hidden."""
    seeds = ops.common.split_seed(seed, len(columns) + 1)
    augmented = {
        column: modality.augment(features[column], own_seed)
        for (column, modality), own_seed in zip(walk(columns), seeds[1:], strict=True)
    }
    return _hide_some(augmented, seeds[0], modality_dropout) if modality_dropout else augmented


def _hide_some(features: Any, seed: Any, modality_dropout: float) -> Any:
    """Cells hidden by chance; of the cells of a row that are there, the one with the highest draw stays."""
    present = tf.stack([column["present"] for column in features.values()])
    draws = tf.random.stateless_uniform(tf.shape(present), seed) * present
    kept = tf.unstack((draws >= modality_dropout) | (draws >= tf.reduce_max(draws, axis=0)))
    return {
        column: {feature: _zero_where_not(keep, tensor) for feature, tensor in tensors.items()}
        for (column, tensors), keep in zip(features.items(), kept, strict=True)
    }


def _zero_where_not(keep: tf_types.Tensor, tensor: tf_types.Tensor) -> tf_types.Tensor:
    """(B,) bool, (B, …) -> (B, …)."""
    return tensor * tf.cast(tf.reshape(keep, (-1, *[1] * (len(tensor.shape) - 1))), tensor.dtype)
