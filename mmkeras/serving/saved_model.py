"""A SavedModel of raw rows: preprocessing, network and answers in one graph."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkeras.base import run_files
from mmkeras.contracts.config import Config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import layer_name, walk
from mmkeras.features.preprocessing import Preprocessor
from mmkeras.network.inference import named_answers
from mmkeras.network.network import COLUMN_WEIGHTS, Network
from mmkeras.network.statuses import PRIOR, statuses

if TYPE_CHECKING:
    import tensorflow as tf_types
from mmkeras.base.lazy import lazy

keras = lazy("keras")
tf = lazy("tensorflow")


ASSETS = "assets.extra"  # TensorFlow's name for files that travel with a SavedModel


def write_saved_model(network: Network, schema: Config, folder: Path) -> None:
    """What `export` writes of a network; the folder appears when all of it is there.

    Args:
        network: Trained.
        schema: Adapted columns and targets, those of the network.
        folder: Not there yet.
    """
    model = network.told(network.all_told)
    preprocessor = Preprocessor(schema.columns)

    def serve(cells: dict[str, tf_types.Tensor]) -> dict[str, tf_types.Tensor]:
        features, faults = preprocessor.examine(cells)
        predictions = model(features, training=False)
        answers = named_answers(schema.targets, predictions)
        present = {column: each["present"] for column, each in features.items()}
        weights = {COLUMN_WEIGHTS: predictions[COLUMN_WEIGHTS]} if COLUMN_WEIGHTS in predictions else {}
        return {**answers, **weights, "status": statuses(present, faults)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=[preprocessor.cells])
    temporary = folder.with_name(folder.name + ".part")
    with _quiet():
        archive.write_out(str(temporary), verbose=False)
    _write_assets(temporary / ASSETS, schema, network.weighs_columns)
    os.replace(temporary, folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TensorFlow's line about a temporary folder."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_assets(folder: Path, schema: Config, has_weights: bool) -> None:
    folder.mkdir()
    # Options of filesystems may hold a password, and a served model reads no files.
    (folder / run_files.SCHEMA).write_text(schema.model_dump_json(indent=1, exclude={"filesystems"}), encoding="utf-8")
    (folder / "signature.json").write_text(
        json.dumps(_signature(schema, has_weights), indent=2, ensure_ascii=False), encoding="utf-8"
    )
    for target, head in walk(schema.targets):
        if classes := getattr(head, "classes", None):
            (folder / f"{target}_labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")


def _signature(schema: Config, has_weights: bool) -> dict[str, Any]:
    """What a client needs to know, in words."""
    prefix = "" if len(schema.targets) == 1 else "{}_"
    outputs = {
        prefix.format(target) + name: text
        for target, head in walk(schema.targets)
        for name, text in head.answer_description.items()
    }
    if has_weights:
        outputs[COLUMN_WEIGHTS] = (
            f"(B, {len(schema.columns)}) float32 in [0, 1], what {', '.join(sorted(schema.columns))} weighed"
        )
    return {
        "signature": "serving_default",
        "inputs": {layer_name(column): _input_description(modality) for column, modality in walk(schema.columns)},
        "columns": {layer_name(column): column for column, _ in walk(schema.columns)},
        "outputs": {
            **outputs,
            "status": "(B,) string: ok, or what is missing or bad, such as `bad: photo: truncated JPEG; missing: voice`"
            f"; begins with `{PRIOR}` where every column is, and the answer is that of the training rows as a whole",
        },
    }


def _input_description(modality: Modality) -> str:
    shape = ", ".join(["B", *("any" if size is None else str(size) for size in modality.cell.shape)])
    return f"({shape}{',' * (shape == 'B')}) {modality.cell_description}"
