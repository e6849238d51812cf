"""Which rows a run is judged on, what is known of them beforehand, and which of them are drawn together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import warn
from mmkeras.contracts.registry import walk
from mmkeras.evaluation.judging import Said
from mmkeras.network.inference import predict_rows
from mmkeras.table.manifest import Manifest, require_columns
from mmkeras.table.splits import units_of
from mmkeras.training.run import Run

pd = lazy("pandas")


@dataclass(frozen=True)
class JudgedRows:
    """Rows with known targets.

    Attributes:
        manifest: They, as a table.
        name: What to call them: "132 test rows".
        split: test or valid, where all are of one split of the run's own table; None for any other table.
        table: The table that was given, None for the run's own.
        table_row: (N,) their numbers from 1 in the run's own table; None for a foreign table.
        splits: (N,) the split of each; None for a foreign table.
        is_new: (N,) bool: which did not train the model, as far as that can be told.
        group: The column whose rows belong together, if the config names one that the table has.
    """

    manifest: Manifest
    name: str
    split: str | None
    table: str | None
    table_row: np.ndarray | None
    splits: np.ndarray | None
    is_new: np.ndarray
    group: str | None

    def __len__(self) -> int:
        return len(self.manifest.rows)

    @cached_property
    def units(self) -> np.ndarray:
        """(N,) integers: what a resample draws together."""
        return units_of(self.manifest, self.group)


def rows_to_judge(run: Run, table: Any, needed: Collection[str], allow_outside: bool = False) -> JudgedRows:
    """A given table, else the run's test rows, else its validation rows; says what speaks against them.

    Raises:
        ValueError: The table lacks a needed column.
    """
    rows = _given(run, run.read(table, allow_outside), table) if table is not None else _own(run)
    require_columns(rows.manifest, needed)
    group = run.config.split.group
    if group is not None and group not in rows.manifest.rows:
        warn(f'{rows.manifest.name}: no column "{group}"; intervals take each row for itself')
        group = None
    rows = replace(rows, group=group)
    if len(np.unique(rows.units)) < 2:
        what = "there is one row only" if len(rows) == 1 else f'all rows have the same "{group}"'
        warn(f"{what}: no interval can be given")
    return rows


def trained_rows(run: Run, rows: JudgedRows) -> np.ndarray:
    """(N,) bool: which rows trained a run, another one than they were taken from maybe."""
    is_own = rows.table is None or run.is_own(rows.manifest)
    if is_own and rows.table_row is not None:
        return run.splits.to_numpy()[rows.table_row - 1] == "train"
    return _same_as_trained(run, rows.manifest)


def validation(run: Run) -> dict[str, Said]:
    """{target: what the model says of the run's validation rows}; {} where its table is gone."""
    try:
        manifest = run.table()
    except (OSError, ValueError) as error:
        warn(f"the validation rows cannot choose a confidence to answer from: {error}")
        return {}
    rows = rows_of(manifest, (run.splits == "valid").to_numpy())
    schema = run.schema
    if (run.folder / run_files.PREDICTIONS).is_file():
        held = run.predictions
        predictions: Mapping[str, np.ndarray] = {target: held[f"valid {target}"] for target in schema.targets}
    else:  # a run of an older version
        predictions, _ = predict_rows(run.network(), schema, rows)
    return {
        target: Said(head.scorer, head.encode_target(rows.rows[target]), predictions[target])
        for target, head in walk(schema.targets)
    }


def rows_of(manifest: Manifest, chosen: np.ndarray) -> Manifest:
    """The chosen rows of a table, as a table.

    Args:
        manifest: The table.
        chosen: (N,) bool.
    """
    return replace(manifest, rows=manifest.rows[chosen].reset_index(drop=True))


def _own(run: Run) -> JudgedRows:
    manifest, splits = run.table(), run.splits.to_numpy()
    split = "test" if (splits == "test").any() else "valid"
    if split == "valid":
        warn("there are no test rows; the validation rows chose the best epoch, so they flatter the model")
    rows = np.flatnonzero(splits == split)
    part, name = rows_of(manifest, splits == split), f"{len(rows)} {split} rows"
    return JudgedRows(part, name, split, None, rows + 1, splits[rows], np.ones(len(rows), bool), None)


def _given(run: Run, manifest: Manifest, table: Any) -> JudgedRows:
    count = len(manifest.rows)
    is_own = run.is_own(manifest)
    splits = run.splits.to_numpy() if is_own else None
    is_new = splits != "train" if is_own else ~_same_as_trained(run, manifest)
    if trained := int((~is_new).sum()):
        share = f"{trained} of {count} rows trained the model" if is_own else f"{trained} of {count} rows are in train"
        warn(f"{manifest.name}: {share}; figures of them flatter it")
    path = None if isinstance(table, pd.DataFrame) else str(table)
    table_row = np.arange(1, count + 1) if is_own else None
    name = f"all {count} rows of {manifest.name}"
    return JudgedRows(manifest, name, None, path or manifest.name, table_row, splits, is_new, None)


def _same_as_trained(run: Run, manifest: Manifest) -> np.ndarray:
    """(N,) bool: which rows of a foreign table have the same inputs and targets as a row that trained the run."""
    none = np.zeros(len(manifest.rows), bool)
    try:
        own = run.table()
    except (OSError, ValueError):
        return none
    columns = sorted([*run.config.columns, *run.config.targets])
    if not set(columns) <= set(manifest.rows):
        return none
    given, known = (pd.util.hash_pandas_object(each.rows[columns], index=False).to_numpy() for each in (manifest, own))
    return np.isin(given, known[(run.splits == "train").to_numpy()])
