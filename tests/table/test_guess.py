"""A table and its target become a config: every modality and head is asked, and the answer is shown."""

import os

import pandas as pd
import pytest

from mmkeras.contracts.registry import find, members
from mmkeras.table.guess import DEFAULT_HEAD, guess_config, guess_head
from mmkeras.table.manifest import read_table


def series(*cells):
    return pd.Series(cells, dtype=object)


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "age": [22.0, 38.5, None, 35.0, 54.0, 2.0],
            "port": ["S", "C", "S", "S", "C", "C"],
            "ticket": ["A17", "B4", "C9", "D1", "E2", "F3"],
            "survived": [0, 1, 1, 1, 0, 0],
        }
    )


def test_each_column_gets_its_type_and_the_target_its_head(frame, capsys):
    config = guess_config(read_table(frame), "survived", [], None)
    assert {name: column.type_name() for name, column in config.columns.items()} == {
        "age": "number",
        "port": "category",
    }
    assert config.targets["survived"].type_name() == "classification"
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "age number numbers from 2 to 54" in shown
    assert "ticket ignored unique in every row: an identifier" in shown
    assert "survived target: classification 2 classes" in shown


def test_overrides_win(frame):
    overrides = ["columns.age={type: category, width: 7}", "columns.port=null"]
    config = guess_config(read_table(frame), "survived", overrides, None)
    assert config.columns == {"age": find("modality", "category")(width=7)}


def test_what_a_modality_suggests_goes_into_the_config(frame, monkeypatch):
    seen = []
    suggest = classmethod(lambda cls, values: seen.append(values.tolist()) or {"units": 9})
    monkeypatch.setattr(find("modality", "number"), "suggest", suggest)
    assert guess_config(read_table(frame), "survived", [], None).columns["age"].units == 9
    assert seen == [["22", "38.5", "35", "54", "2"]]


def test_what_suggests_settings_gets_absolute_paths(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(find("modality", "image"), "suggest", lambda values: seen.extend(values) or {})
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    frame = pd.DataFrame({"photo": [" a.jpg", "", f"{tmp_path}/b.jpg"], "label": ["u", "v", "u"]})
    guess_config(read_table(frame, tmp_path), "label", ["allow_outside=true"], None)
    assert seen == [f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]


def test_what_suggests_settings_cannot_open_what_the_table_may_not_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(find("modality", "image"), "suggest", lambda values: seen.extend(values) or {})
    (tmp_path / "b.jpg").write_bytes(b"x")
    frame = pd.DataFrame({"photo": [f"{tmp_path}/b.jpg", "../c.jpg"], "label": ["u", "v"]})
    guess_config(read_table(frame, tmp_path), "label", [], None)
    assert [os.path.exists(cell) for cell in seen] == [False, False]
    assert [cell.endswith(".jpg") for cell in seen] == [True, True]


def test_no_column_of_a_known_type_is_refused(frame):
    with pytest.raises(ValueError, match="DataFrame: no column looks like .*; write a config that names them"):
        guess_config(read_table(frame[["ticket", "survived"]]), "survived", [], None)


def test_the_target_is_asked_for():
    with pytest.raises(ValueError, match="which column is to be predicted[?] Add --target with one of a, b"):
        guess_config(read_table(pd.DataFrame({"a": ["1"], "b": ["2"]})), None, [], None)


def test_the_default_head_is_asked_last(monkeypatch):
    class Other:
        claims = classmethod(lambda cls, values: "always" if "q" in set(values) else None)

    known = find
    monkeypatch.setattr("mmkeras.table.guess.members", lambda kind: [DEFAULT_HEAD, "zebra"])
    monkeypatch.setattr("mmkeras.table.guess.find", lambda kind, name: Other if name == "zebra" else known(kind, name))
    assert guess_head(series("q", "r", "q")) == ("zebra", "always")
    assert guess_head(series("x", "r", "x")) == (DEFAULT_HEAD, "2 classes")


def test_measured_targets_are_regression_and_species_are_classes():
    from sklearn import datasets

    iris, diabetes = (read_table(load(as_frame=True).frame) for load in (datasets.load_iris, datasets.load_diabetes))
    assert guess_head(iris.rows["target"])[0] == "classification"
    if "regression" not in members("head"):
        pytest.skip("no head for numbers: the target of diabetes is not checked")
    assert guess_head(diabetes.rows["target"])[0] == "regression"
