"""A tiny table of text, pictures and sound, and one training on it, shared by the tests of a session.

Test modules ask for it by `pytest_plugins = "fixtures_tables"`.
"""

import io
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from PIL import Image

LABELS = ("complaint", "enquiry", "return")
WORDS = {
    "complaint": ["angry", "bad", "never", "ужасно", "投诉"],
    "enquiry": ["price", "when", "colour", "сколько", "价格"],
    "return": ["refund", "back", "broken", "вернуть", "退货"],
}
FILLERS = ["the", "red", "car", "please", "again", "today", "Ελλάδα"]
ROWS, SAMPLE_RATE_HZ = 60, 8000
SPLITS = ["train"] * 6 + ["valid"] * 2 + ["test"] * 2

CONFIG = {
    "manifest": "table.csv",
    "columns": {
        "question": {
            "type": "text", "max_tokens": 7, "vocabulary_size": 120, "embedding_width": 6, "ngram_buckets": 50,
            "ngram_width": 3, "dropout": 0.2, "encoder": {"type": "recurrent", "both_ways": False, "units": 5},
        },
        "photo": {
            "type": "image", "height_px": 16, "width_px": 14, "size_bins": 3, "thumbnail_px": 2, "dropout": 0.2,
            "encoder": {"type": "picture", "filters": [4, 6]},
        },
        "voice": {
            "type": "audio", "seconds": 0.5, "sample_rate_hz": SAMPLE_RATE_HZ, "fft_samples": 128, "hop_samples": 100,
            "mel_bins": 9, "mask_bands": 2, "mask_frames": 4, "dropout": 0.2,
            "encoder": [{"type": "convolution", "filters": [4]}, {"type": "recurrent", "units": 5}],
        },
    },
    "fusion": {"type": "concat", "units": [11], "dropout": 0.2},
    "targets": {"intent": {"type": "classification"}},
    "split": {"column": "split", "group": "customer"},
    "train": {"epochs": 3, "batch_size": 10, "learning_rate": 0.01},
}  # fmt: skip


def sentence(label: str, rng: np.random.Generator) -> str:
    """A few words of which one tells the label, in three of four sentences."""
    hint = label if rng.random() < 0.75 else rng.choice(LABELS)
    return " ".join([*rng.choice(FILLERS, 3), rng.choice(WORDS[hint]), rng.choice(FILLERS)])


def png(label: str, rng: np.random.Generator, height_px: int = 13, width_px: int = 19) -> bytes:
    """A picture whose strongest colour channel tells the label, mostly."""
    pixels = rng.integers(0, 200, (height_px, width_px, 3))
    pixels += rng.integers(0, 30, 3)
    pixels[..., LABELS.index(label)] += 20
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def wav(label: str, rng: np.random.Generator, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> bytes:
    """A noisy tone whose pitch tells the label, mostly."""
    time_s = np.arange(int(rate_hz * rng.uniform(0.2, 0.7))) / rate_hz
    tone = 0.3 * np.sin(2 * np.pi * 500 * (1 + LABELS.index(label)) * time_s) + rng.normal(0, 0.05, len(time_s))
    stream = io.BytesIO()
    soundfile.write(stream, np.stack([tone] * channels, axis=1), rate_hz, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def write_table(folder: Path, seed: int = 0) -> Path:
    """60 rows, 3 classes, some cells missing, with their files and `config.yaml`; returns the table's path."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(ROWS):
        label, split = LABELS[i % 3], SPLITS[i // 3 % 10]
        (folder / f"{i}.png").write_bytes(png(label, rng))
        (folder / f"{i}.wav").write_bytes(wav(label, rng))
        rows.append([sentence(label, rng), f"{i}.png", f"{i}.wav", f"C{i // 3}", label, split])
    table = pd.DataFrame(rows, columns=["question", "photo", "voice", "customer", "intent", "split"])
    table.loc[[4, 19, 25, 30], "question"] = ""
    table.loc[[7, 18, 27, 28, 41], "photo"] = ""
    table.loc[[9, 18, 20, 28, 29, 54], "voice"] = ""
    table.to_csv(folder / "table.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")
    return folder / "table.csv"


# Fresh interpreters start here, where no mmkeras lies, so that they import the installed one.
HERE = Path(__file__).parent


def python(code: str, *arguments: object, cwd: Path = HERE) -> subprocess.CompletedProcess:
    """Runs code in a fresh interpreter."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def command(*arguments: object, cwd: Path = HERE) -> subprocess.CompletedProcess:
    """Runs `python -m …`."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    """The table's path; nobody changes it."""
    return write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture
def own_table(tmp_path) -> Path:
    """The same for a test that changes it."""
    folder = tmp_path / "own"
    folder.mkdir()
    return write_table(folder)


@pytest.fixture(scope="session")
def config(table) -> Path:
    return table.with_name("config.yaml")


@pytest.fixture(scope="session")
def run(config, tmp_path_factory):
    """A training of three epochs; nobody changes its folder, which other modules look at too."""
    from mmkeras.train import train

    yield from unchanged(train(str(config), run=tmp_path_factory.mktemp("runs") / "first"))


@pytest.fixture(scope="module")
def own_run(run, tmp_path_factory):
    """The same for a module that changes its folder."""
    return type(run)(shutil.copytree(run.folder, tmp_path_factory.mktemp("own") / "run"))


def unchanged(run):
    """The run, then, of a session that is over, an error if a file of its folder is no longer what it was."""

    def digests() -> dict[str, str]:
        files = (path for path in run.folder.rglob("*") if path.is_file())
        return {path.relative_to(run.folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}

    before = digests()
    yield run
    changed = {name for name, _ in before.items() ^ digests().items()}
    assert not changed, f"a test changed the run that others share, its {sorted(changed)}: let it work on a copy"


@pytest.fixture(scope="session")
def saved_model(run, tmp_path_factory) -> Path:
    from mmkeras.export import export

    return export(run, tmp_path_factory.mktemp("exports") / "not yet there" / "model")
