"""Peak memory of a training on 1 000, 10 000 and 100 000 rows: it should grow by little more than the table itself.

    python benchmarks/memory.py
    python benchmarks/memory.py --rows 20000 --figure memory.png

All rows point at the same few generated files but no two texts are equal; the network is tiny, since it is not what is
measured. Each training is a process of its own, and Linux says afterwards how much memory it held at most.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from mmkeras.base.terminal import run_command
from mmkeras.contracts.registry import find
from mmkeras.table.manifest import read_table

FILES = 8  # a split, so that none is in two of them
WORDS_PER_TEXT = 30
SPLITS = ["train"] * 8 + ["valid", "test"]
MIB = 2**20
CONFIG = """
manifest: table.csv
columns:
  text: {type: text, max_tokens: 32, vocabulary_size: 500, embedding_width: 4, encoder: {units: 4}}
  image: {type: image, height_px: 8, width_px: 8, encoder: {filters: [4]}}
  audio: {type: audio, seconds: 0.2, mel_bins: 8, encoder: [convolution, {type: recurrent, units: 4}]}
fusion: {type: concat, units: []}
targets:
  label: {type: classification}
split: {column: split}
train: {epochs: 1, batch_size: 256}
"""


@dataclass(frozen=True)
class Measured:
    """One training.

    Attributes:
        rows: Of the table.
        table_bytes: What its cells take in memory.
        peak_bytes: The most that the training's process held, Python and TensorFlow included.
    """

    rows: int
    table_bytes: int
    peak_bytes: int


def memory(
    rows: Annotated[int, typer.Option(min=1000, help="Of the largest table.")] = 100_000,
    smallest: Annotated[int, typer.Option(min=100, help="Rows of the smallest table.")] = 1000,
    figure: Annotated[Path | None, typer.Option(help="Where to draw it (.png).", show_default=False)] = None,
) -> None:
    """Trains one epoch on small and large tables and compares what each held at most."""
    sizes = [rows // 10**i for i in range(6) if rows // 10**i > smallest] + [smallest]
    with tempfile.TemporaryDirectory() as temporary:
        _write_files(Path(temporary))
        found = [_measure(count, Path(temporary)) for count in reversed(sizes)]
    _show(found)
    if figure:
        _draw(found, figure)


def _write_files(folder: Path) -> None:
    """`FILES` pictures and clips for each split."""
    picture, clip = find("modality", "image")(), find("modality", "audio")()
    for number, name in enumerate(_file_names()):
        (folder / f"{name}.png").write_bytes(picture.example(seed=number))
        (folder / f"{name}.wav").write_bytes(clip.example(seed=number))


def _file_names() -> list[str]:
    return [f"{split}{i}" for split in sorted(set(SPLITS)) for i in range(FILES)]


def _measure(rows: int, folder: Path) -> Measured:
    _random_rows(rows).to_csv(folder / "table.csv", index=False)
    (folder / "config.yaml").write_text(CONFIG)
    table_bytes = int(read_table(folder / "table.csv").rows.memory_usage(deep=True).sum())
    return Measured(rows, table_bytes, _peak_bytes_of_training(folder, folder / f"run-{rows}"))


def _random_rows(rows: int) -> pd.DataFrame:
    """Texts of random words, files of the row's split, a label that no column tells."""
    draw = random.Random(rows)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(1000)]
    split = [SPLITS[i % len(SPLITS)] for i in range(rows)]
    files = [f"{name}{draw.randrange(FILES)}" for name in split]
    return pd.DataFrame(
        {
            "text": [" ".join([str(i), *draw.choices(words, k=WORDS_PER_TEXT)]) for i in range(rows)],
            "image": [f"{name}.png" for name in files],
            "audio": [f"{name}.wav" for name in files],
            "label": [draw.choice(["a", "b"]) for _ in range(rows)],
            "split": split,
        }
    )


def _peak_bytes_of_training(folder: Path, run: Path) -> int:
    """Trains in another process; its log goes to a file that is shown if it fails."""
    command = [sys.executable, "-m", "mmkeras.train", str(folder / "config.yaml"), "--run", str(run)]
    with open(folder / "log.txt", "w+") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "MMKERAS_CACHE": str(folder / "cache")}
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read()}")
    return usage.ru_maxrss * 1024


def _show(found: list[Measured]) -> None:
    small, large = found[0], found[-1]
    table = Table(title="Training one epoch", title_justify="left")
    for name in ("rows", "table MiB", "peak MiB", "at most MiB"):
        table.add_column(name, justify="right")
    for one in found:
        numbers = one.table_bytes, one.peak_bytes, _allowed_bytes(small, one)
        table.add_row(f"{one.rows}", *(f"{number / MIB:.1f}" for number in numbers))
    growth = large.peak_bytes - small.peak_bytes
    table.add_section()
    table.add_row("growth", f"{(large.table_bytes - small.table_bytes) / MIB:.1f}", f"{growth / MIB:.1f}", "")
    Console(width=120).print(table)
    print(f"{growth / (large.rows - small.rows):,.0f} bytes more for each row more")


def _allowed_bytes(small: Measured, large: Measured) -> float:
    """A tenth more than on the smallest table, and what the larger table takes itself."""
    return 1.1 * small.peak_bytes + large.table_bytes - small.table_bytes


def _draw(found: list[Measured], path: Path) -> None:
    from matplotlib.figure import Figure

    rows = [one.rows for one in found]
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot(
        xlabel="rows", ylabel="MiB", xscale="log", title="Peak memory of training one epoch", ylim=(0, None)
    )
    axes.plot(rows, [one.peak_bytes / MIB for one in found], "o-", label="a training")
    axes.plot(rows, [_allowed_bytes(found[0], one) / MIB for one in found], "--", label="1.1 × the first + the table")
    axes.plot(rows, [one.table_bytes / MIB for one in found], "o-", label="the table itself")
    axes.set_ylim(0)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    run_command(memory)
