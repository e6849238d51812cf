"""A network of another's making as one layer of a column's model."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable("mmkeras")
class Nested(keras.layers.Layer):
    """Runs a network as one operation, whose input and output are seen from outside, as any layer's are.

    Args:
        network: Functional; its weights are this layer's.
    """

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def build(self, inputs_shape):
        pass  # the network is built

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)

    def compute_output_shape(self, inputs_shape):
        return self.network.compute_output_shape(inputs_shape)

    def get_config(self):
        return {**super().get_config(), "network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("network")), **config)
