"""Compiles and fits a model: optimizer, losses, schedule, early stopping, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say
from mmkeras.contracts.config import Train
from mmkeras.features.batches import Source, Truth, batches, training_batches
from mmkeras.network.network import Network
from mmkeras.training.run import Run

if TYPE_CHECKING:
    import keras as keras_types

    from mmkeras.training.callbacks import Checkpoints, Seen

pd = lazy("pandas")
keras = lazy("keras")
callbacks = lazy("mmkeras.training.callbacks")


# Names of weights that are no kernel of a layer: of normalisation, and the learned vectors and numbers of layers.py
UNDECAYED = ["bias", "beta", "gamma", "absent", "scores", "token", "vector", "log_variance", "steps"]


def compile_model(network: Network, settings: Train, split: pd.Series) -> dict[str, Seen]:
    """Gives a network's model its optimizer, and each output the loss of its objective.

    Returns:
        What will hold each epoch's answers of the validation rows, by target; {} on several devices.
    """
    model, terms = network.model, network.terms
    optimizer = _optimizer(settings, _steps_per_epoch(model, settings, split))
    seen = _seen(network, split)
    model.compile(
        optimizer,
        loss={output: term.loss for output, term in terms.items()},
        loss_weights={output: term.weight for output, term in terms.items()},
        # weighted, so that rows whose target is not known do not count
        weighted_metrics={
            output: [*term.metrics, *([seen[output]] if output in seen else [])]
            for output, term in terms.items()
            if term.metrics or output in seen
        },
    )
    optimizer.build(model.trainable_variables)
    return seen


def fit_model(
    run: Run,
    network: Network,
    settings: Train,
    features: Source,
    truth: Truth,
    split: pd.Series,
    watchers: Sequence[keras_types.callbacks.Callback] = (),
) -> Checkpoints:
    """Trains from the run's last checkpoint on.

    Args:
        run: Keeps the checkpoints and TensorBoard's events.
        network: Its model is compiled.
        settings: Of the training.
        features: Of the whole table.
        truth: What the table tells beside them; a target that is not known weighs nothing.
        split: Of each row.
        watchers: More that looks at the training without changing it.

    Returns:
        What knows the history and the best weights.

    Raises:
        ValueError: The loss became NaN or infinite.
    """
    model, rows = network.model, {name: np.flatnonzero(split == name) for name in ("train", "valid")}
    followed = _stop_and_plateau(network, settings)
    checkpoints = callbacks.Checkpoints(run.checkpoints, followed)
    checkpoints.restore(model)
    if checkpoints.next_epoch:
        say(f"going on after epoch {checkpoints.next_epoch} of {settings.epochs}")
    epochs = range(checkpoints.next_epoch, settings.epochs)
    if not epochs or checkpoints.has_stopped:
        return checkpoints
    truth, batch_size = _finite(truth), batch_rows(model, settings, split)
    trained = training_batches(
        features,
        rows["train"],
        truth,
        batch_size=batch_size,
        epochs=epochs,
        seed=settings.seed,
        modality_dropout=settings.modality_dropout,
    )
    _build_losses(model, trained)
    model.fit(
        trained,
        validation_data=batches(features, rows["valid"], batch_size, truth),
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        steps_per_epoch=_steps_per_epoch(model, settings, split),
        shuffle=False,  # the batches are shuffled already
        verbose=0,
        callbacks=[
            *followed,
            *_watchers(run.folder / run_files.TENSORBOARD, settings.epochs, shown_figures(network), followed[0]),
            *watchers,
            checkpoints,
        ],
    )
    return checkpoints


def batch_rows(model: keras_types.Model, settings: Train, split: pd.Series) -> int:
    """How many rows train at once: as many on each device, since Keras averages the first batch over the devices."""
    devices = model.distribute_strategy.num_replicas_in_sync
    rows = min(settings.batch_size, int((split == "train").sum()))
    return max(rows // devices, 1) * devices


def shown_figures(network: Network) -> dict[str, tuple[str, str]]:
    """{what to call it: (Keras' name on training rows, on validation rows)} of the figures worth a line each epoch.

    Of what answers no target these are the sum of all losses; `drawn_figures` has each.
    """
    terms, unanswered = network.terms, network.unanswered
    answers = {output: term for output, term in terms.items() if term.is_answer}
    names = {"loss": ("loss", "val_loss")} if unanswered else {}
    for output, term in answers.items():
        for figure in ("loss", *(metric.name for metric in term.metrics)):
            logged = figure if len(terms) == 1 else f"{output}_{figure}"
            names[figure if len(answers) == 1 and not unanswered else logged] = logged, f"val_{logged}"
    if "loss" in names:
        # Of several outputs Keras averages each one's loss over batches, however many rows the last one has.
        names["loss"] = names["loss"][0], "val_loss"
    return names


def drawn_figures(network: Network) -> dict[str, tuple[str, str]]:
    """`shown_figures`, and the losses of what answers no target, each for itself."""
    losses = [f"{output}_loss" for output in network.unanswered] if len(network.terms) > 1 else []
    return {**shown_figures(network), **{loss: (loss, f"val_{loss}") for loss in losses}}


def _seen(network: Network, split: pd.Series) -> dict[str, Seen]:
    judged, model = int((split == "valid").sum()), network.model
    if not judged or model.distribute_strategy.num_replicas_in_sync > 1:
        return {}
    answers = [output for output, term in network.terms.items() if term.is_answer]
    return {output: callbacks.Seen(judged, model.output[output].shape[-1]) for output in answers}


def _finite(truth: Truth) -> Truth:
    """A target that is not known weighs nothing, but nothing times NaN is NaN."""
    targets = {target: (np.nan_to_num(values), weights) for target, (values, weights) in truth.targets.items()}
    return replace(truth, targets=targets)


def _build_losses(model: keras_types.Model, trained: Any) -> None:
    """Has Keras make the variables that count losses: made within the training step, they have it traced twice.

    On several devices Keras does so itself.
    """
    if model.distribute_strategy.num_replicas_in_sync > 1:
        return
    _, truths, weights = keras.tree.map_structure(
        lambda spec: keras.ops.zeros((1, *spec.shape[1:]), spec.dtype.name), trained.element_spec
    )
    outputs = {output: keras.ops.zeros((1, *model.output[output].shape[1:])) for output in truths}
    model.compute_loss(y=truths, y_pred=outputs, sample_weight=weights)  # fit begins by forgetting the figures


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


def _steps_per_epoch(model: keras_types.Model, settings: Train, split: pd.Series) -> int:
    return int((split == "train").sum()) // batch_rows(model, settings, split)


def _stop_and_plateau(network: Network, settings: Train) -> list[Any]:
    """Early stopping and, where the schedule is that, the reduction of the learning rate."""
    monitor, mode = _monitored(network, settings)
    stop = keras.callbacks.EarlyStopping(monitor, mode=mode, patience=settings.patience, restore_best_weights=True)
    if settings.schedule != "plateau":
        return [stop]
    factor, patience = settings.plateau_factor, settings.plateau_patience
    return [stop, keras.callbacks.ReduceLROnPlateau(monitor, mode=mode, factor=factor, patience=patience)]


def _monitored(network: Network, settings: Train) -> tuple[str, str]:
    """The figure that chooses the best epoch, as Keras logs it, and whether lower or higher is better."""
    if settings.monitor == "loss":
        return "val_loss", "min"
    terms = network.terms
    target = next(iter(network.setting.heads))
    metric = terms[target].metrics[0].name
    return f"val_{metric}" if len(terms) == 1 else f"val_{target}_{metric}", "max"


def _watchers(events: Path, epochs: int, shown: dict[str, str], stop: Any) -> list[Any]:
    """What looks at a training without changing it."""
    return [
        callbacks.StopAtNaN(),
        keras.callbacks.TensorBoard(events, write_graph=False),
        callbacks.Progress(epochs, shown, stop),
    ]
