"""Tables as people write them: what is read, what is guessed, and each refusal with its words."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmkeras.contracts.config import Access
from mmkeras.contracts.registry import find, members
from mmkeras.table.manifest import (
    BadCell,
    Guess,
    Manifest,
    guess_columns,
    guess_split_column,
    media_cells,
    media_paths,
    missing_files,
    read_table,
    require_columns,
)
from mmkeras.table.paths import IS_ABSOLUTE, refused


class Files:
    """A kind of column whose cells name files."""

    def __init__(self, takes_folders=False):
        self.takes_folders = takes_folders

    def paths(self, value):
        return value.split(";")


STAMPS_MINI = Path(__file__).parents[3] / "shared/data/stamps-mini/manifest.csv"


def modalities():
    return {name: find("modality", name) for name in members("modality")}


def filled(cells):
    return pd.Series([cell for cell in cells if cell.strip()], name="cell", dtype=object)


def table(folder=None, **columns) -> Manifest:
    return read_table(pd.DataFrame(columns), folder)


def outside(manifest: Manifest) -> Manifest:
    return replace(manifest, access=Access(allow_outside=True))


def csv_file(folder: Path, content: str | bytes) -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refuses(message: str, error=ValueError):
    return pytest.raises(error, match=re.escape(message))


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_csv_is_read_as_written(tmp_path):
    manifest = read_table(csv_file(tmp_path, 'id,word,7\n01,NA,1.50\n02,null,\n\n03,"a ""b"",\nc",nan\n'))
    assert manifest.rows.columns.tolist() == ["id", "word", "7"]
    assert manifest.rows.values.tolist() == [["01", "NA", "1.50"], ["02", "null", ""], ["03", 'a "b",\nc', "nan"]]
    assert set(map(str, manifest.rows.dtypes)) == {"object"}
    assert manifest.rows.index.equals(pd.RangeIndex(3))
    assert (manifest.folder, manifest.name) == (tmp_path, "manifest.csv")


def test_a_csv_of_excel_with_bom_and_crlf(tmp_path):
    manifest = read_table(csv_file(tmp_path, b'\xef\xbb\xbf"id",text\r\n1,\xe5\x85\xac\xe9\xb8\xad\r\n'))
    assert manifest.rows.to_dict("list") == {"id": ["1"], "text": ["公鸭"]}


def test_a_cell_may_hold_megabytes(tmp_path):
    long = "word " * 600_000
    assert read_table(csv_file(tmp_path, f"text,label\n{long},a\n")).rows["text"][0] == long


def test_a_line_break_in_a_cell_may_fall_on_a_block_of_the_reader(tmp_path, monkeypatch):
    monkeypatch.setattr("mmkeras.table.manifest.CSV_BLOCK_BYTES", 24)
    rows = "".join(f'{i},"up\ndown"\n' for i in range(9))
    assert read_table(csv_file(tmp_path, "id,text\n" + rows)).rows["text"].tolist() == ["up\ndown"] * 9


def test_parquet_equals_its_dataframe(tmp_path):
    frame = pd.DataFrame({"text": ["a", None], "count": [1, 2]}, index=[7, 5])
    frame.to_parquet(tmp_path / "t.parquet")
    manifest = read_table(str(tmp_path / "t.parquet"))
    pd.testing.assert_frame_equal(manifest.rows, read_table(frame).rows)
    assert manifest.rows.values.tolist() == [["a", "1"], ["", "2"]]
    assert manifest.folder == tmp_path


def test_a_dataframe_becomes_strings_cell_by_cell():
    frame = pd.DataFrame(
        {
            "class": [1.0, np.nan, 3.0],
            "price": [0.5, 2.0, np.nan],
            "narrow": np.array([0.1, 1, 2], "float32"),
            "nullable": pd.array([4, None, 5], "Int64"),
            "day": pd.to_datetime(["2024-01-05", None, "2024-01-06"]),
            "mixed": ["x.0", 6.0, pd.NA],
            "file": [Path("a.jpg"), None, Path("b.jpg")],
            "kind": pd.Categorical(["u", None, "v"]),
            9: [True, False, True],
        },
        index=[3, 3, 1],
    )
    manifest = read_table(frame)
    assert manifest.rows.to_dict("list") == {
        "class": ["1", "", "3"],
        "price": ["0.5", "2", ""],
        "narrow": ["0.1", "1", "2"],
        "nullable": ["4", "", "5"],
        "day": ["2024-01-05 00:00:00", "", "2024-01-06 00:00:00"],
        "mixed": ["x.0", "6", ""],
        "file": ["a.jpg", "", "b.jpg"],
        "kind": ["u", "", "v"],
        "9": ["True", "False", "True"],
    }
    assert set(map(str, manifest.rows.dtypes)) == {"object"}
    assert (manifest.folder, manifest.name) == (Path.cwd(), "DataFrame")


def test_a_subset_of_a_dataframe_spells_its_classes_as_the_whole():
    frame = pd.DataFrame({"class": [1.0, 2.0, np.nan]})
    assert read_table(frame[:2]).rows["class"].tolist() == read_table(frame).rows["class"].tolist()[:2]


def test_the_folder_can_be_given(tmp_path):
    assert read_table(csv_file(tmp_path, "a,b\n1,2\n"), tmp_path / "media").folder == tmp_path / "media"


def test_a_missing_table_is_refused(tmp_path):
    with refuses("no such file; expected a .csv or .parquet table", FileNotFoundError):
        read_table(tmp_path / "none.csv")


def test_a_folder_is_refused(tmp_path):
    with refuses("is a folder; expected a .csv or .parquet table"):
        read_table(tmp_path)


def test_an_unknown_ending_is_refused(tmp_path):
    (tmp_path / "t.xlsx").write_text("a")
    with refuses('t.xlsx: unknown ending ".xlsx"; expected a .csv or .parquet table'):
        read_table(tmp_path / "t.xlsx")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
    with refuses("t.parquet: is not a readable Parquet file: "):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "manifest.csv: Empty CSV file; expected a CSV table"),
        ("a,b\n", "manifest.csv: the table has no rows; expected a header and at least one row below it"),
        ("a,b,a\n1,2,3\n", 'manifest.csv: the column name "a" stands twice; give each column its own name'),
        ("a;b\n1;2\n", "manifest.csv: got the header 'a;b', expected commas between columns"),
        ("a,b\n1,2\n\n3\n", "manifest.csv row 2: got 1 cells, expected 2 as in the header; put a cell that holds a"),
        ("a,b\n1,2\n3,4,5\n", "manifest.csv row 2: got 3 cells, expected 2 as in the header; put a cell that holds a"),
        (b"a,b\n1,2\n3,caf\xe9\n", "manifest.csv line 3: got byte 0xe9 at position 6, expected UTF-8 text; save the"),
        (b"a,caf\xe9\n1,2\n", "manifest.csv line 1: got byte 0xe9 at position 6, expected UTF-8 text; save the"),
        ('a,b\n1,2\n3,"x\n4,y\n', 'manifest.csv: the cell that begins with "x is never closed; add its closing quote'),
    ],
)
def test_a_faulty_csv_is_refused_in_one_line(tmp_path, content, message):
    with refuses(message) as caught:
        read_table(csv_file(tmp_path, content))
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_dataframe_is_refused():
    with refuses("DataFrame: the table has no rows"):
        table(a=[])


def test_twin_column_names_of_a_dataframe_are_refused():
    with refuses('DataFrame: the column name "1" stands twice'):
        read_table(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_bytes_in_a_cell_are_refused():
    with refuses('DataFrame row 2, column "photo": got bytes, expected text, a number or a path; write the data to a'):
        table(photo=["a.jpg", b"\xff\xd8"])


# ── Columns and their types ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_column_names_the_nearest():
    manifest = table(id=["1"], question=["q"], photo=["p"])
    require_columns(manifest, ["photo", "id"])
    with refuses('DataFrame: no column "foto"; did you mean "photo"? (id, question, photo)'):
        require_columns(manifest, ["id", "foto"])


def test_a_wide_table_shows_its_first_columns():
    with refuses('no column "xyz" (c0, c1, c2, c3, c4, c5, c6, c7, …)'):
        require_columns(table(**{f"c{i}": ["v"] for i in range(9)}), ["xyz"])


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


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_media_paths_join_relative_cells_to_the_folder(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/b.jpg", "c.jpg", "d.jpg"):
        (tmp_path / name).write_bytes(b"x")
    manifest = table(tmp_path, photo=["a/b.jpg", " ", "", f"{tmp_path}/c.jpg", " d.jpg "])
    expected = [f"{tmp_path}/a/b.jpg", "", "", f"{tmp_path}/c.jpg", f"{tmp_path}/d.jpg"]
    assert media_cells(outside(manifest), "photo", Files()).tolist() == expected
    assert media_cells(manifest, "photo", Files()).tolist() == [
        expected[0], "", "", refused(f"{tmp_path}/c.jpg", IS_ABSOLUTE), expected[4],
    ]  # fmt: skip


def test_a_cell_may_name_several_files_or_none(tmp_path):
    class Numbers(Files):
        def paths(self, value):
            return [] if value[0].isdigit() else super().paths(value)

    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    manifest = table(tmp_path, photo=["a.jpg;b.jpg", "", " 1 2;3", "a.jpg;none.jpg"])
    paths = [f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]
    assert media_cells(manifest, "photo", Numbers())[:3].tolist() == [";".join(paths), "", "1 2;3"]
    found = media_paths(manifest, "photo", Numbers())
    assert found.index.tolist() == [0, 0]
    assert found.tolist() == paths


def test_of_several_files_the_first_bad_one_is_named(tmp_path):
    (tmp_path / "good.jpg").write_bytes(b"x")
    manifest = table(tmp_path, photo=["good.jpg;none.jpg;nothing.jpg", "good.jpg;good.jpg"])
    assert missing_files(manifest, {"photo": Files()}) == [BadCell(1, "photo", f"{tmp_path}/none.jpg", "no such file")]


def test_a_folder_is_fine_where_it_may_be_one(tmp_path):
    (tmp_path / "frames").mkdir()
    manifest = table(tmp_path, photo=["frames"])
    assert [cell.reason for cell in missing_files(manifest, {"photo": Files()})] == ["is a folder"]
    assert missing_files(manifest, {"photo": Files(takes_folders=True)}) == []


def test_missing_files_names_each_cell_and_its_fault(tmp_path):
    (tmp_path / "good.jpg").write_bytes(b"x")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "one.jpg").symlink_to("two.jpg")
    (tmp_path / "two.jpg").symlink_to("one.jpg")
    os.mkfifo(tmp_path / "pipe")
    manifest = table(
        tmp_path,
        photo=["good.jpg", "", "none.jpg", "folder", "empty.jpg", "one.jpg", "good.jpg/x"],
        voice=["none.jpg", "good.jpg", "", "", "pipe", "a\0b", "x" * 300],
    )
    bad = missing_files(manifest, {"photo": Files(), "voice": Files()})
    assert bad[0] == BadCell(1, "voice", f"{tmp_path}/none.jpg", "no such file")
    assert [(cell.row, cell.column, cell.reason) for cell in bad[1:]] == [
        (3, "photo", "no such file"),
        (4, "photo", "is a folder"),
        (5, "photo", "is empty (0 bytes)"),
        (5, "voice", "is a pipe, not a file"),
        (6, "photo", "is a loop of symbolic links"),
        (6, "voice", "holds a null byte, which no path can"),
        (7, "photo", "no such file"),
        (7, "voice", "has a name that is too long"),
    ]


def test_a_file_is_looked_at_once(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"x")
    manifest = table(tmp_path, photo=["a.jpg"] * 5, other=["a.jpg"] * 5)
    looked, lstat = [], os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **options: looked.append(path) or lstat(path, **options))
    assert missing_files(manifest, {"photo": Files(), "other": Files()}) == []
    assert looked.count(f"{tmp_path}/a.jpg") == 1


def test_the_module_imports_neither_tensorflow_nor_keras():
    code = "import sys, mmkeras.table.manifest; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
