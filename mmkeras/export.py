"""A SavedModel of raw rows: `python -m mmkeras.export`, `mmkeras export`, `from mmkeras.export import export`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkeras.component import Modality, layer_name, walk
from mmkeras.config import Config
from mmkeras.inference import PRIOR, named_answers
from mmkeras.lazy import lazy
from mmkeras.model import COLUMN_WEIGHTS, with_column_weights
from mmkeras.preprocessing import Preprocessor
from mmkeras.run import Run
from mmkeras.terminal import run_command, say

if TYPE_CHECKING:
    import keras as keras_types
    import tensorflow as tf_types

tf = lazy("tensorflow")
keras = lazy("keras")

ASSETS = "assets.extra"  # TensorFlow's name for files that travel with a SavedModel


def export(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    folder: Annotated[Path, typer.Argument(help="The SavedModel's folder; must not be there yet.")],
) -> Path:
    """Writes a SavedModel that takes raw strings and file bytes, one per column, and needs no mmkeras.

    **Example**

    `python -m mmkeras.export runs/customer_service-20260101-120000 my_model`

    It needs `import tensorflow` and, where a column is text, `import tensorflow_text`; `assets.extra/signature.json`
    says what to send and what comes back.
    """
    run, folder = Run(run), Path(folder)
    if folder.exists():
        raise ValueError(f"{folder}: exists already; choose another folder or delete it")
    write_saved_model(run.model(), run.schema, folder)
    say(f"SavedModel in {folder}; what to send and what comes back: {folder / ASSETS / 'signature.json'}")
    return folder


def write_saved_model(model: keras_types.Model, schema: Config, folder: Path) -> None:
    """What `export` writes of a model; the folder appears when all of it is there.

    Args:
        model: As `build_model` makes it.
        schema: Adapted columns and targets, those of the model.
        folder: Not there yet.
    """
    model = with_column_weights(model)
    preprocessor = Preprocessor(schema.columns)

    def serve(cells: dict[str, tf_types.Tensor]) -> dict[str, tf_types.Tensor]:
        features, faults = preprocessor.examine(cells)
        predictions = model(features, training=False)
        answers = named_answers(schema.targets, predictions)
        weights = {COLUMN_WEIGHTS: predictions[COLUMN_WEIGHTS]} if COLUMN_WEIGHTS in predictions else {}
        return {**answers, **weights, "status": _statuses(features, faults)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=[preprocessor.cells])
    temporary = folder.with_name(folder.name + ".part")
    with _quiet():
        archive.write_out(str(temporary), verbose=False)
    _write_assets(temporary / ASSETS, schema, COLUMN_WEIGHTS in model.output)
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


def _statuses(features: Mapping[str, Any], faults: Mapping[str, Any]) -> Any:
    """(B,) strings as `predict` gives them: `ok`, `bad: photo: truncated JPEG; missing: voice`."""
    found, given = "", 0.0
    for column in sorted(features):
        word = tf.where(faults[column] == "", f"; missing: {column}", f"; bad: {column}: " + faults[column])
        found += tf.where(features[column]["present"] > 0, "", word)
        given += features[column]["present"]
    found = tf.where(found == "", "ok", tf.strings.regex_replace(found, "^; ", ""))
    return tf.where(given > 0, found, PRIOR + "; " + found)


def _write_assets(folder: Path, schema: Config, has_weights: bool) -> None:
    folder.mkdir()
    # Options of filesystems may hold a password, and a served model reads no files.
    (folder / "schema.json").write_text(schema.model_dump_json(indent=1, exclude={"filesystems"}), encoding="utf-8")
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


if __name__ == "__main__":
    run_command(export)
