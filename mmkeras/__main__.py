"""Every command under one name: `mmkeras train`, `mmkeras evaluate`, …, the same as `python -m mmkeras.train`, ….

A command's module is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
import sys

import mmkeras
from mmkeras.base.terminal import run_command

COMMANDS = {
    "train": "train a model on a table and judge it",
    "check": "look for what is wrong with a table and its files",
    "evaluate": "judge a run in detail, beside baselines",
    "explain": "say which columns, words, pixels and moments decided",
    "report": "write one page about a run: how good, where it fails, what decided",
    "compare": "find out which fusion suits a table",
    "predict": "answer the rows of a table",
    "export": "write a SavedModel that takes raw rows",
    "embed": "turn the rows of a table into vectors",
    "config": "print every setting there is, as a JSON schema",
    "prepare": "write a table's features once, in shards that training reads from anywhere",
}


def main() -> None:
    """The console script `mmkeras`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(mmkeras.__version__)
    elif name in COMMANDS:
        del sys.argv[1]
        run_command(getattr(importlib.import_module(f"mmkeras.{name}"), name))
    else:
        sys.exit(f'mmkeras: unknown command "{name}"; expected one of {", ".join(COMMANDS)}')


def _help() -> str:
    lines = "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    return (
        "Example: mmkeras train table.csv --target label\n\n"
        f"Commands (mmkeras NAME --help tells more; python -m mmkeras.NAME is the same):\n{lines}"
    )


if __name__ == "__main__":
    main()
