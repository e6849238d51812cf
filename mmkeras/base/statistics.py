"""How sure a figure is: bootstrap intervals, calibration, coverage, label errors; arrays in, arrays out.

Letters: R resamples, N rows, K classes. A resample is not a list of rows but how often each row is drawn, (N,), so that
a figure of all resamples is a product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

RESAMPLES = 1000
CONFIDENCE = 0.95
BLOCK_CELLS = 4_000_000  # rows times resamples that are in memory at once
ROWS_TIMES_RESAMPLES = 20_000_000  # of more rows fewer resamples are drawn, at least LEAST_RESAMPLES
LEAST_RESAMPLES = 200
RANKING_CELLS = 100_000_000  # rows times classes times resamples that figures of an order may look at
LEAST_DEFINED = 50  # resamples must have a figure, or it has no interval
LEAST_ANSWERED = 20  # rows; of fewer, 95 % and 90 % cannot be told apart
BINS = 10
SAME = 1e-6  # probabilities that differ by less are the same


# Resamples


def resamples_of(rows: int) -> int:
    """How many resamples of so many rows are drawn in seconds."""
    return int(np.clip(ROWS_TIMES_RESAMPLES // max(rows, 1), LEAST_RESAMPLES, RESAMPLES))


def resample_weights(units: np.ndarray, seed: int, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """How often each row is drawn, (r, N) at a time, with rows of one unit always together.

    Args:
        units: (N,) integers: what must stay together.
        seed: Of the draws; another one for rows that have nothing to do with these.
        resamples: How many, over all blocks.
    """
    rng = np.random.default_rng(seed)
    codes = np.unique(units, return_inverse=True)[1]
    count, size = codes.max() + 1, max(1, BLOCK_CELLS // len(codes))
    for start in range(0, resamples, size):
        block = min(size, resamples - start)
        drawn = rng.integers(0, count, (block, count)) + count * np.arange(block)[:, None]
        times = np.bincount(drawn.ravel(), minlength=block * count).reshape(block, count)
        yield times[:, codes].astype(np.float64)


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of (R,) figures of resamples; NaN where too few have the figure.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if np.isfinite(samples).sum() < LEAST_DEFINED:
        return np.nan, np.nan
    low, high = np.nanquantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def interval_of(samples: np.ndarray, units: int) -> list[float] | None:
    """The 95 % interval of a figure of so many units that are drawn; None where resampling cannot tell.

    Where every resample gives a perfect 1 the bootstrap sees no doubt at all. Of so many units none was wrong: Wilson's
    bound then holds for a share, and is a guide for other figures whose best is 1.
    """
    low, high = interval(samples)
    if units < 2 or np.isnan(low):
        return None
    if low == high:
        return [wilson(units, units)[0], 1.0] if low == 1 else None
    return [low, high]


def wilson(successes: Any, trials: Any) -> tuple[Any, Any]:
    """The 95 % interval of a share, numbers or arrays; it is never empty, however few the trials.

    References:
        Wilson, Probable Inference, 1927, Journal of the American Statistical Association 22(158).
    """
    from scipy.special import ndtri

    z = ndtri((1 + CONFIDENCE) / 2)
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


# Figures of resamples


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(R, N), (N,) or (N, K) -> the mean of each resample; NaN where it holds no row."""
    return _divided(_product(weights, values), _like(weights.sum(axis=1), values))


def class_counts(weights: np.ndarray, truth: Any, chosen: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R, K) rows of each class that are answered so, that are of it, that are said to be.

    Args:
        weights: (R, N).
        truth: (N, K) of 0 and 1, sparse or not: whether the row is of the class.
        chosen: (N, K) of 0 and 1: whether the answer is.
    """
    from scipy.sparse import csr_matrix

    truth, chosen = csr_matrix(truth, dtype=np.float64), csr_matrix(chosen, dtype=np.float64)
    return tuple(_product(weights, each) for each in (truth.multiply(chosen).tocsr(), truth, chosen))


def class_figures(hits: np.ndarray, asked: np.ndarray, said: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 from `class_counts`; 0 where there is nothing to divide by."""
    return {
        "precision": hits / np.maximum(said, 1),
        "recall": hits / np.maximum(asked, 1),
        "f1": 2 * hits / np.maximum(asked + said, 1),
    }


def macro(figure: np.ndarray, occurs: np.ndarray) -> np.ndarray:
    """(R, K) -> (R,) the mean over the classes that occur; NaN where none does."""
    return _divided((figure * occurs).sum(axis=1), occurs.sum(axis=1))


def ranking(
    figure: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    truth: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """(R, K) of `roc_area` or `average_precision` of each class; NaN in resamples that there is no time for.

    Args:
        figure: Of one class: (N,) truth, (N,) scores, (R, N) weights -> (R,).
        truth: (N, K) of 0 and 1.
        scores: (N, K).
        weights: (R, N).
    """
    figures = np.full((len(weights), truth.shape[1]), np.nan)
    resamples = resamples_of(len(truth))
    share = min(1.0, RANKING_CELLS / (resamples * max(truth.size, 1)))
    count = int(np.ceil(share * len(weights))) if share * resamples >= LEAST_DEFINED else 0
    for k in range(truth.shape[1] if count else 0):
        figures[:count, k] = figure(truth[:, k], scores[:, k], weights[:count])
    return figures


def roc_area(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) areas under the ROC curve, by the rank sum; NaN where all drawn rows are of one kind.

    References:
        Hanley and McNeil, The Meaning and Use of the Area under a ROC Curve, 1982, Radiology 143(1).
    """
    order, starts = _ties(scores)
    drawn = weights[:, order]
    positive = np.add.reduceat(drawn * truth[order], starts, axis=1)
    every = np.add.reduceat(drawn, starts, axis=1)
    count = positive.sum(axis=1)
    rank_sum = (positive * _mean_ranks(every)).sum(axis=1)
    return _divided(rank_sum - count * (count + 1) / 2, count * (every.sum(axis=1) - count))


def average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) areas under precision and recall, as a sum of steps; NaN where no drawn row is of the class."""
    order, starts = _ties(-scores)
    drawn = weights[:, order]
    positive = np.add.reduceat(drawn * truth[order], starts, axis=1)
    every = np.cumsum(np.add.reduceat(drawn, starts, axis=1), axis=1)
    precision = np.cumsum(positive, axis=1) / np.maximum(every, 1)
    return _divided((positive * precision).sum(axis=1), positive.sum(axis=1))


def spearman(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) rank correlations; NaN where all drawn numbers are equal."""
    ranks = [_ranks(values, weights) for values in (first, second)]
    total = weights.sum(axis=1, keepdims=True)
    x, y = (each - (each * weights).sum(axis=1, keepdims=True) / total for each in ranks)
    spread = np.sqrt((weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1))
    return _divided((weights * x * y).sum(axis=1), spread)


def median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) medians; between two middle rows, the mean of both."""
    order = np.argsort(values, kind="stable")
    upto, ordered = np.cumsum(weights[:, order], axis=1), values[order]
    total = upto[:, -1:]
    lower = (upto <= (total - 1) // 2).sum(axis=1)
    upper = (upto <= total // 2).sum(axis=1)
    last = len(values) - 1
    middle = (ordered[np.minimum(lower, last)] + ordered[np.minimum(upper, last)]) / 2
    return np.where(total[:, 0] > 0, middle, np.nan)


# Two models on the same rows


def mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """How probable it is that two equally good models differ so much on (N,) right answers; the exact test.

    References:
        McNemar, Note on the Sampling Error of the Difference between Correlated Proportions, 1947, Psychometrika 12(2).
    """
    from scipy.stats import binomtest

    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    p = binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    return {"only_first_right": one, "only_second_right": other, "p": float(p)}


# Confidence


def reliability(confidences: np.ndarray, right: np.ndarray) -> tuple[list[dict[str, float]], float]:
    """What share is right of the rows in each tenth of confidence, with Wilson's interval, and the expected error.

    Args:
        confidences: (N,) in [0, 1].
        right: (N,) bool.

    Returns:
        The bins that hold a row; and the expected calibration error: how far confidence and accuracy are apart, as a
        mean over rows.

    References:
        Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, equation 3.
    """
    place = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    bins, error = [], 0.0
    for i in np.unique(place):
        inside = place == i
        rows, hits = int(inside.sum()), int(right[inside].sum())
        confidence, (low, high) = float(confidences[inside].mean()), wilson(hits, rows)
        figures = {"confidence": confidence, "accuracy": hits / rows, "low": float(low), "high": float(high)}
        bins.append({"from": i / BINS, "to": (i + 1) / BINS, "rows": rows} | figures)
        error += rows / len(confidences) * abs(hits / rows - confidence)
    return bins, float(error)


def coverage_curve(confidences: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    """The accuracy on the rows that are answered when rows below a confidence are not, for each confidence.

    Returns:
        confidence, falling; coverage, the share of rows that are answered; accuracy; rows, how many that are.

    References:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017, arXiv:1705.08500.
    """
    order = np.argsort(-confidences, kind="stable")
    falling = confidences[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)) if len(falling) else np.array([], int)
    rows = ends + 1
    accuracy = np.cumsum(right[order])[ends] / rows
    return {"confidence": falling[ends], "coverage": rows / max(len(order), 1), "accuracy": accuracy, "rows": rows}


def confidence_for(confidences: np.ndarray, right: np.ndarray, wanted: float) -> float | None:
    """The lowest confidence from which on so many answers are right; None where there is none on 20 rows or more."""
    curve = coverage_curve(confidences, right)
    good = np.flatnonzero((curve["accuracy"] >= wanted) & (curve["rows"] >= LEAST_ANSWERED))
    return float(curve["confidence"][good[-1]]) if len(good) else None


def suspects(given: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose class is likely to be wrong in the table, by confident learning.

    A class is confidently another's where its probability is at least the mean over the rows that are said to be of it.

    Args:
        given: (N,) classes that the table gives.
        probabilities: (N, K) of a model that these rows have not trained.

    Returns:
        (N,) how much more probable the other class is, NaN where a row is not suspected; (N,) the other class, or -1.

    References:
        Northcutt et al., Confident Learning, 2021, arXiv:1911.00068, section 3.
    """
    rows, classes = np.arange(len(given)), probabilities.shape[1]
    counts = np.bincount(given, minlength=classes)
    own = probabilities[rows, given]
    thresholds = np.bincount(given, own, minlength=classes) / np.maximum(counts, 1)
    is_confident = (probabilities >= thresholds - SAME) & (counts > 0)
    likely = np.where(is_confident, probabilities, -1.0).argmax(axis=1)
    more = probabilities[rows, likely] - own
    is_suspect = is_confident.any(axis=1) & (likely != given) & (more > SAME)
    return np.where(is_suspect, more, np.nan), np.where(is_suspect, likely, -1)


def _product(weights: np.ndarray, values: Any) -> np.ndarray:
    return weights @ values if isinstance(values, np.ndarray) else np.asarray((values.T @ weights.T).T)


def _like(totals: np.ndarray, values: np.ndarray) -> np.ndarray:
    return totals.reshape(-1, *[1] * (values.ndim - 1))


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below != 0)


def _ties(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows in rising order, and where in it each distinct value begins."""
    order = np.argsort(values, kind="stable")
    return order, np.flatnonzero(np.append(True, values[order][1:] != values[order][:-1]))


def _mean_ranks(counts: np.ndarray) -> np.ndarray:
    """(R, G) how many rows hold each distinct value, in rising order -> the mean rank of each value's rows."""
    return np.cumsum(counts, axis=1) - (counts - 1) / 2


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order, starts = _ties(values)
    ranks = _mean_ranks(np.add.reduceat(weights[:, order], starts, axis=1))
    of_rows = np.empty_like(weights)
    of_rows[:, order] = np.repeat(ranks, np.diff(np.append(starts, len(order))), axis=1)
    return of_rows
