"""Numbers: scaling, losses, scores and answers, against numbers worked out by hand or scikit-learn's."""

import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from sklearn import metrics

from mmkeras.components.heads.regression import Regression

TRAINING = ["10", "30", " 2e1 ", "NA", "20"]  # mean 20, deviation sqrt(50)
PAIRS = ["1|100", "3|300", "5|200"]


def cells(*values):
    return pd.Series(values, dtype=object)


def refuses(message):
    return pytest.raises(ValueError, match=re.escape(message))


def all_train(values):
    return pd.Series(["train"] * len(values))


@pytest.fixture
def head():
    return Regression().adapt(cells(*TRAINING))


@pytest.fixture
def pair_head():
    return Regression().adapt(cells(*PAIRS))


# What it is for


def test_numbers_that_are_no_codes_are_claimed():
    assert Regression.claims(cells("1.5", "2", "NA")) == "numbers from 1.5 to 2"
    assert Regression.claims(cells(*map(str, range(21)))) == "numbers from 0 to 20"
    assert Regression.claims(cells("0.5|1", "2|3")) is not None


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2", "3", "2"],
        ["1.0", "2.0"],
        ["a", "1.5"],
        [f"{i:03}" for i in range(30)],
        ["0.5|1", "2"],
        ["cat", "dog"],
        ["NA"],
    ],
)
def test_codes_and_words_are_not_claimed(values):
    assert Regression.claims(cells(*values)) is None


# Targets


def test_mean_and_deviation_are_those_of_known_training_rows(head, pair_head):
    assert head.mean == (20,) and head.deviation == pytest.approx((50**0.5,))
    assert pair_head.mean == (3, 200) and pair_head.deviation == pytest.approx(((8 / 3) ** 0.5, (20000 / 3) ** 0.5))


def test_targets_are_scaled_and_unknown_ones_are_nan(pair_head):
    encoded = pair_head.encode_target(cells("3|200", "", "n/a", "5|NA", "5|100"))
    np.testing.assert_allclose(
        encoded, [[0, 0], [np.nan] * 2, [np.nan] * 2, [np.nan] * 2, [1.5**0.5, -(1.5**0.5)]], rtol=1e-6
    )
    assert encoded.dtype == np.float32
    assert pair_head.scorer.known(encoded).tolist() == [True, False, False, False, True]
    assert pair_head.sample_weights(encoded).tolist() == [1, 0, 0, 0, 1]


def test_a_constant_column_has_deviation_1():
    assert Regression().adapt(cells("0.1", "0.1", "0.1")).deviation == (1,)


def test_there_and_back_is_the_same_number(pair_head):
    answer = pair_head.answer(tf.constant(pair_head.encode_target(cells(*PAIRS))))
    np.testing.assert_allclose(answer["value_1"], [1, 3, 5], rtol=1e-6)
    np.testing.assert_allclose(answer["value_2"], [100, 300, 200], rtol=1e-6)
    assert answer.keys() == pair_head.answer_description.keys()


def test_the_prior_is_the_mean(head):
    np.testing.assert_allclose(head.answer(tf.constant(head.prior[None]))["value"], [20])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "2,5"], '"2,5" (row 2) is no finite number, expected numbers such as 3 or -0.25; correct the cell'),
        (["1", "inf"], '"inf" (row 2) is no finite number'),
        (["1|2", "", "1|2|3"], 'row 3 holds 3 numbers ("1|2|3"), expected 2 as in the other rows'),
        (["1|2", "1"], 'row 2 holds 1 numbers ("1"), expected 2'),
        (["7", "7.0", ""], "every train row has the number 7, expected numbers that differ"),
        (["NA", ""], "no train row has a number"),
    ],
)
def test_faulty_targets_are_refused(values, message):
    with refuses(message):
        Regression().check(cells(*values), all_train(values))


def test_sound_targets_pass():
    Regression().check(cells(*TRAINING), all_train(TRAINING))
    Regression().check(cells(*PAIRS), all_train(PAIRS))


def test_judged_rows_have_as_many_numbers_as_training_rows(pair_head):
    with refuses('row 1 holds 1 numbers ("1"), expected 2'):
        pair_head.encode_target(cells("1"))


def test_training_rows_without_a_number_are_refused():
    with refuses("no training row has a number"):
        Regression().adapt(cells("NA"))


def test_strata_are_ranges_that_hold_equally_many_rows():
    values = cells(*map(str, range(60)), "")
    assert Regression().strata(values).value_counts().to_dict() == {"0": 20, "1": 20, "2": 20, "": 1}
    assert Regression().strata(cells("5", "6")).tolist() == ["0", "0"]


# Loss


@pytest.mark.parametrize(
    ("error", "wanted"),
    # off by 0.5 and 2, and by 0 and 1; huber: 0.5²/2 = 0.125 and 2 - 1/2 = 1.5, 0 and 0.5
    [("mse", [(0.25 + 4) / 2, 0.5]), ("mae", [1.25, 0.5]), ("huber", [(0.125 + 1.5) / 2, 0.25])],
)
def test_losses_by_hand(error, wanted):
    head = Regression(error=error).adapt(cells(*PAIRS))
    truth, said = np.array([[1, 2], [3, 4]], np.float32), np.array([[1.5, 0], [3, 5]], np.float32)
    np.testing.assert_allclose(head.loss()(truth, said), wanted, rtol=1e-6)


def test_training_shows_skill_and_the_error_in_the_tables_units(pair_head):
    truth, said = np.array([[1, 2], [3, 4], [9, 9]], np.float32), np.array([[1.5, 0], [3, 5], [0, 0]], np.float32)
    skill, mae = pair_head.metrics()
    for metric in (skill, mae):
        metric.update_state(truth, said, np.array([3, 1, 0], np.float32))
    assert (skill.name, mae.name) == ("skill", "mae")
    assert float(skill.result()) == pytest.approx(1 - (3 * 2.125 + 0.5) / 4)
    first, second = pair_head.deviation
    assert float(mae.result()) == pytest.approx((3 * (0.5 * first + 2 * second) / 2 + second / 2) / 4)


# Scores


def test_scores_are_scikit_learns_in_the_tables_units(pair_head):
    rng = np.random.default_rng(0)
    truth, said = rng.normal(size=(2, 11, 2)).astype(np.float32)
    scores = pair_head.scorer.score(truth, said)
    truth, said = (values * pair_head.deviation + pair_head.mean for values in (truth, said))
    assert list(scores) == ["r2", "mae", "rmse", "median_absolute_error", "spearman"]
    assert scores["r2"] == pytest.approx(metrics.r2_score(truth, said))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(truth, said))
    assert scores["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, said))
    assert scores["median_absolute_error"] == pytest.approx(metrics.median_absolute_error(truth, said))


def test_scores_by_hand(head):
    """10, 20, 60 (mean 30) guessed as 20, 20, 40: r2 = 1 - 500 / 1400."""
    scores = head.scorer.score(head.encode_target(cells("10", "20", "60")), head.encode_target(cells("20", "20", "40")))
    wanted = {"r2": 1 - 500 / 1400, "mae": 10, "rmse": (500 / 3) ** 0.5, "median_absolute_error": 10}
    assert scores == pytest.approx(wanted | {"spearman": 0.8660254}, rel=1e-6)


def test_one_row_and_equal_rows_have_scores(head):
    one = np.array([[0.5]], np.float32)
    assert head.scorer.score(one, one)["r2"] == 1 and head.scorer.score(one, one + 1)["r2"] == 0
    assert "spearman" not in head.scorer.score(one, one)


def test_the_report_is_in_the_tables_units(head):
    truth, said = (head.encode_target(cells(*numbers)) for numbers in (("10", "20", "60"), ("20", "20", "40")))
    report = head.scorer.report(truth, said)
    assert report.startswith("value: 3 rows from 10 to 60\n")
    assert re.search(r"mae +10\n", report) and re.search(r"all rows +within 20\n", report)


def test_the_picture_shows_each_number_and_the_line_of_right_ones(head, pair_head):
    axes = Figure().add_subplot()
    head.scorer.plot(head.encode_target(cells("10", "60")), head.encode_target(cells("20", "40")), axes)
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[10, 20], [60, 40]], rtol=1e-6)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[10, 10], [60, 60]], rtol=1e-6)
    axes = Figure().add_subplot()
    pair_head.scorer.plot(np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32), axes)
    assert len(axes.collections) == 2 and "deviations" in axes.get_xlabel()


# Models


def test_several_models_answers_are_averaged(head):
    joined = head.scorer.join([np.array([[1.0], [2.0]]), np.array([[3.0], [-2.0]])])
    assert joined.tolist() == [[2], [0]]


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("values", [TRAINING[:3], PAIRS])
@pytest.mark.filterwarnings("error")
def test_a_baseline_learns_the_targets(values, is_sparse):
    head = Regression().adapt(cells(*values))
    targets = head.encode_target(cells(*values))
    inputs = np.array([[0.0], [10.0], [20.0]])
    model = head.scorer.baseline(is_sparse, seed=0).fit(inputs, targets)
    assert head.scorer.baseline_predictions(model, inputs).shape == targets.shape


def test_a_planted_truth_is_found():
    """The first of three numbers is 50 + 20 x0 - 10 x1, the second -1000 times the first, the third 7."""
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    truth = 50 + 20 * inputs[:, 0] - 10 * inputs[:, 1]
    values = cells(*[f"{value}|{-1000 * value}|7" for value in truth])
    head = Regression().adapt(values)
    targets = head.encode_target(values)
    vector = keras.Input((4,))
    model = keras.Model(vector, head.output(head.raw(vector, "raw"), "answer"))
    model.compile(keras.optimizers.Adam(0.05), head.loss(), weighted_metrics=head.metrics())
    model.fit(inputs, targets, batch_size=32, epochs=12, verbose=0, sample_weight=head.sample_weights(targets))
    predictions = model.predict(inputs, verbose=0)
    values = head.answer(tf.constant(predictions))
    np.testing.assert_allclose(values["value_1"], truth, atol=1)
    np.testing.assert_allclose(values["value_3"], np.full(256, 7), atol=0.1)
    assert predictions.dtype == np.float32
    loss = head.loss()
    assert np.mean(loss(targets, predictions)) < 0.01 < np.mean(loss(targets, np.tile(head.prior, (256, 1))))
