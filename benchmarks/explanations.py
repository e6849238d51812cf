"""Whether explanations find what decided: generated data in which the deciding part of every row is known.

    python benchmarks/explanations.py
    python benchmarks/explanations.py --only word,patch --rows 300

In each row of three classes one part tells the class: a word, a patch of a picture, a moment and band of a sound, a
slot of a series' channel, a frame, or one column of three. It lies at a place drawn at random, among parts that say
nothing. A small model is trained on it; of the test rows that it answers rightly, the hit rate is the share in which
the part with the greatest attribution is the planted one. Beside it stand the areas under the deletion curves, the
explained one's and the random one's, and the rank correlation with an untrained model's attributions.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import pandas as pd
import soundfile
import typer
import yaml
from PIL import Image

from mmkeras.base.terminal import progress, run_command, silence
from mmkeras.explain import explain
from mmkeras.explanation.result import Explanation
from mmkeras.train import train
from mmkeras.training.run import Run

KINDS = ("enquiry", "order", "return")
WORDS = {"enquiry": ("price", "colour"), "order": ("parcel", "courier"), "return": ("refund", "broken")}
FILLERS = ["the", "my", "please", "today", "again", "hello", "about", "with", "from", "it", "shop", "red", "seven"]
PICTURE_PX, PATCH_PX = 32, 8
RATE_HZ, SLOTS, SLOT_SECONDS = 8000, 8, 0.125
TONES_HZ = {"enquiry": 400, "order": 1100, "return": 2600}
STEPS, SLOT_STEPS = 40, 5
FRAMES, FRAME_PX = 6, 16
SPLITS = ("train",) * 7 + ("valid",) + ("test",) * 2


@dataclass(frozen=True)
class Planted:
    """One kind of truth.

    Attributes:
        columns: As a config has them.
        draw: A function: a row's kind, a folder, its number, chance -> its cells by column, and where the truth lies.
        places: A function: a column's schema and (N, *attribution) -> (N, places) how much each place got.
        train: Settings of the training.
        chance: How many places a row has, of which one is right.
    """

    columns: dict[str, dict[str, Any]]
    draw: Callable[[str, Path, int, np.random.Generator], tuple[dict[str, Any], int]]
    places: Callable[..., np.ndarray] | None
    chance: int
    train: dict[str, Any] = field(default_factory=dict)


def explanations(
    rows: Annotated[int, typer.Option(min=60, help="Of each kind of truth.")] = 700,
    only: Annotated[str | None, typer.Option(help="Some of them, such as word,patch.")] = None,
) -> pd.DataFrame:
    """Prints a markdown table of hit rates, deletion curves and random-weights tests."""
    chosen = list(PLANTED) if only is None else [name.strip() for name in only.split(",")]
    if unknown := [name for name in chosen if name not in PLANTED]:
        raise ValueError(f'--only: unknown "{unknown[0]}"; expected some of {", ".join(PLANTED)}')
    found = []
    with progress("training and explaining", len(chosen)) as advance:
        for name in chosen:
            with tempfile.TemporaryDirectory() as folder:
                found += judged(name, rows, Path(folder))
            advance(1)
    table = pd.DataFrame(found)
    print(as_markdown(table))
    return table


def judged(name: str, rows: int, folder: Path) -> list[dict[str, Any]]:
    """A line for each method: trains on planted truth and looks whether explanations of test rows find it."""
    planted, started = PLANTED[name], time.perf_counter()
    truth = write_table(planted, rows, folder)
    with silence():
        keras.utils.set_random_seed(0)
        run = train(str(folder / "config.yaml"), run=folder / "run")
        explanation = explain(run)
    place = truth[np.array(explanation.rows) - 1]
    right = answered_rightly(run, explanation)
    lines = []
    for method, hits in _hits(planted, run, explanation, place).items():
        check = _check_of(explanation, method)
        lines.append({
            "planted": name,
            "method": method,
            "accuracy": right.mean(),
            "rows": int(right.sum()),
            "hits": hits[right].mean(),
            "chance": 1 / planted.chance,
            **check,
            "seconds": time.perf_counter() - started,
        })  # fmt: skip
    return lines


def write_table(planted: Planted, rows: int, folder: Path) -> np.ndarray:
    """Writes table, files and `config.yaml`; returns (N,) where the truth of each row lies."""
    rng = np.random.default_rng(0)
    table, truth = [], []
    for i in range(rows):
        kind = KINDS[i % 3]
        cells, place = planted.draw(kind, folder, i, rng)
        table.append({**cells, "kind": kind, "split": SPLITS[i // 3 % len(SPLITS)]})
        truth.append(place)
    pd.DataFrame(table).to_csv(folder / "table.csv", index=False)
    config = {
        "manifest": "table.csv",
        "columns": planted.columns,
        "fusion": {"type": "weighted"},
        "targets": {"kind": {"type": "classification"}},
        "split": {"column": "split"},
        "train": {"epochs": 25, "batch_size": 32, "learning_rate": 0.002, "seed": 0, **planted.train},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return np.array(truth)


def answered_rightly(run: Run, explanation: Explanation) -> np.ndarray:
    """(N,) bool of the explained rows."""
    answers = explanation.values.drop_duplicates("row").set_index("row")["answer"][explanation.rows]
    truth = run.table().rows["kind"].iloc[np.array(explanation.rows) - 1]
    return answers.to_numpy() == truth.to_numpy()


def as_markdown(table: pd.DataFrame) -> str:
    """The table as the README has it."""
    lines = [
        "| planted | explained by | hit rate | by chance | deletion area | at random | like untrained | accuracy |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for line in table.to_dict("records"):
        figures = ("hits", "chance", "first", "random", "untrained", "accuracy")
        cells = ["" if np.isnan(line[name]) else f"{line[name]:.2f}" for name in figures]
        lines.append(f"| {line['planted']} | {line['method']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _hits(planted: Planted, run: Run, explanation: Explanation, truth: np.ndarray) -> dict[str, np.ndarray]:
    """{method: (N,) bool}: whether the greatest of all places is the planted one."""
    if planted.places is None:
        values = explanation.values.pivot(index="row", columns="column", values="value").loc[explanation.rows]
        return {"Shapley values": values.to_numpy().argmax(axis=1) == truth}
    [column] = planted.columns
    texts = run.table().rows[column].iloc[np.array(explanation.rows) - 1]
    return {
        method: planted.places(run.schema.columns[column], values, texts).argmax(axis=1) == truth
        for (_, _, method), values in explanation.attributions.items()
    }


def _check_of(explanation: Explanation, method: str) -> dict[str, float]:
    nothing = dict.fromkeys(("first", "random", "untrained"), np.nan)
    if len(explanation.columns) > 1:
        return nothing
    [checks] = explanation.summary["checks"].values()
    check = checks[method]
    return {
        "first": check["deletion"]["most_important_first"],
        "random": check["deletion"]["random"],
        "untrained": check["random_weights"]["rank_correlation"],
    }


# A word of a text


def _text(kind: str, folder: Path, i: int, rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    words = list(rng.choice(FILLERS, rng.integers(5, 10)))
    place = int(rng.integers(0, len(words) + 1))
    words.insert(place, str(rng.choice(WORDS[kind])))
    return {"note": " ".join(words)}, place


def _words(modality: Any, attributions: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Of each word the sum of its pieces."""
    found = np.full((len(texts), 12), -np.inf)
    for row, text in enumerate(texts):
        start = 0
        for place, word in enumerate(text.split()):
            pieces = int((modality.preprocess(word)["tokens"].numpy() > 0).sum())
            found[row, place] = attributions[row, start : start + pieces].sum()
            start += pieces
    return found


# A patch of a picture, a frame of a clip


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _picture(kind: str, folder: Path, i: int, rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """A patch of one colour, and a grey one that says nothing, in noise."""
    pixels = rng.normal(110, 25, (PICTURE_PX, PICTURE_PX, 3))
    side = PICTURE_PX // PATCH_PX
    place, other = rng.choice(side**2, 2, replace=False)
    colors = 60 + 150 * np.eye(3)[KINDS.index(kind)], np.full(3, rng.choice([30, 210]))
    for at, color in zip((place, other), colors, strict=True):
        top, left = PATCH_PX * (at // side), PATCH_PX * (at % side)
        patch = color + rng.normal(0, 12, (PATCH_PX, PATCH_PX, 3))
        pixels[top : top + PATCH_PX, left : left + PATCH_PX] = patch
    (folder / f"{i}.png").write_bytes(_png(pixels))
    return {"photo": f"{i}.png"}, int(place)


def _patches(modality: Any, attributions: np.ndarray, texts: Any) -> np.ndarray:
    side = PICTURE_PX // PATCH_PX
    return attributions.reshape(-1, side, PATCH_PX, side, PATCH_PX).sum(axis=(2, 4)).reshape(-1, side**2)


def _clip(kind: str, folder: Path, i: int, rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """A frame that flashes in one colour among noisy ones."""
    place = int(rng.integers(FRAMES))
    frames = rng.normal(110, 25, (FRAMES, FRAME_PX, FRAME_PX, 3))
    frames[place] += 70 * (np.eye(3)[KINDS.index(kind)] - 0.3)
    names = [f"{i}_{step}.png" for step in range(FRAMES)]
    for name, frame in zip(names, frames, strict=True):
        (folder / name).write_bytes(_png(frame))
    return {"clip": ";".join(names)}, place


def _frames(modality: Any, attributions: np.ndarray, texts: Any) -> np.ndarray:
    return attributions.sum(axis=(2, 3))


# A moment and band of a sound, a slot of a series' channel


def _sound(kind: str, folder: Path, i: int, rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """A beep of one pitch, and a hiss that says nothing, in noise; each in a slot of its own."""
    time_s = np.arange(int(SLOT_SECONDS * RATE_HZ)) / RATE_HZ
    samples = rng.normal(0, 0.01, (SLOTS, len(time_s)))
    place, other = rng.choice(SLOTS, 2, replace=False)
    fade = np.hanning(len(time_s))
    samples[place] += 0.3 * fade * np.sin(2 * np.pi * TONES_HZ[kind] * rng.uniform(0.97, 1.03) * time_s)
    samples[other] += fade * rng.normal(0, 0.1, len(time_s))
    soundfile.write(folder / f"{i}.wav", samples.ravel(), RATE_HZ, subtype="PCM_16")
    return {"voice": f"{i}.wav"}, int(place) * len(KINDS) + KINDS.index(kind)


def _moments(modality: Any, attributions: np.ndarray, texts: Any) -> np.ndarray:
    """Of each slot and third of the bands; a third holds one pitch."""
    frame_s = np.arange(attributions.shape[1]) * modality.hop_samples / RATE_HZ
    slot = np.minimum(frame_s // SLOT_SECONDS, SLOTS - 1).astype(int)
    band = _thirds(modality)
    found = np.zeros((len(attributions), SLOTS, len(KINDS)))
    for t, f in np.ndindex(attributions.shape[1:]):
        found[:, slot[t], band[f]] += attributions[:, t, f]
    return found.reshape(len(attributions), -1)


def _thirds(modality: Any) -> np.ndarray:
    """(F,) which pitch each band is nearest to, in mels."""
    import librosa

    centres = librosa.mel_frequencies(modality.mel_bins + 2, fmax=RATE_HZ / 2)[1:-1]
    pitches = librosa.hz_to_mel(np.array([*TONES_HZ.values()]))
    return np.abs(librosa.hz_to_mel(centres)[:, np.newaxis] - pitches).argmin(axis=1)


def _series(kind: str, folder: Path, i: int, rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """A bump in one of three channels, which channel tells the kind; dips say nothing."""
    values = rng.normal(0, 0.3, (STEPS, len(KINDS)))
    slots = STEPS // SLOT_STEPS
    bump = 2.5 * np.hanning(SLOT_STEPS + 2)[1:-1]
    place, channel = int(rng.integers(slots)), KINDS.index(kind)
    values[place * SLOT_STEPS : (place + 1) * SLOT_STEPS, channel] += bump
    for other in range(len(KINDS)):
        slot = rng.choice([slot for slot in range(slots) if slot != place])
        values[slot * SLOT_STEPS : (slot + 1) * SLOT_STEPS, other] -= bump
    np.save(folder / f"{i}.npy", values.astype(np.float32))
    return {"sensor": f"{i}.npy"}, place * len(KINDS) + channel


def _slots(modality: Any, attributions: np.ndarray, texts: Any) -> np.ndarray:
    slots = STEPS // SLOT_STEPS
    return attributions.reshape(-1, slots, SLOT_STEPS, len(KINDS)).sum(axis=2).reshape(-1, slots * len(KINDS))


# One column of three

COLUMN_CUES: Mapping[str, Mapping[str, Any]] = {
    "level": {"enquiry": 10, "order": 20, "return": 30, "": 0},
    "note": {kind: f"my {words[0]} please" for kind, words in WORDS.items()} | {"": "hello shop please"},
    "place": {"enquiry": "north", "order": "south", "return": "east", "": "middle"},
}


def _three_columns(kind: str, folder: Path, i: int, rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    place = int(rng.integers(3))
    cells = {column: cues[kind if j == place else ""] for j, (column, cues) in enumerate(sorted(COLUMN_CUES.items()))}
    return cells | {"level": cells["level"] + round(rng.normal(), 2)}, place


TEXT = {"type": "text", "max_tokens": 24, "vocabulary_size": 400, "embedding_width": 32, "encoder": {"units": 24}}
PLANTED = {
    "column": Planted(
        {"level": {"type": "number"}, "note": TEXT | {"encoder": "bag"}, "place": {"type": "category"}},
        _three_columns,
        None,
        3,
    ),
    "word": Planted({"note": TEXT}, _text, _words, 8),
    "patch": Planted(
        {
            "photo": {
                "type": "image", "height_px": PICTURE_PX, "width_px": PICTURE_PX, "encoder": {"filters": [16, 32, 48]},
            }
        },
        _picture,
        _patches,
        (PICTURE_PX // PATCH_PX) ** 2,
    ),
    "moment and band": Planted(
        {
            "voice": {
                "type": "audio", "seconds": SLOTS * SLOT_SECONDS, "sample_rate_hz": RATE_HZ, "fft_samples": 256,
                "hop_samples": 125, "mel_bins": 24,
                "encoder": [{"type": "convolution", "filters": [32, 32]}, {"type": "recurrent", "units": 32}],
            }
        },
        _sound,
        _moments,
        SLOTS * len(KINDS),
    ),
    "step and channel": Planted(
        {"sensor": {"type": "timeseries", "steps": STEPS, "fit": "cut", "encoder": {"filters": [32, 48]}}},
        _series,
        _slots,
        STEPS // SLOT_STEPS * len(KINDS),
    ),
    "frame": Planted(
        {
            "clip": {
                "type": "video", "frames": FRAMES, "height_px": FRAME_PX, "width_px": FRAME_PX,
                "encoder": [{"type": "picture", "filters": [12, 24], "places": 2}, "recurrent"],
            }
        },
        _clip,
        _frames,
        FRAMES,
    ),
}  # fmt: skip


if __name__ == "__main__":
    run_command(explanations)
