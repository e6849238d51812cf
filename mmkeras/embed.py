"""Vectors of a table's rows: `python -m mmkeras.embed`, `mmkeras embed` or `from mmkeras.embed import embed`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer

from mmkeras.inference import PRIOR, forward_chunks, warn_of_outside
from mmkeras.manifest import require_columns
from mmkeras.model import FUSED, present_of, vector_of, with_vectors
from mmkeras.run import Run
from mmkeras.terminal import run_command, say

if TYPE_CHECKING:
    import pyarrow as pa

ENDING = ".parquet"
OWN_NAMES = ("row", "status", "fused")
Chunks = Iterator[tuple[list[dict[str, np.ndarray]], pd.Series]]


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

    Each row has its number, a status as `predict` gives it, the joint vector `fused`, and the vector of each column
    under the column's name (with `_` behind it where the column is called row, status or fused). A column's vector is
    empty (null, None) where its cell is missing or bad, and `fused` is where every cell is.

    In Parquet vectors are lists of float32; pandas reads them as arrays: `np.stack(vectors["fused"])` is (N, D),
    `np.stack(vectors["photo"].dropna())` leaves out the rows without a photo. A table that does not fit into memory is
    written part by part; only without `output` are the rows returned.
    """
    _check_output(output)
    run = Run(run)
    schema = run.schema
    manifest = run.read(table, allow_outside)
    require_columns(manifest, schema.columns)
    model = with_vectors(run.model(), schema.columns)
    statuses: list[pd.Series] = []
    frames = _frames(forward_chunks(model, schema, manifest, doing="embedding"), schema.columns, statuses)
    found = None
    if output is None:
        found = pd.concat(frames, ignore_index=True)
        say(f"{len(found)} rows as vectors; -o FILE{ENDING} writes them")
    else:
        _write(output, frames, ["fused", *_names(schema.columns).values()])
        say(f"{len(manifest.rows)} rows in {output}")
    warn_of_outside(pd.concat(statuses))
    return found


def _check_output(output: Path | None) -> None:
    """Before the work, which may take long."""
    if output is None:
        return
    if output.suffix != ENDING:
        raise ValueError(f"-o {output}: vectors are written as Parquet; expected a name that ends in {ENDING}")
    if output.is_dir() or not output.parent.is_dir():
        wrong = output if output.is_dir() else output.parent
        is_what = "is a folder" if output.is_dir() else "is no folder"
        raise ValueError(f"-o {output}: {wrong} {is_what}; name a file in a folder that is there")


def _frames(chunks: Chunks, columns: Collection[str], statuses: list[pd.Series]) -> Iterator[pd.DataFrame]:
    """The rows part by part, numbered from 1; adds their statuses to the list."""
    start = 1
    for (outputs,), told in chunks:
        frame = _frame(outputs, told, columns)
        frame.insert(0, "row", range(start, start + len(frame)))
        start += len(frame)
        statuses.append(told)
        yield frame


def _frame(outputs: dict[str, np.ndarray], statuses: pd.Series, columns: Collection[str]) -> pd.DataFrame:
    is_empty = statuses.str.startswith(PRIOR).to_numpy()
    vectors = {"fused": _vectors(outputs[FUSED], ~is_empty)}
    for column, name in _names(columns).items():
        vectors[name] = _vectors(outputs[vector_of(column)], outputs[present_of(column)] > 0)
    return pd.DataFrame({"status": statuses, **vectors})


def _names(columns: Collection[str]) -> dict[str, str]:
    """{column: what its vectors are called}."""
    names: dict[str, str] = {}
    for column in sorted(columns):
        name = column
        while name in OWN_NAMES or name in names.values() or (name != column and name in columns):
            name += "_"
        names[column] = name
    return names


def _vectors(values: np.ndarray, is_there: np.ndarray) -> pd.Series:
    """(N, D), (N,) -> N arrays of float32, None where nothing is there."""
    values = values.astype(np.float32)
    return pd.Series([values[i] if is_there[i] else None for i in range(len(values))], dtype=object)


def _write(output: Path, frames: Iterator[pd.DataFrame], vectors: Collection[str]) -> None:
    """Whoever reads meanwhile, and a command that is stopped, finds the old file or the new one, never half of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Not of a fixed size: pyarrow before 26 cannot read such lists where one is null.
    lists = dict.fromkeys(vectors, pa.list_(pa.float32()))
    schema = pa.schema({"row": pa.int64(), "status": pa.string(), **lists})
    part = output.with_name(output.name + ".part")
    try:
        with open(part, "wb") as file, pq.ParquetWriter(file, schema) as writer:
            for frame in frames:
                writer.write_table(_arrow(frame, schema))
        os.replace(part, output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pydict({name: frame[name].tolist() for name in schema.names}, schema)


if __name__ == "__main__":
    run_command(embed)
