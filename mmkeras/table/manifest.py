"""From a table to checked rows, and from their cells to the files that these name.

Every cell is a string and "" is a missing one, whatever the table was, so that the text "NA" and the class "01"
survive. Messages count rows from 1, the first row below the header. Nothing here imports TensorFlow: a mistake in a
table is reported before TensorFlow's seconds of import.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.words import nearest_hint
from mmkeras.contracts.config import Access
from mmkeras.table.paths import PATHS_BETWEEN, REFUSED, Gate, fault_of, kind_fault, refusal, refused

pa = lazy("pyarrow")
arrow_csv = lazy("pyarrow.csv")
pd = lazy("pandas")

SPLITS = ("train", "valid", "test")
SPLIT_OF_WORD = dict.fromkeys(("valid", "validation", "val", "dev"), "valid") | {"train": "train", "test": "test"}

# A row must fit into one block of the CSV reader, and a cell of text may hold megabytes.
CSV_BLOCK_BYTES = 64 << 20
# What is neither text nor a path: data that belongs into a file.
NO_CELLS = (bytes, bytearray, memoryview, list, tuple, set, dict, np.ndarray)
SAMPLE_CELLS = 10_000
COLUMNS_SHOWN = 8


@dataclass(frozen=True)
class Manifest:
    """A checked table: its rows, and where its relative paths start.

    Attributes:
        rows: Every column of the table in its order, dtype object, all cells str, "" for a missing one; RangeIndex.
        folder: Absolute; relative paths in cells start here.
        name: What messages call the table: "manifest.csv", "DataFrame".
        access: What its cells may name beside the files of its folder.
    """

    rows: pd.DataFrame
    folder: Path
    name: str
    access: Access = field(default_factory=Access)

    @cached_property
    def gate(self) -> Gate:
        """Says which of the paths in its cells may be read; whoever asks, each is looked at once."""
        return Gate(self.folder, self.access)

    def allowed(self, access: Access) -> Manifest:
        """This table, whose cells may name what `access` says."""
        return self if access == self.access else replace(self, access=access)


@dataclass(frozen=True)
class BadCell:
    """A cell whose file cannot be used.

    Attributes:
        row: Counts from 1, as messages print it.
        column: The column's name.
        path: The absolute path or address; the cell itself where it names no file.
        reason: "no such file", "is a folder", …
    """

    row: int
    column: str
    path: str
    reason: str


class Finder(Protocol):
    """The part of a modality that knows which files a cell names."""

    takes_folders: bool

    def paths(self, value: str) -> list[str]:
        """The files that a cell names; [] where it holds the value itself."""


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_table(table: str | Path | pd.DataFrame, folder: Path | None = None, access: Access | None = None) -> Manifest:
    """Reads a CSV or Parquet file, or takes a DataFrame, so that everything later sees strings.

    Args:
        table: A .csv file (UTF-8, commas), a .parquet file or a DataFrame. None, NaN and NaT become "", and whole
            floats lose their ".0", because a missing value is what makes a column of integers float.
        folder: Where relative paths start; by default the file's folder, for a DataFrame the current one.
        access: What its cells may name beside the files of this folder; by default nothing.

    Returns:
        The rows, unchanged in order and number.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a folder, of an unknown kind, empty, ragged, not UTF-8, or a column name stands twice.
    """
    if isinstance(table, pd.DataFrame):
        return _manifest(table, "DataFrame", Path(folder or ""), access)
    path = Path(table)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected a .csv or .parquet table")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; expected a .csv or .parquet table")
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise ValueError(f'{path.name}: unknown ending "{path.suffix}"; expected a .csv or .parquet table')
    return _manifest(readers[path.suffix.lower()](path), path.name, Path(folder or path.parent), access)


def _manifest(table: pd.DataFrame, name: str, folder: Path, access: Access | None) -> Manifest:
    columns = [str(column) for column in table.columns]
    _check_column_names(columns, name)
    if table.empty:
        raise ValueError(f"{name}: the table has no rows; expected a header and at least one row below it")
    cells = {column: _as_text(table.iloc[:, i], f'column "{column}"', name) for i, column in enumerate(columns)}
    return Manifest(pd.DataFrame(cells, dtype=object), folder.absolute(), name, access or Access())


def _check_column_names(columns: list[str], name: str) -> None:
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f'{name}: the column name "{twice[0]}" stands twice; give each column its own name')
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        raise ValueError(f"{name}: got the header {columns[0]!r}, expected commas between columns; save it with commas")


def _as_text(values: pd.Series, column: str, name: str) -> np.ndarray:
    """Writes each cell by its value alone, so that a subset of the rows spells its classes as the whole table does."""
    if pd.api.types.is_float_dtype(values):
        texts = values.astype(str).astype(object).str.removesuffix(".0")
    else:
        texts = values.astype(object)
    cells = np.where(values.notna(), texts, "")
    types = set(map(type, cells))
    if types == {str}:
        return cells
    if media := [kind for kind in types if issubclass(kind, NO_CELLS)]:
        row = next(row for row, cell in enumerate(cells, start=1) if type(cell) in media)
        raise ValueError(
            f"{name} row {row}, {column}: got {type(cells[row - 1]).__name__}, expected text, a number or a path; "
            "write the data to a file and put the file's path here"
        )
    return np.array([_cell_text(cell) for cell in cells], dtype=object)


def _cell_text(cell: object) -> str:
    return str(cell).removesuffix(".0") if isinstance(cell, (float, np.floating)) else str(cell)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path.name}: is not a readable Parquet file: {reason}; write it again") from error


def _read_csv(path: Path) -> pd.DataFrame:
    """Parses with pyarrow, because pandas fills short rows silently."""
    ragged: list[arrow_csv.InvalidRow] = []
    try:
        table = _parse_csv(path, ragged)
    except (ValueError, csv.Error) as error:
        raise ValueError(_csv_fault(path, ragged) or f"{path.name}: {error}; expected a CSV table") from error
    columns = {i: _shared_strings(column) for i, column in enumerate(table.columns)}
    _check_closing_quote(path, str(columns[len(columns) - 1][-1]))
    rows = pd.DataFrame(columns, dtype=object)
    return rows.iloc[1:].set_axis(rows.iloc[0].tolist(), axis=1)


def _parse_csv(path: Path, ragged: list[arrow_csv.InvalidRow]) -> pa.Table:
    """Reads the header as row 0, so that numeric and doubled column names stay as they are written."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        width = len(next(filter(None, csv.reader(lines)), ""))
    names = [str(i) for i in range(width)]
    return arrow_csv.read_csv(
        path,
        # One thread: only then does pyarrow number the rows. Nine columns of a million rows take a second.
        arrow_csv.ReadOptions(column_names=names, block_size=CSV_BLOCK_BYTES, use_threads=False),
        arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: ragged.append(row) or "error"),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
    )


def _csv_fault(path: Path, ragged: list[arrow_csv.InvalidRow]) -> str | None:
    if ragged:
        row, got, expected = ragged[0].number - 1, ragged[0].actual_columns, ragged[0].expected_columns
        remedy = "put a cell that holds a comma in double quotes"
        return f"{path.name} row {row}: got {got} cells, expected {expected} as in the header; {remedy}"
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
                return f"{path.name} line {number}: got {byte}, expected UTF-8 text; save the table as UTF-8"
    return None


def _shared_strings(column: pa.ChunkedArray) -> np.ndarray:
    """Makes one Python string per distinct cell: half the memory of one per row in a table of paths and labels."""
    encoded = column.dictionary_encode().combine_chunks()
    return encoded.dictionary.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]


def _check_closing_quote(path: Path, last_cell: str) -> None:
    """Refuses an open quote: it swallows every row after it into one cell."""
    with path.open("rb") as file:
        file.seek(-min(os.path.getsize(path), 8), os.SEEK_END)
        is_closed = file.read().rstrip(b"\r\n").endswith(b'"')
    if "\n" in last_cell and not is_closed:
        begin = last_cell.splitlines()[0][:40]
        raise ValueError(f'{path.name}: the cell that begins with "{begin} is never closed; add its closing quote')


# ── Columns ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def stripped(values: pd.Series) -> pd.Series:
    """Cells without the blanks around them; each distinct one is worked on once."""
    codes, distinct = pd.factorize(values)
    return pd.Series(np.array([cell.strip() for cell in distinct], dtype=object)[codes], values.index, name=values.name)


def require_columns(manifest: Manifest, columns: Iterable[str]) -> None:
    """Refuses a column that the table lacks, and names the nearest one.

    Raises:
        ValueError: The first column that is not in the table.
    """
    known = list(manifest.rows.columns)
    for column in columns:
        if column not in known:
            shown = ", ".join(known[:COLUMNS_SHOWN]) + (", …" if len(known) > COLUMNS_SHOWN else "")
            raise ValueError(f'{manifest.name}: no column "{column}"{nearest_hint(column, known)} ({shown})')


def filled_cells(manifest: Manifest, column: str) -> pd.Series:
    """At most `SAMPLE_CELLS` cells that are not blank, spread evenly."""
    values = manifest.rows[column]
    filled = values[values != ""]
    cells = filled.iloc[:: max(1, -(-len(filled) // SAMPLE_CELLS))]
    return cells[cells.str.strip() != ""]


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def media_cells(manifest: Manifest, column: str, modality: Finder) -> pd.Series:
    """A column's cells as `usable_cells` gives them."""
    return usable_cells(manifest.rows[column], modality, manifest.gate)


def usable_cells(values: pd.Series, modality: Finder, gate: Gate) -> pd.Series:
    """Joins the relative paths in cells to their table's folder, and refuses what must not be read.

    Args:
        values: The cells.
        modality: What reads them.
        gate: Of their table.

    Returns:
        Cells aligned with the rows: "" for one that is empty or blank, and what `paths.refused` says in place of one
        whose file is not there, is no file, or lies where the table may not look.
    """
    codes, cells = pd.factorize(values)
    cells = [cell.strip() for cell in cells]
    gate.look_at_addresses({path for cell in cells if "://" in cell for path in modality.paths(cell)})
    usable = [_usable(cell, modality, gate) for cell in cells]
    return pd.Series(np.array(usable, dtype=object)[codes], values.index, dtype=object, name=values.name)


def media_paths(manifest: Manifest, column: str, modality: Finder) -> pd.Series:
    """Every file that a column's cells name, and that may be read, by row number from 0; rows may stand repeatedly."""
    codes, cells = pd.factorize(media_cells(manifest, column, modality))
    named = [modality.paths(cell) if cell and not refusal(cell) else [] for cell in cells]
    counts = np.array([len(paths) for paths in named], int)
    paths = np.array([path for paths in named for path in paths], dtype=object)
    # Whole arrays instead of a list for each of a million rows.
    of_row = counts[codes]
    within = np.arange(of_row.sum()) - np.repeat(np.cumsum(of_row) - of_row, of_row)
    first = np.repeat((np.cumsum(counts) - counts)[codes], of_row)
    index = manifest.rows.index.repeat(of_row)
    return pd.Series(paths[first + within], index, dtype=object, name=column)


def _usable(cell: str, modality: Finder, gate: Gate) -> str:
    paths = modality.paths(cell) if cell else []
    for path in paths:
        if fault := gate.fault(path, modality.takes_folders):
            return refused(gate.absolute(path), fault)
    return PATHS_BETWEEN.join(map(gate.absolute, paths)) if paths else cell


def missing_files(manifest: Manifest, media: Mapping[str, Finder]) -> list[BadCell]:
    """Finds the cells whose file is absent, empty, no file at all or out of bounds, looking at each path once.

    Returns:
        The bad cells by row, then in the order of `media`; of a cell with several files the first bad one.
    """
    bad = []
    for column, modality in media.items():
        cells = media_cells(manifest, column, modality)
        refused_cells = cells[cells.isin([cell for cell in cells.unique() if cell.startswith(REFUSED)])]
        bad += [BadCell(int(row) + 1, column, *refusal(cell)) for row, cell in refused_cells.items()]
    return sorted(bad, key=lambda cell: cell.row)


def file_fault(path: str, takes_folders: bool = False) -> str:
    """What keeps an absolute path from being read, wherever it lies; "" where nothing does."""
    try:
        return kind_fault(os.stat(path), takes_folders)
    except OSError as error:
        return fault_of(error)
    except ValueError as error:
        return f"is not a path: {error}"


def table_hash(manifest: Manifest) -> str:
    """Changes when any cell, column name or the order of rows changes."""
    digest = hashlib.sha256("\0".join(manifest.rows.columns).encode())
    digest.update(pd.util.hash_pandas_object(manifest.rows, index=False).to_numpy().tobytes())
    return digest.hexdigest()
