"""Seconds and memory to read, type, split and check a table of a million rows, before TensorFlow starts.

    python benchmarks/table.py
    python benchmarks/table.py --rows 100000 --files 1000

Texts are all different, pictures and clips repeat: each belongs to a group of rows that stay in one split. Their files
are there, since the check asks the operating system for each one's size, but hold nothing, and none is opened.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from mmkeras.base.terminal import run_command, silence

WORDS_PER_TEXT = 12
MIB = 2**20


def table(
    rows: Annotated[int, typer.Option(min=1000, help="Of the table.")] = 1_000_000,
    files: Annotated[int, typer.Option(min=100, help="Different pictures, and as many clips.")] = 20_000,
    ending: Annotated[str, typer.Option(help="Of the table: .csv or .parquet.")] = ".csv",
    measured: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Times what happens before training, in a process of its own."""
    if measured:
        _measure(measured)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = _write(Path(folder), rows, files, ending)
        subprocess.run([sys.executable, __file__, "--measured", path], check=True)


def _write(folder: Path, rows: int, files: int, ending: str) -> Path:
    draw = np.random.default_rng(0)
    for name in ("image", "audio"):
        (folder / name).mkdir()
        for i in range(files):
            with open(folder / name / f"{i}.{'png' if name == 'image' else 'wav'}", "wb") as file:
                file.truncate(i + 1)  # no two of one size, or their bytes would be compared
    words = np.array(["".join(draw.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(2000)])
    file = draw.integers(files, size=rows)
    found = pd.DataFrame({
        "text": [" ".join(some) + f" {i}." for i, some in enumerate(words[draw.integers(2000, size=(rows, 12))])],
        "image": np.array([f"image/{i}.png" for i in range(files)], object)[file],
        "audio": np.array([f"audio/{i}.wav" for i in range(files)], object)[file],
        "weight": draw.normal(size=rows).round(3),
        "kind": np.array(["red", "green", "blue"], object)[draw.integers(3, size=rows)],
        "set": file,
        "label": np.array(["yes", "no", "perhaps"], object)[draw.integers(3, size=rows)],
    })  # fmt: skip
    path = folder / f"table{ending}"
    found.to_csv(path, index=False) if ending == ".csv" else found.to_parquet(path)
    return path


def _measure(path: Path) -> None:
    """Prints what each step took."""
    from mmkeras.table.guess import guess_config
    from mmkeras.table.manifest import read_table
    from mmkeras.table.plan import check_rows, planned

    table = Table(title=f"{path.name}, {path.stat().st_size / MIB:.0f} MiB", title_justify="left")
    for name in ("", "seconds", "CPU seconds", "peak MiB"):
        table.add_column(name, justify="left" if not name else "right")

    def step(name, work):
        started, started_cpu = time.perf_counter(), time.process_time()
        found = work()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        table.add_row(name, f"{seconds:.1f}", f"{cpu_seconds:.1f}", f"{peak:.0f}")
        return found

    started, started_cpu = time.perf_counter(), time.process_time()
    with silence():
        manifest = step("read", lambda: read_table(path))
        settings = ["split.group=set", "columns.set=null"]
        config = step("guess types", lambda: guess_config(manifest, "label", settings, str(path)))
        plan = step("split", lambda: planned(config, manifest))
        step("check rows", lambda: check_rows(plan))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    Console(width=120).print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    columns = ", ".join(f"{column} {modality.type_name()}" for column, modality in config.columns.items())
    total = f"{seconds:.1f} s, {cpu_seconds:.1f} of them on the CPU, {peak:.0f} MiB at most"
    print(f"{len(manifest.rows)} rows ({columns}): {total}; {os.cpu_count()} cores")
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    run_command(table)
