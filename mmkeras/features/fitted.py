"""What columns and heads learn from the training rows, and the whole table's features."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, warn
from mmkeras.contracts.config import Config
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk
from mmkeras.features.columns import Features, adapt, prepare, table_cells
from mmkeras.features.records import Records
from mmkeras.table import bad_rows
from mmkeras.table.manifest import BadCell
from mmkeras.table.plan import Plan, said_of

pd = lazy("pandas")


@dataclass(frozen=True, eq=False)
class Fitted:
    """What trainings on the same rows share.

    Attributes:
        plan: Its config's columns and heads know the training rows.
        features: Of the whole table.
        bad_cells: How many there are, as `metrics.json` holds it.
    """

    plan: Plan
    features: Features | Records
    bad_cells: dict[str, Any] = field(default_factory=dict)

    def of_plan(self, plan: Plan) -> Fitted:
        """These rows' features for a plan of some of the columns."""
        return Fitted(plan, self.features.select(plan.config.columns), self.bad_cells)


def open_records(folder: str, plan: Plan) -> Records:
    """Features that `mmkeras prepare` wrote of this table, split and settings; the columns' files need not be there.

    Raises:
        ValueError: They are of others.
    """
    records = Records.open(folder, plan.split)
    records.check(plan.identity)
    return records


def fit_schema(plan: Plan, records: Records | None = None) -> Config:
    """The config with all that its columns and heads learn from the training rows.

    Args:
        plan: Its config is not fitted.
        records: Features whose columns have learned already.
    """
    config = plan.config
    if records:
        return config.model_copy(update={"columns": records.fitted(config.columns), "targets": _fitted_heads(plan)})
    is_train = plan.rows("train")
    cells = table_cells(plan.manifest, config.columns)
    columns = {}
    for column, modality in walk(config.columns):
        with progress(f"learning from {column}", total=0):
            columns[column] = said_of(plan.manifest, column, partial(adapt, modality, cells[column][is_train]))
    return config.model_copy(update={"columns": columns, "targets": _fitted_heads(plan)})


def prepare_rows(
    plan: Plan, folder: Path, names_foreign: bool = False, records: Records | None = None
) -> Features | Records:
    """All rows' features; writes bad_rows.csv into the folder.

    Args:
        plan: Its config is fitted.
        folder: Of the run.
        names_foreign: Whether bad_rows.csv names targets too that no train row has.
        records: The features, if they lie in shards already.

    Raises:
        ValueError: Cells cannot be used, and the config says that this is an error.
    """
    schema, manifest = plan.config, plan.manifest
    cells = {} if records else table_cells(manifest, schema.columns)
    features = records.select(schema.columns) if records else prepare_columns(schema, cells)
    bad = features.bad_cells(cells)
    bad_rows.write(folder, bad, schema.on_bad_file)
    bad_rows.refuse(bad, schema.on_bad_file, manifest, folder)
    if names_foreign and schema.on_bad_file != "error":
        bad = sorted([*bad, *_foreign_cells(_of_kept_rows(plan, bad))], key=lambda cell: cell.row)
        bad_rows.write(folder, bad, schema.on_bad_file)
    if bad:
        warn(bad_rows.summary(bad_rows.counts(folder, schema.on_bad_file), folder))
    return features


def prepare_columns(schema: Config, cells: Mapping[str, pd.Series]) -> Features:
    """Every column's features, with a progress bar each."""
    columns = {}
    for column, modality in walk(schema.columns):
        with progress(f"preparing {column}", cells[column].nunique()) as advance:
            columns[column] = prepare(modality, cells[column], schema.train.cache, advance, schema.train.cache_max_gb)
    return Features(columns)


def without_bad_rows(plan: Plan, features: Features | Records, folder: Path) -> Fitted:
    """What trainings share; rows that `bad_rows.csv` in the folder leaves out take part in no split.

    Raises:
        ValueError: No row of a split is left.
    """
    counts = bad_rows.counts(folder, plan.config.on_bad_file)
    kept = plan.of_split(bad_rows.in_use(plan.split, folder))
    if (kept.split == plan.split).all():
        return Fitted(plan, features, counts)
    bad_rows.check_in_use(plan.split, kept.split, plan.manifest, folder)
    schema = plan.config.model_copy(update={"targets": _fitted_heads(kept)})
    return Fitted(kept.of_config(schema), features, counts)


def encoded_targets(plan: Plan) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{target: (encoded, how much each row counts)} of the whole table, by heads that are fitted."""
    heads, rows = plan.config.targets, plan.manifest.rows
    encoded = {target: head.encode_target(rows[target]) for target, head in walk(heads)}
    return {target: (values, heads[target].sample_weights(values)) for target, values in encoded.items()}


def _fitted_heads(plan: Plan) -> dict[str, Head]:
    heads = {}
    for target, head in plan.config.targets.items():
        values = plan.manifest.rows[target][plan.rows("train")]
        heads[target] = said_of(plan.manifest, target, partial(head.adapt, values[~head.missing(values)]))
    return heads


def _of_kept_rows(plan: Plan, bad: Collection[BadCell]) -> Plan:
    """The plan without the rows that its config drops for their bad cells."""
    return plan.of_split(bad_rows.without(plan.split, bad)) if plan.config.on_bad_file == "drop" else plan


def _foreign_cells(plan: Plan) -> list[BadCell]:
    rows = plan.manifest.rows
    return [
        BadCell(int(row) + 1, target, rows[target].iloc[row], "stands in no train row")
        for target, head in walk(plan.config.targets)
        for row in np.flatnonzero(head.foreign(rows[target], plan.split))
    ]
