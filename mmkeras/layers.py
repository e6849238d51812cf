"""Keras layers that several encoders or fusions share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

Link = Literal["identity", "softmax", "sigmoid", "cumulative"]
SMALLEST = 1.2e-38  # about the least float32 that no device takes for 0
IMAGENET_VARIANCE = np.square([0.229, 0.224, 0.225])  # of the channels of pictures in [0, 1]


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
        # A matrix product: neither it nor its gradient copies the tokens, as a product and a sum do.
        total = ops.squeeze(ops.matmul(ops.expand_dims(mask, 1), tokens), 1)
        return total / ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1.0)


@keras.saving.register_keras_serializable("mmkeras")
class MaskedMax(_OverTime):
    """The maximum over the tokens that are real, zeros where there is none."""

    def call(self, tokens, mask):
        mask = ops.expand_dims(mask, -1)
        highest = ops.max(tokens - 1e9 * (1.0 - mask), axis=1)
        return ops.where(ops.max(mask, axis=1) > 0.0, highest, ops.zeros_like(highest))


@keras.saving.register_keras_serializable("mmkeras")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' own over pictures (B, H, W, C), in training by TensorFlow's one operation where Keras takes a dozen.

    Devices that share a batch go Keras' way: that operation knows the statistics of one device only.
    """

    def call(self, pictures, training=None, mask=None):
        is_shared = tf.distribute.get_strategy().num_replicas_in_sync > 1
        if is_shared or mask is not None or not (training and self.trainable) or pictures.dtype != "float32":
            return super().call(pictures, training=training, mask=mask)
        normal, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            pictures, ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta), epsilon=self.epsilon
        )
        # The operation gives the variance of a population of which the batch is a sample; Keras keeps the batch's own.
        count = ops.cast(ops.size(pictures) // pictures.shape[-1], "float32")
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * (count - 1.0) / count)
        return normal

    def _follow(self, moving, new):
        moving.assign(moving * self.momentum + new * (1.0 - self.momentum))


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
        found, count = 0.0, 0.0
        for n, ids in enumerate(self._hashed(tokens)):
            real = ops.cast(ids > 0, "float32")
            shares = self.embedding(ids) * ops.expand_dims(real, -1) / (n + 1)
            # An n-gram stands where it begins: a piece belongs to those that began up to n places before it.
            starts = [ops.pad(shares, ((0, 0), (back, 0), (0, 0)))[:, : tokens.shape[1]] for back in range(n + 1)]
            found, count = found + sum(starts), count + ops.sum(real, axis=1)
        return found / ops.maximum(count, 1.0)[:, None, None]

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


class _JoinPredictions(keras.layers.Layer):
    """The columns' probabilities as one: (B, M, P), (B, M) -> (B, P).

    Args:
        exclusive: Whether the P probabilities add up to 1.
    """

    def __init__(self, exclusive: bool, **kwargs):
        super().__init__(**kwargs)
        self.exclusive = exclusive

    def compute_output_shape(self, predictions_shape, columns_shape=None):
        return (predictions_shape[0], predictions_shape[-1])

    def get_config(self):
        return {**super().get_config(), "exclusive": self.exclusive}


@keras.saving.register_keras_serializable("mmkeras")
class JointMaximum(_JoinPredictions):
    """The highest probability that a column gives which is present: `columns` holds 0 or 1."""

    def call(self, predictions, columns):
        highest = ops.max(predictions * ops.expand_dims(columns, -1), axis=1)
        return highest / ops.maximum(ops.sum(highest, axis=-1, keepdims=True), 1e-9) if self.exclusive else highest


@keras.saving.register_keras_serializable("mmkeras")
class Vote(_JoinPredictions):
    """The share of the columns' votes, by their weights in `columns`. It has no slope: nothing trains by it.

    The mean probability counts one hundredth: it breaks ties and weighs less than a vote does among a hundred columns.
    """

    def call(self, predictions, columns):
        if self.exclusive:
            votes = ops.one_hot(ops.argmax(predictions, axis=-1), predictions.shape[-1])
        else:
            votes = predictions > 0.5
        shares = 0.99 * ops.cast(votes, predictions.dtype) + 0.01 * predictions
        return ops.stop_gradient(ops.sum(shares * ops.expand_dims(columns, -1), axis=1))


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
class Answer(keras.layers.Layer):
    """A target's prediction, or the training rows' prior for a row of which nothing is there: (B, P), (B,) -> (B, P).

    Args:
        prior: (P,) numbers.
        learned_weight: Whether the target's loss has a learned weight, the logarithm of its variance.
        temperature: What the prediction's logits are divided by, outside training.
        link: What made a prediction of the logits, as `tempered` has it.

    References:
        Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses, 2018, arXiv:1705.07115.
    """

    def __init__(
        self, prior, learned_weight: bool = False, temperature: float = 1.0, link: Link = "identity", **kwargs
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.prior, self.learned_weight = [float(value) for value in prior], learned_weight
        self.temperature, self.link = float(temperature), link

    def build(self, prediction_shape, given_shape=None):
        if self.learned_weight:
            self.log_variance = self.add_weight(shape=(), initializer="zeros", name="log_variance")

    def call(self, prediction, given, training=False):
        if training:
            # As it is, for Keras' loss to find the logits behind it: without them a row that is quite wrong, its
            # probability below 1e-7, has no slope and is never learned.
            return prediction
        said = tempered(prediction, self.temperature, self.link)
        return ops.where(ops.expand_dims(given, -1) > 0, said, ops.convert_to_tensor(self.prior, "float32"))

    def compute_output_shape(self, prediction_shape, given_shape=None):
        return prediction_shape

    def get_config(self):
        own = {name: getattr(self, name) for name in ("prior", "learned_weight", "temperature", "link")}
        return {**super().get_config(), **own}


def tempered(prediction, temperature: float, link: Link):
    """A prediction whose logits are divided by a temperature: (B, P) -> (B, P). No answer changes by it.

    Args:
        prediction: Probabilities, or with the link "identity" anything, which is left as it is.
        temperature: Above 1 makes the model less sure, below 1 surer.
        link: What made the prediction of logits. "cumulative": of each class but the last, whether the row is not above
            it, which keeps the median class where a softmax would move it.

    References:
        Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, section 4.2.
    """
    if temperature == 1.0 or link == "identity":
        return prediction
    if link == "softmax":
        return ops.softmax(_logarithm(prediction) / temperature)
    if link == "sigmoid":
        # The float below 1: a probability of 1 says that its logit is 17 or more, not that it is without end.
        without = ops.maximum(1.0 - prediction, 6e-8)
        return ops.sigmoid((_logarithm(prediction) - ops.log(without)) / temperature)
    upwards, downwards = ops.cumsum(prediction, axis=-1), ops.flip(ops.cumsum(ops.flip(prediction, -1), axis=-1), -1)
    logits = (_logarithm(upwards[:, :-1]) - _logarithm(downwards[:, 1:])) / temperature
    none = ops.zeros_like(prediction[:, :1])
    below = ops.concatenate([none, ops.sigmoid(logits), none + 1.0], -1)
    above = ops.concatenate([none + 1.0, ops.sigmoid(-logits), none], -1)
    # The difference of two small numbers, not of two that are nearly 1
    return ops.where(below[:, :-1] < 0.5, below[:, 1:] - below[:, :-1], above[:, :-1] - above[:, 1:])


def _logarithm(probabilities):
    return ops.log(ops.maximum(probabilities, SMALLEST))


@keras.saving.register_keras_serializable("mmkeras")
class OrderedClasses(keras.layers.Layer):
    """How high a row stands to the probabilities of K classes in order: (B, 1) -> (B, K), which add up to 1.

    Learned thresholds part the classes; each is the one before it plus a positive gap, so that none can overtake
    another: P(class <= k) = sigmoid(threshold k - height).

    Args:
        thresholds: (K - 1,) numbers to start from, ascending.
    """

    LEAST_GAP = 0.01  # of the thresholds at the start: a class without a training row has none

    def __init__(self, thresholds, **kwargs):
        super().__init__(**kwargs)
        self.thresholds = [float(value) for value in thresholds]

    def build(self, height_shape):
        gaps = np.maximum(np.diff(self.thresholds), self.LEAST_GAP)
        start = np.append(self.thresholds[:1], np.log(np.expm1(gaps))).astype("float32")
        self.steps = self.add_weight(shape=start.shape, initializer=keras.initializers.Constant(start), name="steps")

    def call(self, height):
        steps = ops.concatenate([self.steps[:1], ops.softplus(self.steps[1:])])
        below = ops.sigmoid(ops.cumsum(steps) - height)
        return ops.concatenate([below, ops.ones_like(height)], -1) - ops.concatenate(
            [ops.zeros_like(height), below], -1
        )

    def compute_output_shape(self, height_shape):
        return (height_shape[0], len(self.thresholds) + 1)

    def get_config(self):
        return {**super().get_config(), "thresholds": self.thresholds}


@keras.saving.register_keras_serializable("mmkeras")
class Beside(keras.layers.Layer):
    """A prediction as it is, tied to another tensor (its columns' weights, say), so that a model's graph holds that."""

    def call(self, prediction, other):
        return prediction

    def compute_output_shape(self, prediction_shape, other_shape=None):
        return prediction_shape


@keras.saving.register_keras_serializable("mmkeras")
class AttentionPool(_OverTime):
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


def convolve_steps(
    values: keras.KerasTensor, mask: keras.KerasTensor, filters: int, kernel_steps: Sequence[int]
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Convolutions of several widths over the real steps: (B, T, F), (B, T) -> (B, T, D), their maximum (B, D).

    Args:
        values: float32.
        mask: 1 where a step is real.
        filters: For each width; D is this times how many there are.
        kernel_steps: The widths.

    References:
        Kim, Convolutional Neural Networks for Sentence Classification, 2014, arXiv:1408.5882.
    """
    real = values * ops.expand_dims(mask, -1)  # what lies beyond the end is zero, as a convolution takes it to be
    tokens = concatenate(
        [keras.layers.Conv1D(filters, steps, padding="same", activation="relu")(real) for steps in kernel_steps]
    )
    return tokens, MaskedMax()(tokens, mask)


def mean_and_max(tokens: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """(B, T, D), (B, T) -> (B, 2 D): the mean and the maximum over the real tokens."""
    return keras.layers.Concatenate()([MaskedMean()(tokens, mask), MaskedMax()(tokens, mask)])


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


# Pictures


def encode_picture(
    picture: keras.KerasTensor,
    encoder: Literal["cnn", "resnet"],
    *,
    filters: Sequence[int],
    kernel_px: int,
    batch_normalization: bool,
    layer_normalization: bool = False,
) -> keras.KerasTensor:
    """(B, H, W, 3) -> (B, h, w, D), by a network that learns from scratch; D is the last of `filters`.

    Args:
        picture: float32, z-scored.
        encoder: cnn: `convolve_picture`; resnet: `residual_picture`.
        filters: Of each block, which halves the height and the width.
        kernel_px: Of the convolutions, height and width.
        batch_normalization: Whether each convolution is followed by it.
        layer_normalization: Whether each convolution is followed by one over its channels, in place of that.

    Raises:
        ValueError: The picture is too small for so many blocks.
    """
    height_px, width_px = picture.shape[1:3]
    if min(height_px, width_px) < 2 ** len(filters):
        raise ValueError(
            f"{len(filters)} filters halve a picture of {height_px} x {width_px} px to nothing; expected at least "
            f"{2 ** len(filters)} px; set height_px and width_px higher, or fewer filters"
        )
    normalization = "layer" if layer_normalization else "batch" if batch_normalization else "none"
    encode = {"cnn": convolve_picture, "resnet": residual_picture}[encoder]
    return encode(picture, filters, kernel_px, normalization)


def convolve_picture(
    picture: keras.KerasTensor, filters: Sequence[int], kernel_px: int, normalization: str
) -> keras.KerasTensor:
    """(B, H, W, 3) -> (B, h, w, D): blocks of Conv2D and MaxPooling2D, which halves the height and the width."""
    for count in filters:
        picture = _convolve(picture, count, kernel_px, 1, normalization)
        picture = keras.layers.MaxPooling2D()(keras.layers.Activation("relu")(picture))
    return picture


def residual_picture(
    picture: keras.KerasTensor, filters: Sequence[int], kernel_px: int, normalization: str
) -> keras.KerasTensor:
    """(B, H, W, 3) -> (B, h, w, D): a convolution, then residual blocks of stride 2, two convolutions each.

    A shortcut takes means over 2 x 2 pixels before its convolution of 1 x 1. With a stride of 2 in its place that
    convolution would look at a quarter of them, and its gradient writes beyond its memory on a CPU (TensorFlow 2.21,
    5 channels of 16 x 20 pixels).

    References:
        He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385; He et al., Bag of Tricks for
        Image Classification with Convolutional Neural Networks, 2018, arXiv:1812.01187, figure 2c.
    """
    picture = keras.layers.Activation("relu")(_convolve(picture, filters[0], kernel_px, 1, normalization))
    for count in filters:
        means = keras.layers.AveragePooling2D(2, padding="same")(picture)
        shortcut = _convolve(means, count, 1, 1, normalization)
        inner = keras.layers.Activation("relu")(_convolve(picture, count, kernel_px, 2, normalization))
        inner = _convolve(inner, count, kernel_px, 1, normalization)
        picture = keras.layers.Activation("relu")(keras.layers.Add()([shortcut, inner]))
    return picture


def _convolve(
    picture: keras.KerasTensor, count: int, kernel_px: int, stride_px: int, normalization: str
) -> keras.KerasTensor:
    has_bias = normalization == "none"  # each of the others has one of its own
    picture = keras.layers.Conv2D(count, kernel_px, strides=stride_px, padding="same", use_bias=has_bias)(picture)
    if normalization == "batch":
        # synchronized: the same statistics on one device and on several that share a batch
        return BatchNormalization(momentum=0.9, synchronized=True)(picture)
    return keras.layers.LayerNormalization()(picture) if normalization == "layer" else picture


def backbone_picture(
    picture: keras.KerasTensor, family: str, name: str, *, weights: str, frozen: bool, unfrozen_blocks: int
) -> keras.KerasTensor:
    """(B, H, W, 3) -> (B, h, w, D), by a network of `keras.applications` without its top.

    A frozen backbone's batch normalisation keeps the statistics that it came with, in unfrozen blocks too: those of a
    small table's batches would spoil what it knows.

    Args:
        picture: float32 in [0, 255].
        family: The module of `keras.applications` that holds the class, and how its pictures are scaled.
        name: The class.
        weights: "none", "imagenet" (fetched by Keras), or the path of a file that Keras loads.
        frozen: Whether the weights stay as they are.
        unfrozen_blocks: So many blocks at the top learn nevertheless.

    Raises:
        ValueError: The weights cannot be fetched or do not fit.
    """
    scaled = getattr(keras.applications, family).preprocess_input(picture)
    backbone = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=picture.shape[1:])
    _load(backbone, name, weights)
    if frozen:
        _freeze(backbone, unfrozen_blocks)
    else:
        _quicken(backbone)
    # Another model around the same layers, because two columns may have the same backbone and Keras names it itself.
    return keras.Model(backbone.inputs, backbone.output)(scaled)


def _load(backbone: keras.Model, name: str, weights: str) -> None:
    try:
        if weights == "imagenet":
            fetch = getattr(keras.applications, name)
            fetched = fetch(include_top=False, weights=weights, input_shape=backbone.input_shape[1:])
            backbone.set_weights(fetched.get_weights())
        elif weights != "none":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a line for each layer, before the error
                backbone.load_weights(weights)
    except Exception as error:  # Keras raises nothing narrower where a download fails
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f'encoder {name}: weights "{weights}" cannot be loaded: {reason}; expected none, imagenet or the path of '
            "weights that Keras saved of this network with include_top=False"
        ) from None
    _normalize_as_imagenet(backbone)


def _normalize_as_imagenet(backbone: keras.Model) -> None:
    """What Keras does by one more layer in an EfficientNet, but only where it fetches the weights by itself.

    The weights want pictures divided by the channels' deviations and once more by their square roots. Here the
    variance that a run saves holds both.
    """
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            variance = layer.weights[1]
            if np.allclose(variance, IMAGENET_VARIANCE, rtol=1e-3):
                variance.assign(variance**1.5)
            layer.finalize_state()


def _freeze(backbone: keras.Model, unfrozen_blocks: int) -> None:
    blocks = _blocks(backbone)
    learning = {id(layer) for block in blocks[max(0, len(blocks) - unfrozen_blocks) :] for layer in block}
    for layer in backbone.layers:
        if id(layer) not in learning or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
        if id(layer) not in learning and isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def _quicken(backbone: keras.Model) -> None:
    """Batch normalisation for hundreds of steps; Keras' own momentum, up to 0.999, is for hundreds of thousands."""
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum, layer.synchronized = 0.9, True


def _blocks(backbone: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers in order, cut after each that joins several and that all of the picture passes through.

    A product does not count: it weighs the channels inside a block. A network that joins nothing is cut before each
    layer that makes the picture smaller. What has no kernel, as a last normalisation, goes with the block before it.
    """
    operations = backbone.operations
    last_use = {id(tensor): i for i, operation in enumerate(operations) for tensor in _as_list(operation.input)}
    has_joins = any(_joins(operation) for operation in operations)
    pieces, open_until = [[]], 0
    for i, operation in enumerate(operations):
        pieces[-1].append(operation)
        ends = _joins(operation) if has_joins else _shrinks(operations[i : i + 2])
        if open_until <= i and ends:
            pieces.append([])
        open_until = max([open_until, *(last_use.get(id(tensor), 0) for tensor in _as_list(operation.output))])
    blocks = []
    for piece in pieces:
        has_kernel = any(len(weight.shape) > 1 for layer in piece for weight in getattr(layer, "weights", ()))
        if has_kernel or not blocks:
            blocks.append(piece)
        else:
            blocks[-1] = blocks[-1] + piece
    return blocks


def _joins(operation: keras.layers.Layer) -> bool:
    return len(_as_list(operation.input)) > 1 and type(operation).__name__ != "Multiply"


def _shrinks(pair: list[keras.layers.Layer]) -> bool:
    """Whether the second layer's picture is lower than the first one's."""
    return len(pair) == 2 and pair[1].output.shape[1] < pair[0].output.shape[1]


def _as_list(tensors: object) -> list:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]
