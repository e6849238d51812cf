"""A network's parts: columns that are saved alone, what joins them, outputs by name, answers with a temperature."""

import keras
import numpy as np
import pandas as pd
import pytest

from mmkeras.contracts.config import build
from mmkeras.contracts.encoding import COLUMN_WEIGHTS, FUSED, present_of, vector_of
from mmkeras.contracts.registry import find
from mmkeras.network.build import build_network
from mmkeras.network.graph import ColumnGraph


@pytest.fixture
def columns(adapted):
    return {
        "size": adapted(find("modality", "number")(bins=3, units=4)),
        "colour": adapted(find("modality", "category")(width=3, min_count=1)),
    }


@pytest.fixture
def heads():
    return {"kind": find("head", "classification")().adapt(pd.Series(["a", "b", "a", "c"], dtype=object))}


def built(columns, heads, fusion="weighted", seed=1):
    keras.utils.set_random_seed(seed)
    return build_network(columns, find("fusion", fusion)(width=5, units=(6,)), heads)


def rows_of(network):
    """Three rows of the columns' features, the last without any cell."""
    return {
        column: {
            name: np.zeros((3, *tensor.shape[1:]), tensor.dtype) if name != "present" else np.float32([1, 1, 0])
            for name, tensor in model.input.items()
        }
        for column, model in network.columns.items()
    }


def test_a_columns_weights_go_to_a_network_of_other_columns(columns, heads, tmp_path):
    first = built(columns, heads)
    first.columns["size"].save_weights(tmp_path / "size.weights.h5")
    alone = built({"a first one": columns["colour"], "size": columns["size"]}, heads, seed=2)
    rows = rows_of(first)["size"]
    before = alone.columns["size"](rows)["vector"].numpy()
    alone.columns["size"].load_weights(tmp_path / "size.weights.h5")
    after, wanted = (each.columns["size"](rows)["vector"].numpy() for each in (alone, first))
    np.testing.assert_array_equal(after, wanted)
    assert np.abs(before - wanted).max() > 1e-3


def test_every_weight_is_a_columns_or_joins_them(columns, heads):
    network = built(columns, heads)
    own = [id(weight) for model in network.columns.values() for weight in model.weights]
    assert len(own) == len(set(own))
    every = {id(weight) for weight in network.model.weights}
    assert set(own) < every
    assert {layer.name for layer in network.model.layers} >= {"size", "colour"}


def test_outputs_are_told_by_name(columns, heads):
    network = built(columns, heads)
    assert list(network.model.output) == ["kind_by_colour", "kind_by_size", "kind"]
    assert network.all_told == ("kind_by_colour", "kind_by_size", "kind", COLUMN_WEIGHTS)
    names = [FUSED, COLUMN_WEIGHTS, vector_of("size"), present_of("size"), "kind"]
    rows = rows_of(network)
    told = network.told(names)(rows)
    assert list(told) == names
    np.testing.assert_array_equal(told["kind"], network.model(rows)["kind"])
    np.testing.assert_array_equal(told[vector_of("size")], network.columns["size"](rows["size"])["vector"])
    np.testing.assert_allclose(told[COLUMN_WEIGHTS].numpy().sum(axis=1), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize(("fusion", "parts"), [("weighted", {"vector", "present"}), ("transformer", None)])
def test_what_joins_columns_runs_on_what_they_are_encoded_to(fusion, parts, columns, heads):
    keras.utils.set_random_seed(1)
    settings = {"width": 8, "heads": 2} if fusion == "transformer" else {}
    network = build_network(columns, find("fusion", fusion)(**settings), heads)
    joint, rows = network.joint(["kind"]), rows_of(network)
    assert set(joint.input["size"]) == (parts or {"vector", "tokens", "mask", "present"})
    encoded = {column: model(rows[column]) for column, model in network.columns.items()}
    read = {column: {part: encoded[column][part] for part in each} for column, each in joint.input.items()}
    np.testing.assert_allclose(joint(read)["kind"], network.model(rows)["kind"], atol=1e-6)


def test_a_temperature_is_part_of_what_answers_are_made_with(columns, heads):
    network, rows = built(columns, heads), None
    rows = rows_of(network)
    tuned = {"kind": heads["kind"].model_copy(update={"temperature": 4.0})}
    answering = network.answering(tuned)
    plain, tempered = network.model(rows)["kind"].numpy(), answering.model(rows)["kind"].numpy()
    expected = plain[:2] ** 0.25 / (plain[:2] ** 0.25).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(tempered[:2], expected, atol=1e-6)
    np.testing.assert_array_equal(tempered[2], plain[2])  # the prior of a row without a cell
    np.testing.assert_array_equal(network.model(rows)["kind"], plain)  # the first one stays as it was
    for own, other in zip(network.model.weights, answering.model.weights, strict=True):
        assert own is other
    rebuilt = build_network(columns, find("fusion", "weighted")(width=5, units=(6,)), tuned)
    rebuilt.model.set_weights(network.model.get_weights())
    np.testing.assert_allclose(rebuilt.model(rows)["kind"], tempered, atol=1e-6)


def test_a_columns_model_is_cut_and_goes_on_from_there(adapted):
    modality = adapted(
        build(
            "modality",
            {"type": "image", "height_px": 8, "width_px": 10, "encoder": {"type": "picture", "filters": [2, 3]}},
            "x",
        )
    )
    head = find("head", "classification")().adapt(pd.Series(["a", "b"], dtype=object))
    network = built({"photo": modality}, {"kind": head})
    graph = ColumnGraph(network.columns["photo"])
    rng = np.random.default_rng(0)
    rows = {
        name: rng.normal(size=(3, *tensor.shape[1:])).astype("float32") if name != "present" else np.float32([1, 0, 1])
        for name, tensor in graph.inputs.items()
    }
    rows = keras.tree.map_structure(keras.ops.convert_to_tensor, rows)
    wanted = network.columns["photo"](rows)
    picture = next(each.output for each in reversed(graph.operations) if isinstance(each, keras.layers.Conv2D))
    assert [each.name for each in graph.takers(picture)] and graph.after(picture)
    parts = graph.onwards([picture])([graph.until(picture)(rows)], rows)
    for name, values in wanted.items():
        np.testing.assert_allclose(parts[name], values, atol=1e-6, err_msg=name)
