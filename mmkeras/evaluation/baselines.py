"""Simpler models on the same rows: what a run has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, say, silence
from mmkeras.contracts.config import Config
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import layer_name, walk
from mmkeras.contracts.scorer import Scorer
from mmkeras.evaluation.judging import Said
from mmkeras.evaluation.models import PRIOR, Model
from mmkeras.evaluation.rows import rows_of
from mmkeras.features.columns import read_cells, table_cells
from mmkeras.network.inference import predict_rows
from mmkeras.table.manifest import Manifest
from mmkeras.table.plan import planned
from mmkeras.training.run import Run
from mmkeras.training.trainer import train_plan, tuned

pd = lazy("pandas")


def baselines(run: Run, schema: Config, judged: Manifest) -> Iterator[tuple[str, Model, Said]]:
    """(target, model, what it says of the judged rows): classical models, then the network on each column alone."""
    manifest, splits = run.table(), run.splits
    trained, chosen = (rows_of(manifest, (splits == name).to_numpy()) for name in ("train", "valid"))
    for target, models in classical(schema, trained, [chosen, judged]).items():
        head = schema.targets[target]
        truth = head.encode_target(judged.rows[target])
        for model, (valid, predictions) in models.items():
            scorer, predictions = calibrated(head, head.encode_target(chosen.rows[target]), valid, predictions)
            yield target, model, Said(scorer, truth, predictions)
    if len(schema.columns) > 1:
        for column in sorted(schema.columns):
            for target, said in _network_alone(run, column, judged).items():
                yield target, Model("network", column), said


def calibrated(head: Head, truth: np.ndarray, valid: np.ndarray, predictions: np.ndarray) -> tuple[Scorer, np.ndarray]:
    """A classical model's scorer, by what it says of validation rows, and what it says of other rows, calibrated.

    Args:
        head: Of the target.
        truth: (V, …) of the validation rows.
        valid: (V, P) what the model says of them.
        predictions: (N, P) what it says of other rows.
    """
    own = tuned(head, truth, valid).scorer
    return own, own.tempered(predictions, own.temperature)


def classical(schema: Config, trained: Manifest, asked: Sequence[Manifest]) -> dict[str, dict[Model, list[np.ndarray]]]:
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
    answers = {}
    for target, head in walk(schema.targets):
        each = {column: predictions[target] for column, predictions in columns.items()}
        models = {PRIOR: np.tile(head.prior, (ends[-1], 1))}
        models |= {Model("classical", column): predictions for column, predictions in each.items()}
        if len(each) > 1:
            models[Model("classical")] = head.scorer.join(list(each.values()))
        for left_out in each if len(each) > 2 else ():
            rest = [predictions for column, predictions in each.items() if column != left_out]
            models[Model("classical_without", left_out)] = head.scorer.join(rest)
        answers[target] = {model: np.split(predictions, ends[:-1]) for model, predictions in models.items()}
    return answers


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
    answers = {}
    for target, head in walk(schema.targets):
        scorer, truth = head.scorer, head.encode_target(trained.rows[target])[given]
        known = scorer.known(truth)
        answers[target] = np.tile(np.asarray(scorer.prior, np.float64), (len(asked), 1))
        if questions is not None and len(np.unique(truth[known], axis=0)) > 1:  # of one answer nothing can be learned
            model = scorer.baseline(issparse(inputs), seed=0).fit(inputs[known], truth[known])
            answers[target][there] = scorer.baseline_predictions(model, questions)
    return answers


def _network_alone(run: Run, column: str, judged: Manifest) -> dict[str, Said]:
    """{target: what the same network says that is trained on one column}; its run is kept in the run's folder."""
    say(f"training the network on {column} alone")
    plan, folder = planned(run.config.alone(column), run.table()), run.folder / run_files.ALONE / layer_name(column)
    with silence():
        trained = train_plan(plan, folder)
    predictions, _ = predict_rows(trained.network(), trained.schema, judged)
    return {
        target: Said(head.scorer, head.encode_target(judged.rows[target]), predictions[target])
        for target, head in walk(trained.schema.targets)
    }
