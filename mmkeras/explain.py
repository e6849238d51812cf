"""Explains a run's answers: `python -m mmkeras.explain`, `mmkeras explain`, `from mmkeras.explain import explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base.terminal import run_command
from mmkeras.explanation.explain_run import MOST_ROWS, explain_run
from mmkeras.explanation.result import Explanation


def explain(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    table: Annotated[
        Any, typer.Argument(parser=str, help="Other rows, with or without targets. Default: the run's own table.")
    ] = None,
    *,
    rows: Annotated[
        Any, typer.Option(parser=str, help=f"Row numbers from 1, such as 1,5,9-20. Default: up to {MOST_ROWS}.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Explain this target only.")] = None,
    answer: Annotated[
        str | None, typer.Option(help="Explain this class, label or number in place of each row's own answer.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Find out whether the explanations are to be believed.")
    ] = True,
    minutes: Annotated[float, typer.Option(min=0, help="After so many no more cells are looked into.")] = 10.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder. Default: RUN/explanation.", show_default=False)
    ] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Read absolute paths, and such that leave the table's folder, too.")
    ] = False,
) -> Explanation:
    """Says which columns decided a run's answers, and which words, pixels and moments inside them.

    **Examples**

    `python -m mmkeras.explain runs/customer_service-20260101-120000`

    `python -m mmkeras.explain runs/customer_service-20260101-120000 other.csv --rows 1,5,9-20`

    Between columns these are Shapley values, inside a column integrated gradients, and Grad-CAM beside them where there
    are pictures. Both are checked, and it is said which failed. Without `--rows` the run's test rows are explained, or
    the whole of another table; of more than 200 rows a fixed sample.

    Writes `explanation.json`, `shapley.parquet` and `attributions.npz`.
    """
    return explain_run(run, table, rows, target, answer, check, minutes, output, allow_outside)


if __name__ == "__main__":
    run_command(explain)
