"""Judges a run: `python -m mmkeras.evaluate`, `mmkeras evaluate` or `from mmkeras.evaluate import evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from mmkeras import plots
from mmkeras.component import Head, Modality, layer_name, walk
from mmkeras.config import Config
from mmkeras.features import read_cells, table_cells
from mmkeras.inference import predict_rows, predict_without
from mmkeras.manifest import Manifest, read_table, require_columns
from mmkeras.model import COLUMN_WEIGHTS
from mmkeras.run import Run
from mmkeras.terminal import progress, run_command, say, show_table, silence, warn
from mmkeras.train import said_of, score, train_config, tuned

# What models are called in tables and in evaluation.json
OWN, WITHOUT, ONLY = "mmkeras", "the same without", "the same with nothing but"
NETWORK, CLASSICAL, PRIOR_MODEL = "mmkeras trained on nothing but", "classical", "prior"


def evaluate(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    table: Annotated[
        Any, typer.Argument(parser=str, help="Other rows with known targets. Default: the run's own test rows.")
    ] = None,
    *,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also train classical models, and the network on each column alone.")
    ] = False,
) -> dict[str, dict[str, dict[str, float]]]:
    """Judges a run on rows that it was not trained on, in detail.

    **Examples**

    `python -m mmkeras.evaluate runs/customer_service-20260101-120000`

    `python -m mmkeras.evaluate runs/customer_service-20260101-120000 other.csv --baselines`

    Shows what each column is worth: the same model with a column's cells taken away, and with nothing else.

    Writes `evaluation.json`, `evaluation_TARGET.txt` and `evaluation_TARGET.png` into the run folder and returns
    {target: {model: {metric: value}}}.
    """
    run = Run(run)
    schema = run.schema
    judged, name = _rows_to_judge(run, table)
    require_columns(judged, [*schema.columns, *schema.targets])
    hidden = _hidden(sorted(schema.columns))
    (predictions, *without), _ = predict_without(run.model(), schema, judged, list(hidden.values()))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for target, head in walk(schema.targets):
        truth = said_of(judged, target, partial(head.encode_target, judged.rows[target]))
        _warn_of_unknown(head, truth, target, judged.name)
        found[target] = {OWN: score(head, truth, predictions[target])}
        if not found[target][OWN]:
            continue
        _write_report(run, head, target, truth, predictions[target], name)
        for shown, changed in zip(list(hidden)[1:], without, strict=True):
            found[target][shown] = score(head, truth, changed[target])
    if COLUMN_WEIGHTS in predictions:
        _show_weights(sorted(schema.columns), predictions[COLUMN_WEIGHTS], name)
    if baselines:
        _add_baselines(found, run, schema, judged)
    for target, scores in found.items():
        if scores[OWN]:
            _show(scores, target, sorted(schema.columns), name)
            _warn_of_idle_columns(scores, target, sorted(schema.columns))
    run.write_json("evaluation.json", found)
    return found


def _hidden(columns: list[str]) -> dict[str, list[str]]:
    """{what to call it: columns to hide}: nothing, each column, all but each column."""
    found: dict[str, list[str]] = {OWN: []}
    if len(columns) > 1:
        found |= {f"{WITHOUT} {column}": [column] for column in columns}
        found |= {f"{ONLY} {column}": [other for other in columns if other != column] for column in columns}
    return found


def _rows_to_judge(run: Run, table: Any) -> tuple[Manifest, str]:
    """The rows and what to call them: a given table, else the run's test rows, else its validation rows."""
    if table is not None:
        given = read_table(table, access=run.config.access)
        return given, f"all {len(given.rows)} rows of {given.name}"
    manifest, splits = run.table(), run.splits
    split = "test" if (splits == "test").any() else "valid"
    if split == "valid":
        warn("there are no test rows; the validation rows chose the best epoch, so they flatter the model")
    rows = rows_of(manifest, (splits == split).to_numpy())
    return rows, f"{len(rows.rows)} {split} rows"


def _warn_of_unknown(head: Head, truth: np.ndarray, target: str, table: str) -> None:
    if unknown := int((~head.known(truth)).sum()):
        have, are = ("row has", "it is") if unknown == 1 else ("rows have", "they are")
        warn(f'{table}: {unknown} {have} no "{target}" that training knew; {are} left out of the figures')


def _write_report(run: Run, head: Head, target: str, truth: np.ndarray, predictions: np.ndarray, name: str) -> None:
    known = head.known(truth)
    report = head.report(truth[known], predictions[known])
    (run.folder / f"evaluation_{target}.txt").write_text(report, encoding="utf-8")
    say(f"{target}, {name}\n{report}")
    picture = run.folder / f"evaluation_{target}.png"
    plots.draw_answers(head, truth[known], predictions[known], f"{target}, {name}", picture)
    say(f"right and wrong answers: {picture}")


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


def _warn_of_idle_columns(scores: Mapping[str, Mapping[str, float]], target: str, columns: list[str]) -> None:
    """Warns where a column alone is as good as all, and where all are as good without one."""
    metric, whole = next(iter(scores[OWN].items()))
    shown = metric.replace("_", " ")
    alone = {name: figures[metric] for name, figures in scores.items() if name.startswith((ONLY, NETWORK)) and figures}
    if alone and max(alone.values()) >= whole:
        best = max(alone, key=alone.__getitem__)
        warn(f"{target}: all columns together ({shown} {whole:.3f}) are no better than {best} ({alone[best]:.3f})")
    without = {column: scores.get(f"{WITHOUT} {column}", {}).get(metric, -np.inf) for column in columns}
    idle = [f"{column} ({figure:.3f})" for column, figure in without.items() if figure >= whole]
    if idle:
        they_do = "they do" if len(idle) > 1 else "it does"
        warn(f"{target}: the {shown} is {whole:.3f}, and no lower without {', '.join(idle)}; {they_do} not help here")


def _show(found: Mapping[str, Mapping[str, float]], target: str, columns: list[str], name: str) -> None:
    """One table of models, and one of what each column is worth to the first of them."""
    models = {model: scores for model, scores in found.items() if not model.startswith((WITHOUT, ONLY))}
    metrics = list(dict.fromkeys(metric for scores in models.values() for metric in scores))
    rows = [(model, *(scores.get(metric, "") for metric in metrics)) for model, scores in models.items()]
    show_table(f"{target}, {name}", ("model", *(metric.replace("_", " ") for metric in metrics)), rows)
    if len(columns) > 1:
        _show_worth(found, target, columns, name)


def _show_worth(found: Mapping[str, Mapping[str, float]], target: str, columns: list[str], name: str) -> None:
    metric, whole = next(iter(found[OWN].items()))
    figures = {column: (found[f"{WITHOUT} {column}"][metric], found[f"{ONLY} {column}"][metric]) for column in columns}
    rows = [(column, without, f"{without - whole:+.3f}", only) for column, (without, only) in figures.items()]
    title = f"{target}, {name}: {metric.replace('_', ' ')} {whole:.3f}; what if a column is missing?"
    show_table(title, ("column", "without it", "change", "nothing but it"), rows)


# Baselines


def _add_baselines(found: dict[str, Any], run: Run, schema: Config, judged: Manifest) -> None:
    """Adds what simpler models reach on the same rows to {target: {model: scores}}."""
    manifest, splits = run.table(), run.splits
    trained, chosen = (rows_of(manifest, (splits == name).to_numpy()) for name in ("train", "valid"))
    for target, models in classical(schema, trained, [chosen, judged]).items():
        head = schema.targets[target]
        truth = head.encode_target(judged.rows[target])
        for name, (valid, predictions) in models.items():
            own_head = tuned(head, head.encode_target(chosen.rows[target]), valid)
            found[target][name] = score(own_head, truth, predictions)
    if len(schema.columns) > 1:
        for column in sorted(schema.columns):
            for target, scores in _network_alone(run, column, judged).items():
                found[target][f"{NETWORK} {column}"] = scores


def rows_of(manifest: Manifest, chosen: np.ndarray) -> Manifest:
    """The chosen rows of a table, as a table."""
    return replace(manifest, rows=manifest.rows[chosen].reset_index(drop=True))


def classical(schema: Config, trained: Manifest, asked: Sequence[Manifest]) -> dict[str, dict[str, list[np.ndarray]]]:
    """{target: {model: [(N, P) predictions of each table that is asked about]}} of classical models.

    Always the prior, one model a column, and what all of them say together, also without each.
    """
    train_cells, tables = table_cells(trained, schema.columns), [table_cells(each, schema.columns) for each in asked]
    ends = np.cumsum([len(each.rows) for each in asked])
    columns: dict[str, dict[str, np.ndarray]] = {}
    for column, modality in walk(schema.columns):
        with progress(f"classical model on {column}", total=0):
            cells = pd.concat([each[column] for each in tables], ignore_index=True)
            columns[column] = _classical_column(schema, modality, trained, train_cells[column], cells)
    found = {}
    for target, head in walk(schema.targets):
        each = {column: predictions[target] for column, predictions in columns.items()}
        models = {PRIOR_MODEL: np.tile(head.prior, (ends[-1], 1))}
        models |= {f"{CLASSICAL} on {column}": predictions for column, predictions in each.items()}
        if len(each) > 1:
            models[f"{CLASSICAL}, all"] = head.join(list(each.values()))
        for left_out in each if len(each) > 2 else ():
            rest = [predictions for column, predictions in each.items() if column != left_out]
            models[f"{CLASSICAL}, without {left_out}"] = head.join(rest)
        found[target] = {name: np.split(predictions, ends[:-1]) for name, predictions in models.items()}
    return found


def _classical_column(
    schema: Config, modality: Modality, trained: Manifest, train_cells: pd.Series, asked_cells: pd.Series
) -> dict[str, np.ndarray]:
    """{target: (N, P)} of one classical model per target; a row without the cell gets the training rows' prior."""
    from scipy.sparse import issparse

    known = read_cells(modality, train_cells)
    asked = read_cells(modality, asked_cells)
    given = np.array([cell is not None for cell in known])
    there = np.flatnonzero([cell is not None for cell in asked])
    transformer = modality.baseline()
    inputs = transformer.fit_transform([cell for cell in known if cell is not None])
    questions = transformer.transform([asked[i] for i in there]) if len(there) else None
    found = {}
    for target, head in walk(schema.targets):
        truth = head.encode_target(trained.rows[target])[given]
        known_truth = truth[head.known(truth)]
        found[target] = np.tile(np.asarray(head.prior, np.float64), (len(asked), 1))
        if questions is not None and len(np.unique(known_truth, axis=0)) > 1:  # of one answer nothing can be learned
            model = head.baseline(issparse(inputs), seed=0).fit(inputs[head.known(truth)], known_truth)
            found[target][there] = head.baseline_predictions(model, questions)
    return found


def _network_alone(run: Run, column: str, judged: Manifest) -> dict[str, dict[str, float]]:
    """{target: scores} of the same network trained on one column; its run is kept in the run's folder."""
    say(f"training the network on {column} alone")
    config = run.config
    alone = config.model_copy(update={"columns": {column: config.columns[column]}})
    with silence():
        trained = train_config(alone, run.table(), run.folder / "alone" / layer_name(column))
    predictions, _ = predict_rows(trained.model(), trained.schema, judged)
    return {
        target: score(head, head.encode_target(judged.rows[target]), predictions[target])
        for target, head in walk(trained.schema.targets)
    }


if __name__ == "__main__":
    run_command(evaluate)
