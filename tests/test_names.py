"""Names of columns and targets that people use: they work, or the error says which one to change."""

import json
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_models import model_of, scores_of

from mmkeras.contracts.config import parse_config
from mmkeras.contracts.registry import find
from mmkeras.evaluate import evaluate
from mmkeras.evaluation import baselines
from mmkeras.evaluation.judging import Said
from mmkeras.evaluation.models import Model, models_in
from mmkeras.export import export
from mmkeras.network.build import build_network
from mmkeras.network.inference import predict_rows
from mmkeras.predict import predict
from mmkeras.report import report
from mmkeras.reporting.results import Results
from mmkeras.reporting.sections.columns import columns_part
from mmkeras.reporting.sections.target import target_part
from mmkeras.reporting.summary import best_other
from mmkeras.table.manifest import read_table
from mmkeras.train import train

COLUMNS = {"产品 名称": {"type": "category"}, "a/b [red] {x}": {"type": "number"}, "../Größe (cm)?": {"type": "number"}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training whose columns have letters of several scripts, and whose target is called as a feature is."""
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 60)
    table = pd.DataFrame({
        "产品 名称": np.array(["车", "a b"])[kinds],
        "a/b [red] {x}": kinds + rng.normal(size=60),
        "../Größe (cm)?": rng.normal(size=60),
        "present": np.array(["да", "[bold]no[/bold]"])[kinds],
    })  # fmt: skip
    table.to_csv(folder / "table 表.csv", index=False)
    config = parse_config({
        "manifest": str(folder / "table 表.csv"),
        "columns": COLUMNS,
        "fusion": {"type": "weighted", "width": 4, "units": [4]},
        "targets": {"present": {"type": "classification"}},
        "train": {"epochs": 2},
    })  # fmt: skip
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    return train(str(folder / "config.yaml"), run=folder / "a run")


def test_a_target_may_be_called_as_a_feature_is(run):
    assert run.config.targets.keys() == {"present"} <= find("modality", "number")().features.keys()
    assert run.metrics["test"]["present"]["accuracy"] >= 0


def test_columns_keep_their_names_for_people(run, capfd):
    found = scores_of(evaluate(run))["present"]
    assert {f"the same without {column}" for column in COLUMNS} <= found.keys()
    shown = capfd.readouterr()
    assert all(column.split()[0] in shown.out + shown.err for column in COLUMNS)


def test_an_exported_model_says_how_they_are_called(run, tmp_path):
    folder = export(run, tmp_path / "model")
    told = json.loads((folder / "assets.extra" / "signature.json").read_text(encoding="utf-8"))
    assert sorted(told["columns"].values()) == sorted(COLUMNS)
    assert all(name.isascii() and name.isidentifier() for name in told["inputs"])

    manifest = read_table(run.config.manifest)
    wanted, statuses = predict_rows(run.network(), run.schema, manifest)
    cells = {
        name: tf.constant(manifest.rows[column]) if column == "产品 名称" else manifest.rows[column].astype(np.float32)
        for name, column in told["columns"].items()
    }
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    got = serve(**{name: tf.constant(values) for name, values in cells.items()})
    np.testing.assert_allclose(got["probabilities"], wanted["present"], atol=1e-5)
    assert [status.decode() for status in got["status"].numpy()] == statuses.tolist()


@pytest.mark.slow
def test_what_columns_are_worth_alone_stays_in_the_runs_folder(run):
    evaluate(run, baselines=True)
    assert len(list((run.folder / "alone").iterdir())) == len(COLUMNS)
    assert {path.name for path in run.folder.parent.iterdir()} == {"a run", "config.yaml", "table 表.csv"}


# Names that cannot be


@pytest.mark.parametrize(
    ("targets", "columns", "message"),
    [
        (["column_weights"], ["a"], 'target "column_weights": the exported model calls another output so; rename'),
        (["status"], ["a"], 'target "status": the exported model calls another output so; rename the column'),
        (["a"], ["a"], 'target "a" is an input column too: the model would be told the answer'),
        (["标签"], ["a"], 'target "标签": expected letters a to z, digits and underscores'),
        (["my label"], ["a"], 'target "my label": expected letters a to z, digits and underscores'),
        (["y", "y_by_a"], ["a", "b"], 'target "y_by_a": what one column alone predicts is called so; rename'),
        (["y"], ["a b", "a_b"], 'columns "a b" and "a_b" are both a_b in the model; rename one'),
    ],
)
def test_names_that_are_refused(targets, columns, message):
    with pytest.raises(ValueError) as error:
        parse_config({
            "columns": {column: {"type": "number"} for column in columns},
            "targets": {target: {"type": "classification"} for target in targets},
        })  # fmt: skip
    assert message in str(error.value)


def network_with(target, adapted):
    keras.backend.clear_session()  # Keras numbers its layers: the first one is `dense`
    head = find("head", "classification")().adapt(pd.Series(["1", "2"], dtype=object))
    columns = {name: adapted(find("modality", "number")()) for name in "ab"}
    return build_network(columns, find("fusion", "concat")(), {target: head, "y": head})


def test_a_target_that_is_called_as_a_layer_is(adapted):
    with pytest.raises(ValueError, match='^target "y_joint": a layer inside the model is called so; rename the'):
        network_with("y_joint", adapted)


@pytest.mark.parametrize("target", ["or_absent", "dense"])
def test_a_target_may_be_called_as_a_layer_inside_a_column_is(target, adapted):
    network = network_with(target, adapted)
    assert target in network.model.output
    assert target in [layer.name for layer in network.branches["a"].model.layers]


# Columns that are called as models are

SOUNDING = ("nothing but x", "without x", "x")


@pytest.fixture(scope="module")
def sounding(tmp_path_factory):
    """A training whose label follows "nothing but x"; the other columns tell nothing."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({column: rng.normal(size=90).round(3) for column in SOUNDING})
    table["label"] = np.where(table["nothing but x"] > 0, "up", "down")
    settings = {"fusion.type": "weighted", "fusion.units": [8], "train.epochs": 12, "train.learning_rate": 0.05}
    folder = tmp_path_factory.mktemp("sounding")
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return train(table.astype(str), overrides, target="label", run=folder / "run")


@pytest.mark.slow
def test_columns_that_are_called_as_models_are_confuse_nobody(sounding, monkeypatch, capsys):
    """From the judged rows to evaluation.json, the terminal and the page: each figure stands beside its column."""
    scorer = sounding.schema.targets["label"].scorer

    def network_alone(run, column, judged):
        truth = run.schema.targets["label"].encode_target(judged.rows["label"])
        return {"label": Said(scorer, truth, np.tile(scorer.prior, (len(truth), 1)))}

    monkeypatch.setattr(baselines, "_network_alone", network_alone)
    part = evaluate(sounding, baselines=True)["targets"]["label"]
    printed = capsys.readouterr().out

    kinds = ("without", "only", "classical", "classical_without", "network")
    records = [(each["kind"], each["column"]) for each in part["models"]]
    assert len(records) == len(set(records)) and {*records} == {
        ("own", None), ("prior", None), ("classical", None), *((kind, column) for kind in kinds for column in SOUNDING)
    }  # fmt: skip
    names = [model.words for model in models_in(part)]
    assert len(names) == len(set(names))

    wanted = {column: [figure_of(sounding, part, kind, column) for kind in ("without", "only")] for column in SOUNDING}
    assert wanted["nothing but x"][1] > 0.8 > wanted["nothing but x"][0]
    for column, (without, only) in wanted.items():
        assert re.search(rf"│ {column} +│ +{without:.3f} │ +[-+][\d.]+ │ +{only:.3f} │", printed), column

    results = Results(sounding)
    assert [each["column"] for each in columns_part(results)[0]["missing"]] == list(SOUNDING)
    beside = list(target_part(results, "label")["models"])
    assert beside == [model for model in models_in(part) if model.kind not in ("without", "only")]
    assert best_other(results, "label") in beside
    page = report(sounding, explain=False).read_text(encoding="utf-8")
    assert "<bdi>nothing but x</bdi>" in page and "is the column that counts most" in page
    for column, figures in wanted.items():
        row = page.partition("If a column is missing")[2].partition(f"<bdi>{column}</bdi>")[2].partition("</tr>")[0]
        assert [float(value) for value in re.findall(r'<data value="([^"]+)" data-at="[^"]+/scores/', row)] == figures


def figure_of(run, part, kind, column):
    """A model's accuracy, worked out from the answers to rows whose cells are emptied."""
    rows = run.table().rows[(run.splits == "test").to_numpy()].reset_index(drop=True)
    emptied = [column] if kind == "without" else [other for other in SOUNDING if other != column]
    answers = predict(run, rows.assign(**dict.fromkeys(emptied, "")))
    accuracy = model_of(part, Model(kind, column))["scores"]["accuracy"]
    assert accuracy == pytest.approx((answers["label"] == rows["label"]).mean())
    return accuracy
