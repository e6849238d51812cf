"""Concatenation: what the joint vector is made of."""

import keras
import numpy as np
import pytest

from mmkeras.components.fusions.concat import Concat
from mmkeras.contracts.encoding import Encoding


def encoding(vector):
    tokens = keras.ops.expand_dims(vector, 1)
    return Encoding(vector, tokens, keras.ops.ones_like(tokens[..., 0]), keras.ops.ones_like(vector[:, 0]))


def fused(fusion, **widths):
    """The fusion of columns of these widths as a model of a dict of vectors."""
    inputs = {column: keras.Input((width,), name=column) for column, width in widths.items()}
    found = fusion.fuse({column: encoding(vector) for column, vector in inputs.items()})
    assert found.weights is None
    return keras.Model(inputs, found.vector)


def test_without_dense_layers_the_vectors_lie_side_by_side_in_sorted_order():
    model = fused(Concat(units=()), b=2, a=3)
    vector = model({"a": np.array([[1.0, 2, 3]]), "b": np.array([[4.0, 5]])})
    assert vector.numpy().tolist() == [[1, 2, 3, 4, 5]]


def test_one_column_needs_no_joining():
    assert fused(Concat(units=()), a=3)({"a": np.array([[1.0, 2, 3]])}).numpy().tolist() == [[1, 2, 3]]


def test_dense_layers_follow():
    model = fused(Concat(units=(7, 4)), a=3, b=2)
    assert model.output.shape == (None, 4)
    kernels = [weight.shape for weight in model.trainable_weights if len(weight.shape) == 2]
    assert kernels == [(5, 7), (7, 4)]


def test_a_dense_layer_is_what_it_says():
    model = fused(Concat(units=(2,)), a=1, b=1)
    model.set_weights([np.array([[1.0, -1], [10, -10]]), np.array([0.5, 0.25])])
    # a + 10 b + 0.5, and relu(-a - 10 b + 0.25)
    np.testing.assert_allclose(model({"a": np.array([[2.0]]), "b": np.array([[3.0]])}), [[32.5, 0]])


@pytest.mark.parametrize(("dropout", "differs"), [(0.5, True), (0.0, False)])
def test_dropout_is_for_training_only(dropout, differs):
    keras.utils.set_random_seed(3)
    model = fused(Concat(units=(64,), dropout=dropout), a=3)
    row = {"a": np.array([[1.0, 2, 3]])}
    np.testing.assert_array_equal(model(row), model(row))
    assert np.array_equal(model(row, training=True), model(row)) != differs
