"""What `build` returns: a model per column, all of them joined, and every output by its name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import COLUMN_WEIGHTS
from mmkeras.contracts.head import Head
from mmkeras.contracts.objective import Objective, Setting, Term

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
tf = lazy("tensorflow")

Encodings = Mapping[str, Mapping[str, Any]]
"""{column: {"vector" (B, D), "tokens" (B, T, D'), "mask" (B, T), "present" (B,)}}; an absent vector is learned."""


@dataclass(frozen=True)
class Network:
    """Columns, and what the objectives make of them, as parts that run, train and are saved each for itself.

    Attributes:
        columns: {column: a model {feature: (B, …)} -> its parts of `Encodings`}. A column's weights are its model's:
            what its `save_weights` writes, another network's model of the same column loads, whatever stands beside it.
        model: {column: {feature: (B, …)}} -> {output: (B, …)} of all that has a loss. Keras trains it; its columns are
            layers called after them.
        outputs: Every output by name, symbolic tensors of the same graph: those of the model, what objectives tell
            beside them, and of each column `vector_of` (B, D) and `present_of` (B,).
        encodings: As `Encodings`, symbolic: where the columns end and what is made of them begins.
        objectives: What it is trained for, by name.
        setting: What they are about, with the columns' tokens.
    """

    columns: Mapping[str, keras_types.Model]
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
    def trained_columns(self) -> list[str]:
        """The columns, sorted, that something trained depends on; the others' weights are random and not saved."""
        parts = self.model.layers
        return [column for column, model in self.columns.items() if any(model is part for part in parts)]

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
        inputs = {column: self.model.input[column] for column in columns or self.columns}
        return keras.Model(inputs, {name: self.outputs[name] for name in names}, name=self.model.name)

    def joint(self, names: Collection[str]) -> keras_types.Model:
        """The part that joins columns: `Encodings` -> {name: (B, …)}; only the parts that it reads are its inputs."""
        outputs = {name: self.outputs[name] for name in names}
        lean = {
            column: {part: parts[part] for part in ("present", "vector")} for column, parts in self.encodings.items()
        }
        try:
            return keras.Model(lean, outputs)
        except ValueError:  # an output is not reached without the tokens
            return keras.Model({column: dict(parts) for column, parts in self.encodings.items()}, outputs)

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
