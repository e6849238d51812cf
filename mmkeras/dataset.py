"""Rows to tf.data: cells are read and preprocessed in parallel once, kept by content, and batched from there.

A column's features are computed for its distinct cells only (one picture with ten captions is decoded once) and kept
as one array a feature, so that a batch is a few slices of files that the operating system caches: memory does not grow
with the number of rows, and every epoch is shuffled over all of them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

import mmkeras
from mmkeras.component import Modality, walk
from mmkeras.lazy import lazy
from mmkeras.manifest import BadCell, Manifest, media_cells

if TYPE_CHECKING:
    import tensorflow as tf_types

    from mmkeras.component import Cell

tf = lazy("tensorflow")
ops = lazy("mmkeras.ops")

CHUNK_CELLS = 32
ADAPT_FILES = 2000  # so many files tell a mean and a deviation well enough
CACHE_BYTES = 20 * 2**30
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
            BadCell(int(row) + 1, column, cells[column].iloc[row], features.bad[int(features.index[row])])
            for column, features in self.columns.items()
            for row in np.flatnonzero(np.isin(features.index, list(features.bad)))
        ]
        return sorted(found, key=lambda cell: (cell.row, cell.column))


def table_cells(manifest: Manifest, columns: Mapping[str, Modality]) -> dict[str, pd.Series]:
    """{column: (N,) strings}: the cells, paths in them absolute; "" where a cell is missing."""
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
        arrays, bad = _compute(modality, distinct, _new_arrays(modality, len(distinct)), progress)
        return ColumnFeatures(arrays, index, bad)
    folder = cache_folder() / _key(modality, distinct)
    if folder.is_dir():
        progress(len(distinct))
    else:
        _write(modality, distinct, folder, progress)
    os.utime(folder)  # the oldest is deleted first
    arrays = {feature: np.load(folder / f"{feature}.npy", mmap_mode="r") for feature in modality.features}
    bad = {int(i): reason for i, reason in json.loads((folder / "bad.json").read_text(encoding="utf-8")).items()}
    return ColumnFeatures(arrays, index, bad)


def cache_folder() -> Path:
    """Where features are kept: `MMKERAS_CACHE`, or the operating system's folder for caches."""
    import platformdirs

    return Path(os.environ.get("MMKERAS_CACHE") or platformdirs.user_cache_dir("mmkeras"))


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


def batches(features: Features, rows: np.ndarray, batch_size: int, targets: Mapping[str, Any] | None = None):
    """Rows in their order, for validation and prediction: a dataset of features, or of (features, targets, weights).

    Args:
        features: Of the whole table.
        rows: (R,) row numbers.
        batch_size: Rows per batch; the last one may have fewer.
        targets: {target: (encoded (N, …), weights (N,))} of the whole table.
    """
    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(rows, np.int64)).batch(batch_size)
    gather = _gather(features)
    if targets is None:
        return dataset.map(gather).prefetch(2)
    return dataset.map(lambda rows: (gather(rows), *_targets(targets, rows))).prefetch(2)


def training_batches(
    features: Features,
    rows: np.ndarray,
    targets: Mapping[str, Any],
    columns: Mapping[str, Modality],
    *,
    batch_size: int,
    epochs: range,
    seed: int,
    modality_dropout: float,
) -> tf_types.data.Dataset:
    """Shuffled and augmented batches of (features, targets, weights), epoch after epoch, without end in between.

    What a row looks like depends on the seed, the epoch and the row alone, so that a training that goes on from
    epoch 7 sees what one that was never stopped would have seen. Each epoch leaves out the rows that would not fill a
    batch, other ones each time.

    Args:
        features: Of the whole table.
        rows: (R,) row numbers, at least `batch_size`.
        targets: {target: (encoded (N, …), weights (N,))} of the whole table.
        columns: Adapted modalities by column.
        batch_size: Rows per batch.
        epochs: Which epochs.
        seed: Fixes order, augmentation and hidden cells.
        modality_dropout: Chance that a cell is hidden.
    """
    rows = tf.constant(np.asarray(rows, np.int64))
    gather = _gather(features)

    def epoch_rows(epoch: tf_types.Tensor) -> tf_types.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(rows, tf.stack([seed, epoch]))
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)

    def with_seeds(epoch: tf_types.Tensor, rows: tf_types.Tensor):
        return gather(rows), *_targets(targets, rows), tf.stack([tf.fill([batch_size], epoch), rows], axis=1)

    def changed(features: Any, targets: Any, weights: Any, place: tf_types.Tensor):
        own_seed = tf.random.fold_in(tf.random.fold_in(tf.constant([seed, 1]), place[0]), place[1])
        return _augment(features, columns, own_seed, modality_dropout), targets, weights

    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(lambda epoch: epoch_rows(epoch).map(lambda rows: (epoch, rows)))
        .map(with_seeds, num_parallel_calls=2)
        .unbatch()
        .map(changed, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def _augment(features: Any, columns: Mapping[str, Modality], seed: Any, modality_dropout: float) -> Any:
    """One row's features, augmented column by column, some cells hidden but never all."""
    seeds = ops.split_seed(seed, len(columns) + 1)
    draws = tf.random.stateless_uniform((len(columns),), seeds[0])
    # Of the cells that are there, the one with the highest draw stays, so that a row is never empty.
    draws *= tf.stack([features[column]["present"] for column, _ in walk(columns)])
    kept = tf.unstack(tf.cast((draws >= modality_dropout) | (draws >= tf.reduce_max(draws)), tf.float32))
    return {
        column: {
            feature: tensor * tf.cast(keep, tensor.dtype)
            for feature, tensor in modality.augment(features[column], own_seed).items()
        }
        for (column, modality), own_seed, keep in zip(walk(columns), seeds[1:], kept, strict=True)
    }


def _gather(features: Features) -> Callable[[Any], dict[str, dict[str, Any]]]:
    """A function from (B,) row numbers to {column: {feature: (B, …)}} for `Dataset.map`."""
    names = [(column, feature) for column, found in sorted(features.columns.items()) for feature in found.arrays]
    arrays = [features.columns[column].arrays[feature] for column, feature in names]

    def read(rows: np.ndarray) -> list[np.ndarray]:
        found = features.rows(rows)
        return [found[column][feature] for column, feature in names]

    def gather(rows: tf_types.Tensor) -> dict[str, dict[str, Any]]:
        tensors = tf.numpy_function(read, [rows], [array.dtype for array in arrays], stateful=False)
        nested: dict[str, dict[str, Any]] = {}
        for (column, feature), array, tensor in zip(names, arrays, tensors, strict=True):
            nested.setdefault(column, {})[feature] = tf.ensure_shape(tensor, (rows.shape[0], *array.shape[1:]))
        return nested

    return gather


def _targets(targets: Mapping[str, Any], rows: tf_types.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    encoded = {target: tf.gather(values, rows) for target, (values, _) in targets.items()}
    weights = {target: tf.gather(weights, rows) for target, (_, weights) in targets.items()}
    return encoded, weights


# Reading and preprocessing


def _cells(modality: Modality, values: Sequence[str]) -> tf_types.data.Dataset:
    """(cell, what is wrong with it or "") of each value, in order, read on several threads."""
    spec, missing = modality.cell, missing_cell(modality)

    def read(value: bytes) -> list[np.ndarray]:
        try:
            content, error = _array(modality.read(value.decode("utf-8")), spec) if value else missing, b""
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
) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """Fills the arrays; returns them and what is wrong with which distinct cell."""
    preprocess = _traced(modality)

    def features_and_error(cell: tf_types.Tensor, error: tf_types.Tensor):
        return preprocess(cell), error

    dataset = _cells(modality, distinct).map(features_and_error, num_parallel_calls=tf.data.AUTOTUNE)
    bad: dict[int, str] = {}
    start = 0
    for features, errors in dataset.batch(CHUNK_CELLS).prefetch(2).as_numpy_iterator():
        for feature, values in features.items():
            arrays[feature][start : start + len(errors)] = values
        bad.update({start + i: error.decode("utf-8") for i, error in enumerate(errors) if error})
        start += len(errors)
        progress(len(errors))
    return arrays, bad


@functools.lru_cache(maxsize=32)
def _traced(modality: Modality) -> Callable[[Any], dict[str, Any]]:
    """Its `preprocess`, traced once however many chunks of rows go through."""
    return tf.function(modality.preprocess)


def _new_arrays(modality: Modality, cells: int, folder: Path | None = None) -> dict[str, np.ndarray]:
    shapes = {feature: ((cells, *spec.shape), spec.dtype.as_numpy_dtype) for feature, spec in modality.features.items()}
    if folder is None:
        return {feature: np.empty(shape, dtype) for feature, (shape, dtype) in shapes.items()}
    return {
        feature: np.lib.format.open_memmap(folder / f"{feature}.npy", "w+", dtype, shape)
        for feature, (shape, dtype) in shapes.items()
    }


# The cache on disk


def _key(modality: Modality, distinct: Sequence[str]) -> str:
    """Changes when anything does that features depend on: settings, fitted state, cells, files, code, versions."""
    digest = hashlib.sha256()
    state = modality.model_dump_json(exclude=modality.tunable_fields())
    for part in (mmkeras.__version__, tf.__version__, state, *_sources(modality)):
        digest.update(part.encode() + b"\0")
    for value in distinct:
        digest.update(value.encode("utf-8", "surrogatepass") + b"\0" + _file_state(value, modality) + b"\0")
    return f"{modality.type_name()}-{digest.hexdigest()[:32]}"


def _sources(modality: Modality) -> Iterator[str]:
    for module in (inspect.getmodule(type(modality)), ops):
        with contextlib.suppress(OSError, TypeError):  # a class from a notebook has no source
            yield inspect.getsource(module)


def _file_state(value: str, modality: Modality) -> bytes:
    """Sizes and times of the files that a cell names."""
    return b" ".join(map(_path_state, modality.paths(value))) if value else b""


def _path_state(path: str) -> bytes:
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            return b"/".join(
                name.encode("utf-8", "surrogatepass") + b" " + _path_state(os.path.join(path, name))
                for name in sorted(os.listdir(path))
            )
    except OSError:
        return b"unreadable"
    return f"{found.st_size} {found.st_mtime_ns}".encode()


def _write(modality: Modality, distinct: Sequence[str], folder: Path, progress: Progress) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_room(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        arrays, bad = _compute(modality, distinct, _new_arrays(modality, len(distinct), temporary), progress)
        for array in arrays.values():
            array.flush()
        (temporary / "bad.json").write_text(json.dumps(bad, ensure_ascii=False), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was faster; its features are the same
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make_room(cache: Path) -> None:
    """Deletes the features that were not used for the longest time while there are more than 20 GiB."""
    used = sorted((_last_use(entry), _size(entry), entry) for entry in cache.iterdir() if entry.is_dir())
    total = sum(size for _, size, _ in used)
    for _, size, folder in used:
        if total <= CACHE_BYTES:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= size


# Another process may rename or delete a folder while this one looks: then it counts as old and empty.


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0
