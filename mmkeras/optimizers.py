"""Keras' Adam and AdamW with one pass over the memory of each weight."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class _OnePass:
    """The same update by one operation of TensorFlow, where Keras takes ten that each go through all weights.

    Of a large table of vectors (text's n-grams) a step reads few rows, and Adam moves them all: what that costs is
    memory traffic.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        place, dtype = self._get_variable_index(variable), variable.dtype
        step, velocity = tf.cast(self.iterations + 1, dtype), self._velocities[place].value
        if isinstance(gradient, tf.IndexedSlices):
            gradient = self._square_each_share(velocity, gradient)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=velocity.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
            use_locking=True,
        )

    def _square_each_share(self, velocity: Any, gradient: Any) -> Any:
        """A table's gradient as one tensor, and its velocity such that the update ends where Keras' does.

        A vector that a batch looks up several times has so many shares of gradient. Keras adds up their squares, the
        operation takes the square of their sum; the difference is put into the velocity beforehand.
        """
        whole = tf.convert_to_tensor(gradient)
        looked_up, _ = tf.unique(gradient.indices)
        beta_2 = tf.cast(self.beta_2, velocity.dtype)
        for add, rows, shares in (
            (tf.raw_ops.ResourceScatterAdd, gradient.indices, gradient.values),
            (tf.raw_ops.ResourceScatterSub, looked_up, tf.gather(whole, looked_up)),
        ):
            add(resource=velocity.handle, indices=rows, updates=(1.0 - beta_2) / beta_2 * tf.square(shares))
        return whole


class Adam(_OnePass, keras.optimizers.Adam):
    """Adam.

    References:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, 2014, arXiv:1412.6980.
    """


class AdamW(_OnePass, keras.optimizers.AdamW):
    """Adam with decoupled weight decay.

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2017, arXiv:1711.05101.
    """
