"""Models of a picture's encoding alone, shared by tests of pictures and of encoders of pictures."""

import keras
import numpy as np
import tensorflow as tf


def encoded(image):
    """A model of the encoding's vector, tokens and mask."""
    inputs = {name: keras.Input(spec.shape, dtype=spec.dtype.name, name=name) for name, spec in image.features.items()}
    encoding = image.encode(inputs)
    return keras.Model(inputs, [encoding.vector, encoding.tokens, encoding.mask])


def batch(image, given):
    rows = [image.preprocess(tf.constant(cell)) for cell in given]
    return {name: tf.stack([row[name] for row in rows]) for name in rows[0]}


def dead_weights(model, inputs):
    """The trainable weights that no gradient reaches."""
    with tf.GradientTape() as tape:
        vector, tokens, _ = model(inputs, training=False)
        weights = [tf.random.stateless_normal(part.shape, [1, 2]) for part in (vector, tokens)]
        loss = tf.reduce_sum(vector * weights[0]) + tf.reduce_sum(tokens * weights[1])
    assert np.isfinite(loss)
    gradients = tape.gradient(loss, model.trainable_variables)
    found = zip(model.trainable_variables, gradients, strict=True)
    return [weight.path for weight, gradient in found if gradient is None or not np.any(gradient)]
