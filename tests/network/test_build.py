"""Columns, a fusion and heads as one Keras model."""

import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import find
from mmkeras.network.build import build_network


class Vector(Modality):
    """A cell of five numbers, encoded by adding one: small enough to follow by hand."""

    @property
    def features(self):
        return {
            "numbers": tf.TensorSpec((5,), tf.float32),
            "count": tf.TensorSpec((), tf.int32),
            "present": tf.TensorSpec((), tf.float32),
        }

    def preprocess(self, cell):
        return {"numbers": cell, "count": tf.size(cell), "present": tf.constant(1.0)}

    def encode(self, inputs):
        vector = inputs["numbers"] + 1.0
        tokens = keras.ops.expand_dims(vector, 1)
        return Encoding(vector, tokens, keras.ops.ones_like(tokens[..., 0]), inputs["present"])


class SideBySide(Fusion):
    """The vectors in the columns' order, with nothing to learn."""

    column_loss: float = 0.0

    def fuse(self, encodings):
        return Fused(keras.layers.Concatenate()([encoding.vector for encoding in encodings.values()]))


class Sum(Head):
    """The vector's sum times a factor."""

    factor: float = 1.0

    @property
    def prior(self):
        return np.array([-7.0])

    def raw(self, vector, name):
        return keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name=name)(vector)

    def output(self, raw, name):
        return keras.layers.Rescaling(self.factor, name=name)(raw)


def features(numbers, present=(1, 1)):
    return {
        "numbers": np.array([[number] * 5 for number in numbers], np.float32),
        "count": np.array([1, 2], np.int32),
        "present": np.array(present, np.float32),
    }


@pytest.fixture
def model():
    return build_network({"b": Vector(), "a": Vector()}, SideBySide(), {"y": Sum(), "x": Sum(factor=10.0)}).model


def test_inputs_are_nested_named_and_typed_as_the_features_are(model):
    assert list(model.input) == ["a", "b"]
    specs = {name: (tensor.name, tensor.shape, tensor.dtype) for name, tensor in model.input["b"].items()}
    assert specs == {
        "numbers": ("b.numbers", (None, 5), "float32"),
        "count": ("b.count", (None,), "int32"),
        "present": ("b.present", (None,), "float32"),
    }


def test_every_head_answers_under_its_name(model):
    answers = model({"a": features([1, 2]), "b": features([10, 20])})
    assert list(answers) == ["x", "y"]
    # 5 numbers of each column, each plus one
    np.testing.assert_allclose(answers["y"], [[5 * 2 + 5 * 11], [5 * 3 + 5 * 21]])
    np.testing.assert_allclose(answers["x"], [[650], [1200]])


def test_what_a_missing_cell_holds_does_not_matter(model):
    first = model({"a": features([1, 2]), "b": features([10, 20], present=(0, 1))})
    other = model({"a": features([1, 2]), "b": features([-99, 20], present=(0, 1))})
    np.testing.assert_array_equal(first["y"], other["y"])
    np.testing.assert_allclose(first["y"][0], 5 * 2)  # the learned vector starts as zeros


def test_what_stands_in_for_a_missing_cell_is_each_columns_own(model):
    model.get_layer("b").get_layer("or_absent").set_weights([np.full(5, 3, np.float32)])
    answers = model({"a": features([1, 2]), "b": features([1, 2], present=(0, 1))})
    np.testing.assert_allclose(answers["y"], [[5 * 2 + 5 * 3], [5 * 3 + 5 * 3]])  # the learned 3, and 2 + 1
    answers = model({"a": features([1, 2]), "b": features([1, 9], present=(0, 1))})
    np.testing.assert_allclose(answers["y"], [[5 * 2 + 5 * 3], [5 * 3 + 5 * 10]])


def test_a_row_without_any_cell_gets_the_prior(model):
    answers = model({"a": features([1, 2], present=(0, 0)), "b": features([1, 2], present=(0, 1))})
    assert answers["y"][0] == answers["x"][0] == -7
    assert answers["y"][1] != -7


def test_the_fusions_weights_are_an_output_on_demand():
    class Halves(SideBySide):
        def fuse(self, encodings):
            vectors = [encoding.vector for encoding in encodings.values()]
            return Fused(keras.layers.Concatenate()(vectors), keras.ops.full_like(vectors[0][:, :2], 0.5))

    columns = {"a": Vector(), "b": Vector()}
    rows = {"a": features([1, 2]), "b": features([10, 20])}
    network = build_network(columns, Halves(), {"y": Sum(), "x": Sum()})
    assert list(network.model.output) == ["x", "y"]
    weighed = network.told(network.all_told)(rows)
    assert weighed.keys() == {"x", "y", "column_weights"}
    assert weighed["column_weights"].numpy().tolist() == [[0.5, 0.5]] * 2
    np.testing.assert_array_equal(weighed["y"], network.model(rows)["y"])
    unweighed = build_network(columns, SideBySide(), {"y": Sum()})
    assert not unweighed.weighs_columns and unweighed.all_told == ("y",)


def test_columns_are_fused_in_sorted_order_whatever_the_dict_says():
    heads = {"y": Sum()}
    for columns in ({"a": Vector(), "b": Vector()}, {"b": Vector(), "a": Vector()}):
        model = build_network(columns, SideBySide(), heads).model
        kernel = np.arange(10, dtype=np.float32)[:, None]
        model.get_layer("y_joint").set_weights([kernel])
        answer = model({"a": features([0, 0]), "b": features([9, 9])})["y"]
        np.testing.assert_allclose(answer[0], [sum(range(5)) + 10 * sum(range(5, 10))])


def test_each_column_predicts_alone_too_where_a_fusion_asks_for_it():
    model = build_network({"a": Vector(), "b": Vector()}, SideBySide(column_loss=1.0), {"y": Sum(factor=10.0)}).model
    answers = model({"a": features([1, 2]), "b": features([10, 20])})
    np.testing.assert_allclose(answers["y_by_a"], [[100], [150]])
    np.testing.assert_allclose(answers["y_by_b"], [[550], [1050]])
    # joint evidence plus each column's own, then the activation
    np.testing.assert_allclose(answers["y"], [[1300], [2400]])


def test_one_column_has_no_second_prediction_of_its_own():
    model = build_network({"a": Vector()}, SideBySide(column_loss=1.0), {"y": Sum()}).model
    assert list(model.output) == ["y"]


def test_a_model_is_saved_and_loaded(model, tmp_path):
    model.get_layer("b").get_layer("or_absent").set_weights([np.full(5, 3, np.float32)])
    rows = {"a": features([1, 2]), "b": features([1, 2], present=(0, 1))}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(rows)["y"], model(rows)["y"])


def test_an_encoding_is_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Encoding(None, None, None, None).vector = 3


def test_a_model_learns():
    """Two classes that one number separates are told apart after a few steps: the gradient points the right way."""
    keras.utils.set_random_seed(0)
    head = find("head", "classification")().adapt(pd.Series(["1", "2"], dtype=object))
    model = build_network({"a": Vector()}, SideBySide(), {"y": head}).model
    rows = {"a": features([-3, 3])}
    targets = head.encode_target(pd.Series(["1", "2"], dtype=object))
    optimizer = keras.optimizers.SGD(0.1)
    losses = []
    for _ in range(10):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(head.loss()(targets, model(rows)["y"]))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2
