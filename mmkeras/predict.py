"""Answers for a table: `python -m mmkeras.predict`, `mmkeras predict`, `from mmkeras.predict import predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from mmkeras.inference import named_answers, predict_rows, warn_of_outside
from mmkeras.manifest import require_columns
from mmkeras.run import Run
from mmkeras.terminal import run_command, say


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
    schema = run.schema
    manifest = run.read(table, allow_outside)
    require_columns(manifest, schema.columns)
    predictions, statuses = predict_rows(run.model(), schema, manifest)
    warn_of_outside(statuses)
    answers = {name: np.asarray(values) for name, values in named_answers(schema.targets, predictions).items()}
    columns = {name: _as_text(values) for name, values in answers.items() if values.ndim == 1}
    found = pd.DataFrame({"row": range(1, len(statuses) + 1), **columns, "status": statuses})
    if output is None:
        say(f"{len(found)} answers: {_counts(statuses)}; -o FILE writes them")
    else:
        found.to_csv(output, index=False)
        say(f"{len(found)} answers in {output}: {_counts(statuses)}")
    return found


def _counts(statuses: pd.Series) -> str:
    kinds = statuses.str.extract(r"^(\w+)", expand=False).value_counts()
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _as_text(values: Any) -> Any:
    return [value.decode("utf-8") for value in values] if values.dtype == object else values


if __name__ == "__main__":
    run_command(predict)
