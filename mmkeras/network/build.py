"""Columns, a fusion and heads to one functional Keras model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import layer_name, walk

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


COLUMN_WEIGHTS = "column_weights"
FUSED = "columns.fused"  # the point keeps a target from being called so


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
    predictions, fused = fusion.predict(encodings, dict(walk(heads)))

    # Predict
    given = functools.reduce(keras.ops.maximum, [encoding.present for encoding in encodings.values()])
    first = min(heads)
    predictions[first] = layers.joining.Beside(name=FUSED)(predictions[first], fused.vector)
    if fused.weights is not None:
        predictions[first] = layers.joining.Beside(name=COLUMN_WEIGHTS)(predictions[first], fused.weights)
    for target, head in walk(heads):
        answer = layers.answers.Answer(
            head.prior.tolist(), learned_loss_weights, head.temperature, head.link, name=target
        )
        predictions[target] = answer(predictions[target], given)
    return _joined(inputs, predictions, heads)


def with_column_weights(model: keras_types.Model) -> keras_types.Model:
    """The same model with one output more where its fusion weighs the columns: `column_weights`, (B, M)."""
    if COLUMN_WEIGHTS not in {layer.name for layer in model.layers}:
        return model
    _, weights = model.get_layer(COLUMN_WEIGHTS).input
    return keras.Model(model.input, {**model.output, COLUMN_WEIGHTS: weights})


def with_vectors(model: keras_types.Model, columns: Iterable[str]) -> keras_types.Model:
    """The same model with outputs more: `FUSED` (B, D), and of each column `vector_of` (B, D), `present_of` (B,)."""
    vectors = {FUSED: model.get_layer(FUSED).input[1]}
    for column in columns:
        vector, present = model.get_layer(_absent_layer(column)).input
        vectors |= {vector_of(column): vector, present_of(column): present}
    return keras.Model(model.input, {**model.output, **vectors}, name=model.name)


def vector_of(column: str) -> str:
    """The output that holds what a column's cells are encoded as; where a cell is missing, what its zeros gave."""
    return f"{layer_name(column)}.vector"


def present_of(column: str) -> str:
    """The output that says where a column's cells are there, 1, or missing, 0."""
    return f"{layer_name(column)}.present"


def _absent_layer(column: str) -> str:
    return f"{layer_name(column)}_or_absent"


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
    vector = layers.joining.ReplaceAbsent(name=_absent_layer(column))(encoding.vector, encoding.present)
    return dataclasses.replace(encoding, vector=vector)
