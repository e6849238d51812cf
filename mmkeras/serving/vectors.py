"""Vectors of a table's rows, chunk by chunk, to a frame or a Parquet file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say
from mmkeras.contracts.config import Config
from mmkeras.contracts.encoding import present_of, vector_of
from mmkeras.network.inference import forward_chunks, warn_of_outside
from mmkeras.network.network import Network
from mmkeras.network.statuses import PRIOR
from mmkeras.table.manifest import Manifest, require_columns

if TYPE_CHECKING:
    import pyarrow as pa

pd = lazy("pandas")


ENDING = ".parquet"
OWN_NAMES = ("row", "status")
Chunks = Iterator[tuple[list[dict[str, np.ndarray]], pd.Series]]


def write_vectors(
    network: Network, schema: Config, manifest: Manifest, output: Path | None = None
) -> pd.DataFrame | None:
    """One line a row, in the table's order: its number, a status, the joint vector and each column's own.

    Args:
        network: Trained, of the schema's columns and targets.
        schema: Fitted.
        manifest: The rows.
        output: A .parquet file, written part by part; None: the rows are returned.

    Raises:
        ValueError: The table lacks a column.
    """
    require_columns(manifest, schema.columns)
    statuses: list[pd.Series] = []
    whole = _of_rows(network)
    columns = network.trained_branches
    parts = [name for column in columns for name in (vector_of(column), present_of(column))]
    chunks = forward_chunks(network.step([*whole.values(), *parts]), schema, manifest, doing="embedding")
    frames = _frames(chunks, columns, whole, statuses)
    vectors = None
    if output is None:
        vectors = pd.concat(frames, ignore_index=True)
        say(f"{len(vectors)} rows as vectors; -o FILE{ENDING} writes them")
    else:
        _write(output, frames, [*whole, *_names(columns, whole).values()])
        say(f"{len(manifest.rows)} rows in {output}")
    warn_of_outside(pd.concat(statuses))
    return vectors


def check_output(output: Path | None) -> None:
    """Before the work, which may take long."""
    if output is None:
        return
    if output.suffix != ENDING:
        raise ValueError(f"-o {output}: vectors are written as Parquet; expected a name that ends in {ENDING}")
    if output.is_dir() or not output.parent.is_dir():
        wrong = output if output.is_dir() else output.parent
        is_what = "is a folder" if output.is_dir() else "is no folder"
        raise ValueError(f"-o {output}: {wrong} {is_what}; name a file in a folder that is there")


def _of_rows(network: Network) -> dict[str, str]:
    """{what vectors of whole rows are called: the output that holds them}, of all objectives."""
    return {
        name: output
        for objective in network.objectives.values()
        for name, output in objective.vectors(network.setting).items()
    }


def _frames(
    chunks: Chunks, columns: Collection[str], whole: Mapping[str, str], statuses: list[pd.Series]
) -> Iterator[pd.DataFrame]:
    """The rows part by part, numbered from 1; adds their statuses to the list."""
    start = 1
    for (outputs,), told in chunks:
        frame = _frame(outputs, told, columns, whole)
        frame.insert(0, "row", range(start, start + len(frame)))
        start += len(frame)
        statuses.append(told)
        yield frame


def _frame(
    outputs: dict[str, np.ndarray], statuses: pd.Series, columns: Collection[str], whole: Mapping[str, str]
) -> pd.DataFrame:
    is_empty = statuses.str.startswith(PRIOR).to_numpy()
    vectors = {name: _vectors(outputs[output], ~is_empty) for name, output in whole.items()}
    for column, name in _names(columns, whole).items():
        vectors[name] = _vectors(outputs[vector_of(column)], outputs[present_of(column)] > 0)
    return pd.DataFrame({"status": statuses, **vectors})


def _names(columns: Collection[str], whole: Collection[str]) -> dict[str, str]:
    """{column: what its vectors are called}."""
    names: dict[str, str] = {}
    for column in sorted(columns):
        name = column
        while name in OWN_NAMES or name in whole or name in names.values() or (name != column and name in columns):
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
