"""Which rows train, choose and judge; and the checks that keep the judging honest: targets, leaks between splits.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.words import joined, listed_rows, nearest_hint, rows_where
from mmkeras.table.manifest import (
    SPLIT_OF_WORD,
    SPLITS,
    Finder,
    Manifest,
    file_fault,
    media_paths,
    require_columns,
    stripped,
)
from mmkeras.table.remote import scheme_of

pd = lazy("pandas")

UNUSED = "unused"  # a row that takes no part: in a cross-validation, or because of a bad cell


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
        return f"{self.what} {verb} in {joined(self.splits)} ({listed_rows(self.rows, self.row_count)})"

    def __str__(self) -> str:
        return self.message


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
    units = units_of(manifest, group)
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


def fold_rows(
    manifest: Manifest,
    folds: int,
    *,
    column: str | None,
    fractions: tuple[float, float, float],
    group: str | None,
    target: pd.Series,
    seed: int,
) -> list[pd.Series]:
    """Several splits in which each row is judged once: whole groups, every class in proportion.

    Rows that a split column keeps for the test take no part: they stay fresh for the model that is chosen.

    Args:
        manifest: The table.
        folds: How many, at least 2.
        column: Says which rows are test rows; None: every row takes part.
        fractions: Of train and valid among the rows that are not judged; the third does not matter.
        group: Rows with the same value stay together; an empty cell is a group of its own.
        target: Classes in the order of the rows, to stratify by.
        seed: The same seed, table and arguments give the same folds.

    Returns:
        For each fold, `SPLITS` or "unused" by row.

    Raises:
        ValueError: There are fewer groups than folds, or too few to leave a row to train and one to choose.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    given = _column_split(manifest, column) if column else np.full(len(manifest.rows), "train", object)
    rows, all_units = np.flatnonzero(given != "test"), units_of(manifest, group)
    units, classes = all_units[rows], pd.factorize(target)[0][rows]
    if len(np.unique(units)) < folds:
        what = f'different values in column "{group}"' if group else "rows"
        raise ValueError(
            f"{manifest.name}: {folds} folds need as many {what}, got {len(np.unique(units))}; ask for fewer"
        )
    if np.bincount(classes).max() < folds:  # scikit-learn would refuse: there is nothing to keep in proportion
        classes = np.zeros_like(classes)
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds: it is judged where it falls
        dealt = list(dealer.split(rows, classes, units))
    for _, judged in dealt:
        split = np.full(len(manifest.rows), UNUSED, object)
        split[rows], split[rows[judged]] = "train", "test"
        _cut_valid(split, all_units, pd.factorize(target)[0], fractions, seed)
        _check_no_split_empty(manifest, split, ["train", "valid"], column)
        splits.append(pd.Series(split, manifest.rows.index, dtype=object, name="split"))
    return splits


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or fractions[0] <= 0 or abs(sum(fractions) - 1) > 1e-6:
        expected = "expected the fractions of train, valid and test: train above 0, none negative, their sum 1"
        raise ValueError(f"split.fractions: {expected}, got {tuple(fractions)}; for example (0.7, 0.15, 0.15)")


def units_of(manifest: Manifest, group: str | None) -> np.ndarray:
    """(N,) numbers of what must stay together: the groups, and each row without a group."""
    rows = np.arange(len(manifest.rows))
    if group is None:
        return rows
    names = stripped(manifest.rows[group])
    codes = pd.factorize(names)[0]
    return np.where(names == "", codes.max() + 1 + rows, codes)


def _column_split(manifest: Manifest, column: str) -> np.ndarray:
    cells = manifest.rows[column]
    split = cells.str.strip().str.lower().map(SPLIT_OF_WORD)
    for row in np.flatnonzero(split.isna()):
        nearest = nearest_hint(cells[row].strip().lower(), SPLIT_OF_WORD)
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
            remedy = f"raise split.{name}, or add rows or groups"
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


def _turns(sizes: np.ndarray, is_kept: np.ndarray, is_first: np.ndarray, fractions: Iterable[float]) -> Iterator[int]:
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


def write_splits(path: str | Path, split: pd.Series) -> None:
    """Writes the split of each row as CSV: row (from 1), split."""
    pd.DataFrame({"row": np.arange(1, len(split) + 1), "split": split.to_numpy()}).to_csv(path, index=False)


# ── Checks before training ───────────────────────────────────────────────────────────────────────────────────────────


class Target(Protocol):
    """The part of a head that knows which cells say nothing."""

    def missing(self, values: pd.Series) -> pd.Series:
        """Booleans by row."""


def check_targets(manifest: Manifest, targets: Mapping[str, Target]) -> None:
    """Refuses rows that no target can judge: those whose targets are all missing.

    Raises:
        ValueError: The first target's column has empty cells where every other target's has.
    """
    if not targets:
        return
    names = list(targets)
    require_columns(manifest, names)
    is_missing = np.all([head.missing(manifest.rows[name]) for name, head in targets.items()], axis=0)
    if is_missing.any():
        columns = "column" + "s" * (len(names) > 1) + " " + joined([f'"{name}"' for name in names])
        count = int(is_missing.sum())
        got = f"got {count} row{'s' * (count > 1)} without a target ({rows_where(pd.Series(is_missing))})"
        expected = "expected one in each row" if len(names) == 1 else "expected one of them in each row"
        raise ValueError(f"{manifest.name} {columns}: {got}, {expected}; fill them in or delete these rows")


def leaks(manifest: Manifest, split: pd.Series, *, group: str | None, media: Mapping[str, Finder]) -> list[Leak]:
    """Finds what lets a model know test rows by heart: groups and files that stand in two splits.

    Args:
        manifest: The table.
        split: Of each row, as `split_rows` gives it.
        group: The column of groups; None: look at files only.
        media: Columns of paths with what reads them. Files are the same by path or by bytes; only files of the same
            size in two splits are read.

    Returns:
        The groups, then the files, each by first row.
    """
    of_groups = []
    if group is not None:
        names = stripped(manifest.rows[group])
        of_groups = _in_two_splits(names, split, lambda name: f'group "{name}"')
    return of_groups + _file_leaks(manifest, split, media)


def _file_leaks(manifest: Manifest, split: pd.Series, media: Mapping[str, Finder]) -> list[Leak]:
    if not media:
        return []
    paths = pd.concat([media_paths(manifest, column, modality) for column, modality in media.items()])
    splits = pd.Series(split.to_numpy()[paths.index], paths.index)
    twins = _identical_files(paths, splits)
    keys = paths.map({path: same[0] for path, same in twins.items()}).fillna(paths) if twins else paths
    return _in_two_splits(keys, splits, lambda path: _file_names(twins.get(path, [path]), manifest.folder))


def _in_two_splits(keys: pd.Series, split: pd.Series, describe: Callable[[str], str]) -> list[Leak]:
    codes, names = pd.factorize(keys)
    cells = pd.DataFrame({"key": codes, "split": split.to_numpy(), "row": keys.index.to_numpy() + 1})
    cells = cells[(keys != "").to_numpy() & cells["split"].isin(SPLITS)].drop_duplicates(["key", "row"])
    firsts = cells.sort_values("row", kind="stable").drop_duplicates(["key", "split"])
    firsts = firsts[firsts.duplicated("key", keep=False)]
    row_counts = cells["key"].value_counts()
    places: dict[int, dict[str, int]] = {}
    for key, name, row in firsts.itertuples(index=False):
        places.setdefault(key, {})[name] = row
    return [
        Leak(
            describe(names[key]),
            tuple(s for s in SPLITS if s in rows),
            tuple(sorted(rows.values())),
            int(row_counts[key]),
        )
        for key, rows in places.items()
    ]


def _identical_files(paths: pd.Series, split: pd.Series) -> dict[str, list[str]]:
    """Maps a path to all paths with its bytes; looks only where files of one size stand in two splits."""
    files = pd.DataFrame({"path": paths, "split": split}).drop_duplicates()
    files["bytes"] = files["path"].map({path: file_bytes(path) for path in files["path"].unique()})
    files = files[files["bytes"] > 0]
    by_size = files.groupby("bytes")
    suspects = files[(by_size["split"].transform("nunique") > 1) & (by_size["path"].transform("nunique") > 1)]
    twins: dict[bytes, list[str]] = {}
    for path in suspects["path"].unique():
        twins.setdefault(digest(path), []).append(path)
    return {path: same for same in twins.values() for path in same}


def file_bytes(path: str) -> int:
    """How large a file is; 0 of what cannot be read."""
    return os.path.getsize(path) if not file_fault(path) else 0


def digest(path: str) -> bytes:
    """Stands for a file's bytes; an unreadable file is equal to itself only, and for the reader to report."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return os.fsencode(path)


def _file_names(paths: list[str], folder: Path) -> str:
    names = [path if scheme_of(path) else os.path.relpath(path, folder) for path in paths]
    return f"file {names[0]}" if len(names) == 1 else f"identical files {joined(names)}"
