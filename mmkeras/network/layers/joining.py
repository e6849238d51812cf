"""Keras layers that join columns: absent vectors, weights over columns, comparisons, projections."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class ReplaceAbsent(keras.layers.Layer):
    """A learned vector in place of what a missing cell would have given: (B, D), (B,) -> (B, D)."""

    def build(self, vector_shape, present_shape=None):
        self.absent = self.add_weight(shape=vector_shape[-1:], initializer="zeros", name="absent")

    def call(self, vector, present):
        present = ops.expand_dims(present, -1)
        return vector * present + self.absent * (1.0 - present)

    def compute_output_shape(self, vector_shape, present_shape=None):
        return vector_shape


@keras.saving.register_keras_serializable("mmkeras")
class MaskedSoftmax(keras.layers.Layer):
    """Shares that add up to 1 over what is there: scores (B, M), mask (B, M) -> (B, M); all 0 where nothing is."""

    def call(self, scores, mask):
        # Keras' own softmax warns where there is one column only.
        scores = scores - 1e9 * (1.0 - mask)
        shares = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True)) * mask
        return shares / ops.maximum(ops.sum(shares, axis=-1, keepdims=True), 1e-9)

    def compute_output_shape(self, scores_shape, mask_shape=None):
        return scores_shape


@keras.saving.register_keras_serializable("mmkeras")
class LearnedScores(keras.layers.Layer):
    """One learned number per column, the same for every row: (B, M) -> (B, M). Only the shape of its input counts."""

    def build(self, columns_shape):
        self.scores = self.add_weight(shape=columns_shape[-1:], initializer="zeros", name="scores")

    def call(self, columns):
        return ops.zeros_like(columns) + self.scores

    def compute_output_shape(self, columns_shape):
        return columns_shape


@keras.saving.register_keras_serializable("mmkeras")
class WeightedSum(keras.layers.Layer):
    """The columns' vectors by their weights: (B, M, D), (B, M) or (B, M, D) -> (B, D)."""

    def call(self, vectors, weights):
        weights = ops.expand_dims(weights, -1) if len(weights.shape) == 2 else weights
        return ops.sum(vectors * weights, axis=1)

    def compute_output_shape(self, vectors_shape, weights_shape=None):
        return (vectors_shape[0], vectors_shape[-1])


@keras.saving.register_keras_serializable("mmkeras")
class Compare(keras.layers.Layer):
    """Cosine, root mean square difference, product and absolute difference: (B, D), (B, D) -> (B, 2 + 2 D)."""

    def call(self, first, second):
        # Far below what two columns could differ by; the root and the quotient have no slope at 0 without it.
        tiny = 1e-6
        difference = first - second
        distance = ops.sqrt(ops.mean(ops.square(difference), axis=-1, keepdims=True) + tiny)
        lengths = ops.sum(ops.square(first), -1, keepdims=True) * ops.sum(ops.square(second), -1, keepdims=True)
        cosine = ops.sum(first * second, axis=-1, keepdims=True) / ops.sqrt(lengths + tiny)
        return ops.concatenate([cosine, distance, first * second, ops.abs(difference)], axis=-1)

    def compute_output_shape(self, first_shape, second_shape=None):
        return (first_shape[0], 2 + 2 * first_shape[-1])


@keras.saving.register_keras_serializable("mmkeras")
class AddLearned(keras.layers.Layer):
    """Adds one learned vector to every token, which tells whose tokens they are: (B, T, D) -> (B, T, D).

    Keras' own mask, which an LSTM's tokens carry, ends here: where columns are joined it would cover one of them only.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *args, **kwargs):
        return None

    def build(self, tokens_shape):
        initializer = keras.initializers.RandomNormal(stddev=0.1)
        self.vector = self.add_weight(shape=tokens_shape[-1:], initializer=initializer, name="vector")

    def call(self, tokens):
        return tokens + self.vector

    def compute_output_shape(self, tokens_shape):
        return tokens_shape


@keras.saving.register_keras_serializable("mmkeras")
class PrependLearned(keras.layers.Layer):
    """Puts one learned token before the others: (B, T, D) -> (B, 1 + T, D)."""

    def build(self, tokens_shape):
        initializer = keras.initializers.RandomNormal(stddev=0.1)
        self.token = self.add_weight(shape=tokens_shape[-1:], initializer=initializer, name="token")

    def call(self, tokens):
        return ops.concatenate([ops.zeros_like(tokens[:, :1]) + self.token, tokens], axis=1)

    def compute_output_shape(self, tokens_shape):
        batch, steps, width = tokens_shape
        return (batch, None if steps is None else 1 + steps, width)


def concatenate(parts: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """Side by side along the last axis; one part alone as it is."""
    return keras.layers.Concatenate()(list(parts)) if len(parts) > 1 else parts[0]


# Columns


def project(vectors: Sequence[keras.KerasTensor], width: int) -> list[keras.KerasTensor]:
    """Vectors of any widths -> (B, width) each, between -1 and 1, so that they can be compared and added.

    A layer normalisation would do the same, but of a column whose vector is one number it would leave the sign.
    """
    return [keras.layers.Dense(width, activation="tanh")(vector) for vector in vectors]


def dense_layers(vector: keras.KerasTensor, units: Sequence[int], dropout: float) -> keras.KerasTensor:
    """(B, D) -> (B, units[-1]): Dense layers with ReLU, each followed by dropout."""
    for count in units:
        vector = keras.layers.Dropout(dropout)(keras.layers.Dense(count, activation="relu")(vector))
    return vector
