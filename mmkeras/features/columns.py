"""Rows to features: cells are read and preprocessed in parallel once, and kept by content.

A column's features are computed for its distinct cells only: one picture with ten captions is decoded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.threads import cores, in_order
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk
from mmkeras.features.cache import CACHE_GB, cache_folder, key, read, write
from mmkeras.features.cells import chunked
from mmkeras.features.shards import Stored
from mmkeras.table.manifest import BadCell, Manifest, media_cells
from mmkeras.table.paths import read_cell, shown

if TYPE_CHECKING:
    import tensorflow as tf_types

    from mmkeras.contracts.modality import Cell

pd = lazy("pandas")
tf = lazy("tensorflow")

CHUNK_CELLS, CHUNKS_EACH = 32, 4  # at most so many cells, and so many chunks for each core where there are as many
ADAPT_FILES = 2000  # so many files tell a mean and a deviation well enough
Progress = Callable[[int], None]


@dataclass(frozen=True)
class ColumnFeatures:
    """One column's features.

    Attributes:
        arrays: {feature: (U, …)} over the column's U distinct cells; `Stored` ones are read from disk batch by batch.
        index: (N,) which of them each row holds.
        bad: {distinct cell: what is wrong with it}; its features are those of a missing cell.
    """

    arrays: Mapping[str, np.ndarray]
    index: np.ndarray
    bad: dict[int, str]

    @property
    def specs(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """{feature: its shape without the axis of cells, its type}."""
        if isinstance(self.arrays, Stored):
            return {feature.name: (feature.shape, np.dtype(feature.dtype)) for feature in self.arrays.features}
        return {name: (array.shape[1:], array.dtype) for name, array in self.arrays.items()}

    def rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """{feature: (B, …)} of (B,) row numbers."""
        distinct = self.index[rows]
        if isinstance(self.arrays, Stored):
            return self.arrays.take(distinct)
        return {feature: array[distinct] for feature, array in self.arrays.items()}

    def hidden(self) -> ColumnFeatures:
        """As many rows, every cell of which is missing."""
        arrays = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in self.specs.items()}
        return ColumnFeatures(arrays, np.zeros_like(self.index), {})


@dataclass(frozen=True)
class Features:
    """All columns' features of a table."""

    columns: dict[str, ColumnFeatures]

    def rows(self, rows: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """{column: {feature: (B, …)}} of (B,) row numbers."""
        return {column: features.rows(rows) for column, features in self.columns.items()}

    def select(self, columns: Collection[str]) -> Features:
        """These columns of the rows only."""
        return Features({column: self.columns[column] for column in sorted(columns)})

    def ordered(self, rows: np.ndarray, batch_size: int) -> tf_types.data.Dataset:
        """(row numbers (B,), what `decoded` takes) of (R,) rows in their order."""
        dataset = tf.data.Dataset.from_tensor_slices(np.asarray(rows, np.int64)).batch(batch_size)
        return dataset.map(lambda rows: (rows, rows))

    def shuffled(self, rows: np.ndarray, batch_size: int, seed: int, epoch: tf_types.Tensor) -> tf_types.data.Dataset:
        """As `ordered`, in an order that follows from seed and epoch; rows that fill no batch are left out."""
        order = tf.random.experimental.stateless_shuffle(np.asarray(rows, np.int64), tf.stack([seed, epoch]))
        dataset = tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)
        return dataset.map(lambda rows: (rows, rows))

    def decoded(self, rows: tf_types.Tensor) -> dict[str, dict[str, tf_types.Tensor]]:
        """{column: {feature: (B, …)}} of (B,) row numbers, inside a graph."""
        specs = {
            (column, feature): spec
            for column, held in sorted(self.columns.items())
            for feature, spec in held.specs.items()
        }

        def read(rows: np.ndarray) -> list[np.ndarray]:
            arrays = self.rows(rows)
            return [arrays[column][feature] for column, feature in specs]

        tensors = tf.numpy_function(read, [rows], [dtype for _, dtype in specs.values()], stateful=False)
        nested: dict[str, dict[str, Any]] = {}
        for ((column, feature), (shape, _)), tensor in zip(specs.items(), tensors, strict=True):
            nested.setdefault(column, {})[feature] = tf.ensure_shape(tensor, (rows.shape[0], *shape))
        return nested

    def without(self, columns: Collection[str]) -> Features:
        """The rows as if the cells of these columns were missing."""
        return Features({
            column: features.hidden() if column in columns else features for column, features in self.columns.items()
        })  # fmt: skip

    def bad_cells(self, cells: Mapping[str, pd.Series]) -> list[BadCell]:
        """Every cell that could not be used, by row."""
        bad = [
            BadCell(int(row) + 1, column, shown(cells[column].iloc[row]), features.bad[int(features.index[row])])
            for column, features in self.columns.items()
            for row in np.flatnonzero(np.isin(features.index, list(features.bad)))
        ]
        return sorted(bad, key=lambda cell: (cell.row, cell.column))


def table_cells(manifest: Manifest, columns: Mapping[str, Modality]) -> dict[str, pd.Series]:
    """{column: (N,) strings}: the cells, paths in them absolute; "" where a cell is missing, `paths.refused` if bad."""
    return {column: media_cells(manifest, column, modality) for column, modality in walk(columns)}


def distinct_cells(cells: Mapping[str, pd.Series]) -> dict[str, np.ndarray]:
    """{column: (N,) int64}: which of the column's distinct cells, as `table_cells` gives them, each row holds."""
    return {
        column: pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=False)[0].astype(np.int64)
        for column, values in cells.items()
    }


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
    modality: Modality,
    values: pd.Series,
    cache: Literal["disk", "memory"],
    progress: Progress = lambda cells: None,
    max_gb: float = CACHE_GB,
) -> ColumnFeatures:
    """A column's features, from the cache where it holds them.

    Args:
        modality: Adapted.
        values: (N,) strings as `table_cells` gives them.
        cache: Where they are kept. On disk, two processes that prepare the same features at once both succeed: each
            writes to a folder of its own and the first to finish gives it its name.
        progress: Told how many more distinct cells are done.
        max_gb: How large the cache on disk may be.
    """
    index, distinct = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=False)
    if cache == "memory":
        arrays = _new_arrays(modality, len(distinct))
        return ColumnFeatures(arrays, index, _compute(modality, distinct, _into(arrays), progress))
    folder = cache_folder() / key(modality, distinct)
    stored = read(folder)
    if stored is not None:
        progress(len(distinct))
    else:
        stored = write(folder, modality, lambda keep: _compute(modality, distinct, keep, progress), max_gb)
    return ColumnFeatures(stored, index, stored.bad)


def features_in_chunks(
    columns: Mapping[str, Modality], cells: Mapping[str, pd.Series], rows: np.ndarray, chunk_rows: int
) -> Iterator[tuple[np.ndarray, Features, list[BadCell]]]:
    """Some rows of a table in their order, so many at a time that their features need no place but memory.

    Args:
        columns: Adapted.
        cells: {column: (N,) strings} as `table_cells` gives them.
        rows: (R,) row numbers from 0.
        chunk_rows: How many at a time.

    Yields:
        Of each chunk the places of its rows among those asked for, their features, and their cells that cannot be used.
    """
    for start in range(0, len(rows), chunk_rows):
        places = np.arange(start, min(start + chunk_rows, len(rows)))
        chunk = rows[places]
        values = {column: texts.iloc[chunk] for column, texts in cells.items()}
        features = Features({column: prepare(modality, values[column], "memory") for column, modality in walk(columns)})
        # Cells of the chunk are counted from 1 in it
        bad = [replace(cell, row=int(chunk[cell.row - 1]) + 1) for cell in features.bad_cells(values)]
        yield places, features, bad


def read_cells(modality: Modality, values: pd.Series) -> list[Cell | None]:
    """Each row's canonical cell, None where it is missing or unreadable; distinct cells are read once."""
    index, distinct = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=False)
    contents = [
        None if error or is_missing(cell) else native(modality, cell) for cell, error in _cells(modality, distinct)
    ]
    return [contents[i] for i in index]


def forget_graphs() -> None:
    """What was traced is traced again when it is asked for: a benchmark starts as a new process does."""
    _traced.cache_clear()


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


@dataclass(frozen=True)
class _Chunk:
    """Some cells as TensorFlow takes them, and what is wrong with each, or ""."""

    cells: list[np.ndarray | bytes]
    errors: list[str]


def _cells(modality: Modality, values: Sequence[str]) -> Iterator[tuple[np.ndarray | bytes, str]]:
    """(cell, what is wrong with it or "") of each value, in order, read on several threads."""
    read = functools.partial(_read_chunk, _reader(modality), missing_cell(modality)[()])
    for chunk in in_order(read, _chunks(values)):
        yield from zip(chunk.cells, chunk.errors, strict=True)


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    """Few enough cells each that every core gets some, of a small table too: a cell may be a film."""
    return chunked(values, min(CHUNK_CELLS, max(1, len(values) // (CHUNKS_EACH * cores()))))


def _reader(modality: Modality) -> Callable[[str], np.ndarray | bytes]:
    spec = modality.cell
    return lambda value: _canonical(read_cell(modality, value), spec)


def _read_chunk(
    read: Callable[[str], np.ndarray | bytes], missing: np.ndarray | bytes, values: Sequence[str]
) -> _Chunk:
    pairs = [_read(read, missing, value) for value in values]
    return _Chunk([cell for cell, _ in pairs], [error for _, error in pairs])


def _read(
    read: Callable[[str], np.ndarray | bytes], missing: np.ndarray | bytes, value: str
) -> tuple[np.ndarray | bytes, str]:
    try:
        return (read(value) if value else missing), ""
    except (ValueError, OSError) as problem:
        return missing, str(problem) or type(problem).__name__


def _canonical(cell: Cell, spec: tf_types.TensorSpec) -> np.ndarray | bytes:
    """A cell as `Modality.read` gives it, for TensorFlow."""
    if spec.dtype != tf.string:
        return np.asarray(cell, spec.dtype.as_numpy_dtype)
    if spec.shape.rank == 0:
        return cell.encode("utf-8") if isinstance(cell, str) else cell
    # An array of objects: NumPy's own bytes type would cut zeros off the end of a file.
    return np.array(cell, dtype=object)


def native(modality: Modality, cell: np.ndarray | bytes) -> Cell:
    """A cell as `Modality.read` gave it: TensorFlow knows strings as bytes only."""
    if isinstance(cell, bytes):
        return cell if modality.from_file else cell.decode("utf-8")
    return cell.tolist() if cell.dtype == object or not cell.ndim else cell


def _readable_cells(modality: Modality, values: Sequence[str]) -> Iterator[Cell]:
    for cell, error in _cells(modality, values):
        if not error and not is_missing(cell):
            yield native(modality, cell)


def _compute(
    modality: Modality, distinct: Sequence[str], keep: Callable[[dict[str, np.ndarray]], None], progress: Progress
) -> dict[int, str]:
    """Gives the features of all distinct cells to `keep`, in order; returns what is wrong with which of them."""
    read = functools.partial(_read_chunk, _reader(modality), missing_cell(modality)[()])
    examine = _traced(modality)

    def work(values: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
        chunk = read(values)
        features, faults = examine(chunk.cells)
        return features, [error or fault for error, fault in zip(chunk.errors, faults, strict=True)]

    bad: dict[int, str] = {}
    start = 0
    for features, errors in in_order(work, _chunks(distinct)):
        keep(features)
        bad.update({start + i: error for i, error in enumerate(errors) if error})
        start += len(errors)
        progress(len(errors))
    return bad


Examined = tuple[dict[str, np.ndarray], list[str]]
Examine = Callable[[list[np.ndarray | bytes]], Examined]


@functools.lru_cache(maxsize=32)
def _traced(modality: Modality) -> Examine:
    """`examine` of some cells, by `examine_many` where they have a sort; each graph is traced once."""
    graphs: dict[str | None, Any] = {}

    def graph(sort: str | None) -> Any:
        if sort not in graphs:  # of two threads that find it missing the first one's stays
            function = modality.examine if sort is None else functools.partial(modality.examine_many, sort=sort)
            shape = modality.cell.shape if sort is None else (None, *modality.cell.shape)
            given = tf.TensorSpec(shape, modality.cell.dtype)
            graphs.setdefault(sort, tf.function(function, input_signature=[given], autograph=False))
        return graphs[sort]

    def examine(cells: list[np.ndarray | bytes]) -> Examined:
        features, faults = _new_arrays(modality, len(cells)), [""] * len(cells)

        def keep(places: list[int] | int, tensors: Mapping[str, tf_types.Tensor]) -> None:
            for name, values in tensors.items():
                features[name][places] = values.numpy()

        places_of: dict[str | None, list[int]] = {}
        for i, cell in enumerate(cells):
            places_of.setdefault(modality.sort_of(cell), []).append(i)
        alone = places_of.pop(None, [])
        for sort, places in places_of.items():
            try:
                keep(places, graph(sort)(tf.constant([cells[i] for i in places], modality.cell.dtype)))
            except tf.errors.OpError:
                alone += places
        for i in alone:
            tensors, fault = graph(None)(tf.constant(cells[i], modality.cell.dtype))
            keep(i, tensors)
            faults[i] = _words(fault.numpy())
        return features, faults

    return examine


def _words(fault: bytes) -> str:
    return fault.decode("utf-8", "replace")


def _new_arrays(modality: Modality, cells: int) -> dict[str, np.ndarray]:
    return {
        feature: np.empty((cells, *spec.shape), spec.dtype.as_numpy_dtype)
        for feature, spec in modality.features.items()
    }


def _into(arrays: dict[str, np.ndarray]) -> Callable[[dict[str, np.ndarray]], None]:
    """A function that fills the arrays, from their start on."""
    start = 0

    def keep(features: dict[str, np.ndarray]) -> None:
        nonlocal start
        for feature, values in features.items():
            arrays[feature][start : start + len(values)] = values
        start += len(values)

    return keep
