"""Rows to features: each distinct cell is worked on once, each row gets its own."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures_sizes import READS, Size

from mmkeras.base import threads
from mmkeras.features import columns as features_module
from mmkeras.features.columns import Features, adapt, features_in_chunks, prepare, read_cells, table_cells
from mmkeras.table.manifest import BadCell, read_table
from mmkeras.table.paths import LEAVES, refusal


def entries(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()}


# Each cell once


@pytest.mark.parametrize("kept", ["disk", "memory"])
def test_distinct_cells_are_read_once(cache, files, kept):
    values = pd.Series([files[2], files[0], files[2], "", files[0], files[2], ""])
    found = prepare(Size(), values, kept)
    assert {files[2]: 1, files[0]: 1} == READS
    assert found.rows(np.arange(7))["x"][:, 0].tolist() == [3, 1, 3, 0, 1, 3, 0]
    assert found.rows(np.arange(7))["present"].tolist() == [1, 1, 1, 0, 1, 1, 0]
    assert len(found.arrays["x"]) == 3


def test_the_second_time_nothing_is_read(cache, files):
    first = prepare(Size(), pd.Series(files), "disk")
    done = []
    second = prepare(Size(), pd.Series(files), "disk", done.append)
    assert set(READS.values()) == {1}
    assert done == [5]
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in ("x", "present"))


def test_order_and_repetition_of_the_same_cells_share_the_cache_by_content(cache, files):
    prepare(Size(), pd.Series(files), "disk")
    found = prepare(Size(), pd.Series([*files, files[0]]), "disk")
    assert set(READS.values()) == {1}
    assert found.index.tolist() == [0, 1, 2, 3, 4, 0]


def test_memory_and_disk_hold_equal_arrays(cache, files):
    values = pd.Series([*files, "", files[1]])
    disk, memory = prepare(Size(), values, "disk"), prepare(Size(), values, "memory")
    assert disk.arrays.keys() == memory.arrays.keys()
    assert all(np.array_equal(disk.arrays[name], memory.arrays[name]) for name in disk.arrays)
    assert np.array_equal(disk.index, memory.index)
    rows = np.array([5, 1, 6, 1])
    assert all(np.array_equal(disk.rows(rows)[name], memory.rows(rows)[name]) for name in disk.arrays)
    assert disk.specs == memory.specs == {"x": ((2,), np.float32), "present": ((), np.float32)}


def test_zeros_at_the_end_of_a_file_survive(cache, files):
    found = prepare(Size(), pd.Series(files), "memory")
    assert found.arrays["x"][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert found.arrays["x"][3:, 1].tolist() == [0, 0]
    assert read_cells(Size(), pd.Series(files))[4] == b"ee\0\0\0"


def test_progress_counts_distinct_cells(cache, files):
    done = []
    prepare(Size(), pd.Series(files * 3), "memory", done.append)
    assert sum(done) == 5


def test_bad_cells_are_reported_by_row(cache, files):
    Path(files[1]).write_bytes(b"bad file")
    values = pd.Series([files[1], files[0], "", files[1], files[4] + "gone"])
    for kept in ("disk", "memory", "disk"):  # the second time from the cache
        features = Features({"photo": prepare(Size(), values, kept)})
        bad = features.bad_cells({"photo": values})
        assert bad[:2] == [
            BadCell(1, "photo", files[1], "begins with bad"),
            BadCell(4, "photo", files[1], "begins with bad"),
        ]
        assert (bad[2].row, bad[2].path) == (5, files[4] + "gone")
        assert "No such file" in bad[2].reason
        assert features.columns["photo"].rows(np.arange(5))["present"].tolist() == [0, 1, 0, 0, 0]


def test_read_cells_gives_each_row_its_own(cache, files):
    Path(files[1]).write_bytes(b"bad file")
    found = read_cells(Size(), pd.Series([files[2], "", files[1], files[2]]))
    assert found == [b"ccc", None, None, b"ccc"]
    assert READS[files[2]] == 1


def test_adapt_sees_each_readable_training_cell_once(cache, files):
    Path(files[1]).write_bytes(b"bad file")
    adapted = adapt(Size(), pd.Series([files[0], files[0], "", files[1], files[2]]))
    assert adapted.offset == 1 + 3


def test_adapt_looks_at_a_fixed_sample_of_many_files(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "ADAPT_FILES", 7)
    for i in range(30):
        (tmp_path / str(i)).write_bytes(b"x" * (i + 1))
    values = pd.Series([str(tmp_path / str(i)) for i in range(30)])
    first = adapt(Size(), values)
    assert len(READS) == 7
    assert adapt(Size(), values) == first


def test_cells_of_files_become_absolute_paths(files):
    manifest = read_table(pd.DataFrame({"a": ["1", " ", "none"]}), Path(files[0]).parent)
    cells = table_cells(manifest, {"a": Size()})["a"]
    assert cells[:2].tolist() == [files[1], ""]
    assert refusal(cells[2]) == (str(Path(files[0]).parent / "none"), "no such file")


def test_what_must_not_be_read_is_bad_and_never_opened(tmp_path):
    (tmp_path / "table").mkdir()
    (tmp_path / "outside").write_bytes(b"four")
    os.mkfifo(tmp_path / "table" / "pipe")  # whoever opened it would wait forever
    manifest = read_table(pd.DataFrame({"a": ["../outside", "pipe", ""]}), tmp_path / "table")
    cells = table_cells(manifest, {"a": Size()})
    features = Features({"a": prepare(Size(), cells["a"], "memory")})
    assert features.columns["a"].rows(np.arange(3))["present"].tolist() == [0, 0, 0]
    assert features.bad_cells(cells) == [
        BadCell(1, "a", f"{tmp_path}/table/../outside", LEAVES),
        BadCell(2, "a", f"{tmp_path}/table/pipe", "is a pipe, not a file"),
    ]


# Chunks of cells on several threads


def many_files(folder, count):
    for i in range(count):
        (folder / f"{i}").write_bytes(b"x" * (i + 1))
    return [str(folder / f"{i}") for i in range(count)]


@pytest.mark.parametrize("cores", [1, 3])
def test_cells_of_many_chunks_keep_their_places(cache, tmp_path, monkeypatch, cores):
    monkeypatch.setattr(features_module, "CHUNK_CELLS", 4)
    monkeypatch.setattr(threads, "cores", lambda: cores)
    paths = many_files(tmp_path, 50)
    Path(paths[17]).write_bytes(b"bad file")
    found = prepare(Size(), pd.Series(paths), "memory")
    assert found.arrays["x"][:, 0].tolist() == [0.0 if i == 17 else i + 1.0 for i in range(50)]
    assert found.bad == {17: "begins with bad"}
    assert [None if i == 17 else i + 1 for i in range(50)] == [
        cell and len(cell) for cell in read_cells(Size(), pd.Series(paths))
    ]


def test_only_a_few_chunks_are_read_ahead(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    begun = []

    def chunks():
        for i in range(100):
            begun.append(i)
            yield i

    done = threads.in_order(lambda chunk: -chunk, chunks())
    assert [next(done) for _ in range(3)] == [0, -1, -2]
    assert len(begun) == 3 + 2 * 2
    done.close()
    assert len(begun) == 3 + 2 * 2


def test_a_fault_of_our_own_is_not_swallowed(cache, files):
    class Faulty(Size):
        def read(self, value):
            raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        prepare(Faulty(), pd.Series(files), "memory")


class Sorted(Size):
    """Examines many at once, ten times as large to be told apart: short files, files of 3 bytes not; 4 bytes fail."""

    def sort_of(self, cell):
        return None if len(cell) == 3 else "short" if len(cell) < 3 else "long"

    def examine_many(self, cells, sort):
        import tensorflow as tf

        features = tf.map_fn(self.preprocess, cells, fn_output_signature=self.features)
        with tf.control_dependencies([tf.debugging.assert_none_equal(tf.strings.length(cells), 4)]):
            return {**features, "x": features["x"] * 10}


def test_cells_of_a_sort_are_examined_together_and_what_is_left_alone(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "_chunks", lambda values: [values])
    sizes = [1, 3, None, 2, 4, 5, 1]
    paths = ["" if size is None else str(tmp_path / f"{i}") for i, size in enumerate(sizes)]
    for path, size in zip(paths, sizes, strict=True):
        if path:
            Path(path).write_bytes(b"x" * size)
    found = prepare(Sorted(), pd.Series(paths), "memory")
    assert found.arrays["x"][:, 0].tolist() == [10, 3, 0, 20, 4, 5, 10]
    assert found.arrays["present"].tolist() == [1, 1, 0, 1, 1, 1, 1]
    assert prepare(Sorted(), pd.Series(paths[5:]), "memory").arrays["x"][:, 0].tolist() == [50, 10]


@pytest.mark.parametrize(("cells", "chunks"), [(1, 1), (7, 7), (8, 8), (20, 10), (255, 9), (1000, 32)])
def test_small_tables_are_work_for_all_cores_too(monkeypatch, cells, chunks):
    monkeypatch.setattr(features_module, "cores", lambda: 2)
    found = list(features_module._chunks(range(cells)))
    assert [cell for chunk in found for cell in chunk] == list(range(cells))
    assert len(found) == chunks and max(map(len, found)) <= 32


def test_rows_come_in_chunks_in_the_order_asked_for(files, tmp_path):
    (tmp_path / "bad").write_bytes(b"bad file")
    cells = {"photo": pd.Series([files[0], "", str(tmp_path / "bad"), files[3], files[4]])}
    rows = np.array([4, 2, 0, 3, 2])
    chunks = list(features_in_chunks({"photo": Size()}, cells, rows, 2))
    assert [places.tolist() for places, _, _ in chunks] == [[0, 1], [2, 3], [4]]
    sizes = [features.rows(np.arange(len(places)))["photo"]["x"][:, 0].tolist() for places, features, _ in chunks]
    assert sizes == [[5, 0], [1, 4], [0]]
    assert [[(cell.row, cell.column) for cell in bad] for _, _, bad in chunks] == [[(3, "photo")], [], [(3, "photo")]]


# The cache on disk
