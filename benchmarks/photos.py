"""Photographs per second from files to features, beside the articles' `load_img`.

    python benchmarks/photos.py --megapixels 12 --photos 48

The photographs are made: smooth colours and a camera's noise, JPEG of quality 90. Half of them lie on their side, as
telephones write them, and say so in their EXIF data; `load_img` does not turn these.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from PIL import ExifTags
from PIL import Image as Pillow
from pipeline import ARTICLE, prepare_anew, preprocess_as_the_articles_do
from rich.console import Console
from rich.table import Table

from mmkeras.base.terminal import run_command
from mmkeras.components.modalities.image import Image
from mmkeras.features.columns import adapt

QUALITY, NOISE, COLORS_PX = 90, 4.0, 64
ON_ITS_SIDE = 6  # the EXIF orientation of a telephone held upright
COLD = "mmkeras, cold"


def photos(
    megapixels: Annotated[float, typer.Option(min=0.01, help="Of each photograph, four to three.")] = 12.0,
    photos: Annotated[int, typer.Option(min=4, help="So many.")] = 48,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is timed.")] = 3,
) -> None:
    """Times reading and preprocessing photographs, upright and on their side."""
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [_photograph(Path(folder, f"{i}.jpg"), megapixels, i) for i in range(photos)]
        halves = {"upright": pd.Series(paths[::2]), "on their side": pd.Series(paths[1::2])}
        columns = {"photo": adapt(Image(), halves["upright"][:4])}
        for i in range(rounds):
            for half, cells in halves.items():
                sides: dict[str, Callable[[], object]] = {
                    COLD: lambda cells=cells: prepare_anew(columns, {"photo": cells}),
                    ARTICLE: lambda cells=cells: preprocess_as_the_articles_do(columns, {"photo": cells}),
                }
                for name in sorted(sides, reverse=i % 2 == 1):
                    os.environ["MMKERAS_CACHE"] = tempfile.mkdtemp(dir=folder)
                    started = time.perf_counter()
                    sides[name]()
                    seconds.setdefault((half, name), []).append((time.perf_counter() - started) / len(cells))
    _show(seconds, f"{photos} photographs of {megapixels:g} megapixels, {os.cpu_count()} cores")


def _photograph(path: Path, megapixels: float, seed: int) -> str:
    rng = np.random.default_rng(seed)
    height_px, width_px = round((megapixels * 1e6 * 3 / 4) ** 0.5), round((megapixels * 1e6 * 4 / 3) ** 0.5)
    colors = Pillow.fromarray(rng.integers(0, 256, (COLORS_PX * 3 // 4, COLORS_PX, 3), dtype=np.uint8))
    smooth = np.asarray(colors.resize((width_px, height_px), Pillow.Resampling.BICUBIC), np.float32)
    noisy = smooth + rng.normal(0, NOISE, smooth.shape).astype(np.float32)
    exif = Pillow.Exif()
    exif[ExifTags.Base.Orientation] = ON_ITS_SIDE if seed % 2 else 1
    Pillow.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=QUALITY, exif=exif)
    return str(path)


def _show(seconds: dict[tuple[str, str], list[float]], what: str) -> None:
    rounds = len(next(iter(seconds.values())))
    table = Table(title=f"{what}, median of {rounds} rounds", title_justify="left")
    for name in ("", "photographs", "a second", f"× {ARTICLE}"):
        table.add_column(name, justify="left" if name in ("", "photographs") else "right")
    for (half, name), times in seconds.items():
        ratios = [slow / fast for slow, fast in zip(seconds[half, ARTICLE], times, strict=True)]
        table.add_row(name, half, f"{1 / statistics.median(times):,.1f}", f"{statistics.median(ratios):.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    run_command(photos)
