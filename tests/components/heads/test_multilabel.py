"""Several labels at once: targets, losses, thresholds, scores and answers, by hand or against scikit-learn."""

import math
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from sklearn import metrics

from mmkeras.components.heads.multilabel import Multilabel, best_threshold

TRAINING = ["red|round", "red", "round | red|red", "|", "green"]


def cells(*values):
    return pd.Series(values, dtype=object)


def refuses(message):
    return pytest.raises(ValueError, match=re.escape(message))


@pytest.fixture
def head():
    return Multilabel().adapt(cells(*TRAINING))


def floats(*rows):
    return np.array(rows, np.float32)


# What it is for


def test_lists_of_labels_that_repeat_are_claimed():
    reason = Multilabel.claims(cells("a|b", "a", "b|c", "c", "a"))
    assert reason == '3 labels, "|" between them in 40% of the cells'
    assert Multilabel.claims(cells("1|2", "1", "2|1")) is not None


@pytest.mark.parametrize(
    "values",
    [["a", "b", "a", "b"], ["a|b", "c|d"], ["0.5|1", "1|0.5", "0.5|1"], ["a|b"] + ["a", "b", "a"] * 2],
)
def test_other_cells_are_not_claimed(values):
    assert Multilabel.claims(cells(*values)) is None


# Targets


def test_labels_are_sorted_and_trimmed(head):
    assert head.labels == ("green", "red", "round")
    assert head.frequencies == (0.2, 0.6, 0.4)
    assert head.thresholds == (0.5, 0.5, 0.5)
    np.testing.assert_allclose(head.prior, [0.2, 0.6, 0.4])


def test_targets_say_which_labels_a_row_has(head):
    encoded = head.encode_target(cells("round|red", " ", "|", "blue", "green|blue"))
    np.testing.assert_array_equal(encoded, [[0, 1, 1], [np.nan] * 3, [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert encoded.dtype == np.float32
    assert head.scorer.known(encoded).tolist() == [True, False, True, True, True]
    assert head.sample_weights(encoded).tolist() == [1, 0, 1, 1, 1]


def test_an_empty_cell_may_mean_no_label():
    head = Multilabel(empty="none").adapt(cells("a", "", "a|b", "b"))
    assert head.frequencies == (0.5, 0.5)
    np.testing.assert_array_equal(head.encode_target(cells("", "a")), [[0, 0], [1, 0]])
    assert Multilabel().adapt(cells("a", "", "a|b")).frequencies == (1, 0.5)


def test_training_rows_without_labels_are_refused():
    with refuses('no training row has a label, expected labels with "|" between them in a cell'):
        Multilabel().adapt(cells("|", ""))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["|", "", "a"], 'no train row has a label, expected labels with "|" between them'),
        (["b|a", "a|b", "a"], 'every train row has the labels "a|b", expected labels that some rows have'),
    ],
)
def test_faulty_targets_are_refused(values, message):
    with refuses(message):
        Multilabel().check(cells(*values), pd.Series(["train", "train", "test"]))


def test_sound_targets_pass():
    Multilabel().check(cells("a", "", "|"), pd.Series(["train"] * 3))


def test_strata_are_the_rarest_labels():
    assert Multilabel().strata(cells("a|b", "a|c", "b", "", "a")).tolist() == ["b", "c", "b", "", "a"]


# Loss


def test_the_loss_is_the_mean_binary_crossentropy(head):
    loss = head.loss()(floats([1, 0, 0], [0, 1, 1]), floats([0.8, 0.4, 0.5], [0.1, 0.9, 0.7]))
    wanted = [-math.log(0.8 * 0.6 * 0.5) / 3, -math.log(0.9 * 0.9 * 0.7) / 3]
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_focal_loss_by_hand():
    """Probabilities of what is right 0.8, 0.6, 0.5: -(0.2² log 0.8 + 0.4² log 0.6 + 0.5² log 0.5) / 3."""
    head = Multilabel(focal_gamma=2).adapt(cells(*TRAINING))
    loss = head.loss()(floats([1, 0, 0]), floats([0.8, 0.4, 0.5]))
    wanted = -(0.04 * math.log(0.8) + 0.16 * math.log(0.6) + 0.25 * math.log(0.5)) / 3
    np.testing.assert_allclose(loss, [wanted], rtol=1e-5)


def test_balanced_labels_count_the_same_with_and_without():
    """Red in 0.6 of the rows: 0.5 / 0.6 with it and 0.5 / 0.4 without; green in 0.2, round in 0.4."""
    head = Multilabel(class_weights="balanced").adapt(cells(*TRAINING))
    loss = head.loss()(floats([1, 1, 0]), floats([0.8, 0.4, 0.5]))
    wanted = -(0.5 / 0.2 * math.log(0.8) + 0.5 / 0.6 * math.log(0.4) + 0.5 / 0.6 * math.log(0.5)) / 3
    np.testing.assert_allclose(loss, [wanted], rtol=1e-5)


def test_certain_predictions_have_finite_losses_and_gradients():
    head = Multilabel(class_weights="balanced", focal_gamma=0.5).adapt(cells("a", "a|b"))
    prediction = tf.constant(floats([0, 1], [1, 0]))
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        loss = head.loss()(floats([1, 1], [0, 0]), prediction)
    assert loss.shape == (2,) and np.isfinite(loss).all()
    assert np.isfinite(tape.gradient(loss, prediction)).all()


def test_training_shows_figures_that_count_rows_by_weight(head):
    truth, said = floats([1, 0, 0], [0, 1, 1], [1, 1, 1]), floats([0.8, 0.6, 0.3], [0.1, 0.9, 0.7], [0, 0, 0])
    precision, f1 = head.metrics()
    for metric in (precision, f1):
        metric.update_state(truth, said, np.array([1, 1, 0], np.float32))
    # 0.9, 0.8 and 0.7 are right, 0.6 is wrong: what is right comes first
    assert (precision.name, f1.name) == ("average_precision", "f1")
    assert float(precision.result()) == pytest.approx(1, abs=1e-3)
    assert float(f1.result()) == pytest.approx(2 * 3 / (3 + 4), rel=1e-5)


# Thresholds


@pytest.mark.parametrize(
    ("truth", "probabilities", "wanted"),
    [
        # all three found from 0.3 up, only two of them at 0.5
        ([1, 1, 1, 0, 0], [0.9, 0.6, 0.3, 0.1, 0.2], 0.25),
        # only 0.9 is right: cut between 0.9 and 0.8
        ([1, 0, 0], [0.9, 0.8, 0.7], 0.85),
        # nothing is better than 0.5
        ([1, 0], [0.9, 0.4], 0.5),
        # equal probabilities are not parted: 2/3 from 0.3 up, 1/2 from 0.2 up
        ([1, 0, 0], [0.3, 0.3, 0.2], 0.25),
        ([0, 0, 0], [0.9, 0.3, 0.2], 0.5),
        ([], [], 0.5),
    ],
)
def test_best_thresholds_by_hand(truth, probabilities, wanted):
    assert best_threshold(np.array(truth, np.float32), np.array(probabilities, np.float32)) == pytest.approx(wanted)


def test_tuning_looks_at_known_rows_only_and_at_each_label_by_itself(head):
    targets = floats([1, 0, 1], [0, 0, 0], [np.nan] * 3)
    predictions = floats([0.4, 0.2, 0.9], [0.2, 0.1, 0.7], [0.3, 0.3, 0.3])
    tuned = head.tune(targets, predictions)
    calibrated = tuned.scorer.tempered(predictions, tuned.temperature)
    middles = (calibrated[0] + calibrated[1]) / 2
    assert tuned.thresholds == pytest.approx((middles[0], 0.5, middles[2]))
    assert head.thresholds == (0.5, 0.5, 0.5)
    answers = tuned.answer(tf.constant(calibrated))
    assert answers["labels"].numpy().tolist()[:2] == [b"green|round", b""]
    assert tuned.scorer.score(targets[:2], calibrated[:2])["subset_accuracy"] == 1


# Scores

TRUTH = floats([1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1])
SAID = floats([0.9, 0.2, 0.1], [0.6, 0.8, 0.7], [0.4, 0.3, 0.6], [0.1, 0.1, 0.9])


def test_scores_are_scikit_learns(head):
    scores, chosen = head.scorer.score(TRUTH, SAID), SAID >= 0.5
    assert list(scores)[0] == "micro_f1"
    assert scores == pytest.approx(
        {
            "micro_f1": metrics.f1_score(TRUTH, chosen, average="micro"),
            "macro_f1": metrics.f1_score(TRUTH, chosen, average="macro"),
            "subset_accuracy": metrics.accuracy_score(TRUTH, chosen),
            "hamming_loss": metrics.hamming_loss(TRUTH, chosen),
            "mean_average_precision": metrics.average_precision_score(TRUTH, SAID, average="macro"),
            "macro_roc_auc": metrics.roc_auc_score(TRUTH, SAID, average="macro"),
        }
    )


def test_scores_by_hand(head):
    """Of 12 answers 8 are right; 4 labels found of 6, and 6 said; one row of four is right in all labels."""
    scores = head.scorer.score(TRUTH, SAID)
    assert scores["micro_f1"] == pytest.approx(2 * 4 / (6 + 6))
    assert scores["hamming_loss"] == pytest.approx(4 / 12)
    assert scores["subset_accuracy"] == pytest.approx(1 / 4)


def test_labels_that_do_not_occur_do_not_count_in_means(head):
    scores = head.scorer.score(floats([1, 0, 0], [0, 0, 0]), floats([0.9, 0.1, 0.1], [0.1, 0.1, 0.2]))
    assert scores["macro_f1"] == scores["micro_f1"] == scores["macro_roc_auc"] == 1
    assert head.scorer.score(floats([0, 0, 0]), floats([0, 0, 0])) == {
        "micro_f1": 0,
        "macro_f1": 0,
        "subset_accuracy": 1,
        "hamming_loss": 0,
    }


def test_one_label_is_no_class(head):
    """Scikit-learn takes one column for two classes, whose micro F1 is the accuracy."""
    head = Multilabel().adapt(cells("urgent", "|"))
    scores = head.scorer.score(floats([1], [0], [0], [1]), floats([0.9], [0.1], [0.2], [0.3]))
    assert scores["micro_f1"] == pytest.approx(2 / 3)
    assert scores["subset_accuracy"] == 0.75


def test_the_report_has_a_line_for_each_label(head):
    lines = head.scorer.report(TRUTH, SAID).splitlines()
    assert [line.split()[0] for line in lines] == ["label", "green", "red", "round"]
    # red: said once, rightly; twice in the truth
    assert lines[2].split()[1:] == ["1.000", "0.500", "0.667", "0.500", "2"]


def test_the_picture_shows_each_label(head):
    axes = Figure().add_subplot()
    head.scorer.plot(TRUTH, SAID, axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["green (2)", "red (2)", "round (2)"]
    np.testing.assert_allclose(axes.lines[2].get_xdata(), [0.5, 2 / 3, 0.8])


# Answers


def test_the_answer_joins_the_labels(head):
    answer = head.answer(tf.constant(SAID))
    assert answer["labels"].numpy().tolist() == [b"green", b"green|red|round", b"round", b"round"]
    np.testing.assert_array_equal(answer["probabilities"], SAID)
    assert answer.keys() == head.answer_description.keys()
    assert "green, red, round in this order" in head.answer_description["probabilities"]


def test_the_answer_reads_as_a_cell(head):
    labels = head.answer(tf.constant(SAID))["labels"].numpy().astype(str)
    np.testing.assert_array_equal(head.encode_target(pd.Series(labels)), SAID >= 0.5)


# Models


def test_several_models_answers_are_joined_by_log_odds(head):
    """Odds of 9 and 1 make 3, 3 / 4; odds of 4 and 1 / 4 make 1."""
    joined = head.scorer.join([floats([0.9, 0.8, 0]), floats([0.5, 0.2, 0])])
    np.testing.assert_allclose(joined, [[0.75, 0.5, 0]], atol=1e-6)


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("values", [["a", "b", "a|b|c", "c"], ["a", "|", "a", "|"], ["a|b", "a", "a|b", "a"]])
@pytest.mark.filterwarnings("ignore:Label not 0 is present", "ignore:A column-vector y")
def test_a_baseline_learns_the_targets(values, is_sparse):
    head = Multilabel().adapt(cells(*values))
    targets = head.encode_target(cells(*values))
    inputs = np.eye(4) * 9
    model = head.scorer.baseline(is_sparse, seed=0)
    if hasattr(model, "n_estimators"):
        model.set_params(n_estimators=20)
    found = head.scorer.baseline_predictions(model.fit(inputs, targets), inputs)
    np.testing.assert_array_equal(found >= 0.5, targets == 1)
    assert found.shape == targets.shape


@pytest.mark.parametrize("settings", [{}, {"class_weights": "balanced", "focal_gamma": 2}])
def test_a_planted_truth_is_found(settings):
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    has = {"a": inputs[:, 0] > 0, "b": inputs[:, 1] - inputs[:, 2] > 1}
    values = cells(*["|".join(label for label in has if has[label][row]) or "|" for row in range(256)])
    values[:9] = ""
    head = Multilabel(**settings).adapt(values)
    targets = head.encode_target(values)
    vector = keras.Input((4,))
    model = keras.Model(vector, head.output(head.raw(vector, "raw"), "answer"))
    model.compile(keras.optimizers.Adam(0.1), head.loss(), weighted_metrics=head.metrics())
    weights = head.sample_weights(targets)
    history = model.fit(inputs, np.nan_to_num(targets), batch_size=32, epochs=12, verbose=0, sample_weight=weights)
    assert np.isfinite(history.history["loss"]).all()
    assert history.history["average_precision"][-1] > 0.95
    known = head.scorer.known(targets)
    predictions, targets = model.predict(inputs, verbose=0)[known], targets[known]
    scores, prior = head.scorer.score(targets, predictions), head.scorer.score(targets, np.tile(head.prior, (247, 1)))
    assert scores["micro_f1"] > 0.9 > prior["micro_f1"]
    tuned = head.tune(targets, predictions)
    calibrated = tuned.scorer.tempered(predictions, tuned.temperature)
    assert tuned.scorer.score(targets, calibrated)["micro_f1"] >= scores["micro_f1"]
