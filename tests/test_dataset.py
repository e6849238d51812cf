"""Rows to batches: each distinct cell is worked on once, kept by content; what a row looks like follows its seed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures_tables import HERE, png
from pydantic import Field

from mmkeras import dataset
from mmkeras.component import Modality, fitted, tunable
from mmkeras.dataset import (
    ColumnFeatures,
    Features,
    adapt,
    batches,
    cache_folder,
    prepare,
    read_cells,
    table_cells,
    training_batches,
)
from mmkeras.manifest import BadCell, read_table
from mmkeras.modalities.image import Image

READS: Counter = Counter()


class Size(Modality):
    """Counts its reads; a file's features are how many bytes it has and the last of them."""

    scale: float = Field(1.0)
    units: int = tunable(3)
    offset: float | None = fitted()

    def read(self, value):
        READS[value] += 1
        content = Path(value).read_bytes()
        if content.startswith(b"bad"):
            raise ValueError("begins with bad")
        return content

    def adapt(self, cells):
        lengths = [len(cell) for cell in cells]
        return self.model_copy(update={"offset": float(sum(lengths))})

    @property
    def cell(self):
        import tensorflow as tf

        return tf.TensorSpec((), tf.string)

    @property
    def features(self):
        import tensorflow as tf

        return {"x": tf.TensorSpec((2,), tf.float32), "present": tf.TensorSpec((), tf.float32)}

    def preprocess(self, cell):
        import tensorflow as tf

        length = tf.strings.length(cell)
        last = tf.io.decode_raw(tf.strings.substr(cell + b"\1", tf.maximum(length - 1, 0), 1), tf.uint8)[0]
        values = tf.stack([tf.cast(length, tf.float32) * self.scale, tf.cast(last, tf.float32)])
        present = tf.cast(length > 0, tf.float32)
        return {"x": values * present, "present": present}

    def augment(self, features, seed):
        import tensorflow as tf

        return {**features, "x": features["x"] + tf.random.stateless_uniform((2,), seed) * features["present"]}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MMKERAS_CACHE", str(folder))
    READS.clear()
    return folder


@pytest.fixture
def files(tmp_path):
    """Files of 1, 2, … 5 bytes, the last two of which end in zeros."""
    folder = tmp_path / "files"
    folder.mkdir()
    for i, content in enumerate([b"a", b"bb", b"ccc", b"dd\0\0", b"ee\0\0\0"]):
        (folder / str(i)).write_bytes(content)
    return [str(folder / str(i)) for i in range(5)]


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
    assert isinstance(disk.arrays["x"], np.memmap)


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
    monkeypatch.setattr(dataset, "ADAPT_FILES", 7)
    for i in range(30):
        (tmp_path / str(i)).write_bytes(b"x" * (i + 1))
    values = pd.Series([str(tmp_path / str(i)) for i in range(30)])
    first = adapt(Size(), values)
    assert len(READS) == 7
    assert adapt(Size(), values) == first


def test_cells_of_files_become_absolute_paths():
    manifest = read_table(pd.DataFrame({"a": ["x.png", " ", "/y.png"]}), Path("/data"))
    assert table_cells(manifest, {"a": Size()})["a"].tolist() == ["/data/x.png", "", "/y.png"]


# The cache on disk


def test_key_changes_with_all_that_features_depend_on(cache, files):
    modality, values = Size(), pd.Series(files)

    def prepared(modality, values):
        prepare(modality, values, "disk")
        return len(entries(cache))

    assert prepared(modality, values) == 1
    assert prepared(modality.model_copy(update={"units": 4}), values) == 1  # only the encoder's size
    assert prepared(modality.model_copy(update={"scale": 2.0}), values) == 2
    assert prepared(modality.model_copy(update={"offset": 7.0}), values) == 3
    assert prepared(modality, values[:4]) == 4
    assert prepared(modality, values[::-1]) == 5
    Path(files[0]).write_bytes(b"longer")
    assert prepared(modality, values) == 6
    later = os.stat(files[2]).st_mtime_ns + 1_000_000
    os.utime(files[2], ns=(later, later))
    assert prepared(modality, values) == 7
    assert prepared(modality, values) == 7


def test_a_changed_file_is_read_again(cache, files):
    before = prepare(Size(), pd.Series(files), "disk")
    Path(files[2]).write_bytes(b"cccccccc")
    after = prepare(Size(), pd.Series(files), "disk")
    assert before.arrays["x"][2, 0] == 3
    assert after.arrays["x"][2, 0] == 8


def test_a_repaired_file_is_good_again(cache, files):
    Path(files[1]).write_bytes(b"bad file")
    assert prepare(Size(), pd.Series(files), "disk").bad == {1: "begins with bad"}
    Path(files[1]).write_bytes(b"fine")
    assert prepare(Size(), pd.Series(files), "disk").bad == {}


def test_other_settings_never_get_the_features_of_the_first(cache, files):
    values = pd.Series(files)
    assert prepare(Size(), values, "disk").arrays["x"][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert prepare(Size(scale=10.0), values, "disk").arrays["x"][:, 0].tolist() == [10, 20, 30, 40, 50]


def test_cache_never_lies_beside_the_data(cache, files, monkeypatch):
    prepare(Size(), pd.Series(files), "disk")
    assert sorted(os.listdir(Path(files[0]).parent)) == ["0", "1", "2", "3", "4"]
    assert cache_folder() == cache
    monkeypatch.delenv("MMKERAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().name == "mmkeras"
    if sys.platform == "linux":
        assert cache_folder() == Path("/somewhere/mmkeras")


def test_a_writer_that_fails_leaves_nothing_usable(cache, files, monkeypatch):
    def fail(self, value):
        raise MemoryError("no more")  # no fault of the cell's

    with monkeypatch.context() as patch:
        patch.setattr(Size, "read", fail)
        with pytest.raises(Exception, match="no more"):
            prepare(Size(), pd.Series(files), "disk")
    assert entries(cache) == set()
    assert prepare(Size(), pd.Series(files), "disk").arrays["x"][:, 0].tolist() == [1, 2, 3, 4, 5]


WRITER = """
import sys, time
from pathlib import Path
import pandas as pd
from mmkeras.dataset import prepare
from mmkeras.modalities.image import Image

class Slow(Image):
    def read(self, value):
        if value.endswith("last.png"):
            print("nearly done", flush=True)
            sys.stdin.read()
        return super().read(value)

state = dict(mean=(0.0,) * 3, deviation=(1.0,) * 3, size_mean=(0.0,) * 2, size_deviation=(1.0,) * 2)
kind = Slow if sys.argv[1] == "slow" else Image
found = prepare(kind(height_px=8, width_px=8, **state), pd.Series(sys.argv[2:]), "disk")
print(found.arrays["pixels"].sum(dtype="float64"), flush=True)
"""


def pictures(folder: Path) -> list[str]:
    rng = np.random.default_rng(0)
    names = [*(f"{i}.png" for i in range(6)), "last.png"]
    for name in names:
        (folder / name).write_bytes(png("return", rng))
    return [str(folder / name) for name in names]


def test_a_killed_writer_leaves_no_half_cache(cache, tmp_path):
    paths = pictures(tmp_path)
    arguments = [sys.executable, "-c", WRITER, "slow", *paths]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE) as writer:
        assert writer.stdout.readline() == "nearly done\n"
        writer.send_signal(signal.SIGKILL)
    (left,) = entries(cache)
    assert left.startswith(".part-")
    state = {"mean": (0.0,) * 3, "deviation": (1.0,) * 3, "size_mean": (0.0,) * 2, "size_deviation": (1.0,) * 2}
    image = Image(height_px=8, width_px=8, **state)
    found, fresh = (prepare(image, pd.Series(paths), kept) for kept in ("disk", "memory"))
    assert np.array_equal(found.arrays["pixels"], fresh.arrays["pixels"])
    assert fresh.arrays["present"].tolist() == [1] * 7


@pytest.mark.slow
def test_two_processes_prepare_the_same_at_once(cache, tmp_path):
    paths = pictures(tmp_path)
    arguments = [sys.executable, "-c", WRITER, "plain", *paths]
    writers = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=HERE) for _ in range(3)]
    sums = {writer.communicate(timeout=300)[0] for writer in writers}
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(sums) == 1
    assert len(entries(cache)) == 1


def test_two_threads_prepare_the_same_at_once(cache, files, monkeypatch):
    """Both compute, since neither finds the features; the first to finish names its folder, the second uses that."""
    meeting = threading.Barrier(2, timeout=60)
    compute = dataset._compute

    def together(*arguments):
        found = compute(*arguments)
        meeting.wait()
        return found

    monkeypatch.setattr(dataset, "_compute", together)
    found = {}

    def work(name):
        found[name] = prepare(Size(), pd.Series(files), "disk").arrays["x"][:, 0].tolist()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 4, 5]}
    assert len(entries(cache)) == 1


def test_least_recently_used_features_are_deleted_first(cache, files, monkeypatch):
    values = pd.Series(files)
    for scale in (1.0, 2.0, 3.0):
        prepare(Size(scale=scale), values, "disk")
        old = time.time() - 1000 + scale
        newest = max(cache.iterdir(), key=lambda folder: folder.stat().st_mtime)
        os.utime(newest, (old, old))
    prepare(Size(scale=1.0), values, "disk")  # used again: the one of scale 2 is now the oldest
    by_use = sorted(cache.iterdir(), key=lambda folder: folder.stat().st_mtime)
    size = sum(file.stat().st_size for file in by_use[0].iterdir())
    monkeypatch.setattr(dataset, "CACHE_BYTES", 2 * size + size // 2)
    READS.clear()
    prepare(Size(scale=4.0), values, "disk")
    assert not by_use[0].exists()
    assert by_use[1].exists()
    assert by_use[2].exists()
    READS.clear()
    prepare(Size(scale=1.0), values, "disk")
    assert not READS
    prepare(Size(scale=2.0), values, "disk")
    assert len(READS) == 5


def test_room_is_made_while_another_process_tidies_up(cache, monkeypatch):
    """A folder may be renamed between being listed and being looked into."""
    (cache / "there").mkdir(parents=True)
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([cache / "there", cache / "gone"]))
    monkeypatch.setattr(Path, "is_dir", lambda folder: True)
    assert dataset._size(cache / "gone") == 0
    assert dataset._last_use(cache / "gone") == 0
    dataset._make_room(cache)


# Batches


ROWS, BATCH = 11, 3


@pytest.fixture
def two_columns():
    """Features of 11 rows whose value is their row number; row 4 lacks a, row 7 lacks b."""
    columns = {}
    for column, lacking in (("a", 4), ("b", 7)):
        present = np.ones(ROWS, np.float32)
        present[lacking] = 0
        values = np.repeat(np.arange(1, ROWS + 1, dtype=np.float32)[:, None] * 10, 2, axis=1)
        columns[column] = ColumnFeatures({"x": values * present[:, None], "present": present}, np.arange(ROWS), {})
    return Features(columns)


TARGETS = {"y": (np.arange(ROWS, dtype=np.int32), np.linspace(0.5, 1.5, ROWS, dtype=np.float32))}


def drawn(features, epochs, seed=0, modality_dropout=0.0, rows=range(ROWS)):
    """Every batch as NumPy arrays."""
    found = training_batches(
        features,
        np.array(rows),
        TARGETS,
        {"a": Size(), "b": Size()},
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
        modality_dropout=modality_dropout,
    )
    return list(found.as_numpy_iterator())


def order(found) -> list[list[int]]:
    return [targets["y"].tolist() for _, targets, _ in found]


def equal(first, second) -> bool:
    import tensorflow as tf

    flat = tf.nest.flatten(first), tf.nest.flatten(second)
    return len(flat[0]) == len(flat[1]) and all(np.array_equal(a, b) for a, b in zip(*flat, strict=True))


def test_batches_keep_the_order_of_rows(two_columns):
    rows = [4, 0, 9, 2, 2]
    found = list(batches(two_columns, np.array(rows), BATCH, TARGETS).as_numpy_iterator())
    assert order(found) == [[4, 0, 9], [2, 2]]
    assert [features["b"]["x"][:, 0].tolist() for features, *_ in found] == [[50, 10, 100], [30, 30]]
    assert found[0][0]["a"]["present"].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found[1][2]["y"], TARGETS["y"][1][[2, 2]])


def test_batches_without_targets_are_features_alone(two_columns):
    (found,) = batches(two_columns, np.array([1, 3]), BATCH).as_numpy_iterator()
    assert found.keys() == {"a", "b"}


def test_every_epoch_has_its_own_order_and_no_row_twice(two_columns):
    found = order(drawn(two_columns, range(4)))
    assert len(found) == 4 * (ROWS // BATCH)
    epochs = [sum(found[i : i + 3], []) for i in range(0, 12, 3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert set(sum(epochs, [])) == set(range(ROWS))  # what one epoch leaves out comes in another


def test_rows_targets_and_weights_stay_together(two_columns):
    for features, targets, weights in drawn(two_columns, range(2)):
        rows = targets["y"]
        np.testing.assert_array_equal(weights["y"], TARGETS["y"][1][rows])
        there = features["b"]["present"] > 0
        assert (features["b"]["x"][:, 0] // 10)[there].astype(int).tolist() == (rows[there] + 1).tolist()


def test_a_training_that_goes_on_sees_what_it_would_have_seen(two_columns):
    whole = drawn(two_columns, range(4), modality_dropout=0.4)
    tail = drawn(two_columns, range(2, 4), modality_dropout=0.4)
    assert equal(tail, whole[6:])
    assert not equal(tail, whole[:6])


def test_seed_fixes_everything_and_another_changes_it(two_columns):
    first, again, other = (drawn(two_columns, range(2), seed, 0.4) for seed in (0, 0, 1))
    assert equal(first, again)
    assert order(first) != order(other)


def test_augmentation_follows_the_row_not_its_neighbours(two_columns):
    """Row 5 of epoch 0 looks the same whichever rows are trained on beside it."""

    def row_5(rows):
        (found,) = (
            features["a"]["x"][i]
            for features, targets, _ in drawn(two_columns, range(1), rows=rows)
            for i, row in enumerate(targets["y"])
            if row == 5
        )
        return found

    assert np.array_equal(row_5([5, 0, 1]), row_5([8, 9, 5]))


def test_augmentation_changes_every_epoch_and_differs_between_columns(two_columns):
    noise = {}
    for step, (features, targets, _) in enumerate(drawn(two_columns, range(6))):
        for i, row in enumerate(targets["y"]):
            if row not in (4, 7):
                noise[step // 3, row] = features["a"]["x"][i] - 10 * (row + 1), features["b"]["x"][i] - 10 * (row + 1)
    assert len({values[0].tobytes() for values in noise.values()}) == len(noise)
    assert not any(np.array_equal(a, b) for a, b in noise.values())


def test_modality_dropout_hides_cells_but_never_a_whole_row(two_columns):
    found = drawn(two_columns, range(60), modality_dropout=0.5)
    present = np.concatenate([np.stack([f["a"]["present"], f["b"]["present"]], axis=1) for f, *_ in found])
    rows = np.concatenate([targets["y"] for _, targets, _ in found])
    assert present.sum(axis=1).min() == 1
    assert (present[rows == 4] == [0, 1]).all()  # the only cell of a row is never hidden
    assert (present[rows == 7] == [1, 0]).all()
    both = present[~np.isin(rows, [4, 7])]
    # Of two cells the lower draw goes when it is below 0.5: in 3 of 4 rows, one column as often as the other.
    assert (both.sum(axis=1) == 1).mean() == pytest.approx(0.75, abs=0.08)
    assert both.mean(axis=0) == pytest.approx([0.625, 0.625], abs=0.08)


def test_hidden_cells_are_all_zeros(two_columns):
    for features, *_ in drawn(two_columns, range(10), modality_dropout=0.5):
        for column in features.values():
            assert not column["x"][column["present"] == 0].any()


def test_no_modality_dropout_hides_nothing(two_columns):
    for features, targets, _ in drawn(two_columns, range(5)):
        assert features["a"]["present"].tolist() == (targets["y"] != 4).tolist()
