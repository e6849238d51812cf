"""Keras layers at a network's end: a target's answer, ordered classes, columns' predictions as one."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mmkeras.contracts.links import Link, tempered


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
class Answer(keras.layers.Layer):
    """A target's prediction, or the training rows' prior for a row of which nothing is there: (B, P), (B,) -> (B, P).

    Args:
        prior: (P,) numbers.
        temperature: What the prediction's logits are divided by, outside training.
        link: What made a prediction of the logits, as `tempered` has it.
    """

    def __init__(self, prior, temperature: float = 1.0, link: Link = "identity", **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.prior = [float(value) for value in prior]
        self.temperature, self.link = float(temperature), link

    def call(self, prediction, given, training=False):
        if training:
            # As it is, for Keras' loss to find the logits behind it: without them a row that is quite wrong, its
            # probability below 1e-7, has no slope and is never learned.
            return prediction
        said = tempered(prediction, self.temperature, self.link, ops)
        return ops.where(ops.expand_dims(given, -1) > 0, said, ops.convert_to_tensor(self.prior, "float32"))

    def compute_output_shape(self, prediction_shape, given_shape=None):
        return prediction_shape

    def get_config(self):
        own = {name: getattr(self, name) for name in ("prior", "temperature", "link")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("mmkeras")
class LossWeight(keras.layers.Layer):
    """Holds what weighs a target's loss, the logarithm of its variance; the prediction (B, P) passes as it is.

    References:
        Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses, 2018, arXiv:1705.07115.
    """

    def build(self, prediction_shape):
        self.log_variance = self.add_weight(shape=(), initializer="zeros", name="log_variance")

    def call(self, prediction):
        return prediction

    def compute_output_shape(self, prediction_shape):
        return prediction_shape


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
