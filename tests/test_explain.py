"""The command: its files, its rows, its figures against the model's own answers, and what people get wrong."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from mmkeras.contracts.registry import walk
from mmkeras.explain import explain
from mmkeras.explanation.result import Explanation
from mmkeras.network.inference import predict_without
from mmkeras.train import train

pytest_plugins = ("fixtures_tables", "fixtures_everything")


@pytest.fixture(scope="module")
def explained(own_run):
    return explain(own_run)


def test_the_files_hold_what_was_found(own_run, explained):
    folder = own_run.folder / "explanation"
    assert {path.name for path in folder.iterdir()} == {"explanation.json", "shapley.parquet", "attributions.npz"}
    again = Explanation.read(folder)
    assert again.rows == explained.rows == (np.flatnonzero(own_run.splits == "test") + 1).tolist()
    pd.testing.assert_frame_equal(again.values, explained.values)
    assert again.attributions.keys() == explained.attributions.keys()
    for key, values in explained.attributions.items():
        np.testing.assert_array_equal(again.attributions[key], values)
    told = json.loads((folder / "explanation.json").read_text(), parse_constant=pytest.fail)
    assert told["split"] == "test" and told["table"] is None and told["method"] == "exact"
    assert set(told["arrays"]) == set(np.load(folder / "attributions.npz").files)
    assert sorted(map(tuple, told["arrays"].values())) == sorted(explained.attributions)
    assert told["columns"]["photo"]["methods"] == ["integrated gradients", "Grad-CAM"]
    assert told["targets"]["intent"]["explains"] == "probability of the answer"
    low, high = told["targets"]["intent"]["columns"]["voice"]["interval"]
    assert low <= told["targets"]["intent"]["columns"]["voice"]["mean_absolute"] <= high


def test_values_are_those_of_the_models_own_answers(own_run, explained):
    """Each column's Shapley value by its definition, from what `predict` says with columns hidden."""
    manifest = own_run.table()
    chosen = replace(manifest, rows=manifest.rows.iloc[[row - 1 for row in explained.rows]].reset_index(drop=True))
    columns = sorted(own_run.schema.columns)
    hidden = [[c for c, there in zip(columns, np.binary_repr(i, 3), strict=True) if there == "0"] for i in range(8)]
    predictions, _ = predict_without(own_run.network(), own_run.schema, chosen, hidden)
    place = predictions[7]["intent"].argmax(axis=1)
    f = np.stack([each["intent"][np.arange(len(place)), place] for each in predictions]).astype(float)
    first = (2 * (f[7] - f[3]) + (f[6] - f[2]) + (f[5] - f[1]) + 2 * (f[4] - f[0])) / 6
    found = explained.values.pivot(index="row", columns="column", values="value")
    np.testing.assert_allclose(found[columns[0]], first, atol=1e-5)
    table = explained.values.groupby("row").agg({"value": "sum", "explained": "first", "prior": "first"})
    np.testing.assert_allclose(table["value"], table["explained"] - table["prior"], atol=1e-5)
    np.testing.assert_allclose(table["explained"], f[7], atol=1e-5)
    answers = explained.values.drop_duplicates("row")["answer"]
    assert answers.tolist() == [own_run.schema.targets["intent"].classes[i] for i in place]


def test_a_columns_value_is_its_contents_and_its_presence(explained):
    found = explained.values[explained.values["present"]].set_index(["row", "column"])
    np.testing.assert_allclose(found["inside"] + found["being_there"], found["value"], atol=1e-6)
    for row, column in found.index:
        if column != "photo":  # whose size has a part of its own
            inside = found.loc[(row, column), "inside"]
            assert explained.attribution(row, column).sum() == pytest.approx(inside, abs=0.021 * abs(inside) + 3e-4)


def test_a_missing_cell_has_no_part(explained):
    gone = explained.values[~explained.values["present"]]
    assert len(gone) >= 3 and (gone["value"] == 0).all()
    for row, column in zip(gone["row"], gone["column"], strict=True):
        assert not explained.attribution(row, column).any()
    found = explained.values[explained.values["present"]]
    assert all(
        explained.attribution(row, column).any() for row, column in zip(found["row"], found["column"], strict=True)
    )


def test_checks_are_told_for_each_method(explained):
    for column, methods in explained.summary["checks"].items():
        assert list(methods) == explained.summary["columns"][column]["methods"]
        for check in methods.values():
            curve = check["deletion"]["curve"]
            assert len(curve["share"]) == len(curve["attribution"]) == len(curve["random"])
            # nothing deleted and all deleted are the same in any order
            assert curve["attribution"][0] == pytest.approx(curve["random"][0])
            assert curve["attribution"][-1] == pytest.approx(curve["random"][-1])
            assert -1 <= check["random_weights"]["rank_correlation"] <= 1


# Rows


@pytest.mark.slow
def test_rows_of_any_split_in_their_order(own_run, tmp_path):
    found = explain(own_run, rows="7,2-3,7", check=False, output=tmp_path / "here")
    assert found.rows == [7, 2, 3] and Explanation.read(tmp_path / "here").rows == [7, 2, 3]
    assert sorted(found.values["row"].unique()) == [2, 3, 7]
    assert found.summary["split"] == "train"
    assert next(iter(found.attributions.values())).shape[0] == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0", "--rows: got 0, expected numbers from 1 to 60, the rows of table.csv"),
        ("5,59-61", "--rows: got 59-61, expected numbers from 1 to 60"),
        ("9-3", "--rows: got 9-3, expected"),
        ("a", '--rows: got "a", expected row numbers from 1 such as 1,5,9-20'),
        ("-3", '--rows: got "-3", expected row numbers'),
        ([1, 99], "--rows: got 99, expected numbers from 1 to 60"),
        ("", "--rows: names no row"),
        ([], "--rows: names no row"),
    ],
)
def test_rows_that_are_not_there(own_run, rows, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        explain(own_run, rows=rows)


def test_another_table_without_targets_with_bad_and_missing_files(own_run, tmp_path, capfd):
    table = own_run.table().rows.head(4).drop(columns=["intent", "customer", "split"])
    folder = own_run.table().folder
    for name in [*table["photo"], *table["voice"]]:
        if name:
            shutil.copy(folder / name, tmp_path / name)
    (tmp_path / table["photo"][1]).unlink()
    (tmp_path / table["voice"][2]).write_bytes(b"no sound")
    table.loc[3] = ""
    table.to_csv(tmp_path / "other.csv", index=False)
    found = explain(own_run, str(tmp_path / "other.csv"), check=False, output=tmp_path / "out")
    assert found.rows == [1, 2, 3, 4] and found.summary["table"] == str(tmp_path / "other.csv")
    assert found.summary["split"] is None
    there = found.values.set_index(["row", "column"])["present"]
    assert not there[2, "photo"] and not there[3, "voice"] and there[1, "photo"] and not there[4].any()
    nothing = found.values[found.values["row"] == 4]
    np.testing.assert_allclose(nothing["explained"], nothing["prior"])
    assert "2 cells cannot be used and count as missing, the first in row 2, photo:" in " ".join(
        capfd.readouterr().out.split()
    )


def test_a_data_frame_from_a_notebook(own_run, tmp_path):
    frame = pd.DataFrame({"question": ["never bad", "<script>alert(1)</script>"], "photo": "", "voice": ""})
    found = explain(own_run, frame, check=False, output=tmp_path)
    assert found.rows == [1, 2]
    values = found.values[found.values["column"] == "question"]
    np.testing.assert_allclose(values["value"], values["explained"] - values["prior"], atol=1e-6)


@pytest.mark.slow
def test_paths_that_leave_the_tables_folder_are_read_if_told(own_run, tmp_path, capsys):
    table = own_run.table()
    path = str(table.folder / next(name for name in table.rows["photo"] if name))
    rows = pd.DataFrame({"question": ["never bad"], "photo": [path], "voice": [""]})
    rows.to_csv(tmp_path / "elsewhere.csv", index=False)
    refused = explain(own_run, tmp_path / "elsewhere.csv", check=False, output=tmp_path / "refused")
    assert "photo: is an absolute path" in capsys.readouterr().out.replace("\n", " ")
    allowed = explain(own_run, tmp_path / "elsewhere.csv", check=False, output=tmp_path / "allowed", allow_outside=True)
    present = [found.values.set_index("column").loc["photo", "present"] for found in (refused, allowed)]
    assert present == [False, True]


# Answers and targets


@pytest.mark.slow
def test_one_class_is_explained_where_it_is_asked_for(own_run, tmp_path):
    found = explain(own_run, rows=[1, 2, 3], answer="return", check=False, output=tmp_path)
    assert set(found.values["answer"]) == {"return"}
    assert found.summary["targets"]["intent"]["explains"] == "probability of return"
    prior = own_run.schema.targets["intent"].prior[own_run.schema.targets["intent"].scorer.parts.index("return")]
    np.testing.assert_allclose(found.values["prior"], prior, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"target": "mood"}, '--target: the run has no target "mood"; expected one of intent'),
        ({"answer": "no"}, '--answer: "intent" has no "no"; expected one of complaint, enquiry, return'),
    ],
)
def test_targets_and_answers_that_are_not_there(own_run, asked, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        explain(own_run, **asked)


def test_a_run_that_is_not_finished(own_run, tmp_path):
    half = shutil.copytree(own_run.folder, tmp_path / "half")
    (half / "metrics.json").unlink()
    with pytest.raises(ValueError, match="training is not finished"):
        explain(half)
    (half / "schema.json").unlink()
    with pytest.raises(ValueError, match="training stopped before its first epoch"):
        explain(half)


def test_a_table_without_a_column(own_run):
    with pytest.raises(ValueError, match="voice"):
        explain(own_run, pd.DataFrame({"question": ["a"], "photo": [""]}))


@pytest.mark.slow
def test_when_the_time_is_over_the_rest_is_said_to_be_left_out(own_run, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("mmkeras.explanation.explained.MOST_AT_ONCE", 4)
    found = explain(own_run, minutes=0, check=False, output=tmp_path)
    assert "the time was over after the cells of 4 of" in " ".join(capfd.readouterr().out.split())
    done = [row for row in found.rows if found.attribution(row, "question") is not None]
    assert len(done) == found.summary["looked_into"] == 4
    assert found.values["value"].notna().all()


# Every modality, several targets, every kind of target


@pytest.mark.slow
def test_everything_at_once(everything_run, tmp_path):
    found = explain(everything_run, rows="13-24", check=False, output=tmp_path)
    assert found.targets == ["mood", "price"] and len(found.columns) == 7
    sums = found.values.groupby(["row", "target"]).agg({"value": "sum", "explained": "first", "prior": "first"})
    np.testing.assert_allclose(sums["value"], sums["explained"] - sums["prior"], atol=1e-4)
    for column, modality in walk(everything_run.schema.columns):
        for target in found.targets:
            values = found.attributions[target, column, found.summary["columns"][column]["methods"][0]]
            assert len(values) == 12 and np.isfinite(values).all(), column
            assert (
                values.shape[1:]
                == modality.attribute(
                    {name: np.zeros((1, *spec.shape)) for name, spec in modality.features.items()}
                ).shape[1:]
            )
    weights = found.values.groupby(["row", "target"])["weight"].sum()
    assert np.allclose(weights[weights > 0], 1, atol=1e-4)
    told = found.summary["targets"]["price"]
    assert told["explains"] == "value" and told["unit"] == "as in the table"
    row = found.values[found.values["target"] == "price"].iloc[0]
    (told,), _ = predict_without(everything_run.network(), everything_run.schema, everything_run.table(), [()])
    head = everything_run.schema.targets["price"]
    wanted = told["price"][row["row"] - 1, 0] * head.deviation[0] + head.mean[0]
    assert row["explained"] == pytest.approx(wanted, abs=1e-4)
    assert row["prior"] == pytest.approx(head.mean[0], abs=1e-4)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A function: {target: settings} -> a run on three columns of numbers."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(80, 3)).round(3)
    marks = np.array(["a", "b", "a|b", "|"])[(values[:, 0] > 0) * 1 + (values[:, 1] > 0) * 2]
    table = pd.DataFrame({f"x{i}": values[:, i].astype(str) for i in range(3)}, dtype=object)
    table["marks"], table["grade"] = marks, np.digitize(values[:, 0], [-0.5, 0.5]).astype(str)
    table["both"] = [f"{3 * x:.3f}|{y:.3f}" for x, y in values[:, :2]]
    table.loc[[1, 70], "x0"] = ""

    def numbers(targets):
        folder = tmp_path_factory.mktemp("numbers")
        table.to_csv(folder / "table.csv", index=False)
        config = {
            "manifest": "table.csv",
            "columns": {f"x{i}": {"type": "number", "bins": 3, "units": 4} for i in range(3)},
            "targets": targets,
            "fusion": {"type": "weighted", "width": 3, "units": [4]},
            "train": {"epochs": 2},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return train(str(folder / "config.yaml"), run=folder / "run")

    return numbers


def adds_up(found, tolerance=1e-5):
    sums = found.values.groupby(["row", "target"]).agg({"value": "sum", "explained": "first", "prior": "first"})
    np.testing.assert_allclose(sums["value"], sums["explained"] - sums["prior"], atol=tolerance)
    return sums


@pytest.mark.slow
def test_multilabel_ordinal_and_several_numbers(numbers):
    targets = {"marks": {"type": "multilabel"}, "grade": {"type": "ordinal"}, "both": {"type": "regression"}}
    run = numbers(targets)
    found = explain(run, check=False)
    adds_up(found)
    assert {target: each["explains"] for target, each in found.summary["targets"].items()} == {
        "both": "value (value_1)",
        "grade": "probability of the answer",
        "marks": "probability of the most probable label",
    }
    assert set(found.values[found.values["target"] == "both"]["answer"]) == {"value_1"}
    second = explain(run, target="both", answer="value_2", check=False)
    assert second.summary["targets"]["both"]["explains"] == "value of value_2"
    head = run.schema.targets["both"]
    assert second.values["prior"].iloc[0] == pytest.approx(head.mean[1], abs=1e-5)
    with pytest.raises(ValueError, match=r"^--answer: the run has several targets; name one of them too"):
        explain(run, answer="value_2")


# In a notebook


def test_rows_are_drawn_in_a_notebook_with_what_decided_and_nothing_unescaped(own_run, tmp_path):
    frame = pd.DataFrame({"question": ["<script>bad</script> refund", "never"], "photo": ["0.png", ""], "voice": ""})
    table = tmp_path / "own.csv"
    shutil.copy(own_run.table().folder / "0.png", tmp_path / "0.png")
    frame.to_csv(table, index=False)
    explain(own_run, str(table), check=False, output=tmp_path / "out")
    found = Explanation.read(tmp_path / "out")
    found.run = own_run  # the folder lies elsewhere
    shown = found._repr_html_()
    assert "<script>" not in shown and "refund" in shown
    assert "data:image/" in shown and shown.count("row 1: intent") == 1 and "row 2: intent" in shown
    assert shown.count("<tr>") == 6


def test_without_the_run_or_its_files_the_values_are_shown(own_run, explained, tmp_path):
    shutil.copytree(own_run.folder / "explanation", tmp_path / "alone")
    found = Explanation.read(tmp_path / "alone")
    assert found.run is None
    shown = found._repr_html_()
    assert f"row {found.rows[0]}: intent" in shown and "more rows" in shown and "<img" not in shown


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no explanation.json"):
        Explanation.read(tmp_path)
