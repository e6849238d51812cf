"""From a plan to a trained run: fit, calibrate, judge, write."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say
from mmkeras.contracts.config import Config
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk
from mmkeras.contracts.scorer import Scorer
from mmkeras.features.columns import Features
from mmkeras.features.fitted import Prepared, encoded_targets, fit_schema, prepare_rows, split_series, without_bad_rows
from mmkeras.features.records import Records
from mmkeras.network.build import build_model, calibrate, with_vectors
from mmkeras.network.inference import forward, forward_step
from mmkeras.network.strategy import choose_strategy
from mmkeras.table import bad_rows
from mmkeras.table.manifest import SPLITS, Manifest
from mmkeras.table.plan import check, check_heads
from mmkeras.table.splits import write_splits
from mmkeras.training import plots
from mmkeras.training.board import Step, watcher, write_vectors
from mmkeras.training.fit import compile_model, fit_model, shown_figures
from mmkeras.training.run import Run, default_folder, resumable

keras = lazy("keras")
tf = lazy("tensorflow")


def train_config(
    config: Config,
    manifest: Manifest,
    folder: str | Path | None,
    name: str = "run",
    prepared: Prepared | None = None,
    records: Records | None = None,
) -> Run:
    """What `train` does once it knows what is asked for.

    Args:
        config: Checked, not fitted.
        manifest: The table that it is about.
        folder: The run folder; None takes runs/<name>-<date and time>.
        name: What default run folders are called after.
        prepared: What is known already of the same columns and targets, or of more columns.
        records: The same columns' features in shards, as `open_records` gives them.
    """
    manifest = replace(manifest, access=config.access)
    folder = Path(folder) if folder else None
    if prepared or records:
        split = prepared.split if prepared else split_series(records)
    else:
        split = check(config, manifest, folder or default_folder(name))
    run = resumable(config, manifest, folder, name) or Run.create(folder or default_folder(name), config, manifest)
    with run.locked(), run.logged():
        if run.is_done:
            say(f"{run.folder} is finished already; choose another --run to train again")
        else:
            with _damage_named(records):
                _train(run, config, manifest, prepared or split, records)
    return run


def score(scorer: Scorer, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """The figures over the rows whose target training knew; {} where there are none."""
    known = scorer.known(targets)
    return scorer.score(targets[known], predictions[known]) if known.any() else {}


def tuned(head: Head, targets: np.ndarray, predictions: np.ndarray) -> Head:
    """A head that has learned from validation rows too, as far as their targets are known.

    Args:
        head: What it learned of other predictions before is forgotten.
        targets: (N, …).
        predictions: (N, P) before any temperature.
    """
    known = head.scorer.known(targets)
    head = head.model_copy(update={"temperature": 1.0})
    return head.tune(targets[known], predictions[known]) if known.any() else head


# Training


def _train(
    run: Run, config: Config, manifest: Manifest, prepared: Prepared | pd.Series, records: Records | None
) -> None:
    started = time.perf_counter()
    split = prepared.split if isinstance(prepared, Prepared) else prepared
    strategy, why = choose_strategy(config.train.devices)
    say(f"run folder {run.folder}; {len(split)} rows: {_counts(split)}; {why}")
    keras.utils.set_random_seed(config.train.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    write_splits(run.folder / "splits.csv", manifest, split)
    schema = _fitted(run, config, manifest, prepared, records)
    if not isinstance(prepared, Prepared):
        prepared = _prepared(run, schema, manifest, split, records)
        split, schema = prepared.split, prepared.schema
    features = prepared.features.select(schema.columns)
    with strategy.scope():
        model = build_model(schema.columns, schema.fusion, schema.targets, schema.train.loss_weights == "learned")
        seen = compile_model(model, schema, split)
    plots.draw_model(model, sorted(schema.columns), run.folder / "model.png")
    say(f"{model.count_params():,} weights; the model is drawn in {run.folder / 'model.png'}")
    targets = encoded_targets(schema, manifest)
    calibrate(model, dict.fromkeys(schema.targets, 1.0))  # a run that is resumed may have been tuned already
    step = forward_step(with_vectors(model, schema.columns))
    watching = watcher(run.board_folder, step.graph, schema.targets, seen, targets, split)
    trained = fit_model(run, model, schema, features, targets, split, [watching])
    model.set_weights(trained.best_weights)
    model.save_weights(run.folder / "model.weights.h5")
    schema = _tuned(run, step, schema, features, targets, split)
    calibrate(model, {target: head.temperature for target, head in schema.targets.items()})
    step = forward_step(with_vectors(model, schema.columns))
    metrics = _judge(run, step, schema, features, targets, split)
    write_vectors(run.board_folder, step, schema, features, manifest, split)
    metrics["bad_cells"] = prepared.bad_cells
    metrics["training"] = {
        "best_epoch": trained.best_epoch + 1,
        "epochs": trained.next_epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "weights": model.count_params(),
    }
    _finish(run, metrics, trained.history, shown_figures(model, schema))
    if prepared.bad_cells.get("cells"):
        say(bad_rows.summary(prepared.bad_cells, run.folder))


@contextlib.contextmanager
def _damage_named(records: Records | None) -> Iterator[None]:
    """Says which shard was damaged, which TensorFlow does not."""
    try:
        yield
    except Exception as error:
        if records is None or not isinstance(error, tf.errors.DataLossError):
            raise
        raise ValueError(records.damage()) from error


def _counts(split: pd.Series) -> str:
    return ", ".join(f"{(split == name).sum()} {name}" for name in SPLITS)


def _fitted(
    run: Run, config: Config, manifest: Manifest, prepared: Prepared | pd.Series, records: Records | None
) -> Config:
    """The config whose columns and heads know the training rows."""
    if run.checkpoints.is_dir():
        return run.schema
    known = prepared.schema if isinstance(prepared, Prepared) else fit_schema(config, manifest, prepared, records)
    columns = {column: known.columns[column] for column in config.columns}
    schema = config.model_copy(update={"columns": columns, "targets": known.targets})
    run.write_schema(schema)
    return schema


def _prepared(
    run: Run, schema: Config, manifest: Manifest, split: pd.Series, records: Records | None = None
) -> Prepared:
    """All that is done between learning from the rows and training; writes it down."""
    features = prepare_rows(schema, manifest, run.folder, split, records)
    found = without_bad_rows(schema, manifest, split, features, run.folder)
    if found.split is not split:
        check_heads(schema, manifest, found.split)
        write_splits(run.folder / "splits.csv", manifest, found.split)
        run.write_schema(found.schema)
    return found


# Results


def _tuned(
    run: Run, step: Step, schema: Config, features: Features | Records, targets: Any, split: pd.Series
) -> Config:
    """Its heads have learned from the validation rows too, as `step` answers them."""
    rows = np.flatnonzero(split == "valid")
    predictions = forward(step, features, rows, schema.targets)
    heads = {
        target: tuned(head, targets[target][0][rows], predictions[target]) for target, head in walk(schema.targets)
    }
    schema = schema.model_copy(update={"targets": heads})
    run.write_schema(schema)
    return schema


def _judge(run: Run, step: Step, schema: Config, features: Features | Records, targets: Any, split: pd.Series) -> Any:
    """{"test": {target: {metric: value}}, "valid": ...}; writes the predictions and draws them."""
    rows = {name: np.flatnonzero(split == name) for name in ("test", "valid") if (split == name).any()}
    predictions = {name: forward(step, features, found, schema.targets) for name, found in rows.items()}
    metrics: dict[str, Any] = {}
    for name, found in rows.items():
        for target, head in walk(schema.targets):
            truth, predicted = targets[target][0][found], predictions[name][target]
            metrics.setdefault(name, {})[target] = score(head.scorer, truth, predicted)
            known, picture = head.scorer.known(truth), run.folder / f"answers_{target}_{name}.png"
            title = f"{target}, {known.sum()} {name} rows"
            plots.draw_answers(head.scorer, truth[known], predicted[known], title, picture)
    run.write_predictions({f"{name} {target}": predictions[name][target] for name in rows for target in schema.targets})
    return metrics


def _finish(
    run: Run, metrics: dict[str, Any], history: dict[str, list[float]], shown: dict[str, tuple[str, str]]
) -> None:
    """Writes what was found; `metrics.json` comes last, since it says that the run is done."""
    run.write_json("history.json", history)
    plots.draw_history(history, shown, run.folder / "history.png")
    run.write_json("metrics.json", metrics)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
