"""Milliseconds from one raw row to an answer of the exported SavedModel, beside the 0.55 s that the article claims.

    python benchmarks/latency.py runs/customer_service-20260101-120000
    python benchmarks/latency.py my_model --answers 1000

The process that answers loads TensorFlow and tensorflow_text only; another one exports the model and reads the rows.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from mmkeras.base.terminal import run_command

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ARTICLE_MS = 550.0  # 000, section 5.4; the article does not say on what machine
WARM_UP_ANSWERS = 10
BATCH_ROWS = 32
MOST_ROWS = 200
Row = dict[str, str | bytes]


def latency(
    model: Annotated[Path, typer.Argument(help="A run folder, or a folder that `mmkeras export` wrote.")],
    answers: Annotated[int, typer.Option(min=1, help="How many single rows are asked.")] = 500,
    table: Annotated[
        Path | None, typer.Option(help="Rows to ask. Default: the table of the training.", show_default=False)
    ] = None,
) -> None:
    """Times an exported model's answers to rows that have all their cells, one at a time and in batches of 32."""
    with tempfile.TemporaryDirectory() as temporary:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other_process:
            folder = other_process.submit(_exported, model, Path(temporary) / "exported").result()
            rows, reading_ms = other_process.submit(_complete_rows, folder, table).result()
        _show(reading_ms, *_answer(folder, rows, answers), len(rows))


# In the other process


def _exported(model: Path, folder: Path) -> Path:
    """The SavedModel's folder, written first where a run is given."""
    if (model / "saved_model.pb").is_file():
        return model
    from mmkeras.export import export

    return export(model, folder)


def _complete_rows(folder: Path, table: Path | None) -> tuple[list[Row], list[float]]:
    """Raw rows without a missing cell, and how many milliseconds each took to read from its files."""
    import json

    from mmkeras.contracts.config import parse_config
    from mmkeras.contracts.registry import walk
    from mmkeras.features.columns import table_cells
    from mmkeras.table.manifest import read_table

    schema = parse_config(
        json.loads((folder / "assets.extra" / "schema.json").read_text(encoding="utf-8")), "schema.json"
    )
    cells = table_cells(read_table(table or schema.manifest), schema.columns)
    is_complete = np.all([values != "" for values in cells.values()], axis=0)
    rows, milliseconds = [], []
    for i in np.random.default_rng(0).permutation(np.flatnonzero(is_complete))[:MOST_ROWS]:
        started = time.perf_counter()
        rows.append({column: modality.read(cells[column][i]) for column, modality in walk(schema.columns)})
        milliseconds.append(1e3 * (time.perf_counter() - started))
    return rows, milliseconds


# In this process


def _answer(folder: Path, rows: list[Row], answers: int) -> tuple[float, list[float], list[float]]:
    """Seconds to load the model, and the milliseconds of each answer alone and of each batch."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the tokenizer's operations

    started = time.perf_counter()
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    load_seconds = time.perf_counter() - started

    def ask(batch: list[Row]) -> float:
        started = time.perf_counter()
        found = serve(**{column: tf.constant([row[column] for row in batch]) for column in batch[0]})
        found = {name: tensor.numpy() for name, tensor in found.items()}
        milliseconds = 1e3 * (time.perf_counter() - started)
        assert len(found["status"]) == len(batch) and set(found["status"]) == {b"ok"}, found["status"]
        return milliseconds

    endless = itertools.cycle(rows)
    return load_seconds, *(
        [ask(batch) for batch in _batches(endless, size, WARM_UP_ANSWERS + count)][WARM_UP_ANSWERS:]
        for size, count in ((1, answers), (BATCH_ROWS, -(-answers // BATCH_ROWS)))
    )


def _batches(rows: Iterator[Row], size: int, count: int) -> Iterator[list[Row]]:
    for _ in range(count):
        yield list(itertools.islice(rows, size))


def _show(
    reading_ms: list[float], load_seconds: float, alone_ms: list[float], batch_ms: list[float], rows: int
) -> None:
    table = Table(
        title=f"{len(alone_ms)} answers to {rows} rows, {os.cpu_count()} cores; loaded in {load_seconds:.1f} s",
        title_justify="left",
    )
    table.add_column("")
    for name in ("p50 ms", "p95 ms", "rows/s", "the article's 550 ms ÷ p50"):
        table.add_column(name, justify="right")
    for name, milliseconds, size in (
        ("raw row to answer", alone_ms, 1),
        (f"{BATCH_ROWS} raw rows to answers", batch_ms, BATCH_ROWS),
        ("before that: files to raw row, by a client with mmkeras", reading_ms, 1),
    ):
        p50, p95 = np.percentile(milliseconds, [50, 95])
        speed_up = f"{ARTICLE_MS * size / p50:.0f}"
        table.add_row(
            name, f"{p50:.1f}", f"{p95:.1f}", f"{1e3 * size / p50:,.0f}", speed_up if milliseconds is alone_ms else ""
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    run_command(latency)
