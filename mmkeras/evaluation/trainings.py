"""Fusions compared on the same folds: which trainings there are, and what each is judged by."""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.files import holds_more_than, write_atomically
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say, silence
from mmkeras.base.words import count_of, duration, words
from mmkeras.contracts.config import Config, build, parse_config
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.registry import find, layer_name, members, nearest
from mmkeras.contracts.scorer import Scorer
from mmkeras.evaluation.baselines import calibrated, classical
from mmkeras.evaluation.rows import rows_of
from mmkeras.features.fitted import Fitted, fit_schema, prepare_rows, without_bad_rows
from mmkeras.table import bad_rows
from mmkeras.table.manifest import Manifest, table_hash
from mmkeras.table.plan import Plan, check_learnable, check_rows, checked, strata, warn_of_leaks
from mmkeras.table.splits import UNUSED, fold_rows, write_splits
from mmkeras.training.run import Run
from mmkeras.training.trainer import train_plan

pd = lazy("pandas")
keras = lazy("keras")


CLASSICAL_FILE = "classical.npz"


@dataclass(frozen=True)
class Fold:
    """One way to deal the rows.

    Attributes:
        folder: Where its runs lie.
        plan: Its config is not fitted; which rows train, choose and judge.
    """

    folder: Path
    plan: Plan

    def rows(self, name: str) -> np.ndarray:
        """(N,) bool: the rows of a split that no bad cell drops; models are compared on those of "test"."""
        split = self.plan.split
        return (bad_rows.in_use(split, self.folder) if self.is_begun else split).to_numpy() == name

    @property
    def is_begun(self) -> bool:
        return (self.folder / run_files.SCHEMA).is_file()

    @property
    def schema(self) -> Config:
        """The config whose columns and heads know the rows that train."""
        return parse_config(json.loads((self.folder / run_files.SCHEMA).read_text(encoding="utf-8")), run_files.SCHEMA)


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
        return (self.folder / run_files.METRICS).is_file()


@dataclass(frozen=True)
class Judged:
    """What one model, trained once, says of a fold's judged rows.

    Attributes:
        model: Its name in the table.
        fold: From 0.
        scorers: {target: its scorer, with what it learned from the validation rows}.
        predictions: {target: (R, P)}.
        valid: {target: its figure on the validation rows}, where it is a network.
        weights: How many numbers it has learned; None for a classical model.
        seconds: Of training; None for a classical model.
    """

    model: str
    fold: int
    scorers: Mapping[str, Scorer]
    predictions: Mapping[str, np.ndarray]
    valid: Mapping[str, float]
    weights: int | None = None
    seconds: float | None = None

    @property
    def is_network(self) -> bool:
        return self.weights is not None


# What is compared


def variants_of(config: Config, fusions: str, alone: bool) -> dict[str, Config]:
    """{name: config}: a network for each fusion, and one for each column alone."""
    variants = {}
    for name, fusion in _asked_fusions(config, fusions).items():
        try:
            fusion.check(list(config.columns), config.targets)
        except ValueError as error:
            if fusions != "all":
                raise
            say(f"{name} is left out: {error}")
            continue
        variants[name] = config.model_copy(update={"fusion": fusion})
    if alone and len(config.columns) > 1:
        for column in sorted(config.columns):
            variants[f"{column} alone"] = config.alone(column)
    return variants


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
    shared = {key: value for key, value in set_by_hand(asked).items() if key in other.model_fields}
    return build("fusion", {"type": name} | shared, f"fusion {name}")


def set_by_hand(fusion: Fusion) -> dict[str, Any]:
    return {key: value for key, value in fusion.settings().items() if key in fusion.model_fields_set}


def folds_of(config: Config, manifest: Manifest, folder: Path, folds: int) -> list[Fold]:
    """The rows dealt, and all that can be wrong with them told before anything is trained."""
    if folds == 1:
        own = checked(config, manifest, folder)
        if not own.rows("test").any():
            raise ValueError("--folds 1 judges on the config's test rows, and there are none; ask for more folds")
        return [Fold(folder / "fold-1", own)]
    splits = fold_rows(
        manifest,
        folds,
        column=config.split.column,
        fractions=(config.split.train, config.split.valid, config.split.test),
        group=config.split.group,
        target=strata(config, manifest),
        seed=config.split.seed,
    )
    plans = [Plan(config, manifest, split) for split in splits]
    # A fold may lack a class of few rows: what is refused is what no fold can have.
    all_train = plans[0].of_split(splits[0].where(splits[0] == UNUSED, "train"))
    check_learnable(all_train)
    check_rows(all_train, folder)
    warn_of_leaks(plans[0])
    return [Fold(folder / f"fold-{number}", plan) for number, plan in enumerate(plans, start=1)]


def claim(folder: Path, folds: Sequence[Fold]) -> None:
    """Keeps two comparisons from sharing a folder."""
    plan = folds[0].plan
    wanted = f"# {len(folds)} folds of a table with the hash {table_hash(plan.manifest)}\n{plan.config.to_yaml()}"
    file = folder / run_files.CONFIG
    if folder.exists() and not file.is_file() and (not folder.is_dir() or holds_more_than(run_files.BAD_ROWS, folder)):
        raise ValueError(f"{folder}: exists and is no comparison; choose another --out or delete it")
    if file.is_file() and (known := file.read_text(encoding="utf-8")) != wanted:
        what = _difference(known, wanted)
        raise ValueError(f"{folder}: holds a comparison {what}; choose another --out, or delete the folder")
    for fold in folds:
        held = fold.folder / run_files.SPLITS
        if held.is_file() and pd.read_csv(held, dtype=str)["split"].tolist() != fold.plan.split.tolist():
            raise ValueError(
                f"{folder}: its rows were dealt otherwise, by another version of mmkeras or scikit-learn; "
                "choose another --out, or delete the folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, wanted)


def _difference(known: str, wanted: str) -> str:
    pattern = re.compile(r"# (?P<folds>\d+) folds of a table with the hash (?P<table>\w+)\n")
    here, there = pattern.match(known), pattern.match(wanted)
    if not here:
        return "of another kind, or a training"
    if here["folds"] != there["folds"]:
        return f"over {here['folds']} folds, not {there['folds']}"
    return "of other rows: the table has changed" if here["table"] != there["table"] else "with another config"


def trainings_of(variants: Mapping[str, Config], folds: Sequence[Fold], seeds: int) -> list[Training]:
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


def judge_trainings(
    trainings: Sequence[Training], folds: Sequence[Fold], baselines: bool, deadline: float
) -> Iterator[Judged]:
    """Every model on every fold, as far as time allows."""
    progress = _Progress(trainings)
    for number, fold in enumerate(folds):
        fitted = None  # one fold's features at a time
        for training in (each for each in trainings if each.fold == number):
            is_new = not training.is_done
            if is_new and time.monotonic() > deadline:
                continue
            if is_new:
                fitted = fitted or _fitted(fold)
                _train(training, fitted)
            yield _judged_run(training)
            if is_new:
                progress.say(training)
        is_there = (fold.folder / CLASSICAL_FILE).is_file()
        if baselines and fold.is_begun and (is_there or time.monotonic() <= deadline):
            yield from _judged_classical(fold, number)


def _fitted(fold: Fold) -> Fitted:
    """What all trainings on a fold share, made once."""
    fold.folder.mkdir(parents=True, exist_ok=True)
    write_splits(fold.folder / run_files.SPLITS, fold.plan.split)
    plan = fold.plan.of_config(fit_schema(fold.plan))
    fitted = without_bad_rows(plan, prepare_rows(plan, fold.folder), fold.folder)
    write_atomically(fold.folder / run_files.SCHEMA, fitted.plan.config.model_dump_json())
    return fitted


def _train(training: Training, fitted: Fitted) -> None:
    keras.backend.clear_session()  # or a hundred models stay in memory
    with silence():
        train_plan(fitted.plan.of_config(training.config), training.folder, known=fitted)


def _judged_run(training: Training) -> Judged:
    run = Run(training.folder)
    metrics, schema = run.metrics, run.schema
    if (run.folder / run_files.CONFIG).read_text(encoding="utf-8") != training.config.to_yaml():
        raise ValueError(f"{run.folder}: was trained with other settings, by another version of mmkeras; delete it")
    predictions = {key.removeprefix("test "): said for key, said in run.predictions.items() if key.startswith("test ")}
    valid = {target: next(iter(scores.values())) for target, scores in metrics["valid"].items() if scores}
    scorers = {target: head.scorer for target, head in schema.targets.items()}
    weights, seconds = metrics["training"]["weights"], metrics["training"]["seconds"]
    return Judged(training.model, training.fold, scorers, predictions, valid, weights, seconds)


def _judged_classical(fold: Fold, number: int) -> Iterator[Judged]:
    """The classical models of a fold, which learn from the validation rows as those of networks do."""
    file, schema = fold.folder / CLASSICAL_FILE, fold.schema
    if not file.is_file():
        _train_classical(fold, schema, file)
        say(f"fold {number + 1}: classical models are trained")
    chosen = rows_of(fold.plan.manifest, fold.rows("valid")).rows
    truth = {target: head.encode_target(chosen[target]) for target, head in schema.targets.items()}
    scorers: dict[str, dict[str, Scorer]] = {}
    predictions: dict[str, dict[str, np.ndarray]] = {}
    with np.load(file, allow_pickle=False) as held:
        for key in [key for key in held if key.count("\n") == 1]:
            target, name = key.split("\n")
            head, valid = schema.targets[target], f"{key}\nvalid"
            own = calibrated(head, truth[target], held[valid], held[key]) if valid in held else (head.scorer, held[key])
            scorers.setdefault(name, {})[target], predictions.setdefault(name, {})[target] = own
    yield from (Judged(name, number, scorers[name], predictions[name], {}) for name in scorers)


def _train_classical(fold: Fold, schema: Config, file: Path) -> None:
    trained, chosen, judged = (rows_of(fold.plan.manifest, fold.rows(name)) for name in ("train", "valid", "test"))
    arrays = {}
    for target, models in classical(schema, trained, [chosen, judged]).items():
        for model, (valid, test) in models.items():
            key = f"{target}\n{model.words}"
            arrays |= {key: test, f"{key}\nvalid": valid}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    temporary = file.with_suffix(".part")
    temporary.write_bytes(stream.getvalue())
    os.replace(temporary, file)


def say_plan(trainings: Sequence[Training], folder: Path) -> None:
    done = sum(training.is_done for training in trainings)
    models, folds, seeds = (len({getattr(t, name) for t in trainings}) for name in ("model", "fold", "seed"))
    sizes = [count_of(models, "network"), count_of(folds, "fold"), count_of(seeds, "seed")]
    text = f"{', '.join(sizes)}: {len(trainings)} trainings"
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
            f"{target} {words(metric)} {value:.3f}"
            for target, scores in metrics["test"].items()
            for metric, value in list(scores.items())[:1]
        )
        place = f"fold {training.fold + 1}, seed {training.seed}"
        left = f"; about {duration(seconds)} to go" if self.done < self.total else ""
        took = metrics["training"]["seconds"]
        say(f"{self.done} of {self.total}: {training.model}, {place}: {figures} after {took:.0f} s{left}")
