"""What is asked for: a config, its table and each row's split, checked before TensorFlow starts, as one `Plan`."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import mmkeras
from mmkeras.base import run_files
from mmkeras.base.files import holds_more_than, run_name
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import warn
from mmkeras.contracts.config import Config, read_config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import walk
from mmkeras.table import bad_rows, remote, splits
from mmkeras.table.guess import guess_config
from mmkeras.table.manifest import SPLITS, Manifest, missing_files, read_table, require_columns, table_hash
from mmkeras.table.table_checks import Subject, gathered, surveys, table_notes

pd = lazy("pandas")

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


@dataclass(frozen=True, eq=False)
class Plan:
    """What is asked for, made once and handed on: a config, the table that it is about, and each row's split.

    What the table's cells may name, and the gate that looks at their paths, are the manifest's (`access`, `gate`):
    tables that no plan is about have them too.

    Attributes:
        config: Not fitted, or with what its columns and heads learned from the training rows.
        manifest: The table.
        split: (N,) train, valid, test or unused: of each row.
    """

    config: Config
    manifest: Manifest
    split: pd.Series

    def of_config(self, config: Config) -> Plan:
        """These rows for another config: one that is fitted, or has fewer columns."""
        return replace(self, config=config)

    def of_split(self, split: pd.Series) -> Plan:
        """This config for rows that are dealt otherwise."""
        return replace(self, split=split)

    def rows(self, part: str) -> np.ndarray:
        """(N,) bool: the rows of a split."""
        return (self.split == part).to_numpy()

    @property
    def media(self) -> dict[str, Modality]:
        """The columns whose cells name files."""
        return {column: modality for column, modality in walk(self.config.columns) if modality.from_file}

    @property
    def identity(self) -> dict[str, Any]:
        """What features depend on, as JSON holds it: table, split, and the settings of columns that change features."""
        columns = {column: modality.feature_settings() for column, modality in walk(self.config.columns)}
        codes = self.split.map({name: code for code, name in enumerate(SPLITS)}).to_numpy(np.uint8)
        return {
            "table": table_hash(self.manifest),
            "split": hashlib.sha256(codes.tobytes()).hexdigest(),
            "version": mmkeras.__version__,
            "columns": columns,
        }


def planned(config: Config, manifest: Manifest) -> Plan:
    """The plan of a config and its table. Columns, splits and targets are checked, which needs no look at a file.

    Args:
        config: Not fitted.
        manifest: The table; its cells may name what the config allows.

    Raises:
        ValueError: Says what cannot be trained, and where.
    """
    manifest = manifest.allowed(config.access)
    check_columns(config, manifest)
    plan = Plan(config, manifest, _split_of(config, manifest))
    check_learnable(plan)
    return plan


def checked(config: Config, manifest: Manifest, folder: Path | None = None) -> Plan:
    """The plan of a config and its table, and everything refused that can be wrong before TensorFlow starts.

    Args:
        config: Not fitted.
        manifest: The table.
        folder: As in `check_rows`.
    """
    plan = planned(config, manifest)
    check_rows(plan, folder)
    return plan


def check_columns(config: Config, manifest: Manifest) -> None:
    """What needs no split: columns that are there, rows that have a target, a fusion that fits."""
    require_columns(manifest, [*config.columns, *config.targets])
    require_columns(manifest, [name for name in (config.split.column, config.split.group) if name])
    for column, modality in walk(config.columns):
        said_of(manifest, column, modality.check)
    remote.check(config.filesystems)
    splits.check_targets(manifest, config.targets)
    for objective in config.objectives.values():
        objective.check(config.setting)


def check_learnable(plan: Plan) -> None:
    """Refuses targets that cannot be learned from the rows as they are dealt.

    A row whose class no train row has may be passed over if `on_bad_file` says so.
    """
    for target, head in plan.config.targets.items():
        values = plan.manifest.rows[target]
        if plan.config.on_bad_file != "error":
            values = values.mask(head.foreign(values, plan.split) | (plan.split == splits.UNUSED), "")
        said_of(plan.manifest, target, partial(head.check, values, plan.split))


def check_rows(plan: Plan, folder: Path | None = None) -> None:
    """Refuses files that cannot be used, and warns of missing targets and of what stands in two splits.

    Args:
        plan: Its targets are checked.
        folder: Where `bad_rows.csv` goes if there are any and they may not be there; None: nowhere.
    """
    manifest = plan.manifest
    for target, head in plan.config.targets.items():
        if missing := int(head.missing(manifest.rows[target]).sum()):
            warn(f'{manifest.name}: {missing} rows have no "{target}"; they train and judge the other targets only')
    if plan.config.on_bad_file == "error":  # otherwise preparation, which looks at each path too, names them all
        bad_cells = missing_files(manifest, plan.media)
        bad_rows.refuse(bad_cells, "error", manifest, folder and _unless_a_run(folder))
    warn_of_leaks(plan)
    _warn_of_doubts(plan)


def warn_of_leaks(plan: Plan) -> None:
    """Warns of groups and files that stand in two splits."""
    leaks = splits.leaks(plan.manifest, plan.split, group=plan.config.split.group, media=plan.media)
    for leak in leaks[:SHOWN_LEAKS]:
        warn(str(leak))
    if len(leaks) > SHOWN_LEAKS:
        warn(f"{len(leaks) - SHOWN_LEAKS} more groups or files stand in two splits; the test rows are no fair judges")


def strata(config: Config, manifest: Manifest) -> pd.Series | None:
    """What the splits should hold equal shares of: the first target's classes or ranges; None without a target."""
    if not config.targets:
        return None
    target, head = next(iter(config.targets.items()))
    return said_of(manifest, target, lambda: head.strata(manifest.rows[target]))


def said_of(manifest: Manifest, column: str, ask: Callable[[], Any]) -> Any:
    """What a component finds wrong with its column begins with where that is."""
    try:
        return ask()
    except ValueError as error:
        raise ValueError(f'{manifest.name} column "{column}": {error}') from error


def _split_of(config: Config, manifest: Manifest) -> pd.Series:
    return splits.split_rows(
        manifest,
        column=config.split.column,
        fractions=(config.split.train, config.split.valid, config.split.test),
        group=config.split.group,
        target=strata(config, manifest),
        seed=config.split.seed,
    )


def _unless_a_run(folder: Path) -> Path | None:
    """The folder, unless it holds a run already."""
    return None if folder.is_dir() and holds_more_than(run_files.BAD_ROWS, folder) else folder


def _warn_of_doubts(plan: Plan) -> None:
    """Warns of what a table tells without a file being opened; what cannot be read is refused when it is read."""
    config, name = plan.config, plan.manifest.name
    subject = Subject(plan.manifest, config.columns, config.targets, plan.split, config.split.group)
    doubts = [finding for finding in gathered(table_notes(subject, surveys(subject))) if not finding.is_error]
    for doubt in doubts[:SHOWN_DOUBTS]:
        warn(f"{name} {doubt.message}")
    if len(doubts) > SHOWN_DOUBTS:
        warn(f"{len(doubts) - SHOWN_DOUBTS} more things to look at in {name}; `mmkeras check` names them")
