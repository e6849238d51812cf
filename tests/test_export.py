"""The SavedModel's folder: what travels with it, and what is refused. Its answers: test_parity.py."""

import json

import pandas as pd
import pytest
import yaml
from fixtures_tables import CONFIG, LABELS

from mmkeras.contracts.config import parse_config
from mmkeras.export import export
from mmkeras.predict import predict
from mmkeras.train import train

pytest_plugins = "fixtures_tables"


def test_labels_and_schema_travel_with_the_model(saved_model, run):
    extra = saved_model / "assets.extra"
    assert (extra / "intent_labels.txt").read_text().splitlines() == list(LABELS)
    schema = parse_config(json.loads((extra / "schema.json").read_text()))
    assert schema == run.schema
    assert schema.columns["question"].vocabulary


def test_only_the_finished_folder_appears(saved_model):
    assert [path.name for path in saved_model.parent.iterdir()] == [saved_model.name]
    assert (saved_model / "saved_model.pb").is_file()


def test_signature_takes_any_number_of_strings(saved_model):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - its operations are in the model

    serve = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    _, inputs = serve.structured_input_signature
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in inputs.items()} == {
        name: ([None], tf.string) for name in ("photo", "question", "voice")
    }


def test_folder_that_exists_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"exists already; choose another folder or delete it"):
        export(run, tmp_path)


def test_run_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run folder: it holds no config.yaml"):
        export(tmp_path, tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        export(tmp_path / "nowhere", tmp_path / "model")


@pytest.mark.slow
def test_a_column_may_have_any_name(own_table, tmp_path):
    import tensorflow as tf

    column = "вопрос 1/2"
    pd.read_csv(own_table).rename(columns={"question": column}).to_csv(own_table, index=False)
    config = own_table.with_name("named.yaml")
    text, photo = CONFIG["columns"]["question"], CONFIG["columns"]["photo"]
    config.write_text(yaml.safe_dump({**CONFIG, "columns": {column: text, "photo": photo}}))
    run = train(str(config), ["train.epochs=1"], run=tmp_path / "run")
    model = export(run, tmp_path / "model")
    told = json.loads((model / "assets.extra" / "signature.json").read_text())
    (key,) = (key for key, name in told["columns"].items() if name == column)
    assert key in told["inputs"]
    sentences = ["red car please back today", "the price"]
    cells = {key: tf.constant(sentences), "photo": tf.constant(["", ""])}
    answers = tf.saved_model.load(str(model)).signatures["serving_default"](**cells)
    asked = predict(run, pd.DataFrame({column: sentences, "photo": ["", ""]}))
    assert answers["probability"].numpy() == pytest.approx(asked["probability"].to_numpy(), abs=1e-5)
    assert [status.decode() for status in answers["status"].numpy()] == asked["status"].tolist()
