"""Rows to predictions, each with a status, chunk by chunk: what `predict` and `evaluate` share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, warn
from mmkeras.contracts.config import Config
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk
from mmkeras.features.batches import Source, batches
from mmkeras.features.columns import Features, features_in_chunks, table_cells
from mmkeras.network.build import with_column_weights
from mmkeras.table.manifest import Manifest
from mmkeras.table.paths import ALLOW

if TYPE_CHECKING:
    import keras

tf = lazy("tensorflow")

PRIOR = "prior"  # the first word of the status of a row that has no cell to predict from
PRESENT = "present columns"  # beside the targets, none of which can be called so
CHUNK_ROWS = 1024
BATCH_ROWS = 64


def predict_rows(model: keras.Model, schema: Config, manifest: Manifest) -> tuple[dict[str, np.ndarray], pd.Series]:
    """{target: (N, P)} predictions and (N,) statuses, in the table's order.

    A status is `ok`, or what is missing or bad, column by column: `missing: photo; bad: voice: holds no samples`; it
    begins with `prior` where nothing is left to predict from. Memory is bounded: rows go through in chunks.
    """
    (predictions,), statuses = predict_without(model, schema, manifest, [()])
    return predictions, statuses


def predict_without(
    model: keras.Model, schema: Config, manifest: Manifest, hidden: Sequence[Collection[str]]
) -> tuple[list[dict[str, np.ndarray]], pd.Series]:
    """The same once for each set of columns to hide, as if their cells were missing; statuses of the rows as they are.

    Beside the targets stand `PRESENT` (N, M) bool, which of the columns in sorted order have a good cell, and, where
    the fusion weighs the columns, `column_weights` (N, M).
    """
    found, statuses = zip(*forward_chunks(with_column_weights(model), schema, manifest, hidden), strict=True)
    return [concatenated(parts) for parts in zip(*found, strict=True)], pd.concat(statuses, ignore_index=True)


def forward_chunks(
    model: keras.Model,
    schema: Config,
    manifest: Manifest,
    hidden: Sequence[Collection[str]] = ((),),
    doing: str = "predicting",
) -> Iterator[tuple[list[dict[str, np.ndarray]], pd.Series]]:
    """Chunk by chunk of a table's rows, in order: what a model says without each set of columns, and statuses.

    Args:
        model: Of the schema's columns, with any outputs.
        schema: Fitted.
        manifest: The table.
        hidden: Sets of columns to hide, as if their cells were missing.
        doing: What the progress bar says.
    """
    cells = table_cells(manifest, schema.columns)
    step = forward_step(model)
    rows = np.arange(len(manifest.rows))
    with progress(doing, len(rows)) as advance:
        for places, features, _ in features_in_chunks(schema.columns, cells, rows, CHUNK_ROWS):
            parts = [features.without(columns) for columns in hidden]
            answers = [forward(step, part, np.arange(len(places))) | {PRESENT: _present(part)} for part in parts]
            yield answers, _statuses(features)
            advance(len(places))


def concatenated(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Parts of a table's rows, one after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def forward_step(model: keras.Model) -> Callable[[Any], dict[str, Any]]:
    """The model without training's randomness, as one function that is traced once whatever the number of rows."""
    signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), model.input)
    step = tf.function(lambda features: model(features, training=False), input_signature=[signature])
    # TensorFlow counts the traces of a line of code and would warn of retracing after five models.
    return step.get_concrete_function()


def forward(
    step: Callable[[Any], dict[str, Any]], features: Source, rows: np.ndarray, outputs: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """{output: (R, …)} of (R,) row numbers; of these outputs only, if given, so that no others are held."""
    parts = (step(batch) for batch in batches(features, rows, BATCH_ROWS))
    return concatenated([{name: part[name] for name in outputs or part} for part in parts])


def warn_of_outside(statuses: pd.Series) -> None:
    """Tells of files that were not read because they lie elsewhere, and how they are."""
    if count := int(statuses.str.contains(ALLOW, regex=False).sum()):
        name = "row names" if count == 1 else "rows name"
        warn(
            f"{count} {name} files outside the table's folder, which are not read; "
            "--allow-outside (from Python, allow_outside=True) reads them"
        )


def named_answers(heads: Mapping[str, Head], predictions: Mapping[str, Any]) -> dict[str, Any]:
    """Every head's answer by name; names begin with the target where there are several targets."""
    return {
        name if len(heads) == 1 else f"{target}_{name}": tensor
        for target, head in walk(heads)
        for name, tensor in head.answer(predictions[target]).items()
    }


def _present(features: Features) -> np.ndarray:
    held = [column for _, column in sorted(features.columns.items())]
    return np.stack([column.arrays["present"][column.index] > 0 for column in held], axis=1)


def _statuses(features: Features) -> pd.Series:
    count = len(next(iter(features.columns.values())).index)
    found, is_empty = pd.Series("", index=range(count)), np.ones(count, bool)
    for column, held in sorted(features.columns.items()):
        words = np.where(held.arrays["present"] > 0, "", f"; missing: {column}").astype(object)
        for cell, reason in held.bad.items():
            words[cell] = f"; bad: {column}: {reason}"
        found += words[held.index]
        is_empty &= held.arrays["present"][held.index] == 0
    found = found.str.removeprefix("; ").replace("", "ok")
    return found.mask(is_empty, PRIOR + "; " + found)
