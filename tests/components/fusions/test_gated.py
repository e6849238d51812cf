"""Gated multimodal units: all columns together decide which of them fills a unit."""

import math

import keras
import numpy as np
import pytest
from fixtures_encodings import SCALARS, SHAPES, batch, fused_model, layers_of, scalars

from mmkeras.components.fusions.gated import Gated


@pytest.fixture
def model():
    """A gate that follows column b alone: sigmoid(2 ln(3) tanh(b)) for a, the rest for b."""
    model = fused_model(Gated(width=1, units=()), SCALARS)
    first, second, gate = layers_of(model, keras.layers.Dense)
    for projection in (first, second):
        projection.set_weights([np.ones((1, 1)), np.zeros(1)])
    gate.set_weights([np.array([[0.0, 0], [2 * math.log(3), 0]]), np.zeros(2)])
    return model


def test_with_two_columns_it_is_the_unit_of_the_paper(model):
    high, low = math.atanh(0.5), math.atanh(-0.5)
    found = model(scalars(a=[high, high], b=[high, low]))
    np.testing.assert_allclose(found["weights"], [[0.75, 0.25], [0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(found["vector"][:, 0], [0.5, 0.25 * 0.5 - 0.75 * 0.5], atol=1e-6)


def test_what_is_there_fills_the_units_of_what_is_not(model):
    found = model(scalars(a=[0.5, np.nan], b=[np.nan, np.nan]))
    np.testing.assert_array_equal(found["weights"], [[1, 0], [0, 0]])
    np.testing.assert_allclose(found["vector"][:, 0], [math.tanh(0.5), 0], atol=1e-6)


def test_each_unit_has_its_own_gates_and_the_weights_are_their_mean():
    model = fused_model(Gated(width=2, units=()), {"a": SHAPES["a"], "b": SHAPES["b"]})
    *projections, gate = layers_of(model, keras.layers.Dense)
    for layer, value in zip(projections, (0.5, -0.5), strict=True):
        layer.set_weights([np.zeros(layer.kernel.shape), np.full(2, math.atanh(value))])
    # Unit by unit, the scores of a and b: a fills the first one, b the second one three times as much as a
    gate.set_weights([np.zeros((4, 4)), np.array([50.0, 0, 0, math.log(3)])])
    found = model({column: parts for column, parts in batch(SHAPES, [1, 1, 1]).items() if column != "c"})
    np.testing.assert_allclose(found["vector"], [[0.5, 0.25 * 0.5 - 0.75 * 0.5]] * 3, atol=1e-6)
    np.testing.assert_allclose(found["weights"], [[0.625, 0.375]] * 3, atol=1e-6)
