"""Which paths of a table may be read: each kind that may not is refused, by its name alone or by one look."""

import os
import socket
from pathlib import Path

import pandas as pd
import pytest

from mmkeras.contracts.config import Access
from mmkeras.table import paths as module
from mmkeras.table.manifest import Manifest, media_cells, read_table
from mmkeras.table.paths import IS_ABSOLUTE, LEAVES, REFUSED, Gate, read_cell, refusal, refused, shown


@pytest.fixture
def folder(tmp_path) -> Path:
    """A table's folder with one file, and a file beside it."""
    (tmp_path / "table" / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for path in ("table/a.jpg", "table/sub/b.jpg", "outside/c.jpg"):
        (tmp_path / path).write_bytes(b"x")
    return tmp_path / "table"


def fault(folder: Path, path: str, takes_folders: bool = False, **access) -> str:
    return Gate(folder, Access(**access)).fault(path, takes_folders)


@pytest.mark.parametrize(
    "path", ["a.jpg", "./a.jpg", "sub/b.jpg", "sub/../a.jpg", "sub/../sub/b.jpg", "../table/a.jpg"]
)
def test_paths_inside_may_be_read(folder, path):
    assert fault(folder, path) == ""


@pytest.mark.parametrize("path", ["../outside/c.jpg", "sub/../../outside/c.jpg", "../outside/none.jpg", "../tablet"])
def test_paths_that_leave_the_folder_need_leave(folder, path):
    assert fault(folder, path) == LEAVES
    assert fault(folder, path, allow_outside=True) == ("" if path.endswith("c.jpg") else "no such file")


def test_absolute_paths_need_leave_wherever_they_lead(folder):
    for path in (folder / "a.jpg", folder.parent / "outside/c.jpg"):
        assert fault(folder, str(path)) == IS_ABSOLUTE
        assert fault(folder, str(path), allow_outside=True) == ""


def test_links_may_lead_within_the_folder_only(folder):
    (folder / "inner.jpg").symlink_to("sub/b.jpg")
    (folder / "outer.jpg").symlink_to("../outside/c.jpg")
    (folder / "sub" / "out").symlink_to(folder.parent / "outside")
    (folder / "back").symlink_to(folder / "sub")
    assert [fault(folder, path) for path in ("inner.jpg", "back/b.jpg")] == ["", ""]
    assert [fault(folder, path) for path in ("outer.jpg", "sub/out/c.jpg")] == [LEAVES, LEAVES]
    assert fault(folder, "outer.jpg", allow_outside=True) == ""
    assert fault(folder, "sub/out", takes_folders=True) == LEAVES


def test_a_table_behind_a_link_keeps_its_own_files(folder):
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert fault(link, "sub/b.jpg") == ""
    assert fault(link, "../outside/c.jpg") == LEAVES


def test_a_folder_with_the_same_beginning_is_another_one(folder):
    folder.with_name("table2").mkdir()
    folder.with_name("table2").joinpath("a.jpg").write_bytes(b"x")
    assert fault(folder, "../table2/a.jpg") == LEAVES


def test_what_is_no_file_is_refused_without_being_opened(folder):
    os.mkfifo(folder / "pipe.jpg")  # whoever opened it would wait forever
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "one.jpg").symlink_to("two.jpg")
    (folder / "two.jpg").symlink_to("one.jpg")
    (folder / "to_pipe.jpg").symlink_to("pipe.jpg")
    (folder / "nowhere.jpg").symlink_to("none.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(folder, os.O_RDONLY)
        try:  # an address of a socket has at most 108 bytes
            server.bind(f"/proc/self/fd/{here}/socket.jpg")
        finally:
            os.close(here)
        assert fault(folder, "socket.jpg") == "is a socket, not a file"
    assert fault(folder, "pipe.jpg") == fault(folder, "to_pipe.jpg") == "is a pipe, not a file"
    assert fault(folder, "/dev/zero", allow_outside=True) == "is a device, not a file"
    assert fault(folder, "empty.jpg") == "is empty (0 bytes)"
    assert fault(folder, "one.jpg") == "is a loop of symbolic links"
    assert fault(folder, "nowhere.jpg") == fault(folder, "a.jpg/b.jpg") == fault(folder, "none.jpg") == "no such file"
    assert fault(folder, "sub") == fault(folder, ".") == "is a folder"


def test_folders_are_taken_with_what_lies_in_them(folder):
    assert fault(folder, "sub", takes_folders=True) == fault(folder, "sub/", takes_folders=True) == ""
    assert fault(folder, "..", takes_folders=True) == LEAVES
    (folder / "sub" / "none.jpg").symlink_to("nothing")
    assert fault(folder, "sub", takes_folders=True) == ""
    (folder / "sub" / "c.jpg").symlink_to("../../outside/c.jpg")
    assert fault(folder, "sub", takes_folders=True) == f'holds "c.jpg", which {LEAVES}'
    assert fault(folder, "sub", takes_folders=True, allow_outside=True) == ""
    (folder / "sub" / "c.jpg").unlink()
    os.mkfifo(folder / "sub" / "d.jpg")
    assert fault(folder, "sub", takes_folders=True) == 'holds "d.jpg", which is a pipe, not a file'


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a\0.jpg", "holds a null byte, which no path can"),
        ("x" * 300, "has a name that is too long"),
        ("x/" * 3000, "has a name that is too long"),
        ("sub\\b.jpg", 'no such file; write "/" in place of "\\"'),
        ("C:\\photos\\b.jpg", 'no such file; write "/" in place of "\\"'),
        ("data:image/png;base64,AAAA", "no such file"),
        ("a.jpg\ud800", "is not a path"),
    ],
)
def test_odd_paths_say_what_is_odd(folder, path, reason):
    assert fault(folder, path).startswith(reason)


def test_a_name_with_a_backslash_may_be_read_where_there_is_one(folder):
    (folder / "sub\\b.jpg").write_bytes(b"x")
    assert fault(folder, "sub\\b.jpg") == ""


def test_many_files_of_few_folders_cost_one_look_each(folder, monkeypatch):
    for i in range(50):
        (folder / f"{i}.jpg").write_bytes(b"x")
        (folder / "sub" / f"{i}.jpg").write_bytes(b"x")
    resolved, looked, realpath, lstat = [], [], os.path.realpath, os.lstat
    monkeypatch.setattr(module.os.path, "realpath", lambda path: resolved.append(path) or realpath(path))
    names = [f"{place}{i}.jpg" for place in ("", "sub/") for i in range(50)]
    gate = Gate(folder, Access())
    for name in names:
        gate.fault(name, False)
    assert len(resolved) == 3  # the root and two folders
    monkeypatch.setattr(os, "lstat", lambda path, **options: looked.append(path) or lstat(path, **options))
    assert [gate.fault(name, False) for name in names] == [""] * 100
    assert looked == []  # each path is known by now


# Cells that must not be read


class Texts:
    from_file, takes_folders = False, False

    def paths(self, value):
        return []

    def read(self, value):
        return value


class Files(Texts):
    from_file = True

    def paths(self, value):
        return [value]

    def read(self, value):
        return Path(value).read_bytes()


def test_a_refused_cell_keeps_its_path_and_reason():
    cell = refused("/x/a;b\0.jpg", "is a folder; mend it")
    assert refusal(cell) == ("/x/a;b\\0.jpg", "is a folder; mend it")
    assert shown(cell) == "/x/a;b\\0.jpg"
    assert refusal("/x/a.jpg") is None
    assert shown("/x/a.jpg") == "/x/a.jpg"


def test_a_refused_cell_is_not_read(folder):
    read = Files().read
    manifest = read_table(pd.DataFrame({"photo": ["../outside/c.jpg", "a.jpg"]}), folder)
    outer, inner = media_cells(manifest, "photo", Files())
    assert read_cell(Files(), inner) == read(str(folder / "a.jpg")) == b"x"
    with pytest.raises(ValueError, match="leaves the table's folder; set allow_outside=true to allow it"):
        read_cell(Files(), outer)


def test_texts_may_begin_as_they_like():
    assert read_cell(Texts(), f"{REFUSED}a{REFUSED}b") == f"{REFUSED}a{REFUSED}b"


def test_a_table_allows_nothing_unless_told():
    assert Manifest(None, None, "rows").access == Access(allow_outside=False, filesystems={})
