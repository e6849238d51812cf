"""What is said of a target's answers, on made-up predictions: intervals, parts, curves, coverage, rows."""

import json

import numpy as np
import pandas as pd
import pytest
from fixtures_models import model_of

from mmkeras.components.heads.classification import Classification
from mmkeras.components.heads.multilabel import Multilabel
from mmkeras.components.heads.ordinal import Ordinal
from mmkeras.components.heads.regression import Regression
from mmkeras.evaluation import judging
from mmkeras.evaluation.judging import Said, by_pattern, by_value, cut, judge, plain, row_columns
from mmkeras.evaluation.models import OWN, PRIOR

ROWS = 60


def column(*cells):
    return pd.Series(cells, dtype=object)


def fitted_head(kind, names):
    if kind == "regression":
        return Regression().adapt(column("1", "3", "8"))
    if kind == "multilabel":
        return Multilabel().adapt(column("|".join(names), names[0], names[1]))
    order = {"order": tuple(names)} if kind == "ordinal" else {}
    return (Ordinal(**order) if kind == "ordinal" else Classification()).adapt(column(*names, *names, names[0]))


def said(kind, rows=ROWS, classes=3, seed=0):
    """Predictions that are mostly right; those of classes are as sure as they should be."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    names = [f"c{i:04}" for i in range(classes)]
    scorer = fitted_head(kind, names).scorer
    if kind == "regression":
        targets = rng.normal(size=(rows, 1)).astype(np.float32)
        return Said(scorer, targets, targets + rng.normal(0, 0.3, (rows, 1)).astype(np.float32))
    if kind == "multilabel":
        targets = (rng.random((rows, classes)) < 0.4).astype(np.float32)
        return Said(scorer, targets, (1 / (1 + np.exp(rng.normal(1.5, 1.5, targets.shape) * (1 - 2 * targets)))))
    logits = 1.8 * (rng.normal(size=(rows, classes)) + 1.8 * np.eye(classes)[truth])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Said(scorer, truth.astype(np.int32), shares.astype(np.float32))


def judged(own, units=None, **options):
    """As `evaluation.json` holds it, which takes no NaN."""
    units = np.arange(len(own.truth)) if units is None else units
    found = plain(judge({OWN: own}, units, **options))
    return json.loads(json.dumps(found, allow_nan=False))


KINDS = ("classification", "multilabel", "ordinal", "regression")


# What every task has


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_has_an_interval_around_it(kind):
    own = said(kind)
    found = judged(own)
    scores, intervals = (model_of(found)[name] for name in ("scores", "intervals"))
    assert scores == pytest.approx(own.score)
    assert list(intervals) == list(scores)
    assert found["metric"] == next(iter(scores)) and found["type"] == kind
    for name, (low, high) in intervals.items():
        assert low <= scores[name] <= high and low < high, name


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_task_cannot_have_is_null(kind):
    found = judged(said(kind))
    has_classes = kind != "regression"
    assert (found["classes"] is not None) == has_classes
    assert all((found[name] is not None) == has_classes for name in ("per_class", "curves", "calibration", "coverage"))
    assert (found["confusion"] is not None) == (kind in ("classification", "ordinal"))
    assert (found["numbers"] is not None) == (kind == "regression")
    assert found["slices"] == {} and found["patterns"] == [] and found["note"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_rows_whose_target_is_not_known_are_left_out_of_everything(kind):
    own = said(kind)
    unknown = np.arange(ROWS) < 5
    truth = own.truth.copy()
    truth[unknown] = -1 if kind in ("classification", "ordinal") else np.nan
    found = judged(Said(own.scorer, truth, own.predictions))
    assert found == judged(own.of(~unknown))
    nothing = judged(Said(own.scorer, truth, own.predictions).of(unknown))
    assert nothing["models"] == [{"kind": "own", "column": None, "scores": {}, "intervals": {}}]
    assert nothing["metric"] is None
    assert nothing.keys() == found.keys()
    rows = row_columns(Said(own.scorer, truth, own.predictions).of(unknown), column(*[""] * 5), np.ones(5, bool))
    assert rows["right"].isna().all() and np.isnan(rows["loss"]).all() and np.isnan(rows["suspect"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_group_gives_no_interval(kind):
    found = judged(said(kind), units=np.zeros(ROWS, int))
    assert set(model_of(found)["intervals"].values()) == {None}
    assert all(set(each["intervals"].values()) == {None} for each in found["per_class"] or [])


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_is_judged(kind):
    found = judged(said(kind, rows=1))
    assert set(model_of(found)["intervals"].values()) == {None}


def test_others_have_an_interval_of_the_first_figure_on_the_same_rows():
    own, other = said("classification"), said("classification", seed=0)
    found = plain(judge({OWN: own, PRIOR: other}, np.arange(ROWS)))
    assert model_of(found, PRIOR)["intervals"] == {"accuracy": model_of(found)["intervals"]["accuracy"]}


# Classes


def test_classes_by_hand():
    head = Classification().adapt(column("a", "b", "c"))
    truth = np.array([0, 0, 0, 1, 1, 2], np.int32)
    found = judged(Said(head.scorer, truth, np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 0]]))
    assert found["confusion"] == {"classes": ["a", "b", "c"], "counts": [[2, 1, 0], [0, 2, 0], [1, 0, 0]]}
    first, second, third = found["per_class"]
    assert (first["class"], first["rows"], first["precision"], first["recall"]) == ("a", 3, 2 / 3, 2 / 3)
    assert (second["precision"], second["recall"], second["f1"]) == (2 / 3, 1, 0.8)
    assert third["rows"] == 1 and third["precision"] is None and third["recall"] == third["f1"] == 0  # never said
    assert second["intervals"]["recall"][1] == 1 and second["intervals"]["recall"][0] < 0.6  # of three rows


def test_one_class_alone_can_be_judged():
    own = said("classification")
    found = judged(own.of(own.truth == 1))
    assert "roc_auc" not in model_of(found)["scores"]
    assert found["curves"] == []
    assert [each["rows"] for each in found["per_class"]] == [0, (own.truth == 1).sum(), 0]
    assert [each["recall"] is None for each in found["per_class"]] == [True, False, True]


@pytest.mark.parametrize(("kind", "classes"), [("classification", 1000), ("multilabel", 80)])
def test_of_many_classes_the_most_frequent_are_shown(kind, classes):
    own = said(kind, rows=300, classes=classes)
    found = judged(own)
    assert len(found["per_class"]) == judging.MOST_CLASSES and len(found["curves"]) <= judging.MOST_CLASSES
    assert found["note"] == f"of {classes} classes the 50 most frequent stand in tables and curves"
    counts = own.truth.sum(axis=0) if kind == "multilabel" else np.bincount(own.truth, minlength=classes)
    assert sum(each["rows"] for each in found["per_class"]) == np.sort(counts)[-50:].sum()
    if kind == "classification":
        assert np.shape(found["confusion"]["counts"]) == (50, 50)


def test_curves_are_thinned_and_keep_their_ends():
    own = said("classification", rows=3000)
    found = judged(own)
    roc, both = found["curves"][0]["roc"], found["curves"][0]["precision_recall"]
    assert 50 < len(roc["true_positive_rate"]) <= judging.MOST_POINTS
    assert (roc["false_positive_rate"][0], roc["true_positive_rate"][-1]) == (0, 1)
    assert len(both["precision"]) == len(both["recall"]) == judging.MOST_POINTS
    assert len(found["coverage"]["curve"]) == judging.MOST_POINTS
    assert len(judged(said("regression", rows=3000))["numbers"]["truth"]) == judging.MOST_NUMBERS


# Parts of the rows


def test_slices_and_patterns_are_scores_of_their_rows():
    own = said("classification")
    is_early = np.arange(ROWS) < 20
    slices = {"when": {"early": is_early, "late": ~is_early, "never": np.zeros(ROWS, bool)}}
    found = judged(own, slices=slices, patterns={(): ~is_early, ("photo", "voice"): is_early})
    early, late = found["slices"]["when"]  # no row, no line
    assert (early["value"], early["rows"], late["rows"]) == ("early", 20, 40)
    assert early["scores"] == pytest.approx(own.of(is_early).score)
    assert late["scores"]["accuracy"] < 1  # or the bootstrap would see no doubt
    low, high = late["intervals"]["accuracy"]
    assert low < late["scores"]["accuracy"] < high
    assert [part["missing"] for part in found["patterns"]] == [[], ["photo", "voice"]]
    assert found["patterns"][1]["scores"] == early["scores"]


def test_few_values_are_taken_as_they_are():
    cells, how = cut(column("b", "a ", "", "b"))
    assert how == "" and cells.tolist() == ["b", "a", "", "b"]
    assert {name: rows.tolist() for name, rows in by_value(cells).items()} == {
        "b": [True, False, False, True], "a": [False, True, False, False], "": [False, False, True, False],
    }  # fmt: skip


def test_many_numbers_are_cut_into_ranges_and_shown_in_order():
    cells, how = cut(column(*(str(i / 10) for i in range(-30, 30)), "", "n/a"))
    assert how == "its 61 numbers are cut into ranges of equally many rows"
    found = by_value(cells)
    assert [rows.sum() for name, rows in found.items() if " to " in name] == [12] * 5
    assert found[""].tolist() == [False] * 60 + [True, False]
    ranges = by_value(cells[:60].copy())
    assert list(ranges)[0].startswith("-3") and list(ranges)[-1].endswith("2.9")


def test_of_many_texts_the_rarest_are_one_value():
    cells, how = cut(column(*["often"] * 5, *(f"text {i}" for i in range(200)), ""))
    assert how == "of its 201 values the rarest are one"
    assert cells.nunique() == judging.MOST_VALUES
    assert (cells == "often").sum() == 5 and (cells == "183 other values").sum() == 183


def test_missing_patterns_are_those_that_occur():
    present = np.array([[True, True], [True, False], [True, True], [False, False]])
    found = by_pattern(present, ["photo", "voice"])
    assert list(found)[0] == () and set(found) == {(), ("voice",), ("photo", "voice")}
    assert found[()].tolist() == [True, False, True, False]


# Confidence


def test_calibration_says_what_the_temperature_did():
    own = said("classification", rows=2000)
    sharp = own.scorer.tempered(own.predictions, 0.25)
    head = fitted_head("classification", own.scorer.classes).tune(own.truth, sharp)
    found = judged(Said(head.scorer, own.truth, head.scorer.tempered(sharp, head.temperature)))["calibration"]
    assert found["temperature"] == head.temperature == pytest.approx(4, rel=0.15)
    assert found["ece"] < 0.03 < 0.05 < found["ece_uncalibrated"]
    assert sum(each["rows"] for each in found["bins"]) == 2000


def test_labels_are_calibrated_each_for_itself():
    found = judged(said("multilabel"))["calibration"]
    assert sum(each["rows"] for each in found["bins"]) == 3 * ROWS


def test_the_confidence_to_answer_from_is_chosen_on_other_rows():
    own, valid = said("classification", rows=400), said("classification", rows=400, seed=1)
    found = judged(own, valid=valid)["coverage"]
    sure = valid.predictions.max(axis=1) >= found["confidence"]
    assert valid.scorer.right(valid.truth, valid.predictions)[sure].mean() >= 0.95
    answered = own.predictions.max(axis=1) >= found["confidence"]
    assert found["coverage"] == pytest.approx(answered.mean()) and 0.3 < answered.mean() < 1
    assert found["accuracy"] == pytest.approx(own.scorer.right(own.truth, own.predictions)[answered].mean())
    assert (found["wanted"], found["chosen_on"]) == (0.95, "valid")


def test_no_confidence_may_be_good_enough():
    own = said("classification")
    wrong = Said(own.scorer, (own.truth + 1) % 3, own.predictions)
    found = judged(own, valid=wrong)["coverage"]
    assert found["coverage"] is found["confidence"] is found["accuracy"] is None
    assert found["chosen_on"] == "valid" and judged(own)["coverage"]["chosen_on"] is None


# Rows


def test_rows_say_what_became_of_them():
    head = Classification().adapt(column("a", "b", "b"))
    truth = np.array([0, 1, 1, -1], np.int32)
    predictions = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], np.float32)
    found = row_columns(Said(head.scorer, truth, predictions), column("a", "b", "b", "z"), np.ones(4, bool))
    assert found["truth"].tolist() == ["a", "b", "b", "z"] and found["answer"].tolist() == ["a", "a", "b", "b"]
    assert found["confidence"].tolist() == pytest.approx([0.9, 0.6, 0.8, 0.7])
    assert found["right"].tolist() == [True, False, True, pd.NA]
    assert found["loss"][:3] == pytest.approx(-np.log([0.9, 0.4, 0.8])) and np.isnan(found["loss"][3])


@pytest.fixture
def mislabelled():
    """Of 400 rows the first ten have another class than they look like."""
    own = said("classification", rows=400, seed=2)
    truth = own.predictions.argmax(axis=1).astype(np.int32)
    truth[:10] = (truth[:10] + 1) % 3
    return Said(own.scorer, truth, own.predictions)


def test_likely_label_errors_are_named(mislabelled):
    found = row_columns(mislabelled, column(*["x"] * 400), np.ones(400, bool))
    suspected = np.flatnonzero(np.isfinite(found["suspect"]))
    assert len(suspected) >= 5 and set(suspected) <= set(range(10))
    names = np.array(mislabelled.scorer.classes)
    assert found["should be"][suspected].tolist() == names[mislabelled.predictions[suspected].argmax(axis=1)].tolist()
    assert set(found["should be"][10:]) == {None}


def test_rows_that_trained_the_model_or_hold_no_cell_are_no_suspects(mislabelled):
    is_new = np.arange(400) > 4
    predictions = mislabelled.predictions.copy()
    predictions[5:8] = mislabelled.scorer.prior
    own = Said(mislabelled.scorer, mislabelled.truth, predictions)
    found = row_columns(own, column(*["x"] * 400), is_new)
    suspected = set(np.flatnonzero(np.isfinite(found["suspect"])))
    assert suspected and suspected <= {8, 9}


def test_suspected_labels_are_named_as_the_cell_should_be():
    own = said("multilabel", rows=300)
    truth = (own.predictions >= 0.5).astype(np.float32)
    row = int(np.flatnonzero((truth[:, 0] == 1) & (own.predictions[:, 0] > 0.95))[0])
    truth[row, 0] = 0
    found = row_columns(Said(own.scorer, truth, own.predictions), column(*["x"] * 300), np.ones(300, bool))
    assert found["suspect"][row] > 0.8
    assert "c0000" in found["should be"][row].split("|")
    numbers = row_columns(said("regression"), column(*["1"] * ROWS), np.ones(ROWS, bool))
    assert np.isnan(numbers["suspect"]).all() and np.isnan(numbers["confidence"]).all()
    assert numbers["right"].isna().all() and np.isfinite(numbers["loss"]).all()


def test_plain_values_are_what_json_holds():
    found = plain({"a": np.array([1.0, np.nan]), "b": (np.int64(3), np.bool_(True)), 4: np.float32(0.5), "c": None})
    assert found == {"a": [1.0, None], "b": [3, True], "4": 0.5, "c": None}
