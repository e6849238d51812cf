"""What a table tells without a file being opened: each kind of finding planted, and a clean twin without any."""

import numpy as np
import pandas as pd
import pytest

from mmkeras.components.heads.classification import Classification
from mmkeras.components.heads.multilabel import Multilabel
from mmkeras.components.heads.regression import Regression
from mmkeras.components.modalities.category import Category
from mmkeras.components.modalities.image import Image
from mmkeras.components.modalities.number import Number
from mmkeras.components.modalities.text import Text
from mmkeras.contracts.modality import Doubt
from mmkeras.contracts.registry import find
from mmkeras.table.manifest import read_table
from mmkeras.table.table_checks import (
    Note,
    Subject,
    class_counts,
    gathered,
    near_names,
    same_names,
    surveys,
    table_notes,
)

ROWS = 60
SPLITS = (["train"] * 7 + ["valid"] * 1 + ["test"] * 2) * 6
COLUMNS = {"said": Text(), "price": Number(), "country": Category()}
LABELS = ["praise", "complaint", "question"]


def clean(**changed):
    """60 rows of three columns and a label, in which there is nothing to find; some columns may be given."""
    rng = np.random.default_rng(3)
    columns = {
        "said": [f"the car number {i} is {'red' if i % 2 else 'blue'}" for i in range(ROWS)],
        "price": [str(price) for price in rng.lognormal(3, 1, ROWS).round(2)],
        "country": [["de", "fr", "us"][i % 3] for i in range(ROWS)],
        "label": [LABELS[i // 2 % 3] for i in range(ROWS)],
    }
    return read_table(pd.DataFrame({**columns, **changed}))


def subject(manifest=None, columns=COLUMNS, target=None, split=SPLITS, group=None):
    split = None if split is None else pd.Series(split, dtype=object)
    return Subject(manifest or clean(), columns, target or {"label": Classification()}, split, group)


def findings(*args, **kwargs):
    asked = subject(*args, **kwargs)
    return gathered(table_notes(asked, surveys(asked)))


def with_cells(column, cells):
    """The clean table with some cells of a column changed: {row from 1: cell}."""
    manifest = clean()
    values = manifest.rows[column].tolist()
    for row, cell in cells.items():
        values[row - 1] = cell
    return clean(**{column: values})


def kinds(found):
    return {(finding.kind, finding.column): finding.rows for finding in found}


def test_a_clean_table_yields_nothing():
    assert findings() == ()
    assert findings(split=None) == ()


@pytest.mark.parametrize(
    ("column", "cells", "kind", "rows"),
    [
        ("said", {5: "...", 9: "n/a", 11: "x"}, "nearly empty", [5, 9, 11]),
        ("said", {7: "word " * 20_001}, "far too large", [7]),
        ("said", {8: "the cafÃ© is closed", 9: "the caf\ufffd is closed"}, "damaged letters", [8, 9]),
        ("price", {12: "999999"}, "far out", [12]),
        ("price", {12: "-9999", 13: "-9999"}, "far out", [12, 13]),
        ("country", {4: "DE"}, "spelled in two ways?", [4]),
        ("label", {3: "complant"}, "spelled in two ways?", [3]),
        ("label", {3: " complaint"}, "spelled in two ways?", [3]),
        ("label", {3: "spam", 10: "spam"}, "rare classes", [3]),
    ],
)
def test_what_should_be_looked_at_is_found(column, cells, kind, rows):
    found = [finding for finding in findings(with_cells(column, cells)) if not finding.is_error]
    assert kinds(found)[kind, column] == rows
    assert all(finding.kind in (kind, "rare classes") for finding in found)


@pytest.mark.parametrize(
    ("column", "cells", "kind", "rows"),
    [
        ("price", {12: "177px", 14: "inf"}, "unreadable", [12, 14]),
        ("label", {8: "spam", 18: "spam"}, "a class that train lacks", [8, 18]),
        ("label", {9: ""}, "no target", [9]),
        ("label", {1: "spam"}, "not to be trained", [1]),
    ],
)
def test_what_cannot_be_used_is_an_error(column, cells, kind, rows):
    found = kinds(finding for finding in findings(with_cells(column, cells)) if finding.is_error)
    assert found == {(kind, column): rows}


def test_words_for_missing_are_missing_and_nothing_else():
    assert findings(with_cells("price", {3: "nan", 4: "n/a", 5: ""})) == ()


def test_what_a_survey_says_is_a_note(monkeypatch):
    class Seen(Category):
        def survey(self, values):
            from mmkeras.contracts.modality import Survey

            return Survey(doubts=[(6, Doubt("odd", "is odd", "look again"))])

    monkeypatch.setattr(Seen, "type_name", classmethod(lambda cls: "seen"))
    (found,) = findings(columns={"country": Seen()})
    assert found.notes == (Note("odd", "country", 7, "is odd", "look again"),)
    assert found.message == 'column "country": odd in row 7: is odd; look again'


def test_a_finding_shows_its_first_rows_and_case_in_one_line():
    (found,) = findings(with_cells("said", {row: "?" for row in range(2, 14, 2)}))
    assert found.message == (
        'column "said": nearly empty in 6 rows (2, 4, 6, 8, 10, …): holds "?" and nothing else; '
        "write what belongs there, or empty the cell"
    )


def test_errors_come_first_then_what_is_most():
    notes = [
        Note("a", "x", 1, "", ""),
        Note("b", "x", 2, "", ""),
        Note("b", "x", 1, "", ""),
        Note("c", "y", 9, "", "", True),
    ]
    assert [(finding.kind, finding.rows) for finding in gathered(notes)] == [("c", [9]), ("b", [1, 2]), ("a", [1])]


# Names


@pytest.mark.parametrize(
    ("rare", "common"),
    [("complant", "complaint"), ("aniaml", "animal"), ("north amrica", "North America"), ("newyork", "New York")],
)
def test_slips_of_the_pen_are_seen(rare, common):
    assert near_names(pd.Series({common: 30, rare: 2})) == {rare: common}


@pytest.mark.parametrize(
    ("rare", "common"),
    [("cat", "bat"), ("class 1", "class 2"), ("Brand A", "Brand B"), ("positive", "negative"), ("2021", "2022")],
)
def test_other_names_are_not(rare, common):
    assert near_names(pd.Series({common: 30, rare: 2})) == {}
    assert same_names(pd.Series({common: 30, rare: 2})) == {}


def test_a_rare_name_is_no_slip_beside_another_rare_one():
    assert near_names(pd.Series({"complaint": 7, "complant": 2})) == {}


def test_names_that_differ_in_case_blanks_or_form_are_one():
    counts = pd.Series({"New York": 9, "new  york": 4, "New-York": 1, "Ａ１": 2, "A1": 5, "paris": 3})
    assert same_names(counts) == {"new  york": "New York", "New-York": "New York", "Ａ１": "A1"}


def test_letters_of_two_cases_are_two_classes():
    assert same_names(pd.Series({"a": 9, "A": 9})) == {}


# Classes


def test_classes_that_a_split_lacks_are_named_once():
    split = [
        "test" if label == "praise" and part == "valid" else part
        for label, part in zip(clean().rows["label"], SPLITS, strict=True)
    ]
    (found,) = findings(split=split)
    assert (found.kind, found.column, found.rows) == ("classes that valid lacks", "label", [])
    assert found.notes[0].what == '"praise": no valid row'


def test_classes_are_counted_by_split():
    counts = class_counts(subject())["label"]
    assert counts.loc["praise", "rows"] == counts.loc["praise", ["train", "valid", "test"]].sum() == 20
    assert list(class_counts(subject(split=None))["label"].columns) == ["rows"]


def test_labels_are_counted_each_and_numbers_not_at_all():
    manifest = clean(label=["red|round", "red"] * 30)
    assert class_counts(subject(manifest, target={"label": Multilabel()}))["label"]["rows"].to_dict() == {
        "red": 60,
        "round": 30,
    }
    assert class_counts(subject(target={"price": Regression()})) == {}


def test_a_target_far_out_is_found():
    target = {"price": Regression()}
    columns = {"said": Text()}
    assert findings(columns=columns, target=target) == ()
    assert kinds(findings(with_cells("price", {12: "999999"}), columns, target)) == {("far out", "price"): [12]}


# Rows that say the same


def repeated(row, other, **changed):
    """The clean table in which a row says what another one says."""
    rows = clean().rows.copy()
    rows.loc[other - 1] = {**rows.loc[row - 1], **changed}
    return read_table(rows)


@pytest.mark.parametrize(
    ("other", "changed", "kind"),
    [
        (13, {}, "the same row again"),
        (19, {}, "the same rows in two splits"),
        (13, {"label": "question"}, "the same inputs, another answer"),
    ],
)
def test_rows_that_say_the_same_are_found(other, changed, kind):
    (found,) = findings(repeated(1, other, **changed))
    assert (found.kind, found.column, found.rows) == (kind, "", [other])
    assert "the same" in found.notes[0].what and "row 1" in found.notes[0].what


def test_rows_that_are_the_same_by_chance_are_not():
    manifest = clean(price=["1.5", "2.5"] * 30)
    assert findings(manifest, {"price": Number(), "country": Category()}) == ()


def test_rows_of_missing_cells_are_not_twins():
    found = kinds(findings(read_table(clean().rows.assign(said="", price="", country=""))))
    assert {kind for kind, _ in found} == {"no cell at all", "nothing to learn from"}


def test_an_identifier_that_stands_twice_is_found():
    ids = [f"A{i}" for i in range(ROWS)]
    assert findings(clean(id=ids)) == ()
    ids[41] = "A7"
    (found,) = findings(clean(id=ids))
    assert (found.kind, found.column, found.rows) == ("an identifier twice", "id", [42])
    assert findings(clean(id=["A1", "A2"] * 30)) == ()


# Missing cells


def test_a_column_without_a_train_cell_cannot_be_learned():
    prices = [price if part == "test" else "" for price, part in zip(clean().rows["price"], SPLITS, strict=True)]
    (found,) = findings(clean(price=prices))
    assert (found.kind, found.column, found.is_error) == ("nothing to learn from", "price", True)


def test_cells_that_are_missing_in_one_split_are_found():
    split = ["train"] * 30 + ["test"] * 30
    prices = [price if i < 30 or i % 2 else "" for i, price in enumerate(clean().rows["price"])]
    assert ("unevenly missing", "price") in kinds(findings(clean(price=prices), split=split))


def test_missing_cells_that_tell_the_label_are_found():
    label = clean().rows["label"]
    prices = ["" if name == "praise" else price for name, price in zip(label, clean().rows["price"], strict=True)]
    (found,) = findings(clean(price=prices))
    assert found.notes[0].what == 'whether a cell is there tells "label" in 67% of the rows'


def test_a_group_of_most_rows_is_found():
    manifest = clean(who=["a"] * 31 + [str(i) for i in range(29)])
    (found,) = findings(manifest, group="who")
    assert (found.kind, found.column) == ("one group has most rows", "who")
    assert findings(clean(who=[str(i // 4) for i in range(ROWS)]), group="who") == ()


def test_no_file_is_opened(tmp_path):
    manifest = read_table(clean().rows.assign(photo=[f"{i}.png" for i in range(ROWS)]), tmp_path)
    assert findings(manifest, {"photo": Image(), "said": Text()}) == ()


def test_every_modality_surveys_its_own_examples(tmp_path):
    for name in ("category", "number", "text"):
        modality = find("modality", name)()
        survey = modality.survey(
            pd.Series([str(modality.example(seed)) for seed in range(9)], range(3, 12), dtype=object)
        )
        assert not survey.doubts and not survey.errors
