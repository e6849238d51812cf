"""Columns, a fusion and objectives to one network, by Keras' functional API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmkeras.base.lazy import lazy
from mmkeras.contracts.config import Config
from mmkeras.contracts.encoding import Encoding, present_of, vector_of
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.objective import Objective, Setting, default_objectives
from mmkeras.contracts.registry import layer_name, walk
from mmkeras.network.network import Branch, Network

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


@dataclass(frozen=True)
class Group:
    """Columns that are read together.

    Attributes:
        columns: Sorted.
        encode: {column: {feature: (B, …)}} -> what the fusion sees as one; present where any of the cells is.
    """

    columns: tuple[str, ...]
    encode: Callable[[Mapping[str, Mapping[str, Any]]], Encoding]


def build_network(
    columns: Mapping[str, Modality],
    fusion: Fusion,
    heads: Mapping[str, Head],
    learned_loss_weights: bool = False,
    objectives: Mapping[str, Objective] | None = None,
    groups: Mapping[str, Group] | None = None,
) -> Network:
    """The network {column: {feature: (B, …)}} -> what its objectives are trained on.

    Args:
        columns: Adapted modalities by column.
        fusion: How the columns are joined.
        heads: Adapted heads by target.
        learned_loss_weights: Whether each target has a learned weight of its loss.
        objectives: What it is trained for, by name; None: to answer the targets.
        groups: Columns that are read together, by a name that no column has; the others are read one by one.

    Raises:
        ValueError: A target is called as one of the layers is.
    """
    columns = dict(walk(dict(columns)))
    objectives = objectives or default_objectives()

    groups = groups or {}
    setting = Setting(
        columns, fusion, heads, learned_loss_weights, {}, {name: each.columns for name, each in groups.items()}
    )

    # Inputs
    inputs = {column: _inputs(column, modality) for column, modality in columns.items()}

    # Encode
    branches = {
        name: _branch(name, {column: columns[column] for column in own}, groups.get(name))
        for name, own in setting.branches.items()
    }
    parts = {
        name: branch.model({column: inputs[column] for column in branch.columns}) for name, branch in branches.items()
    }
    encodings = {name: Encoding(**each) for name, each in parts.items()}
    setting = replace(setting, tokens={name: tuple(each.tokens.shape[1:]) for name, each in encodings.items()})

    # Predict
    made = [objective.outputs(encodings, setting) for objective in objectives.values()]
    trained = {name: tensor for each in made for name, tensor in each.trained.items()}
    outputs = trained | {name: tensor for each in made for name, tensor in each.told.items()}
    for name, encoding in encodings.items():
        outputs |= {vector_of(name): encoding.vector, present_of(name): encoding.present}
    return Network(branches, _joined(inputs, trained, heads), outputs, parts, objectives, setting)


def network_of(schema: Config) -> Network:
    """The network of a fitted config."""
    learned = schema.train.loss_weights == "learned"
    return build_network(schema.columns, schema.fusion, schema.targets, learned, schema.objectives)


def _inputs(column: str, modality: Modality) -> dict[str, keras_types.KerasTensor]:
    """By feature; no target can be called as they are, since a point is no part of its name."""
    return {
        feature: keras.Input(spec.shape, dtype=spec.dtype.name, name=f"{layer_name(column)}.{feature}")
        for feature, spec in modality.features.items()
    }


def _branch(name: str, columns: Mapping[str, Modality], group: Group | None) -> Branch:
    """What is missing contributes a vector that the model learned, never what its zeros happen to give."""
    inputs = {column: _inputs(column, modality) for column, modality in columns.items()}
    encoding = group.encode(inputs) if group else columns[name].encode(inputs[name])
    vector = layers.joining.ReplaceAbsent(name="or_absent")(encoding.vector, encoding.present)
    parts = {"vector": vector, "tokens": encoding.tokens, "mask": encoding.mask, "present": encoding.present}
    return Branch(tuple(columns), keras.Model(inputs, parts, name=layer_name(name)))


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
