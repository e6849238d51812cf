"""Rows to features: cells are read and preprocessed in parallel once, and kept by content.

A column's features are computed for its distinct cells only: one picture with ten captions is decoded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mmkeras.cache import cache_folder, key, read, write
from mmkeras.component import Modality, walk
from mmkeras.lazy import lazy
from mmkeras.manifest import BadCell, Manifest, media_cells
from mmkeras.paths import read_cell, shown

if TYPE_CHECKING:
    import tensorflow as tf_types

    from mmkeras.component import Cell

tf = lazy("tensorflow")

CHUNK_CELLS = 32
ADAPT_FILES = 2000  # so many files tell a mean and a deviation well enough
Progress = Callable[[int], None]


@dataclass(frozen=True)
class ColumnFeatures:
    """One column's features.

    Attributes:
        arrays: {feature: (U, …)} over the column's U distinct cells.
        index: (N,) which of them each row holds.
        bad: {distinct cell: what is wrong with it}; its features are those of a missing cell.
    """

    arrays: dict[str, np.ndarray]
    index: np.ndarray
    bad: dict[int, str]

    def rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """{feature: (B, …)} of (B,) row numbers."""
        distinct = self.index[rows]
        return {feature: array[distinct] for feature, array in self.arrays.items()}

    def hidden(self) -> ColumnFeatures:
        """The same rows as if every cell were missing."""
        arrays = {feature: np.zeros((1, *array.shape[1:]), array.dtype) for feature, array in self.arrays.items()}
        return ColumnFeatures(arrays, np.zeros_like(self.index), {})


@dataclass(frozen=True)
class Features:
    """All columns' features of a table."""

    columns: dict[str, ColumnFeatures]

    def rows(self, rows: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """{column: {feature: (B, …)}} of (B,) row numbers."""
        return {column: features.rows(rows) for column, features in self.columns.items()}

    def without(self, columns: Collection[str]) -> Features:
        """The same rows as if the cells of these columns were missing."""
        return Features({
            column: features.hidden() if column in columns else features for column, features in self.columns.items()
        })  # fmt: skip

    def bad_cells(self, cells: Mapping[str, pd.Series]) -> list[BadCell]:
        """Every cell that could not be used, by row."""
        found = [
            BadCell(int(row) + 1, column, shown(cells[column].iloc[row]), features.bad[int(features.index[row])])
            for column, features in self.columns.items()
            for row in np.flatnonzero(np.isin(features.index, list(features.bad)))
        ]
        return sorted(found, key=lambda cell: (cell.row, cell.column))


def table_cells(manifest: Manifest, columns: Mapping[str, Modality]) -> dict[str, pd.Series]:
    """{column: (N,) strings}: the cells, paths in them absolute; "" where a cell is missing, `paths.refused` if bad."""
    return {column: media_cells(manifest, column, modality) for column, modality in walk(columns)}


def adapt(modality: Modality, values: pd.Series) -> Modality:
    """The modality fitted on the distinct cells of training rows (a fixed sample of 2000, where cells are files).

    One that counts how often its cells stand in the table gets them as often.
    """
    filled = values[values != ""]
    if modality.every_row:
        return modality.adapt(cell for cell in read_cells(modality, filled) if cell is not None)
    distinct = pd.Series(filled.unique())
    if modality.from_file and len(distinct) > ADAPT_FILES:
        distinct = distinct.sample(ADAPT_FILES, random_state=0).sort_index()
    return modality.adapt(_readable_cells(modality, distinct.tolist()))


def prepare(
    modality: Modality, values: pd.Series, cache: Literal["disk", "memory"], progress: Progress = lambda cells: None
) -> ColumnFeatures:
    """A column's features, from the cache where it holds them.

    Args:
        modality: Adapted.
        values: (N,) strings as `table_cells` gives them.
        cache: Where they are kept. On disk, two processes that prepare the same features at once both succeed: each
            writes to a folder of its own and the first to finish gives it its name.
        progress: Told how many more distinct cells are done.
    """
    index, distinct = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=False)
    if cache == "memory":
        arrays = _new_arrays(modality, len(distinct))
        return ColumnFeatures(arrays, index, _compute(modality, distinct, arrays, progress))
    folder = cache_folder() / key(modality, distinct)
    if folder.is_dir():
        progress(len(distinct))
    else:
        write(folder, modality, len(distinct), lambda arrays: _compute(modality, distinct, arrays, progress))
    arrays, bad = read(folder, modality)
    return ColumnFeatures(arrays, index, bad)


def read_cells(modality: Modality, values: pd.Series) -> list[Cell | None]:
    """Each row's canonical cell, None where it is missing or unreadable; distinct cells are read once."""
    index, distinct = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=False)
    cells = _cells(modality, distinct).prefetch(CHUNK_CELLS).as_numpy_iterator()
    contents = [None if error or is_missing(cell) else native(modality, cell) for cell, error in cells]
    return [contents[i] for i in index]


def missing_cell(modality: Modality) -> np.ndarray:
    """What a serving client sends where it has nothing: empty strings or NaN, no steps."""
    shape = [size or 0 for size in modality.cell.shape]
    if modality.cell.dtype == tf.string:
        return np.full(shape, b"", dtype=object)
    return np.full(shape, np.nan, modality.cell.dtype.as_numpy_dtype)


def is_missing(cell: np.ndarray | bytes) -> bool:
    """Whether a cell is nothing but empty strings or NaN."""
    cell = np.asarray(cell, dtype=object) if isinstance(cell, bytes) else np.asarray(cell)
    return not np.any(cell.astype(bool)) if cell.dtype == object else bool(np.isnan(cell).all())


# Reading and preprocessing


def _cells(modality: Modality, values: Sequence[str]) -> tf_types.data.Dataset:
    """(cell, what is wrong with it or "") of each value, in order, read on several threads."""
    spec, missing = modality.cell, missing_cell(modality)

    def read(value: bytes) -> list[np.ndarray]:
        try:
            content, error = _array(read_cell(modality, value.decode("utf-8")), spec) if value else missing, b""
        except (ValueError, OSError) as problem:
            content, error = missing, (str(problem) or type(problem).__name__).encode("utf-8")
        return [content, np.array(error, dtype=object)]

    def read_in_graph(value: tf_types.Tensor):
        cell, error = tf.numpy_function(read, [value], (spec.dtype, tf.string), stateful=False)
        return tf.ensure_shape(cell, spec.shape), tf.ensure_shape(error, ())

    paths = tf.data.Dataset.from_tensor_slices(tf.constant(list(values), tf.string))
    return paths.map(read_in_graph, num_parallel_calls=tf.data.AUTOTUNE)


def _array(cell: Cell, spec: tf_types.TensorSpec) -> np.ndarray:
    """A cell as `Modality.read` gives it, for TensorFlow."""
    if spec.dtype != tf.string:
        return np.asarray(cell, spec.dtype.as_numpy_dtype)
    # Arrays of objects: NumPy's own bytes type would cut zeros off the end of a file.
    return np.array(cell.encode("utf-8") if isinstance(cell, str) else cell, dtype=object)


def native(modality: Modality, cell: np.ndarray | bytes) -> Cell:
    """A cell as `Modality.read` gave it: TensorFlow knows strings as bytes only."""
    if isinstance(cell, bytes):
        return cell if modality.from_file else cell.decode("utf-8")
    return cell.tolist() if cell.dtype == object or not cell.ndim else cell


def _readable_cells(modality: Modality, values: Sequence[str]) -> Iterator[Cell]:
    for cell, error in _cells(modality, values).prefetch(CHUNK_CELLS).as_numpy_iterator():
        if not error and not is_missing(cell):
            yield native(modality, cell)


def _compute(
    modality: Modality, distinct: Sequence[str], arrays: dict[str, np.ndarray], progress: Progress
) -> dict[int, str]:
    """Fills the arrays; returns what is wrong with which distinct cell."""
    examine = _traced(modality)

    def features_and_error(cell: tf_types.Tensor, error: tf_types.Tensor):
        features, fault = examine(cell)
        return features, tf.where(error == "", fault, error)

    dataset = _cells(modality, distinct).map(features_and_error, num_parallel_calls=tf.data.AUTOTUNE)
    bad: dict[int, str] = {}
    start = 0
    for features, errors in dataset.batch(CHUNK_CELLS).prefetch(2).as_numpy_iterator():
        for feature, values in features.items():
            arrays[feature][start : start + len(errors)] = values
        bad.update({start + i: error.decode("utf-8") for i, error in enumerate(errors) if error})
        start += len(errors)
        progress(len(errors))
    return bad


@functools.lru_cache(maxsize=32)
def _traced(modality: Modality) -> Callable[[Any], tuple[dict[str, Any], Any]]:
    """Its `examine`, traced once however many chunks of rows go through."""
    return tf.function(modality.examine)


def _new_arrays(modality: Modality, cells: int) -> dict[str, np.ndarray]:
    return {
        feature: np.empty((cells, *spec.shape), spec.dtype.as_numpy_dtype)
        for feature, spec in modality.features.items()
    }
