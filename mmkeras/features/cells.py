"""What members share when they read cells: files that a cell names, how large they may be, cells by the chunk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mmkeras.contracts.modality import Cell

T = TypeVar("T")


def at_least_one(cells: Iterable[Cell]) -> Iterator[Cell]:
    """What `adapt` learns from: the cells that it is given.

    Raises:
        ValueError: There is none.
    """
    is_empty = True
    for cell in cells:
        is_empty = False
        yield cell
    if is_empty:
        raise ValueError("no cell of a training row can be learned from; leave the column out or mend its cells")


def chunked(cells: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cells, or what else there is many of, so many at a time."""
    remaining = iter(cells)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def split_paths(value: str) -> list[str]:
    """The files that a cell names, with semicolons between them."""
    return [path.strip() for path in value.split(";") if path.strip()]


def check_bytes(path: str, max_mb: float) -> None:
    """Refuses a file that is too large, before it is read.

    Raises:
        ValueError: Says how large it is; `ops.common.bytes_fault` says the same of what a client sends.
    """
    size = os.stat(path).st_size
    if size > max_mb * 1e6:
        raise ValueError(f"{size} bytes, more than max_mb {max_mb:g}")


def check_files(paths: Sequence[str], files: int) -> None:
    """Refuses a cell that names more files than the features have room for.

    Raises:
        ValueError: Says how many there are, and which setting to raise.
    """
    if len(paths) > files:
        raise ValueError(f"names {len(paths)} files, expected at most {files}; set files: {len(paths)} for this column")
