"""How long a user waits before anything happens: `import mmkeras`, `mmkeras --help`, the help of a command.

    python benchmarks/startup.py

Each runs in a process of its own, in turns with a Python that does nothing; the median less that one's is the cost.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Annotated

import typer

from mmkeras.base.terminal import run_command

STARTS = {
    "python": ["-c", "pass"],
    "import mmkeras": ["-c", "import mmkeras"],
    "mmkeras --help": ["-m", "mmkeras", "--help"],
    "mmkeras train --help": ["-m", "mmkeras", "train", "--help"],
}


def startup(rounds: Annotated[int, typer.Option(min=1, help="How often each is started.")] = 9) -> None:
    """Times the start of mmkeras."""
    seconds = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, arguments in STARTS.items():
            seconds[name].append(_seconds(arguments))
    nothing = statistics.median(seconds["python"])
    for name, found in seconds.items():
        median = statistics.median(found)
        print(f"{name:20} {median:.2f} s, {median - nothing:.2f} s of them its own; median of {rounds}")


def _seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    run_command(startup)
