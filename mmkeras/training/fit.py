"""Compiles and fits a model: optimizer, losses, schedule, early stopping, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say
from mmkeras.contracts.config import Config, Train
from mmkeras.contracts.fusion import own_prediction
from mmkeras.contracts.registry import walk
from mmkeras.features.batches import Source, batches, training_batches
from mmkeras.network.build import loss_weight_of
from mmkeras.training.run import Run

if TYPE_CHECKING:
    import keras as keras_types

    from mmkeras.training.callbacks import Checkpoints, Seen

keras = lazy("keras")
callbacks = lazy("mmkeras.training.callbacks")


# Names of weights that are no kernel of a layer: of normalisation, and the learned vectors and numbers of layers.py
UNDECAYED = ["bias", "beta", "gamma", "absent", "scores", "token", "vector", "log_variance", "steps"]


def compile_model(model: keras_types.Model, schema: Config, split: pd.Series) -> dict[str, Seen]:
    """Gives a model its optimizer, and each output the loss of its head.

    Returns:
        What will hold each epoch's predictions of the validation rows, by target; {} on several devices.
    """
    optimizer = _optimizer(schema.train, _steps_per_epoch(model, schema.train, split))
    outputs, seen = _outputs(model, schema), _seen(model, schema, split)
    model.compile(
        optimizer,
        loss={output: _loss(model, schema, output, target) for output, target in outputs.items()},
        loss_weights={output: _loss_weight(schema, output, target) for output, target in outputs.items()},
        # weighted, so that rows whose target is not known do not count
        weighted_metrics={
            target: [*head.metrics(), *([seen[target]] if seen else [])] for target, head in walk(schema.targets)
        },
    )
    optimizer.build(model.trainable_variables)
    return seen


def fit_model(
    run: Run,
    model: keras_types.Model,
    schema: Config,
    features: Source,
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]],
    split: pd.Series,
    watchers: Sequence[keras_types.callbacks.Callback] = (),
) -> Checkpoints:
    """Trains from the run's last checkpoint on.

    Args:
        run: Keeps the checkpoints and TensorBoard's events.
        model: Compiled.
        schema: Of the run.
        features: Of the whole table.
        targets: {target: (encoded (N, …), how much each row counts (N,))} of the whole table.
        split: Of each row.
        watchers: More that looks at the training without changing it.

    Returns:
        What knows the history and the best weights.

    Raises:
        ValueError: The loss became NaN or infinite.
    """
    settings, outputs = schema.train, _outputs(model, schema)
    rows = {name: np.flatnonzero(split == name) for name in ("train", "valid")}
    trained = training_targets(model, schema, targets)
    # What columns alone predict does not count on validation rows: the best epoch is that of what was asked for.
    judged = {output: (known, weights * (output in targets)) for output, (known, weights) in trained.items()}
    followed = _stop_and_plateau(schema, outputs)
    checkpoints = callbacks.Checkpoints(run.checkpoints, followed)
    checkpoints.restore(model)
    if checkpoints.next_epoch:
        say(f"going on after epoch {checkpoints.next_epoch} of {settings.epochs}")
    epochs = range(checkpoints.next_epoch, settings.epochs)
    if not epochs or checkpoints.has_stopped:
        return checkpoints
    _build_losses(model, trained)
    batch_size = _batch_rows(model, settings, split)
    model.fit(
        training_batches(
            features,
            rows["train"],
            trained,
            schema.columns,
            batch_size=batch_size,
            epochs=epochs,
            seed=settings.seed,
            modality_dropout=settings.modality_dropout,
        ),
        validation_data=batches(features, rows["valid"], batch_size, judged),
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        steps_per_epoch=_steps_per_epoch(model, settings, split),
        shuffle=False,  # the batches are shuffled already
        verbose=0,
        callbacks=[
            *followed,
            *_watchers(run.folder / run_files.TENSORBOARD, settings.epochs, shown_figures(model, schema), followed[0]),
            *watchers,
            checkpoints,
        ],
    )
    return checkpoints


def training_targets(
    model: keras_types.Model, schema: Config, targets: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{output: (encoded (N, …), weights (N,))} of all that the model predicts, from the same of the targets."""
    return {output: _finite(targets[target]) for output, target in _outputs(model, schema).items()}


def shown_figures(model: keras_types.Model, schema: Config) -> dict[str, tuple[str, str]]:
    """{what to call it: (Keras' name on training rows, on validation rows)} of the figures worth showing."""
    names = {}
    for target, head in walk(schema.targets):
        for figure in ("loss", *(metric.name for metric in head.metrics())):
            logged = figure if len(model.output_names) == 1 else f"{target}_{figure}"
            names[figure if len(schema.targets) == 1 else logged] = logged, f"val_{logged}"
    if "loss" in names:
        # Of several outputs Keras averages each one's loss over batches, however many rows the last one has.
        names["loss"] = names["loss"][0], "val_loss"
    return names


def _outputs(model: keras_types.Model, schema: Config) -> dict[str, str]:
    """{output: target} of all that the model predicts: the targets, and what columns alone say of them."""
    owns = {own_prediction(target, column): target for target in schema.targets for column in schema.columns}
    return {output: owns.get(output, output) for output in model.output_names}


def _seen(model: keras_types.Model, schema: Config, split: pd.Series) -> dict[str, Seen]:
    judged = int((split == "valid").sum())
    if not judged or model.distribute_strategy.num_replicas_in_sync > 1:
        return {}
    return {target: callbacks.Seen(judged, model.output[target].shape[-1]) for target in schema.targets}


def _finite(target: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A target that is not known weighs nothing, but nothing times NaN is NaN."""
    values, weights = target
    return np.nan_to_num(values), weights


def _loss(model: keras_types.Model, schema: Config, output: str, target: str) -> Any:
    """The head's loss, for a target itself weighed by what its layer has learned where that is asked for.

    References:
        Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses, 2018, arXiv:1705.07115.
    """
    loss = schema.targets[target].loss()
    if output != target or schema.train.loss_weights == "fixed":
        return loss
    layer = model.get_layer(loss_weight_of(target))

    def weighed_by_uncertainty(targets: Any, predictions: Any) -> Any:
        log_variance = keras.ops.convert_to_tensor(layer.log_variance)
        return keras.ops.exp(-log_variance) * loss(targets, predictions) + log_variance

    return weighed_by_uncertainty


def _build_losses(model: keras_types.Model, trained: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Has Keras make the variables that count losses: made within the training step, they have it traced twice.

    On several devices Keras does so itself.
    """
    if model.distribute_strategy.num_replicas_in_sync > 1:
        return
    targets, weights = ({output: each[i][:1] for output, each in trained.items()} for i in range(2))
    predictions = {output: keras.ops.zeros((1, *model.output[output].shape[1:])) for output in trained}
    model.compute_loss(y=targets, y_pred=predictions, sample_weight=weights)  # fit begins by forgetting the figures


def _loss_weight(schema: Config, output: str, target: str) -> float:
    return schema.targets[target].loss_weight * (1.0 if output == target else schema.fusion.column_loss)


def _optimizer(settings: Train, steps_per_epoch: int) -> keras_types.optimizers.Optimizer:
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        steps = settings.epochs * steps_per_epoch
        warmup = min(steps_per_epoch, steps // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 10, steps - warmup, alpha=0.1, warmup_target=rate, warmup_steps=warmup
        )
    if not settings.weight_decay:
        return keras.optimizers.Adam(rate, clipnorm=settings.clip_norm)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, clipnorm=settings.clip_norm)
    optimizer.exclude_from_weight_decay(var_names=UNDECAYED)
    return optimizer


def _batch_rows(model: keras_types.Model, settings: Train, split: pd.Series) -> int:
    """How many rows train at once: as many on each device, since Keras averages the first batch over the devices."""
    devices = model.distribute_strategy.num_replicas_in_sync
    rows = min(settings.batch_size, int((split == "train").sum()))
    return max(rows // devices, 1) * devices


def _steps_per_epoch(model: keras_types.Model, settings: Train, split: pd.Series) -> int:
    return int((split == "train").sum()) // _batch_rows(model, settings, split)


def _stop_and_plateau(schema: Config, outputs: Mapping[str, str]) -> list[Any]:
    """Early stopping and, where the schedule is that, the reduction of the learning rate."""
    settings = schema.train
    monitor, mode = _monitored(schema, outputs)
    stop = keras.callbacks.EarlyStopping(monitor, mode=mode, patience=settings.patience, restore_best_weights=True)
    if settings.schedule != "plateau":
        return [stop]
    factor, patience = settings.plateau_factor, settings.plateau_patience
    return [stop, keras.callbacks.ReduceLROnPlateau(monitor, mode=mode, factor=factor, patience=patience)]


def _monitored(schema: Config, outputs: Mapping[str, str]) -> tuple[str, str]:
    """The figure that chooses the best epoch, as Keras logs it, and whether lower or higher is better."""
    if schema.train.monitor == "loss":
        return "val_loss", "min"
    target, head = next(iter(schema.targets.items()))
    metric = head.metrics()[0].name
    return f"val_{metric}" if len(outputs) == 1 else f"val_{target}_{metric}", "max"


def _watchers(events: Path, epochs: int, shown: dict[str, str], stop: Any) -> list[Any]:
    """What looks at a training without changing it."""
    return [
        callbacks.StopAtNaN(),
        keras.callbacks.TensorBoard(events, write_graph=False),
        callbacks.Progress(epochs, shown, stop),
    ]
