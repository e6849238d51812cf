"""Run folders written by hand, without any training: what `train`, `evaluate` and `explain` leave behind, made up.

Every number that a page shows is drawn at random, so that none is right by chance.
"""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import yaml
from PIL import Image

from mmkeras.contracts.config import parse_config
from mmkeras.evaluation.models import FORMAT, OWN, PRIOR, Model, record
from mmkeras.table.manifest import read_table, table_hash

RATE_HZ = 8000
# Columns that need no TensorFlow to be drawn, and such that do
PLAIN = {"note": {"type": "text"}, "weight": {"type": "number"}}
MEDIA = {
    "photo": {"type": "image", "height_px": 12, "width_px": 14, "thumbnail_px": 2},
    "voice": {
        "type": "audio", "seconds": 1.0, "sample_rate_hz": RATE_HZ, "fft_samples": 128, "hop_samples": 100,
        "mel_bins": 9,
    },
}  # fmt: skip
HEADS = {
    "classes": {"type": "classification"},
    "numbers": {"type": "regression"},
    "labels": {"type": "multilabel"},
}
HOSTILE = (
    "<script>window.broken = 1</script>",
    '"><img src=x onerror="window.broken = 2">',
    "</script><script>window.broken = 3</script>",
    "{{ 7 * 7 }} {% raw %}",
    "a null byte \0 and a bell \x07",
    "שלום עולם ‮ reversed",
    "👩‍👩‍👧‍👦 🇨🇭 نص عربي 中文",
    "very long " * 2000,
    "unbroken" * 500,
)


def write_run(
    folder: Path,
    *,
    targets: dict[str, str] | None = None,
    classes: int = 3,
    rows: int = 40,
    columns: dict | None = None,
    split: str = "test",
    texts: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    explained: int = 8,
    seed: int = 0,
) -> Path:
    """A finished run, judged and explained; returns its folder.

    Args:
        folder: Where the table and the run go.
        targets: {name: key of HEADS}.
        classes: How many classes a target has.
        rows: Judged rows; as many train.
        columns: Of the config.
        split: Which rows were judged.
        texts: Cells of the text column, again and again.
        names: Classes to begin with.
        explained: How many judged rows are explained; 0: no explanation at all.
        seed: Of everything that is random.
    """
    rng = np.random.default_rng(seed)
    targets, columns = targets or {"intent": "classes"}, columns or PLAIN
    known = [*names, *(f"class {i}" for i in range(len(names), classes))]
    table = _table(folder, targets, known, 2 * rows, columns, texts, rng)
    run = folder / "run"
    run.mkdir()
    config = {
        "manifest": str(folder / "table.parquet"),
        "columns": columns,
        "fusion": {"type": "concat"},
        "targets": {target: HEADS[kind] for target, kind in targets.items()},
    }
    splits = ["train"] * rows + [split] * rows
    schema = _schema(parse_config(config, "config"), table[:rows], columns)
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (run / "schema.json").write_text(schema.model_dump_json(), encoding="utf-8")
    manifest = read_table(folder / "table.parquet")
    _write(run / "table.json", {"path": str(folder / "table.parquet"), "sha256": table_hash(manifest)})
    pd.DataFrame({"row": range(1, 2 * rows + 1), "split": splits}).to_csv(run / "splits.csv", index=False)
    (run / "bad_rows.csv").write_text("row,column,path,reason,done\n")
    (run / "run.log").write_text("2026-01-02 03:04:05,678 INFO begun\n2026-01-02 03:04:06,789 WARNING look <here>\n")
    (run / "model.weights.h5").touch()
    found = {
        target: _judged(kind, table[target][rows:], known, sorted(columns), rng) for target, kind in targets.items()
    }
    _write(run / "history.json", _history(targets, rng))
    _write(run / "evaluation.json", _evaluation(found, rows, split))
    _write(run / "metrics.json", {
        split: {target: each[0]["models"][0]["scores"] for target, each in found.items()},
        "bad_cells": {"policy": "error", "cells": 0, "rows": 0, "columns": {}},
        "training": {"best_epoch": 4, "epochs": 6, "seconds": 12.5, "weights": 34567},
    })  # fmt: skip
    answers = pd.concat([each[1] for each in found.values()], axis=1)
    places = np.arange(1, rows + 1)
    head = pd.DataFrame({"row": places, "table_row": places + rows, "split": split, "status": "ok"})
    pd.concat([head, answers], axis=1).to_parquet(run / "evaluation_rows.parquet")
    if explained:
        _explain(run, targets, schema, rows, min(explained, rows), split, rng)
    return run


def edit(run: Path, name: str, change) -> None:
    """Changes a JSON file of a run in place."""
    content = json.loads((run / name).read_text())
    change(content)
    _write(run / name, content)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


# The table


def _table(folder, targets, known, rows, columns, texts, rng) -> pd.DataFrame:
    cells = {
        "note": lambda i: (texts or ("hello <b>there</b>", "where is my parcel?"))[i % len(texts or "xy")],
        "weight": lambda i: f"{rng.normal():.3f}",
        "photo": lambda i: _picture(folder, i, rng),
        "voice": lambda i: _sound(folder, i),
    }
    truth = {
        "classes": lambda i: known[i % len(known)],
        "numbers": lambda i: f"{rng.normal():.3f}",
        "labels": lambda i: "|".join(known[: 1 + i % len(known)]),
    }
    table = {column: [cells[column](i) for i in range(rows)] for column in columns}
    table |= {target: [truth[kind](i) for i in range(rows)] for target, kind in targets.items()}
    found = pd.DataFrame(table, dtype=object)
    found.loc[found.index % 7 == 3, sorted(columns)[-1]] = ""
    folder.mkdir(parents=True, exist_ok=True)
    found.to_parquet(folder / "table.parquet")
    return found


def _picture(folder: Path, i: int, rng) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    return f"{i}.png"


def _sound(folder: Path, i: int) -> str:
    stream, time_s = io.BytesIO(), np.arange(RATE_HZ) / RATE_HZ
    soundfile.write(stream, 0.3 * np.sin(2 * np.pi * (300 + 20 * i) * time_s), RATE_HZ, format="WAV", subtype="PCM_16")
    (folder / f"{i}.wav").write_bytes(stream.getvalue())
    return f"{i}.wav"


def _schema(config, table, columns):
    """The config whose columns and heads know the table; media columns see a few cells."""
    fitted = {}
    for column, modality in config.columns.items():
        cells = [modality.example(seed) for seed in range(3)]
        fitted[column] = modality.adapt(cells)
    heads = {target: head.adapt(table[target]) for target, head in config.targets.items()}
    return config.model_copy(update={"columns": fitted, "targets": heads})


# What evaluate writes


def _judged(kind, truth, known, columns, rng) -> tuple[dict, pd.DataFrame]:
    """One target's part of evaluation.json, and its columns of evaluation_rows.parquet."""
    truth = truth.reset_index(drop=True)
    target = str(truth.name)
    if kind == "numbers":
        said = truth.astype(float) + rng.normal(0, 0.3, len(truth))
        rows = _answers(target, truth, said.map("{:.3f}".format), None, (said - truth.astype(float)).abs(), rng)
        part = _scores({"r2": 0.8, "mae": 0.3, "rmse": 0.4}, columns, rng)
        part |= {"predicts": "numbers", "type": "regression", "classes": None}
        return part | {"numbers": {"truth": truth.astype(float).tolist(), "predicted": said.tolist()}}, rows
    labels = truth.unique()
    answers = truth.where(rng.random(len(truth)) < 0.8, rng.choice(labels, len(truth)))
    rows = _answers(target, truth, answers, rng.uniform(0.3, 1, len(truth)), rng.random(len(truth)), rng)
    metric = "accuracy" if kind == "classes" else "micro_f1"
    part = _scores({metric: rng.uniform(0.7, 0.9), "macro_f1": rng.random()}, columns, rng)
    part |= {"predicts": "distribution" if kind == "classes" else "probabilities", "type": kind, "classes": known}
    part["per_class"] = [_class_scores(name, int((truth == name).sum()), rng) for name in known[:50]]
    part["note"] = "the 50 most frequent classes" if len(known) > 50 else None
    if kind == "classes":
        counts = pd.crosstab(truth, answers).reindex(index=known, columns=known, fill_value=0)
        part["confusion"] = {"classes": known, "counts": counts.to_numpy().tolist()}
        part |= _confidence(rng) | {"curves": [_curves(name, rng) for name in known[:50]]}
    return part, rows


def _answers(target, truth, answers, confidence, loss, rng) -> pd.DataFrame:
    is_right = None if confidence is None else (truth == answers)
    suspects = np.where(rng.random(len(truth)) < 0.1, rng.random(len(truth)), np.nan)
    return pd.DataFrame({
        f"{target} truth": truth.astype(str),
        f"{target} answer": answers.astype(str),
        f"{target} confidence": np.nan if confidence is None else confidence,
        f"{target} right": is_right,
        f"{target} loss": loss,
        f"{target} suspect": np.nan if confidence is None else suspects,
        f"{target} should be": None if confidence is None else answers.where(~np.isnan(suspects), None),
    })  # fmt: skip


def _scores(own: dict, columns, rng) -> dict:
    models = [OWN, PRIOR, Model("classical"), *(Model(kind, name) for kind in ("without", "only") for name in columns)]
    scores = {model: {metric: float(value * rng.uniform(0.4, 1)) for metric, value in own.items()} for model in models}
    scores[OWN] = {metric: float(value) for metric, value in own.items()}
    intervals = {model: {key: _around(value, rng) for key, value in each.items()} for model, each in scores.items()}
    metric = next(iter(own))
    patterns = [[], *([column] for column in columns)]
    return {
        "metric": metric,
        "models": [record(model, each, intervals[model]) for model, each in scores.items()],
        "per_class": None,
        "slices": {"language": [_slice(metric, rng, value=value) for value in ("en", "<i>", "")]},
        "patterns": [_slice(metric, rng, missing=missing) for missing in patterns],
        "confusion": None, "curves": None, "calibration": None, "coverage": None, "numbers": None,
    }  # fmt: skip


def _around(value: float, rng) -> list[float]:
    return [float(value - rng.uniform(0, 0.05)), float(value + rng.uniform(0, 0.05))]


def _slice(metric: str, rng, **what) -> dict:
    value = float(rng.random())
    return {
        **what,
        "rows": int(rng.integers(3, 30)),
        "scores": {metric: value},
        "intervals": {metric: _around(value, rng)},
    }


def _class_scores(name: str, rows: int, rng) -> dict:
    scores = {key: float(rng.random()) for key in ("precision", "recall", "f1")}
    return {
        "class": name,
        "rows": rows,
        **scores,
        "intervals": {key: _around(value, rng) for key, value in scores.items()},
    }


def _confidence(rng) -> dict:
    edges = np.linspace(0, 1, 6)
    bins = [
        {
            "from": float(low), "to": float(high), "rows": int(rng.integers(1, 9)),
            "confidence": float((low + high) / 2), "accuracy": float(low),
            "low": float(max(0, low - 0.1)), "high": float(min(1, low + 0.1)),
        }
        for low, high in zip(edges, edges[1:], strict=False)
    ]  # fmt: skip
    curve = [{"coverage": c / 10, "accuracy": 1 - c / 50, "confidence": 1 - c / 10} for c in range(1, 11)]
    return {
        "calibration": {"temperature": 1.3, "ece": 0.04, "ece_uncalibrated": 0.09, "bins": bins},
        "coverage": {
            "wanted": 0.95, "coverage": float(rng.random()), "confidence": 0.8, "chosen_on": "valid", "accuracy": 0.96,
            "curve": curve,
        },
    }  # fmt: skip


def _curves(name: str, rng) -> dict:
    steps = [0.0, 0.2, 0.6, 1.0]
    return {
        "class": name,
        "roc": {"false_positive_rate": steps, "true_positive_rate": [0, 0.7, 0.9, 1.0], "area": float(rng.random())},
        "precision_recall": {"precision": steps[::-1], "recall": steps, "average_precision": float(rng.random())},
    }


def _evaluation(found: dict, rows: int, split: str) -> dict:
    told = {
        "name": f"{rows} {split} rows", "split": split, "table": None, "count": rows, "groups": "customer",
        "resamples": 1000, "by": ["language"],
    }  # fmt: skip
    return {
        "format": FORMAT,
        "rows": told,
        "targets": {t: part for t, (part, _) in found.items()},
        "warnings": ["beware of <this>"],
    }


def _history(targets: dict, rng) -> dict:
    names = ["loss", *(f"{target}_accuracy" for target in targets)]
    return {key: rng.random(6).tolist() for name in names for key in (name, f"val_{name}")}


# What explain writes


def _explain(run: Path, targets, schema, rows: int, explained: int, split: str, rng) -> None:
    folder = run / "explanation"
    folder.mkdir()
    columns = sorted(schema.columns)
    chosen = [rows + 1 + i for i in range(explained)]
    worth = {}
    for target in targets:
        each = {column: float(rng.uniform(0.1, 0.5)) for column in columns}
        worth[target] = {
            "explains": "probability of the answer", "unit": None, "prior": 0.33,
            "columns": {
                column: {"mean": -value / 2, "mean_absolute": value, "interval": _around(value, rng), "weight": None}
                for column, value in each.items()
            },
        }  # fmt: skip
    table = [
        {
            "row": row, "target": target, "answer": "?", "explained": 0.9, "prior": 0.3, "column": column,
            "value": float(rng.normal()), "weight": np.nan, "present": True,
        }
        for row in chosen
        for target in targets
        for column in columns
    ]  # fmt: skip
    pd.DataFrame(table).to_parquet(folder / "shapley.parquet")
    shapes = {"weight": (), "photo": (12, 14)}
    held = {
        f"{t}.{c}": ([target, column, "integrated gradients"], rng.normal(size=(explained, *shapes[column])))
        for t, target in enumerate(targets)
        for c, column in enumerate(columns)
        if column in shapes
    }
    np.savez_compressed(folder / "attributions.npz", **{key: array for key, (_, array) in held.items()})
    curve = {"share": [0.0, 0.5, 1.0], "attribution": [0.9, 0.3, 0.2], "random": [0.9, 0.7, 0.2]}
    check = {
        "deletion": {"most_important_first": 0.4, "random": 0.61, "curve": curve},
        "random_weights": {"rank_correlation": 0.07},
        "faults": ["it marks <nothing>"],
    }
    _write(folder / "explanation.json", {
        "rows": chosen, "table": None, "split": split, "method": "exact", "steps": 32, "targets": worth,
        "columns": {
            column: {"methods": ["integrated gradients"], "completeness": {"median": 0.01, "worst": 0.2}}
            for column in columns
        },
        "checks": {column: {"integrated gradients": check} for column in columns},
        "arrays": {key: name for key, (name, _) in held.items()},
    })  # fmt: skip
