"""What every fusion keeps: a column that is absent does not matter, weights are shares, settings survive JSON."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from fixtures_encodings import SHAPES, batch, fused_model, predicting_model

from mmkeras.components.heads.classification import Classification
from mmkeras.contracts.config import build
from mmkeras.contracts.fusion import own_prediction
from mmkeras.contracts.registry import find, members

FUSIONS = members("fusion")
# The model gives it a learned vector in place of an absent column's, and so there is nothing left to hide.
SEES_ABSENT_VECTORS = {"concat"}
NO_WEIGHTS = {"concat", "tensor", "similarity"}

# Every set of present columns, down to none
PATTERNS = np.array(list(itertools.product([1, 0], repeat=3)), np.float32)


@pytest.fixture(scope="module")
def head():
    return Classification().adapt(pd.Series(["x", "y", "x", "z"], dtype=object))


@pytest.fixture(scope="module")
def fused():
    """A function: a fusion's name -> it with three columns, as a model that each test shares."""
    known = {}

    def model(name):
        if name not in known:
            known[name] = fused_model(find("fusion", name)(), SHAPES)
        return known[name]

    return model


def rows(seed=0):
    return batch(SHAPES, dict(zip("abc", PATTERNS.T, strict=True)), seed)


def other_where_absent(features):
    """The same rows with other content, a thousand times as large, in every cell that is absent."""
    others = {
        column: {name: 1000 * part + 7 for name, part in parts.items() if name != "present"}
        for column, parts in rows(seed=1).items()
    }
    changed = {}
    for column, parts in features.items():
        there = parts["present"]
        changed[column] = {"present": there}
        for name, other in others[column].items():
            is_there = there.reshape(-1, *[1] * (other.ndim - 1)) > 0
            changed[column][name] = np.where(is_there, parts[name], other).astype(np.float32)
        changed[column]["mask"] = np.where(there[:, None] > 0, parts["mask"], 1 - parts["mask"]).astype(np.float32)
    return changed


@pytest.mark.parametrize("name", FUSIONS)
def test_what_an_absent_column_holds_does_not_matter(name, fused):
    model, features = fused(name), rows()
    before, after = model(features), model(other_where_absent(features))
    assert before["vector"].shape[0] == len(PATTERNS)
    assert np.isfinite(before["vector"]).all()
    assert np.array_equal(before["vector"], after["vector"]) != (name in SEES_ABSENT_VECTORS)
    if "weights" in before:
        np.testing.assert_array_equal(before["weights"], after["weights"])


@pytest.mark.parametrize("name", FUSIONS)
def test_what_a_present_column_holds_matters(name, fused):
    features = rows()
    before = np.array(fused(name)(features)["vector"])
    for i, column in enumerate("abc"):
        changed = features | {column: features[column] | {"vector": features[column]["vector"] + 1}}
        differs = (np.array(fused(name)(changed)["vector"]) != before).any(axis=1)
        assert differs[PATTERNS[:, i] > 0].all()


@pytest.mark.parametrize("name", sorted(set(FUSIONS) - NO_WEIGHTS))
def test_weights_are_shares_of_what_is_present(name, fused):
    weights = np.array(fused(name)(rows())["weights"])
    assert weights.shape == PATTERNS.shape
    assert (weights[PATTERNS == 0] == 0).all()
    assert (weights[PATTERNS == 1] > 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), PATTERNS.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("name", sorted(NO_WEIGHTS))
def test_a_fusion_without_such_a_figure_has_no_weights(name, fused):
    assert "weights" not in fused(name).output


@pytest.mark.parametrize("name", FUSIONS)
def test_predictions_of_all_columns_and_of_one(name, head):
    columns = predicting_model(find("fusion", name)(), SHAPES, {"t": head})
    assert columns.output.keys() - {"weights"} == {"t", *(own_prediction("t", column) for column in SHAPES)}
    assert {layer.name for layer in columns.layers} >= {"t_prediction", *(own_prediction("t", c) for c in SHAPES)}
    one = predicting_model(find("fusion", name)(), {"b": SHAPES["b"]}, {"t": head})
    assert one.output.keys() - {"weights"} == {"t"}
    assert {layer.name for layer in one.layers} >= {"t_prediction"}

    for model, features in ((columns, rows()), (one, {"b": rows()["b"]})):
        found = {output: np.array(values) for output, values in model(features).items()}
        some = np.max([parts["present"] for parts in features.values()], axis=0) > 0
        for output in found.keys() - {"weights"}:
            assert found[output].shape == (len(PATTERNS), 3)
            np.testing.assert_allclose(found[output][some].sum(axis=1), 1, atol=1e-5)
        if "weights" in found:
            np.testing.assert_allclose(found["weights"].sum(axis=1), some, atol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
def test_the_order_of_a_dict_does_not_matter(name, fused):
    model = fused(name)
    other = fused_model(find("fusion", name)(), dict(reversed(SHAPES.items())))
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(rows())["vector"], other(rows())["vector"])


@pytest.mark.parametrize("name", FUSIONS)
def test_a_model_is_saved_and_read_back(name, fused, tmp_path):
    import keras

    fused(name).save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(rows())["vector"], fused(name)(rows())["vector"])


SETTINGS = {
    "attention": {"width": 5, "units": (7, 3)},
    "concat": {"units": ()},
    "decision": {"join": "vote", "units": (7,)},
    "gated": {"width": 5, "dropout": 0.1},
    "similarity": {"width": 5},
    "tensor": {"rank": 3, "width": 5},
    "transformer": {"width": 6, "heads": 3, "depth": 1},
    "weighted": {"width": 5, "column_loss": 0.5},
}


@pytest.mark.parametrize("name", FUSIONS)
def test_settings_survive_json(name):
    fusion = find("fusion", name)(**SETTINGS[name])
    settings = json.loads(fusion.model_dump_json())
    assert settings["type"] == name
    assert build("fusion", settings, "here") == fusion != find("fusion", name)()
