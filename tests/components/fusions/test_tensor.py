"""Low-rank tensor fusion: products of what the columns hold."""

import math

import keras
import numpy as np
import pytest
from fixtures_encodings import SCALARS, batch, fused_model, layers_of, scalars

from mmkeras.components.fusions.tensor import Tensor


@pytest.fixture
def model():
    """((1 + 2 tanh(a)) (1 + 4 tanh(b)) + (3 + 0 tanh(a)) (5 + 0 tanh(b))) / 2 - 1."""
    model = fused_model(Tensor(width=1, rank=2, units=()), SCALARS)
    dense = layers_of(model, keras.layers.Dense)
    for layer in (layer for layer in dense if layer.units == 1):
        layer.set_weights([np.ones((1, 1)), np.zeros(1)])
    first, second = (layer for layer in dense if layer.units == 2)
    first.set_weights([np.array([[2.0, 0]]), np.array([1.0, 3])])
    second.set_weights([np.array([[4.0, 0]]), np.array([1.0, 5])])
    return model


def test_the_joint_vector_is_the_mean_of_products(model):
    half = math.atanh(0.5)
    found = model(scalars(a=[half, half, 0], b=[half, -half, 0]))["vector"][:, 0]
    np.testing.assert_allclose(found, [(2 * 3 + 15) / 2 - 1, (2 * -1 + 15) / 2 - 1, (1 + 15) / 2 - 1], atol=1e-5)


def test_an_absent_column_is_a_factor_of_one(model):
    half = math.atanh(0.5)
    found = model(scalars(a=[half, np.nan, np.nan], b=[np.nan, half, np.nan]))["vector"][:, 0]
    np.testing.assert_allclose(found, [(2 + 3) / 2 - 1, (3 + 5) / 2 - 1, 0], atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_many_columns_neither_explode_nor_vanish(count):
    keras.utils.set_random_seed(5)
    shapes = {f"c{i:02}": (6, 2, 3) for i in range(count)}
    features = batch(shapes, np.ones(200))
    features = {column: parts | {"vector": 1000 * parts["vector"]} for column, parts in features.items()}
    product = np.array(fused_model(Tensor(units=(), rank=1), shapes)(features)["vector"]) + 1
    # All projections lie at -1 or 1, the most that they can: (1 + 1 / M) ** M, 2 for one column, e for many
    assert np.mean(product**2) == pytest.approx((1 + 1 / count) ** count, rel=0.5)
