"""What columns and heads learn from the training rows, and the whole table's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmkeras.base.terminal import progress, warn
from mmkeras.contracts.config import Config
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk
from mmkeras.features.columns import Features, adapt, prepare, table_cells
from mmkeras.features.records import Records
from mmkeras.table import bad_rows
from mmkeras.table.manifest import BadCell, Manifest
from mmkeras.table.plan import check_columns, check_heads, identity, said_of, split_of


@dataclass(frozen=True)
class Prepared:
    """What trainings on the same rows share.

    Attributes:
        split: Of each row.
        schema: The config whose columns and heads know the training rows.
        features: Of the whole table.
        bad_cells: How many there are, as `metrics.json` holds it.
    """

    split: pd.Series
    schema: Config
    features: Features | Records
    bad_cells: dict[str, Any] = field(default_factory=dict)


def open_records(folder: str, config: Config, manifest: Manifest) -> Records:
    """Features that `mmkeras prepare` wrote of this table, split and settings; the columns' files need not be there.

    Raises:
        ValueError: They are of others; or the table, the split or a target cannot be used.
    """
    check_columns(config, manifest)
    split = split_of(config, manifest)
    check_heads(config, manifest, split)
    records = Records.open(folder, split)
    records.check(identity(config, manifest, split))
    return records


def split_series(records: Records) -> pd.Series:
    return pd.Series(records.split, dtype=object, name="split")


def without_bad_rows(
    schema: Config, manifest: Manifest, split: pd.Series, features: Features | Records, folder: Path
) -> Prepared:
    """What trainings share; rows that `bad_rows.csv` in the folder leaves out take part in no split.

    Raises:
        ValueError: No row of a split is left.
    """
    counts = bad_rows.counts(folder, schema.on_bad_file)
    kept = bad_rows.in_use(split, folder)
    if (kept == split).all():
        return Prepared(split, schema, features, counts)
    bad_rows.check_in_use(split, kept, manifest, folder)
    heads = fitted_heads(schema, manifest, kept)
    return Prepared(kept, schema.model_copy(update={"targets": heads}), features, counts)


def fit_schema(config: Config, manifest: Manifest, split: pd.Series, records: Records | None = None) -> Config:
    """The same config with all that its columns and heads learn from the training rows.

    Args:
        config: Not fitted.
        manifest: The table.
        split: Of each row.
        records: Features whose columns have learned already.
    """
    if records:
        heads = fitted_heads(config, manifest, split)
        return config.model_copy(update={"columns": records.fitted(config.columns), "targets": heads})
    is_train = (split == "train").to_numpy()
    cells = table_cells(manifest, config.columns)
    columns = {}
    for column, modality in walk(config.columns):
        with progress(f"learning from {column}", total=0):
            columns[column] = said_of(manifest, column, partial(adapt, modality, cells[column][is_train]))
    return config.model_copy(update={"columns": columns, "targets": fitted_heads(config, manifest, split)})


def fitted_heads(config: Config, manifest: Manifest, split: pd.Series) -> dict[str, Head]:
    heads = {}
    for target, head in config.targets.items():
        values = manifest.rows[target][(split == "train").to_numpy()]
        heads[target] = said_of(manifest, target, partial(head.adapt, values[~head.missing(values)]))
    return heads


def prepare_rows(
    schema: Config,
    manifest: Manifest,
    folder: Path,
    split: pd.Series | None = None,
    records: Records | None = None,
) -> Features | Records:
    """All rows' features; writes bad_rows.csv into the folder.

    Args:
        schema: The fitted config.
        manifest: The table.
        folder: Of the run.
        split: Of each row, to name targets too that no train row has; None: do not.
        records: The features, if they lie in shards already.

    Raises:
        ValueError: Cells cannot be used, and the config says that this is an error.
    """
    cells = {} if records else table_cells(manifest, schema.columns)
    features = records.select(schema.columns) if records else prepare_columns(schema, cells)
    bad = features.bad_cells(cells)
    bad_rows.write(folder, bad, schema.on_bad_file)
    bad_rows.refuse(bad, schema.on_bad_file, manifest, folder)
    if split is not None and schema.on_bad_file != "error":
        kept = bad_rows.without(split, bad) if schema.on_bad_file == "drop" else split
        bad = sorted([*bad, *_foreign_cells(schema, manifest, kept)], key=lambda cell: cell.row)
        bad_rows.write(folder, bad, schema.on_bad_file)
    if bad:
        warn(bad_rows.summary(bad_rows.counts(folder, schema.on_bad_file), folder))
    return features


def _foreign_cells(schema: Config, manifest: Manifest, split: pd.Series) -> list[BadCell]:
    return [
        BadCell(int(row) + 1, target, manifest.rows[target].iloc[row], "stands in no train row")
        for target, head in walk(schema.targets)
        for row in np.flatnonzero(head.foreign(manifest.rows[target], split))
    ]


def prepare_columns(schema: Config, cells: Mapping[str, pd.Series]) -> Features:
    """Every column's features, with a progress bar each."""
    columns = {}
    for column, modality in walk(schema.columns):
        with progress(f"preparing {column}", cells[column].nunique()) as advance:
            columns[column] = prepare(modality, cells[column], schema.train.cache, advance, schema.train.cache_max_gb)
    return Features(columns)


def encoded_targets(schema: Config, manifest: Manifest) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{target: (encoded, how much each row counts)} of the whole table."""
    encoded = {target: head.encode_target(manifest.rows[target]) for target, head in walk(schema.targets)}
    return {target: (values, schema.targets[target].sample_weights(values)) for target, values in encoded.items()}
