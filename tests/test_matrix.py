"""Every fusion with one, two and seven columns and every kind of task: built, trained, exported, loaded again."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401 - its operations are in the models
from fixtures_everything import COLUMNS, SMALL_FUSIONS, stacked

from mmkeras.contracts.config import build, parse_config
from mmkeras.contracts.fusion import own_prediction
from mmkeras.contracts.head import named_answers
from mmkeras.contracts.registry import members, walk
from mmkeras.features.batches import Truth
from mmkeras.features.preprocessing import Preprocessor
from mmkeras.network.build import build_network
from mmkeras.serving import saved_model as export
from mmkeras.training.fit import _finite, compile_model

# A user would see that a layer takes Keras' own mask away.
pytestmark = pytest.mark.filterwarnings("error:.*mask:UserWarning")
FUSIONS = members("fusion")
COUNTS = {"one": ["weight"], "two": ["country", "weight"], "seven": sorted(COLUMNS)}
TASKS = {
    "classification": {"kind": {"type": "classification"}},
    "multilabel": {"marks": {"type": "multilabel"}},
    "regression": {"price": {"type": "regression"}},
    "two targets": {
        "grade": {"type": "ordinal", "order": ["low", "middle", "high"]},
        "missing": {"type": "regression"},
    },
}
VALUES = {
    "kind": ["a", "b", "c", "a", "b", "c"],
    "marks": ["x", "x|y", "|", "y", "z", "y|z"],
    "price": ["1", "2.5", "-3", "4", "0", "9"],
    "grade": ["low", "high", "high", "middle", "low", "low"],
    "missing": ["1", "", "-3", "", "0", "9"],
}
OTHER_VALUES = {
    "kind": ["c", "a", "b", "b", "c", "a"],
    "marks": ["y|z", "z", "x|y|z", "|", "x", "x"],
    "price": ["-9", "5", "7", "-4", "3", "-6"],
    "grade": ["high", "low", "low", "high", "middle", "high"],
    "missing": ["-9", "", "7", "", "5", "-6"],
}
ROWS = len(VALUES["kind"])
ONE_GONE, ALL_GONE = 4, 5  # rows without the first column's cell, and without any
CASES = list(itertools.product(FUSIONS, COUNTS, TASKS))
# Every second fusion once, the tasks in turn, one and two columns
QUICK = {
    (fusion, ("two", "one")[i == 1], task) for i, (fusion, task) in enumerate(zip(FUSIONS[::2], TASKS, strict=True))
}


def marked(case):
    return pytest.param(*case, id="-".join(case), marks=() if case in QUICK else pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def unoptimized():
    """No optimisation of graphs that run once, which would take longer than all else."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False} | before)


@pytest.fixture(scope="session")
def columns(adapted):
    return {column: adapted(build("modality", settings, column)) for column, settings in COLUMNS.items()}


@pytest.fixture(scope="session")
def traced():
    """Traced preprocessors by their columns: the cells' part of the graph is the same whatever the fusion."""
    return {}


@pytest.fixture(scope="session")
def rows(columns, traced):
    """A function: names of columns -> the cells of six rows as a client sends them, and their features."""
    known = {}

    def rows(names):
        if tuple(names) not in known:
            cells = {name: [columns[name].example(seed) for seed in range(10, 10 + ROWS)] for name in names}
            cells[names[0]][ONE_GONE] = None
            for name in names:
                cells[name][ALL_GONE] = None
            sent = {name: tf.constant(stacked(columns[name], cells[name]), columns[name].cell.dtype) for name in names}
            known[tuple(names)] = sent, Preprocessor({name: columns[name] for name in names})(sent)
        return known[tuple(names)]

    return rows


@pytest.fixture
def write_saved_model(traced, monkeypatch):
    """The exporter's own function, but for the preprocessing, which is traced once a session."""

    class Traced(Preprocessor):
        def __call__(self, cells):
            key = tuple(self.columns)
            if key not in traced:
                with tf.init_scope():
                    traced[key] = tf.function(super().__call__).get_concrete_function(self.cells)
            return traced[key](cells)

    monkeypatch.setattr(export, "Preprocessor", Traced)
    return export.write_saved_model


def schema_of(fusion, columns, task):
    """A config that knows its columns and targets."""
    config = parse_config({
        "columns": {name: COLUMNS[name] for name in columns},
        "fusion": {"type": fusion, **SMALL_FUSIONS[fusion]},
        "targets": TASKS[task],
        "train": {"batch_size": ROWS, "learning_rate": 1e-6},
    })  # fmt: skip
    heads = {}
    for target, head in walk(config.targets):
        values = pd.Series(VALUES[target], dtype=object)
        heads[target] = head.adapt(values[~head.missing(values)])
    return config.model_copy(update={"columns": columns, "targets": heads})


def targets_of(model, schema, values):
    """What `fit` gives Keras: {output: encoded targets}, {output: weights}."""
    encoded = {}
    for target, head in walk(schema.targets):
        found = head.encode_target(pd.Series(values[target], dtype=object))
        encoded[target] = found, head.sample_weights(found)
    example = _finite(Truth(encoded, {}, list(schema.objectives.values()), schema.setting)).example
    _, truths, weights = example({}, np.arange(len(values[target])), tf.constant([0, 0]), is_training=True)
    return {name: truths[name] for name in model.output}, {name: weights[name] for name in model.output}


def loss_of_a_step(model, features, targets):
    model.reset_metrics()
    return float(model.train_on_batch(features, *targets, return_dict=True)["loss"])


def assert_learns(model, schema, features):
    """One step changes weights, and the loss is finite and about the targets."""
    right, wrong = targets_of(model, schema, VALUES), targets_of(model, schema, OTHER_VALUES)
    before = model.get_weights()
    first, other, again = (loss_of_a_step(model, features, targets) for targets in (right, wrong, right))
    assert np.isfinite([first, other, again]).all()
    # A step moves the loss too, but hardly.
    assert abs(other - first) > max(10 * abs(again - first), 1e-3)
    assert any(not np.array_equal(new, old) for new, old in zip(model.get_weights(), before, strict=True))


def assert_same_answers(folder, cells, wanted):
    served = tf.saved_model.load(str(folder)).signatures["serving_default"](**cells)
    assert served.keys() == {*wanted, "status"}
    for name, tensor in wanted.items():
        if tensor.dtype == tf.string:
            assert served[name].numpy().tolist() == tensor.numpy().tolist()
        else:
            np.testing.assert_allclose(served[name], tensor, atol=1e-5, rtol=1e-5, err_msg=name)
    return [status.decode() for status in served["status"].numpy()]


@pytest.mark.parametrize(("fusion", "count", "task"), [marked(case) for case in CASES])
def test_any_fusion_any_columns_any_task(fusion, count, task, columns, rows, write_saved_model, tmp_path):
    names = COUNTS[count]
    schema = schema_of(fusion, {name: columns[name] for name in names}, task)
    keras.utils.set_random_seed(5)
    network = build_network(schema.columns, schema.fusion, schema.targets)
    model = network.model
    owns = {own_prediction(target, name) for target in schema.targets for name in names}
    assert {*model.output} == {*schema.targets, *(owns if count != "one" else ())}

    cells, features = rows(names)
    compile_model(network, schema.train, pd.Series(["train"] * ROWS))
    model.run_eagerly = count == "seven"  # a step of seven encoders is traced in test_everything.py
    assert_learns(model, schema, features)

    write_saved_model(network, schema, tmp_path / "model")
    predictions = network.told(network.all_told)(features, training=False)
    for target, head in walk(schema.targets):
        assert np.ptp(predictions[target][:ONE_GONE], axis=0).max() > 1e-5  # or equality would say nothing
        np.testing.assert_allclose(predictions[target][ALL_GONE], head.prior, atol=1e-6)
    wanted = named_answers(schema.targets, predictions)
    if "column_weights" in predictions:
        wanted["column_weights"] = predictions["column_weights"]
        np.testing.assert_array_equal(wanted["column_weights"][ALL_GONE], np.zeros(len(names)))
        assert wanted["column_weights"][ONE_GONE, 0] == 0
    statuses = assert_same_answers(tmp_path / "model", cells, wanted)
    assert statuses[:ONE_GONE] == ["ok"] * ONE_GONE
    assert statuses[ALL_GONE] == "prior; " + "; ".join(f"missing: {name}" for name in names)


def encoded_by(modality, encoder):
    """An adapted column with another encoder."""
    return build("modality", modality.model_dump() | {"encoder": encoder}, "here")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_recurrent_columns_are_joined_without_a_warning(fusion, columns):
    """LSTMs hand Keras' own mask on with what they put out."""
    gru = {"type": "recurrent", "cell": "gru", "units": 2}
    recurrent = {
        "note": encoded_by(columns["note"], {"type": "recurrent", "both_ways": True, "units": 2}),
        "sensor": encoded_by(columns["sensor"], {"type": "recurrent", "units": 2, "pooling": "last"}),
        "clip": encoded_by(columns["clip"], [COLUMNS["clip"]["encoder"][0], gru]),
    }
    schema = schema_of(fusion, recurrent, "classification")
    network = build_network(schema.columns, schema.fusion, schema.targets)
    assert any("bidirectional" in layer.name for layer in network.branches["note"].model.layers)
