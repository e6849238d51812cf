"""Every fusion, each column alone and classical models on the same rows, fold by fold and seed by seed, and a table.

What is finished is kept: the same call goes on where it was stopped.

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

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from mmkeras.base.files import run_name, write_atomically
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say
from mmkeras.base.words import joined
from mmkeras.contracts.config import read_config
from mmkeras.evaluation.comparison_tables import say_next, show, tabulate
from mmkeras.evaluation.trainings import claim, folds_of, judge_trainings, say_plan, trainings_of, variants_of
from mmkeras.table.manifest import read_table
from mmkeras.table.plan import check_columns

pd = lazy("pandas")


def compare_fusions(
    config: str | Path,
    overrides: Sequence[str],
    fusions: str,
    folds: int,
    seeds: int,
    minutes: float | None,
    alone: bool,
    baselines: bool,
    folder: str | Path | None,
) -> pd.DataFrame:
    """Trains and judges what is left, and shows and writes the table of what is there; `mmkeras compare` says more.

    Args:
        config: A config file.
        overrides: Settings that win, KEY=VALUE.
        fusions: Which, with commas between; all: every one.
        folds: Cross-validation over so many; 1: the config's own split.
        seeds: Trainings of each model on each fold.
        minutes: No training is started after so many; None: without end.
        alone: Whether the network is trained on each column alone too.
        baselines: Whether classical models are trained too.
        folder: Where the results lie; None: runs/compare-NAME.

    Raises:
        ValueError: The folder holds another comparison, or no training was finished in time.
    """
    checked = read_config(config, overrides)
    if not checked.answers:
        raise ValueError(
            f"{config}: trains for {joined(checked.objectives)}, by which no target is answered; models are compared "
            "by their answers"
        )
    manifest = read_table(checked.manifest, access=checked.access)
    check_columns(checked, manifest)
    variants = variants_of(checked, fusions, alone)
    folder = Path(folder) if folder else Path("runs") / f"compare-{run_name(Path(config))}"
    dealt = folds_of(checked, manifest, folder, folds)
    claim(folder, dealt)
    trainings = trainings_of(variants, dealt, seeds)
    say_plan(trainings, folder)
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    judged = list(judge_trainings(trainings, dealt, baselines, deadline))
    if left := sum(not training.is_done for training in trainings):
        say(f"{left} of {len(trainings)} trainings are left; the same command goes on with them")
    if not any(each.is_network for each in judged):
        raise ValueError(f"no training is finished, and {minutes:g} minutes are over; give more of them")
    table = tabulate(checked, manifest, dealt, judged)
    write_atomically(folder / "comparison.csv", table.to_csv(index=False))
    for target, part in table.groupby("target", sort=True):
        show(str(target), part, folder, folds, seeds)
        say_next(str(target), part, variants, f"mmkeras train {shlex.join([str(config), *overrides])}")
    return table
