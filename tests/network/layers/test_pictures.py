"""Convolutions over pictures and their normalisation, against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras.network import layers


def floats(values):
    return np.array(values, np.float32)


# Pictures


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize(("blocks", "height", "width"), [("convolve_picture", 5, 7), ("residual_picture", 6, 8)])
def test_each_block_halves_a_picture(blocks, height, width, normalization):
    picture = keras.Input((23, 31, 3))
    encoded = getattr(layers.pictures, blocks)(picture, (4, 9), 3, normalization)
    assert encoded.shape == (None, height, width, 9)
    classes = {type(layer).__name__ for layer in keras.Model(picture, encoded).layers}
    assert ("LayerNormalization" in classes) == (normalization == "layer")
    assert ("BatchNormalization" in classes) == (normalization == "batch")


def test_means_keep_their_places():
    picture = floats(np.arange(16).reshape(1, 4, 4, 1))
    np.testing.assert_allclose(layers.pictures.pooled_by_place(picture, 2), [[2.5, 4.5, 10.5, 12.5]])
    np.testing.assert_allclose(layers.pictures.pooled_by_place(picture, 1), [[7.5]])
    np.testing.assert_allclose(layers.pictures.pooled_by_place(picture, 9), picture.reshape(1, 16))


def test_a_residual_block_adds_to_its_shortcut():
    picture = keras.Input((2, 2, 3))
    encoded = layers.pictures.residual_picture(picture, (1,), 1, "none")
    model = keras.Model(picture, encoded)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    convolutions.sort(key=lambda layer: (len(layer.name), layer.name))  # as they were made
    for layer, weight in zip(convolutions, (1, 2, 3, -0.5), strict=True):
        layer.set_weights([np.full_like(layer.get_weights()[0], weight), floats([0])])
    values = floats([[[[1, 2, 4], [9, 9, 9]], [[9, 9, 9], [9, 9, 9]]]])
    # The stem gives 1 + 2 + 4 = 7 at the top left and 27 elsewhere, 22 on average: the shortcut gives 2 * 22, the two
    # convolutions, the first of which looks at the top left only, -0.5 * (3 * 7).
    np.testing.assert_allclose(model(values), [[[[44 - 10.5]]]])


# Pictures' batch normalisation


def normalized(layer, trained_steps=3):
    """What it gives, its gradients and its statistics after some batches of pictures."""
    pictures = np.random.default_rng(0).normal(2, 3, (trained_steps, 4, 5, 6, 3)).astype("float32")
    layer.build((None, 5, 6, 3))
    layer.gamma.assign([1.0, 2.0, 0.5])
    for batch in pictures:
        with tf.GradientTape() as tape:
            batch = tf.constant(batch)
            tape.watch(batch)
            answer = layer(batch, training=True)
            loss = tf.reduce_sum(answer**3)
        gradients = tape.gradient(loss, [batch, layer.gamma.value, layer.beta.value])
    return [answer, layer(batch, training=False), *gradients, *layer.weights]


@pytest.mark.parametrize("changes", [{}, {"trainable": False}])
def test_pictures_are_normalized_as_keras_does(changes):
    own, wanted = layers.pictures.BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for layer in (own, wanted):
        layer.trainable = changes.get("trainable", True)
    for ours, theirs in zip(normalized(own), normalized(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_training_normalizes_pictures_by_one_operation():
    layer = layers.pictures.BatchNormalization()
    step = tf.function(lambda pictures: layer(pictures, training=True))
    graph = step.get_concrete_function(tf.TensorSpec((4, 5, 6, 3))).graph
    assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}
