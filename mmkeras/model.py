"""Columns, a fusion and heads to one functional Keras model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mmkeras.component import Encoding, Fusion, Head, Modality, layer_name, walk
from mmkeras.lazy import lazy

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.layers")


COLUMN_WEIGHTS = "column_weights"


def build_model(
    columns: Mapping[str, Modality], fusion: Fusion, heads: Mapping[str, Head], learned_loss_weights: bool = False
) -> keras_types.Model:
    """The model {column: {feature: (B, …)}} -> {target: (B, …)}.

    Args:
        columns: Adapted modalities by column.
        fusion: How the columns are joined.
        heads: Adapted heads by target.
        learned_loss_weights: Whether each target's layer holds the learned weight of its loss.

    Raises:
        ValueError: A target is called as one of the layers is.
    """
    # Inputs; no target may be called as they are, since a point is no part of its name
    inputs = {
        column: {
            feature: keras.Input(spec.shape, dtype=spec.dtype.name, name=f"{layer_name(column)}.{feature}")
            for feature, spec in modality.features.items()
        }
        for column, modality in walk(columns)
    }

    # Encode
    encodings = {column: _replace_absent(modality.encode(inputs[column]), column) for column, modality in walk(columns)}

    # Fuse
    predictions, weights = fusion.predict(encodings, dict(walk(heads)))

    # Predict
    given = functools.reduce(keras.ops.maximum, [encoding.present for encoding in encodings.values()])
    if weights is not None:
        first = min(heads)
        predictions[first] = layers.BesideWeights(name=COLUMN_WEIGHTS)(predictions[first], weights)
    for target, head in walk(heads):
        answer = layers.Answer(head.prior.tolist(), learned_loss_weights, head.temperature, head.link, name=target)
        predictions[target] = answer(predictions[target], given)
    return _joined(inputs, predictions, heads)


def with_column_weights(model: keras_types.Model) -> keras_types.Model:
    """The same model with one output more where its fusion weighs the columns: `column_weights`, (B, M)."""
    if COLUMN_WEIGHTS not in {layer.name for layer in model.layers}:
        return model
    _, weights = model.get_layer(COLUMN_WEIGHTS).input
    return keras.Model(model.input, {**model.output, COLUMN_WEIGHTS: weights})


def calibrate(model: keras_types.Model, temperatures: Mapping[str, float]) -> None:
    """Sets what each target's logits are divided by, as `build_model` does; a step that is traced already stays."""
    for target, temperature in temperatures.items():
        model.get_layer(target).temperature = temperature


def _joined(inputs: dict, predictions: dict, targets: Iterable[str]) -> keras_types.Model:
    try:
        return keras.Model(inputs, predictions, name="mmkeras")
    except ValueError as error:  # of two layers of one name; most names are Keras' own choice
        for target in targets:
            if f'"{target}"' in str(error):
                raise ValueError(
                    f'target "{target}": a layer inside the model is called so; rename the column'
                ) from None
        raise


def _replace_absent(encoding: Encoding, column: str) -> Encoding:
    """A missing cell contributes a vector that the model learned, never what its zeros happen to give."""
    vector = layers.ReplaceAbsent(name=f"{layer_name(column)}_or_absent")(encoding.vector, encoding.present)
    return dataclasses.replace(encoding, vector=vector)
