"""Features in shards on disk: one record a cell, read where it lies, with checksums.

A folder holds `shard-00000.bin`, …, `offsets.bin` (where each record begins) and `meta.json` (what is in them, and the
checksums of all three). A record is one cell: its small features one after another, then its largest one without the
zeros at its end. Each number takes as few bytes as hold all of a shard's, exactly.

Measured on 600 rows of the table stamps (sound, pictures of 48 pixels, text), one thread of two busy ones, all of it in
the operating system's memory; kilobytes a row, thousands of rows a second:

                                                        sound         pictures      text
    arrays as they are, mapped                       29.6    330    27.7    400    0.15   5000
    no zeros at the end, narrow masks and ids        12.9     80    27.7    160    0.02    340    46 for all three
    the same, then LZ4                               12.9     70    15.6     36    0.03    340    22 for all three
    zlib level 1 or Zstandard, to decompress alone   11.8     10    13.5   5–12    0.04

Leaving zeros out saves a third of the bytes for next to nothing. LZ4 would save another third, all of it in pictures
of few colours, for twice the time, which a training on the same cores then lacks: nothing is compressed further.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

META, OFFSETS = "meta.json", "offsets.bin"
SHARD_BYTES = 256 << 20  # few enough files to keep all of a large cache open
NARROW = ("uint8", "uint16")
READ_BYTES = 1 << 20
Arrays = Mapping[str, np.ndarray]
"""{feature: (n, …)} of cells."""


class Damaged(ValueError):
    """The bytes are not those that were written."""


@dataclass(frozen=True)
class Feature:
    """One feature of a cell: its name, its shape without the axis of cells, its type in memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def values(self) -> int:
        return math.prod(self.shape)


Types = tuple[str, ...]
"""Each feature's type on disk, in the order of the records."""


@dataclass(frozen=True)
class Shard:
    """A file of records, its size and its checksum."""

    types: Types
    cells: int
    bytes: int
    crc32: int


# Writing


class Writer:
    """Appends cells to shards; memory does not grow with them, but for eight bytes each.

    Args:
        folder: Exists and is empty.
        features: Of a cell.
    """

    def __init__(self, folder: Path, features: Sequence[Feature]):
        self.folder = folder
        self.features = sorted(features, key=lambda feature: (feature.values, feature.name))  # the largest one last
        self.shards: list[Shard] = []
        self._lengths: list[np.ndarray] = []
        self._file = None

    def add(self, features: Arrays) -> None:
        """The next cells, {feature: (n, …)}."""
        arrays = [np.ascontiguousarray(features[feature.name]) for feature in self.features]
        self._open_shard_for(arrays)
        last = self.shards[-1]
        records = _records(arrays, last.types)
        content = b"".join(records)
        self._file.write(content)
        self._lengths.append(np.fromiter(map(len, records), np.int64, len(records)))
        crc32 = zlib.crc32(content, last.crc32)
        self.shards[-1] = Shard(last.types, last.cells + len(records), last.bytes + len(content), crc32)

    def close(self, bad: Mapping[int, str]) -> None:
        """Writes what a reader needs to know.

        Args:
            bad: {cell: what is wrong with it}.
        """
        if self._file:
            self._file.close()
        offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *self._lengths]), dtype="<i8").tobytes()
        (self.folder / OFFSETS).write_bytes(offsets)
        meta = {
            "features": [asdict(feature) for feature in self.features],
            "shards": [asdict(shard) for shard in self.shards],
            "offsets_crc32": zlib.crc32(offsets),
            "bad": bad,
        }
        content = json.dumps(meta).encode()
        (self.folder / META).write_bytes(b"%s\n%08x" % (content, zlib.crc32(content)))

    def _open_shard_for(self, arrays: Sequence[np.ndarray]) -> None:
        """Begins a new shard where the last one is full, or its types are too narrow."""
        known = self.shards[-1].types if self.shards else (NARROW[0],) * len(arrays)
        types = tuple(_narrowest(array, dtype) for array, dtype in zip(arrays, known, strict=True))
        if self.shards and types == known and self.shards[-1].bytes < SHARD_BYTES:
            return
        if self._file:
            self._file.close()
        self._file = open(self.folder / _shard_name(len(self.shards)), "wb")  # noqa: SIM115  `close` closes it
        self.shards.append(Shard(types, 0, 0, 0))


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}.bin"


def _narrowest(array: np.ndarray, at_least: str) -> str:
    """The narrowest type, not narrower than the one given, that holds the very same bits."""
    for dtype in NARROW[NARROW.index(at_least) :] if at_least in NARROW else ():
        if np.dtype(dtype).itemsize < array.itemsize and _is_same_in(array, dtype):
            return dtype
    return array.dtype.str


def _is_same_in(array: np.ndarray, dtype: str) -> bool:
    with np.errstate(invalid="ignore"):
        return array[:1].astype(dtype).astype(array.dtype).tobytes() == array[:1].tobytes() and (
            array.astype(dtype).astype(array.dtype).tobytes() == array.tobytes()
        )


def _records(arrays: Sequence[np.ndarray], types: Types) -> list[bytes]:
    """The bytes of each cell."""
    parts = [a.astype(dtype).reshape(len(a), -1).view(np.uint8) for a, dtype in zip(arrays, types, strict=True)]
    head_bytes = sum(part.shape[1] for part in parts[:-1])
    whole = np.concatenate(parts, axis=1)
    ends = np.maximum(_ends(whole), head_bytes)
    return [record[:end].tobytes() for record, end in zip(whole, ends.tolist(), strict=True)]


def _ends(records: np.ndarray) -> np.ndarray:
    """(n, bytes) -> (n,): where the zeros at the end of each begin."""
    zeros_at_end = (records[:, ::-1] != 0).argmax(axis=1)
    return np.where(records.any(axis=1), records.shape[1] - zeros_at_end, 0)


# Reading


class Stored(Mapping[str, np.ndarray]):
    """The features of cells that lie on disk, read when they are asked for: no memory is taken for those that are not.

    Files stay open, so that deleting the folder takes nothing away; `pread` where others would map files into memory,
    since mapped pages count as the process's memory and a file that loses its end would kill the process.

    Args:
        folder: As `Writer` left it.
        lock: A file descriptor, closed with the files.

    Raises:
        Damaged: A checksum differs.
        OSError: A file is not there or cannot be read.
    """

    def __init__(self, folder: Path, lock: int):
        self._files = []
        self._lock = lock
        meta = _checked_meta(folder)
        self.features = [Feature(f["name"], tuple(f["shape"]), f["dtype"]) for f in meta["features"]]
        self.bad = {int(cell): reason for cell, reason in meta["bad"].items()}
        self.shards = [Shard(**{**shard, "types": tuple(shard["types"])}) for shard in meta["shards"]]
        self._files += (os.open(folder / _shard_name(i), os.O_RDONLY) for i in range(len(self.shards)))
        self._check_shards(folder)
        self._offsets = _checked_offsets(folder, meta["offsets_crc32"])
        self._first_cells = np.cumsum([0, *(shard.cells for shard in self.shards)])
        self._first_bytes = np.cumsum([0, *(shard.bytes for shard in self.shards)])
        self._types = list(dict.fromkeys(shard.types for shard in self.shards))
        self._types_of_shard = np.array([self._types.index(shard.types) for shard in self.shards], int)

    def __del__(self):
        for file in (*self._files, self._lock):
            os.close(file)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.take(np.arange(self.cells))[name]

    def __iter__(self) -> Iterator[str]:
        return (feature.name for feature in self.features)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def cells(self) -> int:
        return int(self._first_cells[-1])

    def take(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        """{feature: (B, …)} of (B,) cells."""
        shards = np.searchsorted(self._first_cells, cells, "right") - 1
        kinds = self._types_of_shard[shards]
        if len(cells) and (kinds == kinds[0]).all():
            return self._take(self._types[kinds[0]], cells, shards)
        arrays = {f.name: np.empty((len(cells), *f.shape), f.dtype) for f in self.features}
        for kind in np.unique(kinds):
            where = np.flatnonzero(kinds == kind)
            for name, values in self._take(self._types[kind], cells[where], shards[where]).items():
                arrays[name][where] = values
        return arrays

    def _take(self, types: Types, cells: np.ndarray, shards: np.ndarray) -> dict[str, np.ndarray]:
        """{feature: (B, …)} of cells whose shards have the same types."""
        sizes = [np.dtype(dtype).itemsize * f.values for f, dtype in zip(self.features, types, strict=True)]
        head = np.empty((len(cells), sum(sizes[:-1])), np.uint8)
        tail = np.empty((len(cells), sizes[-1]), np.uint8)
        begins = self._offsets[cells]
        lengths = self._offsets[cells + 1] - begins
        _fill(head, tail, [self._files[i] for i in shards], begins - self._first_bytes[shards], lengths)
        parts = [*np.split(head, np.cumsum(sizes[:-1])[:-1], axis=1), tail] if len(sizes) > 1 else [tail]
        return {
            feature.name: _as_array(part, dtype, feature)
            for feature, dtype, part in zip(self.features, types, parts, strict=True)
        }

    def _check_shards(self, folder: Path) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # zlib lets other threads run
            checksums = list(pool.map(_checksum, self._files))
        for number, (shard, (size, crc32)) in enumerate(zip(self.shards, checksums, strict=True)):
            if (size, crc32) != (shard.bytes, shard.crc32):
                raise Damaged(f"{folder / _shard_name(number)}: its checksum differs")


def _fill(head: np.ndarray, tail: np.ndarray, files: Sequence[int], begins: np.ndarray, lengths: np.ndarray) -> None:
    """Reads records, each from its file and place, into two arrays, (n, bytes) each: what they begin and end with."""
    head_bytes, tail_bytes = head.shape[1], tail.shape[1]
    heads, tails = memoryview(head.reshape(-1)), memoryview(tail.reshape(-1))
    for i, (file, begin, length) in enumerate(zip(files, begins.tolist(), lengths.tolist(), strict=True)):
        start, end = i * tail_bytes, length - head_bytes
        parts = [heads[i * head_bytes : (i + 1) * head_bytes], tails[start : start + end]]
        _require(os.preadv(file, parts, begin), length)
        if end < tail_bytes:
            tail[i, end:] = 0


def _require(read_bytes: int, expected_bytes: int) -> None:
    if read_bytes != expected_bytes:
        raise Damaged("a file of the cache lost its end while it was read; start the command again")


def _as_array(part: np.ndarray, dtype: str, feature: Feature) -> np.ndarray:
    """(n, bytes) -> (n, …)."""
    values = np.ascontiguousarray(part).view(dtype).reshape(-1, *feature.shape)
    return values.astype(feature.dtype, copy=False)


def _checked_meta(folder: Path) -> dict[str, Any]:
    content, _, checksum = (folder / META).read_bytes().rpartition(b"\n")
    if checksum != b"%08x" % zlib.crc32(content):
        raise Damaged(f"{folder / META}: its checksum differs")
    return json.loads(content)


def _checked_offsets(folder: Path, crc32: int) -> np.ndarray:
    content = (folder / OFFSETS).read_bytes()
    if zlib.crc32(content) != crc32:
        raise Damaged(f"{folder / OFFSETS}: its checksum differs")
    return np.frombuffer(content, "<i8")


def _checksum(file: int) -> tuple[int, int]:
    """A file's size and CRC-32, read from its start to its end."""
    size = crc32 = 0
    while chunk := os.pread(file, READ_BYTES, size):
        size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
    return size, crc32
