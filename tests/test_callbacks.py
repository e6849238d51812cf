"""What the callbacks keep, say and stop. A killed training as a whole: test_train.py."""

import math

import keras
import numpy as np
import pytest

from mmkeras.callbacks import Checkpoints, StopAtNaN


def model_and_data():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(keras.layers.Dense(5)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    optimizer = keras.optimizers.Adam(0.1)
    model.compile(optimizer, loss="mse")
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    return model, rng.normal(size=(8, 3)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")


def followed():
    return [
        keras.callbacks.EarlyStopping(patience=50, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(patience=1),
    ]


def train(folder, epochs, *, start=0):
    model, x, y = model_and_data()
    callbacks = followed()
    checkpoints = Checkpoints(folder, callbacks)
    checkpoints.restore(model)
    assert checkpoints.next_epoch == start
    model.fit(
        x, y, validation_data=(x, -y), epochs=epochs, initial_epoch=start, shuffle=False, verbose=0,
        callbacks=[*callbacks, checkpoints],
    )  # fmt: skip
    return checkpoints


def test_training_in_two_parts_equals_one(tmp_path):
    whole = train(tmp_path / "whole", 7)
    train(tmp_path / "parts", 4)
    second = train(tmp_path / "parts", 7, start=4)
    assert second.history == whole.history
    assert all(np.array_equal(a, b) for a, b in zip(second.best_weights, whole.best_weights, strict=True))


def test_nothing_to_restore_leaves_a_model_alone(tmp_path):
    model, *_ = model_and_data()
    before = model.get_weights()
    checkpoints = Checkpoints(tmp_path / "nowhere", followed())
    checkpoints.restore(model)
    assert (checkpoints.next_epoch, checkpoints.has_stopped, checkpoints.history) == (0, False, {})
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_only_the_newest_checkpoint_is_kept_without_pickle_and_half_a_one_is_not_used(tmp_path):
    train(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00002.npz"]
    with np.load(tmp_path / "epoch-00002.npz", allow_pickle=False) as saved:
        assert all(saved[name].dtype != object for name in saved.files)
    (tmp_path / "epoch-00003.part").write_bytes(b"half")
    model, *_ = model_and_data()
    checkpoints = Checkpoints(tmp_path, followed())
    checkpoints.restore(model)
    assert checkpoints.next_epoch == 2


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_loss_that_is_no_number_stops(loss):
    message = (
        r"training: the loss became -?(nan|inf) at step 3 .*expected a finite number; try a lower train.learning_rate"
    )
    with pytest.raises(ValueError, match=message):
        StopAtNaN().on_train_batch_end(2, {"loss": loss})


def test_finite_loss_goes_on():
    StopAtNaN().on_train_batch_end(2, {"loss": 1e30})
