"""A SavedModel of raw rows: `python -m mmkeras.export`, `mmkeras export`, `from mmkeras.export import export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base.terminal import run_command, say
from mmkeras.serving.saved_model import ASSETS, write_saved_model
from mmkeras.training.run import Run


def export(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    folder: Annotated[Path, typer.Argument(help="The SavedModel's folder; must not be there yet.")],
) -> Path:
    """Writes a SavedModel that takes raw strings and file bytes, one per column, and needs no mmkeras.

    **Example**

    `python -m mmkeras.export runs/customer_service-20260101-120000 my_model`

    It needs `import tensorflow` and, where a column is text, `import tensorflow_text`; `assets.extra/signature.json`
    says what to send and what comes back.
    """
    run, folder = Run(run), Path(folder)
    if folder.exists():
        raise ValueError(f"{folder}: exists already; choose another folder or delete it")
    write_saved_model(run.network(), run.schema, folder)
    say(f"SavedModel in {folder}; what to send and what comes back: {folder / ASSETS / 'signature.json'}")
    return folder


if __name__ == "__main__":
    run_command(export)
