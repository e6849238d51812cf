"""LSTMs and GRUs: sizes, depth, and what the vector is. By hand they are tried in test_layers.py."""

import keras
import numpy as np
import pytest

from mmkeras.components.encoders.recurrent import Recurrent
from mmkeras.contracts.encoder import Parts


def encoded(**settings):
    steps, mask = keras.Input((7, 5)), keras.Input((7,))
    found = Recurrent(units=4, **settings).encode(Parts("steps", steps, mask))
    return keras.Model([steps, mask], [found.tokens, found.vector])


@pytest.mark.parametrize(
    ("settings", "width", "vector_width"),
    [
        ({}, 4, 8),
        ({"pooling": "last"}, 4, 4),
        ({"both_ways": True}, 8, 16),
        ({"both_ways": True, "pooling": "last", "cell": "gru", "depth": 3, "dropout": 0.1}, 8, 8),
    ],
)
def test_shapes(settings, width, vector_width):
    model = encoded(**settings)
    tokens, vector = model([np.ones((3, 7, 5)), np.ones((3, 7))])
    assert tokens.shape == (3, 7, width) and vector.shape == (3, vector_width)
    kinds = [type(getattr(layer, "forward_layer", layer)).__name__ for layer in model.layers]
    assert kinds.count(settings.get("cell", "lstm").upper()) == settings.get("depth", 1)
    assert kinds.count("Dropout") == settings.get("depth", 1) - 1


def test_the_last_state_is_of_the_last_real_step():
    model = encoded(pooling="last")
    mask = np.array([[1, 1, 1, 0, 0, 0, 0], [1] * 7], np.float32)
    tokens, vector = model([np.random.default_rng(0).normal(size=(2, 7, 5)), mask])
    np.testing.assert_allclose(vector, [tokens[0, 2], tokens[1, 6]], atol=1e-6)
