"""Layers that join columns, by hand: absent ones, shares, weighted sums, projections."""

import keras
import numpy as np
import pytest

from mmkeras.network import layers


def floats(values):
    return np.array(values, np.float32)


TOKENS = floats([[[1, -5], [3, -7], [100, 100]], [[2, 2], [9, 9], [9, 9]], [[9, 9], [9, 9], [9, 9]]])  # (B=3, T=3, D=2)


def test_an_absent_vector_is_replaced_by_the_learned_one():
    layer = layers.joining.ReplaceAbsent()
    vector, present = floats([[1, 2], [3, 4]]), floats([1, 0])
    np.testing.assert_array_equal(layer(vector, present), [[1, 2], [0, 0]])
    layer.set_weights([floats([7, 8])])
    np.testing.assert_array_equal(layer(vector, present), [[1, 2], [7, 8]])


@pytest.mark.filterwarnings("error")
def test_keras_own_mask_ends_where_columns_are_told_apart():
    marked = layers.joining.AddLearned()(keras.layers.Masking()(keras.Input((3, 2))))
    assert marked.shape == (None, 3, 2)
    assert getattr(marked, "_keras_mask", None) is None


def test_shares_are_of_what_is_there():
    scores = floats([[np.log(3), 99, 0], [4, 4, 4], [5, 6, 7]])
    shares = layers.joining.MaskedSoftmax()(scores, floats([[1, 0, 1], [0, 1, 0], [0, 0, 0]]))
    np.testing.assert_allclose(shares, [[0.75, 0, 0.25], [0, 1, 0], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [([[0.25, 0.75]], [[2.5, 3.5, 4.5]]), ([[[1, 0, 0.5], [0, 1, 0.5]]], [[1, 4, 4]])],
)
def test_a_weighted_sum_by_column_or_by_unit(weights, wanted):
    np.testing.assert_allclose(layers.joining.WeightedSum()(floats([[[1, 2, 3], [3, 4, 5]]]), floats(weights)), wanted)


def test_what_is_said_of_two_vectors():
    found = layers.joining.Compare()(floats([[1, 2, 3], [0, 0, 0]]), floats([[4, 5, 6], [0, 0, 0]]))
    cosine = 32 / np.sqrt(14 * 77)  # 0.975
    np.testing.assert_allclose(found[0], [cosine, 3, 4, 10, 18, 3, 3, 3], atol=1e-5)
    np.testing.assert_allclose(found[1], np.zeros(8), atol=2e-3)


def test_one_learned_vector_is_added_to_every_token_or_put_before_them():
    added = layers.joining.AddLearned()
    change = np.array(added(TOKENS)) - TOKENS
    np.testing.assert_allclose(change, np.broadcast_to(added.vector, TOKENS.shape), atol=1e-4)
    put = layers.joining.PrependLearned()
    found = np.array(put(TOKENS))
    np.testing.assert_array_equal(found[:, 1:], TOKENS)
    np.testing.assert_array_equal(found[:, 0], np.broadcast_to(put.token, found[:, 0].shape))


def test_projections_are_of_one_width_and_bounded():
    first, second = layers.joining.project([floats([[1e4, -1e4]]), floats([[1e4, 2, 3]])], 5)
    assert first.shape == second.shape == (1, 5)
    assert np.abs(first).max() <= 1 and np.abs(second).max() <= 1
