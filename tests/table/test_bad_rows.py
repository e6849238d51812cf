"""What is done with cells that cannot be used: refused before training, counted as missing, or their rows left out."""

import numpy as np
import pandas as pd
import pytest
import yaml

from mmkeras.table import bad_rows
from mmkeras.table.bad_rows import check_in_use, counts, in_use, refuse, summary, without, write
from mmkeras.table.manifest import BadCell, Manifest
from mmkeras.train import train

CELLS = [
    BadCell(2, "image", "/data/a,b.jpg", "no such file"),
    BadCell(2, "audio", "/data/a.wav", "is empty (0 bytes)"),
    BadCell(5, "image", "/elsewhere/c.jpg", 'holds "x"'),
]
SPLIT = pd.Series(["train", "train", "train", "valid", "test"])


@pytest.fixture
def manifest(tmp_path):
    return Manifest(pd.DataFrame({"a": list("uvwxy")}), tmp_path.__class__("/data"), "table.csv")


def test_cells_are_written_with_what_is_done(tmp_path):
    write(tmp_path, CELLS, "drop")
    found = pd.read_csv(tmp_path / bad_rows.FILE)
    assert found.columns.tolist() == ["row", "column", "path", "reason", "done"]
    assert found.loc[0].tolist() == [2, "image", "/data/a,b.jpg", "no such file", "row left out"]
    write(tmp_path, CELLS, "missing")
    assert set(pd.read_csv(tmp_path / bad_rows.FILE)["done"]) == {"counted as missing"}


def test_rows_are_left_out_only_if_the_policy_drops_them(tmp_path):
    write(tmp_path, CELLS, "drop")
    assert in_use(SPLIT, tmp_path).tolist() == ["train", "unused", "train", "valid", "unused"]
    assert without(SPLIT, CELLS[:2]).tolist() == ["train", "unused", "train", "valid", "test"]
    assert SPLIT.tolist() == ["train", "train", "train", "valid", "test"]
    for cells, policy in ((CELLS, "missing"), ([], "drop")):
        write(tmp_path, cells, policy)
        assert in_use(SPLIT, tmp_path).tolist() == SPLIT.tolist()


def test_counts_and_their_line(tmp_path):
    write(tmp_path, CELLS, "missing")
    found = counts(tmp_path, "missing")
    assert found == {"policy": "missing", "cells": 3, "rows": 2, "columns": {"image": 2, "audio": 1}}
    names = f"audio 1, image 2; {tmp_path}/bad_rows.csv names them"
    assert summary(found, tmp_path) == f"3 bad cells in 2 rows counted as missing: {names}"
    assert summary({**found, "policy": "drop"}, tmp_path) == f"2 rows with 3 bad cells left out: {names}"
    write(tmp_path, [], "drop")
    assert counts(tmp_path, "drop") == {"policy": "drop", "cells": 0, "rows": 0, "columns": {}}


def test_a_split_that_has_no_rows_left_is_refused(tmp_path, manifest):
    check_in_use(SPLIT, without(SPLIT, CELLS[:2]), manifest, tmp_path)
    with pytest.raises(ValueError, match=r"table\.csv: each row of the split test has a bad cell and is left out"):
        check_in_use(SPLIT, without(SPLIT, CELLS), manifest, tmp_path)
    no_test = SPLIT.replace("test", "train")
    check_in_use(no_test, without(no_test, CELLS), manifest, tmp_path)


def test_one_cell_is_refused_in_one_line(manifest):
    with pytest.raises(ValueError) as caught:
        refuse(CELLS[:1], "error", manifest, None)
    assert str(caught.value) == (
        'table.csv row 2, column "image": a,b.jpg: no such file '
        "(policy: error; set on_bad_file=missing to train without it, or drop to leave its row out)"
    )


def test_of_many_cells_the_first_are_told_and_all_are_written(tmp_path, manifest):
    cells = [*CELLS, *(BadCell(row, "audio", f"/data/{row}.wav", "no such file") for row in range(10, 19))]
    with pytest.raises(ValueError) as caught:
        refuse(cells, "error", manifest, tmp_path / "run")
    first, *places = str(caught.value).splitlines()
    assert first.startswith("table.csv: 12 cells in 11 rows cannot be used (policy: error; set on_bad_file=missing")
    assert first.endswith(f"; {tmp_path}/run/bad_rows.csv names them all")
    assert places[2] == '  row 5, column "image": /elsewhere/c.jpg: holds "x"'
    assert len(places) == 6
    assert places[-1] == "  and 7 more"
    assert len(pd.read_csv(tmp_path / "run" / "bad_rows.csv")) == 12


def test_where_nothing_can_be_written_the_error_is_the_same(tmp_path, manifest):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be used") as caught:
        refuse(CELLS, "error", manifest, tmp_path / "file")
    assert "bad_rows.csv" not in str(caught.value)


@pytest.mark.parametrize("policy", ["missing", "drop"])
def test_other_policies_refuse_nothing(manifest, policy):
    refuse(CELLS, policy, manifest, None)
    refuse([], "error", manifest, None)


# Trainings


@pytest.fixture
def config(tmp_path):
    """60 rows of a number and a word; four numbers are no numbers, and one class stands in a test row only."""
    grade = np.arange(60) % 3
    rows = pd.DataFrame({
        "size": [str(value) for value in grade + np.linspace(0, 0.5, 60)],
        "colour": np.take(["red", "blue", "green"], grade),
        "grade": np.take(["low", "mid", "top"], grade),
        "part": ["train"] * 40 + ["valid"] * 10 + ["test"] * 10,
    })  # fmt: skip
    rows.loc[[0, 1, 45, 59], "size"] = ["12 px", "inf", "1e999", "tall"]
    rows.loc[58, "grade"] = "giant"
    rows.to_csv(tmp_path / "table.csv", index=False)
    config = {
        "manifest": "table.csv",
        "columns": {"size": {"type": "number"}, "colour": {"type": "category"}},
        "fusion": {"type": "concat", "units": [7]},
        "targets": {"grade": {"type": "classification"}},
        "split": {"column": "part"},
        "train": {"epochs": 1, "batch_size": 8},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "config.yaml"


def places(run) -> list[list]:
    return pd.read_csv(run.folder / "bad_rows.csv")[["row", "column", "path"]].to_numpy().tolist()


def test_dropped_rows_take_no_part(config, tmp_path, capsys):
    run = train(str(config), ["on_bad_file=drop"], run=tmp_path / "run")
    assert places(run) == [
        [1, "size", "12 px"], [2, "size", "inf"], [46, "size", "1e999"], [59, "grade", "giant"], [60, "size", "tall"],
    ]  # fmt: skip
    assert np.flatnonzero(run.splits == "unused").tolist() == [0, 1, 45, 58, 59]
    line = "5 rows with 5 bad cells left out: grade 1, size 4; "
    assert capsys.readouterr().out.count(line) == 2  # when it is found out, and at the end
    assert run.metrics["bad_cells"] == {"policy": "drop", "cells": 5, "rows": 5, "columns": {"size": 4, "grade": 1}}
    head = run.schema.targets["grade"]
    assert head.classes == ("low", "mid", "top")
    assert np.array(head.frequencies) * 38 == pytest.approx([13, 12, 13])  # of 40 train rows two are gone
    assert {name: len(values) for name, values in run.predictions.items()} == {"test grade": 8, "valid grade": 9}


@pytest.mark.slow
def test_missing_cells_keep_their_rows_and_an_unknown_class_judges_nothing(config, tmp_path):
    run = train(str(config), ["on_bad_file=missing"], run=tmp_path / "run")
    assert [row for row, _, _ in places(run)] == [1, 2, 46, 59, 60]
    assert "unused" not in set(run.splits)
    assert run.metrics["bad_cells"]["columns"] == {"size": 4, "grade": 1}
    assert len(run.predictions["test grade"]) == 10
    assert run.schema.targets["grade"].classes == ("low", "mid", "top")


def test_an_unknown_class_is_refused_unless_told_otherwise(config, tmp_path):
    with pytest.raises(ValueError, match=r'column "grade": the class "giant" has one row only \(row 59\)'):
        train(str(config), run=tmp_path / "run")


def test_numbers_that_are_none_are_refused_before_training(config, tmp_path):
    rows = pd.read_csv(config.with_name("table.csv"), dtype=str).drop(index=58)
    rows.to_csv(config.with_name("table.csv"), index=False)
    with pytest.raises(ValueError, match=r"4 cells in 4 rows cannot be used") as caught:
        train(str(config), run=tmp_path / "run")
    assert 'row 1, column "size": 12 px: got "12 px", expected a number' in str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_split_of_bad_rows_only_ends_the_training(config, tmp_path):
    rows = pd.read_csv(config.with_name("table.csv"), dtype=str)
    rows.loc[rows["part"] == "valid", "size"] = "wide"
    rows.to_csv(config.with_name("table.csv"), index=False)
    with pytest.raises(ValueError, match="each row of the split valid has a bad cell") as caught:
        train(str(config), ["on_bad_file=drop"], run=tmp_path / "run")
    assert str(tmp_path / "run" / "bad_rows.csv") in str(caught.value)


def test_a_corrected_table_trains_in_the_folder_that_named_its_bad_cells(config, tmp_path, monkeypatch):
    monkeypatch.setattr("mmkeras.training.trainer._train", lambda run, *_: None)
    monkeypatch.setattr("mmkeras.train._show_results", lambda run: None)
    folder = tmp_path / "run"
    write_back = pd.read_csv(config.with_name("table.csv"), dtype=str).drop(index=58)
    write_back.assign(size="none.jpg").to_csv(config.with_name("table.csv"), index=False)
    files = ["columns.size={type: image, height_px: 8, width_px: 8, encoder: {filters: [3]}}"]
    with pytest.raises(ValueError, match=r"59 cells in 59 rows cannot be used"):
        train(str(config), files, run=folder)
    assert [entry.name for entry in folder.iterdir()] == ["bad_rows.csv"]
    write_back.assign(size="1").to_csv(config.with_name("table.csv"), index=False)
    assert train(str(config), run=folder).table().rows["size"].unique().tolist() == ["1"]
