"""The cache on disk: a column's features by what they depend on, whole and as they were written, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import mmkeras
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import warn
from mmkeras.contracts.modality import Modality
from mmkeras.features.shards import Arrays, Damaged, Feature, Stored, Writer
from mmkeras.features.sources import code_of
from mmkeras.table.remote import scheme_of, state

tf = lazy("tensorflow")

CACHE_GB = 20.0
FORMAT = "2"  # of an entry; another number is another key
Fill = Callable[[Callable[[Arrays], None]], dict[int, str]]
PART = ".part-"  # a folder that is being written or deleted begins with this


def cache_folder() -> Path:
    """Where features are kept: `MMKERAS_CACHE`, or the operating system's folder for caches."""
    import platformdirs

    return Path(os.environ.get("MMKERAS_CACHE") or platformdirs.user_cache_dir("mmkeras"))


def read(folder: Path) -> Stored | None:
    """An entry as `write` left it; None where there is none. One that was damaged since is deleted, with a warning.

    Every byte is checked now, before anything is trained on it.
    """
    try:
        stored = Stored(folder, _lock(folder, fcntl.LOCK_SH))
    except Damaged as error:
        warn(f"{error}; these features are thrown away and computed again")
        _delete(folder)
        return None
    except BlockingIOError:  # another process deletes it
        return None
    except OSError as error:
        if folder.is_dir():
            warn(f"{folder}: {error.strerror or error}; these features are thrown away and computed again")
            _delete(folder)
        return None
    with contextlib.suppress(OSError):  # a cache that may only be read
        os.utime(folder)  # the oldest is deleted first
    return stored


def key(modality: Modality, distinct: Sequence[str]) -> str:
    """A folder's name for settings, fitted state, cells, files, code and versions: all that features depend on."""
    digest = hashlib.sha256()
    settings = modality.model_dump_json(exclude=modality.tunable_fields())
    for part in (FORMAT, mmkeras.__version__, _version(), settings, code_of(type(modality))):
        digest.update(part.encode() + b"\0")
    for value in distinct:
        digest.update(value.encode("utf-8", "surrogatepass") + b"\0" + _file_state(value, modality) + b"\0")
    return f"{modality.type_name()}-{digest.hexdigest()[:32]}"


def _version() -> str:
    """Of TensorFlow, without the seconds that importing it takes."""
    try:
        return metadata.version("tensorflow")
    except metadata.PackageNotFoundError:  # another build
        return tf.__version__


def _file_state(value: str, modality: Modality) -> bytes:
    """Sizes and times of the files that a cell names."""
    return b" ".join(map(_path_state, modality.paths(value))) if value else b""


def _path_state(path: str) -> bytes:
    if scheme_of(path):
        return state(path)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return b"/".join(
                name.encode("utf-8", "surrogatepass") + b" " + _path_state(os.path.join(path, name))
                for name in sorted(os.listdir(path))
            )
    except OSError:
        return b"unreadable"
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def write(
    folder: Path,
    modality: Modality,
    fill: Fill,
    max_gb: float = CACHE_GB,
) -> Stored:
    """Writes features so that the folder appears when all of them are there, or not at all.

    Two processes that write the same at once both succeed: each has a folder of its own, and the first to finish gives
    it its name. What was not used for the longest time makes room.

    Args:
        folder: `cache_folder() / key(…)`.
        modality: Adapted.
        fill: Gives the features of all cells in order, {feature: (n, …)} at a time, to a function; returns what is
            wrong with which cell.
        max_gb: How large the cache may be, what is in use left aside.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    try:
        return _write(folder, modality, fill, max_gb)
    except OSError as error:
        remedy = "free some space, name another folder in MMKERAS_CACHE, or set train.cache=memory"
        raise OSError(f"{folder.parent}: {error.strerror or error}; {remedy}") from error


def _write(folder: Path, modality: Modality, fill: Fill, max_gb: float) -> Stored:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_room(folder.parent, max_gb)
    temporary = Path(tempfile.mkdtemp(prefix=PART, dir=folder.parent))
    try:
        written = _write_into(temporary, modality, fill)
        try:
            os.rename(temporary, folder)
        except OSError:  # another process was faster; its features are the same
            written = read(folder) or written
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _make_room(folder.parent, max_gb)
    return written


def _write_into(folder: Path, modality: Modality, fill: Fill) -> Stored:
    lock = _lock(folder, fcntl.LOCK_SH)
    try:
        writer = Writer(folder, _features(modality))
        writer.close(fill(writer.add))
    except BaseException:
        os.close(lock)
        raise
    return Stored(folder, lock)


def _features(modality: Modality) -> list[Feature]:
    return [
        Feature(name, tuple(spec.shape), spec.dtype.as_numpy_dtype().dtype.str)
        for name, spec in modality.features.items()
    ]


# Room. A folder that somebody reads or writes is locked: it stays, and one that a killed writer left does not.


def _make_room(cache: Path, max_gb: float) -> None:
    """Deletes what killed writers left, and what was not used for the longest time while there is too much."""
    folders = [entry for entry in cache.iterdir() if entry.is_dir()]
    for folder in folders:
        if folder.name.startswith(PART):
            _delete_unused(folder)
    used = sorted((_last_use(folder), _size(folder), folder) for folder in folders)
    total = sum(size for _, size, _ in used)
    for _, size, folder in used:
        if total <= max_gb * 1e9:
            return
        total -= size * _delete_unused(folder)


def _delete_unused(folder: Path) -> bool:
    """Deletes a folder that nobody reads or writes; whether it is gone."""
    try:
        lock = _lock(folder, fcntl.LOCK_EX)
    except OSError:  # in use, or deleted meanwhile
        return not folder.exists()
    _delete(folder)
    os.close(lock)
    return True


def _delete(folder: Path) -> None:
    """First out of sight: nobody finds half of it."""
    hidden = folder.with_name(f"{PART}{folder.name.removeprefix(PART)}-deleted-{os.getpid()}")
    with contextlib.suppress(OSError):
        os.rename(folder, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _lock(folder: Path, kind: int) -> int:
    """Holds a folder until the file descriptor is closed: shared with others (LOCK_SH) or alone (LOCK_EX).

    Raises:
        OSError: Another lock is in the way, or there is no such folder.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError as error:
        # Where a file system knows no locks, everything is read and nothing deleted.
        if kind == fcntl.LOCK_EX or isinstance(error, BlockingIOError):
            os.close(lock)
            raise
    return lock


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
