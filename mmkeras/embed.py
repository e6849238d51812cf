"""Vectors of a table's rows: `python -m mmkeras.embed`, `mmkeras embed` or `from mmkeras.embed import embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import run_command
from mmkeras.serving.vectors import check_output, write_vectors
from mmkeras.training.run import Run

pd = lazy("pandas")


def embed(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    table: Annotated[
        Any, typer.Argument(parser=str, help="A .csv or .parquet table with the columns of the training.")
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the vectors (.parquet).")
    ] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Read absolute paths, and such that leave the table's folder, too.")
    ] = False,
) -> pd.DataFrame | None:
    """Turns every row of a table into vectors, in its order: for search, clustering, or a model of your own.

    **Example**

    `python -m mmkeras.embed runs/customer_service-20260101-120000 table.csv -o vectors.parquet`

    Each row has its number, a status as `predict` gives it, the joint vector `fused` (of a run that was trained
    to answer), and the vector of each column that something was learned of, under the column's name (with `_` behind it
    where it is called as another is). A column's vector is empty (null, None) where its cell is missing or bad, and
    `fused` is where every cell is. Objectives add theirs, such as `shared`.

    In Parquet vectors are lists of float32; pandas reads them as arrays: `np.stack(vectors["fused"])` is (N, D),
    `np.stack(vectors["photo"].dropna())` leaves out the rows without a photo. A table that does not fit into memory is
    written part by part; only without `output` are the rows returned.
    """
    check_output(output)
    run = Run(run)
    return write_vectors(run.network(), run.schema, run.read(table, allow_outside), output)


if __name__ == "__main__":
    run_command(embed)
