"""Answers for a table: `python -m mmkeras.predict`, `mmkeras predict`, `from mmkeras.predict import predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import run_command
from mmkeras.serving.answers import answer_rows
from mmkeras.training.run import Run

pd = lazy("pandas")


def predict(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    table: Annotated[
        Any, typer.Argument(parser=str, help="A .csv or .parquet table with the columns of the training.")
    ],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the answers (.csv).")] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Read absolute paths, and such that leave the table's folder, too.")
    ] = False,
) -> pd.DataFrame:
    """Answers every row of a table, in its order.

    **Example**

    `python -m mmkeras.predict runs/customer_service-20260101-120000 table.csv -o answers.csv`

    Each answer has a row number, what the targets' heads say (a label and its probability, a value) and a status: `ok`,
    `missing: photo`, `bad: voice: holds no samples`; `prior` where every cell is missing or bad.
    """
    run = Run(run)
    run.check_answers("predict")
    return answer_rows(run.network(), run.schema, run.read(table, allow_outside), output)


if __name__ == "__main__":
    run_command(predict)
