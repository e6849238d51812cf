"""Keras callbacks of a training: checkpoints that can be continued, progress, a stop with a reason."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, say

tf = lazy("tensorflow")

FOLLOWED = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


class Checkpoints(keras.callbacks.Callback):
    """Writes all that a training needs to go on after every epoch: variables, optimizer, best weights, patience.

    It comes last in the list, after the callbacks that it follows, and knows the best epoch (counted from 0), its
    weights, and the history so far.

    Args:
        folder: Where the newest checkpoint lies.
        followed: Early stopping, then other callbacks whose patience is saved too.
    """

    def __init__(self, folder: Path, followed: list[keras.callbacks.Callback]):
        super().__init__()
        self.folder, self.followed = folder, followed
        self.early_stopping = followed[0]
        self.history: dict[str, list[float]] = {}
        self.next_epoch = 0
        self.has_stopped = False
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] | None = None
        self._states: list[dict[str, Any]] = []

    def restore(self, model: keras.Model) -> None:
        """Sets a compiled model to the newest checkpoint, if there is one."""
        paths = sorted(self.folder.glob("epoch-*.npz"))
        if not paths:
            return
        with np.load(paths[-1], allow_pickle=False) as saved:
            state = json.loads(str(saved["state"]))
            for i, variable in enumerate(self._variables(model)):
                variable.assign(saved[f"variable_{i}"])
            self.best_weights = [saved[f"best_{i}"] for i in range(len(model.weights))]
        self.history, self.next_epoch, self.has_stopped = state["history"], state["next_epoch"], state["has_stopped"]
        self.best_epoch, self._states = state["best_epoch"], state["callbacks"]

    def on_train_begin(self, logs: Any = None) -> None:
        for callback, state in zip(self.followed, self._states, strict=False):
            for key, value in state.items():
                setattr(callback, key, value)
        self.early_stopping.best_weights = self.best_weights

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self.next_epoch, self.has_stopped = epoch + 1, bool(self.model.stop_training)
        self.best_epoch, self.best_weights = self.early_stopping.best_epoch, self.early_stopping.best_weights
        self._save()

    def _save(self) -> None:
        state = {
            "history": self.history,
            "next_epoch": self.next_epoch,
            "has_stopped": self.has_stopped,
            "best_epoch": self.best_epoch,
            "callbacks": [_state(callback) for callback in self.followed],
        }
        arrays = {f"variable_{i}": np.asarray(v) for i, v in enumerate(self._variables(self.model))}
        arrays |= {f"best_{i}": weight for i, weight in enumerate(self.best_weights)}
        self.folder.mkdir(exist_ok=True)
        older = list(self.folder.glob("epoch-*.npz"))
        path = self.folder / f"epoch-{self.next_epoch:05d}.npz"
        with open(path.with_suffix(".part"), "wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **arrays)
        os.replace(path.with_suffix(".part"), path)
        for old in older:
            old.unlink(missing_ok=True)

    @staticmethod
    def _variables(model: keras.Model) -> list[keras.Variable]:
        """Weights, moving statistics, dropout's random state, and the optimizer's."""
        return [*model.variables, *model.optimizer.variables]


class Progress(keras.callbacks.Callback):
    """A bar while an epoch runs, a line when it has ended.

    Args:
        epochs: At most.
        shown: {what to call it: (Keras' name on training rows, on validation rows)} of the figures in the line.
        early_stopping: Knows which epoch is the best; it comes before this one.
    """

    def __init__(self, epochs: int, shown: dict[str, tuple[str, str]], early_stopping: keras.callbacks.EarlyStopping):
        super().__init__()
        self.epochs, self.shown, self.early_stopping = epochs, shown, early_stopping

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()
        self.bar = progress(f"epoch {epoch + 1}/{self.epochs}", self.params["steps"])
        self.advance = self.bar.__enter__()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.advance(1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.bar.__exit__(None, None, None)
        logs = dict(logs or {})
        is_best = self.early_stopping.best_epoch == epoch
        trained = [f"{title} {logs[name]:.3f}" for title, (name, _) in self.shown.items()]
        judged = [f"valid {title} {logs[name]:.3f}" for title, (_, name) in self.shown.items()]
        figures = "  ".join(trained + judged)
        seconds = time.perf_counter() - self.started
        say(f"epoch {epoch + 1:3d}/{self.epochs}  {figures}  {seconds:.1f} s{'  best' if is_best else ''}")


class BoardWriter(keras.callbacks.Callback):
    """Writes what TensorBoard shows beside the scalars: the model's graph, and pictures after the epochs.

    A picture takes a tenth of a second, or a whole one of many classes. Every epoch has its pictures where that is
    little beside an epoch; of quick epochs as many have some as fit into `SHARE` of the time, and the last one has.

    Args:
        folder: Of the event files; not where Keras' own callback writes: TensorBoard may read one file of a folder.
        graph: What to show as the model.
        draw: () -> {name: (H, W, C) uint8 picture} of the epoch that has just ended.
    """

    SHARE = 0.05

    def __init__(self, folder: Path, graph: Any, draw: Callable[[], Mapping[str, np.ndarray]]):
        super().__init__()
        self.folder, self.graph, self.draw = folder, graph, draw

    def on_train_begin(self, logs: Any = None) -> None:
        self.writer = tf.summary.create_file_writer(str(self.folder))
        self.started, self.drawing_seconds, self.last_seconds = time.perf_counter(), 0.0, 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0:  # a training that goes on has its graph already
            with self.writer.as_default():
                tf.summary.graph(self.graph)
            self.writer.flush()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        started = time.perf_counter()
        is_last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not is_last and self.drawing_seconds + self.last_seconds > self.SHARE * (started - self.started):
            return
        with self.writer.as_default(epoch):
            for name, picture in self.draw().items():
                tf.summary.image(name, picture[None])
        self.writer.flush()
        self.last_seconds = time.perf_counter() - started
        self.drawing_seconds += self.last_seconds

    def on_train_end(self, logs: Any = None) -> None:
        self.writer.close()


class Seen(keras.metrics.Metric):
    """Keeps what a model said of rows while Keras judged them, evenly spaced if they are many; it gives no figure.

    So the predictions of each epoch's validation rows are there without a second pass. On one device only: of several
    each sees other rows.

    Args:
        rows: How many are judged, in one order.
        width: P of a prediction (B, P).
        most: How many are kept at most.
    """

    def __init__(self, rows: int, width: int, most: int = 1000):
        super().__init__(name="seen", dtype="float32")
        self.step = -(-rows // most)
        self.kept = self.add_variable((-(-rows // self.step), width), initializer="zeros", name="kept")
        self.count = self.add_variable((), initializer="zeros", dtype="int32", name="count")

    @property
    def predictions(self) -> np.ndarray:
        """(R, P) of every `step`-th row."""
        return keras.ops.convert_to_numpy(self.kept)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        rows = self.count + keras.ops.arange(keras.ops.shape(y_pred)[0], dtype="int32")
        places = keras.ops.where(rows % self.step == 0, rows // self.step, -1)  # -1, and beyond the end: nowhere
        kept = keras.ops.one_hot(places, self.kept.shape[0], dtype="float32")
        self.kept.assign_add(keras.ops.matmul(keras.ops.transpose(kept), keras.ops.cast(y_pred, "float32")))
        self.count.assign_add(keras.ops.shape(y_pred)[0])

    def result(self) -> dict[str, Any]:
        return {}


class StopAtNaN(keras.callbacks.Callback):
    """Ends a training whose loss is no number, and says what usually helps."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            raise ValueError(
                f"training: the loss became {logs['loss']} at step {batch + 1} of an epoch; expected a finite number; "
                "try a lower train.learning_rate (a tenth), and look for extreme values in the table"
            )


def _state(callback: keras.callbacks.Callback) -> dict[str, Any]:
    values = {key: getattr(callback, key) for key in FOLLOWED if hasattr(callback, key)}
    return {key: value if isinstance(value, int) or value is None else float(value) for key, value in values.items()}
