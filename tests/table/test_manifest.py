"""Tables as people write them: what is read, and each refusal with its words."""

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
from mmkeras.table.manifest import (
    BadCell,
    Manifest,
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
