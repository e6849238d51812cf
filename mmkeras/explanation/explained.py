"""A table's rows to what `explain` tells of them: values, attributions, means over rows, checks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmkeras.base import statistics
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, warn
from mmkeras.contracts.config import Config
from mmkeras.contracts.registry import walk
from mmkeras.explanation import faithfulness, shapley
from mmkeras.explanation.attribution import STEP_NUMBERS, TOLERANCE, Asked, Attributed
from mmkeras.explanation.explainer import Explained, Explainer, Rows, of_rows
from mmkeras.features.columns import features_in_chunks, table_cells
from mmkeras.table.manifest import Manifest

pd = lazy("pandas")

MOST_AT_ONCE = 64
CHECKED_ROWS = 32

Kept = tuple[Rows, np.ndarray, dict[str, Explained]]
"""Some rows' features, their places among the explained rows, and what the columns did to them."""


@dataclass
class Findings:
    """What columns and their parts did to the answers, row after row in a shuffled order."""

    order: np.ndarray
    between: list[dict[str, Explained]] = field(default_factory=list)
    inside: dict[tuple[str, str], list[tuple[np.ndarray, Attributed]]] = field(default_factory=dict)
    present: list[np.ndarray] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    looked_into: int = 0

    def joined(self, target: str, name: str) -> np.ndarray:
        """One field of `Explained` of all rows, in the order of the rows."""
        values = np.concatenate([getattr(each[target], name) for each in self.between])
        return values[np.argsort(self.order)]

    def arrays(self) -> dict[tuple[str, str, str], np.ndarray]:
        """{(target, column, method): (N, *attribution)}: NaN where no cell was looked into, 0 where it is missing."""
        arrays = {}
        for (target, column), parts in self.inside.items():
            for method in parts[0][1].by_method:
                shape = parts[0][1].by_method[method].shape[1:]
                values = np.full((len(self.order), *shape), np.nan, np.float32)
                values[self.order[: self.looked_into]] = 0
                for places, attributed in parts:
                    values[places] = attributed.by_method[method]
                arrays[target, column, method] = values
        return arrays

    def figures(self, target: str, column: str, name: str) -> np.ndarray:
        """(N,) one figure of `Attributed`, NaN where there is none."""
        figures = np.full(len(self.order), np.nan)
        for places, attributed in self.inside.get((target, column), ()):
            figures[places] = getattr(attributed, name)
        return figures


def explain_rows(
    explainer: Explainer, manifest: Manifest, chosen: np.ndarray, answers: dict[str, str | None], seconds: float
) -> Findings:
    # Shuffled, so that whatever is looked into before the time is over is a fair sample.
    findings = Findings(np.random.default_rng(0).permutation(len(chosen)))
    cells = table_cells(manifest, explainer.schema.columns)
    started = time.monotonic()
    with progress("explaining", len(chosen)) as advance:
        for places, rows in _chunks(explainer.schema, cells, chosen, findings.order):
            between = explainer.explain(rows, answers)
            findings.between.append(between)
            findings.present.append(np.stack([rows[column]["present"] > 0 for column in explainer.columns], axis=1))
            if time.monotonic() - started < seconds or not findings.looked_into:
                _look_into(explainer, rows, places, between, findings)
                findings.looked_into += len(places)
            if sum(len(kept) for _, kept, _ in findings.kept) < CHECKED_ROWS and findings.looked_into:
                findings.kept.append((rows, places, between))
            advance(len(places))
    if findings.looked_into < len(chosen):
        warn(f"the time was over after the cells of {findings.looked_into} of {len(chosen)} rows; --minutes gives more")
    return findings


def _chunks(
    schema: Config, cells: dict[str, pd.Series], chosen: np.ndarray, order: np.ndarray
) -> Iterator[tuple[np.ndarray, Rows]]:
    """(places among the chosen rows, their features), so many rows as memory takes easily."""
    numbers = sum(
        int(np.prod(spec.shape)) for _, modality in walk(schema.columns) for spec in modality.features.values()
    )
    at_once = int(np.clip(STEP_NUMBERS // numbers, 1, MOST_AT_ONCE))
    bad: set[tuple[int, str]] = set()
    for places, features, bad_cells in features_in_chunks(schema.columns, cells, chosen[order], at_once):
        bad |= {(cell.row, f"{cell.column}: {cell.reason}") for cell in bad_cells}
        yield order[places], features.rows(np.arange(len(places)))
    if bad:
        row, reason = min(bad)
        count = "1 cell" if len(bad) == 1 else f"{len(bad)} cells"
        warn(f"{count} cannot be used and count as missing, the first in row {row}, {reason}")


def _look_into(
    explainer: Explainer, rows: Rows, places: np.ndarray, between: dict[str, Explained], findings: Findings
) -> None:
    for column in explainer.columns:
        there = np.flatnonzero(rows[column]["present"] > 0)
        if not len(there):
            continue
        some = of_rows(rows, there)
        for target in between:
            attributed = explainer.attribute(column, some, explainer.asked(target, between, there))
            if attributed is not None:
                findings.inside.setdefault((target, column), []).append((places[there], attributed))


# What is told of it


def values_of(explainer: Explainer, findings: Findings, chosen: np.ndarray) -> pd.DataFrame:
    present = np.concatenate(findings.present)[np.argsort(findings.order)]
    parts = []
    for target in explainer.targets:
        scorer = explainer.schema.targets[target].scorer
        values, whole = (findings.joined(target, name) for name in ("values", "whole"))
        weights = findings.joined(target, "weights") if findings.between[0][target].weights is not None else None
        for i, column in enumerate(explainer.columns):
            inside = findings.figures(target, column, "whole") - findings.figures(target, column, "baseline")
            part = {
                "row": chosen + 1,
                "target": target,
                "answer": [scorer.parts[place] for place in findings.joined(target, "places")],
                "explained": whole,
                "prior": findings.joined(target, "prior"),
                "column": column,
                "value": values[:, i],
                "weight": np.nan if weights is None else weights[:, i],
                "present": present[:, i],
                "inside": inside,
                "being_there": values[:, i] - inside,
            }
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True).sort_values(["row", "target", "column"], ignore_index=True)


def summary_of(
    explainer: Explainer, findings: Findings, answers: dict[str, str | None], units: np.ndarray
) -> dict[str, Any]:
    targets = {
        target: _target_summary(explainer, findings, target, answers[target], units) for target in explainer.targets
    }
    columns = {}
    for column in explainer.columns:
        methods = [parts[0][1].by_method for (_, name), parts in findings.inside.items() if name == column]
        errors = np.concatenate([findings.figures(target, column, "errors") for target in explainer.targets])
        errors = errors[np.isfinite(errors)]
        columns[column] = {
            "methods": list(methods[0]) if methods else [],
            "completeness": {
                "median": float(np.median(errors)) if len(errors) else np.nan,
                "worst": float(errors.max()) if len(errors) else np.nan,
                "rows": len(errors),
                "rows_over_tolerance": int((errors > TOLERANCE).sum()),
                "tolerance": TOLERANCE,
            },
        }
    steps = [attributed.steps for parts in findings.inside.values() for _, attributed in parts]
    return {
        "method": "exact" if explainer.is_exact else "sampled",
        "permutations": None if explainer.is_exact else shapley.PERMUTATIONS,
        "steps": np.nanmax(np.concatenate(steps)) if steps and np.isfinite(np.concatenate(steps)).any() else None,
        "looked_into": findings.looked_into,
        "targets": targets,
        "columns": columns,
    }


def _target_summary(
    explainer: Explainer, findings: Findings, target: str, answer: str | None, units: np.ndarray
) -> dict[str, Any]:
    scorer = explainer.schema.targets[target].scorer
    values = findings.joined(target, "values")
    weights = findings.joined(target, "weights") if findings.between[0][target].weights is not None else None
    factors, terms = scorer.units
    several = (
        f" of {answer}"
        if answer
        else f" ({scorer.parts[0]})"
        if scorer.predicts == "numbers" and len(scorer.parts) > 1
        else ""
    )
    return {
        "explains": (scorer.explains if not answer or scorer.predicts == "numbers" else "probability") + several,
        "unit": "as in the table" if scorer.predicts == "numbers" else "probability",
        "prior": (scorer.prior * factors + terms).tolist(),
        "columns": {
            column: {
                "mean": float(values[:, i].mean()),
                "mean_absolute": float(np.abs(values[:, i]).mean()),
                "interval": _interval(np.abs(values[:, i]), units),
                "weight": _mean_weight(weights, i),
            }
            for i, column in enumerate(explainer.columns)
        },
    }


def _mean_weight(weights: np.ndarray | None, column: int) -> float:
    """Over the rows in which the fusion gave anything."""
    given = weights[weights.sum(axis=1) > 0] if weights is not None else ()
    return float(given[:, column].mean()) if len(given) else np.nan


def _interval(values: np.ndarray, units: np.ndarray) -> list[float]:
    """95 % of a bootstrap of the mean, rows of one unit always together."""
    means = [statistics.mean(weights, values) for weights in statistics.resample_weights(units, seed=0)]
    return list(statistics.interval(np.concatenate(means)))


def checks_of(explainer: Explainer, findings: Findings) -> dict[str, Any]:
    """The figures of each column and method, of the first target."""
    target = explainer.targets[0]
    arrays = {key[1:]: values for key, values in findings.arrays().items() if key[0] == target}
    columns = [column for column in explainer.columns if any(column == of for of, _ in arrays)]
    samples = {column: list(_samples(explainer, findings.kept, column, target)) for column in columns}
    with progress("checking", 2 * len(columns)) as advance:
        with explainer.untrained():
            fresh = {}
            for column, parts in samples.items():
                fresh[column] = [explainer.attribute(column, each.rows, each.asked).by_method for each in parts]
                advance(1)
        checks: dict[str, Any] = {column: {} for column in columns}
        for column, method in arrays:
            others = [each[method] for each in fresh[column] if method in each]
            checks[column][method] = _check(explainer, column, arrays[column, method], samples[column], others)
        advance(len(columns))
    return checks


@dataclass(frozen=True)
class _Sample:
    """Some rows that have a column, and what is asked of them."""

    rows: Rows
    places: np.ndarray
    asked: Asked
    terms: np.ndarray


def _samples(explainer: Explainer, kept: Sequence[Kept], column: str, target: str) -> Iterator[_Sample]:
    left = CHECKED_ROWS
    for rows, places, between in kept:
        there = np.flatnonzero(rows[column]["present"] > 0)[:left]
        left -= len(there)
        if len(there):
            asked = explainer.asked(target, between, there)
            yield _Sample(of_rows(rows, there), places[there], asked, between[target].terms[there])


def _check(
    explainer: Explainer, column: str, attributions: np.ndarray, samples: Sequence[_Sample], fresh: Sequence[np.ndarray]
) -> dict[str, Any]:
    modality, shape = explainer.schema.columns[column], attributions.shape[1:]
    deletions, correlations = [], []
    for i, sample in enumerate(samples if shape else ()):  # a single number has no parts
        is_real = faithfulness.there(modality, sample.rows[column], shape)
        own = attributions[sample.places]
        prepared = explainer.prepared(column, sample.rows)
        deletions.append(faithfulness.delete(prepared, sample.asked, own, is_real, sample.terms))
        if fresh:
            correlations += faithfulness.rank_correlations(own, fresh[i], is_real)
    scale = max((float(np.abs(factors).max()) for sample in samples for factors in sample.asked.values()), default=1.0)
    return faithfulness.verdict(deletions, correlations, scale)
