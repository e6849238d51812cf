"""What a temperature does to a prediction, of arrays and of tensors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras.contracts import links

LINKS = ("softmax", "sigmoid", "cumulative")
LOGITS = np.array([[2.0, -1.0, 0.5], [-3.0, 4.0, 0.0]])
both_worlds = pytest.mark.parametrize("xp", [np, keras.ops], ids=["arrays", "tensors"])


def floats(*rows):
    return np.array(rows, np.float32)


def ordered(heights):
    """Two rows' probabilities of four classes: below thresholds -1, 0.5 and 2."""
    below = 1 / (1 + np.exp(-heights))
    return np.diff(np.concatenate([np.zeros((2, 1)), below, np.ones((2, 1))], axis=1))


@both_worlds
@pytest.mark.parametrize(
    ("link", "activation"),
    [
        ("softmax", lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)),
        ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
        ("cumulative", lambda z: ordered(np.array([-1, 0.5, 2]) * (z[0, 0] / LOGITS[0, 0]) - z[:, :1])),
    ],
)
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_temperature_divides_the_logits(link, activation, temperature, xp):
    prediction = activation(LOGITS).astype(np.float32)
    divided = links.tempered(prediction, temperature, link, xp)
    np.testing.assert_allclose(divided, activation(LOGITS / temperature), rtol=1e-4, atol=1e-7)
    assert links.tempered(prediction, 1.0, link, xp) is prediction
    assert links.tempered(prediction, temperature, "identity", xp) is prediction


@both_worlds
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("temperature", [0.05, 20.0])
def test_certain_predictions_stay_probabilities(link, temperature, xp):
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        divided = np.asarray(links.tempered(floats([1, 0, 0], [0, 0, 1]), temperature, link, xp))
    assert np.isfinite(divided).all() and (divided >= 0).all() and (divided <= 1).all()
    assert (divided[0, 0] > divided[0, 1:]).all() and (divided[1, 2] > divided[1, :2]).all()
    if link != "sigmoid":
        np.testing.assert_allclose(divided.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.5, 20.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_and_tensors_are_divided_alike(link, temperature, dtype):
    """Whatever is judged is what the model's last layer says: also of rows that are nearly certain."""
    rng = np.random.default_rng(0)
    prediction = rng.dirichlet(np.full(5, 0.2), 500).astype(dtype)
    array = links.tempered(prediction, temperature, link, np)
    tensor = links.tempered(keras.ops.convert_to_tensor(prediction), temperature, link, keras.ops)
    assert array.dtype == np.asarray(tensor).dtype == dtype
    np.testing.assert_allclose(array, tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("link", "prediction", "slopes"),
    [
        ("sigmoid", [0.5, 0.2], [1 / 2, 25 / 36]),
        ("softmax", [0.5, 0.5], [1 / 4, -1 / 4]),
        ("cumulative", [0.5, 0.5], [1 / 4, -1 / 4]),
    ],
)
def test_the_slope_is_right_where_a_logit_is_0_too(link, prediction, slopes):
    """An explanation needs it. By hand of q at a temperature of 2: q (1 - q) / 2 times the slope of p's own logit."""
    prediction = tf.constant([prediction])
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        divided = links.tempered(prediction, 2.0, link, keras.ops)
        explained = tf.reduce_sum(divided) if link == "sigmoid" else divided[0, 0]
    np.testing.assert_allclose(tape.gradient(explained, prediction)[0], slopes, atol=1e-6)
