"""All seven inputs at once: tiny columns, cells and a table with gaps in each column, shared by several test modules.

Test modules ask for the table and its training by `pytest_plugins = ("fixtures_tables", "fixtures_everything")`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fixtures_tables import LABELS, SAMPLE_RATE_HZ, png, sentence, unchanged, wav
from PIL import Image

# One column of each modality, as cheap as it gets; nothing random while training, so that losses can be compared.
COLUMNS = {
    "clip": {
        "type": "video", "frames": 2, "height_px": 8, "width_px": 10, "dropout": 0.0, "mask_frames": 0,
        "encoder": [
            {"type": "picture", "filters": [2], "places": 1, "units": 3},
            {"type": "transformer", "width": 4, "heads": 1},
        ],
    },
    "country": {"type": "category", "width": 3},
    "note": {
        "type": "text", "encoder": "bag", "max_tokens": 6, "vocabulary_size": 120, "embedding_width": 4, "ngrams": 1,
        "ngram_buckets": 30, "ngram_width": 3, "dropout": 0.0, "part_dropout": 0.0,
    },
    "photo": {
        "type": "image", "height_px": 8, "width_px": 10, "files": 3, "size_bins": 2, "thumbnail_px": 2, "dropout": 0.0,
        "encoder": {"type": "picture", "filters": [2]},
    },
    "sensor": {
        "type": "timeseries", "steps": 9, "encoder": {"type": "convolution", "filters": [3], "kernel_steps": [3]},
        "dropout": 0.0,
    },
    "voice": {
        "type": "audio", "seconds": 0.25, "sample_rate_hz": SAMPLE_RATE_HZ, "fft_samples": 128, "hop_samples": 200,
        "mel_bins": 6, "encoder": {"type": "spectral", "filters": [2], "width": 3}, "dropout": 0.0,
    },
    "weight": {"type": "number", "bins": 3, "units": 4},
}  # fmt: skip
# Of each fusion, beside its own defaults
SMALL_FUSIONS = {
    "attention": {"width": 5, "units": [6], "dropout": 0.0},
    "concat": {"units": [6], "dropout": 0.0},
    "decision": {"units": [6], "dropout": 0.0},
    "gated": {"width": 5, "units": [6], "dropout": 0.0},
    "similarity": {"width": 3, "units": [6], "dropout": 0.0},
    "tensor": {"width": 5, "rank": 2, "units": [6], "dropout": 0.0},
    "transformer": {"width": 6, "depth": 2, "heads": 2, "dropout": 0.0},
    "weighted": {"width": 5, "units": [6], "dropout": 0.0},
}
ROWS = 48
SPLITS = ["train"] * 5 + ["valid"] + ["test"] * 2
EMPTY_ROW, LONELY_ROW = 18, 24  # of the table: without any input, in test, and with one input only, in train
# Of each column some cells that are missing, as people write it
GAPS = {
    "note": {1: "", 10: " ", 19: "", 30: ""},
    "photo": {2: "", 13: "", 20: "", 31: "  "},
    "voice": {3: "", 14: "", 21: "", 33: ""},
    "clip": {4: "", 12: "", 22: "", 34: ""},
    "sensor": {5: "", 11: "", 23: "", 35: ""},
    "weight": {0: "NA", 16: "", 19: "n/a", 42: "null"},
    "country": {7: "", 15: "", 20: " ", 43: ""},
}
TARGETS = {
    "intent": {"type": "classification"},
    "mood": {"type": "classification"},
    "price": {"type": "regression"},
    "marks": {"type": "multilabel"},
    "grade": {"type": "ordinal", "order": ["low", "middle", "high"]},
}
CONFIG = {
    "manifest": "everything.csv",
    "columns": COLUMNS,
    "fusion": {"type": "transformer", "width": 6, "depth": 2, "heads": 2, "dropout": 0.1},
    "targets": {"mood": TARGETS["mood"], "price": TARGETS["price"]},
    "split": {"column": "split"},
    "train": {"epochs": 2, "batch_size": 10, "learning_rate": 0.01},
}


def write_everything(folder: Path, seed: int = 0) -> Path:
    """The table, its files and `config.yaml`; returns the table's path."""
    rng = np.random.default_rng(seed)
    rows = [_row(folder, i, rng) for i in range(ROWS)]
    table = pd.DataFrame(rows, dtype=object)
    for column, gaps in GAPS.items():
        table.loc[list(gaps), column] = list(gaps.values())
    table.loc[EMPTY_ROW, list(COLUMNS)] = ""
    table.loc[LONELY_ROW, [column for column in COLUMNS if column != "country"]] = ""
    table.loc[[2, 8, 18, 19, 27], "mood"] = ""
    table.to_csv(folder / "everything.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")
    return folder / "everything.csv"


def _row(folder: Path, i: int, rng: np.random.Generator) -> dict[str, object]:
    kind = i % 3
    label = LABELS[kind]
    return {
        "note": sentence(label, rng),
        "photo": _photo(folder, i, label, rng),
        "voice": _write(folder / f"{i}.wav", wav(label, rng)),
        "clip": _clip(folder, i, kind),
        "sensor": _sensor(folder, i, kind, rng),
        "weight": round(10 * kind + rng.normal(), 2),
        "country": ["Россия", "中国", "United Kingdom"][kind if i % 4 else 0],
        "intent": label,
        "mood": ["calm", "angry"][int(kind == 0)],
        "price": round(5.0 * kind + rng.normal(), 2),
        "marks": ["urgent|old", "new", "|", "new|urgent"][i % 4],
        "grade": ["low", "middle", "high"][kind],
        "split": SPLITS[i // 3 % len(SPLITS)],
    }


def _write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return path.name


def _photo(folder: Path, i: int, label: str, rng: np.random.Generator) -> str:
    """One, two or three pictures."""
    return ";".join(_write(folder / f"{i}-{n}.png", png(label, rng)) for n in range(1 + i % 3))


def _sensor(folder: Path, i: int, kind: int, rng: np.random.Generator) -> str:
    """A wave in two channels, of many lengths, some with a gap."""
    steps = 12 + i % 7
    series = np.sin((1 + kind) * np.arange(steps)[:, None] / 3 + [0, 1]) + rng.normal(0, 0.1, (steps, 2))
    if i % 5 == 0:
        series[3:5, 1] = np.nan
    np.save(folder / f"{i}.npy", series.astype(np.float32))
    return f"{i}.npy"


def _clip(folder: Path, i: int, kind: int) -> str:
    """A file that PyAV writes, a folder of pictures, or a list of them."""
    frames = [_frame(kind, step) for step in range(2 + i % 4)]
    if i % 3 == 0:
        return _encoded(folder / f"{i}.mp4", frames)
    pictures = folder / f"clip{i}"
    pictures.mkdir()
    for step, frame in enumerate(frames):
        Image.fromarray(frame).save(pictures / f"{step}.png")
    return f"clip{i}" if i % 2 else ";".join(f"clip{i}/{step}.png" for step in range(len(frames)))


def _frame(kind: int, step: int) -> np.ndarray:
    """A bright bar that walks, at a speed of its own."""
    picture = np.full((32, 32, 3), 40, np.uint8)
    picture[:, (4 * (1 + kind) * step) % 28 :][:, :4] = 220
    return picture


def _encoded(path: Path, frames: list[np.ndarray]) -> str:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame).reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path.name


def stacked(modality, cells) -> np.ndarray:
    """(N, …) cells as a client sends them: shorter ones are filled up at their ends, None is a missing one."""
    from mmkeras.features.columns import missing_cell

    spec = modality.cell
    filler = b"" if spec.dtype == "string" else np.nan
    dtype = object if spec.dtype == "string" else spec.dtype.as_numpy_dtype
    cells = [cell.encode() if isinstance(cell, str) else cell for cell in cells]
    arrays = [np.asarray(missing_cell(modality) if cell is None else np.array(cell, dtype), dtype) for cell in cells]
    shape = np.max([array.shape for array in arrays], axis=0).astype(int)
    return np.stack([
        np.pad(array, [(0, most - size) for most, size in zip(shape, array.shape, strict=True)], constant_values=filler)
        if len(shape)
        else array
        for array in arrays
    ])  # fmt: skip


@pytest.fixture(scope="session")
def everything(tmp_path_factory) -> Path:
    """The table's path; nobody changes it."""
    return write_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="session")
def everything_run(everything, tmp_path_factory):
    """A training of two epochs on seven inputs and two targets; nobody changes its folder."""
    from mmkeras.train import train

    run = tmp_path_factory.mktemp("everything_runs") / "first"
    yield from unchanged(train(str(everything.with_name("config.yaml")), run=run))
