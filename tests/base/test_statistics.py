"""Intervals, tests, calibration, coverage and label errors: worked out by hand, or against scipy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from mmkeras.base import statistics


def drawn(units, seed=0, resamples=statistics.RESAMPLES):
    return np.concatenate(list(statistics.resample_weights(np.asarray(units), seed, resamples)))


# Resamples


def test_resamples_draw_whole_units():
    weights = drawn([7, 7, 3, 3, 3, 9])
    assert weights.shape == (statistics.RESAMPLES, 6)
    assert len(np.unique(weights, axis=0)) > 5
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2:3] == weights[:, 3:5]).all()
    assert (weights[:, [0, 2, 5]].sum(axis=1) == 3).all()  # as many units as there are


def test_blocks_are_small_and_add_up_to_all_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK_CELLS", 50)
    blocks = list(statistics.resample_weights(np.arange(7), seed=1, resamples=20))
    assert [len(block) for block in blocks] == [7, 7, 6]
    monkeypatch.setattr(statistics, "BLOCK_CELLS", 3)
    assert len(next(statistics.resample_weights(np.arange(7), seed=1))) == 1


@pytest.mark.parametrize(("rows", "wanted"), [(0, 1000), (132, 1000), (20_000, 1000), (40_000, 500), (10**6, 200)])
def test_many_rows_are_resampled_less_often(rows, wanted):
    assert statistics.resamples_of(rows) == wanted


def test_an_interval_is_scipys():
    values = np.random.default_rng(0).exponential(size=80)
    low, high = statistics.interval(statistics.mean(drawn(range(80), resamples=4000), values))
    wanted = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    assert (low, high) == pytest.approx(tuple(wanted.confidence_interval), abs=0.02)


def test_groups_whose_rows_are_alike_widen_an_interval():
    right = np.repeat(np.random.default_rng(0).random(20) < 0.7, 10).astype(float)
    widths = {}
    for name, units in {"rows": np.arange(200), "groups": np.arange(200) // 10}.items():
        low, high = statistics.interval(statistics.mean(drawn(units), right))
        widths[name] = high - low
    assert widths["groups"] > 2 * widths["rows"]


def test_where_resampling_sees_no_doubt():
    assert statistics.interval_of(np.linspace(0, 1, 1001), 30) == pytest.approx([0.025, 0.975])
    low, high = statistics.interval_of(np.ones(1000), 16)
    assert (low, high) == pytest.approx((0.8064, 1.0), abs=1e-4)  # Wilson's of 16 of 16
    assert statistics.interval_of(np.zeros(1000), 16) is None
    assert statistics.interval_of(np.linspace(0, 1, 1001), 1) is None
    assert statistics.interval_of(np.append(np.full(960, np.nan), np.linspace(0, 1, 40)), 30) is None


@pytest.mark.parametrize(("hits", "rows"), [(0, 5), (3, 7), (12, 12)])
def test_wilsons_interval_is_scipys(hits, rows):
    wanted = stats.binomtest(hits, rows).proportion_ci(method="wilson")
    assert statistics.wilson(hits, rows) == pytest.approx(tuple(wanted))


# Figures of resamples


@pytest.fixture
def scored():
    """(truth, scores with ties, weights of five resamples)."""
    rng = np.random.default_rng(3)
    truth = (rng.random(30) < 0.4).astype(float)
    return truth, (truth + rng.normal(size=30)).round(1), drawn(range(30), resamples=5)


def test_figures_of_an_order_are_scikit_learns(scored):
    truth, scores, weights = scored
    areas = [metrics.roc_auc_score(truth, scores, sample_weight=row) for row in weights]
    precisions = [metrics.average_precision_score(truth, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(statistics.roc_area(truth, scores, weights), areas)
    np.testing.assert_allclose(statistics.average_precision(truth, scores, weights), precisions)


def test_rank_correlations_and_medians_are_those_of_the_drawn_rows(scored):
    truth, scores, weights = scored
    rows = [np.repeat(np.arange(30), row.astype(int)) for row in weights]
    wanted = [stats.spearmanr(truth[each], scores[each]).statistic for each in rows]
    np.testing.assert_allclose(statistics.spearman(truth, scores, weights), wanted)
    np.testing.assert_allclose(statistics.median(scores, weights), [np.median(scores[each]) for each in rows])
    even = np.array([[1.0, 1, 1, 1]])
    assert statistics.median(np.array([4.0, 1, 3, 9]), even).tolist() == [3.5]


def test_figures_are_not_defined_where_no_row_is_drawn_or_all_are_alike(scored):
    truth, scores, _ = scored
    nothing, alike = np.zeros((1, 30)), truth[None]
    for weights in (nothing, alike):
        assert np.isnan(statistics.roc_area(truth, scores, weights)).all()
    assert np.isnan(statistics.mean(nothing, scores)).all()
    assert np.isnan(statistics.spearman(truth, scores, alike)).all()
    assert np.isnan(statistics.median(scores, nothing)).all()


def test_figures_of_an_order_that_would_take_too_long_have_fewer_resamples_or_none(scored, monkeypatch):
    truth, scores, _ = scored
    weights = drawn(range(30))
    pair = truth[:, None] == [0, 1], np.stack([-scores, scores], axis=1)
    monkeypatch.setattr(statistics, "RANKING_CELLS", 1000 * 60 // 10)
    found = statistics.ranking(statistics.roc_area, *pair, weights)
    assert found.shape == (1000, 2)
    assert np.isfinite(found[:100]).all() and np.isnan(found[100:]).all()
    monkeypatch.setattr(statistics, "RANKING_CELLS", 1000 * 60 // 100)
    assert np.isnan(statistics.ranking(statistics.roc_area, *pair, weights)).all()


# Two models


def test_mcnemars_test_by_hand():
    first = np.array([True] * 6 + [False] + [True] * 9 + [False] * 4)
    second = np.array([False] * 6 + [True] + [True] * 9 + [False] * 4)
    found = statistics.mcnemar(first, second)
    assert found == {"only_first_right": 6, "only_second_right": 1, "p": pytest.approx(2 * (1 + 7) / 2**7)}
    assert statistics.mcnemar(first, first) == {"only_first_right": 0, "only_second_right": 0, "p": 1.0}


# Confidence


def test_reliability_by_hand():
    confidences = np.array([0.95, 0.97, 0.62, 0.66, 0.7])
    bins, error = statistics.reliability(confidences, np.array([True, True, True, False, False]))
    assert [(each["from"], each["to"], each["rows"]) for each in bins] == [(0.6, 0.7, 3), (0.9, 1.0, 2)]
    assert [each["accuracy"] for each in bins] == pytest.approx([1 / 3, 1])
    assert [each["confidence"] for each in bins] == pytest.approx([0.66, 0.96])
    assert error == pytest.approx(0.6 * (0.66 - 1 / 3) + 0.4 * (1 - 0.96))
    assert bins[0]["low"] < 1 / 3 < bins[0]["high"] and bins[1]["low"] < bins[1]["high"] == 1


def test_probabilities_of_0_and_1_have_a_bin():
    bins, error = statistics.reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert [each["from"] for each in bins] == [0.0, 0.9]
    assert error == 0


def test_coverage_by_hand():
    curve = statistics.coverage_curve(np.array([0.5, 0.9, 0.7, 0.7]), np.array([False, True, True, False]))
    assert curve["confidence"].tolist() == [0.9, 0.7, 0.5]  # equal confidences are answered together
    assert curve["coverage"].tolist() == [0.25, 0.75, 1]
    assert curve["accuracy"].tolist() == pytest.approx([1, 2 / 3, 0.5])


def test_the_confidence_to_answer_from_is_the_lowest_that_is_good_enough():
    confidences = np.linspace(1, 0.01, 100)
    right = np.arange(100) < 57
    assert statistics.confidence_for(confidences, right, 0.95) == pytest.approx(confidences[59])  # 57 of 60
    assert statistics.confidence_for(confidences, ~right, 0.95) is None
    assert statistics.confidence_for(confidences[:19], right[:19], 0.95) is None  # of too few rows
    assert statistics.confidence_for(confidences[:0], right[:0], 0.95) is None


# Label errors


def test_suspects_by_hand():
    """Mean self-confidence: 0.7 of class 0, 0.6 of class 1, none of class 2."""
    given = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([
        [0.9, 0.1, 0], [0.9, 0.05, 0.05], [0.3, 0.65, 0.05],  # the third is confidently a 1
        [0.1, 0.9, 0], [0.65, 0.3, 0.05],  # the fifth is probably a 0, but not as sure as others are
    ])  # fmt: skip
    scores, likely = statistics.suspects(given, probabilities)
    assert likely.tolist() == [-1, -1, 1, -1, -1]
    assert scores[2] == pytest.approx(0.35) and np.isnan(scores[[0, 1, 3, 4]]).all()


def test_planted_label_errors_are_found():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 800)
    logits = rng.normal(size=(800, 4)) + 4.5 * np.eye(4)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    is_wrong = rng.random(800) < 0.06
    given = np.where(is_wrong, (truth + rng.integers(1, 4, 800)) % 4, truth)
    scores, likely = statistics.suspects(given, probabilities)
    found = np.isfinite(scores)
    precision, recall = (found & is_wrong).sum() / found.sum(), (found & is_wrong).sum() / is_wrong.sum()
    assert precision > 0.9 and recall > 0.75, (precision, recall)
    assert (likely[found & is_wrong] == truth[found & is_wrong]).mean() > 0.95


def test_a_class_without_a_row_takes_no_suspects():
    scores, likely = statistics.suspects(np.array([0, 0]), np.array([[0.2, 0.8], [0.3, 0.7]]))
    assert np.isnan(scores).all() and likely.tolist() == [-1, -1]
