"""From a table to checked rows: types guessed and shown, paths, splits, leaks, missing cells.

Every cell is a string and "" is a missing one, whatever the table was, so that the text "NA" and the class "01"
survive. Messages count rows from 1, the first row below the header. Nothing here imports TensorFlow: a mistake in a
table is reported before TensorFlow's seconds of import.
"""

from __future__ import annotations

import csv
import difflib
import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from pandas.api.types import is_float_dtype

SPLITS = ("train", "valid", "test")
SPLIT_COLUMN_NAMES = ("split", "subset", "fold", "partition")
SPLIT_OF_WORD = dict.fromkeys(("valid", "validation", "val", "dev"), "valid") | {"train": "train", "test": "test"}

# A row must fit into one block of the CSV reader, and a cell of text may hold megabytes.
CSV_BLOCK_BYTES = 64 << 20
# What is neither text nor a path: data that belongs into a file.
NO_CELLS = (bytes, bytearray, memoryview, list, tuple, set, dict, np.ndarray)
FILE_FAULTS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.ELOOP: "is a loop of symbolic links",
}

# The type guess: what "mostly" means, how many cells it looks at, and what still counts as a category.
MOST = 0.9
SAMPLE_CELLS = 10_000
CATEGORY_MAX_VALUES = 50
CATEGORY_MIN_ROWS_PER_VALUE = 3
CATEGORY_MAX_CHARACTERS = 24
CATEGORY_MAX_WORDS = 3

ROWS_SHOWN = 5
COLUMNS_SHOWN = 8


@dataclass(frozen=True)
class Manifest:
    """A checked table: its rows, and where its relative paths start.

    Attributes:
        rows: Every column of the table in its order, dtype object, all cells str, "" for a missing one; RangeIndex.
        folder: Absolute; relative paths in cells start here.
        name: What messages call the table: "manifest.csv", "DataFrame".
    """

    rows: pd.DataFrame
    folder: Path
    name: str


@dataclass(frozen=True)
class Guess:
    """What a column seems to hold, and why.

    Attributes:
        column: The column's name.
        type: A modality's name; None: the column is ignored.
        reason: For people: "96 of 96 cells end in .jpg", "unique in every row: an identifier".
    """

    column: str
    type: str | None
    reason: str


@dataclass(frozen=True)
class BadCell:
    """A cell whose file cannot be used.

    Attributes:
        row: Counts from 1, as messages print it.
        column: The column's name.
        path: The absolute path, as `media_paths` gives it.
        reason: "no such file", "is a folder", …
    """

    row: int
    column: str
    path: str
    reason: str


@dataclass(frozen=True)
class Leak:
    """A group or a file that stands in more than one split.

    Attributes:
        what: 'group "A17"', "file image/3.jpg", "identical files image/3.jpg and image/4.jpg".
        splits: The splits that hold it, in the order of `SPLITS`.
        rows: Its first row in each of these splits, ascending, counted from 1.
        row_count: How many rows hold it in all.
    """

    what: str
    splits: tuple[str, ...]
    rows: tuple[int, ...]
    row_count: int

    @property
    def message(self) -> str:
        """One line for a report: `group "A17" stands in train and test (rows 3, 18, …)`."""
        verb = "stand" if self.what.startswith("identical") else "stands"
        return f"{self.what} {verb} in {_and(self.splits)} ({_listed_rows(self.rows, self.row_count)})"

    def __str__(self) -> str:
        return self.message


class Claimer(Protocol):
    """The part of a modality that the type guess asks."""

    def claims(self, values: pd.Series) -> str | None:
        """Says why these filled cells look like the modality; None: they do not."""


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_table(table: str | Path | pd.DataFrame, folder: Path | None = None) -> Manifest:
    """Reads a CSV or Parquet file, or takes a DataFrame, so that everything later sees strings.

    Args:
        table: A .csv file (UTF-8, commas), a .parquet file or a DataFrame. None, NaN and NaT become "", and whole
            floats lose their ".0", because a missing value is what makes a column of integers float.
        folder: Where relative paths start; by default the file's folder, for a DataFrame the current one.

    Returns:
        The rows, unchanged in order and number.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a folder, of an unknown kind, empty, ragged, not UTF-8, or a column name stands twice.
    """
    if isinstance(table, pd.DataFrame):
        return _manifest(table, "DataFrame", Path(folder or ""))
    path = Path(table)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected a .csv or .parquet table")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; expected a .csv or .parquet table")
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise ValueError(f'{path.name}: unknown ending "{path.suffix}"; expected a .csv or .parquet table')
    return _manifest(readers[path.suffix.lower()](path), path.name, Path(folder or path.parent))


def _manifest(table: pd.DataFrame, name: str, folder: Path) -> Manifest:
    columns = [str(column) for column in table.columns]
    _check_column_names(columns, name)
    if table.empty:
        raise ValueError(f"{name}: the table has no rows; expected a header and at least one row below it")
    cells = {column: _as_text(table.iloc[:, i], f'column "{column}"', name) for i, column in enumerate(columns)}
    return Manifest(pd.DataFrame(cells, dtype=object), folder.absolute(), name)


def _check_column_names(columns: list[str], name: str) -> None:
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f'{name}: the column name "{twice[0]}" stands twice; give each column its own name')
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        raise ValueError(f"{name}: got the header {columns[0]!r}, expected commas between columns; save it with commas")


def _as_text(values: pd.Series, column: str, name: str) -> np.ndarray:
    """Writes each cell by its value alone, so that a subset of the rows spells its classes as the whole table does."""
    if is_float_dtype(values):
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
    ragged: list[pa.csv.InvalidRow] = []
    try:
        table = _parse_csv(path, ragged)
    except (ValueError, csv.Error) as error:
        raise ValueError(_csv_fault(path, ragged) or f"{path.name}: {error}; expected a CSV table") from error
    columns = {i: _shared_strings(column) for i, column in enumerate(table.columns)}
    _check_closing_quote(path, str(columns[len(columns) - 1][-1]))
    rows = pd.DataFrame(columns, dtype=object)
    return rows.iloc[1:].set_axis(rows.iloc[0].tolist(), axis=1)


def _parse_csv(path: Path, ragged: list[pa.csv.InvalidRow]) -> pa.Table:
    """Reads the header as row 0, so that numeric and doubled column names stay as they are written."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        width = len(next(filter(None, csv.reader(lines)), ""))
    names = [str(i) for i in range(width)]
    return pa.csv.read_csv(
        path,
        # One thread: only then does pyarrow number the rows. Nine columns of a million rows take a second.
        pa.csv.ReadOptions(column_names=names, block_size=CSV_BLOCK_BYTES, use_threads=False),
        pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: ragged.append(row) or "error"),
        pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
    )


def _csv_fault(path: Path, ragged: list[pa.csv.InvalidRow]) -> str | None:
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


# ── Columns and their types ──────────────────────────────────────────────────────────────────────────────────────────


def require_columns(manifest: Manifest, columns: Iterable[str]) -> None:
    """Refuses a column that the table lacks, and names the nearest one.

    Raises:
        ValueError: The first column that is not in the table.
    """
    known = list(manifest.rows.columns)
    for column in columns:
        if column not in known:
            shown = ", ".join(known[:COLUMNS_SHOWN]) + (", …" if len(known) > COLUMNS_SHOWN else "")
            raise ValueError(f'{manifest.name}: no column "{column}"{_nearest(column, known)} ({shown})')


def guess_columns(
    manifest: Manifest, target: str, modalities: Mapping[str, Claimer], exclude: Iterable[str] = ()
) -> list[Guess]:
    """Guesses what each column holds, so that a table trains without a config.

    Identifiers and other columns that could spell the label are ignored before a modality is asked. Types are judged
    on at most `SAMPLE_CELLS` filled cells, spread evenly; whether a column is unique, on all.

    Args:
        manifest: The table.
        target: The column to predict; gets no guess.
        modalities: Name and class, in the order in which they are asked; the first that claims a column gets it.
        exclude: More columns that get no guess.

    Returns:
        One guess per remaining column, in the table's order.
    """
    split_column = guess_split_column(manifest)
    columns = [column for column in manifest.rows.columns if column not in {target, *exclude}]
    return [
        Guess(column, None, "train, valid or test: the split of each row")
        if column == split_column
        else _guess_column(manifest, column, modalities)
        for column in columns
    ]


def guess_split_column(manifest: Manifest) -> str | None:
    """Finds the column that says train, valid or test in each filled cell, whatever its case or synonym."""
    for column in manifest.rows.columns:
        if column.strip().lower() in SPLIT_COLUMN_NAMES:
            words = set(manifest.rows[column].str.strip().str.lower().unique()) - {""}
            if words and words <= SPLIT_OF_WORD.keys():
                return column
    return None


def _guess_column(manifest: Manifest, column: str, modalities: Mapping[str, Claimer]) -> Guess:
    values = manifest.rows[column]
    cells = _sample(values)
    value_count = values.nunique() - bool((values == "").any())
    filled_count = int((values != "").sum())
    if not _name_files(cells, manifest.folder) and (reason := _reason_to_ignore(cells, value_count, filled_count)):
        return Guess(column, None, reason)
    for name, modality in modalities.items():
        if reason := modality.claims(cells):
            return Guess(column, name, reason)
    return Guess(column, None, f"{value_count} different values that no modality claims ({', '.join(modalities)})")


def _sample(values: pd.Series) -> pd.Series:
    filled = values[values != ""]
    cells = filled.iloc[:: max(1, -(-len(filled) // SAMPLE_CELLS))]
    return cells[cells.str.strip() != ""]


def _name_files(cells: pd.Series, folder: Path) -> bool:
    """Says whether most cells end like file names, or the first ones name files without an ending."""
    if _mostly(cells.str.contains(r"\.[A-Za-z][A-Za-z0-9]{1,6}\s*$")):
        return True
    return _mostly(cells.iloc[:10].map(lambda cell: os.path.isfile(folder / cell.strip())))


def _reason_to_ignore(cells: pd.Series, value_count: int, filled_count: int) -> str | None:
    if cells.empty:
        return "no cell is filled"
    are_numbers = _mostly(pd.to_numeric(cells, errors="coerce").notna())
    are_tokens = _mostly(cells.str.fullmatch(r"[!-~]+"))
    if value_count == filled_count and are_tokens and not (are_numbers and cells.str.contains(".", regex=False).any()):
        return "unique in every row: an identifier"
    if are_numbers:
        return "numbers are not yet supported as an input"
    if _mostly(cells.str.fullmatch(r"\S*[/\\]\S*")):
        return "path-like strings that name no file: would spell the label?"
    if _are_categories(cells, value_count, filled_count):
        return f"{value_count} different value{'s' * (value_count > 1)}: a category (not yet supported as an input)"
    return None


def _are_categories(cells: pd.Series, value_count: int, filled_count: int) -> bool:
    are_few = value_count <= min(CATEGORY_MAX_VALUES, filled_count / CATEGORY_MIN_ROWS_PER_VALUE)
    are_short = cells.str.len().mean() <= CATEGORY_MAX_CHARACTERS
    return bool(are_few and are_short and cells.str.split().str.len().mean() <= CATEGORY_MAX_WORDS)


def _mostly(answers: pd.Series) -> bool:
    return len(answers) > 0 and float(answers.mean()) >= MOST


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def media_paths(manifest: Manifest, column: str) -> pd.Series:
    """Joins a column's relative paths to the table's folder.

    Returns:
        Absolute paths aligned with the rows, "" for a cell that is empty or blank; nothing says that a file is there.
    """
    codes, cells = pd.factorize(manifest.rows[column])
    paths = [os.path.join(manifest.folder, cell.strip()) if cell.strip() else "" for cell in cells]
    return pd.Series(np.array(paths, dtype=object)[codes], manifest.rows.index, dtype=object, name=column)


def missing_files(manifest: Manifest, columns: Iterable[str]) -> list[BadCell]:
    """Finds the cells whose file is absent, empty or no file at all, with one os.stat per distinct path.

    Returns:
        The bad cells by row, then in the order of `columns`.
    """
    paths = {column: media_paths(manifest, column) for column in columns}
    faults = {path: _file_fault(path) for path in {path for cells in paths.values() for path in cells.unique()}}
    bad = []
    for column, cells in paths.items():
        is_bad = cells.map(faults) != ""
        bad += [BadCell(row + 1, column, path, faults[path]) for row, path in cells[is_bad].items()]
    return sorted(bad, key=lambda cell: cell.row)


def _file_fault(path: str) -> str:
    if not path:
        return ""
    try:
        status = os.stat(path)
    except OSError as error:
        return FILE_FAULTS.get(error.errno, str(error.strerror).lower())
    except ValueError as error:
        return f"is not a path: {error}"
    if stat.S_ISDIR(status.st_mode):
        return "is a folder"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    return "" if status.st_size else "is empty (0 bytes)"


# ── Splits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def split_rows(
    manifest: Manifest,
    *,
    column: str | None,
    fractions: tuple[float, float, float],
    group: str | None,
    target: pd.Series | None,
    seed: int,
) -> pd.Series:
    """Says which rows train, which choose the best epoch and which judge.

    A column decides where there is one; if it has no valid rows, they are cut from its train rows. Otherwise rows are
    dealt by fractions: whole groups, every class in proportion, and each class at least once in train.

    Args:
        manifest: The table.
        column: Holds train, valid (validation, val, dev) or test in any case; None: split by fractions.
        fractions: Of train, valid and test; they sum to 1. With a column only train and valid matter.
        group: Rows with the same value stay together; an empty cell is a group of its own.
        target: Classes in the order of the rows, to stratify by; None: do not.
        seed: The same seed, table and arguments give the same split.

    Returns:
        Values of `SPLITS`, aligned with the rows.

    Raises:
        ValueError: A column is missing, a cell of it is unknown, the fractions are wrong, or a split has no rows.
    """
    require_columns(manifest, [name for name in (column, group) if name is not None])
    _check_fractions(fractions)
    classes = pd.factorize(target)[0] if target is not None else np.zeros(len(manifest.rows), int)
    units = _units(manifest, group)
    wanted = [name for name, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0]
    if column is None:
        split = _deal(units, classes, fractions, seed)
    else:
        wanted = [name for name in wanted if name != "test"]
        split = _column_split(manifest, column)
        if "valid" in wanted and "valid" not in split:
            _cut_valid(split, units, classes, fractions, seed)
    _check_no_split_empty(manifest, split, wanted, column)
    return pd.Series(split, manifest.rows.index, dtype=object, name="split")


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or fractions[0] <= 0 or abs(sum(fractions) - 1) > 1e-6:
        expected = "expected the fractions of train, valid and test: train above 0, none negative, their sum 1"
        raise ValueError(f"split.fractions: {expected}, got {tuple(fractions)}; for example (0.7, 0.15, 0.15)")


def _units(manifest: Manifest, group: str | None) -> np.ndarray:
    """Numbers what must stay together: the groups, and each row without a group."""
    rows = np.arange(len(manifest.rows))
    if group is None:
        return rows
    names = manifest.rows[group].str.strip()
    codes = pd.factorize(names)[0]
    return np.where(names == "", codes.max() + 1 + rows, codes)


def _column_split(manifest: Manifest, column: str) -> np.ndarray:
    cells = manifest.rows[column]
    split = cells.str.strip().str.lower().map(SPLIT_OF_WORD)
    for row in np.flatnonzero(split.isna()):
        nearest = _nearest(cells[row].strip().lower(), SPLIT_OF_WORD)
        got = f'got "{cells[row]}", expected train, valid or test'
        raise ValueError(f'{manifest.name} row {row + 1}, column "{column}": {got}{nearest or "; fill it in"}')
    return split.to_numpy(dtype=object, copy=True)


def _cut_valid(
    split: np.ndarray, units: np.ndarray, classes: np.ndarray, fractions: tuple[float, float, float], seed: int
) -> None:
    """Turns train rows into valid rows, in place."""
    train = split == "train"
    kept = fractions[0] / (fractions[0] + fractions[1])
    split[train] = _deal(units[train], classes[train], (kept, 1 - kept, 0.0), seed)


def _check_no_split_empty(manifest: Manifest, split: np.ndarray, wanted: list[str], column: str | None) -> None:
    for name in wanted:
        if name not in split:
            remedy = "raise its fraction in split.fractions, or add rows or groups"
            if column is not None and name == "train":
                remedy = f'write train into column "{column}" of the rows to learn from'
            raise ValueError(f'{manifest.name}: the split "{name}" has no rows: {remedy}')


def _deal(units: np.ndarray, classes: np.ndarray, fractions: Iterable[float], seed: int) -> np.ndarray:
    """Deals whole units, class by class and the largest first, always to the split that lacks most rows.

    Args:
        units: Unit of each row, any integers.
        classes: Class of each row, any integers.
        fractions: Of train, valid and test.
        seed: Orders units of equal size.

    Returns:
        The split of each row.
    """
    units = pd.factorize(units)[0]
    sizes = np.bincount(units)
    counts = pd.DataFrame({"unit": units, "class": classes}).groupby(["unit", "class"]).size().reset_index(name="rows")
    main = counts.sort_values("rows", kind="stable").drop_duplicates("unit", keep="last").sort_values("unit")["class"]
    order = np.lexsort((np.random.default_rng(seed).permutation(len(sizes)), -sizes, main))
    place = np.argsort(order)
    shown = counts.assign(place=place[counts["unit"]]).sort_values("place").drop_duplicates("class")["place"]
    is_kept = np.isin(np.arange(len(order)), shown)
    is_first = np.diff(main.to_numpy()[order], prepend=-2) != 0
    codes = np.fromiter(_turns(sizes[order], is_kept, is_first, fractions), int, len(order))
    return np.array(SPLITS, dtype=object)[codes[place][units]]


def _turns(
    sizes: np.ndarray, is_kept: np.ndarray, is_first: np.ndarray, fractions: Iterable[float]
) -> Iterator[int]:
    """Yields the index of the split that gets each unit; debts pass to the next class, so rare classes add up.

    Args:
        sizes: Rows of each unit, in dealing order.
        is_kept: The units that train gets in any case, so that it sees every class.
        is_first: The first unit of each class. No debt above its size is passed on: a class whose rows all had to
            stay in train would otherwise drive the next one out of it.
        fractions: Of train, valid and test.
    """
    owed = [0.0, 0.0, 0.0]
    for size, kept, first in zip(sizes.tolist(), is_kept.tolist(), is_first.tolist(), strict=True):
        if first:
            scale = min(1.0, size / max(size, -min(owed)))
            owed = [rows * scale for rows in owed]
        owed = [rows + size * fraction for rows, fraction in zip(owed, fractions, strict=True)]
        split = 0 if kept else owed.index(max(owed))
        owed[split] -= size
        yield split


def write_splits(path: str | Path, manifest: Manifest, split: pd.Series, group: str | None = None) -> None:
    """Writes the split of each row, and its group if there is one, as CSV: row (from 1), split, group."""
    columns = {"row": np.arange(1, len(split) + 1), "split": split.to_numpy()}
    if group is not None:
        columns["group"] = manifest.rows[group].to_numpy()
    pd.DataFrame(columns).to_csv(path, index=False)


# ── Checks before training ───────────────────────────────────────────────────────────────────────────────────────────


def check_target(manifest: Manifest, target: str, split: pd.Series) -> None:
    """Refuses classes that cannot be learned or judged.

    Raises:
        ValueError: A row has no class, there is one class only, a class has one row, or train lacks a class.
    """
    require_columns(manifest, [target])
    classes = manifest.rows[target]
    where = f'{manifest.name} column "{target}"'
    missing = classes.str.strip() == ""
    if missing.any():
        got = f"got {missing.sum()} empty cells ({_rows_where(missing)}), expected a class in each row"
        raise ValueError(f"{where}: {got}; fill them in or delete these rows")
    counts = classes.value_counts()
    if len(counts) < 2:
        raise ValueError(f'{where}: every row has the class "{counts.index[0]}", expected two classes or more')
    if counts.iloc[-1] == 1:
        row = classes.isin(counts.index[counts == 1]).idxmax()
        remedy = "add rows of this class, give the row another one or delete it"
        raise ValueError(f'{where}: the class "{classes[row]}" has one row only (row {row + 1}); {remedy}')
    for name in SPLITS[1:]:
        unseen = (split == name) & ~classes.isin(classes[split == "train"].unique())
        if unseen.any():
            label = classes[unseen.idxmax()]
            got = f'the class "{label}" stands in {name} ({_rows_where(unseen & (classes == label))}) but not in train'
            raise ValueError(f"{where}: {got}; move some of its rows to train, or delete them")


def leaks(manifest: Manifest, split: pd.Series, *, group: str | None, media: Iterable[str]) -> list[Leak]:
    """Finds what lets a model know test rows by heart: groups and files that stand in two splits.

    Args:
        manifest: The table.
        split: Of each row, as `split_rows` gives it.
        group: The column of groups; None: look at files only.
        media: Columns of paths. Files are the same by path or by bytes; only files of the same size in two splits
            are read.

    Returns:
        The groups, then the files, each by first row.
    """
    found = []
    if group is not None:
        names = manifest.rows[group].str.strip()
        found += _in_two_splits(names, split, lambda name: f'group "{name}"')
    return found + _file_leaks(manifest, split, list(media))


def _file_leaks(manifest: Manifest, split: pd.Series, media: list[str]) -> list[Leak]:
    if not media:
        return []
    paths = pd.concat([media_paths(manifest, column) for column in media])
    splits = pd.concat([split] * len(media))
    twins = _identical_files(paths, splits)
    keys = paths.map(lambda path: twins.get(path, [path])[0])
    return _in_two_splits(keys, splits, lambda path: _file_names(twins.get(path, [path]), manifest.folder))


def _in_two_splits(keys: pd.Series, split: pd.Series, describe: Callable[[str], str]) -> list[Leak]:
    cells = pd.DataFrame({"key": keys, "split": split, "row": keys.index + 1})
    cells = cells[cells["key"] != ""].drop_duplicates(["key", "row"])
    firsts = cells.sort_values("row", kind="stable").drop_duplicates(["key", "split"])
    firsts = firsts[firsts.duplicated("key", keep=False)]
    row_counts = cells["key"].value_counts()
    places: dict[str, dict[str, int]] = {}
    for key, name, row in firsts.itertuples(index=False):
        places.setdefault(key, {})[name] = row
    return [
        Leak(describe(key), tuple(s for s in SPLITS if s in rows), tuple(sorted(rows.values())), int(row_counts[key]))
        for key, rows in places.items()
    ]


def _identical_files(paths: pd.Series, split: pd.Series) -> dict[str, list[str]]:
    """Maps a path to all paths with its bytes; looks only where files of one size stand in two splits."""
    files = pd.DataFrame({"path": paths, "split": split}).drop_duplicates()
    files["bytes"] = files["path"].map({path: _file_bytes(path) for path in files["path"].unique()})
    files = files[files["bytes"] > 0]
    by_size = files.groupby("bytes")
    suspects = files[(by_size["split"].transform("nunique") > 1) & (by_size["path"].transform("nunique") > 1)]
    twins: dict[bytes, list[str]] = {}
    for path in suspects["path"].unique():
        twins.setdefault(_digest(path), []).append(path)
    return {path: same for same in twins.values() for path in same}


def _file_bytes(path: str) -> int:
    return os.path.getsize(path) if path and not _file_fault(path) else 0


def _digest(path: str) -> bytes:
    """Stands for a file's bytes; an unreadable file is equal to itself only, and for the reader to report."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return os.fsencode(path)


def _file_names(paths: list[str], folder: Path) -> str:
    names = [os.path.relpath(path, folder) for path in paths]
    return f"file {names[0]}" if len(names) == 1 else f"identical files {_and(names)}"


# ── Words of messages ────────────────────────────────────────────────────────────────────────────────────────────────


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _and(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _rows_where(mask: pd.Series) -> str:
    rows = np.flatnonzero(mask) + 1
    return _listed_rows(rows[:ROWS_SHOWN].tolist(), len(rows))


def _listed_rows(rows: Iterable[int], row_count: int) -> str:
    numbers = [str(row) for row in rows]
    more = ["…"] * (row_count > len(numbers))
    return f"row{'s' * (row_count > 1)} {', '.join(numbers + more)}"
