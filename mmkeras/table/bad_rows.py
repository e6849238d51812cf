"""What is done with cells that cannot be used (`on_bad_file`), and `bad_rows.csv`, which names them.

The file is what the rest goes by: which rows are left out, and what is counted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.table.manifest import BadCell, Manifest
from mmkeras.table.splits import SPLITS, UNUSED

pd = lazy("pandas")

FILE = run_files.BAD_ROWS
COLUMNS = ("row", "column", "path", "reason")
DROPPED = "row left out"
DONE = {"error": "training refused", "missing": "counted as missing", "drop": DROPPED}
CELLS_SHOWN = 5


def write(folder: Path, cells: Sequence[BadCell], policy: str) -> None:
    """Writes `bad_rows.csv`: row (from 1), column, path, reason, and what is done with the cell."""
    table = pd.DataFrame(cells, columns=list(COLUMNS))
    table.assign(done=DONE[policy]).to_csv(folder / FILE, index=False)


def refuse(cells: Sequence[BadCell], policy: str, manifest: Manifest, folder: Path | None) -> None:
    """Ends a training that cannot begin, unless the policy says how it can.

    Args:
        cells: By row.
        policy: `on_bad_file`.
        manifest: The table.
        folder: Where `bad_rows.csv` goes, if it can; None: nowhere.

    Raises:
        ValueError: Names the first cells, and how many there are.
    """
    if not cells or policy != "error":
        return
    it, its = ("it", "its row") if len(cells) == 1 else ("them", "their rows")
    remedy = f"policy: error; set on_bad_file=missing to train without {it}, or drop to leave {its} out"
    places = [f'row {cell.row}, column "{cell.column}": {_short(cell, manifest)}' for cell in cells[:CELLS_SHOWN]]
    if len(cells) == 1:
        raise ValueError(f"{manifest.name} {places[0]} ({remedy}){_written(folder, cells)}")
    rows = len({cell.row for cell in cells})
    more = [f"and {len(cells) - CELLS_SHOWN} more"] * (len(cells) > CELLS_SHOWN)
    first = f"{manifest.name}: {_counted(len(cells), 'cell')} in {_counted(rows, 'row')} cannot be used ({remedy})"
    raise ValueError("\n  ".join([first + _written(folder, cells), *places, *more]))


def in_use(split: pd.Series, folder: Path) -> pd.Series:
    """The split of each row, "unused" for those that `bad_rows.csv` in a folder leaves out."""
    bad_cells = _read(folder)
    return _without(split, bad_cells["row"][bad_cells["done"] == DROPPED])


def without(split: pd.Series, cells: Collection[BadCell]) -> pd.Series:
    """The split of each row, "unused" for those of cells that are not written yet."""
    return _without(split, [cell.row for cell in cells])


def check_in_use(split: pd.Series, kept: pd.Series, manifest: Manifest, folder: Path) -> None:
    """Refuses what is left of the splits, where one has no rows any more.

    Raises:
        ValueError: Says which, and where the bad cells are named.
    """
    for name in SPLITS:
        if (split == name).any() and not (kept == name).any():
            raise ValueError(
                f"{manifest.name}: each row of the split {name} has a bad cell and is left out (policy: drop); "
                f"mend the cells that {folder / FILE} names, or set on_bad_file=missing"
            )


def counts(folder: Path, policy: str) -> dict[str, Any]:
    """{"policy": …, "cells": how many, "rows": in how many, "columns": {column: cells}} of `bad_rows.csv`."""
    bad_cells = _read(folder)
    columns = {str(column): int(cells) for column, cells in bad_cells["column"].value_counts(sort=False).items()}
    return {"policy": policy, "cells": len(bad_cells), "rows": int(bad_cells["row"].nunique()), "columns": columns}


def summary(counted: dict[str, Any], folder: Path) -> str:
    """`counts` as a line."""
    cells, rows = _counted(counted["cells"], "bad cell"), _counted(counted["rows"], "row")
    done = f"{cells} in {rows} counted as missing" if counted["policy"] != "drop" else f"{rows} with {cells} left out"
    columns = ", ".join(f"{column} {count}" for column, count in sorted(counted["columns"].items()))
    return f"{done}: {columns}; {folder / FILE} names {'it' if counted['cells'] == 1 else 'them'}"


def _without(split: pd.Series, rows: Collection[int]) -> pd.Series:
    kept = split.copy()
    kept.iloc[np.array(rows, np.int64) - 1] = UNUSED
    return kept


def _read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / FILE, dtype={"row": "int64", "column": str, "done": str}, keep_default_na=False)


def _short(cell: BadCell, manifest: Manifest) -> str:
    return f"{cell.path.replace(f'{manifest.folder}{os.sep}', '')}: {cell.reason}"


def _written(folder: Path | None, cells: Sequence[BadCell]) -> str:
    """Where they are named, if they could be written."""
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, cells, "error")
            return f"; {folder / FILE} names {'it' if len(cells) == 1 else 'them all'}"
    return ""


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"
