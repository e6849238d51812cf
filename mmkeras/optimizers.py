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
        place = self._get_variable_index(variable)
        step, dtype = tf.cast(self.iterations + 1, variable.dtype), variable.dtype
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
            use_locking=True,
        )


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
