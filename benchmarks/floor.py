"""A cold pass beside its floor, the bare C libraries on the same files without Python between, and the articles' loops.

    apt-get install gcc libsndfile1-dev libsoxr-dev libpng-dev libjpeg-dev libfftw3-dev
    python benchmarks/floor.py data/stamps/config.yaml --rows 7728 --rounds 3

`floor.c` decodes sounds (libsndfile), resamples them (soxr, the same quality), transforms the samples that exist (FFTW,
32 bits) to decibels of mel bands, decodes pictures (libpng, libjpeg), puts them over white and resizes them with the
same antialiasing, on two threads. It keeps what it makes in memory, mmkeras writes it to its cache on disk. mmkeras'
pass traces its graphs again in each round, as in a new process. Both work on each distinct file once, the articles'
loops on each row.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import librosa
import numpy as np
import pandas as pd
import typer
from pipeline import fitted, prepare_anew, preprocess_as_the_articles_do
from rich.console import Console
from rich.table import Table

from mmkeras.base.terminal import run_command
from mmkeras.contracts.config import read_config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk
from mmkeras.features.columns import table_cells
from mmkeras.table.plan import embedded_example

SOURCE = Path(__file__).with_suffix(".c")
LIBRARIES = ("sndfile", "soxr", "fftw3f", "png", "jpeg", "pthread", "m")
FLOOR, COLD, ARTICLE = "floor: C libraries", "mmkeras, cold", "articles' loops"
WARM_UP_ROWS = 32


def floor(
    config: Annotated[Path | None, typer.Argument(help="Default: the embedded example.", show_default=False)] = None,
    rows: Annotated[int, typer.Option(min=WARM_UP_ROWS + 1, help="So many rows of the table, chosen at random.")] = 600,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is timed.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Of the C program.")] = 2,
) -> None:
    """Times a first pass over a table's files three ways, in turns."""
    schema, manifest = fitted(read_config(config or embedded_example()), rows)
    cells = table_cells(manifest, schema.columns)
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(Path(folder))
        sides: dict[str, Callable[[], tuple[float, float]]] = {
            FLOOR: lambda: run_floor(program, schema.columns, cells, threads),
            COLD: lambda: _timed(lambda: _prepare_into_new_cache(folder, schema.columns, cells)),
            ARTICLE: lambda: _timed(lambda: preprocess_as_the_articles_do(schema.columns, cells)),
        }
        few = {column: values.iloc[:WARM_UP_ROWS] for column, values in cells.items()}
        _prepare_into_new_cache(folder, schema.columns, few)
        preprocess_as_the_articles_do(schema.columns, few)
        run_floor(program, schema.columns, cells, threads)  # every file comes from the operating system's memory
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for i in range(rounds):
            for name in sorted(sides, reverse=i % 2 == 1):
                found[name].append(sides[name]())
    _show(found, cells, rounds)


def compiled(folder: Path) -> Path:
    """`floor.c` as a program in a folder.

    Raises:
        ValueError: There is no compiler or a library is missing; says which packages hold them.
    """
    program = folder / "floor"
    command = ["cc", "-O3", "-march=native", "-o", program, SOURCE, *(f"-l{library}" for library in LIBRARIES)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        raise ValueError(
            f"{SOURCE.name} cannot be compiled: {reason}; apt-get install the packages that {Path(__file__).name} names"
        ) from None
    return program


def run_floor(
    program: Path,
    columns: Mapping[str, Modality],
    cells: Mapping[str, pd.Series],
    threads: int,
    dump: Path | None = None,
) -> tuple[float, float]:
    """Seconds by the clock and of the processors for all distinct sounds and pictures.

    Args:
        program: As `compiled` made it.
        columns: At most one of audio and one of image count, with one file a cell.
        cells: Absolute paths.
        threads: On which the program works.
        dump: Where the results are written, as `read_dump` reads them.
    """
    audio, image = (
        next((modality for modality in columns.values() if modality.type_name() == name), None)
        for name in ("audio", "image")
    )
    with tempfile.TemporaryDirectory() as folder:
        files, filters = Path(folder, "files"), Path(folder, "filters")
        files.write_text("".join(f"{line}\n" for line in _lines(columns, cells)), encoding="utf-8")
        sound = (16_000, 3.0, 512, 320, 48)
        if audio:
            sound = (audio.sample_rate_hz, audio.seconds, audio.fft_samples, audio.hop_samples, audio.mel_bins)
        bank = librosa.filters.mel(sr=sound[0], n_fft=sound[2], n_mels=sound[4])
        bank.astype(np.float32).tofile(filters)
        size = (image.height_px, image.width_px) if image else (48, 48)
        command = [program, files, filters, dump or "-", threads, *sound, *size]
        done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    seconds, cpu_seconds, failures = done.stdout.split()
    if failures != "0":
        raise ValueError(f"floor.c could not read {failures} files; it knows PNG, JPEG and what libsndfile knows")
    return float(seconds), float(cpu_seconds)


def read_dump(path: Path) -> list[np.ndarray]:
    """What `floor.c` made of each file, flat."""
    numbers, found = np.fromfile(path, np.float32), []
    while len(numbers):
        count = int(numbers[:1].view(np.int32)[0])
        found.append(numbers[1 : 1 + count])
        numbers = numbers[1 + count :]
    return found


def _lines(columns: Mapping[str, Modality], cells: Mapping[str, pd.Series]) -> list[str]:
    return [
        f"{modality.type_name()} {path}"
        for column, modality in walk(columns)
        if modality.type_name() in ("audio", "image")
        for path in cells[column].unique()
        if path
    ]


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    seconds, cpu_seconds = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - seconds, time.process_time() - cpu_seconds


def _prepare_into_new_cache(folder: str, columns: Mapping[str, Modality], cells: Mapping[str, pd.Series]) -> None:
    os.environ["MMKERAS_CACHE"] = tempfile.mkdtemp(dir=folder)
    prepare_anew(columns, cells)


def _show(found: Mapping[str, list[tuple[float, float]]], cells: Mapping[str, pd.Series], rounds: int) -> None:
    count = len(next(iter(cells.values())))
    distinct = ", ".join(f"{values[values != ''].nunique()} {column}" for column, values in cells.items())
    title = f"{count} rows (distinct: {distinct}), {os.cpu_count()} cores, median of {rounds} rounds"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("rows/s", "CPU s", "speed / floor's", "speed / articles'", "CPU: floor's / own"):
        table.add_column(name, justify="right")
    for name, times in found.items():
        seconds, cpu_seconds = (statistics.median(values) for values in zip(*times, strict=True))
        ratios = [_median_ratio(found[FLOOR], times, 0), _median_ratio(found[ARTICLE], times, 0)]
        ratios.append(_median_ratio(found[FLOOR], times, 1))
        table.add_row(name, f"{count / seconds:,.0f}", f"{cpu_seconds:.1f}", *(f"{ratio:.2f}" for ratio in ratios))
    Console(width=120).print(table)


def _median_ratio(slow: list[tuple[float, float]], fast: list[tuple[float, float]], which: int) -> float:
    """Of the rounds' ratios: what slows the machine for a while slows both sides of a round."""
    return statistics.median(a[which] / b[which] for a, b in zip(slow, fast, strict=True))


if __name__ == "__main__":
    run_command(floor)
