"""Finds out which fusion suits a table: `python -m mmkeras.compare`, `mmkeras compare` or the function `compare`.

Every way to join the columns, each column alone and classical models are trained on the same rows, fold by fold and
seed by seed, and judged on the same others. What is finished is kept: the same command goes on where it was stopped.

compare-NAME/
    config.yaml              what is compared
    fold-1/splits.csv        which rows train, choose and judge
    fold-1/schema.json       what columns and heads learned from the rows that train
    fold-1/MODEL/seed-0/     a run folder
    fold-1/classical.npz     the classical models' predictions of the judged rows
    comparison.csv           one row a model and target: mean, deviation, interval, weights, seconds
    comparison_TARGET.png    the same as a picture
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from mmkeras import plots
from mmkeras.component import Fusion, Head, find, members, nearest, walk
from mmkeras.config import Config, build, parse_config, read_config
from mmkeras.evaluate import classical, rows_of
from mmkeras.lazy import lazy
from mmkeras.manifest import Manifest, read_table
from mmkeras.run import Run, run_name, table_hash, write_atomically
from mmkeras.splits import fold_rows, write_splits
from mmkeras.terminal import run_command, say, show_table, silence
from mmkeras.train import Prepared, check, fit_schema, prepare_rows, strata, train_config

keras = lazy("keras")

RESAMPLES = 1000
CONFIDENCE = 0.95
CLASSICAL_FILE = "classical.npz"
HEADER = {
    "model": "model",
    "mean": "mean",
    "deviation": "deviation",
    "low": "95 % from",
    "high": "to",
    "against_best": "beside the best",
    "valid": "validation",
    "weights": "weights",
    "seconds": "seconds",
    "runs": "runs",
}


@dataclass(frozen=True)
class Fold:
    """One way to deal the rows.

    Attributes:
        folder: Where its runs lie.
        split: Of each row.
    """

    folder: Path
    split: pd.Series

    @property
    def judged(self) -> np.ndarray:
        """(N,) bool: the rows that models are compared on."""
        return (self.split == "test").to_numpy()

    @property
    def schema(self) -> Config:
        """The config whose columns and heads know the rows that train."""
        return parse_config(json.loads((self.folder / "schema.json").read_text(encoding="utf-8")), "schema.json")


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
    where the interval of its difference from the best one, on the same resampled rows, leaves zero out.

    The same command goes on where it was stopped. Returns the table that it writes to `comparison.csv`.
    """
    checked = read_config(config, list(overrides or []))
    manifest = read_table(checked.manifest)
    variants = _variants(checked, fusions, alone)
    with silence() if folds > 1 else contextlib.nullcontext():  # leaks of a split that is not used
        own_split = check(checked, manifest)
    folder = Path(out) if out else Path("runs") / f"compare-{run_name(Path(config))}"
    found_folds = _folds(checked, manifest, folder, folds, own_split)
    _claim(folder, checked, manifest, folds)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    judged = list(_judge(checked, manifest, variants, found_folds, seeds, baselines, deadline))
    if not judged:
        raise ValueError(f"no training was finished in {minutes:g} minutes; give more of them")
    table = _tabulate(checked, manifest, found_folds, judged)
    table.to_csv(folder / "comparison.csv", index=False)
    _show(checked, table, folder, folds, seeds)
    return table


# What is compared


def _variants(config: Config, fusions: str, alone: bool) -> dict[str, Config]:
    """{name: config}: a network for each fusion, and one for each column alone."""
    names = members("fusion") if fusions == "all" else [name.strip() for name in fusions.split(",")]
    for name in names:
        if "." not in name and name not in members("fusion"):
            raise ValueError(f'--fusions: unknown fusion "{name}"{nearest(name, members("fusion"))}')
    found = {name: config.model_copy(update={"fusion": _fusion(config.fusion, name)}) for name in names}
    for variant in found.values():
        variant.fusion.check(list(config.columns), config.targets)
    if alone and len(config.columns) > 1:
        for column, modality in walk(config.columns):
            found[f"{column} alone"] = config.model_copy(update={"columns": {column: modality}})
    return found


def _fusion(asked: Fusion, name: str) -> Fusion:
    """The fusion that the config asks for, or another with the settings that both have and the config sets."""
    if name == asked.type_name():
        return asked
    other = find("fusion", name)
    shared = {key: value for key, value in asked.settings().items() if key in asked.model_fields_set}
    return build(
        "fusion", {"type": name} | {k: v for k, v in shared.items() if k in other.model_fields}, f"fusion {name}"
    )


def _folds(config: Config, manifest: Manifest, folder: Path, folds: int, own_split: pd.Series) -> list[Fold]:
    if folds == 1:
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
    return [Fold(folder / f"fold-{number}", split) for number, split in enumerate(splits, start=1)]


def _claim(folder: Path, config: Config, manifest: Manifest, folds: int) -> None:
    """Keeps two comparisons from sharing a folder."""
    wanted = f"# {folds} folds of a table with the hash {table_hash(manifest)}\n{config.to_yaml()}"
    file = folder / "config.yaml"
    if file.is_file() and file.read_text(encoding="utf-8") != wanted:
        raise ValueError(f"{folder}: holds a comparison of another config or table; choose another --out or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, wanted)


# Training


def _judge(
    config: Config,
    manifest: Manifest,
    variants: Mapping[str, Config],
    folds: Sequence[Fold],
    seeds: int,
    baselines: bool,
    deadline: float,
) -> Iterator[Judged]:
    """Every model on every fold; all models once before any a second time, so that a short budget compares them all."""
    total, done, started = len(variants) * len(folds) * seeds, 0, time.monotonic()
    prepared: dict[int, Prepared] = {}
    for number, fold in enumerate(folds):
        for seed in range(seeds):
            for name, variant in variants.items():
                run_folder = fold.folder / name.replace(" ", "-") / f"seed-{seed}"
                is_there = (run_folder / "metrics.json").is_file()
                if not is_there and time.monotonic() > deadline:
                    continue
                if not is_there and number not in prepared:
                    prepared = {number: _prepare(config, manifest, fold)}  # one fold's features at a time
                run = Run(run_folder) if is_there else _train(variant, manifest, run_folder, seed, prepared[number])
                done += 1
                yield _judged_run(name, number, run)
                if not is_there:
                    _say_progress(name, number, seed, run, done, total, time.monotonic() - started)
        is_begun, is_there = (fold.folder / "schema.json").is_file(), (fold.folder / CLASSICAL_FILE).is_file()
        if baselines and is_begun and (is_there or time.monotonic() <= deadline):
            yield from _judged_classical(manifest, fold, number)


def _prepare(config: Config, manifest: Manifest, fold: Fold) -> Prepared:
    """What all trainings on a fold share, made once."""
    fold.folder.mkdir(parents=True, exist_ok=True)
    write_splits(fold.folder / "splits.csv", manifest, fold.split)
    schema = fit_schema(config, manifest, fold.split)
    features = prepare_rows(schema, manifest, fold.folder)
    write_atomically(fold.folder / "schema.json", schema.model_dump_json())
    return Prepared(fold.split, schema, features)


def _train(config: Config, manifest: Manifest, folder: Path, seed: int, prepared: Prepared) -> Run:
    keras.backend.clear_session()  # or a hundred models stay in memory
    seeded = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
    with silence():
        return train_config(seeded, manifest, folder, prepared=prepared)


def _judged_run(name: str, number: int, run: Run) -> Judged:
    metrics = run.metrics
    predictions = {
        key.removeprefix("test "): found for key, found in run.predictions.items() if key.startswith("test ")
    }
    valid = {target: next(iter(scores.values())) for target, scores in metrics["valid"].items() if scores}
    training = metrics["training"]
    return Judged(name, number, run.schema.targets, predictions, valid, training["weights"], training["seconds"])


def _judged_classical(manifest: Manifest, fold: Fold, number: int) -> Iterator[Judged]:
    file, schema = fold.folder / CLASSICAL_FILE, fold.schema
    if not file.is_file():
        trained = rows_of(manifest, (fold.split == "train").to_numpy())
        models = classical(schema, trained, rows_of(manifest, fold.judged))
        np.savez_compressed(
            file, **{f"{target}\n{name}": p for target, each in models.items() for name, p in each.items()}
        )
        say(f"fold {number + 1}: classical models are trained")
    with np.load(file, allow_pickle=False) as held:
        by_model: dict[str, dict[str, np.ndarray]] = {}
        for key, predictions in held.items():
            target, _, name = key.partition("\n")
            by_model.setdefault(name, {})[target] = predictions
    yield from (Judged(name, number, schema.targets, predictions, {}) for name, predictions in by_model.items())


def _say_progress(name: str, fold: int, seed: int, run: Run, done: int, total: int, elapsed: float) -> None:
    figures = ", ".join(
        f"{target} {metric} {value:.3f}"
        for target, scores in run.metrics["test"].items()
        for metric, value in list(scores.items())[:1]
    )
    left = elapsed / done * (total - done) / 60
    say(
        f"{done} of {total}: {name}, fold {fold + 1}, seed {seed}: {figures}; "
        f"{run.metrics['training']['seconds']:.0f} s; about {left:.0f} min to go"
    )


# Judging


def _tabulate(config: Config, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]) -> pd.DataFrame:
    tables = [_tabulate_target(target, config, manifest, folds, judged) for target in sorted(config.targets)]
    return pd.concat(tables, ignore_index=True)


def _tabulate_target(
    target: str, config: Config, manifest: Manifest, folds: Sequence[Fold], judged: Sequence[Judged]
) -> pd.DataFrame:
    """One row a model, the best first."""
    figures = [
        _figures(target, config, manifest, fold, [j for j in judged if j.fold == i]) for i, fold in enumerate(folds)
    ]
    # {model: {(fold, training): [the figure, then that of each resample]}}
    cells: dict[str, dict[tuple[int, int], np.ndarray]] = {}
    for i, found in enumerate(figures):
        for model, trainings in found.items():
            cells.setdefault(model, {}).update({(i, k): values for k, values in enumerate(trainings)})
    rows = [_row(target, model, [j for j in judged if j.model == model], found) for model, found in cells.items()]
    table = pd.DataFrame(rows)
    best = _best(table, len(folds))
    table["against_best"] = [_against(cells[model], cells[best], model == best) for model in table["model"]]
    return table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def _figures(
    target: str, config: Config, manifest: Manifest, fold: Fold, judged: Sequence[Judged]
) -> dict[str, list[np.ndarray]]:
    """{model: for each training (1 + RESAMPLES,) figures}: on the judged rows, then on resamples, the same for all."""
    if not judged:
        return {}
    head = fold.schema.targets[target]
    truth = head.encode_target(manifest.rows[target][fold.judged])
    known = np.flatnonzero(head.known(truth))
    groups = manifest.rows[config.split.group][fold.judged].to_numpy()[known] if config.split.group else None
    samples = [np.arange(len(known)), *_resamples(len(known), groups)]
    found: dict[str, list[np.ndarray]] = {}
    for each in judged:
        predictions = each.predictions[target][known]
        head = each.heads[target]
        values = np.array([head.figure(truth[known][rows], predictions[rows]) for rows in samples])
        found.setdefault(each.model, []).append(values)
    return found


def _resamples(count: int, groups: np.ndarray | None) -> Iterator[np.ndarray]:
    """Row numbers drawn with replacement, whole groups at a time where there are groups."""
    rng = np.random.default_rng(0)
    units = np.arange(count) if groups is None else pd.factorize(groups)[0]
    rows_of_unit = pd.Series(np.arange(count)).groupby(units).apply(np.array).tolist()
    for _ in range(RESAMPLES):
        yield np.concatenate([rows_of_unit[unit] for unit in rng.integers(0, len(rows_of_unit), len(rows_of_unit))])


def _row(target: str, model: str, judged: Sequence[Judged], cells: Mapping[Any, np.ndarray]) -> dict[str, Any]:
    values = np.stack(list(cells.values()))
    low, high = _interval(values[:, 1:].mean(axis=0))
    networks = [each for each in judged if each.seconds is not None]
    return {
        "target": target,
        "model": model,
        "mean": values[:, 0].mean(),
        "deviation": values[:, 0].std(ddof=1) if len(values) > 1 else np.nan,
        "low": low,
        "high": high,
        "valid": np.mean([each.valid[target] for each in networks if target in each.valid]) if networks else np.nan,
        "weights": max(each.weights for each in networks) if networks else None,
        "seconds": np.mean([each.seconds for each in networks]) if networks else np.nan,
        "runs": len(values),
    }


def _best(table: pd.DataFrame, folds: int) -> str:
    """The network that would be chosen: by the judged rows of a cross-validation; a test must not choose."""
    networks = table[table["valid"].notna()]
    return networks.loc[networks["mean" if folds > 1 else "valid"].idxmax(), "model"]


def _against(cells: Mapping[Any, np.ndarray], best: Mapping[Any, np.ndarray], is_best: bool) -> str:
    """Better, worse or tied, by the interval of the difference on the same resampled rows."""
    if is_best:
        return "chosen"
    # A classical model is trained once a fold: it stands beside the first training.
    common = sorted(cells.keys() & best.keys())
    if not common:
        return ""
    difference = np.mean([cells[key][1:] - best[key][1:] for key in common], axis=0)
    low, high = _interval(difference)
    word = "worse" if high < 0 else "better" if low > 0 else "tied"
    return f"{word} ({low:+.3f} to {high:+.3f})"


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _show(config: Config, table: pd.DataFrame, folder: Path, folds: int, seeds: int) -> None:
    where = "the test rows" if folds == 1 else f"{folds} folds"
    for target in sorted(config.targets):
        part = table[table["target"] == target]
        rows = [tuple(_shown(key, row[key]) for key in HEADER) for _, row in part.iterrows()]
        show_table(f"{target} on {where}, {seeds} seed{'s' * (seeds > 1)}", tuple(HEADER.values()), rows)
        picture = folder / f"comparison_{target}.png"
        title = f"{target} on {where}: mean and 95 % interval"
        plots.draw_comparison(
            part["model"].tolist(), part["mean"].to_numpy(), part[["low", "high"]].to_numpy(), title, picture
        )
        say(f"table: {folder / 'comparison.csv'}; picture: {picture}")


def _shown(key: str, value: Any) -> Any:
    if value is None or isinstance(value, float) and np.isnan(value):
        return ""
    if key == "weights":
        return f"{int(value):,}"
    return f"{value:.0f}" if key == "seconds" else value


if __name__ == "__main__":
    run_command(compare)
