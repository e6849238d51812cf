"""Columns, a fusion and objectives to one network, by Keras' functional API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mmkeras.base.lazy import lazy
from mmkeras.contracts.config import Config
from mmkeras.contracts.encoding import Encoding, present_of, vector_of
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.objective import Objective, Setting, default_objectives
from mmkeras.contracts.registry import layer_name, walk
from mmkeras.network.network import Network

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


def build_network(
    columns: Mapping[str, Modality],
    fusion: Fusion,
    heads: Mapping[str, Head],
    learned_loss_weights: bool = False,
    objectives: Mapping[str, Objective] | None = None,
) -> Network:
    """The network {column: {feature: (B, …)}} -> what its objectives are trained on.

    Args:
        columns: Adapted modalities by column.
        fusion: How the columns are joined.
        heads: Adapted heads by target.
        learned_loss_weights: Whether each target has a learned weight of its loss.
        objectives: What it is trained for, by name; None: to answer the targets.

    Raises:
        ValueError: A target is called as one of the layers is.
    """
    columns = dict(walk(dict(columns)))
    objectives = objectives or default_objectives()

    # Inputs; no target may be called as they are, since a point is no part of its name
    inputs = {column: _inputs(modality, f"{layer_name(column)}.") for column, modality in columns.items()}

    # Encode
    models = {column: _column_model(column, modality) for column, modality in columns.items()}
    parts = {column: model(inputs[column]) for column, model in models.items()}
    encodings = {column: Encoding(**each) for column, each in parts.items()}
    tokens = {column: tuple(encoding.tokens.shape[1:]) for column, encoding in encodings.items()}
    setting = Setting(columns, fusion, heads, learned_loss_weights, tokens)

    # Predict
    made = [objective.outputs(encodings, setting) for objective in objectives.values()]
    trained = {name: tensor for each in made for name, tensor in each.trained.items()}
    outputs = trained | {name: tensor for each in made for name, tensor in each.told.items()}
    for column, encoding in encodings.items():
        outputs |= {vector_of(column): encoding.vector, present_of(column): encoding.present}
    return Network(models, _joined(inputs, trained, heads), outputs, parts, objectives, setting)


def network_of(schema: Config) -> Network:
    """The network of a fitted config."""
    learned = schema.train.loss_weights == "learned"
    return build_network(schema.columns, schema.fusion, schema.targets, learned, schema.objectives)


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
