"""Columns, a fusion and heads to one functional Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmkeras.component import Encoding, Fusion, Head, Modality, layer_name, walk
from mmkeras.lazy import lazy

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.layers")


def build_model(columns: Mapping[str, Modality], fusion: Fusion, heads: Mapping[str, Head]) -> keras_types.Model:
    """The model {column: {feature: (B, …)}} -> {target: (B, …)}.

    Args:
        columns: Adapted modalities by column.
        fusion: How the columns are joined.
        heads: Adapted heads by target.
    """
    # Inputs
    inputs = {
        column: {
            feature: keras.Input(spec.shape, dtype=spec.dtype.name, name=f"{layer_name(column)}_{feature}")
            for feature, spec in modality.features.items()
        }
        for column, modality in walk(columns)
    }

    # Encode
    encodings = {column: _replace_absent(modality.encode(inputs[column]), column) for column, modality in walk(columns)}

    # Fuse, Predict
    predictions = fusion.predict(encodings, dict(walk(heads)))
    return keras.Model(inputs, predictions, name="mmkeras")


def _replace_absent(encoding: Encoding, column: str) -> Encoding:
    """A missing cell contributes a vector that the model learned, never what its zeros happen to give."""
    vector = layers.ReplaceAbsent(name=f"{layer_name(column)}_or_absent")(encoding.vector, encoding.present)
    return dataclasses.replace(encoding, vector=vector)
