"""Convolutions over time and bands."""

import keras
import numpy as np

from mmkeras.components.encoders.spectral import Spectral
from mmkeras.contracts.encoder import Parts


def encoded(**settings):
    bands, mask = keras.Input((11, 6)), keras.Input((11,))
    found = Spectral(width=5, **settings).encode(Parts("bands", bands, mask))
    return keras.Model([bands, mask], [found.tokens, found.mask, found.vector])


def test_steps_and_bands_halve_and_the_mask_follows():
    model = encoded(filters=(2, 3))
    real = np.array([[1] * 4 + [0] * 7, [1] * 11], np.float32)
    tokens, mask, vector = model([np.ones((2, 11, 6)), real])
    assert tokens.shape == (2, 3, 5) and vector.shape == (2, 10)
    assert mask.numpy().tolist() == [[1, 0, 0], [1, 1, 1]]
    dense = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    assert dense.kernel.shape == (2 * 3, 5)  # 6 bands have become 2, of 3 channels each


def test_where_a_band_lies_matters():
    keras.utils.set_random_seed(1)
    model, real = encoded(filters=(2,)), np.ones((1, 11), np.float32)
    low, high = np.zeros((1, 11, 6)), np.zeros((1, 11, 6))
    low[..., 1] = high[..., 3] = 1
    assert np.abs(model([low, real])[2] - model([high, real])[2]).max() > 1e-3
