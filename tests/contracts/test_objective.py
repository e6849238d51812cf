"""What every objective promises, tried on all that are there: a new file is tested by being there."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_groups import group_of

from mmkeras.contracts.building import build
from mmkeras.contracts.objective import DEFAULT, DEFAULT_ENDPOINT, Example, Objective
from mmkeras.contracts.registry import find, members
from mmkeras.network.build import build_network
from mmkeras.serving.saved_model import _endpoints

OBJECTIVES = members("objective")
every_objective = pytest.mark.parametrize("name", OBJECTIVES)
ROWS = 6
COLUMNS = {
    "a note": {
        "type": "text", "encoder": "bag", "max_tokens": 6, "vocabulary_size": 120, "embedding_width": 4, "ngrams": 1,
        "ngram_buckets": 30, "ngram_width": 3,
    },
    "photo": {
        "type": "image", "height_px": 8, "width_px": 10, "encoder": {"type": "picture", "filters": [2]},
        "size_bins": 2, "thumbnail_px": 2,
    },
    "length": {"type": "number", "bins": 3, "units": 4},
    "weight": {"type": "number", "bins": 3, "units": 4},
}  # fmt: skip
GROUPS = {"alone": {}, "together": {"size": group_of("length", "weight")}}


@pytest.fixture(scope="module")
def columns(adapted):
    return {column: adapted(build("modality", settings, column)) for column, settings in COLUMNS.items()}


@pytest.fixture(scope="module", params=GROUPS)
def networks(columns, adapted_head, request):
    """A function: names of objectives -> a network that is trained for them; numbers are read alone, or together."""
    heads = {"label": adapted_head(find("head", "classification")())}
    fusion = build("fusion", {"type": "concat", "units": [5]}, "here")
    known = {}

    def network(*names):
        if names not in known:
            objectives = {name: find("objective", name)() for name in names}
            answered = heads if any(each.answers for each in objectives.values()) else {}
            keras.utils.set_random_seed(1)
            known[names] = build_network(columns, fusion, answered, objectives=objectives, groups=GROUPS[request.param])
        return known[names]

    return network


@pytest.fixture(scope="module")
def features(columns):
    """{column: {feature: (B, …)}} of cells that are all different; the last row has none, the one before the note."""
    batch = {}
    for column, modality in columns.items():
        cells = [modality.preprocess(tf.constant(modality.example(i), modality.cell.dtype)) for i in range(ROWS)]
        batch[column] = {feature: tf.stack([cell[feature] for cell in cells]) for feature in cells[0]}
    rows = np.arange(ROWS)
    return {
        column: {
            feature: tf.where(np.reshape(rows < ROWS - 1 - (column == "a note"), (-1, *[1] * (len(values.shape) - 1))),
                              values, tf.zeros_like(values))
            for feature, values in tensors.items()
        }
        for column, tensors in batch.items()
    }  # fmt: skip


def example_of(network, features, seed=5, is_training=True):
    """A batch before any objective has seen it."""
    targets = {}
    for target, head in network.setting.heads.items():
        encoded = head.encode_target(pd.Series(["1", "2", "3", "2", "1", ""], dtype=object))
        targets[target] = tf.constant(encoded), tf.constant(head.sample_weights(encoded))
    cells = {column: tf.range(ROWS, dtype=tf.int64) for column in features}
    return Example(features, {}, {}, targets, cells, tf.constant([seed, 2]), is_training)


def told(network, names, features, columns=None):
    columns = columns or features.keys()
    return network.told(names, columns)({column: features[column] for column in columns}, training=False)


@every_objective
def test_terms_name_what_is_trained(name, networks):
    network = networks(name)
    terms = network.objectives[name].terms(network.setting, network.model)
    assert terms.keys() == network.model.output.keys() != set()
    assert all(output in network.setting.heads for output, term in terms.items() if term.is_answer)
    assert all("." in output for output in terms if not network.objectives[name].answers)  # no target is called so


@every_objective
@pytest.mark.parametrize("is_training", [True, False])
def test_an_example_has_truths_and_weights_of_what_is_trained(name, is_training, networks, features):
    network = networks(name)
    given = example_of(network, features, is_training=is_training)
    given = replace(given, truths={"other": tf.zeros(ROWS)}, weights={"other": tf.zeros(ROWS)})
    example = network.objectives[name].example(given, network.setting)
    assert example.truths.keys() == example.weights.keys() == {*network.model.output, "other"}
    for output in network.model.output:
        assert example.truths[output].shape[0] == ROWS
        weights = example.weights[output].numpy()
        assert weights.shape == (ROWS,) and weights.dtype == np.float32
        assert (weights >= 0).all() and weights[-1] == 0  # nothing is known of the last row


@every_objective
def test_features_keep_their_specs(name, networks, columns, features):
    network = networks(name)
    example = network.objectives[name].example(example_of(network, features), network.setting)
    for column, modality in columns.items():
        got = {feature: (tensor.shape[1:], tensor.dtype) for feature, tensor in example.features[column].items()}
        assert got == {feature: (spec.shape, spec.dtype) for feature, spec in modality.features.items()}
        np.testing.assert_array_equal(example.features[column]["present"], features[column]["present"])


@every_objective
def test_an_example_follows_from_the_seed(name, networks, features):
    """In a graph, as tf.data runs it, with any number of rows."""
    network = networks(name)

    @tf.function
    def made(features, seed):
        given = replace(example_of(network, features), seed=seed)
        example = network.objectives[name].example(given, network.setting)
        return example.features, example.truths, example.weights

    first, again = (tf.nest.flatten(made(features, tf.constant([3, 2]))) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@every_objective
def test_a_loss_is_one_finite_number_a_row(name, networks, features):
    network = networks(name)
    example = network.objectives[name].example(example_of(network, features), network.setting)
    outputs = network.model(example.features, training=False)
    for output, term in network.terms.items():
        values = np.asarray(term.loss(tf.cast(example.truths[output], tf.float32), outputs[output]))
        assert values.shape == (ROWS,)
        assert np.isfinite(values[example.weights[output].numpy() > 0]).all()


@every_objective
def test_every_weight_of_what_is_trained_learns(name, networks, features):
    """What an objective leaves out is no part of what Keras trains; a gradient may be 0 of these few rows."""
    network = networks(name)
    example = network.objectives[name].example(example_of(network, features), network.setting)
    with tf.GradientTape() as tape:
        outputs = network.model(example.features, training=True)
        losses = [
            tf.reduce_sum(term.loss(tf.cast(example.truths[output], tf.float32), outputs[output])[: ROWS - 1])
            for output, term in network.terms.items()
        ]
        loss = tf.add_n(losses)
    variables = [variable.value for variable in network.model.trainable_variables]
    gradients = tape.gradient(loss, variables)
    named = {id(value): gradient for value, gradient in zip(variables, gradients, strict=True)}
    assert [variable.path for variable in network.model.trainable_variables if named[id(variable.value)] is None] == []
    for name in network.trained_branches:
        own = [named[id(variable.value)] for variable in network.branches[name].model.trainable_variables]
        assert any(np.any(tf.convert_to_tensor(gradient)) for gradient in own), name


@every_objective
def test_endpoints_depend_on_their_columns_alone(name, networks, features):
    network = networks(name)
    endpoints = network.objectives[name].endpoints(network.setting, network.outputs)
    assert endpoints
    for endpoint in endpoints.values():
        assert {*endpoint.outputs} <= network.outputs.keys()
        assert {*endpoint.columns} <= {
            column for name in network.trained_branches for column in network.branches[name].columns
        }
        answer = endpoint.answer(told(network, endpoint.outputs, features, endpoint.columns))
        assert answer.keys() == endpoint.descriptions.keys()
        assert "status" not in answer
        assert all(tensor.shape[0] == ROWS for tensor in answer.values())
        assert endpoint.empty


@every_objective
def test_vectors_of_rows_are_outputs(name, networks, features):
    network = networks(name)
    vectors = network.objectives[name].vectors(network.setting)
    assert not {*vectors} & {"row", "status"}
    for vector in told(network, list(vectors.values()), features).values() if vectors else ():
        assert vector.shape[0] == ROWS and len(vector.shape) == 2


@every_objective
def test_a_loss_is_judged_with_an_interval(name):
    losses = np.array([1.0, 2.0, np.nan, 3.0, 1.0, 2.0])
    figures = find("objective", name)().judge({"x.y": losses, "none": np.full(6, np.nan)}, np.arange(6))
    assert figures["none"] == {}
    assert figures["x.y"]["loss"] == pytest.approx(1.8)
    assert figures["x.y"]["loss_low"] < 1.8 < figures["x.y"]["loss_high"]


def test_all_of_them_share_one_network(networks, features):
    """No two call an output, an endpoint or a vector alike."""
    network = networks(*OBJECTIVES)
    trained = [output for name in OBJECTIVES for output in networks(name).model.output]
    assert sorted(network.model.output) == sorted(trained)
    each = [networks(name).objectives[name].endpoints(networks(name).setting, network.outputs) for name in OBJECTIVES]
    assert len(_endpoints(network)) == sum(map(len, each))
    vectors = [vector for name in OBJECTIVES for vector in network.objectives[name].vectors(network.setting)]
    assert len(vectors) == len({*vectors})


def test_a_client_that_names_no_endpoint_gets_answers(networks):
    reverse = OBJECTIVES[::-1] if OBJECTIVES[0] == DEFAULT else OBJECTIVES
    assert reverse[0] != DEFAULT
    assert next(iter(_endpoints(networks(*reverse)))) == DEFAULT_ENDPOINT


def test_what_no_objective_learns_of_has_no_part(networks):
    """A number has no tokens: its weights are no part of the model, which would save them as they began."""
    network = networks("masked")
    assert network.trained_branches == ["a note", "photo"]
    assert networks("contrastive").trained_branches == list(network.branches)
    saved = {id(variable) for variable in network.model.variables}
    assert {name for name, each in network.branches.items() if saved & {*map(id, each.model.variables)}} == {
        "a note",
        "photo",
    }


def test_prediction_reads_answers_only(networks):
    """What is found again of all rows would not fit into memory."""
    names = networks(*OBJECTIVES).all_told
    assert names == networks(DEFAULT).all_told
    assert not {*names} & {*networks("masked").model.output, *networks("contrastive").model.output}


def test_the_base_class_refuses_nothing():
    assert Objective(weight=2.5).weight == 2.5
    assert Objective().check(None) is None
