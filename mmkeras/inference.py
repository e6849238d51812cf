"""Rows to predictions, each with a status, chunk by chunk: what `predict` and `evaluate` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmkeras.component import Head, walk
from mmkeras.config import Config
from mmkeras.dataset import Features, batches, prepare, table_cells
from mmkeras.lazy import lazy
from mmkeras.manifest import Manifest
from mmkeras.terminal import progress

if TYPE_CHECKING:
    import keras

tf = lazy("tensorflow")

CHUNK_ROWS = 1024
BATCH_ROWS = 64


def predict_rows(model: keras.Model, schema: Config, manifest: Manifest) -> tuple[dict[str, np.ndarray], pd.Series]:
    """{target: (N, …)} predictions and (N,) statuses, in the table's order.

    A status is `ok`, or what is missing or bad, column by column: `missing: photo; bad: voice: holds no samples`.
    Memory is bounded: rows go through in chunks.
    """
    cells = table_cells(manifest, schema.columns)
    step = forward_step(model)
    parts: list[dict[str, np.ndarray]] = []
    statuses: list[pd.Series] = []
    with progress("predicting", len(manifest.rows)) as advance:
        for start in range(0, len(manifest.rows), CHUNK_ROWS):
            chunk = {column: values.iloc[start : start + CHUNK_ROWS] for column, values in cells.items()}
            count = len(next(iter(chunk.values())))
            features = Features({
                column: prepare(modality, chunk[column], "memory") for column, modality in walk(schema.columns)
            })  # fmt: skip
            parts.append(forward(step, features, np.arange(count)))
            statuses.append(_statuses(features, chunk))
            advance(count)
    predictions = {target: np.concatenate([part[target] for part in parts]) for target in schema.targets}
    return predictions, pd.concat(statuses, ignore_index=True)


def forward_step(model: keras.Model) -> Callable[[Any], dict[str, Any]]:
    """The model without training's randomness, as one function that is traced once whatever the number of rows."""
    signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), model.input)
    step = tf.function(lambda features: model(features, training=False), input_signature=[signature])
    # TensorFlow counts the traces of a line of code and would warn of retracing after five models.
    return step.get_concrete_function()


def forward(step: Callable[[Any], dict[str, Any]], features: Features, rows: np.ndarray) -> dict[str, np.ndarray]:
    """{target: (R, …)} of (R,) row numbers."""
    parts = [step(batch) for batch in batches(features, rows, BATCH_ROWS)]
    return {target: np.concatenate([part[target] for part in parts]) for target in parts[0]}


def named_answers(heads: Mapping[str, Head], predictions: Mapping[str, Any]) -> dict[str, Any]:
    """Every head's answer by name; names begin with the target where there are several targets."""
    return {
        name if len(heads) == 1 else f"{target}_{name}": tensor
        for target, head in walk(heads)
        for name, tensor in head.answer(predictions[target]).items()
    }


def _statuses(features: Features, cells: Mapping[str, pd.Series]) -> pd.Series:
    found = pd.Series("", index=range(len(next(iter(cells.values())))))
    for column, values in sorted(cells.items()):
        held = features.columns[column]
        reasons = np.array(
            [f"bad: {column}: {held.bad.get(i, '')}" for i in range(int(held.index.max()) + 1)], dtype=object
        )
        is_missing, is_bad = (values == "").to_numpy(), np.isin(held.index, list(held.bad))
        found[is_missing] += f"; missing: {column}"
        found[is_bad] += "; " + pd.Series(reasons[held.index])[is_bad]
    return found.str.removeprefix("; ").replace("", "ok")
