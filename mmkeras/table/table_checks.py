"""What is wrong with a table, or looks so, as far as it tells without a file being opened. No TensorFlow.

`notes` are about single rows; `gathered` counts those of a kind together, so that no report is ever a flood.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mmkeras.base.cell_text import IDENTIFIER_NAME, are_categories
from mmkeras.base.lazy import lazy
from mmkeras.base.words import ROWS_SHOWN, joined, listed_rows
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality, Survey
from mmkeras.contracts.registry import find, members, walk
from mmkeras.table.manifest import SPLITS, Manifest, filled_cells
from mmkeras.table.paths import PATHS_BETWEEN

pd = lazy("pandas")

# A class of so few rows may be a slip, if a class of so many is called almost the same.
TYPO_MOST_ROWS, TYPO_TIMES = 2, 5
TYPO_FEWEST_CHARACTERS, TYPO_LIKENESS = 4, 0.75
MOST_RARE_NAMES, MOST_COMMON_NAMES = 100, 300  # with more of them, rare names are the rule
FEW_ROWS = 5  # of a class: too few to learn from
REPEATED = 0.4  # of the rows are different at least, or it is the rule that they repeat
CHANCE = 0.05  # rows that are the same are a finding where so few twins were to be expected
MOST_DOUBLED = 0.02
TELLING, UNEVEN, FEWEST_ROWS = 0.15, 0.3, 20
NAMES_SHOWN, SHOWN_CHARACTERS = 5, 160


class Note(NamedTuple):
    """One thing about one row.

    Attributes:
        kind: In a few words; notes of one kind in one column are counted together.
        column: The column's name; "" where it is about rows.
        row: Counts from 1; 0 where it is about all of them.
        what: This row's case.
        remedy: What to do.
        is_error: Whether the cell or row cannot be used, or only should be looked at.
        path: The file that it is about.
    """

    kind: str
    column: str
    row: int
    what: str
    remedy: str
    is_error: bool = False
    path: str = ""


@dataclass(frozen=True)
class Finding:
    """All notes of one kind in one column.

    Attributes:
        notes: By row, at least one.
    """

    notes: tuple[Note, ...]

    @property
    def kind(self) -> str:
        """In a few words: "silent", "far out"."""
        return self.notes[0].kind

    @property
    def column(self) -> str:
        """The column's name; "" where it is about rows."""
        return self.notes[0].column

    @property
    def is_error(self) -> bool:
        """Whether the cells or rows cannot be used."""
        return self.notes[0].is_error

    @property
    def rows(self) -> list[int]:
        """Each row once, from 1; none where it is about all of them."""
        return list(dict.fromkeys(note.row for note in self.notes if note.row))

    @property
    def message(self) -> str:
        """One line: where, what in how many rows, the first of them, its case, what to do."""
        first = self.notes[0]
        column = f'column "{self.column}": ' if self.column else ""
        name = os.path.basename(first.path) if PATHS_BETWEEN not in first.path else ""
        what = _cut(first.what) if first.what != self.kind else ""
        case = "".join(f": {words}" for words in (name, what) if words)
        return f"{column}{self.kind}{_where(self.rows)}{case}; {first.remedy}"


@dataclass(frozen=True)
class Subject:
    """A table and what is known of it.

    Attributes:
        manifest: The table.
        columns: Its input columns.
        targets: Its targets; none where nobody said what is to be predicted.
        split: Of each row, as `split_rows` gives it; None: not known.
        group: The column whose values stay together.
    """

    manifest: Manifest
    columns: Mapping[str, Modality]
    targets: Mapping[str, Head] = field(default_factory=dict)
    split: pd.Series | None = None
    group: str | None = None


def gathered(notes: Iterable[Note]) -> tuple[Finding, ...]:
    """The notes by kind and column: errors first, then those of most rows."""
    kinds: dict[tuple[bool, str, str], list[Note]] = {}
    for note in notes:
        kinds.setdefault((note.is_error, note.column, note.kind), []).append(note)
    findings = [Finding(tuple(sorted(same, key=lambda note: note.row))) for same in kinds.values()]
    return tuple(sorted(findings, key=lambda finding: (not finding.is_error, -len(finding.notes), finding.column)))


def surveys(subject: Subject) -> dict[str, Survey]:
    """What the texts of each column tell, and those of each target as the modality sees them that claims them."""
    rows = subject.manifest.rows
    asked = dict(subject.columns)
    for target, _ in walk(dict(subject.targets)):
        if modality := _claimer(filled_cells(subject.manifest, target)):
            asked[target] = modality
    return {column: modality.survey(filled(rows[column])) for column, modality in walk(asked)}


def _claimer(cells: pd.Series) -> Modality | None:
    known = (find("modality", name) for name in members("modality"))
    return next((modality() for modality in known if len(cells) and modality.claims(cells)), None)


def filled(values: pd.Series) -> pd.Series:
    """The cells that are not blank, by row number from 0."""
    return values[values.str.strip() != ""]


def table_notes(subject: Subject, surveyed: Mapping[str, Survey]) -> list[Note]:
    """Everything that a table tells without a file being opened."""
    is_missing = missing_cells(subject, surveyed)
    return [
        *_survey_notes(surveyed),
        *_spelling_notes(subject),
        *_class_notes(subject),
        *_identical_notes(subject, is_missing),
        *_identifier_notes(subject),
        *_missing_notes(subject, is_missing),
        *_group_notes(subject),
    ]


def missing_cells(subject: Subject, surveyed: Mapping[str, Survey]) -> pd.DataFrame:
    """(N, M) bool: which input cells hold nothing."""
    rows = subject.manifest.rows
    is_missing = pd.DataFrame({column: rows[column].str.strip() == "" for column in sorted(subject.columns)})
    for column in is_missing:
        is_missing.loc[list(surveyed[column].missing), column] = True
    return is_missing


def class_counts(subject: Subject) -> dict[str, pd.DataFrame]:
    """{target: rows of each class (the commonest first) in each split and in all} of the targets that have classes."""
    counts = {}
    for target, head in walk(dict(subject.targets)):
        names = head.named_classes(subject.manifest.rows[target])
        if names is not None and len(names):
            counts[target] = _counted(names, subject.split)
    return counts


def _counted(names: pd.Series, split: pd.Series | None) -> pd.DataFrame:
    counts = pd.DataFrame({"rows": names.value_counts()})
    if split is not None:
        parts = pd.crosstab(names.to_numpy(), split.to_numpy()[names.index])
        counts = counts.join(parts.reindex(columns=list(SPLITS), fill_value=0))
    return counts


def _survey_notes(surveyed: Mapping[str, Survey]) -> Iterator[Note]:
    for column, survey in surveyed.items():
        for row, doubt in survey.doubts:
            yield Note(doubt.kind, column, row + 1, doubt.what, doubt.remedy)
        for row, fault in survey.errors.items():
            yield Note("unreadable", column, row + 1, fault, "correct the cell, or empty it", is_error=True)


# Names that are spelled in two ways


def _spelling_notes(subject: Subject) -> Iterator[Note]:
    rows = subject.manifest.rows
    for target, head in walk(dict(subject.targets)):
        names = head.named_classes(rows[target])
        if names is not None:
            yield from _misspelled(names, target)
    for column, modality in walk(dict(subject.columns)):
        if not modality.from_file and are_categories(filled_cells(subject.manifest, column)):
            yield from _misspelled(filled(rows[column]), column)


def _misspelled(names: pd.Series, column: str) -> Iterator[Note]:
    counts = names.value_counts()
    slips = {**near_names(counts), **same_names(counts)}
    for row, name in names[names.isin(slips.keys())].items():
        other = slips[name]
        what = f'"{name}" ({_rows(counts[name])}) beside "{other}" ({_rows(counts[other])})'
        yield Note("spelled in two ways?", column, int(row) + 1, what, f'write "{other}" if that is meant')


def same_names(counts: pd.Series) -> dict[str, str]:
    """{name: a commoner one} that differ in case, blanks, hyphens or the form of their letters only."""
    folded = pd.Series({name: _folded(name) for name in counts.index}, dtype=object)
    slips = {}
    for _, same in folded[folded.str.len() > 1].groupby(folded, sort=False):
        commonest, *others = sorted(same.index, key=lambda name: (-counts[name], name))
        slips |= dict.fromkeys(others, commonest)
    return slips


def near_names(counts: pd.Series) -> dict[str, str]:
    """{name of one or two rows: a much commoner one that is written almost alike}."""
    rare = counts.index[counts <= TYPO_MOST_ROWS]
    common = counts.index[counts >= TYPO_TIMES * TYPO_MOST_ROWS][:MOST_COMMON_NAMES]
    if len(rare) > MOST_RARE_NAMES:
        return {}
    pairs = {name: [other for other in common if _almost_alike(_folded(name), _folded(other))] for name in rare}
    return {name: others[0] for name, others in pairs.items() if others}


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _almost_alike(name: str, other: str) -> bool:
    """Whether a slip of the pen turns one into the other: no figure and no whole short word is one."""
    words, others = name.split(), other.split()
    if len(words) != len(others):
        return name.replace(" ", "") == other.replace(" ", "")
    pairs = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return bool(pairs) and all(
        min(len(word), len(wanted)) >= TYPO_FEWEST_CHARACTERS
        and abs(len(word) - len(wanted)) <= 2
        and re.findall(r"\d", word) == re.findall(r"\d", wanted)
        and difflib.SequenceMatcher(None, word, wanted, autojunk=False).ratio() >= TYPO_LIKENESS
        for word, wanted in pairs
    )


# Classes


def _class_notes(subject: Subject) -> Iterator[Note]:
    rows = subject.manifest.rows
    for target, head in walk(dict(subject.targets)):
        names = head.named_classes(rows[target])
        own = list(_balance_notes(names, subject.split, target)) if names is not None and len(names) else []
        yield from own
        if subject.split is not None and not any(note.is_error for note in own):
            yield from _refusal(head, rows[target], subject.split, target)
    if subject.targets:
        yield from _unknown_targets(subject)


def _balance_notes(names: pd.Series, split: pd.Series | None, target: str) -> Iterator[Note]:
    counts = _counted(names, split)
    trained = counts["train"] > 0 if split is not None else True
    few = counts.index[(counts["rows"] < FEW_ROWS) & trained]
    if len(few):
        what = f"{_listed(few)}: fewer than {FEW_ROWS} rows each"
        first = _first_row(names, few)
        yield Note("rare classes", target, first, what, "add rows, or join these classes with others")
    if split is None:
        return
    split = split.to_numpy()[names.index]
    foreign = counts.index[(counts["train"] == 0) & (counts["rows"] > 0)]
    for row, name in names[names.isin(foreign)].items():
        where = split[names.index.get_loc(row)] if names.index.is_unique else "another split"
        what = f'"{name}" stands in {where}, but in no train row'
        yield Note("a class that train lacks", target, int(row) + 1, what, "move rows of it to train", is_error=True)
    for part in ("valid", "test"):
        absent = counts.index[(counts[part] == 0) & (counts["train"] >= FEW_ROWS)]
        if (split == part).any() and len(absent):
            what = f"{_listed(absent)}: no {part} row"
            yield Note(f"classes that {part} lacks", target, 0, what, f"move rows of them to {part}")


def _refusal(head: Head, values: pd.Series, split: pd.Series, target: str) -> Iterator[Note]:
    """What the head itself says before a training, with the rows that it names."""
    try:
        head.check(values, split)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        rows = re.search(r"\brows? (\d+(?:, \d+)*)", what)
        for row in map(int, rows[1].split(", ")) if rows else (0,):
            yield Note("not to be trained", target, row, what, remedy or "correct the column", is_error=True)


def _unknown_targets(subject: Subject) -> Iterator[Note]:
    rows = subject.manifest.rows
    is_missing = np.all([head.missing(rows[target]) for target, head in subject.targets.items()], axis=0)
    column = next(iter(subject.targets))
    for row in np.flatnonzero(is_missing):
        yield Note("no target", column, int(row) + 1, "is empty", "fill it in, or delete the row", is_error=True)


# Rows that say the same


def _identical_notes(subject: Subject, is_missing: pd.DataFrame) -> Iterator[Note]:
    rows = subject.manifest.rows
    codes = {column: pd.factorize(rows[column])[0] for column in (*is_missing, *subject.targets)}
    inputs = _codes_of_rows([codes[column] for column in is_missing])
    if len(np.unique(inputs)) < REPEATED * len(rows):
        return
    twins = pd.Series(inputs).duplicated(keep=False).to_numpy() & ~is_missing.all(axis=1).to_numpy()
    twins[twins] = _expected_twins([codes[column] for column in is_missing], inputs, twins) < CHANCE
    answers = _codes_of_rows([inputs, *(codes[target] for target in subject.targets)])
    yield from _twin_notes(inputs, answers, np.flatnonzero(twins), subject.split)


def _codes_of_rows(codes: list[np.ndarray]) -> np.ndarray:
    """(N,) numbers that are the same where all the columns' are."""
    of_rows = codes[0].astype(np.int64)
    for column in codes[1:]:  # numbered anew each time: the products stay small
        of_rows = pd.factorize(of_rows * (column.max() + 1) + column)[0]
    return of_rows


def _expected_twins(codes: list[np.ndarray], inputs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How many rows like each of the chosen ones were to be expected if the columns had nothing to do with another.

    What stands once comes again as often as what stands twice says.

    References:
        Good, The Population Frequencies of Species and the Estimation of Population Parameters, 1953.
    """
    once = ~pd.Series(inputs).duplicated().to_numpy()
    expected = np.full(chosen.sum(), float(len(chosen)))
    for column in codes:
        counts = np.bincount(column[once]).astype(float)
        singles, pairs = (counts == 1).sum(), (counts == 2).sum()
        counts[counts == 1] = 2 * pairs / max(1, singles)
        expected *= (counts / once.sum())[column[chosen]]
    return expected


def _twin_notes(inputs: np.ndarray, answers: np.ndarray, twins: np.ndarray, split: pd.Series | None) -> Iterator[Note]:
    same = pd.DataFrame({"inputs": inputs[twins], "answer": answers[twins], "row": twins + 1})
    same["split"] = split.to_numpy()[twins] if split is not None else ""
    by_inputs = same.groupby("inputs")
    same["first"] = by_inputs["row"].transform("first")
    same["first split"] = by_inputs["split"].transform("first")
    contradict = by_inputs["answer"].transform("nunique") > 1
    leak = by_inputs["split"].transform("nunique") > 1
    for (_, _, row, part, first, first_part), is_other, is_leak in zip(
        same.itertuples(index=False), contradict, leak, strict=True
    ):
        if row == first:
            continue
        if is_other:
            what = f"the same inputs as row {first}"
            yield Note("the same inputs, another answer", "", row, what, "correct the answers, or delete the rows")
        elif is_leak:
            what = f"{part}, the same as row {first}: {first_part}"
            yield Note("the same rows in two splits", "", row, what, "delete them, or put them into one split")
        else:
            yield Note("the same row again", "", row, f"the same as row {first}", "delete it if it is one observation")


def _identifier_notes(subject: Subject) -> Iterator[Note]:
    """Values that stand twice in a column that is called an identifier and is one in nearly all rows."""
    rows = subject.manifest.rows
    for column in rows.columns.difference([*subject.columns, *subject.targets, subject.group or ""], sort=False):
        if re.fullmatch(IDENTIFIER_NAME, column.strip()):
            cells = filled(rows[column])
            twice = cells[cells.duplicated()]
            if 0 < len(twice) <= max(1, MOST_DOUBLED * len(cells)):
                firsts = cells.drop_duplicates()
                places = dict(zip(firsts, firsts.index + 1, strict=True))
                for row, cell in twice.items():
                    what = f'"{cell}" is that of row {places[cell]} too'
                    yield Note(
                        "an identifier twice", column, int(row) + 1, what, "delete one of the rows, or number it"
                    )


# Missing cells


def _missing_notes(subject: Subject, is_missing: pd.DataFrame) -> Iterator[Note]:
    for row in np.flatnonzero(is_missing.all(axis=1)):
        yield Note("no cell at all", "", int(row) + 1, "every input is missing", "fill one in, or delete the row")
    for column in is_missing:
        missing = is_missing[column].to_numpy()
        if subject.split is not None:
            yield from _missing_by_split(missing, subject.split.to_numpy(), column)
        elif missing.all():
            yield Note("nothing to learn from", column, 0, "no cell is filled", "leave the column out", is_error=True)
        yield from _telling_notes(subject, missing, column)


def _missing_by_split(missing: np.ndarray, split: np.ndarray, column: str) -> Iterator[Note]:
    shares = {part: missing[split == part].mean() for part in SPLITS if (split == part).sum() >= 1}
    if shares.get("train") == 1:
        remedy = "fill cells in, or leave the column out"
        yield Note("nothing to learn from", column, 0, "no train row has a cell", remedy, is_error=True)
        return
    rows = {part: (split == part).sum() for part in shares}
    others = [part for part in ("valid", "test") if part in shares and rows[part] >= FEWEST_ROWS]
    uneven = [part for part in others if abs(shares[part] - shares.get("train", shares[part])) >= UNEVEN]
    if uneven:
        what = ", ".join(f"{shares[part]:.0%} of the {part} rows" for part in ("train", *uneven))
        yield Note("unevenly missing", column, 0, what, "deal the rows to the splits anew: these judge another task")


def _telling_notes(subject: Subject, missing: np.ndarray, column: str) -> Iterator[Note]:
    """Warns where whether a cell is there tells the class: a model learns that, and not what the cell holds."""
    if not FEWEST_ROWS <= missing.sum() <= len(missing) - FEWEST_ROWS:
        return
    for target, head in walk(dict(subject.targets)):
        names = head.named_classes(subject.manifest.rows[target])
        if names is None or not names.index.is_unique or names.empty:
            continue
        counts = pd.crosstab(missing[names.index], names.to_numpy())
        gain = (counts.max(axis=1).sum() - counts.sum().max()) / len(names)
        if gain >= TELLING:
            right = counts.max(axis=1).sum() / len(names)
            what = f'whether a cell is there tells "{target}" in {right:.0%} of the rows'
            yield Note("missing by class", column, 0, what, "fill cells in, or doubt what the column is worth")


def _group_notes(subject: Subject) -> Iterator[Note]:
    if subject.group is None:
        return
    names = filled(subject.manifest.rows[subject.group])
    counts = names.value_counts()
    if len(counts) and counts.iloc[0] > len(subject.manifest.rows) / 2 and len(subject.manifest.rows) >= FEWEST_ROWS:
        what = f'"{counts.index[0]}" has {counts.iloc[0]} of {len(subject.manifest.rows)} rows'
        yield Note("one group has most rows", subject.group, 0, what, "group by something finer")


# Words


def _where(rows: Sequence[int]) -> str:
    shown = listed_rows(rows[:ROWS_SHOWN], len(rows))
    if len(rows) > ROWS_SHOWN:
        return f" in {len(rows)} rows ({shown.partition(' ')[2]})"
    return f" in {shown}" if rows else ""


def _rows(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"


def _listed(names: Iterable[str]) -> str:
    names = [f'"{name}"' for name in names]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return joined(names) if not more else f"{', '.join(names[:NAMES_SHOWN])}{more}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _first_row(names: pd.Series, few: Iterable[str]) -> int:
    return int(names.index[names.isin(list(few))][0]) + 1
