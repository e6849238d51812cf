"""From a plan to a trained run: fit, calibrate, judge, write."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say, warn
from mmkeras.base.words import joined
from mmkeras.contracts.config import Config
from mmkeras.contracts.encoding import FUSED
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk
from mmkeras.contracts.scorer import Scorer
from mmkeras.features.batches import Truth
from mmkeras.features.columns import Features, distinct_cells, table_cells
from mmkeras.features.fitted import Fitted, encoded_targets, fit_schema, prepare_rows, without_bad_rows
from mmkeras.features.records import Records
from mmkeras.network.build import network_of
from mmkeras.network.inference import forward, row_losses
from mmkeras.network.network import Network
from mmkeras.network.strategy import choose_strategy
from mmkeras.table import bad_rows
from mmkeras.table.manifest import SPLITS
from mmkeras.table.plan import Plan, check_learnable, check_rows
from mmkeras.table.splits import units_of, write_splits
from mmkeras.training import plots
from mmkeras.training.board import Step, watcher, write_vectors
from mmkeras.training.fit import batch_rows, compile_model, drawn_figures, fit_model
from mmkeras.training.run import Run, default_folder, resumable

pd = lazy("pandas")
keras = lazy("keras")
tf = lazy("tensorflow")


def train_plan(
    plan: Plan,
    folder: str | Path | None,
    name: str = "run",
    known: Fitted | None = None,
    records: Records | None = None,
) -> Run:
    """What `train` does once it knows what is asked for.

    Args:
        plan: Its config is not fitted.
        folder: The run folder; None takes runs/<name>-<date and time>.
        name: What default run folders are called after.
        known: What is fitted already of the same rows and targets, and of these columns or more.
        records: These columns' features in shards, as `open_records` gives them.
    """
    folder = Path(folder) if folder else None
    if not (known or records):
        check_rows(plan, folder or default_folder(name))
    run = resumable(plan, folder, name) or Run.create(folder or default_folder(name), plan)
    with run.locked(), run.logged():
        if run.is_done:
            say(f"{run.folder} is finished already; choose another --run to train again")
        else:
            with _damage_named(records):
                _train(run, plan, known, records)
    return run


def truth_of(plan: Plan, network: Network) -> Truth:
    """What the plan's table tells a network's objectives beside its features."""
    cells = distinct_cells(table_cells(plan.manifest, plan.config.columns))
    return Truth(encoded_targets(plan), cells, list(network.objectives.values()), network.setting)


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
    head = head.untuned()
    return head.tune(targets[known], predictions[known]) if known.any() else head


# Training


def _train(run: Run, plan: Plan, known: Fitted | None, records: Records | None) -> None:
    started = time.perf_counter()
    strategy, why = choose_strategy(plan.config.train.devices)
    say(f"run folder {run.folder}; {len(plan.split)} rows: {_counts(plan.split)}; {why}")
    keras.utils.set_random_seed(plan.config.train.seed)
    if plan.config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    write_splits(run.folder / run_files.SPLITS, plan.split)
    fitted = _fitted(run, plan, known, records)
    plan, features = fitted.plan, fitted.features
    schema, split = plan.config, plan.split
    with strategy.scope():
        # A resumed run's heads are tuned already
        heads = {target: head.untuned() for target, head in schema.targets.items()}
        network = network_of(schema.model_copy(update={"targets": heads}))
        seen = compile_model(network, schema.train, split)
    model = network.model
    if untrained := [name for name in network.branches if name not in network.trained_branches]:
        names, trained_for = ", ".join(untrained), joined(schema.objectives)
        warn(f"nothing is learned of {names}: training is for {trained_for} alone; they have no vectors")
    plots.draw_model(network, run.folder / run_files.MODEL_PICTURE)
    say(f"{model.count_params():,} weights; the model is drawn in {run.folder / run_files.MODEL_PICTURE}")
    truth = truth_of(plan, network)
    step = network.step()
    watching = watcher(run.board_folder, step.graph, schema.targets, seen, truth.targets, split)
    trained = fit_model(run, network, schema.train, features, truth, split, [watching])
    model.set_weights(trained.best_weights)
    model.save_weights(run.folder / run_files.WEIGHTS)
    metrics = _judge_losses(step, network, features, truth, plan)
    if schema.answers:
        schema = _tuned(run, step, schema, features, truth.targets, split)
        step = network.answering(schema.targets).step([FUSED, *schema.targets])
        answers = _judge(run, step, schema, features, truth.targets, split)
        metrics = {name: {**answers[name], **metrics[name]} for name in answers}
        write_vectors(run.board_folder, step, schema, features, plan.manifest, split)
    metrics["bad_cells"] = fitted.bad_cells
    metrics["training"] = {
        "best_epoch": trained.best_epoch + 1,
        "epochs": trained.next_epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "weights": model.count_params(),
    }
    _finish(run, metrics, trained.history, drawn_figures(network))
    if fitted.bad_cells.get("cells"):
        say(bad_rows.summary(fitted.bad_cells, run.folder))


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


def _fitted(run: Run, plan: Plan, known: Fitted | None, records: Records | None) -> Fitted:
    """All that is done between learning from the rows and training; writes it down."""
    plan = plan.of_config(_schema(run, plan, known, records))
    if known:
        return known.of_plan(plan)
    features = prepare_rows(plan, run.folder, names_foreign=True, records=records)
    fitted = without_bad_rows(plan, features, run.folder)
    if fitted.plan is not plan:
        check_learnable(fitted.plan)
        write_splits(run.folder / run_files.SPLITS, fitted.plan.split)
        run.write_schema(fitted.plan.config)
    return fitted


def _schema(run: Run, plan: Plan, known: Fitted | None, records: Records | None) -> Config:
    """The config whose columns and heads know the training rows; one that was begun keeps what it knew."""
    if run.checkpoints.is_dir():
        return run.schema
    learned = known.plan.config if known else fit_schema(plan, records)
    columns = {column: learned.columns[column] for column in plan.config.columns}
    schema = plan.config.model_copy(update={"columns": columns, "targets": learned.targets})
    run.write_schema(schema)
    return schema


# Results


def _judge_losses(
    step: Step, network: Network, features: Features | Records, truth: Truth, plan: Plan
) -> dict[str, dict[str, dict[str, float]]]:
    """{"test": {output: {figure: value}}, "valid": …} of the objectives that answer no target."""
    others = {name: each for name, each in network.objectives.items() if not each.answers}
    units = units_of(plan.manifest, plan.config.split.group)
    batch_size = batch_rows(network.model, plan.config.train, plan.split)
    judged: dict[str, dict[str, dict[str, float]]] = {}
    for part in ("test", "valid"):
        rows = np.flatnonzero(plan.split == part)
        if not len(rows):
            continue
        judged[part] = {}
        for name, objective in others.items():
            losses = row_losses(step, features, rows, truth, network.terms_of[name], batch_size)
            judged[part] |= objective.judge(losses, units[rows])
    return judged


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
    predictions = {name: forward(step, features, part, schema.targets) for name, part in rows.items()}
    metrics: dict[str, Any] = {}
    for name, part in rows.items():
        for target, head in walk(schema.targets):
            truth, predicted = targets[target][0][part], predictions[name][target]
            metrics.setdefault(name, {})[target] = score(head.scorer, truth, predicted)
            known, picture = head.scorer.known(truth), run.folder / run_files.answers_picture(target, name)
            title = f"{target}, {known.sum()} {name} rows"
            plots.draw_answers(head.scorer, truth[known], predicted[known], title, picture)
    run.write_predictions({f"{name} {target}": predictions[name][target] for name in rows for target in schema.targets})
    return metrics


def _finish(
    run: Run, metrics: dict[str, Any], history: dict[str, list[float]], drawn: dict[str, tuple[str, str]]
) -> None:
    """Writes the figures; `metrics.json` comes last, since it says that the run is done."""
    run.write_json(run_files.HISTORY, history)
    plots.draw_history(history, drawn, run.folder / run_files.HISTORY_PICTURE)
    run.write_json(run_files.METRICS, metrics)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
