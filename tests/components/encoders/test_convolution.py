"""Convolutions over steps: their layers. By hand they are tried in test_layers.py."""

import keras
import numpy as np
import pytest

from mmkeras.components.encoders.convolution import Convolution
from mmkeras.contracts.encoder import Parts


def encoded(**settings):
    steps, mask = keras.Input((11, 5)), keras.Input((11,))
    found = Convolution(**settings).encode(Parts("steps", steps, mask))
    return keras.Model([steps, mask], [found.tokens, found.mask, found.vector])


@pytest.mark.parametrize(
    ("settings", "steps", "width", "vector_width"),
    [
        ({"filters": (4, 6)}, 3, 6, 12),
        ({"filters": (4, 6), "halving": "stride", "normalization": "layer", "dropout": 0.1}, 3, 6, 12),
        ({"filters": (4, 6), "halving": "none", "normalization": "none"}, 11, 6, 12),
        ({"filters": (4,), "kernel_steps": (2, 3, 5), "halving": "none", "pooling": "max"}, 11, 12, 12),
    ],
)
def test_shapes(settings, steps, width, vector_width):
    tokens, mask, vector = encoded(**settings)([np.ones((3, 11, 5)), np.ones((3, 11))])
    assert tokens.shape == (3, steps, width) and vector.shape == (3, vector_width)
    assert mask.numpy().tolist() == [[1] * steps] * 3


@pytest.mark.parametrize(("normalization", "has_bias"), [("none", True), ("layer", True), ("batch", False)])
def test_what_batch_normalization_takes_away_is_not_learned(normalization, has_bias):
    model = encoded(filters=(4,), normalization=normalization)
    assert any(weight.path.endswith("conv1d/bias") or "/bias" in weight.path for weight in model.weights) == has_bias
