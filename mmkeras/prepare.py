"""Features in shards: `python -m mmkeras.prepare`, `mmkeras prepare`, `from mmkeras.prepare import prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmkeras.base.terminal import run_command
from mmkeras.features.write_records import write_records


def prepare(
    config: Annotated[Path, typer.Argument(help="A config (.yaml).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that win, such as columns.photo.files=2.")
    ] = None,
    *,
    out: Annotated[str, typer.Option(help="The folder to write to, also gs://…")],
    shard_mb: Annotated[int, typer.Option(min=1, help="About so large is a shard.")] = 128,
    gzip: Annotated[
        bool, typer.Option("--gzip", help="Smaller shards, slower to read: for a slow network or a full disk.")
    ] = False,
) -> str:
    """Writes what training reads of each row once, for tables that outgrow one disk.

    **Examples**

    `python -m mmkeras.prepare config.yaml --out gs://bucket/features`

    `python -m mmkeras.train config.yaml --features gs://bucket/features`

    The same command again goes on where it was stopped.
    """
    return write_records(config, list(overrides or []), out, shard_mb, gzip)


if __name__ == "__main__":
    run_command(prepare)
