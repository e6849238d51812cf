"""Answers for the rows of a table: in order, each with a status, whatever stands beside it."""

import numpy as np
import pandas as pd
import pytest
from fixtures_tables import LABELS, command

from mmkeras.predict import predict

pytest_plugins = "fixtures_tables"


@pytest.fixture(scope="module")
def answers(run, table):
    return predict(run, table)


def test_rows_come_back_in_order_with_label_probability_and_status(answers, table):
    rows = pd.read_csv(table)
    assert answers.columns.tolist() == ["row", "label", "probability", "status"]
    assert answers["row"].tolist() == list(range(1, 61))
    assert set(answers["label"]) <= set(LABELS)
    assert answers["probability"].between(1 / 3, 1).all()
    missing = rows[["photo", "question", "voice"]].isna()
    told = ["; ".join(f"missing: {name}" for name in missing if cells[name]) or "ok" for _, cells in missing.iterrows()]
    assert answers["status"].tolist() == told


def test_order_of_the_table_is_the_order_of_the_answers(run, table, answers):
    backwards = predict(run, pd.read_csv(table).iloc[::-1].assign(**absolute(table)), allow_outside=True)
    assert backwards["label"].tolist() == answers["label"].tolist()[::-1]
    np.testing.assert_allclose(backwards["probability"], answers["probability"][::-1], atol=1e-6)
    assert backwards["status"].tolist() == answers["status"].tolist()[::-1]


def absolute(table) -> dict:
    """The media columns with paths that are good from any folder."""
    rows = pd.read_csv(table)
    return {
        name: rows[name].map(lambda cell: str(table.parent / cell), na_action="ignore") for name in ("photo", "voice")
    }


def test_a_broken_cell_counts_as_missing_and_changes_no_other_row(run, own_table, answers):
    own_table.with_name("3.png").write_bytes(b"no picture")
    own_table.with_name("6.wav").unlink()
    rows = pd.read_csv(own_table)
    pd.concat([rows, rows.loc[[3]].assign(photo=None)]).to_csv(own_table, index=False)
    found = predict(run, own_table)
    assert found["status"][3].startswith("bad: photo: not a picture")
    assert found["status"][6].startswith("bad: voice: ")
    assert found["status"][60] == "missing: photo"
    assert found["probability"][3] == pytest.approx(found["probability"][60], abs=1e-6)
    others = [i for i in range(60) if i not in (3, 6)]
    assert found["label"][others].tolist() == answers["label"][others].tolist()
    np.testing.assert_allclose(found["probability"][others], answers["probability"][others], atol=1e-6)
    assert found["status"][others].tolist() == answers["status"][others].tolist()


def test_chunks_give_what_one_chunk_gives(run, table, answers, monkeypatch):
    monkeypatch.setattr("mmkeras.network.inference.CHUNK_ROWS", 23)
    found = predict(run, table)
    assert found.drop(columns="probability").equals(answers.drop(columns="probability"))
    np.testing.assert_allclose(found["probability"], answers["probability"], atol=1e-6)


def test_answers_are_written_as_csv(run, table, answers, tmp_path, capsys):
    predict(run, table, output=tmp_path / "answers.csv")
    assert "60 answers in" in capsys.readouterr().out
    read = pd.read_csv(tmp_path / "answers.csv")
    assert read.columns.tolist() == answers.columns.tolist()
    assert read["label"].tolist() == answers["label"].tolist()


def test_paths_that_leave_the_tables_folder_are_read_if_told(run, table, tmp_path, capsys):
    rows = pd.read_csv(table, dtype=str, keep_default_na=False).head(2)
    rows.loc[0, "photo"] = str(table.with_name(rows["photo"][0]))
    rows["voice"] = ""
    rows.loc[1, "photo"] = ""
    rows.to_csv(tmp_path / "elsewhere.csv", index=False)
    refused, _ = predict(run, tmp_path / "elsewhere.csv")["status"]
    assert refused.startswith("bad: photo: is an absolute path")
    assert (
        "1 row names files outside the table's folder, which are not read; --allow-outside" in capsys.readouterr().out
    )
    allowed = predict(run, tmp_path / "elsewhere.csv", allow_outside=True)["status"]
    assert allowed.tolist() == ["missing: voice", "missing: photo; missing: voice"]


def test_target_column_is_not_needed(run, table, answers):
    rows = pd.read_csv(table).drop(columns=["intent", "split", "customer"]).assign(**absolute(table))
    assert predict(run, rows, allow_outside=True)["label"].tolist() == answers["label"].tolist()


def test_table_that_lacks_a_column_is_refused(run, table):
    with pytest.raises(ValueError, match=r'DataFrame: no column "voice"'):
        predict(run, pd.read_csv(table).drop(columns="voice"))


def test_run_folder_that_is_none_is_refused(table, tmp_path):
    with pytest.raises(ValueError, match="not a run folder: it holds no config.yaml"):
        predict(tmp_path, table)


def test_command_ends_with_one_line_where_the_run_is_none(table, tmp_path):
    done = command("mmkeras.predict", tmp_path, table, "-o", tmp_path / "answers.csv")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}: not a run folder")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_command_writes_what_the_function_returns(run, table, answers, tmp_path):
    done = command("mmkeras", "predict", run.folder, table, "-o", tmp_path / "answers.csv")
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "answers.csv")["label"].tolist() == answers["label"].tolist()
