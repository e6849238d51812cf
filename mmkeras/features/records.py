"""Features in TFRecord shards, written once and read from anywhere: the twin of `features.Features` for large tables.

A folder, local or wherever `tf.io.gfile` reaches (gs://…), holds

    prepared.json               what it was made from, its columns, its shards with their rows and bytes
    schema.json                 the config whose columns have learned from the training rows
    bad_rows.json               the cells that could not be used
    train-00000.tfrecord …      a record a row: valid-…, test-… too

A record is a tf.train.Example: "row" is its number from 0, "COLUMN/FEATURE" its values, little-endian and without the
zero bytes at their end. Training rows are shuffled before they are dealt to shards, so that each shard is a sample of
all; the others keep the table's order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.contracts.config import Config, parse_config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk
from mmkeras.table.manifest import BadCell

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf_types

tf = lazy("tensorflow")

META, BAD = "prepared.json", "bad_rows.json"
OPEN_SHARDS = 16  # read in turn, some records of each
RECORDS_IN_TURN = 8
SHUFFLED_BYTES = 32 << 20  # a block; at most three lie in memory
SHUFFLED_MOST_ROWS = 4096
Specs = dict[str, dict[str, tuple[tuple[int, ...], str]]]


@dataclass(frozen=True)
class Records:
    """All columns' features of a table, from shards; it answers as `Features` does.

    Attributes:
        folder: Local, or an address that `tf.io.gfile` knows.
        meta: What `prepared.json` holds.
        split: train, valid or test of each row of the table, when the shards were written.
        names: The columns that are read.
    """

    folder: str
    meta: dict[str, Any]
    split: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def open(cls, folder: str, split: pd.Series) -> Records:
        """What `mmkeras prepare` wrote.

        Args:
            folder: Local, or an address that `tf.io.gfile` knows.
            split: Of each row.

        Raises:
            ValueError: It holds no features, not all of them yet, or a shard is not as it was written.
        """
        folder = str(folder).rstrip("/")
        meta = read_json(folder, META)
        if meta is None:
            raise ValueError(f"{folder}: holds no {META}; expected a folder that `mmkeras prepare` wrote")
        if not meta["done"]:
            raise ValueError(f"{folder}: is not finished; give the same `mmkeras prepare` command again to go on")
        records = cls(folder, meta, split.to_numpy(), tuple(sorted(meta["identity"]["columns"])))
        for shards in meta["shards"].values():
            for shard in shards:
                _check_size(records.folder, shard)
        return records

    def check(self, identity: Mapping[str, Any]) -> None:
        """Refuses features of another table, split or settings.

        Args:
            identity: `identity` of what is trained now; it may have fewer columns.

        Raises:
            ValueError: Says what differs, and what to do.
        """
        held = self.meta["identity"]
        remedy = "give `mmkeras prepare` again with another --out, or train without --features"
        for name in ("table", "split", "version"):
            if held[name] != identity[name]:
                raise ValueError(f"{self.folder}: was prepared with another {name}; {remedy}")
        for column, settings in identity["columns"].items():
            if column not in held["columns"]:
                raise ValueError(f'{self.folder}: holds no column "{column}" ({", ".join(self.names)}); {remedy}')
            for name in sorted(settings.keys() | held["columns"][column].keys()):
                now, then = settings.get(name), held["columns"][column].get(name)
                if now != then:
                    got = f"columns.{column}.{name}: was prepared with {then!r}, got {now!r}"
                    raise ValueError(f"{self.folder}: {got}; {remedy}")

    def fitted(self, columns: Mapping[str, Modality]) -> dict[str, Modality]:
        """The columns with what they learned when the features were made; settings of encoders are those of now."""
        known = parse_config(read_json(self.folder, run_files.SCHEMA), run_files.SCHEMA).columns
        return {
            column: known[column].model_copy(update={name: getattr(now, name) for name in now.tunable_fields()})
            for column, now in columns.items()
        }

    def select(self, columns: Collection[str]) -> Records:
        """These columns of the rows only."""
        return replace(self, names=tuple(sorted(columns)))

    def bad_cells(self, cells: Mapping[str, pd.Series]) -> list[BadCell]:
        """Every cell that could not be used, by row."""
        cells = [BadCell(*cell) for cell in read_json(self.folder, BAD)]
        return [cell for cell in cells if cell.column in self.names]

    def ordered(self, rows: np.ndarray, batch_size: int) -> tf_types.data.Dataset:
        """(row numbers (B,), what `decoded` takes) of rows of one split in the table's order."""
        split = self.split[rows[0]]
        if split == "train" or np.any(np.diff(rows) <= 0):
            raise ValueError(f"{self.folder}: reads validation and test rows in the table's order only")
        records = tf.data.TFRecordDataset(self._paths(split), self.meta["compression"])
        batches = self._batched(self._only(records, split, rows), batch_size, drop_remainder=False)
        return batches.apply(tf.data.experimental.assert_cardinality(-(-len(rows) // batch_size)))

    def shuffled(self, rows: np.ndarray, batch_size: int, seed: int, epoch: tf_types.Tensor) -> tf_types.data.Dataset:
        """Training rows as `ordered` gives others, in an order that follows from seed and epoch, whole batches only.

        Shards come in a new order each epoch, many are read in turn, and what comes of them is shuffled block by block.
        """
        split = self.split[rows[0]]
        paths = tf.random.experimental.stateless_shuffle(tf.constant(self._paths(split)), tf.stack([seed, epoch]))
        in_turn = min(OPEN_SHARDS, len(self._paths(split)))
        records = tf.data.Dataset.from_tensor_slices(paths).interleave(
            lambda path: tf.data.TFRecordDataset(path, self.meta["compression"]),
            cycle_length=in_turn,
            block_length=RECORDS_IN_TURN,
            num_parallel_calls=min(2, in_turn),  # no more than shards in turn: newer TensorFlow refuses that
            deterministic=True,
        )
        kept = self._only(records, split, rows)

        def mixed(block: tf_types.Tensor) -> tf_types.Tensor:
            return tf.random.experimental.stateless_shuffle(block, tf.stack([seed, epoch]))

        # Not Dataset.shuffle, whose seed may not be a tensor where the global seed is 0.
        kept = kept.batch(self._shuffled_rows(batch_size)).map(mixed).prefetch(1).unbatch()
        return self._batched(kept, batch_size, drop_remainder=True)

    def decoded(self, raw: Mapping[str, tf_types.Tensor]) -> dict[str, dict[str, tf_types.Tensor]]:
        """{column: {feature: (B, …)}}."""
        return {
            column: {
                feature: _decoded(raw[f"{column}/{feature}"], tuple(shape), dtype)
                for feature, (shape, dtype) in self.meta["specs"][column].items()
            }
            for column in self.names
        }

    def damage(self) -> str:
        """What to say when reading failed: which shard is not as it was written."""
        for shards in self.meta["shards"].values():
            for shard in shards:
                path = f"{self.folder}/{shard['name']}"
                try:
                    records = tf.data.TFRecordDataset(path, self.meta["compression"])
                    count = sum(1 for _ in records)
                except (tf.errors.OpError, OSError):
                    count = None
                if count != shard["rows"]:
                    return f"{path}: is damaged; delete it and give the same `mmkeras prepare` command again"
        return f"{self.folder}: its features could not be read, though every shard can be now; train again to go on"

    def _paths(self, split: str) -> list[str]:
        return [f"{self.folder}/{shard['name']}" for shard in self.meta["shards"][split]]

    def _only(self, records: tf_types.data.Dataset, split: str, rows: np.ndarray) -> tf_types.data.Dataset:
        """Without the rows of the split that are not asked for."""
        held = sum(shard["rows"] for shard in self.meta["shards"][split])
        if len(rows) == held:
            return records
        is_kept = np.zeros(int(rows.max()) + 2, bool)
        is_kept[rows] = True
        row_alone = {"row": tf.io.FixedLenFeature((), tf.int64)}

        def keep(record: tf_types.Tensor) -> tf_types.Tensor:
            row = tf.io.parse_single_example(record, row_alone)["row"]
            return tf.gather(is_kept, tf.minimum(row, len(is_kept) - 1))

        return records.filter(keep)

    def _batched(self, records: tf_types.data.Dataset, batch_size: int, drop_remainder: bool) -> Any:
        wanted = {f"{column}/{feature}": tf.string for column in self.names for feature in self.meta["specs"][column]}
        wanted = {name: tf.io.FixedLenFeature((), dtype) for name, dtype in {"row": tf.int64, **wanted}.items()}

        def parsed(batch: tf_types.Tensor) -> tuple[tf_types.Tensor, dict[str, tf_types.Tensor]]:
            values = tf.io.parse_example(batch, wanted)
            return values.pop("row"), values

        return records.batch(batch_size, drop_remainder=drop_remainder).map(parsed, num_parallel_calls=2)

    def _shuffled_rows(self, batch_size: int) -> int:
        most = SHUFFLED_BYTES // max(1, row_bytes(self.meta["specs"]))
        return max(batch_size, min(most, SHUFFLED_MOST_ROWS))


# Writing


def specs_of(columns: Mapping[str, Modality]) -> Specs:
    """{column: {feature: (shape, type)}} as JSON holds it."""
    return {
        column: {
            name: (tuple(spec.shape), np.dtype(spec.dtype.as_numpy_dtype).str)
            for name, spec in modality.features.items()
        }
        for column, modality in walk(columns)
    }


def row_bytes(specs: Specs) -> int:
    """A row's features, as they are in memory."""
    return sum(
        math.prod(shape) * np.dtype(dtype).itemsize for features in specs.values() for shape, dtype in features.values()
    )


def examples(rows: np.ndarray, features: Mapping[str, Mapping[str, np.ndarray]]) -> Iterable[bytes]:
    """A serialised tf.train.Example of each row, from {column: {feature: (B, …)}}."""
    for i, row in enumerate(rows.tolist()):
        example = tf.train.Example()
        example.features.feature["row"].int64_list.value.append(row)
        for column, arrays in features.items():
            for feature, values in arrays.items():
                content = np.ascontiguousarray(values[i]).tobytes().rstrip(b"\0")
                example.features.feature[f"{column}/{feature}"].bytes_list.value.append(content)
        yield example.SerializeToString(deterministic=True)


def write_shard(path: str, records: Iterable[bytes], compression: str) -> int:
    """Writes records so that the file appears when all of them are in it; returns its bytes."""
    part = f"{path}.part"
    with tf.io.TFRecordWriter(part, compression or None) as writer:
        for record in records:
            writer.write(record)
    size = tf.io.gfile.stat(part).length
    tf.io.gfile.rename(part, path, overwrite=True)
    return int(size)


def read_json(folder: str, name: str) -> Any:
    """A file's content; None where there is no such file."""
    path = f"{folder}/{name}"
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "r") as file:
        return json.loads(file.read())


def write_json(folder: str, name: str, content: Any) -> None:
    """Writes a file so that a reader sees the old one or the new one."""
    with tf.io.gfile.GFile(f"{folder}/{name}.part", "w") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False))
    tf.io.gfile.rename(f"{folder}/{name}.part", f"{folder}/{name}", overwrite=True)


def write_schema(folder: str, schema: Config) -> None:
    """The fitted config."""
    write_json(folder, run_files.SCHEMA, json.loads(schema.model_dump_json()))


def is_as_written(folder: str, shard: Mapping[str, Any]) -> bool:
    """Whether a shard is there with all its bytes."""
    path = f"{folder}/{shard['name']}"
    return tf.io.gfile.exists(path) and tf.io.gfile.stat(path).length == shard["bytes"]


def _check_size(folder: str, shard: Mapping[str, Any]) -> None:
    if not is_as_written(folder, shard):
        raise ValueError(
            f"{folder}/{shard['name']}: is not there or has lost some of its {shard['bytes']} bytes; "
            "give the same `mmkeras prepare` command again"
        )


def _decoded(values: tf_types.Tensor, shape: tuple[int, ...], dtype: str) -> tf_types.Tensor:
    """(B,) strings -> (B, …)."""
    numpy_type = np.dtype(dtype)
    numbers = tf.io.decode_raw(
        values, tf.as_dtype(numpy_type), fixed_length=max(1, math.prod(shape)) * numpy_type.itemsize
    )
    return tf.reshape(numbers, (values.shape[0] if values.shape[0] is not None else -1, *shape))
