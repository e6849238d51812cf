"""Rows to predictions: traced once whatever the number of rows, statuses column by column."""

import logging

import numpy as np
import pytest

from mmkeras.contracts.head import named_answers
from mmkeras.features.columns import ColumnFeatures, Features
from mmkeras.network.inference import _statuses, forward
from mmkeras.network.network import forward_step


class Doubling:
    """A model of one column and one feature."""

    def __init__(self):
        import tensorflow as tf

        self.input = {"a": {"x": tf.TensorSpec((None, 2), tf.float32)}}
        self.traces = 0

    def __call__(self, features, training):
        assert training is False
        self.traces += 1
        return {"y": features["a"]["x"] * 2}


class Named:
    def __init__(self, name):
        self.name = name

    def answer(self, prediction):
        return {self.name: prediction}


@pytest.mark.parametrize("rows", [[4], [2, 0, 1], list(range(5)) * 30])
def test_forward_keeps_the_order_of_rows(rows):
    arrays = {"x": np.arange(10, dtype=np.float32).reshape(5, 2)}
    features = Features({"a": ColumnFeatures(arrays, np.array([0, 1, 2, 3, 4]), {})})
    found = forward(forward_step(Doubling()), features, np.array(rows))
    assert found["y"].tolist() == (arrays["x"][rows] * 2).tolist()


def test_one_trace_serves_every_number_of_rows():
    arrays = {"x": np.zeros((5, 2), np.float32)}
    features = Features({"a": ColumnFeatures(arrays, np.arange(5), {})})
    model = Doubling()
    step = forward_step(model)
    for rows in (1, 3, 65, 130):
        forward(step, features, np.zeros(rows, int))
    assert model.traces == 1


def test_models_made_one_after_another_warn_of_nothing():
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("tensorflow").addHandler(handler)
    features = Features({"a": ColumnFeatures({"x": np.zeros((5, 2), np.float32)}, np.arange(5), {})})
    try:
        for _ in range(8):
            forward(forward_step(Doubling()), features, np.arange(5))
    finally:
        logging.getLogger("tensorflow").removeHandler(handler)
    assert not [message for message in messages if "retracing" in message]


def held(present, index, bad):
    return ColumnFeatures({"present": np.array(present, np.float32)}, np.array(index), bad)


def test_statuses_name_each_column_in_order():
    features = Features(
        {
            "a": held([1, 0, 0], [0, 1, 2, 0], {2: "holds no samples"}),
            "b": held([1, 0, 0], [0, 0, 1, 2], {1: "no such file"}),
        }
    )
    assert _statuses(features).tolist() == [
        "ok",
        "missing: a",
        "prior; bad: a: holds no samples; bad: b: no such file",
        "missing: b",
    ]


def test_a_row_without_any_cell_says_that_its_answer_is_the_prior():
    features = Features({"a": held([0, 1], [0, 1], {}), "b": held([0], [0, 0], {})})
    assert _statuses(features).tolist() == ["prior; missing: a; missing: b", "missing: b"]


def test_hidden_columns_count_as_missing():
    features = Features({
        "a": ColumnFeatures({"x": np.ones((2, 3)), "present": np.ones(2)}, np.array([0, 1, 0]), {1: "is bad"}),
        "b": held([1], [0, 0, 0], {}),
    })  # fmt: skip
    rows = features.without(["a"]).rows(np.array([2, 0]))
    assert rows["a"]["x"].tolist() == np.zeros((2, 3)).tolist()
    assert rows["a"]["present"].tolist() == [0, 0]
    assert rows["b"]["present"].tolist() == [1, 1]


def test_names_begin_with_the_target_where_there_are_several():
    assert named_answers({"mood": Named("label")}, {"mood": 1}) == {"label": 1}
    heads = {"mood": Named("label"), "age": Named("years")}
    assert named_answers(heads, {"mood": 1, "age": 2}) == {"age_years": 2, "mood_label": 1}
