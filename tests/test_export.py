"""The SavedModel's folder: what travels with it, and what is refused. Its answers: test_parity.py."""

import json

import pytest
from fixtures_tables import LABELS

from mmkeras.config import parse_config
from mmkeras.export import export

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


def test_folder_in_a_folder_that_does_not_exist_is_made(run, tmp_path):
    folder = export(run.folder, tmp_path / "new" / "model")
    assert (folder / "saved_model.pb").is_file()


def test_run_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run folder: it holds no config.yaml"):
        export(tmp_path, tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        export(tmp_path / "nowhere", tmp_path / "model")
