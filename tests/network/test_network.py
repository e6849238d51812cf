"""A network's parts: branches that are saved alone, what joins them, outputs by name, answers with a temperature."""

import keras
import numpy as np
import pandas as pd
import pytest
from fixtures_groups import UNITS, group_of

from mmkeras.contracts.config import build
from mmkeras.contracts.encoding import COLUMN_WEIGHTS, FUSED, present_of, vector_of
from mmkeras.contracts.registry import find
from mmkeras.network.build import build_network
from mmkeras.network.graph import BranchGraph


@pytest.fixture
def columns(adapted):
    return {
        "size": adapted(find("modality", "number")(bins=3, units=4)),
        "colour": adapted(find("modality", "category")(width=3, min_count=1)),
    }


@pytest.fixture
def heads():
    return {"kind": find("head", "classification")().adapt(pd.Series(["a", "b", "a", "c"], dtype=object))}


def built(columns, heads, fusion="weighted", seed=1, groups=None):
    keras.utils.set_random_seed(seed)
    return build_network(columns, find("fusion", fusion)(width=5, units=(6,)), heads, groups=groups)


def rows_of(network):
    """Three rows of the columns' features, the last without any cell."""
    return {
        column: {
            name: np.zeros((3, *tensor.shape[1:]), tensor.dtype) if name != "present" else np.float32([1, 1, 0])
            for name, tensor in features.items()
        }
        for column, features in network.model.input.items()
    }


def encoded(network, rows):
    return {
        name: branch.model({column: rows[column] for column in branch.columns})
        for name, branch in network.branches.items()
    }


def test_a_columns_weights_go_to_a_network_of_other_columns(columns, heads, tmp_path):
    first = built(columns, heads)
    rows = rows_of(first)
    for how in ("values", "file"):
        alone = built({"a first one": columns["colour"], "size": columns["size"]}, heads, seed=2)
        before = alone.branches["size"].model({"size": rows["size"]})["vector"].numpy()
        if how == "values":
            alone.set_column_weights("size", first.column_weights("size"))
        else:
            first.branches["size"].model.save_weights(tmp_path / "size.weights.h5")
            alone.branches["size"].model.load_weights(tmp_path / "size.weights.h5")
        after, wanted = (
            each.branches["size"].model({"size": rows["size"]})["vector"].numpy() for each in (alone, first)
        )
        np.testing.assert_array_equal(after, wanted)
        assert np.abs(before - wanted).max() > 1e-3


def test_a_columns_weights_go_from_one_group_to_another(columns, heads):
    """Of the matrix that reads columns together only the column's rows change."""
    size = columns["size"]
    first = built({"b": size, "c": size}, heads, groups={"numbers": group_of("b", "c")})
    second = built({"a": size, "b": size, "d": size}, heads, seed=2, groups={"numbers": group_of("a", "b", "d")})
    (own,) = first.column_weights("b")
    assert own.shape == (1, UNITS)
    before = [weight.numpy() for weight in second.model.weights]
    second.set_column_weights("b", [own])
    np.testing.assert_array_equal(second.column_weights("b")[0], own)
    changed = [np.argwhere(weight.numpy() != old) for weight, old in zip(second.model.weights, before, strict=True)]
    (rows,) = [each for each in changed if len(each)]
    assert {*rows[:, 0]} == {1}


def test_weights_of_another_encoder_are_refused(columns, heads):
    network = built(columns, heads)
    before = network.model.get_weights()
    with pytest.raises(ValueError, match='column "size": expected weights of shapes'):
        network.set_column_weights("size", network.column_weights("colour"))
    for weight, old in zip(network.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_columns_that_are_read_together_are_one_for_the_fusion(columns, heads):
    together = {"a": columns["size"], "colour": columns["colour"], "b": columns["size"]}
    network = built(together, heads, groups={"numbers": group_of("a", "b")})
    assert {name: branch.columns for name, branch in network.branches.items()} == {
        "colour": ("colour",),
        "numbers": ("a", "b"),
    }
    assert [network.branch_of(column) for column in together] == ["numbers", "colour", "numbers"]
    assert list(network.model.output) == ["kind_by_colour", "kind_by_numbers", "kind"]
    rows = rows_of(network)
    assert network.told([COLUMN_WEIGHTS])(rows)[COLUMN_WEIGHTS].shape == (3, 2)
    # One of two cells is enough to be there; without any the learned vector stands in.
    rows["a"]["present"], rows["b"]["present"] = np.float32([1, 0, 0]), np.float32([0, 1, 0])
    told = network.told([present_of("numbers"), vector_of("numbers")])(rows)
    np.testing.assert_array_equal(told[present_of("numbers")], [1, 1, 0])
    rows["a"]["value"] += 7
    after = network.told([vector_of("numbers")])(rows)[vector_of("numbers")].numpy()
    differs = np.abs(after - told[vector_of("numbers")].numpy()).max(axis=1) > 1e-6
    np.testing.assert_array_equal(differs, [True, False, False])


def test_every_weight_is_a_branchs_or_joins_them(columns, heads):
    network = built(columns, heads)
    own = [id(weight) for branch in network.branches.values() for weight in branch.model.weights]
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
    np.testing.assert_array_equal(told[vector_of("size")], encoded(network, rows)["size"]["vector"])
    np.testing.assert_allclose(told[COLUMN_WEIGHTS].numpy().sum(axis=1), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize(("fusion", "parts"), [("weighted", {"vector", "present"}), ("transformer", None)])
def test_what_joins_columns_runs_on_what_they_are_encoded_to(fusion, parts, columns, heads):
    keras.utils.set_random_seed(1)
    settings = {"width": 8, "heads": 2} if fusion == "transformer" else {}
    network = build_network(columns, find("fusion", fusion)(**settings), heads)
    joint, rows = network.joint(["kind"]), rows_of(network)
    assert set(joint.input["size"]) == (parts or {"vector", "tokens", "mask", "present"})
    parts = encoded(network, rows)
    read = {branch: {part: parts[branch][part] for part in each} for branch, each in joint.input.items()}
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


def test_a_branchs_model_is_cut_and_goes_on_from_there(adapted):
    modality = adapted(
        build(
            "modality",
            {"type": "image", "height_px": 8, "width_px": 10, "encoder": {"type": "picture", "filters": [2, 3]}},
            "x",
        )
    )
    head = find("head", "classification")().adapt(pd.Series(["a", "b"], dtype=object))
    network = built({"photo": modality}, {"kind": head})
    graph = BranchGraph(network.branches["photo"].model)
    rng = np.random.default_rng(0)
    rows = {
        name: rng.normal(size=(3, *tensor.shape[1:])).astype("float32") if name != "present" else np.float32([1, 0, 1])
        for name, tensor in graph.inputs["photo"].items()
    }
    rows = {"photo": keras.tree.map_structure(keras.ops.convert_to_tensor, rows)}
    wanted = graph.model(rows)
    picture = next(each.output for each in reversed(graph.operations) if isinstance(each, keras.layers.Conv2D))
    assert [each.name for each in graph.takers(picture)] and graph.after(picture)
    parts = graph.onwards([picture])([graph.until(picture)(rows)], rows)
    for name, values in wanted.items():
        np.testing.assert_allclose(parts[name], values, atol=1e-6, err_msg=name)
