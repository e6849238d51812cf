"""What a fusion can learn, on vectors whose truth is known: what only two columns together tell, and what is noise."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from fixtures_encodings import batch, predicting_model
from fixtures_slow import few_of

from mmkeras.components.heads.classification import Classification
from mmkeras.contracts.registry import find, members

FUSIONS = members("fusion")
# Each column decides by itself: what only a pair tells is out of reach.
SEES_NO_PAIRS = {"decision"}
# Not the transformer: where its attention goes says less, since a token that is looked at may hold anything by then.
# It gave the noise least in six of seven runs.
FINDS_NOISE = {"attention": {}, "gated": {}, "weighted": {}, "decision": {"join": "weights"}}

SHAPES = {"a": (5, 3, 4), "b": (6, 4, 2), "noise": (7, 2, 3)}
BATCH = 128


def directions(count, width, seed):
    found = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def exclusive_or(rows, seed):
    """Two columns that each hold a bit, seen clearly; the class says whether the bits differ."""
    shapes = {column: SHAPES[column] for column in "ab"}
    bits = np.random.default_rng(seed).integers(2, size=(rows, 2))
    features = batch(shapes, np.ones(rows), seed)
    for i, column in enumerate("ab"):
        direction = directions(1, SHAPES[column][0], seed=100 + i)
        noise = 0.5 * features[column]["vector"]
        features[column]["vector"] = noise + 1.5 * (2 * bits[:, i : i + 1] - 1).astype(np.float32) * direction
    return shapes, features, bits[:, 0] ^ bits[:, 1]


def one_of_three_is_noise(rows, seed):
    """Two columns that each see one of three classes dimly; a third column that sees nothing."""
    classes = np.random.default_rng(seed).integers(3, size=rows)
    features = batch(SHAPES, np.ones(rows), seed)
    for i, column in enumerate("ab"):
        features[column]["vector"] += 2.5 * directions(3, SHAPES[column][0], seed=100 + i)[classes]
    return SHAPES, features, classes


def trained(fusion, task, seed):
    """A model that has seen 512 rows of a task, with the losses that a run has."""
    keras.utils.set_random_seed(seed)
    shapes, features, classes = task(512, seed)
    head = Classification().adapt(pd.Series(sorted(set(classes.astype(str))), dtype=object))
    model = predicting_model(fusion, shapes, {"t": head})
    outputs = {name: tensor for name, tensor in model.output.items() if name != "weights"}
    learner = keras.Model(model.input, outputs)
    learner.compile(keras.optimizers.Adam(0.01), dict.fromkeys(outputs, head.loss()), jit_compile=False)
    rows = tf.data.Dataset.from_tensor_slices((features, dict.fromkeys(outputs, classes)))
    learner.fit(rows.cache().shuffle(len(classes), seed=seed).batch(BATCH), epochs=20, shuffle=False, verbose=0)
    return model


def judged(model, task):
    """(accuracy on rows not seen, the columns' mean weights)."""
    _, features, classes = task(1000, seed=1000)
    found = model(features)
    accuracy = np.mean(np.argmax(found["t"], axis=1) == classes)
    return accuracy, np.mean(found["weights"], axis=0) if "weights" in found else None


@pytest.mark.parametrize("name", few_of(FUSIONS, "attention", "concat", "decision"))
def test_what_only_two_columns_together_tell(name):
    accuracy, _ = judged(trained(find("fusion", name)(), exclusive_or, seed=1), exclusive_or)
    assert accuracy <= 0.65 if name in SEES_NO_PAIRS else accuracy >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("name", FINDS_NOISE)
def test_a_column_of_noise_counts_least(name, seed):
    fusion = find("fusion", name)(**FINDS_NOISE[name])
    accuracy, weights = judged(trained(fusion, one_of_three_is_noise, seed), one_of_three_is_noise)
    assert accuracy > 0.85
    assert weights[2] < min(weights[:2]) - 0.02
