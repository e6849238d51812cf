"""Trains a model on a table: `python -m mmkeras.train`, `mmkeras train` or `from mmkeras.train import train`."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import mmkeras
from mmkeras import bad_rows, plots, remote
from mmkeras.board import Step, board, write_vectors
from mmkeras.component import Head, Modality, walk
from mmkeras.config import Config, read_config
from mmkeras.distribution import choose_strategy
from mmkeras.features import Features, adapt, prepare, table_cells
from mmkeras.findings import Subject, gathered, surveys, table_notes
from mmkeras.fit import compile_model, fit_model, shown_figures
from mmkeras.guess import guess_config
from mmkeras.inference import forward, forward_step
from mmkeras.lazy import lazy
from mmkeras.manifest import (
    SPLITS,
    BadCell,
    Manifest,
    missing_files,
    read_table,
    require_columns,
)
from mmkeras.model import build_model, calibrate, with_vectors
from mmkeras.records import Records
from mmkeras.run import Run, default_folder, holds_more_than, resumable, run_name, table_hash
from mmkeras.splits import UNUSED, check_targets, leaks, split_rows, write_splits
from mmkeras.terminal import progress, run_command, say, show_table, warn

tf = lazy("tensorflow")
keras = lazy("keras")

TABLE_ENDINGS = (".csv", ".parquet")
SHOWN_LEAKS = 5
SHOWN_DOUBTS = 4


def train(
    table: Annotated[
        Any, typer.Argument(parser=str, help="A config (.yaml) or, with --target, a table (.csv, .parquet).")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that win, such as train.epochs=3.")
    ] = None,
    *,
    target: Annotated[str | None, typer.Option(help="The column to predict; the other columns are guessed.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder. Default: runs/NAME-DATE-TIME.", show_default=False)
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="A folder that `mmkeras prepare` wrote, also gs://…", show_default=False)
    ] = None,
) -> Run:
    """Trains a model and judges it on rows that it never saw.

    **Examples**

    `python -m mmkeras.train` – the embedded example

    `python -m mmkeras.train table.csv --target label` – guesses what each column holds

    `python -m mmkeras.train config.yaml train.epochs=20 columns.photo.height_px=64`

    The same command again goes on with a training that was stopped.
    """
    overrides = list(overrides or [])
    if isinstance(table, str) and "=" in table and not Path(table).exists():
        table, overrides = None, [table, *overrides]
    config, manifest, name = understand(table, overrides, target)
    found = train_config(config, manifest, run, name, records=features and open_records(features, config, manifest))
    _show_results(found)
    return found


@dataclass(frozen=True)
class Prepared:
    """What trainings on the same rows share.

    Attributes:
        split: Of each row.
        schema: The config whose columns and heads know the training rows.
        features: Of the whole table.
        bad_cells: How many there are, as `metrics.json` holds it.
    """

    split: pd.Series
    schema: Config
    features: Features | Records
    bad_cells: dict[str, Any] = field(default_factory=dict)


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
        split = prepared.split if prepared else _split_series(records)
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


def embedded_example() -> Path:
    """The config of the data set that comes with mmkeras."""
    places = Path(__file__).parents[1] / "data", Path(sysconfig.get_path("data")) / "share" / "mmkeras"
    configs = [place / "customer_service" / "config.yaml" for place in places]
    return next((config for config in configs if config.is_file()), configs[0])


def score(head: Head, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """A head's figures over the rows whose target it knows; {} where it knows none."""
    known = head.known(targets)
    return head.score(targets[known], predictions[known]) if known.any() else {}


def tuned(head: Head, targets: np.ndarray, predictions: np.ndarray) -> Head:
    """A head that has learned from validation rows too, as far as their targets are known.

    Args:
        head: What it learned of other predictions before is forgotten.
        targets: (N, …).
        predictions: (N, P) before any temperature.
    """
    known = head.known(targets)
    head = head.model_copy(update={"temperature": 1.0})
    return head.tune(targets[known], predictions[known]) if known.any() else head


# What is asked for


def understand(table: Any, overrides: list[str], target: str | None) -> tuple[Config, Manifest, str]:
    """The config, the table that it is about, and what runs are called after."""
    if isinstance(table, pd.DataFrame):
        manifest = read_table(table)
        return guess_config(manifest, target, overrides, None), manifest, "table"
    path = Path(table) if table is not None else embedded_example()
    if path.suffix in TABLE_ENDINGS:
        manifest = read_table(path)
        return guess_config(manifest, target, overrides, str(path.resolve())), manifest, run_name(path)
    if target is not None:
        raise ValueError(f"--target: goes with a table (.csv, .parquet), got {path}; a config names its targets itself")
    config = read_config(path, overrides)
    return config, read_table(config.manifest, access=config.access), run_name(path)


def check(config: Config, manifest: Manifest, folder: Path | None = None) -> pd.Series:
    """Everything that can be wrong before TensorFlow starts; returns the split of each row.

    Args:
        config: Not fitted.
        manifest: The table.
        folder: Where `bad_rows.csv` goes if there are any and they may not be there; None: nowhere.
    """
    check_columns(config, manifest)
    split = split_of(config, manifest)
    check_rows(config, manifest, split, folder)
    return split


def split_of(config: Config, manifest: Manifest) -> pd.Series:
    """The split of each row, as the config asks for it."""
    return split_rows(
        manifest,
        column=config.split.column,
        fractions=(config.split.train, config.split.valid, config.split.test),
        group=config.split.group,
        target=strata(config, manifest),
        seed=config.split.seed,
    )


def open_records(folder: str, config: Config, manifest: Manifest) -> Records:
    """Features that `mmkeras prepare` wrote of this table, split and settings; the columns' files need not be there.

    Raises:
        ValueError: They are of others; or the table, the split or a target cannot be used.
    """
    check_columns(config, manifest)
    split = split_of(config, manifest)
    _check_heads(config, manifest, split)
    records = Records.open(folder, split)
    records.check(identity(config, manifest, split))
    return records


def identity(config: Config, manifest: Manifest, split: pd.Series) -> dict[str, Any]:
    """What features depend on, as JSON holds it: table, split, and the settings of columns that change features."""
    columns = {
        column: {name: value for name, value in modality.settings().items() if name not in modality.tunable_fields()}
        for column, modality in walk(config.columns)
    }
    codes = split.map({name: code for code, name in enumerate(SPLITS)}).to_numpy(np.uint8)
    return {
        "table": table_hash(manifest),
        "split": hashlib.sha256(codes.tobytes()).hexdigest(),
        "version": mmkeras.__version__,
        "columns": columns,
    }


def check_columns(config: Config, manifest: Manifest) -> None:
    """The part of it that needs no split: columns that are there, rows that have a target, a fusion that fits."""
    require_columns(manifest, [*config.columns, *config.targets])
    require_columns(manifest, [name for name in (config.split.column, config.split.group) if name])
    for column, modality in walk(config.columns):
        said_of(manifest, column, modality.check)
    remote.check(config.filesystems)
    check_targets(manifest, config.targets)
    config.fusion.check(list(config.columns), config.targets)


def strata(config: Config, manifest: Manifest) -> pd.Series:
    """What the splits should hold equal shares of: the first target's classes or ranges."""
    target, head = next(iter(config.targets.items()))
    return said_of(manifest, target, lambda: head.strata(manifest.rows[target]))


def check_rows(config: Config, manifest: Manifest, split: pd.Series, folder: Path | None = None) -> None:
    """Refuses targets and files that cannot be used, and warns of what stands in two splits."""
    _check_heads(config, manifest, split)
    for target, head in config.targets.items():
        if missing := int(head.missing(manifest.rows[target]).sum()):
            warn(f'{manifest.name}: {missing} rows have no "{target}"; they train and judge the other targets only')
    if config.on_bad_file == "error":  # otherwise preparation, which looks at each path too, names them all
        bad_rows.refuse(missing_files(manifest, _media(config)), "error", manifest, folder and _free(folder))
    warn_of_leaks(config, manifest, split)
    warn_of_doubts(config, manifest, split)


def _free(folder: Path) -> Path | None:
    """The folder, unless a run has it already."""
    return None if folder.is_dir() and holds_more_than(bad_rows.FILE, folder) else folder


def _check_heads(config: Config, manifest: Manifest, split: pd.Series) -> None:
    """Refuses targets; a row whose class no train row has may be passed over if `on_bad_file` says so."""
    for target, head in config.targets.items():
        values = manifest.rows[target]
        if config.on_bad_file != "error":
            values = values.mask(head.foreign(values, split) | (split == UNUSED), "")
        said_of(manifest, target, partial(head.check, values, split))


def _split_series(records: Records) -> pd.Series:
    return pd.Series(records.split, dtype=object, name="split")


def said_of(manifest: Manifest, column: str, ask: Callable[[], Any]) -> Any:
    """What a component finds wrong with its column begins with where that is."""
    try:
        return ask()
    except ValueError as error:
        raise ValueError(f'{manifest.name} column "{column}": {error}') from error


def warn_of_leaks(config: Config, manifest: Manifest, split: pd.Series) -> None:
    """Warns of groups and files that stand in two splits."""
    found = leaks(manifest, split, group=config.split.group, media=_media(config))
    for leak in found[:SHOWN_LEAKS]:
        warn(str(leak))
    if len(found) > SHOWN_LEAKS:
        warn(f"{len(found) - SHOWN_LEAKS} more groups or files stand in two splits; the test rows are no fair judges")


def warn_of_doubts(config: Config, manifest: Manifest, split: pd.Series) -> None:
    """Warns of what a table tells without a file being opened; what cannot be read is refused when it is read."""
    subject = Subject(manifest, config.columns, config.targets, split, config.split.group)
    found = [finding for finding in gathered(table_notes(subject, surveys(subject))) if not finding.is_error]
    for finding in found[:SHOWN_DOUBTS]:
        warn(f"{manifest.name} {finding.message}")
    if len(found) > SHOWN_DOUBTS:
        warn(f"{len(found) - SHOWN_DOUBTS} more things to look at in {manifest.name}; `mmkeras check` names them")


def _media(config: Config) -> dict[str, Modality]:
    return {column: modality for column, modality in walk(config.columns) if modality.from_file}


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
    watcher = board(run.board, step.graph, schema.targets, seen, targets, split)
    trained = fit_model(run, model, schema, features, targets, split, [watcher])
    model.set_weights(trained.best_weights)
    model.save_weights(run.folder / "model.weights.h5")
    schema = _tuned(run, step, schema, features, targets, split)
    calibrate(model, {target: head.temperature for target, head in schema.targets.items()})
    step = forward_step(with_vectors(model, schema.columns))
    metrics = _judge(run, step, schema, features, targets, split)
    write_vectors(run.board, step, schema, features, manifest, split)
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
        _check_heads(schema, manifest, found.split)
        write_splits(run.folder / "splits.csv", manifest, found.split)
        run.write_schema(found.schema)
    return found


def without_bad_rows(
    schema: Config, manifest: Manifest, split: pd.Series, features: Features | Records, folder: Path
) -> Prepared:
    """What trainings share; rows that `bad_rows.csv` in the folder leaves out take part in no split.

    Raises:
        ValueError: No row of a split is left.
    """
    counts = bad_rows.counts(folder, schema.on_bad_file)
    kept = bad_rows.in_use(split, folder)
    if (kept == split).all():
        return Prepared(split, schema, features, counts)
    bad_rows.check_in_use(split, kept, manifest, folder)
    heads = _fitted_heads(schema, manifest, kept)
    return Prepared(kept, schema.model_copy(update={"targets": heads}), features, counts)


def fit_schema(config: Config, manifest: Manifest, split: pd.Series, records: Records | None = None) -> Config:
    """The same config with all that its columns and heads learn from the training rows.

    Args:
        config: Not fitted.
        manifest: The table.
        split: Of each row.
        records: Features whose columns have learned already.
    """
    if records:
        heads = _fitted_heads(config, manifest, split)
        return config.model_copy(update={"columns": records.fitted(config.columns), "targets": heads})
    is_train = (split == "train").to_numpy()
    cells = table_cells(manifest, config.columns)
    columns = {}
    for column, modality in walk(config.columns):
        with progress(f"learning from {column}", total=0):
            columns[column] = said_of(manifest, column, partial(adapt, modality, cells[column][is_train]))
    return config.model_copy(update={"columns": columns, "targets": _fitted_heads(config, manifest, split)})


def _fitted_heads(config: Config, manifest: Manifest, split: pd.Series) -> dict[str, Head]:
    heads = {}
    for target, head in config.targets.items():
        values = manifest.rows[target][(split == "train").to_numpy()]
        heads[target] = said_of(manifest, target, partial(head.adapt, values[~head.missing(values)]))
    return heads


def prepare_rows(
    schema: Config,
    manifest: Manifest,
    folder: Path,
    split: pd.Series | None = None,
    records: Records | None = None,
) -> Features | Records:
    """All rows' features; writes bad_rows.csv into the folder.

    Args:
        schema: The fitted config.
        manifest: The table.
        folder: Of the run.
        split: Of each row, to name targets too that no train row has; None: do not.
        records: The features, if they lie in shards already.

    Raises:
        ValueError: Cells cannot be used, and the config says that this is an error.
    """
    cells = {} if records else table_cells(manifest, schema.columns)
    features = records.select(schema.columns) if records else prepare_columns(schema, cells)
    bad = features.bad_cells(cells)
    bad_rows.write(folder, bad, schema.on_bad_file)
    bad_rows.refuse(bad, schema.on_bad_file, manifest, folder)
    if split is not None and schema.on_bad_file != "error":
        kept = bad_rows.without(split, bad) if schema.on_bad_file == "drop" else split
        bad = sorted([*bad, *_foreign_cells(schema, manifest, kept)], key=lambda cell: cell.row)
        bad_rows.write(folder, bad, schema.on_bad_file)
    if bad:
        warn(bad_rows.summary(bad_rows.counts(folder, schema.on_bad_file), folder))
    return features


def _foreign_cells(schema: Config, manifest: Manifest, split: pd.Series) -> list[BadCell]:
    return [
        BadCell(int(row) + 1, target, manifest.rows[target].iloc[row], "stands in no train row")
        for target, head in walk(schema.targets)
        for row in np.flatnonzero(head.foreign(manifest.rows[target], split))
    ]


def prepare_columns(schema: Config, cells: Mapping[str, pd.Series]) -> Features:
    """Every column's features, with a progress bar each."""
    columns = {}
    for column, modality in walk(schema.columns):
        with progress(f"preparing {column}", cells[column].nunique()) as advance:
            columns[column] = prepare(modality, cells[column], schema.train.cache, advance, schema.train.cache_max_gb)
    return Features(columns)


def encoded_targets(schema: Config, manifest: Manifest) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{target: (encoded, how much each row counts)} of the whole table."""
    encoded = {target: head.encode_target(manifest.rows[target]) for target, head in walk(schema.targets)}
    return {target: (values, schema.targets[target].sample_weights(values)) for target, values in encoded.items()}


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
            metrics.setdefault(name, {})[target] = score(head, truth, predicted)
            known, picture = head.known(truth), run.folder / f"answers_{target}_{name}.png"
            title = f"{target}, {known.sum()} {name} rows"
            plots.draw_answers(head, truth[known], predicted[known], title, picture)
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


def _show_results(run: Run) -> None:
    """The figures, and what to do next."""
    metrics = run.metrics
    training, splits = metrics["training"], [name for name in ("test", "valid") if name in metrics]
    rows = [
        (target, metric, *(metrics[split][target].get(metric, "") for split in splits))
        for target in metrics["valid"]
        for metric in metrics["valid"][target]
    ]
    best, epochs, seconds = training["best_epoch"], training["epochs"], training["seconds"]
    title = f"Results of epoch {best}, the best of {epochs}, after {seconds:.0f} s"
    show_table(title, ("target", "metric", *(f"{split} rows" for split in splits)), rows)
    commands = {
        f"mmkeras evaluate {run.folder} --baselines": "in detail, beside simpler models",
        f"mmkeras report {run.folder}": "one page to look at: results, explanations, rows",
        f"mmkeras predict {run.folder} TABLE -o answers.csv": "answers for the rows of a table",
        f"mmkeras export {run.folder} my_model": "a SavedModel that takes raw rows",
    }
    width = max(map(len, commands))
    say("Next:\n" + "\n".join(f"  {command:<{width}}  {purpose}" for command, purpose in commands.items()))


if __name__ == "__main__":
    run_command(train)
