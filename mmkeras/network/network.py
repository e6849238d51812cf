"""What `build` returns: a model per column, all of them joined, and every output by its name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmkeras.base.lazy import lazy
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import layer_name, walk

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")
tf = lazy("tensorflow")

COLUMN_WEIGHTS = "column_weights"
FUSED = "columns.fused"  # the point keeps a target from being called so
Encodings = Mapping[str, Mapping[str, Any]]
"""{column: {"vector" (B, D), "tokens" (B, T, D'), "mask" (B, T), "present" (B,)}}; an absent vector is learned."""


@dataclass(frozen=True)
class Network:
    """Columns, what joins them, and what is predicted, as parts that run, train and are saved each for itself.

    Attributes:
        columns: {column: a model {feature: (B, …)} -> its parts of `Encodings`}. A column's weights are its model's:
            what its `save_weights` writes, another network's model of the same column loads, whatever stands beside it.
        model: {column: {feature: (B, …)}} -> {output: (B, …)} of all that has a loss: the targets, what columns alone
            predict of them. Keras trains it; its own columns are layers called after them.
        outputs: Every output by name, symbolic tensors of the same graph: those of the model, `FUSED` (B, D), where
            the fusion weighs the columns `COLUMN_WEIGHTS` (B, M), and of each column `vector_of` (B, D) and
            `present_of` (B,).
        encodings: As `Encodings`, symbolic: where the columns end and what joins them begins.
        predictions: {target: (B, P)} as the fusion makes them, before temperature and prior.
        given: (B,) 1 where a row has any cell.
    """

    columns: Mapping[str, keras_types.Model]
    model: keras_types.Model
    outputs: Mapping[str, Any]
    encodings: Encodings
    predictions: Mapping[str, Any]
    given: Any

    @property
    def weighs_columns(self) -> bool:
        """Whether the fusion says how much each column counts."""
        return COLUMN_WEIGHTS in self.outputs

    def told(self, names: Collection[str]) -> keras_types.Model:
        """A model of the same weights: {column: {feature: (B, …)}} -> {name: (B, …)} of these outputs."""
        return keras.Model(self.model.input, {name: self.outputs[name] for name in names}, name=self.model.name)

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
        """The same weights; each target's answer has the temperature that its head has learned."""
        answers = answers_of(heads, self.predictions, self.given)
        trained = {name: answers.get(name, self.outputs[name]) for name in self.model.output}
        model = keras.Model(self.model.input, trained, name=self.model.name)
        return replace(self, model=model, outputs={**self.outputs, **answers})

    @functools.cached_property
    def all_told(self) -> tuple[str, ...]:
        """The names of what prediction and judging read: targets, own predictions, the fusion's weights."""
        return (*self.model.output, *([COLUMN_WEIGHTS] if self.weighs_columns else []))


def forward_step(model: keras_types.Model) -> Callable[[Any], dict[str, Any]]:
    """A model without training's randomness, as one function that is traced once whatever the number of rows."""
    signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), model.input)
    step = tf.function(lambda features: model(features, training=False), input_signature=[signature])
    # TensorFlow counts the traces of a line of code and would warn of retracing after five models.
    return step.get_concrete_function()


def answers_of(heads: Mapping[str, Head], predictions: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """{target: (B, P)} by a layer called after the target: tempered, and the prior where nothing is given."""
    return {
        target: layers.answers.Answer(head.prior.tolist(), head.temperature, head.link, name=target)(
            predictions[target], given
        )
        for target, head in walk(dict(heads))
    }


def vector_of(column: str) -> str:
    """The output that holds what a column's cells are encoded as, and where a cell is missing what stands in for it."""
    return f"{layer_name(column)}.vector"


def present_of(column: str) -> str:
    """The output that says where a column's cells are there, 1, or missing, 0."""
    return f"{layer_name(column)}.present"
