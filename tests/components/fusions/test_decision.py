"""Decisions joined: each column predicts alone, and what is there decides."""

import math
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
from fixtures_encodings import SHAPES, batch, layers_of, predicting_model

from mmkeras.components.fusions.decision import Decision
from mmkeras.components.heads.classification import Classification
from mmkeras.contracts.head import Head
from mmkeras.network import layers

PRESENT = {"a": [1, 1, 0, 0], "b": [1, 0, 1, 0], "c": [1, 1, 0, 0]}
THERE = np.array([PRESENT[column] for column in "abc"], np.float32).T[..., None]


class Numbers(Head):
    predicts: ClassVar = "numbers"

    def raw(self, vector, name):
        return keras.layers.Dense(2, name=name)(vector)

    def output(self, raw, name):
        return keras.layers.Activation("linear", dtype="float32", name=name)(raw)


class Labels(Numbers):
    predicts: ClassVar = "probabilities"

    def output(self, raw, name):
        return keras.layers.Activation("sigmoid", dtype="float32", name=name)(raw)


HEADS = {"n": Numbers(), "l": Labels(), "t": Classification().adapt(pd.Series(["x", "y", "z", "x"], dtype=object))}


def found(join, targets="lt"):
    """({target: the joined (B, P)}, {target: the columns' own (B, M, P)}, weights (B, M))."""
    keras.utils.set_random_seed(3)
    model = predicting_model(Decision(join=join), SHAPES, {target: HEADS[target] for target in targets})
    for layer in layers_of(model, layers.joining.LearnedScores):
        layer.set_weights([np.array([math.log(6), math.log(3), 0])])
    outputs = {name: np.array(value) for name, value in model(batch(SHAPES, PRESENT)).items()}
    own = {target: np.stack([outputs[f"{target}_by_{column}"] for column in "abc"], axis=1) for target in targets}
    return {target: outputs[target] for target in targets}, own, outputs["weights"]


def by_chance(target):
    """What a row adds in which nothing is there: of classes each is as likely, (B, 1)."""
    return (target == "t") * (1 - THERE.max(axis=1)) / 3


def test_the_mean_is_over_what_is_there():
    joined, own, weights = found("mean", "nlt")
    for target, values in joined.items():
        wanted = (own[target] * THERE).sum(axis=1) / np.maximum(THERE.sum(axis=1), 1)
        np.testing.assert_allclose(values, wanted + by_chance(target), atol=1e-6)
    np.testing.assert_allclose(weights, [[1 / 3] * 3, [0.5, 0, 0.5], [0, 1, 0], [0, 0, 0]], atol=1e-6)


def test_learned_weights_are_shared_out_over_what_is_there():
    joined, own, weights = found("weights", "nlt")
    np.testing.assert_allclose(weights, [[0.6, 0.3, 0.1], [6 / 7, 0, 1 / 7], [0, 1, 0], [0, 0, 0]], atol=1e-6)
    for target, values in joined.items():
        wanted = (own[target] * weights[..., None]).sum(axis=1)
        np.testing.assert_allclose(values, wanted + by_chance(target), atol=1e-6)


def test_the_maximum_is_over_what_is_there():
    joined, own, _ = found("maximum")
    highest = (own["t"] * THERE).max(axis=1)
    wanted = highest / np.maximum(highest.sum(axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(joined["t"], wanted + by_chance("t"), atol=1e-6)
    np.testing.assert_allclose(joined["l"], (own["l"] * THERE).max(axis=1), atol=1e-6)


def test_what_is_there_votes():
    joined, own, _ = found("vote")
    counts = np.maximum(THERE.sum(axis=1), 1)
    votes = (np.eye(3)[own["t"].argmax(axis=-1)] * THERE).sum(axis=1) / counts
    np.testing.assert_allclose(joined["t"], votes + by_chance("t"), atol=0.011)
    votes = ((own["l"] > 0.5) * THERE).sum(axis=1) / counts
    np.testing.assert_allclose(joined["l"], votes, atol=0.011)


@pytest.mark.parametrize("join", ["mean", "weights", "maximum", "vote"])
def test_one_column_decides_alone_and_can_be_trained(join):
    model = predicting_model(Decision(join=join, units=()), {"a": SHAPES["a"]}, {"t": HEADS["t"]})
    features = {"a": batch(SHAPES, [1, 1, 1])["a"]}
    [dense] = layers_of(model, keras.layers.Dense)
    scores = features["a"]["vector"] @ dense.kernel + dense.bias
    np.testing.assert_allclose(model(features)["t"], keras.ops.softmax(scores), atol=1e-6)
    np.testing.assert_array_equal(model(features)["weights"], [[1]] * 3)


@pytest.mark.parametrize("join", ["maximum", "vote"])
def test_numbers_have_no_maximum_and_no_vote(join):
    heads = {"t": HEADS["t"], "price": Numbers()}
    with pytest.raises(
        ValueError, match=f'join: {join} needs probabilities, but the target "price" .*predicts numbers'
    ):
        Decision(join=join).check(["a", "b"], heads)
    Decision(join=join).check(["a", "b"], {"t": HEADS["t"], "l": HEADS["l"]})
    Decision(join="weights").check(["a", "b"], heads)


def test_a_vote_that_nothing_trains_is_refused():
    with pytest.raises(ValueError, match="join: vote trains by column_loss only, got 0"):
        Decision(join="vote", column_loss=0)
    assert Decision(join="mean", column_loss=0).column_loss == 0


def test_without_a_loss_of_their_own_the_columns_have_no_outputs():
    assert predicting_model(Decision(column_loss=0), SHAPES, {"t": HEADS["t"]}).output.keys() == {"t", "weights"}
