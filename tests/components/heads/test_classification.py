"""One of several classes: targets, weights, loss, scores and answers, against numbers worked out by hand."""

import math
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from mmkeras.components.heads.classification import Classification

TRAINING = pd.Series(["cat", "bird", "cat", "dog", "cat", "cat"], dtype=object)


@pytest.fixture
def head():
    return Classification().adapt(TRAINING)


def refuses(message):
    return pytest.raises(ValueError, match=re.escape(message))


def predictions(*rows):
    return np.array(rows, np.float32)


# What it is for


def test_any_column_can_hold_classes():
    assert Classification.claims(TRAINING) == "3 classes"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["x"] * 8 + [""], 'every row has the class "x", expected two classes or more'),
        (["x"] * 6 + ["z"] + ["y"] * 2, 'the class "z" has one row only (row 7); add rows of this class, give the row'),
        (
            ["x"] * 7 + ["y"] * 2,
            'the class "y" stands in test (rows 8, 9) but not in train; move some of its rows to train, or delete them',
        ),
        (["x"] * 5 + ["y"] * 4, 'the class "y" stands in valid (rows 6, 7) but not in train'),
    ],
)
def test_a_faulty_target_is_refused(labels, message):
    with refuses(message):
        Classification().check(pd.Series(labels, dtype=object), pd.Series(["train"] * 5 + ["valid"] * 2 + ["test"] * 2))


def test_a_sound_target_passes_with_rows_that_have_none():
    labels = pd.Series(["x", "y", "", "x", "y", " "], dtype=object)
    Classification().check(labels, pd.Series(["train", "train", "train", "valid", "test", "test"]))


def test_splits_hold_equal_shares_of_the_classes():
    assert Classification().strata(TRAINING) is TRAINING


# Targets


def test_classes_are_sorted(head):
    assert head.classes == ("bird", "cat", "dog")


def test_targets_are_indices_and_unknown_ones_are_minus_1(head):
    encoded = head.encode_target(pd.Series(["dog", "bird", "", "wolf", "cat"], dtype=object))
    assert encoded.tolist() == [2, 0, -1, -1, 1]


def test_classes_that_look_like_numbers_keep_their_spelling():
    assert Classification().adapt(pd.Series(["01", "1", "01"], dtype=object)).classes == ("01", "1")


def test_rows_are_known_where_training_knew_the_class(head):
    assert head.scorer.known(np.array([2, -1, 0], np.int32)).tolist() == [True, False, True]


def test_the_prior_is_what_the_training_rows_had(head):
    np.testing.assert_allclose(head.prior, [1 / 6, 4 / 6, 1 / 6], rtol=1e-6)
    assert head.prior.dtype == np.float32


def test_every_row_counts_the_same_unless_asked(head):
    assert head.sample_weights(np.array([0, 1, 2, -1])).tolist() == [1, 1, 1, 0]


def test_balanced_classes_count_the_same():
    """6 rows, 3 classes of 1, 4 and 1 rows: 6 / (3 * 1) = 2 and 6 / (3 * 4) = 0.5."""
    head = Classification(class_weights="balanced").adapt(TRAINING)
    assert head.weights == (2, 0.5, 2)
    weights = head.sample_weights(np.array([0, 1, 2, -1]))
    assert weights.tolist() == [2, 0.5, 2, 0]
    assert head.sample_weights(head.encode_target(TRAINING)).sum() == pytest.approx(6)


# Loss


def test_the_loss_is_minus_the_logarithm_of_the_right_class(head):
    loss = head.loss()(np.array([0, 2]), predictions([0.5, 0.3, 0.2], [0.1, 0.1, 0.8]))
    np.testing.assert_allclose(loss, [-math.log(0.5), -math.log(0.8)], rtol=1e-5)


def test_label_smoothing_wants_a_little_of_every_class():
    """0.3 smoothed over 3 classes: the right one is wanted at 0.7 + 0.1, the others at 0.1."""
    head = Classification(label_smoothing=0.3).adapt(TRAINING)
    wanted = -(0.8 * math.log(0.5) + 0.1 * math.log(0.3) + 0.1 * math.log(0.2))
    loss = head.loss()(np.array([0]), predictions([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(loss, [wanted], rtol=1e-5)


def test_focal_loss_counts_less_what_is_right_already():
    """Gamma 2: -(1 - 0.5)² log 0.5 and -(1 - 0.8)² log 0.8."""
    head = Classification(focal_gamma=2).adapt(TRAINING)
    loss = head.loss()(np.array([0, 2]), predictions([0.5, 0.3, 0.2], [0.1, 0.1, 0.8]))
    np.testing.assert_allclose(loss, [-0.25 * math.log(0.5), -0.04 * math.log(0.8)], rtol=1e-5)


def test_focal_loss_with_label_smoothing():
    """Wanted 0.8, 0.1, 0.1 of probabilities 0.5, 0.3, 0.2, each part times (1 - its probability)²."""
    head = Classification(focal_gamma=2, label_smoothing=0.3).adapt(TRAINING)
    wanted = -(0.8 * 0.25 * math.log(0.5) + 0.1 * 0.49 * math.log(0.3) + 0.1 * 0.64 * math.log(0.2))
    loss = head.loss()(np.array([0]), predictions([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(loss, [wanted], rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"focal_gamma": 0.5, "label_smoothing": 0.1}])
def test_unknown_rows_and_certain_predictions_have_finite_losses_and_gradients(settings):
    head = Classification(**settings).adapt(TRAINING)
    prediction = tf.constant(predictions([1, 0, 0], [1, 0, 0], [0, 0, 1]))
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        loss = head.loss()(np.array([-1, 0, 0]), prediction)
    assert loss.shape == (3,) and np.isfinite(loss).all()
    assert np.isfinite(tape.gradient(loss, prediction)).all()


def test_targets_may_have_a_last_axis(head):
    """Keras adds one."""
    loss = head.loss()(np.array([[0], [2]]), predictions([0.5, 0.3, 0.2], [0.1, 0.1, 0.8]))
    assert loss.shape == (2,)


def test_training_shows_accuracy(head):
    metric = head.metrics()[0]
    metric.update_state(np.array([0, 2, 1]), predictions([0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.9, 0.1, 0]))
    assert metric.name == "accuracy"
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.reset_state()
    metric.update_state(np.array([0, -1]), predictions([0.5, 0.3, 0.2], [0.1, 0.1, 0.8]), np.array([1.0, 0.0]))
    assert float(metric.result()) == 1


# Scores

GUESSES = predictions([0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6])  # bird, bird, cat, dog
TRUTH = np.array([0, 1, 1, 2])


def test_scores_by_hand(head):
    scores = head.scorer.score(TRUTH, GUESSES)
    assert scores["accuracy"] == pytest.approx(3 / 4)
    assert scores["macro_precision"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert scores["macro_recall"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert scores["log_loss"] == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.6]).mean(), rel=1e-5)
    # one against the rest: bird 3 of 3 pairs right; cat 0.3 and 0.5 against 0.2 and 0.3: 3.5 of 4; dog 3 of 3
    assert scores["roc_auc"] == pytest.approx((1 + 3.5 / 4 + 1) / 3)


def test_two_classes_have_one_roc_auc():
    head = Classification().adapt(pd.Series(["no", "yes"], dtype=object))
    rows = predictions([0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8])
    # yes at 0.3 and 0.8 against no at 0.1 and 0.6: 3 of 4 pairs right
    assert head.scorer.score(np.array([0, 0, 1, 1]), rows)["roc_auc"] == pytest.approx(0.75)


def test_a_class_without_a_row_has_no_roc_auc_and_does_not_count_in_means(head):
    scores = head.scorer.score(np.array([0, 1]), GUESSES[[0, 2]])
    assert "roc_auc" not in scores
    assert scores["macro_f1"] == scores["accuracy"] == 1
    assert scores["log_loss"] == pytest.approx(-np.log([0.7, 0.5]).mean(), rel=1e-5)


def test_one_row_has_scores(head):
    assert head.scorer.score(np.array([2]), GUESSES[[3]])["accuracy"] == 1


def test_half_precision_probabilities_are_scored(head):
    """They do not add up to 1 in double precision, which scikit-learn refuses."""
    scores = head.scorer.score(TRUTH, (GUESSES * 1.0004).astype(np.float16))
    assert scores["log_loss"] == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.6]).mean(), rel=1e-2)


def test_the_report_names_the_classes_that_occur(head):
    report = head.scorer.report(np.array([0, 1]), GUESSES[[0, 2]])
    assert "bird" in report and "cat" in report and "dog" not in report
    assert "1.000" in report


@pytest.mark.parametrize("classes", [3, 12])
def test_the_picture_shows_every_class(classes):
    head = Classification().adapt(pd.Series([f"class {i:02}" for i in range(classes)], dtype=object))
    axes = Figure().add_subplot()
    head.scorer.plot(np.array([0, 1]), np.eye(classes, dtype=np.float32)[[0, 2]], axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(head.classes)
    counts = [text.get_text() for text in axes.texts]
    assert len(counts) == classes**2 and counts.count("1") == 2
    assert counts[0] == "1" and counts[classes + 2] == "1"


# Answers


def test_the_answer_is_the_most_probable_class(head):
    answer = head.answer(tf.constant(GUESSES[[0, 3]]))
    assert answer["label"].numpy().tolist() == [b"bird", b"dog"]
    np.testing.assert_allclose(answer["probability"], [0.7, 0.6], rtol=1e-6)
    np.testing.assert_array_equal(answer["probabilities"], GUESSES[[0, 3]])


def test_the_answers_description_gives_the_order_of_the_classes(head):
    assert "bird, cat, dog in this order" in head.answer_description["probabilities"]


def test_probabilities_add_up_to_1_in_half_precision():
    head = Classification().adapt(pd.Series([f"{i:03}" for i in range(200)], dtype=object))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        vector = keras.Input((5,))
        model = keras.Model(vector, head.output(head.raw(vector, "raw"), "answer"))
        sums = model(np.random.default_rng(0).normal(size=(4, 5))).numpy()
    finally:
        keras.config.set_dtype_policy("float32")
    assert sums.dtype == np.float32
    np.testing.assert_allclose(sums.sum(axis=-1), np.ones(4), atol=1e-5)


# Models


def test_several_models_answers_are_joined_by_log_probability(head):
    """Geometric means of 0.8 and 0.2, 0.1 and 0.4, 0.1 and 0.4: 0.4, 0.2 and 0.2."""
    joined = head.scorer.join([predictions([0.8, 0.1, 0.1]), predictions([0.2, 0.4, 0.4])])
    np.testing.assert_allclose(joined, [[0.5, 0.25, 0.25]], rtol=1e-6)
    assert np.isfinite(head.scorer.join([predictions([1, 0, 0]), predictions([0, 1, 0])])).all()


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_baseline_learns_the_classes_that_it_sees(head, is_sparse):
    model = head.scorer.baseline(is_sparse, seed=0)
    if not is_sparse:
        model.set_params(n_estimators=20)
    inputs = np.array([[0.0], [9.0]])
    found = head.scorer.baseline_predictions(model.fit(inputs, np.array([2, 0])), inputs)
    assert found.argmax(axis=1).tolist() == [2, 0]
    np.testing.assert_array_equal(found[:, 1], [0, 0])


@pytest.mark.parametrize("settings", [{}, {"focal_gamma": 2, "label_smoothing": 0.1, "class_weights": "balanced"}])
def test_a_planted_truth_is_found(settings):
    """The class is the largest of three numbers."""
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    values = pd.Series(inputs[:, :3].argmax(axis=1)).map({0: "cat", 1: "bird", 2: "dog"})
    head = Classification(**settings).adapt(values)
    targets = head.encode_target(values)
    vector = keras.Input((4,))
    model = keras.Model(vector, head.output(head.raw(vector, "raw"), "answer"))
    model.compile(keras.optimizers.Adam(0.1), head.loss(), weighted_metrics=head.metrics())
    model.fit(inputs, targets, batch_size=32, epochs=8, verbose=0, sample_weight=head.sample_weights(targets))
    scores = head.scorer.score(targets, model.predict(inputs, verbose=0))
    assert scores["accuracy"] > 0.95 > head.scorer.score(targets, np.tile(head.prior, (256, 1)))["accuracy"]


def test_foreign_rows_are_those_of_valid_and_test_whose_class_train_lacks():
    values = pd.Series(["a", "b", "c", "", "c", "b"])
    split = pd.Series(["train", "train", "test", "test", "unused", "valid"])
    assert Classification().foreign(values, split).tolist() == [False, False, True, False, False, False]


def test_a_temperature_follows_its_predictions_smoothly():
    """Two devices' predictions differ in their last digits, and so may the temperatures, but no more."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 12).astype(np.int32)
    head = Classification(classes=("a", "b", "c"), frequencies=(0.3, 0.3, 0.4), weights=(1.0,) * 3)
    logits = rng.normal(size=(12, 3)) + 2 * np.eye(3)[targets]
    first = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    second = first * (1 + rng.normal(0, 1e-6, first.shape))
    found = [head.tune(targets, each.astype(np.float32)).temperature for each in (first, second)]
    assert found[0] != 1 and found[1] == pytest.approx(found[0], rel=5e-6)
