"""Judging a run: the same figures as training's, on its own rows or others, beside simpler models."""

import json

import numpy as np
import pandas as pd
import pytest
from fixtures_tables import LABELS

from mmkeras.evaluate import evaluate
from mmkeras.run import Run

pytest_plugins = "fixtures_tables"


@pytest.fixture(scope="module")
def judged(run):
    return evaluate(run)


def test_default_rows_give_the_figures_of_training(run, judged):
    assert judged["intent"]["mmkeras"] == pytest.approx(run.metrics["test"]["intent"], abs=1e-6)


def test_report_and_picture_are_written(run, judged):
    assert json.loads((run.folder / "evaluation.json").read_text()) == judged
    report = (run.folder / "evaluation_intent.txt").read_text()
    assert all(label in report for label in LABELS)
    assert (run.folder / "evaluation_intent.png").read_bytes().startswith(b"\x89PNG")


def test_rows_with_unknown_labels_are_left_out(run, own_table, capsys):
    rows = pd.read_csv(own_table, keep_default_na=False)
    rows = rows[rows["split"] == "test"].reset_index(drop=True)
    rows.to_csv(own_table, index=False)
    known = evaluate(run, own_table)["intent"]["mmkeras"]
    strange = rows.iloc[:3].assign(intent=["praise", "", "praise"])
    pd.concat([strange, rows]).to_csv(own_table, index=False)
    capsys.readouterr()
    found = evaluate(run, own_table)["intent"]["mmkeras"]
    assert 'table.csv: 3 rows have no "intent" that training knew' in capsys.readouterr().out
    assert found == pytest.approx(known, abs=1e-6)
    assert known == pytest.approx(run.metrics["test"]["intent"], abs=1e-6)


def test_other_rows_give_other_figures(run, judged, own_table):
    pd.read_csv(own_table).assign(intent="return").to_csv(own_table, index=False)
    found = evaluate(run, own_table)["intent"]["mmkeras"]
    assert found["accuracy"] != judged["intent"]["mmkeras"]["accuracy"]


def test_table_that_changed_since_training_is_refused(run, table, monkeypatch):
    content = table.read_text()
    changed = pd.read_csv(table)
    try:
        changed.iloc[1:].to_csv(table, index=False)
        with pytest.raises(ValueError, match=r"table\.csv: changed since .* was trained on it; name the table to use"):
            evaluate(run)
    finally:
        table.write_text(content)


def test_table_that_lacks_the_target_is_refused(run, table):
    with pytest.raises(ValueError, match='DataFrame: no column "intent"'):
        evaluate(run, pd.read_csv(table).drop(columns="intent"))


def test_run_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run folder: it holds no config.yaml"):
        evaluate(tmp_path)


@pytest.mark.slow
def test_baselines_stand_beside_the_model(run, monkeypatch):
    found = evaluate(run, baselines=True)["intent"]
    columns = ("photo", "question", "voice")
    assert list(found) == [
        "mmkeras", "majority class", *(f"classical on {column}" for column in columns), "classical, log-mean",
        *(f"classical, log-mean without {column}" for column in columns),
        *(f"mmkeras on {column} alone" for column in columns),
    ]  # fmt: skip
    assert found["majority class"]["accuracy"] == pytest.approx(1 / 3)
    assert found["majority class"]["log_loss"] == pytest.approx(np.log(3), rel=1e-6)
    assert found["classical on photo"]["accuracy"] > 0.5
    assert all(np.isfinite(list(scores.values())).all() for scores in found.values())
    alone = Run(run.folder / "alone" / "photo")
    assert list(alone.config.columns) == ["photo"]
    assert found["mmkeras on photo alone"] == pytest.approx(alone.metrics["test"]["intent"], abs=1e-6)


@pytest.mark.slow
def test_log_mean_is_the_mean_of_log_probabilities(run, monkeypatch):
    """Worked out by hand from two columns' made-up probabilities."""
    from mmkeras import evaluate as module

    given = iter([[[0.8, 0.1, 0.1]], [[0.2, 0.2, 0.6]], [[0.5, 0.25, 0.25]]])
    monkeypatch.setattr(module, "_fit_classical", lambda *_: None)
    monkeypatch.setattr(module, "_ask_classical", lambda *_: np.array(next(given)))
    manifest = run.table()
    found = module._classical(
        run.schema, manifest, type(manifest)(manifest.rows.head(1), manifest.folder, ""), np.array([0, 1, 2]), 3
    )
    product = np.cbrt(np.array([0.8 * 0.2 * 0.5, 0.1 * 0.2 * 0.25, 0.1 * 0.6 * 0.25]))
    np.testing.assert_allclose(found["classical, log-mean"][0], product / product.sum(), rtol=1e-9)
