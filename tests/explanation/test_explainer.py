"""Many columns, one column, every fusion: the graph run in parts says what the whole model says."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_encoders import SERIES, TEXT, roughened
from fixtures_everything import SMALL_FUSIONS, TARGETS, stacked
from fixtures_slow import few_of

from mmkeras.contracts.config import parse_config
from mmkeras.contracts.encoding import COLUMN_WEIGHTS
from mmkeras.contracts.registry import members
from mmkeras.explanation.explainer import Explainer, answers_of
from mmkeras.explanation.shapley import PERMUTATIONS, all_patterns
from mmkeras.features.preprocessing import Preprocessor
from mmkeras.network.build import build_network

GRADES = pd.Series(["low", "high", "middle", "low"], dtype=object)
GRU = {"type": "recurrent", "cell": "gru", "both_ways": False, "units": 3}
COLUMNS = {"note": TEXT | {"encoder": GRU}, "sensor": SERIES, "weight": {"type": "number", "bins": 2, "units": 3}}


@pytest.fixture(scope="module")
def made(adapted):
    """A function: columns, fusion -> an explainer of a model with random weights, and features of five rows."""

    def made(columns, fusion):
        config = parse_config({"columns": columns, "fusion": fusion, "targets": {"grade": TARGETS["grade"]}})
        known = {column: adapted(modality) for column, modality in config.columns.items()}
        heads = {"grade": config.targets["grade"].adapt(GRADES)}
        schema = config.model_copy(update={"columns": known, "targets": heads})
        keras.utils.set_random_seed(5)
        network = build_network(schema.columns, schema.fusion, schema.targets)
        roughened(network.model)
        return Explainer(network, schema, ["grade"]), features_of(schema)

    return made


def features_of(schema):
    """The second row has no cell of the first column, the third has none at all."""
    cells = {}
    for i, (column, modality) in enumerate(sorted(schema.columns.items())):
        examples = [modality.example(seed) for seed in range(5)]
        examples[2] = None
        examples[1] = None if i == 0 else examples[1]
        cells[column] = tf.constant(stacked(modality, examples), modality.cell.dtype)
    found = Preprocessor(schema.columns)(cells)
    return {column: {name: np.asarray(values) for name, values in each.items()} for column, each in found.items()}


def hidden(rows, pattern):
    return {
        column: {name: values * np.asarray(is_shown, values.dtype) for name, values in rows[column].items()}
        for column, is_shown in zip(sorted(rows), pattern, strict=True)
    }


@pytest.mark.parametrize("fusion", few_of(members("fusion"), "concat", "decision", "gated", "transformer"))
def test_every_pattern_is_what_the_whole_model_says(fusion, made):
    explainer, rows = made(COLUMNS, {"type": fusion, **SMALL_FUSIONS[fusion]})
    patterns = all_patterns(3)
    found = explainer.coalitions.predictions(rows, patterns)
    model = explainer.network.told(explainer.network.all_told)
    said = [model(hidden(rows, pattern), training=False) for pattern in patterns]
    for name in found:
        np.testing.assert_allclose(found[name], np.stack([each[name] for each in said]), atol=1e-5)
    assert (COLUMN_WEIGHTS in found) == (COLUMN_WEIGHTS in model.output)

    between = explainer.explain(rows, {"grade": None})["grade"]
    np.testing.assert_allclose(between.values.sum(axis=1), between.whole - between.prior, atol=1e-5)
    assert between.values[1, 0] == 0 and not between.values[2].any() and np.abs(between.values[[0, 3, 4]]).max() > 1e-3
    assert between.prior[0] == pytest.approx(explainer.schema.targets["grade"].prior[between.places[0]], abs=1e-6)


@pytest.mark.parametrize("fusion", few_of(members("fusion"), "concat", "decision", "transformer"))
def test_one_column_alone(fusion, made):
    explainer, rows = made({"sensor": SERIES}, {"type": fusion, **SMALL_FUSIONS[fusion]})
    between = explainer.explain(rows, {"grade": "high"})["grade"]
    wanted = explainer.network.model(rows, training=False)["grade"].numpy()
    assert explainer.schema.targets["grade"].scorer.parts == ("low", "middle", "high")
    np.testing.assert_allclose(between.whole, wanted[:, 2], atol=1e-6)
    np.testing.assert_allclose(between.values[:, 0], between.whole - between.prior, atol=1e-6)


def test_more_than_eight_columns_are_sampled(made):
    columns = {f"x{i}": {"type": "number", "bins": 2, "units": 2} for i in range(10)}
    explainer, rows = made(columns, {"type": "concat", "units": [4]})
    assert not explainer.is_exact
    between = explainer.explain(rows, {"grade": None})["grade"]
    np.testing.assert_allclose(between.values.sum(axis=1), between.whole - between.prior, atol=1e-5)
    assert between.values[1, 0] == 0 and not between.values[2].any()
    # The mean over 100 of 10! orders lies near the mean over all of them: as another 100 do.
    other = Explainer(explainer.network, explainer.schema, ["grade"], orders_seed=1)
    again = other.explain(rows, {"grade": None})["grade"]
    off = np.abs(between.values - again.values)[[0, 3, 4]]
    assert 0 < off.max() < 0.25 * np.abs(between.values).max() and PERMUTATIONS == 100


def test_a_columns_content_and_presence_are_its_shapley_value(made):
    """By hand: f of the sensor with and without its numbers, and without the sensor, beside each set of the others."""
    explainer, rows = made(COLUMNS, {"type": "gated", **SMALL_FUSIONS["gated"]})
    between = explainer.explain(rows, {"grade": "high"})["grade"]
    empty = {**rows, "sensor": rows["sensor"] | {"values": np.zeros_like(rows["sensor"]["values"])}}
    inside, presence = 0.0, 0.0
    for note, weight, share in ((0, 0, 1 / 3), (0, 1, 1 / 6), (1, 0, 1 / 6), (1, 1, 1 / 3)):
        asked = hidden(rows, (note, 1, weight)), hidden(empty, (note, 1, weight)), hidden(rows, (note, 0, weight))
        whole, baseline, absent = (
            explainer.network.model(each, training=False)["grade"].numpy()[:, 2] for each in asked
        )
        inside, presence = inside + share * (whole - baseline), presence + share * (baseline - absent)
    there = np.array([0, 1, 3, 4])
    np.testing.assert_allclose((inside + presence)[there], between.values[there, 1], atol=1e-5)
    some = {column: {name: values[there] for name, values in found.items()} for column, found in rows.items()}
    found = explainer.attribute("sensor", some, {"grade": between.factors[there]})
    np.testing.assert_allclose(found.whole - found.baseline, inside[there], atol=1e-5)
    total = found.by_method["integrated gradients"].sum(axis=(1, 2))
    np.testing.assert_allclose(total, inside[there], atol=0.021 * np.abs(inside).max() + 2e-4)


def test_untrained_weights_are_there_for_a_while_only(made):
    explainer, rows = made({"sensor": SERIES}, {"type": "concat", "units": [4]})
    before = explainer.network.model.get_weights()
    first = explainer.explain(rows, {"grade": "high"})["grade"].whole
    found = []
    for _ in range(2):
        with explainer.untrained():
            found.append(explainer.explain(rows, {"grade": "high"})["grade"].whole)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - first).max() > 1e-3
    for old, new in zip(before, explainer.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_answers_are_each_rows_own_unless_asked_for(made):
    schema = made({"sensor": SERIES}, {"type": "concat", "units": [4]})[0].schema
    assert answers_of(schema, None, None) == {"grade": None}
    assert answers_of(schema, "grade", "low") == {"grade": "low"}
