"""Keras layers over steps and tokens: pooling, recurrence, self-attention, convolutions, bags of n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf
from keras import ops

from mmkeras.network.layers.joining import MaskedSoftmax, concatenate


class OverTime(keras.layers.Layer):
    """One vector from the real tokens: (B, T, D), (B, T) -> (B, D). Keras' own mask ends here: time is gone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *args, **kwargs):
        return None

    def compute_output_shape(self, tokens_shape, mask_shape=None):
        return (tokens_shape[0], tokens_shape[-1])


@keras.saving.register_keras_serializable("mmkeras")
class MaskedMean(OverTime):
    """The mean of the tokens that are real, zeros where there is none."""

    def call(self, tokens, mask):
        # A matrix product: neither it nor its gradient copies the tokens, as a product and a sum do.
        total = ops.squeeze(ops.matmul(ops.expand_dims(mask, 1), tokens), 1)
        return total / ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1.0)


@keras.saving.register_keras_serializable("mmkeras")
class MaskedMax(OverTime):
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

    def pieces(self, tokens):
        """(B, T) -> (B, T, D): what each word piece gives to the mean; of an n-gram each of its pieces gives as much.

        They add up to what `call` gives.
        """
        total, count = 0.0, 0.0
        for n, ids in enumerate(self._hashed(tokens)):
            real = ops.cast(ids > 0, "float32")
            shares = self.embedding(ids) * ops.expand_dims(real, -1) / (n + 1)
            # An n-gram stands where it begins: a piece belongs to those that began up to n places before it.
            starts = [ops.pad(shares, ((0, 0), (back, 0), (0, 0)))[:, : tokens.shape[1]] for back in range(n + 1)]
            total, count = total + sum(starts), count + ops.sum(real, axis=1)
        return total / ops.maximum(count, 1.0)[:, None, None]

    def _hashed(self, tokens):
        """For each n, (B, T) numbers of buckets, 0 where the n-gram would run into the padding."""
        hashed, numbers = ops.zeros_like(tokens), []
        for n in range(self.up_to):
            following = ops.pad(tokens[:, n:], ((0, 0), (0, n)))
            # Multiplication wraps at 32 bits, the same on every device.
            hashed = ops.bitwise_and(hashed * 31337 + following * 7919 + (n + 1) * 104729, 0x7FFFFFFF)
            mixed = ops.bitwise_xor(hashed, ops.right_shift(hashed, 15))
            numbers.append(ops.where(following > 0, 1 + ops.mod(mixed, self.buckets - 1), 0))
        return numbers

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


@keras.saving.register_keras_serializable("mmkeras")
class SinusoidalPositions(keras.layers.Layer):
    """Adds to each token what tells its place: (B, T, D) -> (B, T, D).

    References:
        Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762, section 3.5.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, tokens):
        steps, width = tokens.shape[1:]
        place = ops.expand_dims(ops.arange(steps, dtype="float32"), 1)
        each = ops.arange(width)
        angle = place / ops.power(10000.0, ops.cast(2 * (each // 2), "float32") / width)
        return tokens + ops.cast(ops.where(each % 2 == 0, ops.sin(angle), ops.cos(angle)), tokens.dtype)

    def compute_output_shape(self, tokens_shape):
        return tokens_shape


@keras.saving.register_keras_serializable("mmkeras")
class AttentionPool(OverTime):
    """The mean of the real tokens, each weighted by how much it tells, zeros where there is none.

    The weights are a softmax over what a hidden layer of `units` gives each token.

    References:
        Ilse et al., Attention-based Deep Multiple Instance Learning, 2018, arXiv:1802.04712, equation 8.
    """

    def __init__(self, units: int = 64, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden, self.score = keras.layers.Dense(units, activation="tanh"), keras.layers.Dense(1, use_bias=False)
        self.softmax = MaskedSoftmax()

    def build(self, tokens_shape, mask_shape=None):
        self.hidden.build(tokens_shape)
        self.score.build((*tokens_shape[:-1], self.units))

    def call(self, tokens, mask):
        shares = self.softmax(ops.squeeze(self.score(self.hidden(tokens)), -1), mask)
        return ops.sum(tokens * ops.expand_dims(shares, -1), axis=1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("mmkeras")
class MaskedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' own with the statistics of what is real, of all devices that share a batch: (B, …, D), (B, …).

    Keras' takes either a mask or what other devices see into account.
    """

    def call(self, values, training=None, mask=None):
        if mask is None or not (training and self.trainable):
            return super().call(values, training=training)
        mean, variance = self._statistics(ops.cast(values, "float32"), ops.cast(mask, "float32"))
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance)
        mean, variance, gamma, beta = (ops.cast(each, values.dtype) for each in (mean, variance, self.gamma, self.beta))
        return ops.batch_normalization(values, mean, variance, -1, beta, gamma, self.epsilon)

    def _statistics(self, values, mask):
        real = ops.broadcast_to(ops.expand_dims(mask, -1), ops.shape(values))
        axes = tuple(range(len(values.shape) - 1))
        count, total, squares = (
            _over_devices(ops.sum(each, axes)) for each in (real, values * real, ops.square(values) * real)
        )
        mean = total / ops.maximum(count, 1.0)
        return mean, ops.maximum(squares / ops.maximum(count, 1.0) - ops.square(mean), 0.0)

    def _follow(self, moving, new):
        moving.assign(moving * self.momentum + new * (1.0 - self.momentum))


def _over_devices(sums):
    replica = tf.distribute.get_replica_context()
    return sums if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)


# Over time


def recur(
    values: keras.KerasTensor,
    mask: keras.KerasTensor,
    units: int,
    bidirectional: bool,
    pooling: bool,
    cell: Literal["lstm", "gru"] = "lstm",
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """An LSTM or GRU over the real steps: (B, T, F), (B, T) -> its outputs (B, T, D), a vector for the whole (B, D').

    The vector is the last real state or, with `pooling`, the mean and the maximum over time.
    """
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell](units, return_sequences=True, return_state=True)
    states_each = 2 if cell == "lstm" else 1  # an LSTM's cell state follows its hidden one
    if bidirectional:
        layer = keras.layers.Bidirectional(layer)
    # cuDNN fails on a row without any real step, a missing cell's: there the first step, which is zeros, is taken in.
    taken_in = ops.concatenate([ops.ones_like(mask[:, :1]), mask[:, 1:]], axis=1)
    tokens, *states = layer(values, mask=ops.cast(taken_in, "bool"))
    if pooling:
        return tokens, mean_and_max(tokens, mask)
    return tokens, concatenate(states[0::states_each])


def transform(
    values: keras.KerasTensor,
    mask: keras.KerasTensor,
    width: int,
    depth: int,
    heads: int,
    dropout: float,
    positions: bool = True,
) -> keras.KerasTensor:
    """A Transformer encoder over the real steps: (B, T, F), (B, T) -> (B, T, width).

    Layer normalisation comes first in each block, which trains without a warm-up of the learning rate.

    Args:
        values: float32.
        mask: 1 where a step is real.
        width: Of the tokens; a multiple of `heads`.
        depth: Blocks of self-attention and feed-forward layers.
        heads: Of the self-attention.
        dropout: Of each block's two parts.
        positions: Whether to add sinusoidal positions.

    References:
        Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762; Xiong et al., On Layer Normalization in the
        Transformer Architecture, 2020, arXiv:2002.04745.
    """
    tokens = keras.layers.Dense(width)(values)
    if positions:
        tokens = SinusoidalPositions()(tokens)
    visible = ops.cast(ops.expand_dims(mask, 1), "bool")  # (B, 1, T): every token may look at the real ones
    for _ in range(depth):
        normal = keras.layers.LayerNormalization()(tokens)
        attended = keras.layers.MultiHeadAttention(heads, width // heads, dropout=dropout)(
            normal, normal, attention_mask=visible
        )
        tokens = feed_forward(tokens + keras.layers.Dropout(dropout)(attended), dropout)
    return keras.layers.LayerNormalization()(tokens)


def feed_forward(tokens: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """The second half of a Transformer's block, with its residual connection: (B, T, D) -> (B, T, D)."""
    width = tokens.shape[-1]
    hidden = keras.layers.Dense(2 * width, activation="gelu")(keras.layers.LayerNormalization()(tokens))
    return tokens + keras.layers.Dropout(dropout)(keras.layers.Dense(width)(hidden))


def convolve(
    values: keras.KerasTensor,
    mask: keras.KerasTensor,
    filters: Sequence[int],
    kernel_sizes: Sequence[int],
    halving: Literal["none", "stride", "pool"] = "none",
    normalization: Literal["none", "batch", "layer"] = "none",
    dropout: float = 0.0,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Convolutions one after another over the real steps: (B, T, F), (B, T) -> (B, T', D), (B, T').

    What lies behind the last real step is zero before and after each, as a convolution takes what lies outside to be.

    Args:
        values: (B, T, F), or (B, T, F, C) to convolve over the F bands too, which halve as the steps do.
        mask: 1 where a step is real.
        filters: Of each convolution.
        kernel_sizes: Of kernels side by side in each; D is their number times the filters.
        halving: Whether each takes every other step, or the maximum of two.
        normalization: Between each and its ReLU.
        dropout: After each.

    References:
        Kim, Convolutional Neural Networks for Sentence Classification, 2014, arXiv:1408.5882, of kernels side by side.
    """
    is_plane = len(values.shape) == 4
    convolution = keras.layers.Conv2D if is_plane else keras.layers.Conv1D
    pooling = keras.layers.MaxPooling2D if is_plane else keras.layers.MaxPooling1D
    options = {
        "strides": 2 if halving == "stride" else 1,
        "padding": "same",
        "use_bias": normalization != "batch",  # which would take it away again
    }
    values = hide_padding(values, mask)
    for count in filters:
        values = concatenate([convolution(count, size, **options)(values) for size in kernel_sizes])
        mask = mask[:, ::2] if halving == "stride" else mask
        values = keras.layers.Activation("relu")(_normalize(values, mask, normalization))
        values = hide_padding(values, mask)
        if halving == "pool":
            values, mask = pooling(padding="same")(values), mask[:, ::2]
        values = keras.layers.Dropout(dropout)(values)
    return values, mask


def hide_padding(values: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """(B, T, …), (B, T) -> (B, T, …) with zeros where the mask has them."""
    return values * _to_rank(mask, len(values.shape))


def _normalize(values: keras.KerasTensor, mask: keras.KerasTensor, normalization: str) -> keras.KerasTensor:
    if normalization == "batch":
        return MaskedBatchNormalization(momentum=0.9)(values, mask=_to_rank(mask, len(values.shape) - 1))
    return keras.layers.LayerNormalization()(values) if normalization == "layer" else values


def _to_rank(mask: keras.KerasTensor, rank: int) -> keras.KerasTensor:
    for _ in range(rank - len(mask.shape)):
        mask = ops.expand_dims(mask, -1)
    return mask


def mean_and_max(tokens: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """(B, T, D), (B, T) -> (B, 2 D): the mean and the maximum over the real tokens."""
    return keras.layers.Concatenate()([MaskedMean()(tokens, mask), MaskedMax()(tokens, mask)])


# Several pictures or clips in one cell


def fold(files: keras.KerasTensor) -> keras.KerasTensor:
    """(B, N, …) -> (B * N, …), so that one encoder serves every file of a cell."""
    return ops.reshape(files, (-1, *files.shape[2:]))


def unfold(vectors: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """(B * N, …) -> (B, N, …)."""
    return ops.reshape(vectors, (-1, count, *vectors.shape[1:]))


def pool_files(
    vectors: keras.KerasTensor, file_mask: keras.KerasTensor, pooling: Literal["mean", "attentive"]
) -> keras.KerasTensor:
    """What one encoder made of every file, (B * N, D), and which files are there, (B, N) -> one vector, (B, D)."""
    layer = MaskedMean() if pooling == "mean" else AttentionPool()
    return layer(unfold(vectors, file_mask.shape[1]), file_mask)


def join_files(
    tokens: keras.KerasTensor, mask: keras.KerasTensor, file_mask: keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The files' tokens one after another: (B * N, T, D), (B * N, T), (B, N) -> (B, N * T, D), (B, N * T)."""
    files, steps, width = file_mask.shape[1], *tokens.shape[1:]
    mask = unfold(mask, files) * ops.expand_dims(file_mask, -1)
    return ops.reshape(tokens, (-1, files * steps, width)), ops.reshape(mask, (-1, files * steps))
