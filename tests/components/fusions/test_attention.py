"""Attention over columns: the weights depend on the row."""

import math

import keras
import numpy as np
import pytest
from fixtures_encodings import SCALARS, SHAPES, fused_model, layers_of, scalars

from mmkeras.components.fusions.attention import Attention


@pytest.fixture
def model():
    """Scores ln(3) tanh(a) and ln(3) tanh(b)."""
    model = fused_model(Attention(width=1, units=()), SCALARS)
    first, second, score = layers_of(model, keras.layers.Dense)
    for projection in (first, second):
        projection.set_weights([np.ones((1, 1)), np.zeros(1)])
    score.set_weights([np.array([[math.log(3)]])])
    return model


def test_a_softmax_of_the_scores_weighs_the_columns_of_each_row(model):
    high, low = math.atanh(0.5), math.atanh(-0.5)  # scores that differ by ln 3
    found = model(scalars(a=[high, low, high], b=[low, high, high]))
    np.testing.assert_allclose(found["weights"], [[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(found["vector"][:, 0], [0.25, 0.25, 0.5], atol=1e-6)


def test_what_is_there_counts_in_place_of_what_is_not(model):
    found = model(scalars(a=[0.5, np.nan], b=[np.nan, np.nan]))
    np.testing.assert_array_equal(found["weights"], [[1, 0], [0, 0]])
    np.testing.assert_allclose(found["vector"][:, 0], [math.tanh(0.5), 0], atol=1e-6)


def test_one_vector_scores_every_column():
    dense = layers_of(fused_model(Attention(width=4, units=(7,)), SHAPES), keras.layers.Dense)
    assert [layer.kernel.shape for layer in dense] == [(5, 4), (6, 4), (11, 4), (4, 1), (4, 7)]
