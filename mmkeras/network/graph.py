"""What happens inside one branch: its model cut where content enters, or anywhere else, and run from there on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkeras.base.lazy import lazy

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
tf = lazy("tensorflow")


class BranchGraph:
    """The operations of a branch's model, in the order of computation.

    Args:
        model: Functional, {column: {feature: tensor}} -> {part: tensor}; `Branch.model` is such.
    """

    def __init__(self, model: keras_types.Model):
        self.model = model
        self.inputs: dict[str, dict[str, Any]] = model.input
        self.operations = [each for each in model.operations if inputs_of(each)]

    def takers(self, tensor: Any) -> list[Any]:
        """The operations that take this tensor in."""
        return [each for each in self.operations if any(taken is tensor for taken in inputs_of(each))]

    def after(self, tensor: Any) -> list[Any]:
        """The operations that this tensor reaches, in order."""
        reached, reaching = {id(tensor)}, []
        for each in self.operations:
            if any(id(taken) in reached for taken in inputs_of(each)):
                reached.update(map(id, keras.tree.flatten(each.output)))
                reaching.append(each)
        return reaching

    def until(self, tensor: Any) -> keras_types.Model:
        """The model of the same weights {column: {feature: (B, …)}} -> this tensor's value."""
        return keras.Model(self.inputs, tensor)

    def onwards(self, tensors: Sequence[Any]) -> Callable[[Sequence[Any], Mapping[str, Any]], dict[str, Any]]:
        """A function of these tensors' values and of all features, {column: {feature: (B, …)}}, to the parts."""
        places = {(column, name): tensor for column, each in self.inputs.items() for name, tensor in each.items()}
        others = {place: tensor for place, tensor in places.items() if all(tensor is not each for each in tensors)}
        # Keras does not see that an input is an output too where the graph is cut.
        passed = {
            part: place
            for part, tensor in self.model.output.items()
            for place, given in places.items()
            if given is tensor
        }
        parts = {part: tensor for part, tensor in self.model.output.items() if part not in passed}
        model = keras.Model([*tensors, *others.values()], parts)

        def onwards(values: Sequence[Any], features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
            computed = model([*values, *(features[column][name] for column, name in others)], training=False)
            return computed | {part: features[column][name] for part, (column, name) in passed.items()}

        return onwards


def inputs_of(operation: Any) -> list[Any]:
    """The tensors that an operation takes in; [] of one that only stands for an input."""
    return [] if isinstance(operation, keras.layers.InputLayer) else keras.tree.flatten(operation.input)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of nested tensors as a graph, traced at its first call for all numbers of rows, the first axes."""
    # A concrete function: TensorFlow counts the traces of a line of code and would warn of retracing after five.
    known: list[Any] = []

    def call(*arguments: Any) -> Any:
        arguments = tf.nest.map_structure(tf.convert_to_tensor, arguments)
        if not known:
            specs = tf.nest.map_structure(_any_rows, arguments)
            known.append(tf.function(function, autograph=False).get_concrete_function(*specs))
        return known[0](*arguments)

    return call


def _any_rows(tensor: Any) -> Any:
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)
