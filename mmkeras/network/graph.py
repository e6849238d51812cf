"""A model's graph, run in parts: what one column decides is computed again and again, the rest of the model once.

Keras runs a functional model from its inputs to its outputs; here it is run from any of its tensors to any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkeras.base.lazy import lazy

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
tf = lazy("tensorflow")

Values = dict[int, Any]
"""{id of one of the model's symbolic tensors: its value}."""


class Graph:
    """The operations of a functional model in an order in which they can be run, without training's randomness.

    Args:
        model: Functional, its inputs {column: {feature: tensor}}.
        outputs: The names of those of its outputs that matter.
    """

    def __init__(self, model: keras_types.Model, outputs: Collection[str]):
        self.inputs: dict[str, dict[str, Any]] = model.input
        self.outputs: dict[str, Any] = {name: model.output[name] for name in outputs}
        # Keras has no public way to walk a model call by call: a layer may be called twice.
        depths = model._nodes_by_depth
        self.nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth] if not node.is_input]
        self.encodings = self._encodings()

    def values(self, features: Mapping[str, Mapping[str, Any]], encoded: Sequence[Any] = ()) -> Values:
        """What is known of the inputs {column: {feature: (B, …)}} and, where they are given, of `encodings`."""
        known = {
            id(tensor): features[column][feature]
            for column, tensors in self.inputs.items()
            for feature, tensor in tensors.items()
        }
        return known | {id(tensor): value for (_, tensor), value in zip(self.encodings, encoded, strict=False)}

    def run(self, known: Values, wanted: Sequence[Any]) -> list[Any]:
        """The values of the wanted tensors; only what they need and is not known is computed."""
        values = dict(known)
        for node in self._needed(known, wanted):
            args, kwargs = node.arguments.fill_in(values)
            found = keras.tree.flatten(node.operation(*args, **kwargs))
            values.update({id(tensor): value for tensor, value in zip(node.outputs, found, strict=True)})
        return [values[id(tensor)] for tensor in wanted]

    def after(self, sources: Iterable[Any]) -> list[Any]:
        """The nodes that any of these tensors reaches, in order."""
        reached, found = {id(tensor) for tensor in sources}, []
        for node in self.nodes:
            if any(id(tensor) in reached for tensor in node.input_tensors):
                reached.update(id(tensor) for tensor in node.outputs if id(tensor) not in reached)
                found.append(node)
        return found

    def takers(self, tensor: Any) -> list[Any]:
        """The nodes that take this tensor in."""
        return [node for node in self.nodes if any(each is tensor for each in node.input_tensors)]

    def beside(self, sources: Sequence[Any]) -> list[Any]:
        """The tensors which, with these, are all that the outputs depend on: what does not change when they change."""
        nodes = self.after(sources)
        changing = {id(tensor) for tensor in sources} | {id(tensor) for node in nodes for tensor in node.outputs}
        fixed = [tensor for node in nodes for tensor in node.input_tensors if id(tensor) not in changing]
        return _distinct([*fixed, *(tensor for tensor in self.outputs.values() if id(tensor) not in changing)])

    def columns_of(self) -> dict[int, frozenset[str]]:
        """{id of a tensor: the columns that it depends on}."""
        found = {
            id(tensor): frozenset({column}) for column, tensors in self.inputs.items() for tensor in tensors.values()
        }
        for node in self.nodes:
            union = frozenset().union(*(found[id(tensor)] for tensor in node.input_tensors))
            found.update({id(tensor): union for tensor in node.outputs})
        return found

    def _encodings(self) -> list[tuple[str, Any]]:
        """(column, tensor) of what depends on one column alone and is taken by what joins columns, or told."""
        columns = self.columns_of()
        taken = [
            tensor for node in self.nodes if len(columns[id(node.outputs[0])]) > 1 for tensor in node.input_tensors
        ]
        single = [(columns[id(tensor)], tensor) for tensor in _distinct([*taken, *self.outputs.values()])]
        found = [(*columns, tensor) for columns, tensor in single if len(columns) == 1]
        return sorted(found, key=lambda pair: pair[0])

    def _needed(self, known: Values, wanted: Sequence[Any]) -> list[Any]:
        needed, found = {id(tensor) for tensor in wanted if id(tensor) not in known}, []
        for node in reversed(self.nodes):
            if any(id(tensor) in needed for tensor in node.outputs):
                needed.update(id(tensor) for tensor in node.input_tensors if id(tensor) not in known)
                found.append(node)
        return found[::-1]


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


def _distinct(tensors: Iterable[Any]) -> list[Any]:
    return list({id(tensor): tensor for tensor in tensors}.values())
