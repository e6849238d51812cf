"""Keras layers that several encoders or fusions share."""

from __future__ import annotations

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


class _OverTime(keras.layers.Layer):
    """One vector from the real tokens: (B, T, D), (B, T) -> (B, D). Keras' own mask ends here: time is gone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *args, **kwargs):
        return None

    def compute_output_shape(self, tokens_shape, mask_shape=None):
        return (tokens_shape[0], tokens_shape[-1])


@keras.saving.register_keras_serializable("mmkeras")
class MaskedMean(_OverTime):
    """The mean of the tokens that are real, zeros where there is none."""

    def call(self, tokens, mask):
        mask = ops.expand_dims(mask, -1)
        return ops.sum(tokens * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)


@keras.saving.register_keras_serializable("mmkeras")
class MaskedMax(_OverTime):
    """The maximum over the tokens that are real, zeros where there is none."""

    def call(self, tokens, mask):
        mask = ops.expand_dims(mask, -1)
        highest = ops.max(tokens - 1e9 * (1.0 - mask), axis=1)
        return ops.where(ops.max(mask, axis=1) > 0.0, highest, ops.zeros_like(highest))


@keras.saving.register_keras_serializable("mmkeras")
class NgramBag(keras.layers.Layer):
    """The mean of the learned vectors of a text's word-piece n-grams, hashed: (B, T) integers, 0 = padding -> (B, D).

    Args:
        up_to: n-grams of 1 to so many pieces.
        buckets: How many vectors there are; n-grams that hash alike share one.
        width: D.

    References:
        Joulin et al., Bag of Tricks for Efficient Text Classification, 2017, arXiv:1607.01759.
    """

    def __init__(self, up_to: int, buckets: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.up_to, self.buckets, self.width = up_to, buckets, width
        self.embedding = keras.layers.Embedding(buckets, width)
        self.mean = MaskedMean()

    def build(self, tokens_shape):
        self.embedding.build(tokens_shape)

    def call(self, tokens):
        ids = ops.concatenate(self._hashed(tokens), axis=1)
        return self.mean(self.embedding(ids), ops.cast(ids > 0, "float32"))

    def _hashed(self, tokens):
        """For each n, (B, T) numbers of buckets, 0 where the n-gram would run into the padding."""
        hashed, found = ops.zeros_like(tokens), []
        for n in range(self.up_to):
            following = ops.pad(tokens[:, n:], ((0, 0), (0, n)))
            # Multiplication wraps at 32 bits, the same on every device.
            hashed = ops.bitwise_and(hashed * 31337 + following * 7919 + (n + 1) * 104729, 0x7FFFFFFF)
            mixed = ops.bitwise_xor(hashed, ops.right_shift(hashed, 15))
            found.append(ops.where(following > 0, 1 + ops.mod(mixed, self.buckets - 1), 0))
        return found

    def compute_output_shape(self, tokens_shape):
        return (tokens_shape[0], self.width)

    def get_config(self):
        return {**super().get_config(), "up_to": self.up_to, "buckets": self.buckets, "width": self.width}


@keras.saving.register_keras_serializable("mmkeras")
class SoftBins(keras.layers.Layer):
    """Z-scores as soft membership in bins between -2 and 2: (B, F) -> (B, F * bins).

    A dense layer on the bins can single out a range, which on the number itself would take several.
    """

    def __init__(self, bins: int, **kwargs):
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, values):
        centres = ops.linspace(-2.0, 2.0, self.bins)
        near = ops.exp(-ops.square((values[..., None] - centres) * self.bins / 4.0))
        return ops.reshape(near, (-1, values.shape[-1] * self.bins))

    def compute_output_shape(self, values_shape):
        return (values_shape[0], values_shape[-1] * self.bins)

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}


def recur(
    values: keras.KerasTensor, mask: keras.KerasTensor, units: int, bidirectional: bool, pooling: bool
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """An LSTM over the real steps: (B, T, F), (B, T) -> its outputs (B, T, D) and a vector for the whole (B, D').

    The vector is the last real state or, with `pooling`, the mean and the maximum over time.
    """
    layer = keras.layers.LSTM(units, return_sequences=True, return_state=True)
    if bidirectional:
        layer = keras.layers.Bidirectional(layer)
    tokens, *states = layer(values, mask=ops.cast(mask, "bool"))
    # Hidden states; the cell states lie between them.
    parts = [MaskedMean()(tokens, mask), MaskedMax()(tokens, mask)] if pooling else states[0::2]
    return tokens, keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
