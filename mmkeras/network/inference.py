"""Rows to predictions, each with a status, chunk by chunk: what `predict` and `evaluate` share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, warn
from mmkeras.contracts.config import Config
from mmkeras.contracts.objective import Term
from mmkeras.features.batches import Source, Truth, batches
from mmkeras.features.columns import ColumnFeatures, Features, features_in_chunks, table_cells
from mmkeras.network.network import Network
from mmkeras.network.statuses import statuses
from mmkeras.table.manifest import Manifest
from mmkeras.table.paths import ALLOW

if TYPE_CHECKING:
    pass

pd = lazy("pandas")
tf = lazy("tensorflow")

Step = Callable[[Any], dict[str, Any]]
"""What `Network.step` gives."""
PRESENT = "present columns"  # beside the targets, none of which can be called so
CHUNK_ROWS = 1024
BATCH_ROWS = 64


def predict_rows(network: Network, schema: Config, manifest: Manifest) -> tuple[dict[str, np.ndarray], pd.Series]:
    """{target: (N, P)} predictions and (N,) statuses, in the table's order.

    A status is `ok`, or what is missing or bad, column by column: `missing: photo; bad: voice: holds no samples`; it
    begins with `prior` where nothing is left to predict from. Memory is bounded: rows go through in chunks.
    """
    (predictions,), row_statuses = predict_without(network, schema, manifest, [()])
    return predictions, row_statuses


def predict_without(
    network: Network, schema: Config, manifest: Manifest, hidden: Sequence[Collection[str]]
) -> tuple[list[dict[str, np.ndarray]], pd.Series]:
    """Predictions once for each set of columns to hide, as if their cells were missing; statuses of the rows as given.

    Beside the targets stand `PRESENT` (N, M) bool, which of the columns in sorted order have a good cell, and, where
    the fusion weighs the columns, `COLUMN_WEIGHTS` (N, M).
    """
    step = network.step(network.all_told)
    parts, row_statuses = zip(*forward_chunks(step, schema, manifest, hidden), strict=True)
    return [concatenated(each) for each in zip(*parts, strict=True)], pd.concat(row_statuses, ignore_index=True)


def forward_chunks(
    step: Step,
    schema: Config,
    manifest: Manifest,
    hidden: Sequence[Collection[str]] = ((),),
    doing: str = "predicting",
) -> Iterator[tuple[list[dict[str, np.ndarray]], pd.Series]]:
    """Chunk by chunk of a table's rows, in order: what a network says without each set of columns, and statuses.

    Args:
        step: A network's, with any outputs.
        schema: Fitted.
        manifest: The table.
        hidden: Sets of columns to hide, as if their cells were missing.
        doing: What the progress bar says.
    """
    cells = table_cells(manifest, schema.columns)
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


def forward(
    step: Step, features: Source, rows: np.ndarray, outputs: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """{output: (R, …)} of (R,) row numbers; of these outputs only, if given, so that no others are held."""
    parts = (step(batch) for batch in batches(features, rows, BATCH_ROWS))
    return concatenated([{name: part[name] for name in outputs or part} for part in parts])


def row_losses(
    step: Step, features: Source, rows: np.ndarray, truth: Truth, terms: Mapping[str, Term], batch_size: int
) -> dict[str, np.ndarray]:
    """{output: (R,)} the loss of each of (R,) row numbers, NaN where it does not count; memory holds a batch.

    Args:
        step: A network's, with these outputs.
        features: Of the whole table.
        rows: Row numbers.
        truth: What they are judged by.
        terms: {output: its part of the loss}.
        batch_size: Rows per batch: a loss that compares the rows of a batch depends on it.
    """
    losses: dict[str, list[np.ndarray]] = {output: [] for output in terms}
    for given, truths, weights in batches(features, rows, batch_size, truth):
        outputs = step(given)
        for output, term in terms.items():
            values = np.asarray(term.loss(tf.cast(truths[output], tf.float32), outputs[output]), np.float64)
            losses[output].append(np.where(weights[output].numpy() > 0, values, np.nan))
    return {output: np.concatenate(parts) for output, parts in losses.items()}


def warn_of_outside(statuses: pd.Series) -> None:
    """Tells of files that were not read because they lie elsewhere, and how they are."""
    if count := int(statuses.str.contains(ALLOW, regex=False).sum()):
        name = "row names" if count == 1 else "rows name"
        warn(
            f"{count} {name} files outside the table's folder, which are not read; "
            "--allow-outside (from Python, allow_outside=True) reads them"
        )


def _present(features: Features) -> np.ndarray:
    held = [column for _, column in sorted(features.columns.items())]
    return np.stack([column.arrays["present"][column.index] > 0 for column in held], axis=1)


def _statuses(features: Features) -> pd.Series:
    present = {column: held.arrays["present"][held.index] for column, held in features.columns.items()}
    faults = {column: _faults(held) for column, held in features.columns.items()}
    texts = statuses(present, faults).numpy()
    return pd.Series([text.decode("utf-8", "replace") for text in texts], dtype=object)


def _faults(held: ColumnFeatures) -> np.ndarray:
    """(N,) what is wrong with each row's cell, "" where it is good or missing."""
    texts = np.full(len(held.arrays["present"]), "", object)
    texts[list(held.bad)] = list(held.bad.values())
    return texts[held.index]
