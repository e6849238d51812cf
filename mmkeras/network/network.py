"""What `build` returns: a model per column or group of columns, all of them joined, and every output by its name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import COLUMN_WEIGHTS
from mmkeras.contracts.head import Head
from mmkeras.contracts.objective import Objective, Setting, Term

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
tf = lazy("tensorflow")

Encodings = Mapping[str, Mapping[str, Any]]
"""{branch: {"vector" (B, D), "tokens" (B, T, D'), "mask" (B, T), "present" (B,)}}; an absent vector is learned."""


@dataclass(frozen=True)
class Branch:
    """What reads one column, or several together.

    Attributes:
        columns: Those that it reads; a branch of one is called as its column is.
        model: {column: {feature: (B, …)}} -> its parts of `Encodings`. What its `save_weights` writes, another
            network's branch of the same columns loads, whatever stands beside it.
    """

    columns: tuple[str, ...]
    model: keras_types.Model

    def parts_of(self, column: str) -> list[tuple[keras_types.Variable, slice]]:
        """A column's own weights, in order: whole ones, and rows of those that it shares.

        All are the column's where it is read alone. Among columns that are read together a layer of the branch's model
        says by `rows_of`, {column: slice}, which rows of each of its weights, on the first axis, are whose; the weights
        of other layers are no column's own.
        """
        if self.columns == (column,):
            return [(weight, slice(None)) for weight in self.model.weights]
        shared = [layer for layer in self.model.layers if hasattr(layer, "rows_of")]
        return [(weight, layer.rows_of[column]) for layer in shared for weight in layer.weights]


@dataclass(frozen=True)
class Network:
    """Branches, and what the objectives make of them, as parts that run, train and are saved each for itself.

    Attributes:
        branches: By name, sorted: one for each column, or for several that are read together.
        model: {column: {feature: (B, …)}} -> {output: (B, …)} of all that has a loss. Keras trains it; its branches are
            layers called after them.
        outputs: Every output by name, symbolic tensors of the same graph: those of the model, what objectives tell
            beside them, and of each branch `vector_of` (B, D) and `present_of` (B,).
        encodings: As `Encodings`, symbolic: where the branches end and what is made of them begins.
        objectives: What it is trained for, by name.
        setting: What they are about, with the columns' tokens.
    """

    branches: Mapping[str, Branch]
    model: keras_types.Model
    outputs: Mapping[str, Any]
    encodings: Encodings
    objectives: Mapping[str, Objective]
    setting: Setting

    @property
    def weighs_columns(self) -> bool:
        """Whether the fusion says how much each column counts."""
        return COLUMN_WEIGHTS in self.outputs

    @functools.cached_property
    def trained_branches(self) -> list[str]:
        """The branches, sorted, that something trained depends on; the others' weights are random and not saved."""
        parts = self.model.layers
        return [name for name, branch in self.branches.items() if any(branch.model is part for part in parts)]

    def branch_of(self, column: str) -> str:
        """The name of the branch that reads a column."""
        return next(name for name, branch in self.branches.items() if column in branch.columns)

    def column_weights(self, column: str) -> list[np.ndarray]:
        """What a column has learned, as `Branch.parts_of` orders it."""
        parts = self.branches[self.branch_of(column)].parts_of(column)
        return [keras.ops.convert_to_numpy(weight)[rows] for weight, rows in parts]

    def set_column_weights(self, column: str, values: Sequence[np.ndarray]) -> None:
        """Gives a column what it has learned in another network, whatever stands beside it here and there.

        Args:
            column: Read by the same encoder in both, alone or together with others.
            values: As `column_weights` gave them.

        Raises:
            ValueError: They are of another encoder; nothing is changed.
        """
        parts = self.branches[self.branch_of(column)].parts_of(column)
        wanted = [tuple(keras.ops.convert_to_numpy(weight)[rows].shape) for weight, rows in parts]
        if (got := [np.shape(value) for value in values]) != wanted:
            raise ValueError(f'column "{column}": expected weights of shapes {wanted}, got {got}')
        for (weight, rows), value in zip(parts, values, strict=True):
            whole = np.array(keras.ops.convert_to_numpy(weight))
            whole[rows] = value
            weight.assign(whole)

    @functools.cached_property
    def terms_of(self) -> dict[str, dict[str, Term]]:
        """{objective: {output of the model: its part of the loss}}."""
        return {name: each.terms(self.setting, self.model) for name, each in self.objectives.items()}

    @functools.cached_property
    def terms(self) -> dict[str, Term]:
        """{output of the model: its part of the loss}; the losses of all objectives add up."""
        terms = {output: term for each in self.terms_of.values() for output, term in each.items()}
        return {output: terms[output] for output in self.model.output}

    @functools.cached_property
    def unanswered(self) -> dict[str, Term]:
        """Those of `terms` that are about no target, of objectives that answer none."""
        return {
            output: term
            for name, each in self.objectives.items()
            if not each.answers
            for output, term in self.terms_of[name].items()
        }

    def told(self, names: Collection[str], columns: Collection[str] | None = None) -> keras_types.Model:
        """A model of the same weights: {column: {feature: (B, …)}} -> {name: (B, …)} of these outputs.

        Args:
            names: Of outputs.
            columns: On which alone they depend; None: all are its inputs.
        """
        inputs = {column: self.model.input[column] for column in columns or self.setting.columns}
        return keras.Model(inputs, {name: self.outputs[name] for name in names}, name=self.model.name)

    def joint(self, names: Collection[str]) -> keras_types.Model:
        """The part that joins branches: `Encodings` -> {name: (B, …)}; only the parts that it reads are its inputs."""
        outputs = {name: self.outputs[name] for name in names}
        lean = {
            branch: {part: parts[part] for part in ("present", "vector")} for branch, parts in self.encodings.items()
        }
        try:
            return keras.Model(lean, outputs)
        except ValueError:  # an output is not reached without the tokens
            return keras.Model({branch: dict(parts) for branch, parts in self.encodings.items()}, outputs)

    def step(self, names: Collection[str] | None = None) -> Callable[[Any], dict[str, Any]]:
        """A function of features, traced once for any number of rows, to these outputs, without training's randomness.

        Args:
            names: Of outputs; None: the model's own.
        """
        return forward_step(self.model if names is None else self.told(names))

    def answering(self, heads: Mapping[str, Head]) -> Network:
        """A network of the same weights whose answers have what these heads have learned, such as a temperature."""
        setting = replace(self.setting, heads=heads)
        answers = {
            name: tensor
            for objective in self.objectives.values()
            for name, tensor in objective.answered(setting, self.outputs).items()
        }
        trained = {name: answers.get(name, self.outputs[name]) for name in self.model.output}
        model = keras.Model(self.model.input, trained, name=self.model.name)
        return replace(self, model=model, outputs={**self.outputs, **answers}, setting=setting)

    @functools.cached_property
    def all_told(self) -> tuple[str, ...]:
        """The names of what prediction and judging read: targets, own predictions, the fusion's weights."""
        answers = [output for output in self.model.output if output not in self.unanswered]
        return (*answers, *([COLUMN_WEIGHTS] if self.weighs_columns else []))


def forward_step(model: keras_types.Model) -> Callable[[Any], dict[str, Any]]:
    """A model without training's randomness, as one function that is traced once whatever the number of rows."""
    signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), model.input)
    step = tf.function(lambda features: model(features, training=False), input_signature=[signature])
    # TensorFlow counts the traces of a line of code and would warn of retracing after five models.
    return step.get_concrete_function()
