"""Judges a run: `python -m mmkeras.evaluate`, `mmkeras evaluate` or `from mmkeras.evaluate import evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mmkeras.base.terminal import run_command
from mmkeras.evaluation.judge_run import judge_run


def evaluate(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    table: Annotated[
        Any, typer.Argument(parser=str, help="Other rows with known targets. Default: the run's own test rows.")
    ] = None,
    *,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also train classical models, and the network on each column alone.")
    ] = False,
    by: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Also judge the rows of each of its values; repeatable.")
    ] = None,
    against: Annotated[
        Any, typer.Option(parser=str, metavar="RUN", help="Another run to compare with, on the same rows.")
    ] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Read absolute paths, and such that leave the table's folder, too.")
    ] = False,
) -> dict[str, Any]:
    """Judges a run on rows that it was not trained on, in detail.

    **Examples**

    `python -m mmkeras.evaluate runs/customer_service-20260101-120000`

    `python -m mmkeras.evaluate runs/customer_service-20260101-120000 other.csv --baselines --by language`

    `python -m mmkeras.evaluate runs/second --against runs/first`

    Figures have 95 % intervals of a bootstrap over the judged rows; over whole groups, where the config names a group
    column. Shows what each column is worth: the same model with a column's cells taken away, and with nothing else.

    Writes `evaluation.json`, `evaluation_rows.parquet`, `evaluation_TARGET.txt` and two pictures a target into the run
    folder, and returns what `evaluation.json` holds. `--against` writes `against_NAME.json` and `.csv`.
    """
    return judge_run(run, table, baselines, list(by or []), against, allow_outside)


if __name__ == "__main__":
    run_command(evaluate)
