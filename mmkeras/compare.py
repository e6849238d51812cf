"""Finds out which fusion suits a table: `python -m mmkeras.compare`, `mmkeras compare` or the function `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import run_command
from mmkeras.evaluation.comparison import compare_fusions

pd = lazy("pandas")


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
    return compare_fusions(config, list(overrides or []), fusions, folds, seeds, minutes, alone, baselines, out)


if __name__ == "__main__":
    run_command(compare)
