"""The promise of any combination: seven inputs with gaps, two targets, tokens of all columns in one Transformer."""

import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from fixtures_everything import COLUMNS, CONFIG, EMPTY_ROW, LONELY_ROW, TARGETS, stacked
from fixtures_tables import python

from mmkeras.contracts.encoding import COLUMN_WEIGHTS
from mmkeras.evaluate import evaluate
from mmkeras.evaluation.models import OWN, Model, models_in
from mmkeras.evaluation.rows import rows_of
from mmkeras.export import export
from mmkeras.features.columns import missing_cell, read_cells, table_cells
from mmkeras.network.inference import predict_rows, predict_without
from mmkeras.table.manifest import read_table
from mmkeras.train import train

pytest_plugins = ("fixtures_tables", "fixtures_everything")
# A training of seven encoders takes half a minute; test_matrix.py has seven columns in the default run.
pytestmark = pytest.mark.slow

# A client has TensorFlow, tensorflow-text, the SavedModel's folder and cells; mmkeras cannot be imported.
CLIENT = """
import pickle, sys
sys.modules["mmkeras"] = None
import tensorflow as tf
import tensorflow_text

serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
specs = serve.structured_input_signature[1]
with open(sys.argv[2], "rb") as file:
    batches = pickle.load(file)
answers = []
for cells in batches:
    found = serve(**{name: tf.constant(values, specs[name].dtype) for name, values in cells.items()})
    answers.append({name: tensor.numpy() for name, tensor in found.items()})
assert not [name for name, module in sys.modules.items() if name.startswith("mmkeras") and module is not None]
with open(sys.argv[3], "wb") as file:
    pickle.dump(answers, file)
"""
NAMES = sorted(COLUMNS)
ALL_MISSING = "prior; " + "; ".join(f"missing: {name}" for name in NAMES)


@pytest.fixture(scope="module")
def judged(everything_run, everything):
    """The test rows as a table; one of them has no input, none has only one."""
    return rows_of(read_table(everything), (everything_run.splits == "test").to_numpy())


@pytest.fixture(scope="module")
def empty(everything_run):
    """Which of the test rows has no input."""
    return int((everything_run.splits[:EMPTY_ROW] == "test").sum())


@pytest.fixture(scope="module")
def predicted(everything_run, judged):
    """What `predict` says of the test rows, as they are and with each column's cells missing, and the statuses."""
    hidden = [(), *([name] for name in NAMES)]
    found, statuses = predict_without(everything_run.network(), everything_run.schema, judged, hidden)
    return dict(zip(("", *NAMES), found, strict=True)), statuses


def test_it_trains(everything_run):
    assert everything_run.schema.columns.keys() == COLUMNS.keys()
    assert np.isfinite(everything_run.history["loss"]).all()
    assert {"mood_accuracy", "val_price_skill", "mood_by_clip_loss"} <= everything_run.history.keys()
    figures = everything_run.metrics["test"]
    assert figures.keys() == CONFIG["targets"].keys()
    assert all(np.isfinite(value) for scores in figures.values() for value in scores.values())


def test_every_column_has_gaps_and_no_cell_is_bad(everything_run, everything):
    cells = table_cells(read_table(everything), everything_run.schema.columns)
    assert pd.read_csv(everything_run.folder / "bad_rows.csv").empty
    for name, modality in everything_run.schema.columns.items():
        read = read_cells(modality, cells[name])
        assert 3 < sum(cell is None for cell in read) < 12, name
        assert (read[LONELY_ROW] is not None) == (name == "country") and read[EMPTY_ROW] is None


def test_gaps_change_answers_and_an_empty_row_gets_the_prior(everything_run, predicted, empty):
    found, statuses = predicted
    for target, head in everything_run.schema.targets.items():
        np.testing.assert_allclose(found[""][target][empty], head.prior, atol=1e-6)
        assert np.ptp(found[""][target], axis=0).max() > 1e-3
    assert statuses[empty] == ALL_MISSING
    assert statuses.str.startswith("prior").sum() == 1
    for name in NAMES:
        assert not np.array_equal(found[name]["price"], found[""]["price"]), name


def test_absent_columns_weigh_nothing(predicted, empty):
    found, statuses = predicted
    weights = found[""][COLUMN_WEIGHTS]
    is_missing = np.array([[f"missing: {name}" in status for name in NAMES] for status in statuses])
    assert is_missing.any(axis=0).all()
    np.testing.assert_array_equal(weights > 0, ~is_missing)
    np.testing.assert_allclose(weights.sum(axis=1), np.arange(len(weights)) != empty, atol=1e-6)
    for i, name in enumerate(NAMES):
        assert not found[name][COLUMN_WEIGHTS][:, i].any()


def test_a_column_hidden_is_a_column_missing(everything_run, judged, predicted):
    """Hiding features, which `evaluate` does, says what a table without the cells says."""
    emptied = rows_of(judged, np.ones(len(judged.rows), bool))
    emptied.rows["photo"] = ""
    got, statuses = predict_rows(everything_run.network(), everything_run.schema, emptied)
    for name, wanted in predicted[0]["photo"].items():
        np.testing.assert_allclose(got[name], wanted, atol=1e-6)
    assert statuses.str.contains("missing: photo").all()


# A fresh process


def part(sent, rows):
    return {name: values[rows] for name, values in sent.items()}


@pytest.fixture(scope="module")
def answers(everything_run, judged, tmp_path_factory):
    """What the exported model says of the test rows, in a process that has no mmkeras."""
    folder = tmp_path_factory.mktemp("everything_export")
    export(everything_run, folder / "model")
    columns = everything_run.schema.columns
    cells = table_cells(judged, columns)
    read = {name: read_cells(columns[name], cells[name]) for name in NAMES}
    sent = {name: stacked(columns[name], read[name]) for name in NAMES}
    nothing = {name: stacked(columns[name], [None] * len(judged.rows)) for name in NAMES}
    count = len(judged.rows)
    asked = {
        # alone, a cell has its own length; together, shorter ones are filled up
        "alone": [{name: stacked(columns[name], [read[name][i]]) for name in NAMES} for i in range(count)],
        "fives": [part(sent, slice(i, i + 5)) for i in range(0, count, 5)],
        **{name: [sent | {name: nothing[name]}] for name in NAMES},
        "nothing": [{name: missing_cell(columns[name])[np.newaxis] for name in NAMES}],
    }
    (folder / "cells").write_bytes(pickle.dumps([batch for batches in asked.values() for batch in batches]))
    done = python(CLIENT, folder / "model", folder / "cells", folder / "answers", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "retracing" not in done.stderr
    found = iter(pickle.loads((folder / "answers").read_bytes()))
    told = json.loads((folder / "model" / "assets.extra" / "signature.json").read_text())
    return {name: [next(found) for _ in batches] for name, batches in asked.items()}, told, sent


def joined(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def assert_same_predictions(got, wanted, head_of_price):
    np.testing.assert_allclose(got["mood_probabilities"], wanted["mood"], atol=1e-5)
    [deviation], [mean] = head_of_price.deviation, head_of_price.mean
    np.testing.assert_allclose((got["price_value"] - mean) / deviation, wanted["price"][:, 0], atol=1e-5)
    np.testing.assert_allclose(got[COLUMN_WEIGHTS], wanted[COLUMN_WEIGHTS], atol=1e-5)


@pytest.mark.parametrize("batches", ["alone", "fives"])
def test_the_exported_model_says_what_predict_says(answers, predicted, everything_run, batches):
    wanted, statuses = predicted
    got = joined(answers[0][batches])
    assert_same_predictions(got, wanted[""], everything_run.schema.targets["price"])
    assert [status.decode() for status in got["status"]] == statuses.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_without_a_columns_cells_it_says_what_predict_says(answers, predicted, everything_run, name):
    wanted, _ = predicted
    got = joined(answers[0][name])
    assert_same_predictions(got, wanted[name], everything_run.schema.targets["price"])
    assert all(f"missing: {name}" in status.decode() for status in got["status"])
    assert not got[COLUMN_WEIGHTS][:, NAMES.index(name)].any()


def test_cells_of_length_0_are_missing_too(answers, everything_run):
    got = joined(answers[0]["nothing"])
    targets = everything_run.schema.targets
    np.testing.assert_allclose(got["mood_probabilities"][0], targets["mood"].prior, atol=1e-6)
    assert got["price_value"][0] == pytest.approx(targets["price"].mean[0], rel=1e-6)
    assert got["status"][0].decode() == ALL_MISSING


def test_lists_of_files_were_filled_up(answers):
    """Or the comparison of batches would not cover it."""
    _, told, sent = answers
    given = (sent["photo"] != b"").sum(axis=1)
    assert sent["photo"].shape[1] == 3 and {1, 2, 3} <= {*given}
    assert np.isnan(sent["sensor"]).any() and sent["clip"].shape[1] > 1
    assert list(told["inputs"]) == NAMES
    assert {COLUMN_WEIGHTS, "status", "mood_label", "price_value"} <= told["outputs"].keys()


# What people see


def test_evaluation_takes_every_column_away(everything_run, tmp_path, capfd):
    copy = shutil.copytree(everything_run.folder, tmp_path / "copy")
    found = {target: models_in(each) for target, each in evaluate(copy)["targets"].items()}
    rows = [OWN, *(Model(kind, name) for kind in ("without", "only") for name in NAMES)]
    for target in CONFIG["targets"]:
        assert list(found[target]) == rows
        assert len({json.dumps(each["scores"]) for each in found[target].values()}) > 3
    shown = capfd.readouterr().out
    assert "What the fusion weighs the columns" in shown
    assert all(name in shown for name in NAMES)


def test_five_tasks_at_once(everything, tmp_path, recwarn):
    """Every kind of head on one trunk, with learned weights of the losses, and weights that depend on the row."""
    config = everything.with_name("five.yaml")
    settings = CONFIG | {"fusion": {"type": "gated", "width": 4}, "targets": TARGETS}
    settings["train"] = settings["train"] | {"loss_weights": "learned"}
    config.write_text(json.dumps(settings))
    run = train(str(config), run=tmp_path / "five")
    assert run.metrics["test"].keys() == TARGETS.keys()
    assert all(np.isfinite(value) for scores in run.metrics["test"].values() for value in scores.values())
    assert not [str(warning.message) for warning in recwarn if issubclass(warning.category, UserWarning)]
