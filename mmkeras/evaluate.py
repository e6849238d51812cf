"""Judges a run: `python -m mmkeras.evaluate`, `mmkeras evaluate` or `from mmkeras.evaluate import evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from mmkeras import plots
from mmkeras.component import Head, Modality, walk
from mmkeras.config import Config
from mmkeras.dataset import read_cells, table_cells
from mmkeras.inference import predict_rows
from mmkeras.manifest import Manifest, read_table, require_columns
from mmkeras.run import Run
from mmkeras.terminal import progress, run_command, say, show_table, warn
from mmkeras.train import score, train_config

TINY = 1e-12


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

    Writes `evaluation.json`, `evaluation_TARGET.txt` and `evaluation_TARGET.png` into the run folder and returns
    {target: {model: {metric: value}}}.
    """
    run = Run(run)
    schema = run.schema
    judged, name = _rows_to_judge(run, table)
    require_columns(judged, [*schema.columns, *schema.targets])
    predictions, _ = predict_rows(run.model(), schema, judged)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for target, head in walk(schema.targets):
        truth = head.encode_target(judged.rows[target])
        _warn_of_unknown(truth, target, judged.name)
        found[target] = {"mmkeras": score(head, truth, predictions[target])}
        _write_report(run, head, target, truth, predictions[target], name)
    if baselines:
        _add_baselines(found, run, schema, judged)
    for target in found:
        _show(found[target], target, name)
    run.write_json("evaluation.json", found)
    return found


def _rows_to_judge(run: Run, table: Any) -> tuple[Manifest, str]:
    """The rows and what to call them: a given table, else the run's test rows, else its validation rows."""
    if table is not None:
        given = read_table(table)
        return given, f"all {len(given.rows)} rows of {given.name}"
    manifest, splits = run.table(), run.splits
    split = "test" if (splits == "test").any() else "valid"
    if split == "valid":
        warn("there are no test rows; the validation rows chose the best epoch, so they flatter the model")
    rows = manifest.rows[(splits == split).to_numpy()].reset_index(drop=True)
    return Manifest(rows, manifest.folder, manifest.name), f"{len(rows)} {split} rows"


def _warn_of_unknown(truth: np.ndarray, target: str, table: str) -> None:
    if unknown := int((truth < 0).sum()):
        warn(f'{table}: {unknown} rows have no "{target}" that training knew; they are left out of the figures')


def _write_report(run: Run, head: Head, target: str, truth: np.ndarray, predictions: np.ndarray, name: str) -> None:
    known = truth >= 0
    report = head.report(truth[known], predictions[known])
    (run.folder / f"evaluation_{target}.txt").write_text(report, encoding="utf-8")
    say(f"{target}, {name}\n{report}")
    picture = run.folder / f"evaluation_{target}.png"
    plots.draw_answers(head, truth[known], predictions[known], f"{target}, {name}", picture)
    say(f"confusion matrix: {picture}")


def _show(found: Mapping[str, Mapping[str, float]], target: str, name: str) -> None:
    metrics = list(dict.fromkeys(metric for scores in found.values() for metric in scores))
    rows = [(model, *(scores.get(metric, "") for metric in metrics)) for model, scores in found.items()]
    show_table(f"{target}, {name}", ("model", *(metric.replace("_", " ") for metric in metrics)), rows)


# Baselines


def _add_baselines(found: dict[str, Any], run: Run, schema: Config, judged: Manifest) -> None:
    """Adds what simpler models reach on the same rows to {target: {model: scores}}."""
    manifest, splits = run.table(), run.splits
    trained = Manifest(
        manifest.rows[(splits == "train").to_numpy()].reset_index(drop=True), manifest.folder, manifest.name
    )
    for target, head in walk(schema.targets):
        truth, known = head.encode_target(judged.rows[target]), head.encode_target(trained.rows[target])
        for name, probabilities in _classical(schema, trained, judged, known, len(head.classes)).items():
            found[target][name] = score(head, truth, probabilities)
    if len(schema.columns) > 1:
        for column in sorted(schema.columns):
            for target, scores in _network_alone(run, column, judged).items():
                found[target][f"mmkeras on {column} alone"] = scores


def _classical(
    schema: Config, trained: Manifest, judged: Manifest, targets: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """{model: (N, K) probabilities}: the majority, one model a column, and the mean of their log probabilities."""
    prior = np.bincount(targets, minlength=classes) / len(targets)
    found = {"majority class": np.tile(prior, (len(judged.rows), 1))}
    train_cells, judged_cells = table_cells(trained, schema.columns), table_cells(judged, schema.columns)
    columns = {}
    for column, modality in walk(schema.columns):
        with progress(f"classical model on {column}", total=0):
            fitted = _fit_classical(modality, train_cells[column], targets)
            columns[column] = _ask_classical(fitted, modality, judged_cells[column], prior)
    found |= {f"classical on {column}": probabilities for column, probabilities in columns.items()}
    if len(columns) > 1:
        found["classical, log-mean"] = _log_mean(columns.values())
    if len(columns) > 2:
        for left_out in columns:
            rest = [probabilities for column, probabilities in columns.items() if column != left_out]
            found[f"classical, log-mean without {left_out}"] = _log_mean(rest)
    return found


def _log_mean(models: Iterable[np.ndarray]) -> np.ndarray:
    """(N, K) probabilities of each model -> (N, K): the mean of their logarithms, made to add up to 1 again."""
    logs = np.mean([np.log(np.maximum(probabilities, TINY)) for probabilities in models], axis=0)
    joined = np.exp(logs - logs.max(axis=1, keepdims=True))
    return joined / joined.sum(axis=1, keepdims=True)


def _fit_classical(modality: Modality, cells: pd.Series, targets: np.ndarray) -> Any:
    contents = read_cells(modality, cells)
    is_there = np.array([content is not None for content in contents])
    model = modality.baseline(seed=0)
    return model.fit([content for content in contents if content is not None], targets[is_there])


def _ask_classical(model: Any, modality: Modality, cells: pd.Series, prior: np.ndarray) -> np.ndarray:
    """(N, K) probabilities; a row without the cell gets the training rows' prior."""
    found = np.tile(prior, (len(cells), 1))
    contents = read_cells(modality, cells)
    there = [i for i, content in enumerate(contents) if content is not None]
    answers = np.zeros((len(there), len(prior)))
    answers[:, model.classes_] = model.predict_proba([contents[i] for i in there])
    found[there] = answers
    return found


def _network_alone(run: Run, column: str, judged: Manifest) -> dict[str, dict[str, float]]:
    """{target: scores} of the same network trained on one column; its run is kept in the run's folder."""
    say(f"training the network on {column} alone")
    config = run.config
    alone = config.model_copy(update={"columns": {column: config.columns[column]}})
    trained = train_config(alone, run.table(), run.folder / "alone" / column)
    predictions, _ = predict_rows(trained.model(), trained.schema, judged)
    return {
        target: score(head, head.encode_target(judged.rows[target]), predictions[target])
        for target, head in walk(trained.schema.targets)
    }


if __name__ == "__main__":
    run_command(evaluate)
