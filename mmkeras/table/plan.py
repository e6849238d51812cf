"""What is asked for: a config, its table and each row's split, checked before TensorFlow starts."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mmkeras
from mmkeras.base.files import holds_more_than, run_name
from mmkeras.base.terminal import warn
from mmkeras.contracts.config import Config, read_config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk
from mmkeras.table import bad_rows, remote
from mmkeras.table.guess import guess_config
from mmkeras.table.manifest import SPLITS, Manifest, missing_files, read_table, require_columns, table_hash
from mmkeras.table.splits import UNUSED, check_targets, leaks, split_rows
from mmkeras.table.table_checks import Subject, gathered, surveys, table_notes

TABLE_ENDINGS = (".csv", ".parquet")
SHOWN_LEAKS = 5
SHOWN_DOUBTS = 4


def embedded_example() -> Path:
    """The config of the data set that comes with mmkeras."""
    places = Path(__file__).parents[2] / "data", Path(sysconfig.get_path("data")) / "share" / "mmkeras"
    configs = [place / "customer_service" / "config.yaml" for place in places]
    return next((config for config in configs if config.is_file()), configs[0])


# What is asked for


def understand(table: Any, overrides: list[str], target: str | None) -> tuple[Config, Manifest, str]:
    """The config, the table that it is about, and what runs are called after."""
    if isinstance(table, pd.DataFrame):
        manifest = read_table(table)
        return guess_config(manifest, target, overrides, None), manifest, "table"
    path = Path(table) if table is not None else embedded_example()
    if path.suffix in TABLE_ENDINGS:
        manifest = read_table(path)
        return guess_config(manifest, target, overrides, str(path.resolve())), manifest, run_name(path)
    if target is not None:
        raise ValueError(f"--target: goes with a table (.csv, .parquet), got {path}; a config names its targets itself")
    config = read_config(path, overrides)
    return config, read_table(config.manifest, access=config.access), run_name(path)


def check(config: Config, manifest: Manifest, folder: Path | None = None) -> pd.Series:
    """Everything that can be wrong before TensorFlow starts; returns the split of each row.

    Args:
        config: Not fitted.
        manifest: The table.
        folder: Where `bad_rows.csv` goes if there are any and they may not be there; None: nowhere.
    """
    check_columns(config, manifest)
    split = split_of(config, manifest)
    check_rows(config, manifest, split, folder)
    return split


def split_of(config: Config, manifest: Manifest) -> pd.Series:
    """The split of each row, as the config asks for it."""
    return split_rows(
        manifest,
        column=config.split.column,
        fractions=(config.split.train, config.split.valid, config.split.test),
        group=config.split.group,
        target=strata(config, manifest),
        seed=config.split.seed,
    )


def identity(config: Config, manifest: Manifest, split: pd.Series) -> dict[str, Any]:
    """What features depend on, as JSON holds it: table, split, and the settings of columns that change features."""
    columns = {column: modality.feature_settings() for column, modality in walk(config.columns)}
    codes = split.map({name: code for code, name in enumerate(SPLITS)}).to_numpy(np.uint8)
    return {
        "table": table_hash(manifest),
        "split": hashlib.sha256(codes.tobytes()).hexdigest(),
        "version": mmkeras.__version__,
        "columns": columns,
    }


def check_columns(config: Config, manifest: Manifest) -> None:
    """The part of it that needs no split: columns that are there, rows that have a target, a fusion that fits."""
    require_columns(manifest, [*config.columns, *config.targets])
    require_columns(manifest, [name for name in (config.split.column, config.split.group) if name])
    for column, modality in walk(config.columns):
        said_of(manifest, column, modality.check)
    remote.check(config.filesystems)
    check_targets(manifest, config.targets)
    config.fusion.check(list(config.columns), config.targets)


def strata(config: Config, manifest: Manifest) -> pd.Series:
    """What the splits should hold equal shares of: the first target's classes or ranges."""
    target, head = next(iter(config.targets.items()))
    return said_of(manifest, target, lambda: head.strata(manifest.rows[target]))


def check_rows(config: Config, manifest: Manifest, split: pd.Series, folder: Path | None = None) -> None:
    """Refuses targets and files that cannot be used, and warns of what stands in two splits."""
    check_heads(config, manifest, split)
    for target, head in config.targets.items():
        if missing := int(head.missing(manifest.rows[target]).sum()):
            warn(f'{manifest.name}: {missing} rows have no "{target}"; they train and judge the other targets only')
    if config.on_bad_file == "error":  # otherwise preparation, which looks at each path too, names them all
        bad_rows.refuse(missing_files(manifest, media(config)), "error", manifest, folder and free(folder))
    warn_of_leaks(config, manifest, split)
    warn_of_doubts(config, manifest, split)


def free(folder: Path) -> Path | None:
    """The folder, unless a run has it already."""
    return None if folder.is_dir() and holds_more_than(bad_rows.FILE, folder) else folder


def check_heads(config: Config, manifest: Manifest, split: pd.Series) -> None:
    """Refuses targets; a row whose class no train row has may be passed over if `on_bad_file` says so."""
    for target, head in config.targets.items():
        values = manifest.rows[target]
        if config.on_bad_file != "error":
            values = values.mask(head.foreign(values, split) | (split == UNUSED), "")
        said_of(manifest, target, partial(head.check, values, split))


def said_of(manifest: Manifest, column: str, ask: Callable[[], Any]) -> Any:
    """What a component finds wrong with its column begins with where that is."""
    try:
        return ask()
    except ValueError as error:
        raise ValueError(f'{manifest.name} column "{column}": {error}') from error


def warn_of_leaks(config: Config, manifest: Manifest, split: pd.Series) -> None:
    """Warns of groups and files that stand in two splits."""
    found = leaks(manifest, split, group=config.split.group, media=media(config))
    for leak in found[:SHOWN_LEAKS]:
        warn(str(leak))
    if len(found) > SHOWN_LEAKS:
        warn(f"{len(found) - SHOWN_LEAKS} more groups or files stand in two splits; the test rows are no fair judges")


def warn_of_doubts(config: Config, manifest: Manifest, split: pd.Series) -> None:
    """Warns of what a table tells without a file being opened; what cannot be read is refused when it is read."""
    subject = Subject(manifest, config.columns, config.targets, split, config.split.group)
    found = [finding for finding in gathered(table_notes(subject, surveys(subject))) if not finding.is_error]
    for finding in found[:SHOWN_DOUBTS]:
        warn(f"{manifest.name} {finding.message}")
    if len(found) > SHOWN_DOUBTS:
        warn(f"{len(found) - SHOWN_DOUBTS} more things to look at in {manifest.name}; `mmkeras check` names them")


def media(config: Config) -> dict[str, Modality]:
    return {column: modality for column, modality in walk(config.columns) if modality.from_file}
