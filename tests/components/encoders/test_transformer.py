"""The Transformer over steps: its vector, and heads that do not fit."""

import keras
import numpy as np
import pytest

from mmkeras.components.encoders.transformer import Transformer
from mmkeras.contracts.config import build
from mmkeras.contracts.encoder import Parts


@pytest.mark.parametrize(("pooling", "vector_width"), [("mean_and_max", 12), ("first", 6)])
def test_shapes_and_the_first_token(pooling, vector_width):
    steps, mask = keras.Input((7, 5)), keras.Input((7,))
    found = Transformer(width=6, heads=3, depth=2, pooling=pooling).encode(Parts("steps", steps, mask))
    model = keras.Model([steps, mask], [found.tokens, found.vector])
    tokens, vector = model([np.random.default_rng(0).normal(size=(3, 7, 5)), np.ones((3, 7))])
    assert tokens.shape == (3, 7, 6) and vector.shape == (3, vector_width)
    assert sum(isinstance(layer, keras.layers.MultiHeadAttention) for layer in model.layers) == 2
    if pooling == "first":
        np.testing.assert_array_equal(vector, tokens[:, 0])


def test_heads_that_do_not_share_the_width_are_refused():
    encoder = {"type": "transformer", "width": 10}
    message = "columns.q.encoder: width is 10, expected a multiple of heads, which is 4; change one of them"
    with pytest.raises(ValueError, match=message):
        build("modality", {"type": "text", "encoder": encoder}, "config columns.q")
