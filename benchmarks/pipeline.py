"""Rows per second from files to batches, beside the articles' own preprocessing loops.

    python benchmarks/pipeline.py                                            the embedded example
    python benchmarks/pipeline.py data/stamps/config.yaml --rows 600

Both sides get the same rows and sizes and files that the operating system holds in memory already; they take turns, and
every other round the other one begins. The loops are written as the articles write them, on one thread as they are.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from mmkeras.base.terminal import run_command
from mmkeras.contracts.config import Config, read_config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk
from mmkeras.features.batches import Truth, batches, training_batches
from mmkeras.features.columns import Features, adapt, forget_graphs, prepare, table_cells
from mmkeras.features.fitted import encoded_targets
from mmkeras.table.manifest import Manifest, read_table
from mmkeras.table.plan import Plan, embedded_example

WARM_UP_ROWS = 32
EPOCHS = 5  # of batches from cached features: one epoch of a few hundred rows is over too soon to be timed


def pipeline(
    config: Annotated[Path | None, typer.Argument(help="Default: the embedded example.", show_default=False)] = None,
    rows: Annotated[int, typer.Option(min=WARM_UP_ROWS + 1, help="So many rows of the table, chosen at random.")] = 600,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is timed.")] = 5,
) -> None:
    """Times reading and preprocessing, cold and cached, against the articles' loops."""
    schema, manifest = fitted(read_config(config or embedded_example()), rows)
    cells = table_cells(manifest, schema.columns)
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MMKERAS_CACHE"] = cache
        few = {column: values.iloc[:WARM_UP_ROWS] for column, values in cells.items()}
        for measure in _measures(schema, manifest, few).values():
            measure()
        measures = _measures(schema, manifest, cells) | {START: _measures(schema, manifest, few)[COLD]}
        for i in range(rounds):
            for name in sorted(measures, reverse=i % 2 == 1):
                os.environ["MMKERAS_CACHE"] = tempfile.mkdtemp(dir=cache)
                started = time.perf_counter()
                passes = measures[name]()
                seconds.setdefault(name, []).append((time.perf_counter() - started) / passes)
    _show(seconds, cells, rounds)


def fitted(config: Config, rows: int) -> tuple[Config, Manifest]:
    """The config as a training would have it, and some rows of its table."""
    manifest = read_table(config.manifest)
    sample = manifest.rows.sample(min(rows, len(manifest.rows)), random_state=0).reset_index(drop=True)
    manifest = Manifest(sample, manifest.folder, manifest.name)
    cells = table_cells(manifest, config.columns)
    columns = {column: adapt(modality, cells[column]) for column, modality in walk(config.columns)}
    heads = {target: head.adapt(sample[target]) for target, head in config.targets.items()}
    return config.model_copy(update={"columns": columns, "targets": heads}), manifest


ARTICLE = "articles' loops"
ARTICLE_ONCE = "articles' loops, equal cells once"
LEARN = "learn vocabulary and means (once a training)"
COLD = "mmkeras, cold: files to features"
START = "mmkeras, cold: a few rows"
MANY = "mmkeras, cold: the rows after these"
PLAIN = "mmkeras, cached: features to batches"
AUGMENTED = "mmkeras, cached: to augmented batches"


def _measures(schema: Config, manifest: Manifest, cells: Mapping[str, pd.Series]) -> dict[str, Callable[[], int]]:
    """What is timed; each returns how many times it went over the rows."""
    count = len(next(iter(cells.values())))
    rows = np.arange(count)
    targets = encoded_targets(Plan(schema, manifest, pd.Series("train", range(count))))
    truth = Truth(targets, {}, list(schema.objectives.values()), schema.setting)
    features = _prepare(schema.columns, cells)
    batch_size = min(schema.train.batch_size, count)

    def cold() -> int:
        prepare_anew(schema.columns, cells)
        return 1

    def learn() -> int:
        for column, modality in walk(schema.columns):
            adapt(modality, cells[column])
        return 1

    def plain() -> int:
        dataset = batches(features, rows, batch_size, truth)  # traced once, as a training does
        for _ in range(EPOCHS):
            for _batch in dataset:
                pass
        return EPOCHS

    def augmented() -> int:
        settings = {"batch_size": batch_size, "seed": 0, "modality_dropout": schema.train.modality_dropout}
        for _batch in training_batches(features, rows, truth, epochs=range(EPOCHS), **settings):
            pass
        return EPOCHS

    def article() -> int:
        preprocess_as_the_articles_do(schema.columns, cells)
        return 1

    def article_once() -> int:
        preprocess_as_the_articles_do(
            schema.columns, {name: values.drop_duplicates() for name, values in cells.items()}
        )
        return 1

    return {
        COLD: cold, ARTICLE: article, ARTICLE_ONCE: article_once, LEARN: learn, PLAIN: plain, AUGMENTED: augmented
    }  # fmt: skip


def prepare_anew(columns: Mapping[str, Modality], cells: Mapping[str, pd.Series]) -> Features:
    """Features as a new process makes them: it has to trace its graphs."""
    forget_graphs()
    return _prepare(columns, cells)


def _prepare(columns: Mapping[str, Modality], cells: Mapping[str, pd.Series]) -> Features:
    return Features({column: prepare(modality, cells[column], "disk") for column, modality in walk(columns)})


# The articles' side


def preprocess_as_the_articles_do(
    columns: Mapping[str, Modality], cells: Mapping[str, pd.Series]
) -> dict[str, np.ndarray]:
    """{column: (N, …)}, one file after another; a missing cell gives zeros, which the articles do not foresee."""
    # NumPy's own threads make librosa no faster on frames this small, and many times slower on a busy machine.
    with threadpool_limits(1):
        return {column: LOOPS[modality.type_name()](cells[column], modality) for column, modality in walk(columns)}


def _preprocess_text(texts: pd.Series, modality: Any) -> np.ndarray:
    """(N, max_tokens): the numbers of the words, as `Tokenizer.texts_to_sequences` gives them, padded."""
    from keras.utils import pad_sequences

    numbers: dict[str, int] = {}
    sequences = [[numbers.setdefault(word, len(numbers) + 1) for word in text.lower().split()] for text in texts]
    return pad_sequences(sequences, maxlen=modality.max_tokens, padding="post", truncating="post")


def _preprocess_images(paths: pd.Series, modality: Any) -> np.ndarray:
    """(N, H, W, 3)."""
    from keras.utils import img_to_array, load_img

    size_px = modality.height_px, modality.width_px
    missing = np.zeros((*size_px, 3), np.float32)
    return np.array([img_to_array(load_img(path, target_size=size_px)) if path else missing for path in paths])


def _preprocess_audio(paths: pd.Series, modality: Any) -> np.ndarray:
    """(N, F, T); clips are padded to one length, without which the articles' `np.array` fails."""
    import librosa

    rate_hz = modality.sample_rate_hz
    samples = round(modality.seconds * rate_hz)
    found = []
    for path in paths:
        clip = librosa.load(path, sr=rate_hz, duration=modality.seconds)[0] if path else np.zeros(0, np.float32)
        clip = librosa.util.fix_length(clip, size=samples)
        mel = librosa.feature.melspectrogram(
            y=clip, sr=rate_hz, n_fft=modality.fft_samples, hop_length=modality.hop_samples, n_mels=modality.mel_bins
        )
        found.append(mel)
    return np.array(found)


LOOPS = {"text": _preprocess_text, "image": _preprocess_images, "audio": _preprocess_audio}


# Results


def _show(seconds: Mapping[str, list[float]], cells: Mapping[str, pd.Series], rounds: int) -> None:
    count = len(next(iter(cells.values())))
    distinct = ", ".join(f"{values[values != ''].nunique()} {column}" for column, values in cells.items())
    table = Table(
        title=f"{count} rows (distinct: {distinct}), {os.cpu_count()} cores, median of {rounds} rounds",
        title_justify="left",
    )
    table.add_column("")
    for name in ("rows/s", f"× {ARTICLE}", f"× {ARTICLE_ONCE}"):
        table.add_column(name, justify="right")
    after_start = [whole - start for whole, start in zip(seconds[COLD], seconds[START], strict=True)]
    seconds = {**seconds, MANY: [count / (count - WARM_UP_ROWS) * max(rest, 1e-3) for rest in after_start]}
    for name in (ARTICLE, ARTICLE_ONCE, LEARN, COLD, MANY, PLAIN, AUGMENTED):
        ratios = [_median_ratio(seconds[other], seconds[name]) for other in (ARTICLE, ARTICLE_ONCE)]
        table.add_row(name, f"{count / statistics.median(seconds[name]):,.0f}", *(f"{ratio:.1f}" for ratio in ratios))
    Console(width=120).print(table)
    start_seconds = statistics.median(seconds[START])
    print(f"cold, the first {WARM_UP_ROWS} rows take {start_seconds:.2f} s: TensorFlow traces its graphs")


def _median_ratio(slow: list[float], fast: list[float]) -> float:
    """Of the rounds' ratios: what slows the machine for a while slows both sides of a round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


if __name__ == "__main__":
    run_command(pipeline)
