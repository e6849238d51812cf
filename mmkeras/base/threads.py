"""Work on many cells at once, on a thread for each core."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T, R = TypeVar("T"), TypeVar("R")


def in_order(work: Callable[[T], R], chunks: Iterable[T]) -> Iterator[R]:
    """`work` of each chunk, in order, on a thread for each core; only a few chunks lie in memory at once.

    What takes long lets other threads run: files, decoders and TensorFlow leave Python's lock.
    """
    with ThreadPoolExecutor(cores()) as threads:
        waiting: deque[Future] = deque()
        try:
            for chunk in chunks:
                waiting.append(threads.submit(work, chunk))
                if len(waiting) > 2 * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
