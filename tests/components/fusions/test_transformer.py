"""The Transformer over all columns' tokens: who is seen, and how its attention becomes weights."""

import keras
import numpy as np
import pytest
from fixtures_encodings import SHAPES, batch, fused_model, layers_of

from mmkeras.components.fusions.transformer import Transformer

TINY = {"width": 6, "heads": 3}


@pytest.fixture(scope="module")
def model():
    return fused_model(Transformer(**TINY), SHAPES)


def test_the_summary_token_is_the_joint_vector(model):
    assert model.output["vector"].shape == (None, 6)
    np.testing.assert_allclose(np.mean(model(batch(SHAPES, [1, 1]))["vector"], axis=1), 0, atol=1e-5)


def test_attention_that_looks_everywhere_counts_the_tokens():
    model = fused_model(Transformer(**TINY), SHAPES)
    last = layers_of(model, keras.layers.MultiHeadAttention)[-1]
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    features = batch(SHAPES, {"a": [1, 1, 0], "b": [1, 0, 0], "c": [1, 1, 0]})
    features["a"]["mask"][0] = [1, 1, 0]
    features["b"]["mask"][0] = [1, 1, 1, 1, 0, 0, 0]
    features["a"]["mask"][1] = [1, 0, 0]
    # Real tokens and a vector: 2 + 1, 4 + 1, 1 + 1; then 1 + 1, none, 1 + 1
    np.testing.assert_allclose(model(features)["weights"], [[0.3, 0.5, 0.2], [0.5, 0, 0.5], [0, 0, 0]], atol=1e-6)


def test_padding_does_not_matter(model):
    features = batch(SHAPES, [1, 1, 1])
    padding = features["b"]["mask"] == 0
    changed = features["b"]["tokens"] + 1000 * padding[..., None].astype(np.float32)
    other = features | {"b": features["b"] | {"tokens": changed}}
    assert padding.any()
    np.testing.assert_array_equal(model(other)["vector"], model(features)["vector"])


@pytest.mark.parametrize("part", ["vector", "tokens"])
def test_vectors_and_tokens_both_count(model, part):
    features = batch(SHAPES, [1, 1, 1])
    other = features | {"c": features["c"] | {part: features["c"][part] + 1}}
    assert np.abs(np.array(model(other)["vector"]) - model(features)["vector"]).max(axis=1).min() > 1e-4


def test_the_order_of_tokens_counts(model):
    features = batch(SHAPES, [1, 1])
    features["a"]["mask"][:] = 1
    other = features | {"a": features["a"] | {"tokens": features["a"]["tokens"][:, ::-1]}}
    assert np.abs(np.array(model(other)["vector"]) - model(features)["vector"]).max(axis=1).min() > 1e-4


def test_depth_is_the_number_of_blocks():
    for depth in (1, 3):
        found = fused_model(Transformer(**TINY, depth=depth), {"a": SHAPES["a"]})
        assert len(layers_of(found, keras.layers.MultiHeadAttention)) == depth


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width has to be a multiple of heads, got 10 and 4"):
        Transformer(width=10)
