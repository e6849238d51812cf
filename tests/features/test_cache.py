"""The cache on disk: kept by content, whole or not at all, whoever else writes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures_sizes import READS, Size
from fixtures_tables import HERE, png

from mmkeras.components.modalities.image import Image
from mmkeras.features import cache as module
from mmkeras.features import columns as features_module
from mmkeras.features import sources
from mmkeras.features.cache import cache_folder
from mmkeras.features.columns import prepare


def entries(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()}


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


def test_key_changes_with_the_code_that_makes_features_and_no_other(cache, files, monkeypatch):
    source_of = sources.source_of

    def key_where(old, new):
        with monkeypatch.context() as patch:
            patch.setattr(sources, "source_of", lambda name: (source_of(name) or "").replace(old, new))
            sources.code_of.cache_clear()
            return module.key(Size(), files)

    same = key_where("", "")
    assert key_where("float32", "float64") != same
    assert key_where("begins with bad", "begins badly") != same
    assert key_where("random.stateless_uniform", "zeros") == same
    sources.code_of.cache_clear()


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
from mmkeras.features.columns import prepare
from mmkeras.components.modalities.image import Image

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


@pytest.mark.slow
def test_a_killed_writer_leaves_no_half_cache(cache, tmp_path):
    paths = pictures(tmp_path)
    arguments = [sys.executable, "-c", WRITER, "slow", *paths]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE) as writer:
        assert writer.stdout.readline() == "nearly done\n"
        writer.send_signal(signal.SIGKILL)
    left = entries(cache)
    assert [name[:6] for name in left] == [".part-"]
    state = {"mean": (0.0,) * 3, "deviation": (1.0,) * 3, "size_mean": (0.0,) * 2, "size_deviation": (1.0,) * 2}
    image = Image(height_px=8, width_px=8, **state)
    found, fresh = (prepare(image, pd.Series(paths), kept) for kept in ("disk", "memory"))
    assert np.array_equal(found.arrays["pixels"], fresh.arrays["pixels"])
    assert fresh.arrays["present"].tolist() == [1] * 7
    assert not left & entries(cache)


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
    compute = features_module._compute

    def together(*arguments):
        found = compute(*arguments)
        meeting.wait()
        return found

    monkeypatch.setattr(features_module, "_compute", together)
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


def aged(cache: Path, seconds: float) -> Path:
    """The newest entry, made as if it was last used so long ago."""
    newest = max(cache.iterdir(), key=lambda folder: folder.stat().st_mtime)
    os.utime(newest, (time.time() - seconds,) * 2)
    return newest


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_least_recently_used_features_are_deleted_first(cache, files):
    values = pd.Series(files)
    for scale in (1.0, 2.0, 3.0):
        prepare(Size(scale=scale), values, "disk")
        aged(cache, 1000 - scale)
    prepare(Size(scale=1.0), values, "disk")  # used again: the one of scale 2 is now the oldest
    by_use = sorted(cache.iterdir(), key=lambda folder: folder.stat().st_mtime)
    prepare(Size(scale=4.0), values, "disk", max_gb=3.5 * size(by_use[0]) / 1e9)
    assert [folder.exists() for folder in by_use] == [False, True, True]
    READS.clear()
    prepare(Size(scale=1.0), values, "disk")
    assert not READS
    prepare(Size(scale=2.0), values, "disk")
    assert len(READS) == 5


def test_features_in_use_are_never_deleted(cache, files):
    values = pd.Series(files)
    used = prepare(Size(scale=1.0), values, "disk")
    oldest = aged(cache, 1000)
    prepare(Size(scale=2.0), values, "disk")
    unused = aged(cache, 500)
    prepare(Size(scale=3.0), values, "disk", max_gb=1e-9)
    assert oldest.exists() and not unused.exists()
    assert used.rows(np.arange(5))["x"][:, 0].tolist() == [1, 2, 3, 4, 5]
    del used
    prepare(Size(scale=4.0), values, "disk", max_gb=1e-9)
    assert not oldest.exists()


def test_features_that_another_process_deletes_can_still_be_read(cache, files):
    used = prepare(Size(), pd.Series(files), "disk")
    shutil.rmtree(cache)
    assert used.rows(np.array([3, 0]))["x"][:, 0].tolist() == [4, 1]


def test_what_a_killed_writer_left_is_deleted_and_what_a_living_one_writes_is_not(cache, files):
    (cache / ".part-left").mkdir(parents=True)
    (cache / ".part-written").mkdir()
    lock = module._lock(cache / ".part-written", module.fcntl.LOCK_SH)
    prepare(Size(), pd.Series(files), "disk")
    assert {name for name in entries(cache) if name.startswith(".part")} == {".part-written"}
    os.close(lock)
    prepare(Size(scale=2.0), pd.Series(files), "disk")
    assert not any(name.startswith(".part") for name in entries(cache))


# Damage


def test_a_flipped_byte_anywhere_is_noticed(cache, files, tmp_path, monkeypatch):
    """In the features, in where they begin, in what is said of them and in the checksums themselves."""
    prepare(Size(), pd.Series(files), "disk")
    (folder,) = cache.iterdir()
    good = shutil.copytree(folder, tmp_path / "good")
    warnings = []
    monkeypatch.setattr(module, "warn", warnings.append)
    flipped = 0
    for file in sorted(good.iterdir()):
        content = file.read_bytes()
        for place in range(0, len(content), 3):
            shutil.copytree(good, folder, dirs_exist_ok=True)
            (folder / file.name).write_bytes(
                content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]
            )
            assert module.read(folder) is None, f"{file.name} byte {place}"
            flipped += 1
    assert flipped == len(warnings) > 50
    assert all("thrown away and computed again" in warning for warning in warnings)


@pytest.mark.parametrize("name", ["meta.json", "offsets.bin", "shard-00000.bin"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "empty", "gone"])
def test_damaged_features_are_computed_again_with_one_warning(name, damage, cache, files, monkeypatch):
    values = pd.Series(files)
    before = prepare(Size(), values, "disk").rows(np.arange(5))
    (folder,) = cache.iterdir()
    content = (folder / name).read_bytes()
    if damage == "gone":
        (folder / name).unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        changed = {"flipped": flipped, "cut": content[:-1], "longer": content + b"0", "empty": b""}
        (folder / name).write_bytes(changed[damage])
    warnings = []
    monkeypatch.setattr(module, "warn", warnings.append)
    READS.clear()
    after = prepare(Size(), values, "disk").rows(np.arange(5))
    assert len(READS) == 5
    assert all(np.array_equal(before[feature], after[feature]) for feature in before)
    assert len(warnings) == 1 and str(folder) in warnings[0]
    prepare(Size(), values, "disk")
    assert len(READS) == 5 and len(warnings) == 1  # the new ones are good


def test_a_full_disk_is_said_with_its_remedy_and_leaves_nothing(cache, files, monkeypatch):
    def full(self, features):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.Writer, "add", full)
        with pytest.raises(OSError, match=r"No space left on device; .*MMKERAS_CACHE.*train.cache=memory"):
            prepare(Size(), pd.Series(files), "disk")
    assert entries(cache) == set()
    assert prepare(Size(), pd.Series(files), "disk").rows(np.arange(5))["x"][:, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_folder_that_cannot_be_written_is_said_with_its_remedy(files, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMKERAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="file/cache: Not a directory; .*MMKERAS_CACHE"):
        prepare(Size(), pd.Series(files), "disk")


def test_a_cache_that_may_only_be_read_is_read(cache, files, monkeypatch):
    prepare(Size(), pd.Series(files), "disk")
    READS.clear()

    def refuse(*arguments):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    prepare(Size(), pd.Series(files), "disk")
    assert not READS


def test_room_is_made_while_another_process_tidies_up(cache, monkeypatch):
    """A folder may be renamed between being listed and being looked into."""
    (cache / "there").mkdir(parents=True)
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([cache / "there", cache / "gone"]))
    monkeypatch.setattr(Path, "is_dir", lambda folder: True)
    assert module._size(cache / "gone") == 0
    assert module._last_use(cache / "gone") == 0
    module._make_room(cache, 1e-9)
