"""Columns as people write them: what each is taken for, and why."""

from pathlib import Path

import pandas as pd
import pytest

from mmkeras.contracts.registry import find, members
from mmkeras.table.column_guess import Guess, guess_columns, guess_split_column
from mmkeras.table.manifest import Manifest, read_table

STAMPS_MINI = Path(__file__).parents[3] / "shared/data/stamps-mini/manifest.csv"


def modalities():
    return {name: find("modality", name) for name in members("modality")}


def filled(cells):
    return pd.Series([cell for cell in cells if cell.strip()], name="cell", dtype=object)


def table(folder=None, **columns) -> Manifest:
    return read_table(pd.DataFrame(columns), folder)


def test_the_guess_over_stamps_mini():
    if not STAMPS_MINI.exists():
        pytest.skip(f"no stamps-mini: {STAMPS_MINI} is absent, so the guess is not checked on real input")
    guesses = guess_columns(read_table(STAMPS_MINI), "category", modalities())
    path_like = "path-like strings that name no file: would spell the label?"
    found = {guess.column: (guess.type, guess.reason) for guess in guesses}
    assert {column: type_ for column, (type_, _) in found.items()} == {
        "id": None, "stamp": None, "group": None, "language": "category", "text": "text", "image": "image",
        "audio": "audio", "effect": "audio", "width": "number", "height": "number", "split": None,
    }  # fmt: skip
    assert found["id"][1] == "unique in every row: an identifier"
    assert found["stamp"][1] == found["group"][1] == path_like
    assert found["language"][1] == "4 different values"
    assert found["split"][1] == "train, valid or test: the split of each row"


UNIQUE = "unique in every row: an identifier"


@pytest.mark.parametrize(
    ("cells", "type_", "reason"),
    [
        (["", " ", "", "", "", ""], None, "no cell is filled"),
        (["en"] * 6, None, 'one value only: "en"'),
        (["en", "", "en", ""], None, 'one value only: "en"'),
        # Numbers
        (["0.1", "0.2", "0.3", "4", "5", "6"], "number", "numbers from 0.1 to 6"),
        (["12", "12", "7", "7", "1e3", ""], "number", "numbers from 7 to 1000"),
        (["250,000", "180,500", "1,250,000", "99,999"], "number", "numbers from 99999 to 1250000"),
        (["41", "NA", "23", "?", "18", "67"], "number", "numbers from 18 to 67 in 67% of the cells"),
        (["300", "20", "1000", "7", "50", "999"], "number", "numbers from 7 to 1000"),  # unique, but no numbering
        (["1", "2", "3", "4", "5", "6"] * 3, "number", "numbers from 1 to 6"),
        (["2019", "2020", "2021"] * 6, "number", "numbers from 2019 to 2021"),
        (["-0.5", "0.5"] * 9, "number", "numbers from -0.5 to 0.5"),
        # Identifiers
        (["1", "2", "3", "4", "5", "6"], None, UNIQUE),
        (["3", "1", "6", "2", "4", "5"], None, UNIQUE),
        (["10", "20", "50", "80", "90", "1000"], None, UNIQUE),
        (["4915112345678", "4915187654321", "4915100000001"], None, UNIQUE),
        (["C17", "C04", "C99"], None, UNIQUE),
        (["a@x.com", "b@y.org", "c@z.net"], None, UNIQUE),
        ([f"C{i // 3}" for i in range(60)], None, '20 numbered names in 60 rows ("C0"): an identifier that repeats?'),
        # Categories
        (["en", "fr", "en", "fr", "en", "fr"], "category", "2 different values"),
        (["1", "0"] * 5, "category", "2 different values, codes or grades"),
        (["True", "False"] * 5, "category", "2 different values"),
        (["1", "2", "3", "4", "5"] * 5, "category", "5 different values, codes or grades"),
        (["01", "07", "31"] * 3, "category", "3 different values, codes or grades"),
        (["NA", "Grvl", "Pave"] * 3, "category", "3 different values"),
        ([" 36 months", " 60 months"] * 3, "category", "2 different values"),
        ([f"Q{i % 4}" for i in range(40)], "category", "4 different values"),
        (["lamp", "lamp", "sofa", "sofa", "rug", "rugs"], None, "4 different values in 6 rows: neither repeated nor"),
        # Dates, quantities, paths
        (["2024-01-05", "2024-01-06", "2023-11-30"], None, "dates or times; to use them, add columns of numbers"),
        (["2024-01-05 00:00:00", "2024-01-06 12:30:00"] * 9, None, "dates or times"),
        (["1/31/2015", "12/1/2015", "3.4.15"], None, "dates or times"),
        (["Jan 3, 2021", "3 March 2020", "May 2019"], None, "dates or times"),
        (["12:30", "07:05", "23:59:59"], None, "dates or times"),
        (
            [f"${i * 100}" for i in range(12)],
            None,
            'numbers with a sign or unit ("$0"); to use them, write the numbers',
        ),
        ([f"{i}.5 kg" for i in range(12)], None, 'numbers with a sign or unit ("0.5 kg")'),
        (["a/b", "a/b", "c/d", "c/d", "x\\y", "x/y"] * 3, None, "path-like strings that name no file"),
        # Text and files
        (["公鸭。", "雄鹅。", "红花。", "大河。", "小山。", "石头。"], "text", "100% of the cells hold several words"),
        (["where is my red lamp", "the sofa came broken"] * 3, "text", "100% of the cells hold several words"),
        (["a.jpg"] * 5 + [""], "image", "100% of the cells end as picture files do"),
        (["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg"], "image", "100% of the cells end as picture"),
        (["1.ogg", "2.ogg", "1.ogg"], "audio", "100% of the cells end as sound files do"),
    ],
)
def test_the_guess_of_one_column(cells, type_, reason):
    (guess,) = guess_columns(table(cell=cells, label=["x"] * len(cells)), "label", modalities())
    assert guess == Guess("cell", type_, guess.reason)
    assert guess.reason.startswith(reason)
    claims = [name for name, modality in modalities().items() if modality.claims(filled(cells))]
    assert type_ is None or claims == [type_], "which modality is asked first does not matter"


@pytest.mark.parametrize(
    ("column", "cells", "type_"),
    [
        ("user_id", ["100", "350", "470", "100"] * 9 + ["77"], "category"),
        ("user_id", [str(i * i) for i in range(30)] * 2, None),
        ("visits", [str(i * i) for i in range(30)] * 2, "number"),
        ("PassengerId", ["300", "20", "1000", "7", "50", "999"], None),
        ("paid", ["300", "20", "1000", "7", "50", "999"], "number"),
        ("zip_code", ["98001", "98002", "98003", "98004", "98005", "98006"] * 3, "category"),
        ("area", ["98001", "98002", "98003", "98004", "98005", "98006"] * 3, "number"),
    ],
)
def test_a_columns_name_counts(column, cells, type_):
    (guess,) = guess_columns(table(**{column: cells}, label=["x"] * len(cells)), "label", modalities())
    assert guess.type == type_


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_the_columns_of_measurements_are_numbers(name):
    from sklearn import datasets

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    guesses = guess_columns(read_table(frame), "target", modalities())
    assert len(guesses) == frame.shape[1] - 1
    assert {guess.type for guess in guesses} == {"number"}


def test_files_without_an_ending_are_offered_to_the_modalities(tmp_path):
    class Anything:
        claims = classmethod(lambda cls, values: "all cells")

    (tmp_path / "clip").write_bytes(b"RIFF")
    manifest = table(tmp_path, sound=["clip", "clip"], label=["x", "y"])
    assert guess_columns(manifest, "label", {"audio": Anything}) == [Guess("sound", "audio", "all cells")]


def test_modalities_see_a_sample_of_the_filled_cells():
    seen = []

    class Counter:
        claims = classmethod(lambda cls, values: seen.extend(values))

    cells = [f"some words {i}" for i in range(25_001)]
    guess_columns(table(text=[*cells, "", " "], label="x"), "label", {"text": Counter})
    assert seen == cells[::3]


def test_target_and_excluded_columns_get_no_guess():
    assert guess_columns(table(a=["u"], b=["v"], label=["x"]), "label", modalities(), exclude=["a", "b"]) == []


def test_the_split_column_is_found_by_name_and_values():
    assert guess_split_column(table(text=["train"], Subset=["Train "])) == "Subset"
    assert guess_split_column(table(split=["train", "dev", "", "TEST"])) == "split"
    assert guess_split_column(table(fold=["0", "1"], split=["a lot", "train"])) is None
