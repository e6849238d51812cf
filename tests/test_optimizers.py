"""Adam by one operation: the same weights as Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import optimizers


def trained(make, steps=5, **settings):
    """The weights of a table of vectors, which a step reads a few rows of, and of a dense layer, after some steps."""
    keras.utils.set_random_seed(3)
    tokens = keras.Input((4,), dtype="int32")
    vectors = keras.layers.Flatten()(keras.layers.Embedding(11, 3)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2)(vectors))
    rate = keras.optimizers.schedules.CosineDecay(0.01, 7)
    model.compile(make(rate, **settings), "mse")
    rng = np.random.default_rng(0)
    for _ in range(steps):
        model.train_on_batch(rng.integers(0, 6, (5, 4)), rng.normal(size=(5, 2)))
    return model.get_weights() + [np.asarray(variable) for variable in model.optimizer.variables]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adam", {}),
        ("Adam", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4}),
        ("AdamW", {"weight_decay": 0.1}),
        ("AdamW", {"weight_decay": 0.1, "clipnorm": 0.01}),
    ],
)
def test_the_weights_are_those_of_keras(name, settings):
    own, keras_own = (
        trained(getattr(optimizers, name), **settings),
        trained(getattr(keras.optimizers, name), **settings),
    )
    assert len(own) == len(keras_own)
    for ours, theirs in zip(own, keras_own, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_another_step_is_another_result():
    assert not np.allclose(trained(optimizers.Adam)[0], trained(optimizers.Adam, steps=4)[0], atol=1e-4)


def test_each_weight_is_one_operation():
    optimizer = optimizers.AdamW(0.01)
    weights = [keras.Variable(np.ones(size, "float32")) for size in (3, 5)]
    optimizer.build(weights)
    step = tf.function(lambda: optimizer.apply([tf.ones(3), tf.ones(5)], weights)).get_concrete_function()
    assert [operation.type for operation in step.graph.get_operations()].count("ResourceApplyAdam") == 2
