"""What the rows are: splits, classes, missing cells, the first rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.common import SPLITS

pd = lazy("pandas")

CLASSES_SHOWN = 30  # of the table of counts
PATTERNS_SHOWN = 12
CELLS_SHOWN = 20


def data_part(results: Results) -> dict[str, Any]:
    """Counts, gaps and problems of the whole table."""
    manifest, splits = results.own_table, results.splits
    counted: dict[str, Any] = {"absent": results.absent, "classes": {}, "numbers": {}, "patterns": [], "splits": []}
    if manifest is not None and len(splits) == len(manifest.rows):
        counted["splits"] = [split for split in SPLITS if (splits == split).any()]
        for target in results.heads:
            _count_target(counted, results, target)
        counted["patterns"] = _patterns(manifest.rows[results.columns], splits, counted["splits"])
    counted["bad_cells"] = _first_rows(results.table_file(run_files.BAD_ROWS))
    counted["problems"] = _first_rows(results.table_file(run_files.CHECKED))
    return counted


# The data


def _count_target(counted: dict[str, Any], results: Results, target: str) -> None:
    """Adds a target's counts per class and split, or the spread of its numbers."""
    manifest = results.own_table
    if target not in manifest.rows:
        return
    values, head = manifest.rows[target], results.heads[target]
    named = head.named_classes(values)
    if named is not None:
        counted["classes"][target] = _class_counts(named, results.splits, counted["splits"])
        return
    numbers = pd.to_numeric(values, errors="coerce")
    parts = {split: numbers[(results.splits == split).to_numpy()].dropna() for split in counted["splits"]}
    counted["numbers"][target] = {split: part.describe().to_dict() for split, part in parts.items() if len(part)}


def _class_counts(named: pd.Series, splits: pd.Series, shown: Sequence[str]) -> dict[str, Any]:
    """The most frequent classes first: {"rows": [(class, [count of each split], all)], "more": how many classes}."""
    table = pd.crosstab(named.to_numpy(), splits.to_numpy()[named.index]).reindex(columns=shown, fill_value=0)
    totals = table.sum(axis=1).sort_values(ascending=False, kind="stable")
    rows = [(name, [int(n) for n in table.loc[name]], int(totals[name])) for name in totals.index[:CLASSES_SHOWN]]
    return {"rows": rows, "more": len(totals) - len(rows), "most": int(totals.iloc[0]) if len(totals) else 0}


def _patterns(cells: pd.DataFrame, splits: pd.Series, shown: Sequence[str]) -> list[tuple[list[str], list[int], int]]:
    """(columns that are missing, rows of each split, of all) of the most frequent patterns of missing cells."""
    is_missing = cells.apply(lambda values: values.str.strip() == "")
    names = np.array(cells.columns, dtype=object)
    codes = is_missing.to_numpy() @ (1 << np.arange(len(names), dtype=object)) if len(names) else np.zeros(len(cells))
    table = pd.crosstab(np.asarray(codes, dtype=object), splits.to_numpy()).reindex(columns=shown, fill_value=0)
    totals = table.sum(axis=1).sort_values(ascending=False, kind="stable")
    return [
        (
            [str(name) for i, name in enumerate(names) if int(code) >> i & 1],
            [int(n) for n in table.loc[code]],
            int(totals[code]),
        )
        for code in totals.index[:PATTERNS_SHOWN]
    ]


def _first_rows(table: pd.DataFrame | None) -> dict[str, Any] | None:
    if table is None:
        return None
    return {"header": list(table.columns), "rows": table.head(CELLS_SHOWN).values.tolist(), "count": len(table)}
