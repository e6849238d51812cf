"""Columns, a fusion and heads to one network, by Keras' functional API."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import layer_name, walk
from mmkeras.network.network import COLUMN_WEIGHTS, FUSED, Network, answers_of, present_of, vector_of

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


def build_network(
    columns: Mapping[str, Modality], fusion: Fusion, heads: Mapping[str, Head], learned_loss_weights: bool = False
) -> Network:
    """The network {column: {feature: (B, …)}} -> {target: (B, …)}.

    Args:
        columns: Adapted modalities by column.
        fusion: How the columns are joined.
        heads: Adapted heads by target.
        learned_loss_weights: Whether each target has a learned weight of its loss.

    Raises:
        ValueError: A target is called as one of the layers is.
    """
    # Inputs; no target may be called as they are, since a point is no part of its name
    inputs = {column: _inputs(modality, f"{layer_name(column)}.") for column, modality in walk(dict(columns))}

    # Encode
    models = {column: _column_model(column, modality) for column, modality in walk(dict(columns))}
    parts = {column: model(inputs[column]) for column, model in models.items()}
    encodings = {column: Encoding(**each) for column, each in parts.items()}

    # Fuse
    predictions, fused = fusion.predict(encodings, dict(walk(dict(heads))))

    # Predict
    given = functools.reduce(keras.ops.maximum, [encoding.present for encoding in encodings.values()])
    if learned_loss_weights:
        predictions |= {target: _weighed(predictions[target], target) for target in sorted(heads)}
    trained = predictions | answers_of(heads, predictions, given)
    outputs = trained | {FUSED: fused.vector}
    if fused.weights is not None:
        outputs[COLUMN_WEIGHTS] = fused.weights
    for column, encoding in encodings.items():
        outputs |= {vector_of(column): encoding.vector, present_of(column): encoding.present}
    model = _joined(inputs, trained, heads)
    return Network(models, model, outputs, parts, {target: predictions[target] for target in heads}, given)


def _inputs(modality: Modality, prefix: str = "") -> dict[str, keras_types.KerasTensor]:
    return {
        feature: keras.Input(spec.shape, dtype=spec.dtype.name, name=f"{prefix}{feature}")
        for feature, spec in modality.features.items()
    }


def _column_model(column: str, modality: Modality) -> keras_types.Model:
    """{feature: (B, …)} -> a column's part of `network.Encodings`.

    A missing cell contributes a vector that the model learned, never what its zeros happen to give.
    """
    inputs = _inputs(modality)
    encoding = modality.encode(inputs)
    vector = layers.joining.ReplaceAbsent(name="or_absent")(encoding.vector, encoding.present)
    parts = {"vector": vector, "tokens": encoding.tokens, "mask": encoding.mask, "present": encoding.present}
    return keras.Model(inputs, parts, name=layer_name(column))


def _weighed(prediction: Any, target: str) -> Any:
    return layers.answers.LossWeight(name=loss_weight_of(target))(prediction)


def loss_weight_of(target: str) -> str:
    """The layer that holds the learned weight of a target's loss."""
    return f"{target}.loss_weight"


def _joined(inputs: dict, outputs: dict, targets: Iterable[str]) -> keras_types.Model:
    try:
        return keras.Model(inputs, outputs, name="mmkeras")
    except ValueError as error:  # of two layers of one name; most names are Keras' own choice
        for target in targets:
            if f'"{target}"' in str(error):
                raise ValueError(
                    f'target "{target}": a layer inside the model is called so; rename the column'
                ) from None
        raise
