"""What a table's columns seem to hold, by their names and cells: which modality each is for, which says the split.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmkeras.base.cell_text import (
    CATEGORY_MANY_ROWS_PER_VALUE,
    FILE_NAME,
    IDENTIFIER_NAME,
    are_categories,
    is_named,
    mostly,
    numbers_of,
    rows_per_value,
)
from mmkeras.base.lazy import lazy
from mmkeras.table.manifest import SPLIT_OF_WORD, Manifest, filled_cells

pd = lazy("pandas")

SPLIT_COLUMN_NAMES = ("split", "subset", "fold", "partition")
NUMBERED_NAME = r"[A-Za-z]{0,8}[ _#-]?[0-9]+"
NUMBERED_MIN_VALUES = 10
LONG_NUMBER = 1e8
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATE = (
    r"(?i)(?:[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/.])[0-9]{1,2}\2(?:[0-9]{2}){1,2})(?:[ T].*)?"
    rf"|(?:[0-9]{{1,2}}[ -])?{MONTH}[ -](?:[0-9]{{1,2}},? )?(?:[0-9]{{2}}){{1,2}}|[0-9]{{1,2}}:[0-9]{{2}}(?::[0-9.]+)?"
)
QUANTITY = r"[$€£¥₹] ?[0-9.,]+ ?[kKmM]?|[+-]?[0-9.,]+ ?[%€$£¥₹]|[+-]?[0-9.,]+ [A-Za-z/²³]{1,5}"


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


class Claimer(Protocol):
    """The part of a modality that the type guess asks."""

    def claims(self, values: pd.Series) -> str | None:
        """Says why these filled cells look like the modality; None: they do not."""


def guess_columns(
    manifest: Manifest, target: str | None, modalities: Mapping[str, Claimer], exclude: Iterable[str] = ()
) -> list[Guess]:
    """Guesses what each column holds, so that a table trains without a config.

    Identifiers and other columns that could spell the label are ignored before a modality is asked. Types are judged
    on at most `SAMPLE_CELLS` filled cells, spread evenly; whether a column is unique, on all.

    Args:
        manifest: The table.
        target: The column to predict; gets no guess. None: there is none.
        modalities: Name and class; the first that claims a column gets it, though no two of ours claim the same.
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
    cells = filled_cells(manifest, column)
    value_count = values.nunique() - bool((values == "").any())
    filled_count = int((values != "").sum())
    if not _name_files(cells, manifest.folder) and (reason := _reason_to_ignore(cells, value_count, filled_count)):
        return Guess(column, None, reason)
    for name, modality in modalities.items():
        if reason := modality.claims(cells):
            return Guess(column, name, reason)
    return Guess(column, None, f"{value_count} different values in {filled_count} rows: neither repeated nor sentences")


def _name_files(cells: pd.Series, folder: Path) -> bool:
    """Says whether most cells end like file names, or the first ones name files without an ending."""
    if mostly(cells.str.contains(FILE_NAME)):
        return True
    return mostly(cells.iloc[:10].map(lambda cell: os.path.isfile(folder / cell.strip())))


def _reason_to_ignore(cells: pd.Series, value_count: int, filled_count: int) -> str | None:
    if cells.empty:
        return "no cell is filled"
    if value_count == 1:
        return f'one value only: "{cells.iloc[0].strip()[:40]}"'
    if mostly(cells.str.strip().str.fullmatch(DATE)):
        return "dates or times; to use them, add columns of numbers (year, month, days since)"
    is_plain = numbers_of(cells) is not None or value_count <= NUMBERED_MIN_VALUES
    if not is_plain and mostly(cells.str.strip().str.fullmatch(QUANTITY)):
        return f'numbers with a sign or unit ("{cells.iloc[0].strip()[:20]}"); to use them, write the numbers alone'
    if reason := _identifies(cells, value_count, filled_count):
        return reason
    if mostly(cells.str.fullmatch(r"\S*[/\\]\S*")):
        return "path-like strings that name no file: would spell the label?"
    return None


def _identifies(cells: pd.Series, value_count: int, filled_count: int) -> str | None:
    """Why a column tells which row, customer or thing it is about, and nothing else."""
    numbers, is_identifier = numbers_of(cells), is_named(cells, IDENTIFIER_NAME)
    is_token = mostly(cells.str.fullmatch(r"[!-~]+"))
    names_rows = is_identifier or numbers is None or _are_numbered(numbers, filled_count)
    if value_count == filled_count and is_token and names_rows:
        return "unique in every row: an identifier"
    if are_categories(cells) and (
        value_count <= NUMBERED_MIN_VALUES or rows_per_value(cells) >= CATEGORY_MANY_ROWS_PER_VALUE
    ):
        return None
    if is_identifier and is_token:
        return f"named like an identifier, {value_count} different values in {filled_count} rows"
    if numbers is None and value_count > NUMBERED_MIN_VALUES and mostly(cells.str.fullmatch(NUMBERED_NAME)):
        return f'{value_count} numbered names in {filled_count} rows ("{cells.iloc[0]}"): an identifier that repeats?'
    return None


def _are_numbered(numbers: pd.Series, filled_count: int) -> bool:
    """Whether different numbers only name the rows: in order, without many gaps, or as long as phone numbers."""
    if (numbers % 1 != 0).any():
        return False
    in_order = numbers.is_monotonic_increasing or numbers.is_monotonic_decreasing
    is_dense = numbers.max() - numbers.min() < 1.1 * filled_count
    is_long = numbers.min() >= LONG_NUMBER and numbers.max() < 10 ** (len(f"{numbers.min():.0f}"))
    return bool(in_order or is_dense or is_long)
