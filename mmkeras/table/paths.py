"""Which files a table may name: those of its own folder and, where the config allows it, others.

A path is looked at, never opened: a pipe would let its reader wait forever. What must not be read is refused in its
cell's own place (`refused`), so that nothing that comes later has to ask again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmkeras.contracts.config import Access
from mmkeras.table import remote

PATHS_BETWEEN = ";"
# Unicode's character for "in place of what cannot be used"; no absolute path and no address begins with it.
REFUSED = "\x1a"
ALLOW = "set allow_outside=true to allow it"
IS_ABSOLUTE = f"is an absolute path; write it relative to the table, or {ALLOW}"
LEAVES = f"leaves the table's folder; {ALLOW}"
FAULTS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.ELOOP: "is a loop of symbolic links",
    errno.ENAMETOOLONG: "has a name that is too long",
}
KINDS = {
    stat.S_IFIFO: "is a pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}


class Reader(Protocol):
    """The part of a modality that reads a cell."""

    from_file: bool

    def paths(self, value: str) -> list[str]:
        """The files that a cell names; [] where it holds the value itself."""

    def read(self, value: str) -> Any:
        """A cell's content."""


class Gate:
    """Looks at the paths of one table, at each once.

    Args:
        folder: The table's; relative paths start here.
        access: What else it may name.
    """

    def __init__(self, folder: Path, access: Access):
        self._folder, self._access = str(folder), access
        self._seen: dict[bool, dict[str, str]] = {False: {}, True: {}}
        self._is_outside = functools.cache(self._leads_outside)

    def absolute(self, path: str) -> str:
        """A path of a cell, joined to the folder; an address stays as it is."""
        return path if remote.scheme_of(path) else os.path.join(self._folder, path)

    def fault(self, path: str, takes_folders: bool) -> str:
        """What keeps a path of a cell from being read; "" where nothing does."""
        seen = self._seen[takes_folders]
        if path not in seen:
            seen[path] = self._look(path, takes_folders)
        return seen[path]

    def look_at_addresses(self, paths: Collection[str]) -> None:
        """Asks other filesystems for many files at once, since each answer is on its way for long."""
        addresses = [path for path in paths if remote.scheme_of(path) and path not in self._seen[False]]
        faults = remote.look(addresses, self._access.filesystems) if addresses else {}
        self._seen[False].update(faults)
        self._seen[True].update(faults)

    def _look(self, path: str, takes_folders: bool) -> str:
        if remote.scheme_of(path):
            return remote.look([path], self._access.filesystems)[path]
        if "\0" in path:
            return "holds a null byte, which no path can"
        there = os.path.join(self._folder, path)
        if not self._access.allow_outside:
            if os.path.isabs(path):
                return IS_ABSOLUTE
            if self._is_outside(os.path.dirname(there)):
                return LEAVES
        try:
            return self._look_there(there, takes_folders)
        except OSError as error:
            hint = '; write "/" in place of "\\"' if "\\" in path and error.errno == errno.ENOENT else ""
            return fault_of(error) + hint
        except ValueError as error:
            return f"is not a path: {error}"

    def _look_there(self, path: str, takes_folders: bool) -> str:
        status = os.lstat(path)
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            status = os.stat(path)
        is_folder = stat.S_ISDIR(status.st_mode)
        if (is_link or is_folder) and not self._access.allow_outside and self._leads_outside(path):
            return LEAVES
        if is_folder and takes_folders:
            return self._folder_fault(path)
        return kind_fault(status)

    def _folder_fault(self, path: str) -> str:
        """Of what lies in a folder, where that is more than files and folders."""
        with os.scandir(path) as entries:
            odd = [entry for entry in entries if entry.is_symlink() or not (entry.is_file() or entry.is_dir())]
        for entry in odd:
            with contextlib.suppress(FileNotFoundError):  # a link to nothing: nothing can be read there
                if not entry.is_dir() and (fault := self._look_there(entry.path, takes_folders=False)):
                    return f'holds "{entry.name}", which {fault}'
        return ""

    def _leads_outside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real != self._root and not real.startswith(os.path.join(self._root, ""))

    @functools.cached_property
    def _root(self) -> str:
        return os.path.realpath(self._folder)


def kind_fault(status: os.stat_result, takes_folders: bool = False) -> str:
    """Why what a path leads to is no file with content; "" where it is one."""
    if stat.S_ISDIR(status.st_mode):
        return "" if takes_folders else "is a folder"
    if not stat.S_ISREG(status.st_mode):
        return KINDS.get(stat.S_IFMT(status.st_mode), "is not a regular file")
    return "" if status.st_size else "is empty (0 bytes)"


def fault_of(error: OSError) -> str:
    return FAULTS.get(error.errno, str(error.strerror).lower())


# Cells that must not be read


def refused(path: str, reason: str) -> str:
    """What stands in the place of a cell with such a path."""
    printable = path.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    return f"{REFUSED}{reason}{REFUSED}{printable}"


def refusal(cell: str) -> tuple[str, str] | None:
    """(path, reason) of a cell that must not be read; None: it may be."""
    if not cell.startswith(REFUSED):
        return None
    _, reason, path = cell.split(REFUSED, 2)
    return path, reason


def shown(cell: str) -> str:
    """A cell as `manifest.media_cells` gives it, for a reader: of one that must not be read, the path."""
    told = refusal(cell)
    return told[0] if told else cell


def read_cell(modality: Reader, value: str) -> Any:
    """`modality.read` of a cell as `manifest.media_cells` gives it; what lies elsewhere is brought here first.

    Raises:
        ValueError: The cell must not be read or cannot be used; says why.
    """
    if not modality.from_file:
        return modality.read(value)
    if told := refusal(value):
        raise ValueError(told[1])
    paths = modality.paths(value)
    if not any(map(remote.scheme_of, paths)):
        return modality.read(value)
    with remote.copies(paths) as local:
        try:
            return modality.read(PATHS_BETWEEN.join(local))
        except ValueError as error:
            raise ValueError(_with_addresses(str(error), local, paths)) from None


def _with_addresses(text: str, local: Sequence[str], paths: Sequence[str]) -> str:
    for copy, path in zip(local, paths, strict=True):
        text = text.replace(copy, path)
    return text
