"""Addresses: only configured filesystems are opened, files come here while they are read, changes are noticed.

fsspec's own `memory` and `dir` stand for filesystems behind a network.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures_sizes import READS, Size

from mmkeras.contracts.config import Access, parse_config
from mmkeras.features.columns import Features, prepare, table_cells
from mmkeras.table import remote
from mmkeras.table.manifest import BadCell, media_paths, missing_files, read_table
from mmkeras.table.paths import read_cell
from mmkeras.table.remote import check, copies, look, scheme_of, state
from mmkeras.table.splits import leaks

fsspec = pytest.importorskip("fsspec")


class Several(Size):
    """Reads all of a cell's files."""

    def paths(self, value):
        return value.split(";")

    def read(self, value):
        return b"".join(super(Several, self).read(path) for path in self.paths(value))


@pytest.fixture
def memory():
    """An empty filesystem in memory, of this test's own."""
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe({"/box/a.bin": b"four", "/box/b.bin": b"sixsix", "/box/empty.bin": b""})
    yield filesystem
    filesystem.rm("/", recursive=True)


def table(*cells: str, folder: Path | None = None, **filesystems):
    return read_table(pd.DataFrame({"a": cells}), folder, Access(filesystems=filesystems))


def test_schemes():
    assert [scheme_of(path) for path in ("s3://b/k", "GS://b", "memory://x", "git+ssh://h/x")] == [
        "s3", "gs", "memory", "git+ssh",
    ]  # fmt: skip
    assert [scheme_of(path) for path in ("a/b.jpg", "/a:b", "C:\\a", "C:/a", "a::b", "", "x://")] == [""] * 7


def test_a_filesystem_that_is_not_configured_is_never_opened(monkeypatch):
    monkeypatch.setattr(remote, "_filesystem", lambda *given: pytest.fail(f"opened {given}"))
    addresses = [
        "http://example.org/a.png",
        "s3://bucket/a.png",
        "gs://b/a",
        "memory://box/a.bin",
        "file:///etc/passwd",
    ]
    faults = look(addresses, {})
    assert faults["s3://bucket/a.png"] == "is on another filesystem, s3; set filesystems.s3={} to allow it"
    assert all(f"set filesystems.{scheme_of(address)}={{}}" in faults[address] for address in addresses)
    cells = missing_files(table(*addresses), {"a": Size()})
    assert [cell.path for cell in cells] == addresses
    assert {cell.reason for cell in cells} == set(faults.values())


def test_what_the_message_says_to_set_allows_it(memory):
    config = parse_config({
        "columns": {"a": {"type": "text"}}, "targets": {"b": {"type": "classification"}}, "filesystems": {"memory": {}},
    })  # fmt: skip
    assert config.access == Access(filesystems={"memory": {}})
    assert look(["memory://box/a.bin"], config.access.filesystems) == {"memory://box/a.bin": ""}


def test_faults_of_addresses(memory):
    faults = look([f"memory://box/{name}" for name in ("a.bin", "none.bin", "empty.bin", "")], {"memory": {}})
    assert list(faults.values()) == ["", "no such file", "is empty (0 bytes)", "is a folder"]
    chained = "memory://x::memory://box/a.bin"
    assert "chains filesystems" in look([chained], {"memory": {}})[chained]


def test_a_filesystem_that_does_not_answer_is_a_fault(memory, monkeypatch):
    def unreachable(path):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(memory, "info", unreachable)
    assert look(["memory://box/a.bin"], {"memory": {}}) == {"memory://box/a.bin": "cannot be reached: no route to host"}


def test_modalities_see_local_copies_that_are_gone_afterwards(memory):
    manifest = table("memory://box/a.bin", "memory://box/a.bin", "memory://box/none.bin", "", memory={})
    cells = table_cells(manifest, {"a": Size()})
    READS.clear()
    features = Features({"a": prepare(Size(), cells["a"], "memory")})
    assert features.columns["a"].rows(np.arange(4))["present"].tolist() == [1, 1, 0, 0]
    assert features.columns["a"].rows(np.arange(2))["x"][:, 0].tolist() == [4, 4]
    assert features.bad_cells(cells) == [BadCell(3, "a", "memory://box/none.bin", "no such file")]
    (path,) = READS
    assert path.endswith("/a.bin")
    assert not Path(path).exists()


def test_addresses_and_paths_in_one_cell(memory, tmp_path):
    (tmp_path / "c").write_bytes(b"cc")
    manifest = table("memory://box/b.bin;c;memory://box/a.bin", folder=tmp_path, memory={})
    (cell,) = table_cells(manifest, {"a": Several()})["a"]
    assert cell == f"memory://box/b.bin;{tmp_path}/c;memory://box/a.bin"
    assert read_cell(Several(), cell) == b"sixsixccfour"


def test_a_folder_behind_a_filesystem(tmp_path):
    (tmp_path / "k.bin").write_bytes(b"seven77")
    options = {"path": str(tmp_path), "target_protocol": "file"}
    (cell,) = table_cells(table("dir://k.bin", dir=options), {"a": Size()})["a"]
    assert read_cell(Size(), cell) == b"seven77"


def test_a_message_names_the_address_not_its_copy(memory):
    class Reading(Size):
        def read(self, value):
            raise ValueError(f"{value} is odd")

    assert look(["memory://box/a.bin"], {"memory": {}})["memory://box/a.bin"] == ""
    with pytest.raises(ValueError, match=r"^memory://box/a\.bin is odd$"):
        read_cell(Reading(), "memory://box/a.bin")


def test_a_file_that_is_gone_meanwhile_is_a_bad_cell(memory):
    cells = table_cells(table("memory://box/a.bin", memory={}), {"a": Size()})
    memory.rm("/box/a.bin")
    features = Features({"a": prepare(Size(), cells["a"], "memory")})
    (bad,) = features.bad_cells(cells)
    assert bad.reason.startswith("cannot be fetched: ")


def test_the_cache_knows_a_file_by_its_state_and_fetches_it_once(memory, cache):
    def kept():
        cells = table_cells(table("memory://box/a.bin", memory={}), {"a": Size()})
        return prepare(Size(), cells["a"], "disk").arrays["x"][0, 0], sum(READS.values())

    assert kept() == (4, 1)
    assert kept() == (4, 1)
    before = state("memory://box/a.bin")
    memory.pipe("/box/a.bin", b"eight888")
    assert kept() == (8, 2)
    assert state("memory://box/a.bin") != before
    assert state("memory://box/never") == b"unreadable"


def test_names_that_no_local_file_can_have(memory):
    memory.pipe(f"/box/{'ü;' * 200}x.png", b"x")
    address = f"memory://box/{'ü;' * 200}x.png"
    assert look([address], {"memory": {}}) == {address: ""}
    with copies([address]) as (path,):
        assert Path(path).read_bytes() == b"x"
        assert path.endswith("x.png")
        assert ";" not in path


def test_an_address_in_two_splits_is_a_leak(memory):
    manifest = table("memory://box/a.bin", "memory://box/b.bin", "memory://box/a.bin", memory={})
    assert media_paths(manifest, "a", Size()).tolist() == manifest.rows["a"].tolist()
    (leak,) = leaks(manifest, pd.Series(["train", "train", "test"]), group=None, media={"a": Size()})
    assert str(leak) == "file memory://box/a.bin stands in train and test (rows 1, 3)"


# What is not installed or not understood


def test_fsspec_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match=r'filesystems: fsspec is not installed: pip install "mmkeras\[remote\]"'):
        check({"memory": {}})
    check({})


def test_a_filesystem_whose_package_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"filesystems\.s3: Install s3fs"):
        check({"s3": {"anon": True}})


def test_options_and_schemes_that_are_wrong():
    with pytest.raises(ValueError, match=r"filesystems\.s33: Protocol not known: s33; expected storage options"):
        check({"s33": {}})
    with pytest.raises(ValueError, match=r"filesystems\.dir: .*; expected storage options of fsspec"):
        check({"dir": {}})
