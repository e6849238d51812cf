"""Classes in order: targets, thresholds, loss, scores and answers, by hand or against scikit-learn."""

import math
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from sklearn import metrics

from mmkeras.components.heads.ordinal import Ordinal

ORDER = ("low", "middle", "high")
TRAINING = ["middle", "low", "low", "high", " low", "middle"]


def cells(*values):
    return pd.Series(values, dtype=object)


def refuses(message):
    return pytest.raises(ValueError, match=re.escape(message))


def floats(*rows):
    return np.array(rows, np.float32)


@pytest.fixture
def head():
    return Ordinal(order=ORDER).adapt(cells(*TRAINING))


def network(head, width=4):
    vector = keras.Input((width,))
    return keras.Model(vector, head.output(head.raw(vector, "raw"), "answer"))


# What it is for


def test_it_never_claims_a_column():
    assert Ordinal.claims(cells("1", "2", "3", "1")) is None


# Targets


def test_classes_stand_in_the_given_order(head):
    assert head.classes == ORDER
    np.testing.assert_allclose(head.prior, [1 / 2, 1 / 3, 1 / 6], rtol=1e-6)


def test_numbers_order_themselves():
    assert Ordinal().adapt(cells("10", "9", "-1", "9")).classes == ("-1", "9", "10")


def test_targets_are_ranks_and_unknown_ones_are_minus_1(head):
    encoded = head.encode_target(cells("high", " low ", "", "huge", "middle"))
    assert encoded.tolist() == [2, 0, -1, -1, 1] and encoded.dtype == np.int32
    assert head.scorer.known(encoded).tolist() == [True, True, False, False, True]
    assert head.sample_weights(encoded).tolist() == [1, 1, 0, 0, 1]


def test_balanced_classes_count_the_same():
    """6 rows, 3 classes of 3, 2 and 1 rows: 6 / (3 * 3), 6 / (3 * 2), 6 / (3 * 1)."""
    head = Ordinal(order=ORDER, class_weights="balanced").adapt(cells(*TRAINING))
    assert head.weights == pytest.approx((2 / 3, 1, 2))
    assert head.sample_weights(np.array([0, -1, 2])).tolist() == pytest.approx([2 / 3, 0, 2])


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (
            {},
            ["good", "1", "bad"],
            'the class "bad" is no number, so its place among the others is not known; give the classes, lowest first, '
            "as order of this target (targets.NAME.order: [low, middle, high])",
        ),
        ({}, ["1", "1.0", "2"], 'the classes "1" and "1.0" are the same number; give the classes'),
        ({}, ["1", "nan", "2"], 'the class "nan" is no number'),
        (
            {"order": ["a", "b"]},
            ["a", "c", "b", "c"],
            'the class "c" (rows 2, 4) is not in the order (a, b); correct it or name it in targets.NAME.order',
        ),
    ],
)
def test_classes_without_a_place_are_refused(settings, values, message):
    with refuses(message):
        Ordinal(**settings).check(cells(*values), pd.Series(["train"] * len(values)))
    with refuses(message):
        Ordinal(**settings).adapt(cells(*values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "1", "2"], 'every train row has the class "1", expected two classes or more'),
        (["", " ", "2"], "no train row has a class, expected two classes or more"),
        (["1", "2", "3"], 'the class "3" (row 3) stands in no train row; correct it or name it in targets.NAME.order'),
    ],
)
def test_train_rows_must_show_the_classes(values, message):
    with refuses(message):
        Ordinal().check(cells(*values), pd.Series(["train", "train", "test"]))


def test_sound_targets_pass():
    split = pd.Series(["train", "train", "test", "train"])
    Ordinal().check(cells("1", "2", " 2", ""), split)
    Ordinal(order=["1", "2", "3"]).check(cells("1", "2", "3", ""), split)


def test_strata_are_the_classes():
    assert Ordinal().strata(cells("1", " 2", "")).tolist() == ["1", "2", ""]


# Output


def test_an_untrained_output_is_near_the_prior(head):
    """Thresholds start at log(1/2 / 1/2) = 0 and log(5/6 / 1/6) = log 5."""
    model = network(head)
    model.get_layer("raw").set_weights([np.zeros((4, 1))])
    np.testing.assert_allclose(model(np.ones((3, 4)))[0], [1 / 2, 1 / 3, 1 / 6], rtol=1e-5)
    model.get_layer("raw").set_weights([np.full((4, 1), 0.25)])
    below = [1 / (1 + math.e), 1 / (1 + math.e / 5)]
    wanted = [below[0], below[1] - below[0], 1 - below[1]]
    np.testing.assert_allclose(model(np.ones((3, 4)))[0], wanted, rtol=1e-5)


def test_an_untrained_output_is_near_equal_shares_where_classes_are_balanced():
    model = network(Ordinal(order=ORDER, class_weights="balanced").adapt(cells(*TRAINING)))
    model.get_layer("raw").set_weights([np.zeros((4, 1))])
    np.testing.assert_allclose(model(np.ones((3, 4)))[0], [1 / 3] * 3, rtol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_cumulative_probabilities_rise_whatever_is_added(policy):
    """Sums of what several columns say, and thresholds after any step of training."""
    head = Ordinal().adapt(cells(*map(str, range(7))))
    rng = np.random.default_rng(0)
    keras.config.set_dtype_policy(policy)
    try:
        vector = keras.Input((5,))
        total = head.raw(vector, "joint") + head.raw(vector, "own")
        model = keras.Model(vector, head.output(total, "answer"))
        model.get_layer("answer").set_weights([rng.normal(size=6) * 3])
        rows = model(rng.normal(size=(50, 5)) * 5).numpy()
    finally:
        keras.config.set_dtype_policy("float32")
    assert rows.dtype == np.float32
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=-1), np.ones(50), atol=1e-6)


def test_a_class_without_a_training_row_has_a_place():
    head = Ordinal(order=["a", "b", "c", "d"]).adapt(cells("b", "c", "b"))
    model = network(head)
    rows = model(np.ones((2, 4))).numpy()
    assert np.isfinite(rows).all() and (rows > 0).all()


# Loss


def test_the_loss_is_the_sum_over_thresholds(head):
    """Rank 2 is above both thresholds, which 0.5 and 0.2 say; rank 0 above none."""
    loss = head.loss()(np.array([2, 0, 1]), floats([0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]))
    wanted = [-math.log(0.5 * 0.2), -math.log(0.1 * 0.2), -math.log(0.75 * 0.75)]
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_an_unknown_row_has_a_finite_loss(head):
    loss = head.loss()(np.array([[-1], [2]]), floats([0, 0, 1], [1, 0, 0]))
    assert loss.shape == (2,) and np.isfinite(loss).all()


def test_training_shows_accuracy_and_ranks(head):
    accuracy, ranks = head.metrics()
    said = floats([0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [1, 0, 0])  # low, low, high
    for metric in (accuracy, ranks):
        metric.update_state(np.array([0, 2, 2, 2]), said, np.array([1, 1, 1, 0], np.float32))
    assert (accuracy.name, ranks.name) == ("accuracy", "rank_mae")
    assert float(accuracy.result()) == pytest.approx(2 / 3)
    assert float(ranks.result()) == pytest.approx(2 / 3)


# Scores

SAID = floats([0.6, 0.3, 0.1], [0.4, 0.15, 0.45], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1], [0.9, 0.1, 0])
GUESSES = [0, 1, 2, 1, 0]  # medians: the second row's most probable class is another one
TRUTH = np.array([0, 1, 2, 2, 2])


def test_scores_are_scikit_learns(head):
    scores = head.scorer.score(TRUTH, SAID)
    assert list(scores) == ["quadratic_kappa", "accuracy", "rank_mae", "rank_rmse"]
    assert scores["quadratic_kappa"] == pytest.approx(metrics.cohen_kappa_score(TRUTH, GUESSES, weights="quadratic"))
    assert scores["accuracy"] == metrics.accuracy_score(TRUTH, GUESSES) == 3 / 5
    assert scores["rank_mae"] == metrics.mean_absolute_error(TRUTH, GUESSES) == 3 / 5
    assert scores["rank_rmse"] == pytest.approx(metrics.root_mean_squared_error(TRUTH, GUESSES))


def test_kappa_by_hand():
    """Ranks 0, 0, 1, 1 said to be 0, 1, 1, 1: 1 wrong of 4; by chance 1/2 * 3/4 + 1/2 * 1/4 = 1/2 would be."""
    head = Ordinal().adapt(cells("1", "2"))
    said = floats([1, 0], [0, 1], [0, 1], [0, 1])
    assert head.scorer.score(np.array([0, 0, 1, 1]), said)["quadratic_kappa"] == pytest.approx(1 - (1 / 4) / (1 / 2))


def test_rows_of_one_class_have_scores(head):
    assert head.scorer.score(np.array([2]), SAID[2:3])["quadratic_kappa"] == 1
    assert head.scorer.score(np.array([2]), SAID[:1])["quadratic_kappa"] == 0


def test_the_report_names_the_classes_and_the_figures(head):
    report = head.scorer.report(TRUTH, SAID)
    assert re.search(r"middle +0\.500 +1\.000", report)
    assert re.search(r"quadratic_kappa +0\.\d{3}\n", report)


def test_the_picture_shows_the_classes_in_order(head):
    axes = Figure().add_subplot()
    head.scorer.plot(TRUTH, SAID, axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(ORDER)
    assert [text.get_text() for text in axes.texts] == ["1", "0", "0", "0", "1", "0", "1", "1", "1"]


# Answers


def test_the_answer_is_the_median_class(head):
    answer = head.answer(tf.constant(SAID))
    assert answer["label"].numpy().astype(str).tolist() == [ORDER[rank] for rank in GUESSES]
    np.testing.assert_allclose(answer["probability"], [0.6, 0.15, 0.7, 0.7, 0.9])
    np.testing.assert_allclose(answer["expected_rank"][:2], [0.6 + 0.6 + 0.3, 0.4 + 0.3 + 1.35], rtol=1e-6)
    assert answer.keys() == head.answer_description.keys()
    assert "low, middle, high in this order" in head.answer_description["probabilities"]


# Models


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_baseline_learns_the_targets(is_sparse):
    head = Ordinal(order=[*ORDER, "huge"]).adapt(cells("low", "high", "middle"))
    targets = np.array([0, 2, 1])
    model = head.scorer.baseline(is_sparse, seed=0)
    if not is_sparse:
        model.set_params(n_estimators=20)
    found = head.scorer.baseline_predictions(model.fit(np.eye(3) * 9, targets), np.eye(3) * 9)
    assert found.shape == (3, 4) and found.argmax(axis=1).tolist() == [0, 2, 1]
    np.testing.assert_array_equal(found[:, 3], 0)


def test_a_planted_truth_is_found():
    """Five classes by thresholds of x0 - x1."""
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    values = pd.Series(np.digitize(inputs[:, 0] - inputs[:, 1], [-1.5, -0.5, 1, 1.2]).astype(str))
    head = Ordinal().adapt(values)
    targets = head.encode_target(values)
    model = network(head)
    model.compile(keras.optimizers.Adam(0.1), head.loss(), weighted_metrics=head.metrics())
    model.fit(inputs, targets, batch_size=32, epochs=12, verbose=0, sample_weight=head.sample_weights(targets))
    scores = head.scorer.score(targets, model.predict(inputs, verbose=0))
    prior = head.scorer.score(targets, np.tile(head.prior, (256, 1)))
    assert scores["quadratic_kappa"] > 0.9 > 0.1 > prior["quadratic_kappa"]
    assert scores["rank_mae"] < 0.2 < prior["rank_mae"]


def test_foreign_rows_are_none_where_the_order_names_their_class():
    values = pd.Series(["1", "2", " 3 ", " 2 "])
    split = pd.Series(["train", "train", "test", "valid"])
    assert Ordinal().foreign(values, split).tolist() == [False, False, True, False]
    assert not Ordinal(order=["1", "2", "3"]).foreign(values, split).any()
