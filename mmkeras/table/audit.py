"""Everything that can be said of a table and its files before a model is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, say, show_table, tell
from mmkeras.base.words import joined, nearest_hint
from mmkeras.contracts.config import Access, Config, Split, build
from mmkeras.contracts.modality import Modality, Survey
from mmkeras.contracts.registry import walk
from mmkeras.table import remote
from mmkeras.table.file_checks import (
    group_leak_notes,
    look_notes,
    looks,
    readable_cells,
    same_file_notes,
    unreachable,
    unreachable_notes,
)
from mmkeras.table.guess import guess_modalities
from mmkeras.table.manifest import SPLIT_OF_WORD, Manifest, read_table, require_columns
from mmkeras.table.plan import TABLE_ENDINGS, said_of, strata, understand
from mmkeras.table.splits import split_rows
from mmkeras.table.table_checks import (
    Finding,
    Note,
    Subject,
    class_counts,
    filled,
    gathered,
    missing_cells,
    surveys,
    table_notes,
)

pd = lazy("pandas")

BAD_COLUMNS = ["row", "column", "path", "what", "remedy", "level"]
SHOWN_FINDINGS, SHOWN_CLASSES, SHOWN_SHARES, SHOWN_PATTERNS = 30, 12, 4, 5


@dataclass(frozen=True)
class Column:
    """What one column holds.

    Attributes:
        name: The column's.
        type: The modality's or the head's name.
        cells: How many rows have one.
        distinct: How many different ones.
        missing: How many rows have none, or say that there is none.
        sizes: {name with its unit: (least, median, most)} of what can be measured.
        shares: {what: share of the cells}, the greatest first.
        verdict: "errors", "look" or "ok".
    """

    name: str
    type: str
    cells: int
    distinct: int
    missing: int
    sizes: Mapping[str, tuple[float, float, float]]
    shares: Mapping[str, float]
    verdict: str


@dataclass(frozen=True)
class Checked:
    """What `check` found.

    Attributes:
        table: The table's name.
        rows: How many it has.
        columns: Inputs, then targets, each sorted.
        findings: Errors first, then those of most rows.
        classes: {target: rows of each class in all and in each split}.
        missing: {the columns that lack a cell: rows}, the commonest first.
    """

    table: str
    rows: int
    columns: tuple[Column, ...]
    findings: tuple[Finding, ...]
    classes: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    missing: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What cannot be used."""
        return tuple(finding for finding in self.findings if finding.is_error)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What should be looked at."""
        return tuple(finding for finding in self.findings if not finding.is_error)

    @property
    def exit_status(self) -> int:
        """Of the command: 1 where there are errors."""
        return int(bool(self.errors))

    @property
    def bad_rows(self) -> pd.DataFrame:
        """Every finding row by row; the row is empty where one is about all of them."""
        notes = sorted((note for finding in self.findings for note in finding.notes), key=lambda note: note.row)
        levels = {True: "error", False: "look"}
        rows = [
            (note.row or "", note.column, note.path, _what(note), note.remedy, levels[note.is_error]) for note in notes
        ]
        return pd.DataFrame(rows, columns=BAD_COLUMNS)


def check_table(table: Any, overrides: Sequence[str], target: str | None, out: Path) -> Checked:
    """Examines a table, shows what was found and writes it row by row.

    Args:
        table: A table or a config; None: the embedded example.
        overrides: Settings that win, KEY=VALUE.
        target: The column to predict; None: nobody says.
        out: A .csv file.

    Raises:
        FileNotFoundError, ValueError: The table or the config cannot be used, or `out` is another file.
    """
    _refuse_foreign(out)
    checked = examine(*_asked(table, list(overrides), target))
    _show(checked)
    checked.bad_rows.to_csv(out, index=False)
    _conclude(checked, out)
    return checked


def examine(subject: Subject, notes: Sequence[Note] = ()) -> Checked:
    """Everything that can be said of a table before a model is trained on it; `notes` are known already."""
    surveyed = surveys(subject)
    bad = unreachable(subject)
    notes = [*notes, *table_notes(subject, surveyed), *group_leak_notes(subject), *unreachable_notes(bad)]
    measures = {column: survey.measures for column, survey in surveyed.items()}
    for column, modality in walk(dict(subject.columns)):
        if modality.from_file:
            cells = readable_cells(subject, column, bad)
            distinct = cells.unique()
            with progress(f"reading {column}", len(distinct)) as advance:
                seen = looks(modality, distinct, advance)
            notes += look_notes(subject, column, cells, distinct, seen)
            with progress(f"comparing the files of {column}", 0):
                notes += same_file_notes(subject, column, cells)
            measures[column] = _joined([look.measures for look in seen])
    findings, is_missing = gathered(notes), missing_cells(subject, surveyed)
    return Checked(
        subject.manifest.name,
        len(subject.manifest.rows),
        tuple(_columns(subject, surveyed, measures, is_missing, findings)),
        findings,
        class_counts(subject),
        _patterns(is_missing),
    )


def _what(note: Note) -> str:
    return note.what if note.what.startswith(note.kind) else f"{note.kind}: {note.what}"


def _refuse_foreign(out: Path) -> None:
    """Refuses to write over a file that is no list of bad rows."""
    if out.is_dir():
        raise ValueError(f"--out: {out} is a folder; name a .csv file")
    if not out.parent.is_dir():
        raise ValueError(f"--out: there is no folder {out.parent}; make it, or choose another file")
    if out.is_file() and out.stat().st_size:
        with out.open(encoding="utf-8", errors="replace") as lines:
            begin = lines.readline()
        if not begin.startswith(",".join(BAD_COLUMNS[:3])):
            raise ValueError(f"--out: {out} is there and is no list of bad rows; choose another file")


# What is asked for


def _asked(table: Any, overrides: list[str], target: str | None) -> tuple[Subject, list[Note]]:
    """The table, what is known of it, and what is wrong with its splits."""
    is_table = isinstance(table, pd.DataFrame) or (table is not None and Path(table).suffix in TABLE_ENDINGS)
    if is_table and target is None:
        return _without_target(read_table(table), overrides)
    config, manifest, _ = understand(table, overrides, target)
    manifest, settings = manifest.allowed(config.access), config.split
    require_columns(manifest, [*config.columns, *config.targets])
    _check_settings(manifest, config.columns)
    split, notes = _split(manifest, settings, config)
    return Subject(manifest, config.columns, config.targets, split, settings.group), notes


def _without_target(manifest: Manifest, overrides: list[str]) -> tuple[Subject, list[Note]]:
    """A table where nobody says what is to be predicted: its rows have splits only if a column says so."""
    raw = guess_modalities(manifest, None, overrides)
    columns = {name: build("modality", item, f"columns.{name}") for name, item in raw["columns"].items()}
    settings = Split(**raw["split"])
    access = Access(raw.get("allow_outside") is True, raw.get("filesystems") or {})
    manifest = manifest.allowed(access)
    require_columns(manifest, columns)
    _check_settings(manifest, columns)
    split, notes = _split(manifest, settings, None) if settings.column else (None, [])
    return Subject(manifest, columns, {}, split, settings.group), notes


def _check_settings(manifest: Manifest, columns: Mapping[str, Modality]) -> None:
    remote.check(manifest.access.filesystems)
    for column, modality in walk(dict(columns)):
        said_of(manifest, column, modality.check)


def _split(manifest: Manifest, settings: Split, config: Config | None) -> tuple[pd.Series | None, list[Note]]:
    """The split of each row as a training deals them, or why it cannot."""
    require_columns(manifest, [name for name in (settings.column, settings.group) if name])
    if settings.column and (notes := list(_unknown_splits(manifest, settings.column))):
        return None, notes
    try:
        split = split_rows(
            manifest,
            column=settings.column,
            fractions=(settings.train, settings.valid, settings.test),
            group=settings.group,
            target=strata(config, manifest) if config else None,
            seed=settings.seed,
        )
    except ValueError as error:
        remedy = "correct the table or the settings of split"
        return None, [Note("no splits", settings.column or "", 0, str(error), remedy, is_error=True)]
    return split, []


def _unknown_splits(manifest: Manifest, column: str) -> list[Note]:
    cells = manifest.rows[column].str.strip().str.lower()
    unknown = manifest.rows[column][~cells.isin(SPLIT_OF_WORD.keys())]
    hints = {cell: nearest_hint(cell.strip().lower(), SPLIT_OF_WORD) for cell in unknown.unique()}
    return [
        Note(
            "no split", column, int(row) + 1, f'got "{cell}"{hints[cell]}', "write train, valid or test", is_error=True
        )
        for row, cell in unknown.items()
    ]


# What columns hold


def _columns(
    subject: Subject,
    surveyed: Mapping[str, Survey],
    measures: Mapping[str, Mapping[str, np.ndarray]],
    is_missing: pd.DataFrame,
    findings: Sequence[Finding],
) -> list[Column]:
    rows, columns = subject.manifest.rows, []
    types = {name: modality.type_name() for name, modality in walk(dict(subject.columns))}
    types |= {name: f"target: {head.type_name()}" for name, head in walk(dict(subject.targets))}
    for name, type_name in types.items():
        missing = is_missing[name] if name in is_missing else subject.targets[name].missing(rows[name])
        sizes = {size: _spread(values) for size, values in measures.get(name, {}).items() if len(values)}
        shares = surveyed[name].shares if name in surveyed else {}
        cells, count = filled(rows[name]).str.strip(), int(missing.sum())
        verdict = _verdict(name, findings)
        columns.append(Column(name, type_name, len(rows) - count, cells.nunique(), count, sizes, shares, verdict))
    return columns


def _spread(values: np.ndarray) -> tuple[float, float, float]:
    return float(np.min(values)), float(np.median(values)), float(np.max(values))


def _verdict(column: str, findings: Sequence[Finding]) -> str:
    own = [finding.is_error for finding in findings if finding.column == column]
    return "errors" if any(own) else "look" if own else "ok"


def _joined(measures: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for figures in measures for name in figures)
    return {name: np.array([figures[name] for figures in measures if name in figures]) for name in names}


def _patterns(is_missing: pd.DataFrame) -> dict[tuple[str, ...], int]:
    counts = is_missing.value_counts()
    return {
        tuple(name for name, missing in zip(is_missing.columns, pattern, strict=True) if missing): int(count)
        for pattern, count in counts.items()
    }


# What a person sees


def _show(checked: Checked) -> None:
    rows = [
        (column.name, column.type, column.cells, column.distinct, column.missing, _sizes(column), column.verdict)
        for column in checked.columns
    ]
    header = ("column", "type", "cells", "distinct", "missing", "median (least to most)", "verdict")
    show_table(f"{checked.table}: {checked.rows} rows", header, rows)
    for target, counts in checked.classes.items():
        _show_classes(target, counts)
    if len(checked.missing) > 1:
        shown = [f"{_lacking(columns)} in {count} rows" for columns, count in checked.missing.items()]
        more = f"; {len(shown) - SHOWN_PATTERNS} more" if len(shown) > SHOWN_PATTERNS else ""
        say(f"missing: {'; '.join(shown[:SHOWN_PATTERNS])}{more}")
    if checked.findings:
        _show_findings(checked.findings)


def _sizes(column: Column) -> str:
    parts = [f"{name.replace('_', ' ')} {_range(*spread)}" for name, spread in column.sizes.items()]
    shares = [f"{name} {share:.0%}" for name, share in column.shares.items()]
    more = ["…"] if len(shares) > SHOWN_SHARES else []
    return ", ".join([*parts, *shares[:SHOWN_SHARES], *more])


def _range(least: float, median: float, most: float) -> str:
    return _figure(median) if least == most else f"{_figure(median)} ({_figure(least)} to {_figure(most)})"


def _figure(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def _show_classes(target: str, counts: pd.DataFrame) -> None:
    shown = counts.head(SHOWN_CLASSES)
    rows = [(name, *map(int, numbers)) for name, numbers in zip(shown.index, shown.to_numpy(), strict=True)]
    if len(counts) > len(shown):
        rest = counts.iloc[SHOWN_CLASSES:]
        rows.append((f"{len(rest)} more", *map(int, rest.sum())))
    show_table(f"Classes of {target}", ("class", *counts.columns), rows)


def _lacking(columns: tuple[str, ...]) -> str:
    return joined(columns) if columns else "nothing"


def _show_findings(findings: Sequence[Finding]) -> None:
    for finding in findings[:SHOWN_FINDINGS]:
        tell(finding.message, "error" if finding.is_error else "look", "red" if finding.is_error else "yellow")
    if len(findings) > SHOWN_FINDINGS:
        say(f"{len(findings) - SHOWN_FINDINGS} more kinds of findings")


def _conclude(checked: Checked, out: Path) -> None:
    if not checked.findings:
        say(f"{checked.table}: nothing to object to")
        return
    errors, doubts = (sum(len(finding.notes) for finding in part) for part in (checked.errors, checked.warnings))
    say(f"{checked.table}: {errors} error{'s' * (errors != 1)}, {doubts} to look at; {out} lists them by row")
