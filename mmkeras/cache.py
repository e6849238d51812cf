"""The cache on disk: a column's features by what they depend on, one array a feature, read without copying."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

import mmkeras
from mmkeras.component import Modality
from mmkeras.lazy import lazy
from mmkeras.remote import scheme_of, state

tf = lazy("tensorflow")
ops = lazy("mmkeras.ops")

CACHE_BYTES = 20 * 2**30


def cache_folder() -> Path:
    """Where features are kept: `MMKERAS_CACHE`, or the operating system's folder for caches."""
    import platformdirs

    return Path(os.environ.get("MMKERAS_CACHE") or platformdirs.user_cache_dir("mmkeras"))


def read(folder: Path, modality: Modality) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """{feature: (U, …)} as `write` left it, and what is wrong with which cell."""
    os.utime(folder)  # the oldest is deleted first
    arrays = {feature: np.load(folder / f"{feature}.npy", mmap_mode="r") for feature in modality.features}
    bad = {int(i): reason for i, reason in json.loads((folder / "bad.json").read_text(encoding="utf-8")).items()}
    return arrays, bad


def key(modality: Modality, distinct: Sequence[str]) -> str:
    """A folder's name for settings, fitted state, cells, files, code and versions: all that features depend on."""
    digest = hashlib.sha256()
    settings = modality.model_dump_json(exclude=modality.tunable_fields())
    for part in (mmkeras.__version__, tf.__version__, settings, *_sources(modality)):
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
    if scheme_of(path):
        return state(path)
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


def write(
    folder: Path, modality: Modality, cells: int, fill: Callable[[dict[str, np.ndarray]], dict[int, str]]
) -> None:
    """Writes features so that the folder appears when all of them are there, or not at all.

    Two processes that write the same at once both succeed: each has a folder of its own, and the first to finish gives
    it its name.

    Args:
        folder: `cache_folder() / key(…)`.
        modality: Adapted.
        cells: How many.
        fill: Puts the features of all cells into {feature: (U, …)}; returns what is wrong with which cell.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_room(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        arrays = _new_arrays(modality, cells, temporary)
        bad = fill(arrays)
        for array in arrays.values():
            array.flush()
        (temporary / "bad.json").write_text(json.dumps(bad, ensure_ascii=False), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was faster; its features are the same
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _new_arrays(modality: Modality, cells: int, folder: Path) -> dict[str, np.ndarray]:
    return {
        feature: np.lib.format.open_memmap(
            folder / f"{feature}.npy", "w+", spec.dtype.as_numpy_dtype, (cells, *spec.shape)
        )
        for feature, spec in modality.features.items()
    }


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
