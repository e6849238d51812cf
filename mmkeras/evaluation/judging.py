"""What is known of a target's answers on judged rows: figures with intervals, tables, curves, and what each row is.

Nothing here reads a run: scorers, encoded truths and predictions in, plain values out, as `evaluation.json` holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mmkeras.base import statistics
from mmkeras.base.lazy import lazy
from mmkeras.contracts.scorer import Scorer
from mmkeras.evaluation.models import Model, record

pd = lazy("pandas")

WANTED_ACCURACY = 0.95
MOST_CLASSES = 50  # in tables and curves
MOST_POINTS = 200  # of a curve
MOST_NUMBERS = 2000  # of a scatter plot
MOST_CHANCES = 10_000_000  # probabilities that calibration looks at
MOST_VALUES = 20  # of a column that rows are judged by
RANGES = 5
NUMBERS = 0.9  # of a column's cells are numbers where it is cut into ranges

PER_CLASS = "classes"  # a task beside those of models and parts
Part = tuple[str, str | tuple[str, ...]]
"""A column and its value; or "" and the columns that are missing."""
Figures = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""(R, N) weights of rows to {figure: (R,) or (R, K)}."""


@dataclass(frozen=True)
class Said:
    """What one model says of rows.

    Attributes:
        scorer: Its scorer of the target.
        truth: (N, …) encoded.
        predictions: (N, P).
    """

    scorer: Scorer
    truth: np.ndarray
    predictions: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: the rows whose target training knew."""
        return self.scorer.known(self.truth)

    @property
    def score(self) -> dict[str, float]:
        """{} where no row's target is known."""
        return self.scorer.score(self.truth, self.predictions) if len(self.truth) else {}

    def of(self, rows: np.ndarray) -> Said:
        """What it says of some of the rows."""
        return replace(self, truth=self.truth[rows], predictions=self.predictions[rows])


def judge(
    models: Mapping[Model, Said],
    units: np.ndarray,
    valid: Said | None = None,
    slices: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    patterns: Mapping[tuple[str, ...], np.ndarray] | None = None,
) -> dict[str, Any]:
    """All that `evaluation.json` holds of a target.

    Args:
        models: The model that is judged, then others on the same rows.
        units: (N,) integers: which rows are drawn together.
        valid: What the first model says of the validation rows, to choose a confidence from.
        slices: {column: {value: (N,) bool}}.
        patterns: {columns that are missing: (N,) bool}.
    """
    first, own = next(iter(models.items()))
    known = own.known
    own, units = own.of(known), units[known]
    slices = {column: _held(values, known) for column, values in (slices or {}).items()}
    patterns = _held(patterns or {}, known)
    scores = {model: _known(said).score for model, said in models.items()}
    judged = _empty(own) | {"models": [record(model, figures, {}) for model, figures in scores.items()]}
    if not len(own.truth):
        return judged
    shown = _shown_classes(own)
    parts: dict[Part, np.ndarray] = {(column, v): rows for column, each in slices.items() for v, rows in each.items()}
    parts |= {("", missing): rows for missing, rows in patterns.items()}
    others = {model: said.of(known) for model, said in models.items() if model != first}
    tasks: dict[Hashable, Figures] = {first: partial(_resampled, own), PER_CLASS: partial(_class_figures, own, shown)}
    tasks |= {model: _first_of(said, said.known) for model, said in others.items()}
    samples = bootstrapped(tasks | {part: _first_of(own, rows) for part, rows in parts.items()}, units)
    judged_parts = {part: _part(own.of(rows), samples[part], units[rows]) for part, rows in parts.items()}
    count = len(np.unique(units))
    return judged | {
        "models": [record(model, each, _intervals(samples[model], each, count)) for model, each in scores.items()],
        "slices": {c: [{"value": value} | judged_parts[c, value] for value in values] for c, values in slices.items()},
        "patterns": [{"missing": list(missing)} | judged_parts["", missing] for missing in patterns],
        "per_class": _per_class(own, samples[PER_CLASS], shown, units),
        "confusion": _confusion(own, shown),
        "curves": _curves(own, shown),
        "calibration": _calibration(own),
        "coverage": _coverage(own, valid),
        "numbers": _numbers(own),
    }


def row_columns(said: Said, cells: pd.Series, is_new: np.ndarray) -> dict[str, Any]:
    """Of each row {what: (N,)}: truth, answer, confidence, right, loss, suspect, should be.

    Args:
        said: Of all rows; those whose target is not known have an answer and a confidence only.
        cells: (N,) strings: the target as the table has it.
        is_new: (N,) bool: rows that did not train the model; of others it cannot say that the table is wrong.
    """
    scorer, count, known = said.scorer, len(said.truth), said.known
    own = said.of(known)
    confidences = scorer.confidences(said.predictions)
    right = pd.array([pd.NA] * count, dtype="boolean")
    if own.scorer.class_names is not None:
        right[known] = scorer.right(own.truth, own.predictions)
    losses, suspect, should_be = np.full(count, np.nan), np.full(count, np.nan), np.full(count, None, object)
    losses[known] = scorer.losses(own.truth, own.predictions)
    asked = np.flatnonzero(known & is_new & scorer.is_told(said.predictions))
    suspect[asked], should_be[asked] = _suspects(said.of(asked))
    return {
        "truth": cells.to_numpy(object),
        "answer": np.array(scorer.answer_texts(said.predictions), object),
        "confidence": np.full(count, np.nan) if confidences is None else confidences,
        "right": right,
        "loss": losses,
        "suspect": suspect,
        "should be": should_be,
    }


def bootstrapped(tasks: Mapping[Hashable, Figures], units: np.ndarray) -> dict[Hashable, dict[str, np.ndarray]]:
    """{task: {figure: (R,) or (R, K)}} on the same resamples of rows, for all tasks."""
    parts: dict[Hashable, dict[str, list[np.ndarray]]] = {key: {} for key in tasks}
    for weights in statistics.resample_weights(units, seed=0, resamples=statistics.resamples_of(len(units))):
        for key, figures in tasks.items():
            for name, values in figures(weights).items():
                parts[key].setdefault(name, []).append(values)
    return {key: {name: np.concatenate(blocks) for name, blocks in of_task.items()} for key, of_task in parts.items()}


def cut(cells: pd.Series) -> tuple[pd.Series, str]:
    """A column's cells to at most 20 values, and what was done to them in words, "" where nothing was."""
    cells = cells.str.strip().reset_index(drop=True)
    filled = cells[cells != ""]
    if filled.nunique() <= MOST_VALUES:
        return cells, ""
    numbers = pd.to_numeric(filled, errors="coerce")
    if np.isfinite(numbers).mean() >= NUMBERS:
        finite = numbers[np.isfinite(numbers)]
        ranges = pd.qcut(finite, RANGES, duplicates="drop").cat
        names = [f"{max(each.left, finite.min()):g} to {each.right:g}" for each in ranges.categories]
        cells = cells.where(cells == "", "no number")
        cells[finite.index] = np.array(names, object)[ranges.codes]
        return cells, f"its {filled.nunique()} numbers are cut into ranges of equally many rows"
    kept = filled.value_counts().index[: MOST_VALUES - 1 - (len(filled) < len(cells))]
    other = f"{filled.nunique() - len(kept)} other values"
    return cells.where(cells.isin(kept) | (cells == ""), other), f"of its {filled.nunique()} values the rarest are one"


def by_value(cells: pd.Series) -> dict[str, np.ndarray]:
    """{value: (N,) bool}, the most frequent first; numbers and ranges in their order."""
    counts = cells.value_counts(sort=True)
    starts = pd.to_numeric(counts.index.to_series().str.split(" ").str[0], errors="coerce")
    names = counts.index[starts.argsort()] if starts.notna().all() else counts.index
    return {str(name): (cells == name).to_numpy() for name in names}


def by_pattern(present: np.ndarray, columns: list[str]) -> dict[tuple[str, ...], np.ndarray]:
    """{columns that are missing: (N,) bool} of the most frequent patterns, the most frequent first.

    Args:
        present: (N, M) bool.
        columns: (M,) names.
    """
    patterns, place, counts = np.unique(~present, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_VALUES]
    names = np.array(columns, object)
    return {tuple(names[patterns[i]]): place.reshape(-1) == i for i in order}


def plain(value: Any) -> Any:
    """A value as JSON holds it: no arrays, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(each) for each in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _known(said: Said) -> Said:
    return said.of(said.known)


def _held(parts: Mapping[Any, np.ndarray], known: np.ndarray) -> dict[Any, np.ndarray]:
    """The parts that hold a row whose target is known, as (rows of those,) bool."""
    return {name: rows[known] for name, rows in parts.items() if rows[known].any()}


def _empty(own: Said) -> dict[str, Any]:
    """What stands there whatever the rows are."""
    scores = own.score
    names = own.scorer.class_names
    note = None
    if names is not None and len(names) > MOST_CLASSES:
        note = f"of {len(names)} classes the {MOST_CLASSES} most frequent stand in tables and curves"
    return {
        "type": own.scorer.task,
        "predicts": own.scorer.predicts,
        "classes": None if names is None else list(names),
        "metric": next(iter(scores), None),
        "models": [],
        "per_class": None,
        "slices": {},
        "patterns": [],
        "confusion": None,
        "curves": None,
        "calibration": None,
        "coverage": None,
        "numbers": None,
        "note": note,
    }


# Intervals


def _resampled(own: Said, weights: np.ndarray) -> dict[str, np.ndarray]:
    return own.scorer.resampled(own.truth, own.predictions, weights)


def _first_of(said: Said, chosen: np.ndarray) -> Figures:
    """The first figure of another model, or of some rows."""
    rows = np.flatnonzero(chosen)
    part = said.of(rows)
    return lambda weights: part.scorer.resampled(part.truth, part.predictions, weights[:, rows], first_only=True)


def _class_figures(own: Said, shown: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    pair = own.scorer.indicators(own.truth, own.predictions)
    if pair is None:
        return {}
    return statistics.class_figures(*statistics.class_counts(weights, *(each.tocsc()[:, shown] for each in pair)))


def _intervals(samples: Mapping[str, np.ndarray], scores: Mapping[str, float], units: int) -> dict[str, Any]:
    return {name: statistics.interval_of(samples[name], units) for name in scores if name in samples}


def _part(own: Said, samples: Mapping[str, np.ndarray], units: np.ndarray) -> dict[str, Any]:
    scores = own.score
    intervals = _intervals(samples, scores, len(np.unique(units)))
    return {"rows": len(own.truth), "scores": scores, "intervals": intervals}


# Classes


def _shown_classes(own: Said) -> np.ndarray:
    """The indices of the most frequent classes, rising."""
    pair = own.scorer.indicators(own.truth, own.predictions)
    if pair is None:
        return np.array([], int)
    counts = np.asarray(pair[0].sum(axis=0)).reshape(-1)
    return np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])


def _per_class(own: Said, samples: Mapping[str, np.ndarray], shown: np.ndarray, units: np.ndarray) -> list | None:
    pair = own.scorer.indicators(own.truth, own.predictions)
    if pair is None:
        return None
    counts = statistics.class_counts(np.ones((1, len(own.truth))), *(each.tocsc()[:, shown] for each in pair))
    _, asked, said = counts
    divisors = {"precision": said, "recall": asked, "f1": asked + said}
    figures = {
        name: np.where(divisors[name][0] > 0, values[0], np.nan)
        for name, values in statistics.class_figures(*counts).items()
    }
    concerned = (pair[0] + pair[1]).tocsc()  # of a class only the units that hold or are said to hold it
    several = [len(np.unique(units[concerned[:, [k]].nonzero()[0]])) for k in shown]
    return [
        {"class": own.scorer.class_names[k], "rows": int(asked[0, i])}
        | {name: float(values[i]) for name, values in figures.items()}
        | {"intervals": {name: statistics.interval_of(values[:, i], several[i]) for name, values in samples.items()}}
        for i, k in enumerate(shown)
    ]


def _confusion(own: Said, shown: np.ndarray) -> dict[str, Any] | None:
    if own.scorer.predicts != "distribution":
        return None
    truth, chosen = own.scorer.indicators(own.truth, own.predictions)
    counts = (truth.T @ chosen).toarray().astype(int)[np.ix_(shown, shown)]
    return {"classes": [own.scorer.class_names[k] for k in shown], "counts": counts}


def _curves(own: Said, shown: np.ndarray) -> list[dict[str, Any]] | None:
    """Of each class that some rows have and others have not."""
    pair = own.scorer.indicators(own.truth, own.predictions)
    if pair is None:
        return None
    curves = []
    for k in shown:
        truth = pair[0].tocsc()[:, [k]].toarray()[:, 0]
        if 0 < truth.sum() < len(truth):
            curves.append({"class": own.scorer.class_names[k]} | _curves_of(truth, own.predictions[:, k]))
    return curves


def _curves_of(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    from sklearn import metrics

    wrong, right, _ = metrics.roc_curve(truth, scores)
    precision, recall, _ = metrics.precision_recall_curve(truth, scores)
    area, average = metrics.roc_auc_score(truth, scores), metrics.average_precision_score(truth, scores)
    roc = _thinned({"false_positive_rate": wrong, "true_positive_rate": right})
    curve = _thinned({"precision": precision, "recall": recall})
    return {"roc": roc | {"area": area}, "precision_recall": curve | {"average_precision": average}}


def _thinned(curve: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most 200 points, the first and the last among them."""
    count = len(next(iter(curve.values())))
    kept = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))
    return {name: values[kept] for name, values in curve.items()}


# Confidence


def _calibration(own: Said) -> dict[str, Any] | None:
    if own.scorer.link == "identity":
        return None
    bins, error = statistics.reliability(*_chances(own))
    before = replace(own, predictions=own.scorer.tempered(own.predictions, 1 / own.scorer.temperature))
    return {
        "temperature": own.scorer.temperature,
        "ece": error,
        "ece_uncalibrated": statistics.reliability(*_chances(before))[1],
        "bins": bins,
    }


def _chances(own: Said) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that a model states, and whether it came so: of each answer, or of each label of each row."""
    if own.scorer.predicts == "distribution":
        return own.scorer.confidences(own.predictions), own.scorer.right(own.truth, own.predictions)
    own = own.of(np.arange(0, len(own.truth), 1 + own.predictions.size // MOST_CHANCES))
    truth, _ = own.scorer.indicators(own.truth, own.predictions)
    return own.predictions.astype(np.float64).ravel(), truth.toarray().ravel() == 1


def _coverage(own: Said, valid: Said | None) -> dict[str, Any] | None:
    """How much can be answered at 95 % accuracy, by a confidence that the validation rows chose."""
    confidences = own.scorer.confidences(own.predictions)
    if confidences is None:
        return None
    right = own.scorer.right(own.truth, own.predictions)
    curve = _thinned(statistics.coverage_curve(confidences, right))
    names = ("coverage", "accuracy", "confidence")
    points = [dict(zip(names, point, strict=True)) for point in zip(*(curve[name] for name in names), strict=True)]
    threshold = None if valid is None else _threshold(_known(valid))
    answered = np.zeros(len(right), bool) if threshold is None else confidences >= threshold
    return {
        "wanted": WANTED_ACCURACY,
        "coverage": None if threshold is None else answered.mean(),
        "confidence": threshold,
        "chosen_on": None if valid is None else "valid",
        "accuracy": right[answered].mean() if answered.any() else None,
        "curve": points,
    }


def _threshold(valid: Said) -> float | None:
    right = valid.scorer.right(valid.truth, valid.predictions)
    return statistics.confidence_for(valid.scorer.confidences(valid.predictions), right, WANTED_ACCURACY)


def _suspects(said: Said) -> tuple[np.ndarray, np.ndarray]:
    """(N,) how suspicious each row's class is, NaN where it is not; (N,) what it looks like, None."""
    scorer, count = said.scorer, len(said.truth)
    scores, likely = np.full(count, np.nan), np.full(count, None, object)
    if scorer.class_names is None or not count:
        return scores, likely
    if scorer.predicts == "distribution":
        scores, classes = statistics.suspects(said.truth, said.predictions.astype(np.float64))
        likely[classes >= 0] = np.array(scorer.class_names, object)[classes[classes >= 0]]
        return scores, likely
    truth = said.scorer.indicators(said.truth, said.predictions)[0].toarray().astype(int)
    flipped = truth.copy()
    for k in range(truth.shape[1]):
        said_of = said.predictions[:, k].astype(np.float64)
        doubts, other = statistics.suspects(truth[:, k], np.stack([1 - said_of, said_of], axis=1))
        flipped[other >= 0, k] = other[other >= 0]
        scores = np.fmax(scores, doubts)
    rows = np.isfinite(scores)
    likely[rows] = scorer.answer_texts(flipped[rows].astype(np.float32))
    return scores, likely


def _numbers(own: Said) -> dict[str, Any] | None:
    rows = np.unique(np.linspace(0, len(own.truth) - 1, min(len(own.truth), MOST_NUMBERS)).round().astype(int))
    pair = [own.scorer.numbers(values[rows]) for values in (own.truth, own.predictions)]
    if pair[0] is None:
        return None
    truth, predicted = (values[:, 0] if values.shape[1] == 1 else values for values in pair)
    return {"truth": truth, "predicted": predicted}
