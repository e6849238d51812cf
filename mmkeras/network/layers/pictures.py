"""Keras layers over pictures: convolution blocks, residual blocks, networks of keras.applications."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mmkeras.network.layers.nested import Nested

Normalization = Literal["none", "batch", "layer"]
IMAGENET_VARIANCE = np.square([0.229, 0.224, 0.225])  # of the channels of pictures in [0, 1]


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


# Pictures


def convolve_picture(
    picture: keras.KerasTensor, filters: Sequence[int], kernel_px: int, normalization: Normalization
) -> keras.KerasTensor:
    """(B, H, W, C) -> (B, h, w, D): blocks of Conv2D and MaxPooling2D, which halves the height and the width.

    Args:
        picture: float32, z-scored.
        filters: Of each block.
        kernel_px: Of the convolutions, height and width.
        normalization: What follows each convolution; layer: over its channels.
    """
    for count in filters:
        picture = _convolve(picture, count, kernel_px, 1, normalization)
        picture = keras.layers.MaxPooling2D()(keras.layers.Activation("relu")(picture))
    return picture


def residual_picture(
    picture: keras.KerasTensor, filters: Sequence[int], kernel_px: int, normalization: Normalization
) -> keras.KerasTensor:
    """(B, H, W, C) -> (B, h, w, D): a convolution, then residual blocks of stride 2, two convolutions each.

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
    picture: keras.KerasTensor, count: int, kernel_px: int, stride_px: int, normalization: Normalization
) -> keras.KerasTensor:
    has_bias = normalization == "none"  # each of the others has one of its own
    picture = keras.layers.Conv2D(count, kernel_px, strides=stride_px, padding="same", use_bias=has_bias)(picture)
    if normalization == "batch":
        # synchronized: the same statistics on one device and on several that share a batch
        return BatchNormalization(momentum=0.9, synchronized=True)(picture)
    return keras.layers.LayerNormalization()(picture) if normalization == "layer" else picture


def pooled_by_place(picture: keras.KerasTensor, places: int) -> keras.KerasTensor:
    """(B, h, w, D) -> (B, D'): the means of so many cells a side, where each keeps its place."""
    pool_px = tuple(max(1, size // places) for size in picture.shape[1:3])
    return keras.layers.Flatten()(keras.layers.AveragePooling2D(pool_px)(picture))


def as_tokens(picture: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """(B, h, w, D) -> tokens (B, h * w, D) and their mask (B, h * w), all ones."""
    tokens = keras.layers.Reshape((-1, picture.shape[-1]))(picture)
    return tokens, ops.ones_like(tokens[..., 0])


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
    return Nested(keras.Model(backbone.inputs, backbone.output))(scaled)


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
