"""Comparison of columns: cosine, distance, product and difference of each two."""

import keras
import numpy as np
import pytest
from fixtures_encodings import SHAPES, batch, fused_model, layers_of

from mmkeras.components.fusions.similarity import Similarity

SAME = {column: SHAPES["a"] for column in "abc"}


@pytest.fixture
def model():
    """Three columns that are projected in the same way, to four numbers each."""
    model = fused_model(Similarity(width=4, units=()), SAME)
    first, *others = layers_of(model, keras.layers.Dense)
    for layer in others:
        layer.set_weights(first.get_weights())
    return model


def pairs(vector):
    """What is said of a and b, a and c, b and c: cosine, distance, product, difference."""
    found = np.array(vector)[:, 3 * 4 :].reshape(-1, 3, 2 + 4 + 4)
    return found[..., 0], found[..., 1], found[..., 2:6], found[..., 6:]


def test_vectors_and_pairs_lie_side_by_side(model):
    features = batch(SAME, [1, 1, 1])
    vector = np.array(model(features)["vector"])
    assert vector.shape == (3, 3 * 4 + 3 * (2 + 2 * 4))
    a, b = vector[:, :4], vector[:, 4:8]
    cosine, distance, product, difference = pairs(vector)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosine[:, 0], (a * b).sum(axis=1) / lengths, atol=1e-4)
    np.testing.assert_allclose(distance[:, 0], np.linalg.norm(a - b, axis=1) / 2, atol=1e-4)
    np.testing.assert_allclose(product[:, 0], a * b, atol=1e-6)
    np.testing.assert_allclose(difference[:, 0], abs(a - b), atol=1e-6)


def test_columns_that_say_the_same_have_no_distance(model):
    features = batch(SAME, [1, 1, 1])
    cosine, distance, _, difference = pairs(model(features | {"c": features["a"]})["vector"])
    np.testing.assert_allclose(cosine[:, 1], 1, atol=1e-4)
    np.testing.assert_allclose(distance[:, 1], 0, atol=2e-3)
    assert not difference[:, 1].any() and difference[:, 0].any()


def test_a_pair_with_an_absent_column_gives_zeros(model):
    vector = model(batch(SAME, {"a": [1, 1], "b": [1, 0], "c": [0, 0]}))["vector"]
    for part in pairs(vector):
        assert part[0, 0].all() and not part[0, 1:].any()
        assert not part[1].any()


def test_no_two_columns_no_pairs():
    assert fused_model(Similarity(width=4, units=()), {"a": SHAPES["a"]}).output["vector"].shape == (None, 4)
