"""A run judged on rows that it was not trained on: figures, what-ifs, slices, other models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.statistics import resamples_of
from mmkeras.base.terminal import kept_warnings, say, show_table, warn
from mmkeras.base.words import words
from mmkeras.contracts.config import Config
from mmkeras.contracts.encoding import COLUMN_WEIGHTS
from mmkeras.contracts.registry import walk
from mmkeras.evaluation.against import Side, check_pair, show_against
from mmkeras.evaluation.baselines import baselines as simpler_models
from mmkeras.evaluation.judging import Said, by_pattern, by_value, cut, judge, plain, row_columns
from mmkeras.evaluation.models import FORMAT, OWN, Model, scores_in
from mmkeras.evaluation.rows import JudgedRows, rows_to_judge, validation
from mmkeras.evaluation.tables import cell_table, show_confidence, show_figures, show_parts, show_rows
from mmkeras.network.inference import PRESENT, predict_without, warn_of_outside
from mmkeras.table.plan import said_of
from mmkeras.training import plots
from mmkeras.training.run import Run

pd = lazy("pandas")

STATUS = "statuses of rows"  # beside predictions; no target can be called so


def judge_run(
    run: Any,
    table: Any = None,
    baselines: bool = False,
    by: Sequence[str] = (),
    against: Any = None,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Judges a run in detail, shows it and writes it into the run folder; `mmkeras evaluate` says more.

    Args:
        run: A run or its folder.
        table: Other rows with known targets; None: the run's own test rows.
        baselines: Whether simpler models are trained and judged too.
        by: Columns whose values' rows are judged each for themselves.
        against: Another run to compare with, on the same rows.
        allow_outside: Whether the table may name files outside its folder.

    Returns:
        What `evaluation.json` holds.

    Raises:
        FileNotFoundError, ValueError: The run or the table cannot be used.
    """
    run, by = Run(run), list(by)
    run.check_answers("evaluate")
    schema = run.schema
    with kept_warnings() as warnings:
        rows = rows_to_judge(run, table, [*schema.columns, *schema.targets, *by], allow_outside)
        other = None if against is None else check_pair(run, Run(against), rows)
        models, predictions = _asked(run, schema, rows)
        if baselines:
            for target, model, answers in simpler_models(run, schema, rows.manifest):
                models[target][model] = answers
        said = {target: each[OWN] for target, each in models.items()}
        targets = _judged(run, rows, models, predictions[PRESENT], by)
        judged = plain({"format": FORMAT, "rows": _about(rows, by), "targets": targets})
        frame = _frame(rows, said, predictions[STATUS])
        frame.to_parquet(run.folder / run_files.EVALUATED_ROWS, index=False)
        _say_how(judged["rows"])
        if COLUMN_WEIGHTS in predictions:
            _show_weights(sorted(schema.columns), predictions[COLUMN_WEIGHTS], rows.name)
        for target, each in said.items():
            if judged["targets"][target]["metric"]:
                _report(run, rows, target, each, judged["targets"][target], frame)
    judged["warnings"] = warnings
    run.write_json(run_files.EVALUATION, judged)
    say(f"all of it: {run.folder / run_files.EVALUATION}; row by row: {run.folder / run_files.EVALUATED_ROWS}")
    if other is not None:
        show_against(Side(run, said), other, rows, predictions[STATUS])
    return judged


# Asking the model


def _asked(run: Run, schema: Config, rows: JudgedRows) -> tuple[dict[str, dict[Model, Said]], dict[str, Any]]:
    """{target: {model: what it says}}, the run's own and it with columns hidden; and what else came out of the own."""
    hidden = _hidden(sorted(schema.columns))
    every, statuses = predict_without(run.network(), schema, rows.manifest, list(hidden.values()))
    warn_of_outside(statuses)
    models: dict[str, dict[Model, Said]] = {}
    for target, head in walk(schema.targets):
        truth = said_of(rows.manifest, target, partial(head.encode_target, rows.manifest.rows[target]))
        known = head.scorer.known(truth)
        _warn_of_unknown(int((~known).sum()), target, rows.manifest.name)
        shown = list(hidden) if known.any() else [OWN]
        models[target] = {
            name: Said(head.scorer, truth, each[target])
            for name, each in zip(hidden, every, strict=True)
            if name in shown
        }
    return models, every[0] | {STATUS: statuses}


def _judged(
    run: Run, rows: JudgedRows, models: Mapping[str, Mapping[Model, Said]], present: np.ndarray, by: Sequence[str]
) -> dict[str, Any]:
    slices = {column: _slices(rows, column) for column in by}
    patterns = by_pattern(present, sorted(run.config.columns))
    valid = validation(run)
    return {
        target: judge(each, rows.units, valid.get(target), slices, patterns) for target, each in sorted(models.items())
    }


def _hidden(columns: list[str]) -> dict[Model, list[str]]:
    """{model: columns to hide}: nothing, each column, all but each column."""
    hidden: dict[Model, list[str]] = {OWN: []}
    if len(columns) > 1:
        hidden |= {Model("without", column): [column] for column in columns}
        hidden |= {Model("only", column): [other for other in columns if other != column] for column in columns}
    return hidden


def _warn_of_unknown(unknown: int, target: str, table: str) -> None:
    if unknown:
        have, are = ("row has", "it is") if unknown == 1 else ("rows have", "they are")
        warn(f'{table}: {unknown} {have} no "{target}" that training knew; {are} left out of the figures')


def _slices(rows: JudgedRows, column: str) -> dict[str, np.ndarray]:
    cells, how = cut(rows.manifest.rows[column])
    if how:
        warn(f"--by {column}: {how}")
    return by_value(cells)


# What is written


def _about(rows: JudgedRows, by: Sequence[str]) -> dict[str, Any]:
    return {
        "name": rows.name,
        "split": rows.split,
        "table": rows.table,
        "count": len(rows),
        "groups": rows.group,
        "units": len(np.unique(rows.units)),
        "resamples": resamples_of(len(rows)),
        "by": list(by),
    }


def _frame(rows: JudgedRows, said: Mapping[str, Said], statuses: pd.Series) -> pd.DataFrame:
    """One line a judged row, in the table's order."""
    count = len(rows)
    table_row = pd.array([pd.NA] * count if rows.table_row is None else rows.table_row, dtype="Int64")
    splits = np.full(count, None, object) if rows.splits is None else rows.splits
    columns: dict[str, Any] = {"row": np.arange(1, count + 1), "table_row": table_row, "split": splits}
    columns["status"] = statuses.to_numpy(object)
    for target, each in said.items():
        own = row_columns(each, rows.manifest.rows[target], rows.is_new)
        columns |= {f"{target} {name}": values for name, values in own.items()}
    return pd.DataFrame(columns)


def _report(
    run: Run, rows: JudgedRows, target: str, said: Said, judged: Mapping[str, Any], frame: pd.DataFrame
) -> None:
    """The text, the pictures and the terminal's part of one target."""
    columns = sorted(run.config.columns)
    known = said.of(said.known)
    text = known.scorer.report(known.truth, known.predictions)
    file = run.folder / run_files.evaluation_text(target)
    file.write_text(text, encoding="utf-8")
    title = f"{target}, {rows.name}"
    pictures = [run.folder / run_files.evaluation_picture(target)]
    plots.draw_answers(known.scorer, known.truth, known.predictions, title, pictures[0])
    if judged["calibration"] is not None:
        pictures.append(run.folder / run_files.confidence_picture(target))
        plots.draw_confidence(judged, title, pictures[1])
    show_figures(title, judged)
    _show_models(title, judged, columns)
    show_parts(title, judged)
    show_confidence(target, judged)
    show_rows(title, target, frame, cell_table(rows.manifest.rows, columns))
    _warn_of_idle_columns(scores_in(judged), target, columns)
    say(f"{target} in detail: {_named([file, *pictures])}")


def _named(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


# What a person sees


def _say_how(about: Mapping[str, Any]) -> None:
    """What the intervals are of."""
    if about["units"] > 1:
        drawn = (
            f"{about['units']} rows" if about["groups"] is None else f"the {about['units']} groups by {about['groups']}"
        )
        say(f"{about['name']}; 95 % intervals of {about['resamples']} resamples of {drawn}")


def _show_weights(columns: list[str], weights: np.ndarray, name: str) -> None:
    """What the fusion gave each column, over the rows in which it gave anything."""
    given = weights[weights.sum(axis=1) > 0]
    if not len(given):
        return
    rows = [
        (column, float(mean), float(deviation))
        for column, mean, deviation in zip(columns, given.mean(axis=0), given.std(axis=0), strict=True)
    ]
    show_table(f"What the fusion weighs the columns, {name}", ("column", "mean weight", "deviation"), rows)


def _show_models(title: str, judged: Mapping[str, Any], columns: list[str]) -> None:
    """One table of models where there are several, and one of what each column is worth to the first of them."""
    scores = scores_in(judged)
    models = {model.words: each for model, each in scores.items() if not model.is_what_if}
    metrics = list(dict.fromkeys(metric for each in models.values() for metric in each))
    if len(models) > 1:
        rows = [(model, *(each.get(metric, "") for metric in metrics)) for model, each in models.items()]
        show_table(f"{title}: other models", ("model", *map(words, metrics)), rows)
    if len(columns) > 1:
        _show_worth(title, scores, judged["metric"], columns)


def _show_worth(title: str, scores: Mapping[Model, Mapping[str, float]], metric: str, columns: list[str]) -> None:
    whole = scores[OWN][metric]
    figures = {column: [scores[Model(kind, column)][metric] for kind in ("without", "only")] for column in columns}
    rows = [(column, without, f"{without - whole:+.3f}", only) for column, (without, only) in figures.items()]
    title = f"{title}: {words(metric)} {whole:.3f}; what if a column is missing?"
    show_table(title, ("column", "without it", "change", "nothing but it"), rows)


def _warn_of_idle_columns(scores: Mapping[Model, Mapping[str, float]], target: str, columns: list[str]) -> None:
    """Warns where a column alone is as good as all, and where all are as good without one."""
    metric, whole = next(iter(scores[OWN].items()))
    shown = words(metric)
    alone = {model: each[metric] for model, each in scores.items() if model.kind in ("only", "network") and each}
    if alone and max(alone.values()) >= whole:
        best = max(alone, key=alone.__getitem__)
        other = f"{best.words} ({alone[best]:.3f})"
        warn(f"{target}: all columns together ({shown} {whole:.3f}) are no better than {other}")
    without = {column: scores.get(Model("without", column), {}).get(metric, -np.inf) for column in columns}
    idle = [f"{column} ({figure:.3f})" for column, figure in without.items() if figure >= whole]
    if idle:
        they_do = "they do" if len(idle) > 1 else "it does"
        warn(f"{target}: the {shown} is {whole:.3f}, and no lower without {', '.join(idle)}; {they_do} not help here")
