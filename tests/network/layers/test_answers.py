"""Layers that answer, by hand: votes, priors, temperatures, ordered classes."""

import keras
import numpy as np
import pytest

from mmkeras.network import layers


def floats(values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("exclusive", "present", "wanted"),
    [(True, [1, 1, 0], [0.4, 0.6]), (False, [1, 1, 0], [0.6, 0.9]), (True, [0, 0, 0], [0, 0])],
)
def test_the_highest_probability_of_what_is_there(exclusive, present, wanted):
    found = layers.answers.JointMaximum(exclusive)(floats([[[0.6, 0.4], [0.1, 0.9], [1, 0]]]), floats([present]))
    np.testing.assert_allclose(found, [wanted], atol=1e-6)


@pytest.mark.parametrize(
    ("exclusive", "weights", "wanted"),
    [
        # two of three vote for the first; then one against one: the second is the surer one
        (True, [1 / 3, 1 / 3, 1 / 3], [0.66 + 0.005, 0.33 + 0.005]),
        (True, [0.5, 0.5, 0], [0.495 + 0.0035, 0.495 + 0.0065]),
        (True, [0, 0, 0], [0, 0]),
        # each for itself
        (False, [0, 0.5, 0.5], [0.495 + 0.0045, 0.495 + 0.0055]),
        (False, [0, 1, 0], [0.001, 0.99 + 0.009]),
    ],
)
def test_votes(exclusive, weights, wanted):
    found = layers.answers.Vote(exclusive)(floats([[[0.6, 0.4], [0.1, 0.9], [0.8, 0.2]]]), floats([weights]))
    np.testing.assert_allclose(found, [wanted], atol=1e-6)


def test_half_a_chance_is_no_vote():
    np.testing.assert_allclose(
        layers.answers.Vote(False)(floats([[[0.5, 0.51]]]), floats([[1]])), [[0.005, 0.9951]], atol=1e-6
    )


# Answers


def test_an_answer_is_the_prior_where_nothing_is_given():
    layer = layers.answers.Answer([0.25, 0.75])
    np.testing.assert_allclose(layer(floats([[1, 0], [1, 0]]), floats([1, 0])), [[1, 0], [0.25, 0.75]])


def test_an_answer_is_tempered_outside_training_and_the_prior_never():
    layer = layers.answers.Answer([0.25, 0.75], temperature=2.0, link="softmax")
    said, given = floats([[0.8, 0.2], [0.8, 0.2]]), floats([1, 0])
    np.testing.assert_allclose(layer(said, given), [[2 / 3, 1 / 3], [0.25, 0.75]], rtol=1e-6)  # roots of 4 and 1
    np.testing.assert_array_equal(layer(said, given, training=True), said)
    again = layers.answers.Answer.from_config(layer.get_config())
    assert (again.temperature, again.link) == (2.0, "softmax")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_row_that_is_quite_wrong_still_learns(activation):
    """Probabilities below 1e-7, where Keras cuts them off: the slope has to be that of the logits."""
    loss = {"softmax": keras.losses.categorical_crossentropy, "sigmoid": keras.losses.binary_crossentropy}[activation]
    vector, given = keras.Input((2,)), keras.Input(())
    dense = keras.layers.Dense(2, activation, use_bias=False, kernel_initializer="identity")
    model = keras.Model([vector, given], layers.answers.Answer([0.5, 0.5])(dense(vector), given))
    model.compile(keras.optimizers.SGD(1.0), loss=loss)
    model.fit([floats([[30, -30]]), floats([1])], floats([[0, 1]]), verbose=0)
    slope = (np.eye(2) - dense.get_weights()[0])[0] / 30
    np.testing.assert_allclose(slope, [1, -1] if activation == "softmax" else [0.5, -0.5], atol=1e-5)


def test_ordered_classes_are_parted_by_thresholds():
    """Thresholds 0 and log 3: below them are 1/2 and 3/4 of what stands at 0, and 1/4 and 1/2 of what is at log 3."""
    layer = layers.answers.OrderedClasses([0, np.log(3)])
    wanted = [[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 2]]
    np.testing.assert_allclose(layer(floats([[0], [np.log(3)]])), wanted, rtol=1e-6)
    assert layers.answers.OrderedClasses.from_config(layer.get_config()).thresholds == layer.thresholds


def test_ordered_classes_keep_their_order_whatever_their_weights_are():
    layer = layers.answers.OrderedClasses([-1, -1, 2, 2])  # two classes without a row
    assert layer.compute_output_shape((None, 1)) == (None, 5)
    assert np.all(layer(floats([[0], [1]])) > 0)
    layer.set_weights([floats([3, -30, 9, -30])])
    probabilities = layer(floats([[0], [7]]))
    assert np.all(np.asarray(probabilities) >= 0)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), [1, 1], rtol=1e-6)
