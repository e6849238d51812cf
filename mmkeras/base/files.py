"""Files that a reader finds whole, and what folders are called."""

from __future__ import annotations

import os
import re
from pathlib import Path

NAMELESS = ("config", "manifest", "table", "data")


def holds_more_than(name: str, folder: Path) -> bool:
    """Whether anything but a file of this name lies in a folder."""
    return any(entry.name != name for entry in folder.iterdir())


def run_name(config_path: Path) -> str:
    """What run folders are called after; a name like `config` says nothing, so the folder's name stands in."""
    stem = config_path.resolve().parent.name if config_path.stem in NAMELESS else config_path.stem
    return re.sub(r"[^\w.-]+", "-", stem)


def write_atomically(path: Path, text: str) -> None:
    """A reader, or a run that is killed meanwhile, sees the old file or the new one, never half of it."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
