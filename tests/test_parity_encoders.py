"""Every encoder of every modality: a SavedModel of one column says of raw cells what the model says in this process."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - its operations are in the models
from fixtures_encoders import VARIANTS, every_variant, roughened, schema_of, some_cells, with_preset
from fixtures_everything import stacked

from mmkeras.contracts.config import build
from mmkeras.contracts.registry import find, members
from mmkeras.features.preprocessing import Preprocessor
from mmkeras.network.build import build_network
from mmkeras.serving.saved_model import write_saved_model

pytest_plugins = "fixtures_encoders"


def test_every_choice_is_here():
    """A new encoder, and a new word for a setting that knows several, are to be added to the variants."""
    columns = [build("modality", with_preset(settings, "some preset"), "here") for settings in VARIANTS.values()]
    encoders = [encoder for column in columns if column.offers for encoder in column.encoder]
    for kind, there in (("modality", columns), ("encoder", encoders)):
        for name in members(kind):
            of_name = [member for member in there if member.type_name() == name]
            assert of_name, name
            for field, schema in find(kind, name).model_json_schema()["properties"].items():
                tried = {getattr(member, field) for member in of_name} if "enum" in schema else set()
                assert tried >= {*schema.get("enum", ())}, (name, field)


@every_variant
def test_the_export_says_what_the_model_says(variant, settings, adapted, tmp_path):
    keras.utils.set_random_seed(1)
    schema = schema_of(settings, adapted)
    network = build_network(schema.columns, schema.fusion, schema.targets)
    model = roughened(network.model)
    write_saved_model(network, schema, tmp_path / "model")
    serve = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]

    modality = schema.columns["column"]
    cells = some_cells(modality)
    features = Preprocessor(schema.columns)({"column": tf.constant(cells, modality.cell.dtype)})
    wanted = model(features, training=False)["kind"].numpy()
    assert np.ptp(wanted[[0, 1, 3, 4]], axis=0).max() > 1e-3  # or equality would say nothing
    np.testing.assert_allclose(wanted[2], schema.targets["kind"].prior, atol=1e-6)

    together = serve(column=tf.constant(cells, modality.cell.dtype))
    np.testing.assert_allclose(together["probabilities"], wanted, atol=1e-5)
    assert together["status"].numpy().tolist() == [b"ok", b"ok", b"prior; missing: column", b"ok", b"ok"]
    for i, cell in enumerate([modality.example(11), modality.example(12), None]):
        alone = serve(column=tf.constant(stacked(modality, [cell]), modality.cell.dtype))
        np.testing.assert_allclose(alone["probabilities"], wanted[i : i + 1], atol=1e-5)
