"""Files of other filesystems (s3, gs, http, memory …) through fsspec: looked at, and brought here while they are read.

Only what was looked at for a table whose config names the filesystem can be read. No copy is kept: features are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
THREADS = 32  # each of them waits for an answer
NAME_CHARACTERS = 100

_looked_at: dict[str, tuple[Any, bytes]] = {}  # address: (its filesystem, its state)


def scheme_of(path: str) -> str:
    """The filesystem that an address names; "" for a path."""
    if ":" not in path:  # a million paths are asked
        return ""
    match = ADDRESS.match(path)
    return match[1].lower() if match else ""


def check(filesystems: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses filesystems that this machine cannot open.

    Raises:
        ValueError: Says what is not installed, or which option is wrong.
    """
    for scheme, options in filesystems.items():
        _filesystem(scheme, options)


def look(addresses: Iterable[str], filesystems: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """{address: what keeps it from being read, "" where nothing does}.

    Args:
        addresses: Of files.
        filesystems: {scheme: fsspec's storage options}: no other one is opened.

    Raises:
        ValueError: As `check`, of a filesystem that is needed.
    """
    addresses = list(addresses)
    schemes = {scheme_of(address) for address in addresses} & filesystems.keys()
    opened = {scheme: _filesystem(scheme, filesystems[scheme]) for scheme in sorted(schemes)}
    for filesystem in opened.values():
        filesystem.invalidate_cache()  # of what lay there an hour ago
    with ThreadPoolExecutor(min(THREADS, max(1, len(addresses)))) as pool:
        faults = pool.map(lambda address: _fault(address, opened.get(scheme_of(address))), addresses)
        return dict(zip(addresses, faults, strict=True))


def state(address: str) -> bytes:
    """Changes when the file does, as far as its filesystem says: size, time, tag."""
    return _looked_at[address][1] if address in _looked_at else b"unreadable"


@contextlib.contextmanager
def copies(paths: Sequence[str]) -> Iterator[list[str]]:
    """Local paths of the same files, for as long as they are read.

    Args:
        paths: Addresses that `look` found nothing wrong with, and local paths, which stay.

    Raises:
        ValueError: A file cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="mmkeras-") as folder:
        yield [
            _fetched(path, os.path.join(folder, str(i))) if scheme_of(path) else path for i, path in enumerate(paths)
        ]


def _fault(address: str, filesystem: Any) -> str:
    scheme = scheme_of(address)
    if "::" in address:
        return 'chains filesystems with "::"; name a file of one filesystem'
    if filesystem is None:
        return f"is on another filesystem, {scheme}; set filesystems.{scheme}={{}} to allow it"
    try:
        info = filesystem.info(address)
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # each filesystem has its own kinds
        return f"cannot be reached: {_in_one_line(error)}"
    if info.get("type") != "file":
        return "is a folder" if info.get("type") == "directory" else "is not a regular file"
    if info.get("size") == 0:
        return "is empty (0 bytes)"
    told = json.dumps(info, sort_keys=True, default=str).encode()
    _looked_at[address] = filesystem, hashlib.sha256(told).hexdigest()[:32].encode()
    return ""


def _filesystem(scheme: str, options: Mapping[str, Any]) -> Any:
    try:
        import fsspec
    except ImportError:
        raise ValueError('filesystems: fsspec is not installed: pip install "mmkeras[remote]"') from None
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise ValueError(f"filesystems.{scheme}: {_in_one_line(error)} (pip install)") from None
    except Exception as error:  # each filesystem has its own kinds
        raise ValueError(f"filesystems.{scheme}: {_in_one_line(error)}; expected storage options of fsspec") from None


def _fetched(address: str, folder: str) -> str:
    """The path of a copy, whose name ends as the address does."""
    filesystem, _ = _looked_at[address]
    os.mkdir(folder)
    name = re.sub(r"[^\w.-]", "_", re.split(r"[?#]", address)[0].rpartition("/")[2])[-NAME_CHARACTERS:]
    copy = os.path.join(folder, name or "file")
    try:
        filesystem.get_file(filesystem._strip_protocol(address), copy)
    except Exception as error:  # each filesystem has its own kinds
        raise ValueError(f"cannot be fetched: {_in_one_line(error)}") from None
    return copy


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
