"""Says what is wrong with a table: `python -m mmkeras.check`, `mmkeras check`, `mmkeras.check.check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base import run_files
from mmkeras.base.terminal import run_command
from mmkeras.table.audit import Checked, check_table


def check(
    table: Annotated[Any, typer.Argument(parser=str, help="A table (.csv, .parquet) or a config (.yaml).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that win, such as columns.photo=image.")
    ] = None,
    *,
    target: Annotated[
        str | None, typer.Option(help="The column to predict: its classes and the splits are looked at too.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write what is wrong, row by row (.csv).")] = Path(
        run_files.BAD_ROWS
    ),
) -> Checked:
    """Reads every file of a table once and says what cannot be used, and what should be looked at.

    **Examples**

    `python -m mmkeras.check table.csv --target label` – guesses what each column holds, as `train` does

    `python -m mmkeras.check config.yaml --out bad_rows.csv`

    Shows what each column holds, with a verdict, and each kind of finding with its first rows and a remedy; writes all
    of them with row, column, path, what, remedy and level (error, look). The exit status is 1 where there are errors.
    """
    overrides = list(overrides or [])
    if isinstance(table, str) and "=" in table and not Path(table).exists():
        table, overrides = None, [table, *overrides]
    return check_table(table, overrides, target, out)


if __name__ == "__main__":
    run_command(check)
