"""Convolutions over pictures: what a vector is, and what is refused."""

import keras
import numpy as np
import pytest

from mmkeras.components.encoders.picture import Picture
from mmkeras.contracts.config import build
from mmkeras.contracts.encoder import Parts


def encoded(shape=(16, 20, 3), **settings):
    pixels = keras.Input(shape)
    found = Picture(**settings).encode(Parts("pixels", pixels))
    return keras.Model(pixels, {"vectors": list(found.vectors), "tokens": found.tokens, "mask": found.mask})


def test_a_picture_too_small_for_its_blocks_is_refused_before_anything_is_read():
    message = "4 filters halve a picture of 15 x 40 px to nothing; expected at least 16 px; set height_px and width_px"
    with pytest.raises(ValueError, match=f"columns.photo: {message}"):
        build("modality", {"type": "image", "height_px": 15, "width_px": 40}, "config columns.photo")
    with pytest.raises(ValueError, match="7 filters halve"):
        build("modality", {"type": "video", "encoder": [{"type": "picture", "filters": [2] * 7}]}, "config columns.c")


@pytest.mark.parametrize("blocks", ["plain", "residual"])
@pytest.mark.parametrize(
    ("settings", "widths"),
    [
        ({}, [7, 7]),  # mean and maximum
        ({"places": "all"}, [4 * 5 * 7]),
        ({"places": 2}, [2 * 2 * 7, 7]),
        ({"places": 2, "units": 6, "dropout": 0.5}, [6]),
    ],
)
def test_what_the_vector_is(blocks, settings, widths):
    model = encoded(blocks=blocks, filters=(5, 7), **settings)
    parts = model(np.random.default_rng(0).normal(size=(2, 16, 20, 3)))
    assert [vector.shape for vector in parts["vectors"]] == [(2, width) for width in widths]
    assert parts["tokens"].shape == (2, 4 * 5, 7) and parts["mask"].numpy().tolist() == [[1] * 20] * 2


def test_mean_and_maximum_are_those_of_the_tokens():
    parts = encoded(filters=(5, 7))(np.random.default_rng(0).normal(size=(2, 16, 20, 3)))
    tokens = parts["tokens"].numpy()
    np.testing.assert_allclose(parts["vectors"][0], tokens.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(parts["vectors"][1], tokens.max(axis=1), atol=1e-6)


def test_a_dropout_that_nothing_uses_is_refused():
    message = r"dropout is 0.2, but stands before a dense layer that units: null leaves out"
    with pytest.raises(ValueError, match=f"columns.photo.encoder: {message}"):
        build("modality", {"type": "image", "encoder": {"type": "picture", "dropout": 0.2}}, "config columns.photo")
