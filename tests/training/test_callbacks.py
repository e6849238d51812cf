"""What the callbacks keep, say and stop. A killed training as a whole: test_train.py."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras.training.callbacks import BoardWriter, Checkpoints, Seen, StopAtNaN


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


# What TensorBoard shows


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def drawn_epochs(folder, monkeypatch, *, epoch_seconds, picture_seconds, epochs=20, stop_after=None):
    """The epochs, counted from 0, that have a picture."""
    clock, drawn = Clock(), []
    monkeypatch.setattr("mmkeras.training.callbacks.time", clock)

    def draw():
        clock.now += picture_seconds
        return {"answers": np.zeros((2, 3, 4), np.uint8)}

    board = BoardWriter(folder, tf.Graph().as_graph_def(), draw)
    board.set_params({"epochs": epochs})
    board.set_model(type("Model", (), {"stop_training": False})())
    board.on_train_begin()
    for epoch in range(epochs):
        board.on_epoch_begin(epoch)
        clock.now += epoch_seconds
        before = clock.now
        board.model.stop_training = epoch == stop_after
        board.on_epoch_end(epoch)
        drawn += [epoch] if clock.now > before else []
        if board.model.stop_training:
            break
    board.on_train_end()
    assert sorted(events(folder)["answers"]) == drawn
    return drawn


def events(folder):
    """{tag: [step of each event]} of all event files of a folder; "graph" for graphs."""
    found = {}
    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags = ["graph"] if event.graph_def else [value.tag for value in event.summary.value]
            for tag in tags:
                found.setdefault(tag, []).append(event.step)
    return found


def test_every_epoch_has_its_picture_where_that_is_little(tmp_path, monkeypatch):
    assert drawn_epochs(tmp_path, monkeypatch, epoch_seconds=2, picture_seconds=0.09) == list(range(20))


def test_pictures_of_quick_epochs_take_a_twentieth_of_the_time(tmp_path, monkeypatch):
    drawn = drawn_epochs(tmp_path, monkeypatch, epoch_seconds=2, picture_seconds=0.4)
    assert drawn == [0, 7, 11, 15, 19]  # the first and the last whatever they cost


def test_the_last_epoch_has_a_picture_when_training_stops_early(tmp_path, monkeypatch):
    assert drawn_epochs(tmp_path, monkeypatch, epoch_seconds=1, picture_seconds=9, stop_after=3) == [0, 3]


def test_the_graph_is_written_once(tmp_path):
    for epochs in (range(2), range(2, 4)):  # stopped and gone on with
        board = BoardWriter(tmp_path, tf.Graph().as_graph_def(add_shapes=True), dict)
        board.set_params({"epochs": 4})
        board.set_model(type("Model", (), {"stop_training": False})())
        board.on_train_begin()
        for epoch in epochs:
            board.on_epoch_begin(epoch)
            board.on_epoch_end(epoch)
        board.on_train_end()
    assert events(tmp_path) == {"graph": [0]}


@pytest.mark.parametrize(("most", "rows"), [(8, slice(None)), (7, slice(0, 8, 2)), (3, slice(0, 8, 3))])
def test_seen_holds_what_the_model_said_of_validation_rows(most, rows):
    model, x, y = model_and_data()
    seen = Seen(8, 1, most)
    model.compile("sgd", loss="mse", metrics=[seen])
    history = model.fit(x, y, batch_size=3, validation_data=(x, y), epochs=2, verbose=0).history
    assert sorted(history) == ["loss", "val_loss"]
    np.testing.assert_allclose(seen.predictions, model.predict(x, verbose=0)[rows], rtol=1e-6)


def test_seen_changes_no_weight():
    found = []
    for metrics in ([], [Seen(8, 1)]):
        model, x, y = model_and_data()
        model.compile("adam", loss="mse", metrics=metrics)
        model.fit(x, y, batch_size=3, validation_data=(x, y), epochs=3, shuffle=False, verbose=0)
        found.append(model.get_weights())
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))
