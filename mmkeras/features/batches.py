"""Features to batches: tf.data that gathers, shuffles, augments (training only) and batches.

Memory does not grow with the number of rows: a batch is read where it lies, in the cache or in shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk

if TYPE_CHECKING:
    import tensorflow as tf_types

tf = lazy("tensorflow")
ops = lazy("mmkeras.features.ops")


class Source(Protocol):
    """Where features come from: `Features` reads any row at any time, `Records` shards in the order they have."""

    def ordered(self, rows: np.ndarray, batch_size: int) -> tf_types.data.Dataset:
        """(row numbers (B,), what `decoded` takes) of (R,) rows in their order."""

    def shuffled(self, rows: np.ndarray, batch_size: int, seed: int, epoch: tf_types.Tensor) -> tf_types.data.Dataset:
        """As `ordered`, in an order that follows from seed and epoch alone; rows that fill no batch are left out."""

    def decoded(self, raw: Any) -> dict[str, dict[str, Any]]:
        """{column: {feature: (B, …)}}, inside a graph."""


def batches(features: Source, rows: np.ndarray, batch_size: int, targets: Mapping[str, Any] | None = None):
    """Rows in their order, for validation and prediction: a dataset of features, or of (features, targets, weights).

    Args:
        features: Of the whole table, in memory or cached (`Features`) or in shards (`Records`).
        rows: (R,) row numbers.
        batch_size: Rows per batch; the last one may have fewer.
        targets: {target: (encoded (N, …), weights (N,))} of the whole table.
    """
    dataset = features.ordered(rows, batch_size)
    if targets is None:
        return dataset.map(lambda rows, raw: features.decoded(raw)).prefetch(2)
    return dataset.map(lambda rows, raw: (features.decoded(raw), *_targets(targets, rows))).prefetch(2)


def training_batches(
    features: Source,
    rows: np.ndarray,
    targets: Mapping[str, Any],
    columns: Mapping[str, Modality],
    *,
    batch_size: int,
    epochs: range,
    seed: int,
    modality_dropout: float,
) -> tf_types.data.Dataset:
    """Shuffled and augmented batches of (features, targets, weights), epoch after epoch, without end in between.

    What a batch holds and how it looks depends on the seed, the epoch and its place in the epoch alone, so that a
    training that goes on from epoch 7 sees what one that was never stopped would have seen. Each epoch leaves out the
    rows that would not fill a batch, other ones each time.

    Args:
        features: Of the whole table, in memory or cached (`Features`) or in shards (`Records`).
        rows: (R,) row numbers, at least `batch_size`.
        targets: {target: (encoded (N, …), weights (N,))} of the whole table.
        columns: Adapted modalities by column.
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
        changed = _augment(features.decoded(raw), columns, own_seed, modality_dropout)
        return changed, *_targets(targets, rows)

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


def _targets(targets: Mapping[str, Any], rows: tf_types.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    encoded = {target: tf.gather(values, rows) for target, (values, _) in targets.items()}
    weights = {target: tf.gather(weights, rows) for target, (_, weights) in targets.items()}
    return encoded, weights
