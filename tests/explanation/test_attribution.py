"""Attributions inside a column, of every encoder of every modality, and by hand where the answer is known."""

from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_encoders import every_variant, roughened, schema_of, some_cells

from mmkeras.contracts.config import parse_config
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import find, members
from mmkeras.explanation.attribution import (
    GRADIENTS,
    MOST_STEPS,
    OCCLUSION,
    TOLERANCE,
    Averaged,
    Column,
    attribute,
    parts_of,
)
from mmkeras.explanation.coalitions import Coalitions
from mmkeras.explanation.explainer import Explainer, of_rows
from mmkeras.explanation.grad_cam import NAME as GRAD_CAM
from mmkeras.features.preprocessing import Preprocessor
from mmkeras.network.build import build_network
from mmkeras.network.layers.time import NgramBag

pytest_plugins = "fixtures_encoders"
# Layer normalizations of two channels, one after another, jump beside the baseline: no number of steps is enough.
STEEP = {"image resnet"}
THERE = np.array([0, 1, 3, 4])  # of `some_cells`; the third one is missing


@pytest.fixture
def explainer(settings, adapted):
    keras.utils.set_random_seed(1)
    schema = schema_of(settings, adapted)
    return Explainer(rough_network(schema), schema, ["kind"])


def rough_network(schema):
    network = build_network(schema.columns, schema.fusion, schema.targets)
    roughened(network.model)
    return network


def rows_of(schema):
    modality = schema.columns["column"]
    features = Preprocessor(schema.columns)({"column": tf.constant(some_cells(modality), modality.cell.dtype)})
    return {"column": {name: np.asarray(values) for name, values in features["column"].items()}}


def documented_shape(modality):
    """As the modality's docstring says it."""
    size = modality.features
    return {
        "text": lambda: size["tokens"].shape,
        "image": lambda: size["pixels"].shape[:-1],
        "audio": lambda: size["spectrum"].shape,
        "video": lambda: size["frames"].shape[:-1],
        "timeseries": lambda: size["values"].shape,
        "number": lambda: (),
        "category": lambda: (),
    }[modality.type_name()]()


@pytest.mark.parametrize("name", members("modality"))
def test_every_modality_says_what_its_attribution_is(name):
    modality = find("modality", name)
    assert "\nAttribution: (" in __import__(modality.__module__, fromlist="_").__doc__
    assert modality.content and modality.content not in modality.switches and "present" in modality.switches


@every_variant
def test_attributions_have_the_stated_shape_and_add_up(variant, explainer):
    rows = rows_of(explainer.schema)
    modality = explainer.schema.columns["column"]
    between = explainer.explain(rows, {"kind": None})["kind"]
    np.testing.assert_allclose(between.values.sum(axis=1), between.whole - between.prior, atol=1e-5)
    assert between.values[2] == 0 and np.abs(between.values[THERE]).max() > 1e-3

    some = of_rows(rows, THERE)
    found = explainer.attribute("column", some, {"kind": between.factors[THERE]})
    np.testing.assert_allclose(found.whole, between.whole[THERE], atol=1e-5)
    for values in found.by_method.values():
        assert values.shape == (4, *documented_shape(modality))
        assert np.isfinite(values).all()
    is_padding = some["column"][modality.content] == 0
    reached = next(iter(found.by_method.values()))
    assert np.abs(reached).max() > 0
    extra = tuple(range(reached.ndim, is_padding.ndim))
    assert not reached[is_padding.all(axis=extra) if extra else is_padding].any()
    if "pretrained" in variant:
        assert list(found.by_method) == [OCCLUSION] and np.isnan(found.errors).all()
        return
    assert next(iter(found.by_method)) == GRADIENTS and (GRAD_CAM in found.by_method) == modality.has_grad_cam
    if variant in STEEP:
        assert (found.steps[found.errors > TOLERANCE] == MOST_STEPS).all()
        return
    assert (found.errors < TOLERANCE).all(), (found.errors, found.steps)
    if modality.features.keys() - modality.switches == {modality.content}:  # nothing else has a part
        total = reached.reshape(4, -1).sum(axis=1)
        np.testing.assert_allclose(total, found.whole - found.baseline, atol=0.021 * np.abs(total).max() + 2e-4)


def test_the_baseline_keeps_the_cell_there_and_takes_its_content(adapted):
    """What f of the baseline is, asked of the whole model: zeros in place of pixels and size, present still 1."""
    schema = schema_of({"type": "image", "height_px": 8, "width_px": 10, "encoder": {"filters": [2]}}, adapted)
    keras.utils.set_random_seed(2)
    explainer = Explainer(rough_network(schema), schema, ["kind"])
    rows = of_rows(rows_of(schema), THERE)
    factors = np.tile([0, 1.0, 0], (4, 1))
    found = explainer.attribute("column", rows, {"kind": factors})
    empty = {name: values if name == "present" else np.zeros_like(values) for name, values in rows["column"].items()}
    wanted = explainer.network.model({"column": empty}, training=False)["kind"].numpy()[:, 1]
    np.testing.assert_allclose(found.baseline, wanted, atol=1e-6)


# By hand


def test_a_linear_model_is_explained_exactly():
    """Of f = w x + b over two series of 2 steps and 1 channel: a step's attribution is its weight times its value."""

    class Two(Modality):
        """Two steps of one channel, as they are."""

        content: ClassVar = "values"

        @property
        def features(self):
            return {"values": tf.TensorSpec((2, 1), tf.float32), "present": tf.TensorSpec((), tf.float32)}

        def preprocess(self, cell):
            raise AssertionError("not asked")

        def encode(self, inputs):
            values = inputs["values"]
            return Encoding(
                keras.layers.Flatten()(values), values, keras.ops.ones_like(values[..., 0]), inputs["present"]
            )

    head = find("head", "regression")().adapt(pd.Series(["-1", "1"], dtype=object))
    network = build_network({"column": Two()}, find("fusion", "concat")(units=()), {"price": head})
    network.model.get_layer("price_joint").set_weights([np.array([[2.0], [-3.0]]), np.array([0.5])])
    column = Column(coalitions := Coalitions(network, ["price"]), "column", Two())
    rows = {"column": {"values": np.array([[[1.0], [4.0]], [[0.0], [-1.0]]], np.float32), "present": np.ones(2, "f4")}}
    found = attribute(
        Averaged([column.prepared(rows, coalitions.encode(rows))], [1.0]), {"price": np.full((2, 1), 10.0)}
    )
    np.testing.assert_allclose(found.by_method[GRADIENTS], [[[20], [-120]], [[0], [30]]], rtol=1e-5)
    np.testing.assert_allclose(found.baseline, [5, 5], rtol=1e-6)
    np.testing.assert_allclose(found.whole, [-95, 35], rtol=1e-6)
    np.testing.assert_allclose(found.errors, 0, atol=1e-5)


@pytest.mark.parametrize("up_to", [1, 2, 3])
def test_pieces_of_an_ngram_bag_add_up_and_divide_ngrams_equally(up_to):
    bag = NgramBag(up_to, 30, 4)
    tokens = tf.constant([[5, 6, 7, 0, 0], [3, 0, 0, 0, 0], [0, 0, 0, 0, 0], [2, 3, 4, 5, 6]])
    wanted, pieces = bag(tokens).numpy(), bag.pieces(tokens).numpy()
    np.testing.assert_allclose(pieces.sum(axis=1), wanted, atol=1e-7)
    assert not pieces[0, 3:].any() and not pieces[2].any()
    # Of the first text the middle piece has its own vector and half or a third of each n-gram that holds it.
    vectors = [bag.embedding(ids).numpy()[0] for ids in bag._hashed(tokens)]
    middle = vectors[0][1]
    if up_to > 1:
        middle = middle + (vectors[1][0] + vectors[1][1]) / 2
    if up_to > 2:
        middle = middle + vectors[2][0] / 3
    np.testing.assert_allclose(pieces[0, 1], middle / {1: 3, 2: 5, 3: 6}[up_to], atol=1e-7)


@pytest.mark.parametrize("shape", [(), (5,), (48, 48), (3, 151, 47), (2000, 2)])
def test_parts_are_few_neighbours(shape):
    parts = parts_of(shape)
    assert parts.shape == shape and parts.min() == 0
    assert sorted(np.unique(parts)) == list(range(parts.max() + 1)) and parts.max() < 64
    assert np.bincount(parts.ravel()).max() <= 4 * np.bincount(parts.ravel()).min()


# What has no slope


def test_votes_are_explained_by_occlusion(adapted):
    config = parse_config({
        "columns": {"a": {"type": "number"}, "note": {"type": "text", "encoder": "bag", "max_tokens": 5}},
        "fusion": {"type": "decision", "join": "vote", "units": [4]},
        "targets": {"kind": {"type": "classification"}},
    })  # fmt: skip
    heads = {"kind": config.targets["kind"].adapt(pd.Series(["x", "y", "x"], dtype=object))}
    schema = config.model_copy(
        update={"columns": {name: adapted(each) for name, each in config.columns.items()}, "targets": heads}
    )
    keras.utils.set_random_seed(4)
    explainer = Explainer(rough_network(schema), schema, ["kind"])
    cells = {"a": tf.constant([1.0, -60.0]), "note": tf.constant(["red car", "boat 7 boat"])}
    rows = {
        column: {name: np.asarray(values) for name, values in found.items()}
        for column, found in Preprocessor(schema.columns)(cells).items()
    }
    between = explainer.explain(rows, {"kind": "x"})["kind"]
    for column in ("a", "note"):
        found = explainer.attribute(column, rows, {"kind": between.factors})
        assert list(found.by_method) == [OCCLUSION]
        assert np.isfinite(found.by_method[OCCLUSION]).all()
    # Beside nothing and beside the note, each half.
    alone = {**rows, "note": {name: np.zeros_like(values) for name, values in rows["note"].items()}}
    wanted = (found_difference(explainer, rows) + found_difference(explainer, alone)) / 2
    found = explainer.attribute("a", rows, {"kind": between.factors}).by_method[OCCLUSION]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def found_difference(explainer, rows):
    """The answer of the rows less that of the same with the number at its mean, asked of the whole model."""
    changed = {**rows, "a": rows["a"] | {"value": np.zeros_like(rows["a"]["value"])}}
    first, second = (explainer.network.model(each, training=False)["kind"].numpy()[:, 0] for each in (rows, changed))
    return first - second
