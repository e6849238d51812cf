"""The weighted sum: one weight per column."""

import math

import keras
import numpy as np
import pytest
from fixtures_encodings import SCALARS, SHAPES, fused_model, layers_of, scalars

from mmkeras.components.fusions.weighted import Weighted
from mmkeras.network import layers


@pytest.fixture
def model():
    """(3 tanh(a) + tanh(2 b)) / 4."""
    model = fused_model(Weighted(width=1, units=()), SCALARS)
    first, second = layers_of(model, keras.layers.Dense)
    first.set_weights([np.array([[1.0]]), np.zeros(1)])
    second.set_weights([np.array([[2.0]]), np.zeros(1)])
    layers_of(model, layers.joining.LearnedScores)[0].set_weights([np.array([math.log(3), 0.0])])
    return model


def test_columns_count_as_much_as_their_numbers_say(model):
    found = model(scalars(a=[0.5, -2], b=[1, 7]))
    np.testing.assert_allclose(found["weights"], [[0.75, 0.25]] * 2, atol=1e-6)
    wanted = [0.75 * math.tanh(a) + 0.25 * math.tanh(2 * b) for a, b in ((0.5, 1), (-2, 7))]
    np.testing.assert_allclose(found["vector"][:, 0], wanted, atol=1e-6)


def test_what_is_there_counts_in_place_of_what_is_not(model):
    found = model(scalars(a=[0.5, np.nan, np.nan], b=[np.nan, 1, np.nan]))
    np.testing.assert_array_equal(found["weights"], [[1, 0], [0, 1], [0, 0]])
    np.testing.assert_allclose(found["vector"][:, 0], [math.tanh(0.5), math.tanh(2), 0], atol=1e-6)


def test_before_training_all_columns_count_the_same():
    model = fused_model(Weighted(), SHAPES)
    weights = layers_of(model, layers.joining.LearnedScores)[0](np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(weights, np.zeros((2, 3)))


def test_dense_layers_follow():
    assert fused_model(Weighted(width=4, units=(7, 9)), SHAPES).output["vector"].shape == (None, 9)
    assert fused_model(Weighted(width=4, units=()), SHAPES).output["vector"].shape == (None, 4)
