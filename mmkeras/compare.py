"""Finds out which fusion suits a table: `python -m mmkeras.compare`, `mmkeras compare` or the function `compare`.

Every way to join the columns, each column alone and classical models are trained on the same rows, fold by fold and
seed by seed, and judged on the same others. What is finished is kept: the same command goes on where it was stopped.

compare-NAME/
    config.yaml              what is compared
    fold-1/splits.csv        which rows train, choose and judge
    fold-1/schema.json       what columns and heads learned from the rows that train
    fold-1/MODEL/seed-0/     a run folder
    fold-1/classical.npz     the classical models' predictions of the judged and of the validation rows
    comparison.csv           one row a model and target: mean, deviation, interval, difference, weights, seconds
    comparison_TARGET.png    the same as a picture
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from mmkeras import bad_rows, plots
from mmkeras.baselines import calibrated, classical, rows_of
from mmkeras.component import Fusion, Head, find, layer_name, members, nearest, walk
from mmkeras.config import Config, build, parse_config, read_config
from mmkeras.lazy import lazy
from mmkeras.manifest import Manifest, read_table
from mmkeras.run import Run, holds_more_than, run_name, table_hash, write_atomically
from mmkeras.splits import UNUSED, fold_rows, units_of, write_splits
from mmkeras.statistics import interval, resample_weights
from mmkeras.terminal import console, run_command, say, show_table, silence, warn
from mmkeras.train import (
    Prepared,
    check,
    check_columns,
    check_rows,
    fit_schema,
    prepare_rows,
    strata,
    train_config,
    warn_of_leaks,
    without_bad_rows,
)

keras = lazy("keras")

CLASSICAL_FILE = "classical.npz"
COLUMNS = (
    "target",
    "metric",
    "model",
    "mean",
    "deviation",
    "low",
    "high",
    "verdict",
    "difference",
    "difference_low",
    "difference_high",
    "valid",
    "weights",
    "seconds",
    "runs",
)
WIDE_COLUMNS = 110  # a terminal that shows every column of the table


@dataclass(frozen=True)
class Fold:
    """One way to deal the rows.

    Attributes:
        folder: Where its runs lie.
        split: Of each row.
    """

    folder: Path
    split: pd.Series

    def rows(self, name: str) -> np.ndarray:
        """(N,) bool: the rows of a split that no bad cell drops; models are compared on those of "test"."""
        split = bad_rows.in_use(self.split, self.folder) if self.is_begun else self.split
        return (split == name).to_numpy()

    @property
    def is_begun(self) -> bool:
        return (self.folder / "schema.json").is_file()

    @property
    def schema(self) -> Config:
        """The config whose columns and heads know the rows that train."""
        return parse_config(json.loads((self.folder / "schema.json").read_text(encoding="utf-8")), "schema.json")


@dataclass(frozen=True)
class Training:
    """One model on one fold with one seed.

    Attributes:
        model: Its name in the table.
        fold: From 0.
        seed: From 0.
        config: Not fitted.
        folder: Of its run.
    """

    model: str
    fold: int
    seed: int
    config: Config
    folder: Path

    @property
    def is_done(self) -> bool:
        return (self.folder / "metrics.json").is_file()


@dataclass(frozen=True)
class Judged:
    """What one model, trained once, says of a fold's judged rows.

    Attributes:
        model: Its name in the table.
        fold: From 0.
        heads: {target: its head, with what it learned from the validation rows}.
        predictions: {target: (R, P)}.
        valid: {target: its figure on the validation rows}, where it is a network.
        weights: How many numbers it has learned; None for a classical model.
        seconds: Of training; None for a classical model.
    """

    model: str
    fold: int
    heads: Mapping[str, Head]
    predictions: Mapping[str, np.ndarray]
    valid: Mapping[str, float]
    weights: int | None = None
    seconds: float | None = None

    @property
    def is_network(self) -> bool:
        return self.weights is not None


Cells = Mapping[str, Mapping[int, np.ndarray]]
"""{model: {fold: (S, 1 + RESAMPLES) figures of its trainings}}: on the judged rows, then on each resample of them."""


def compare(
    config: Annotated[Any, typer.Argument(parser=str, help="A config (.yaml).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that win, such as train.epochs=3.")
    ] = None,
    *,
    fusions: Annotated[str, typer.Option(help="Which fusions, with commas between; all: every one.")] = "all",
    folds: Annotated[
        int,
        typer.Option(min=1, help="Cross-validation over so many; 1: the config's own split, whose test rows judge."),
    ] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each model on each fold.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no training after so many minutes; the same command goes on.")
    ] = None,
    alone: Annotated[bool, typer.Option(help="Also train the network on each column alone.")] = True,
    baselines: Annotated[bool, typer.Option(help="Also train classical models.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="The folder of results. Default: runs/compare-NAME.", show_default=False)
    ] = None,
) -> pd.DataFrame:
    """Trains every fusion, each column alone and classical models on the same rows, and says which is better.

    **Examples**

    `python -m mmkeras.compare config.yaml --folds 5 --seeds 2`

    `python -m mmkeras.compare config.yaml --fusions concat,attention --minutes 60`

    Folds keep groups together and every class in proportion; rows that the config's split column keeps for the test
    take no part, unless `--folds 1` asks to train on the config's own split and to judge on its test rows. Intervals
    are those of a bootstrap over the judged rows (whole groups, where the config names groups). A model is `worse`
    where the interval of its difference from the chosen one, on the same resampled rows, leaves zero out.

    The same command goes on where it was stopped; `--minutes 0` shows what is there. Returns the table that it writes
    to `comparison.csv`.
    """
    overrides = list(overrides or [])
    checked = read_config(config, overrides)
    manifest = read_table(checked.manifest, access=checked.access)
    check_columns(checked, manifest)
    variants = _variants(checked, fusions, alone)
    folder = Path(out) if out else Path("runs") / f"compare-{run_name(Path(config))}"
    found_folds = _folds(checked, manifest, folder, folds)
    _claim(folder, checked, manifest, found_folds)
    trainings = _trainings(variants, found_folds, seeds)
    _say_plan(trainings, folder)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    judged = list(_judge(checked, manifest, trainings, found_folds, baselines, deadline))
    if left := sum(not training.is_done for training in trainings):
        say(f"{left} of {len(trainings)} trainings are left; the same command goes on with them")
    if not any(each.is_network for each in judged):
        raise ValueError(f"no training is finished, and {minutes:g} minutes are over; give more of them")
    table = _tabulate(checked, manifest, found_folds, judged)
    write_atomically(folder / "comparison.csv", table.to_csv(index=False))
    for target, part in table.groupby("target", sort=True):
        _show(str(target), part, folder, folds, seeds)
        _say_next(str(target), part, variants, f"mmkeras train {shlex.join([str(config), *overrides])}")
    return table


# What is compared


def _variants(config: Config, fusions: str, alone: bool) -> dict[str, Config]:
    """{name: config}: a network for each fusion, and one for each column alone."""
    found = {}
    for name, fusion in _asked_fusions(config, fusions).items():
        try:
            fusion.check(list(config.columns), config.targets)
        except ValueError as error:
            if fusions != "all":
                raise
            say(f"{name} is left out: {error}")
            continue
        found[name] = config.model_copy(update={"fusion": fusion})
    if alone and len(config.columns) > 1:
        for column, modality in walk(config.columns):
            found[f"{column} alone"] = config.model_copy(update={"columns": {column: modality}})
    return found


def _asked_fusions(config: Config, fusions: str) -> dict[str, Fusion]:
    known = list(dict.fromkeys([*members("fusion"), config.fusion.type_name()]))
    names = known if fusions == "all" else [name.strip() for name in fusions.split(",")]
    for name in names:
        if "." not in name and name not in known:
            raise ValueError(f'--fusions: unknown fusion "{name}"{nearest(name, ["all", *known])}')
    return {name: _fusion(config.fusion, name) for name in names}


def _fusion(asked: Fusion, name: str) -> Fusion:
    """The fusion that the config asks for, or another with the settings that both have and the config sets."""
    if name == asked.type_name():
        return asked
    other = find("fusion", name)
    shared = {key: value for key, value in _set_by_hand(asked).items() if key in other.model_fields}
    return build("fusion", {"type": name} | shared, f"fusion {name}")


def _set_by_hand(fusion: Fusion) -> dict[str, Any]:
    return {key: value for key, value in fusion.settings().items() if key in fusion.model_fields_set}


def _folds(config: Config, manifest: Manifest, folder: Path, folds: int) -> list[Fold]:
    """The rows dealt, and all that can be wrong with them told before anything is trained."""
    if folds == 1:
        own_split = check(config, manifest, folder)
        if not (own_split == "test").any():
            raise ValueError("--folds 1 judges on the config's test rows, and there are none; ask for more folds")
        return [Fold(folder / "fold-1", own_split)]
    splits = fold_rows(
        manifest,
        folds,
        column=config.split.column,
        fractions=(config.split.train, config.split.valid, config.split.test),
        group=config.split.group,
        target=strata(config, manifest),
        seed=config.split.seed,
    )
    # A fold may lack a class of few rows: what is refused is what no fold can have.
    check_rows(config, manifest, splits[0].where(splits[0] == UNUSED, "train"), folder)
    warn_of_leaks(config, manifest, splits[0])
    return [Fold(folder / f"fold-{number}", split) for number, split in enumerate(splits, start=1)]


def _claim(folder: Path, config: Config, manifest: Manifest, folds: Sequence[Fold]) -> None:
    """Keeps two comparisons from sharing a folder."""
    wanted = f"# {len(folds)} folds of a table with the hash {table_hash(manifest)}\n{config.to_yaml()}"
    file = folder / "config.yaml"
    if folder.exists() and not file.is_file() and (not folder.is_dir() or holds_more_than(bad_rows.FILE, folder)):
        raise ValueError(f"{folder}: exists and is no comparison; choose another --out or delete it")
    if file.is_file() and (found := file.read_text(encoding="utf-8")) != wanted:
        what = _difference(found, wanted)
        raise ValueError(f"{folder}: holds a comparison {what}; choose another --out, or delete the folder")
    for fold in folds:
        held = fold.folder / "splits.csv"
        if held.is_file() and pd.read_csv(held, dtype=str)["split"].tolist() != fold.split.tolist():
            raise ValueError(
                f"{folder}: its rows were dealt otherwise, by another version of mmkeras or scikit-learn; "
                "choose another --out, or delete the folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, wanted)


def _difference(found: str, wanted: str) -> str:
    pattern = re.compile(r"# (?P<folds>\d+) folds of a table with the hash (?P<table>\w+)\n")
    here, there = pattern.match(found), pattern.match(wanted)
    if not here:
        return "of another kind, or a training"
    if here["folds"] != there["folds"]:
        return f"over {here['folds']} folds, not {there['folds']}"
    return "of other rows: the table has changed" if here["table"] != there["table"] else "with another config"


def _trainings(variants: Mapping[str, Config], folds: Sequence[Fold], seeds: int) -> list[Training]:
    """All models once before any a second time, so that a short budget compares them all."""
    columns = {f"{column} alone": column for config in variants.values() for column in config.columns}
    places = {name: f"{layer_name(columns[name])}-alone" if name in columns else name for name in variants}
    return [
        Training(name, number, seed, _seeded(config, seed), fold.folder / places[name] / f"seed-{seed}")
        for number, fold in enumerate(folds)
        for seed in range(seeds)
        for name, config in variants.items()
    ]


def _seeded(config: Config, seed: int) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})


# Training


def _judge(
    config: Config,
    manifest: Manifest,
    trainings: Sequence[Training],
    folds: Sequence[Fold],
    baselines: bool,
    deadline: float,
) -> Iterator[Judged]:
    """Every model on every fold, as far as time allows."""
    progress = _Progress(trainings)
    for number, fold in enumerate(folds):
        prepared = None  # one fold's features at a time
        for training in (each for each in trainings if each.fold == number):
            is_new = not training.is_done
            if is_new and time.monotonic() > deadline:
                continue
            if is_new:
                prepared = prepared or _prepare(config, manifest, fold)
                _train(training, manifest, prepared)
            yield _judged_run(training)
            if is_new:
                progress.say(training)
        is_there = (fold.folder / CLASSICAL_FILE).is_file()
        if baselines and fold.is_begun and (is_there or time.monotonic() <= deadline):
            yield from _judged_classical(manifest, fold, number)


def _prepare(config: Config, manifest: Manifest, fold: Fold) -> Prepared:
    """What all trainings on a fold share, made once."""
    fold.folder.mkdir(parents=True, exist_ok=True)
    write_splits(fold.folder / "splits.csv", manifest, fold.split)
    schema = fit_schema(config, manifest, fold.split)
    features = prepare_rows(schema, manifest, fold.folder)
    prepared = without_bad_rows(schema, manifest, fold.split, features, fold.folder)
    write_atomically(fold.folder / "schema.json", prepared.schema.model_dump_json())
    return prepared


def _train(training: Training, manifest: Manifest, prepared: Prepared) -> None:
    keras.backend.clear_session()  # or a hundred models stay in memory
    with silence():
        train_config(training.config, manifest, training.folder, prepared=prepared)


def _judged_run(training: Training) -> Judged:
    run = Run(training.folder)
    metrics, schema = run.metrics, run.schema
    if (run.folder / "config.yaml").read_text(encoding="utf-8") != training.config.to_yaml():
        raise ValueError(f"{run.folder}: was trained with other settings, by another version of mmkeras; delete it")
    predictions = {
        key.removeprefix("test "): found for key, found in run.predictions.items() if key.startswith("test ")
    }
    valid = {target: next(iter(scores.values())) for target, scores in metrics["valid"].items() if scores}
    weights, seconds = metrics["training"]["weights"], metrics["training"]["seconds"]
    return Judged(training.model, training.fold, schema.targets, predictions, valid, weights, seconds)


def _judged_classical(manifest: Manifest, fold: Fold, number: int) -> Iterator[Judged]:
    """The classical models of a fold, whose heads learn from the validation rows as those of networks do."""
    file, schema = fold.folder / CLASSICAL_FILE, fold.schema
    if not file.is_file():
        _train_classical(manifest, fold, schema, file)
        say(f"fold {number + 1}: classical models are trained")
    chosen = rows_of(manifest, fold.rows("valid")).rows
    truth = {target: head.encode_target(chosen[target]) for target, head in schema.targets.items()}
    heads: dict[str, dict[str, Head]] = {}
    predictions: dict[str, dict[str, np.ndarray]] = {}
    with np.load(file, allow_pickle=False) as held:
        for key in [key for key in held if key.count("\n") == 1]:
            target, name = key.split("\n")
            head, valid = schema.targets[target], f"{key}\nvalid"
            own = calibrated(head, truth[target], held[valid], held[key]) if valid in held else (head, held[key])
            heads.setdefault(name, {})[target], predictions.setdefault(name, {})[target] = own
    yield from (Judged(name, number, heads[name], predictions[name], {}) for name in heads)


def _train_classical(manifest: Manifest, fold: Fold, schema: Config, file: Path) -> None:
    trained, chosen, judged = (rows_of(manifest, fold.rows(name)) for name in ("train", "valid", "test"))
    arrays = {}
    for target, models in classical(schema, trained, [chosen, judged]).items():
        for name, (valid, test) in models.items():
            arrays |= {f"{target}\n{name}": test, f"{target}\n{name}\nvalid": valid}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    temporary = file.with_suffix(".part")
    temporary.write_bytes(stream.getvalue())
    os.replace(temporary, file)


def _say_plan(trainings: Sequence[Training], folder: Path) -> None:
    done = sum(training.is_done for training in trainings)
    models, folds, seeds = (len({getattr(t, name) for t in trainings}) for name in ("model", "fold", "seed"))
    text = f"{_count(models, 'network')}, {_count(folds, 'fold')}, {_count(seeds, 'seed')}: {len(trainings)} trainings"
    say(f"{text}{f', {done} of them finished already' if done else ''}; results in {folder}")


class _Progress:
    """Says after each training how it went, and how long the others will take if they are as quick."""

    def __init__(self, trainings: Sequence[Training]):
        self.total, self.done = len(trainings), sum(training.is_done for training in trainings)
        self.started, self.already = time.monotonic(), self.done

    def say(self, training: Training) -> None:
        self.done += 1
        seconds = (time.monotonic() - self.started) / (self.done - self.already) * (self.total - self.done)
        metrics = Run(training.folder).metrics
        figures = ", ".join(
            f"{target} {_words(metric)} {value:.3f}"
            for target, scores in metrics["test"].items()
            for metric, value in list(scores.items())[:1]
        )
        place = f"fold {training.fold + 1}, seed {training.seed}"
        left = f"; about {_duration(seconds)} to go" if self.done < self.total else ""
        took = metrics["training"]["seconds"]
        say(f"{self.done} of {self.total}: {training.model}, {place}: {figures} after {took:.0f} s{left}")


# Judging


def _tabulate(config: Config, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]) -> pd.DataFrame:
    tables = [_tabulate_target(target, config, manifest, folds, judged) for target in sorted(config.targets)]
    return pd.concat([table for table in tables if table is not None], ignore_index=True)


def _tabulate_target(
    target: str, config: Config, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]
) -> pd.DataFrame | None:
    """One row a model, the best first; None where no judged row has the target."""
    cells: dict[str, dict[int, np.ndarray]] = {}
    for number, fold in enumerate(folds):
        of_fold = [each for each in judged if each.fold == number]
        for model, values in _figures(target, manifest, fold, of_fold, config.split.group, seed=number).items():
            cells.setdefault(model, {})[number] = values
    if not cells:
        warn(f'no judged row has a "{target}"; it is left out')
        return None
    networks = {each.model for each in judged if each.is_network}
    cells = _fair(cells, networks, target)
    rows = [_row(model, [j for j in judged if j.model == model], target, found) for model, found in cells.items()]
    table = pd.DataFrame(rows).sort_values("mean", ascending=False, kind="stable", ignore_index=True)
    chosen = _choose(table[table["model"].isin(networks)], "mean" if len(folds) > 1 else "valid")
    against = pd.DataFrame([_against(cells[model], cells[chosen], model == chosen) for model in table["model"]])
    table = pd.concat([table, against], axis=1)
    table.insert(0, "metric", next(iter(_score_of(target, manifest, folds, judged))))
    table.insert(0, "target", target)
    return table.reindex(columns=COLUMNS).astype({"weights": "Int64"})


def _figures(
    target: str, manifest: Manifest, fold: Fold, judged: Sequence[Judged], group: str | None, seed: int
) -> dict[str, np.ndarray]:
    """{model: (S, 1 + RESAMPLES)}: a fold's figures on its judged rows, then on resamples, the same for all models."""
    if not judged:
        return {}
    head, is_judged = fold.schema.targets[target], fold.rows("test")
    truth = head.encode_target(manifest.rows[target][is_judged])
    known = np.flatnonzero(head.known(truth))
    if not len(known):
        return {}
    units = units_of(manifest, group)[is_judged][known]
    parts: list[list[np.ndarray]] = [[] for _ in judged]
    for weights in (np.ones((1, len(known))), *resample_weights(units, seed)):
        for part, each in zip(parts, judged, strict=True):
            own_head, said = each.heads[target], each.predictions[target][known]
            part.append(next(iter(own_head.resampled(truth[known], said, weights, first_only=True).values())))
    found: dict[str, list[np.ndarray]] = {}
    for part, each in zip(parts, judged, strict=True):
        found.setdefault(each.model, []).append(np.concatenate(part))
    return {model: np.array(values) for model, values in found.items()}


def _score_of(target: str, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]) -> dict[str, float]:
    """The figures of the first training that has any; the first of them is what models are compared by."""
    for each in judged:
        head, values = each.heads[target], manifest.rows[target][folds[each.fold].rows("test")]
        truth = head.encode_target(values)
        known = head.known(truth)
        if known.any():
            return head.score(truth[known], each.predictions[target][known])
    return {}


def _fair(cells: Cells, networks: Collection[str], target: str) -> Cells:
    """The folds in which every network is trained already: figures of other rows would not compare."""
    known = [set(found) for model, found in cells.items() if model in networks]
    shared = set.intersection(*known)
    if not shared or shared == set.union(*known):
        return cells
    warn(f"{target}: shown is what {_count(len(shared), 'fold')} say in which all these networks are trained already")
    kept = {model: {i: values for i, values in found.items() if i in shared} for model, found in cells.items()}
    return {model: found for model, found in kept.items() if found}


def _row(model: str, judged: Sequence[Judged], target: str, cells: Mapping[int, np.ndarray]) -> dict[str, Any]:
    values, runs = _over_folds(cells), np.concatenate([found[:, 0] for found in cells.values()])
    low, high = interval(values[1:])
    networks = [each for each in judged if each.is_network]
    valid = [each.valid[target] for each in networks if target in each.valid]
    return {
        "model": model,
        "mean": values[0],
        "deviation": runs.std(ddof=1) if len(runs) > 1 else np.nan,
        "low": low,
        "high": high,
        "valid": np.mean(valid) if valid else np.nan,
        "weights": max(each.weights for each in networks) if networks else pd.NA,
        "seconds": np.mean([each.seconds for each in networks]) if networks else np.nan,
        "runs": len(runs),
    }


def _over_folds(cells: Mapping[int, np.ndarray], folds: Collection[int] | None = None) -> np.ndarray:
    """(1 + RESAMPLES,) means over folds of means over seeds."""
    return np.mean([values.mean(axis=0) for i, values in cells.items() if folds is None or i in folds], axis=0)


def _choose(networks: pd.DataFrame, by: str) -> str:
    """The network to take: by the rows judged in a cross-validation, else by validation rows, never by a test."""
    figures = networks[by] if networks[by].notna().any() else networks["mean"]
    return networks.loc[figures.idxmax(), "model"]


def _against(cells: Mapping[int, np.ndarray], chosen: Mapping[int, np.ndarray], is_chosen: bool) -> dict[str, Any]:
    """Better, worse or tied, by the interval of the difference on the same resampled rows of the same folds."""
    common = cells.keys() & chosen.keys()
    if is_chosen or not common:
        return {"verdict": "chosen" if is_chosen else ""}
    difference = _over_folds(cells, common) - _over_folds(chosen, common)
    low, high = interval(difference[1:])
    verdict = "worse" if high < 0 else "better" if low > 0 else "tied"
    return {"verdict": verdict, "difference": difference[0], "difference_low": low, "difference_high": high}


# What a person sees


def _show(target: str, part: pd.DataFrame, folder: Path, folds: int, seeds: int) -> None:
    metric = _words(part["metric"].iloc[0])
    where = "the test rows" if folds == 1 else _count(folds, "fold")
    title = f"{target}: {metric} on {where}, {_count(seeds, 'seed')}"
    header, rows = _lines(part, metric, folds)
    show_table(title, header, rows)
    say(
        f"chosen: the best network{' on the validation rows' * (folds == 1)}; better, worse: than the chosen one, by "
        "the 95 % interval of the difference; tied: that interval holds 0"
    )
    picture = folder / f"comparison_{target}.png"
    plots.draw_comparison(
        part["model"].tolist(),
        part["mean"].to_numpy(),
        part[["low", "high"]].to_numpy(),
        part["verdict"].tolist(),
        metric,
        f"{title}\nmean and 95 % interval",
        picture,
    )
    say(f"table: {folder / 'comparison.csv'}; picture: {picture}")


def _lines(part: pd.DataFrame, metric: str, folds: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """The header and the rows of the table that is shown; a narrow terminal gets the columns that matter most."""
    is_wide = console.width >= WIDE_COLUMNS
    between = " to " if is_wide else "…"
    shown = {
        "model": part["model"],
        metric: [f"{value:.3f}" for value in part["mean"]],
        "95 %": [_range(*pair, "", between) for pair in part[["low", "high"]].to_numpy()],
        "beside the chosen": [_mark(row, between) for _, row in part.iterrows()],
    }
    if folds == 1:
        shown["validation"] = [_number(value, ".3f") for value in part["valid"]]
    if is_wide:
        if part["runs"].max() > 1:
            shown["deviation"] = [_number(value, ".3f") for value in part["deviation"]]
        shown["weights"] = [_number(value, ",.0f") for value in part["weights"]]
        shown["seconds"] = [_number(value, ".0f") for value in part["seconds"]]
    return list(shown), list(zip(*shown.values(), strict=True))


def _mark(row: pd.Series, between: str) -> str:
    if row["verdict"] in ("chosen", ""):
        return row["verdict"]
    return f"{row['verdict']:<6} {_range(row['difference_low'], row['difference_high'], '+', between)}"


def _range(low: float, high: float, sign: str, between: str) -> str:
    return f"{low:{sign}.3f}{between}{high:{sign}.3f}"


def _number(value: Any, style: str) -> str:
    return "" if pd.isna(value) else f"{value:{style}}"


def _say_next(target: str, part: pd.DataFrame, variants: Mapping[str, Config], command: str) -> None:
    """What to do with it, and what speaks against it."""
    chosen = part[part["verdict"] == "chosen"].iloc[0]
    variant, name = variants.get(chosen["model"]), chosen["model"]
    if variant is None:
        return
    if name.endswith(" alone"):
        [column] = variant.columns
        say(f"Next: {column} alone is as good as all columns: leave the others out, or find out what is wrong in them")
    else:
        settings = [f"fusion.{k}={json.dumps(v)}" for k, v in _set_by_hand(variant.fusion).items() if k != "type"]
        say(f"Next: {command} {shlex.join([f'fusion.type={name}', *settings])}")
    tied = part[(part["verdict"] == "tied") & (part["weights"] < chosen["weights"])]
    if len(tied):
        names = ", ".join(
            f"{model} ({_number(weights, ',.0f')})" for model, weights in tied[["model", "weights"]].values
        )
        say(f"Tied with {name} ({chosen['weights']:,} weights) and smaller: {names}")
    better = part[(part["verdict"] == "better") & part["weights"].isna()]
    if len(better):
        warn(f"{target}: {better['model'].iloc[0]} is better than {name}, the best network")


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return _count(minutes, "minute") if minutes < 90 else f"{seconds / 3600:.1f} hours"


if __name__ == "__main__":
    run_command(compare)
