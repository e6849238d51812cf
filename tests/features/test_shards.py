"""Features in shards: the same bits come back, in as few bytes as hold them, from any cells in any order."""

import os

import numpy as np
import pytest

from mmkeras.features import shards as module
from mmkeras.features.shards import Damaged, Feature, Stored, Writer

RNG = np.random.default_rng(0)


def stored(folder, parts, bad=()):
    """What is read of the cells, written in several parts."""
    folder.mkdir(exist_ok=True)
    features = [Feature(name, array.shape[1:], array.dtype.str) for name, array in parts[0].items()]
    writer = Writer(folder, features)
    for part in parts:
        writer.add(part)
    writer.close(dict(bad))
    return Stored(folder, os.open(folder, os.O_RDONLY))


def same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def cells(count=7):
    """Features of several types and shapes; the largest one ends in zeros, some cells hold nothing else."""
    values = RNG.normal(size=(count, 5, 3)).astype(np.float32)
    values[1, 2:] = values[2] = 0
    return {
        "values": values,
        "mask": (values.any(axis=2)).astype(np.float32),
        "ids": RNG.integers(0, 300, (count, 2), np.int32),
        "present": np.ones(count, np.float32),
    }


def test_the_same_bits_come_back_in_any_order(tmp_path):
    expected = cells()
    found = stored(tmp_path / "a", [expected], {3: "is broken: ü"})
    rows = np.array([6, 0, 2, 2, 1])
    same_bits(found.take(rows), {name: array[rows] for name, array in expected.items()})
    same_bits(dict(found), expected)
    assert found.bad == {3: "is broken: ü"}


@pytest.mark.parametrize(
    ("value", "dtype", "bytes_each"),
    [
        (255, "float32", 1), (256, "float32", 2), (65_535, "int32", 2), (65_536, "int32", 4), (-1, "int32", 4),
        (0.5, "float32", 4), (-0.0, "float32", 4), (np.nan, "float32", 4), (np.inf, "float32", 4), (2**40, "int64", 8),
        (200, "uint8", 1), (True, "bool", 1),
    ],
)  # fmt: skip
def test_numbers_take_as_few_bytes_as_hold_them_exactly(value, dtype, bytes_each, tmp_path):
    array = np.array([[1, value, 1]], dtype)
    found = stored(tmp_path / "a", [{"x": array}])
    same_bits(found.take(np.array([0])), {"x": array})
    assert np.dtype(found.shards[0].types[0]).itemsize == bytes_each


def test_zeros_at_the_end_take_no_bytes(tmp_path):
    array = np.zeros((2, 1000), np.float32)
    array[0, 4] = 0.1
    assert stored(tmp_path / "a", [{"x": array}]).shards[0].bytes == 5 * 4


def test_a_type_that_becomes_too_narrow_begins_a_new_shard(tmp_path):
    parts = [{"x": np.full((2, 3), value, np.int32), "y": np.ones(2, np.float32)} for value in (7, 300, 8, 70_000, 9)]
    found = stored(tmp_path / "a", parts)
    assert [(shard.types[-1], shard.cells) for shard in found.shards] == [("uint8", 2), ("uint16", 4), ("<i4", 4)]
    rows = np.array([9, 0, 5, 2, 7, 3, 1])
    expected = {name: np.concatenate([part[name] for part in parts])[rows] for name in ("x", "y")}
    same_bits(found.take(rows), expected)


def test_a_full_shard_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 100)
    parts = [cells() for _ in range(4)]
    found = stored(tmp_path / "a", parts)
    assert len(found.shards) == 4
    same_bits(dict(found), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def test_no_cells_are_an_empty_batch(tmp_path):
    assert stored(tmp_path / "a", [cells()]).take(np.zeros(0, int))["values"].shape == (0, 5, 3)


def test_reading_opens_no_file_and_reads_each_record_once(tmp_path, monkeypatch):
    found = stored(tmp_path / "a", [cells()])
    reads = []
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *arguments: reads.append(1) or read(*arguments))
    monkeypatch.setattr(os, "open", None)
    found.take(np.arange(5))
    assert len(reads) == 5


def test_a_file_that_loses_its_end_while_it_is_read_is_noticed(tmp_path):
    found = stored(tmp_path / "a", [cells()])
    os.truncate(tmp_path / "a" / "shard-00000.bin", 10)
    with pytest.raises(Damaged, match="lost its end"):
        found.take(np.arange(7))


def test_files_are_closed_with_their_reader(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    found = stored(tmp_path / "a", [cells()])
    assert len(os.listdir("/proc/self/fd")) == before + 2
    del found
    assert len(os.listdir("/proc/self/fd")) == before
