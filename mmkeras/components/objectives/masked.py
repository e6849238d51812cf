"""Parts of cells hidden, and found again from what is left of the cell.

Hidden are pieces of a text, patches of a picture, and stretches of what has steps: sound, series, a clip's frames. What
is hidden belongs to a token of the column's encoding: of T' tokens over T steps each covers ceil(T / T'), and a
picture's tokens are a grid over it. A missing cell, padding and gaps hide nothing and count for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, vector_of
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.objective import Endpoint, Example, Objective, Outputs, Setting, Term
from mmkeras.contracts.registry import find, layer_name, members

if TYPE_CHECKING:
    import keras as keras_types
    import tensorflow as tf_types

tf = lazy("tensorflow")
keras = lazy("keras")

NOT_HIDDEN = -1  # the truth of a piece that has not to be found
MASK, FILE_MASK, PRESENT = "mask", "file_mask", "present"


@dataclass(frozen=True)
class _Layout:
    """Where a column's tokens lie in its content.

    Attributes:
        shape: Of the content, without the batch axis.
        grid: How many tokens along its first axes: (T',), or (h, w) of a picture.
        pieces: Whether the content is numbers of word pieces.
    """

    shape: tuple[int, ...]
    grid: tuple[int, ...]
    pieces: bool

    @property
    def covered(self) -> tuple[int, ...]:
        """How many positions of each axis a token covers."""
        return tuple(math.ceil(size / count) for size, count in zip(self.shape, self.grid, strict=False))

    @property
    def token_of(self) -> np.ndarray:
        """(T,) or (H, W) int32: which token each position belongs to, counted along the grid."""
        axes = [np.arange(size) // covered for size, covered in zip(self.positions, self.covered, strict=True)]
        return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), self.grid).astype(np.int32)

    @property
    def is_time(self) -> bool:
        """Whether tokens follow each other in time, and are no word pieces."""
        return len(self.grid) == 1 and not self.pieces

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes that tokens lie along: (T,) or (H, W)."""
        return self.shape[: len(self.grid)]

    @property
    def rest(self) -> tuple[int, ...]:
        """What each position holds: () of pieces, (F,), (3,), (H, W, 3)."""
        return self.shape[len(self.grid) :]


class Masked(Objective):
    """Hides some of each cell, and learns to find it again from what is left of it.

    Outputs: of each column that has tokens `COLUMN.hidden`: (B, T, V) logits over the word pieces, or what the content
    should be, (B, *its shape).

    References:
        Devlin et al., BERT, 2018, arXiv:1810.04805; He et al., Masked Autoencoders Are Scalable Vision Learners, 2021,
        arXiv:2111.06377; Baevski et al., wav2vec 2.0, 2020, arXiv:2006.11477.
    """

    # As those who found each kind of content learnable: neighbours say little of a word, and much of a pixel.
    pieces: float = Field(0.15, gt=0, lt=1, description="share of a text's word pieces that is hidden, as in BERT")
    patches: float = Field(0.75, gt=0, lt=1, description="share of a picture's patches, as in masked autoencoders")
    steps: float = Field(0.5, gt=0, lt=1, description="share of sound, of a series and of a clip's frames: wav2vec 2.0")
    block: int = Field(2, ge=1, description="so many neighbouring tokens over time are hidden together; pieces: one")

    def check(self, setting: Setting) -> None:
        columns = setting.columns
        if not any(_has_tokens(modality) for modality in columns.values()):
            names = ", ".join(f'"{column}" ({modality.type_name()})' for column, modality in columns.items())
            fitting = [name for name in members("modality") if _has_tokens(find("modality", name)())]
            raise ValueError(
                f"objectives.{self.type_name()}: hides parts of cells, and of {names} there are none to hide; expected "
                f"a column of one of these types, with one file in each cell: {', '.join(fitting)}"
            )

    def outputs(self, encodings: Mapping[str, Encoding], setting: Setting) -> Outputs:
        layouts = _layouts(setting)
        if not layouts:
            raise ValueError(f"objectives.{self.type_name()}: no column's encoder gives more than one token")
        return Outputs({
            _output_of(column): _found(encodings[column], _output_of(column), setting.columns[column], layout)
            for column, layout in layouts.items()
        })  # fmt: skip

    def example(self, example: Example, setting: Setting) -> Example:
        features, truths, weights = dict(example.features), dict(example.truths), dict(example.weights)
        for number, (column, layout) in enumerate(_layouts(setting).items()):
            modality, given = setting.columns[column], features[column]
            hidden = self._hidden(given, modality, layout, tf.random.fold_in(example.seed, number))
            features[column] = _without(given, hidden, modality, layout)
            truth, counted = _truth(given, hidden, modality, layout)
            truths[_output_of(column)] = truth
            weights[_output_of(column)] = tf.cast(tf.reduce_any(counted, axis=range(1, len(counted.shape))), tf.float32)
        return replace(example, features=features, truths=truths, weights=weights)

    def terms(self, setting: Setting, model: keras_types.Model) -> dict[str, Term]:
        return {
            _output_of(column): Term(_piece_loss if layout.pieces else _content_loss, self.weight)
            for column, layout in _layouts(setting).items()
        }

    def endpoints(self, setting: Setting, outputs: Collection[str]) -> dict[str, Endpoint]:
        """`encode`: each column's vector."""
        columns = list(_layouts(setting))
        names = {vector_of(column): f"{layer_name(column)}_vector" for column in columns}
        descriptions = {names[vector_of(column)]: f"(B, D) float32, what {column} is encoded as" for column in columns}

        def answer(told: Mapping[str, Any]) -> dict[str, Any]:
            return {names[output]: vector for output, vector in told.items()}

        empty = "the vectors are those that training learned for missing cells"
        return {"encode": Endpoint(columns, list(names), answer, descriptions, empty)}

    def _hidden(
        self, features: Mapping[str, tf_types.Tensor], modality: Modality, layout: _Layout, seed: tf_types.Tensor
    ) -> tf_types.Tensor:
        """(B, T) or (B, H, W) bool: the positions that are hidden, whole blocks of tokens, of what is really there."""
        is_real = _hideable(features, modality, layout)
        share, block = self._share(layout), self.block if layout.is_time else 1
        seeds = tf.unstack(tf.random.split(seed, 2))
        first = tf.random.stateless_uniform(
            (), seeds[0], maxval=block, dtype=tf.int32
        )  # blocks begin elsewhere each time
        blocks, count = (layout.token_of.ravel() + first) // block, 1 + (math.prod(layout.grid) + block - 2) // block
        flat = tf.reshape(is_real, (-1, blocks.shape[0]))
        are_real = tf.math.unsorted_segment_max(tf.transpose(tf.cast(flat, tf.int32)), blocks, count) > 0
        chosen = _chosen(tf.transpose(are_real), share, seeds[1])
        return is_real & tf.reshape(tf.gather(chosen, blocks, axis=1), tf.shape(is_real))

    def _share(self, layout: _Layout) -> float:
        if layout.pieces:
            return self.pieces
        return self.steps if layout.is_time else self.patches


# Which columns, and where their tokens lie


def _output_of(column: str) -> str:
    return f"{layer_name(column)}.hidden"


def _has_tokens(modality: Modality) -> bool:
    """Whether its content is of word pieces, of steps with a mask, or one picture."""
    if not modality.content:
        return False
    spec, names = modality.features[modality.content], modality.features.keys()
    has_axes = len(spec.shape) == 3 or (MASK in names and len(spec.shape) > 1)
    return FILE_MASK not in names and (has_axes or _is_pieces(spec))


def _is_pieces(spec: tf_types.TensorSpec) -> bool:
    return len(spec.shape) == 1 and spec.dtype.is_integer


def _layouts(setting: Setting) -> dict[str, _Layout]:
    """{column: where its tokens lie} of the columns that have several."""
    return {
        column: _layout(modality, setting.tokens[column][0])
        for column, modality in setting.columns.items()
        if column in setting.tokens and _has_tokens(modality) and setting.tokens[column][0] > 1
    }


def _layout(modality: Modality, tokens: int) -> _Layout:
    spec = modality.features[modality.content]
    shape = tuple(spec.shape)
    is_picture = len(shape) == 3 and MASK not in modality.features
    grid = _grid(tokens, *shape[:2]) if is_picture else (tokens,)
    return _Layout(shape, grid, _is_pieces(spec))


def _grid(tokens: int, height: int, width: int) -> tuple[int, int]:
    """The h x w tokens whose patches of a picture are nearest to squares."""
    pairs = [(rows, tokens // rows) for rows in range(1, tokens + 1) if tokens % rows == 0]
    return min(pairs, key=lambda pair: abs(math.log(height / pair[0]) - math.log(width / pair[1])))


# What is hidden


def _hideable(features: Mapping[str, tf_types.Tensor], modality: Modality, layout: _Layout) -> tf_types.Tensor:
    """(B, T) or (B, H, W) bool: positions that a present cell really has."""
    content = features[modality.content]
    there = tf.reshape(features[PRESENT] > 0, (-1, *[1] * len(layout.grid)))
    if layout.pieces:
        pieces = modality.pieces
        never = tf.constant([*pieces.fixed, pieces.unknown], content.dtype)  # augmentation has hidden the latter
        return there & tf.reduce_all(content[..., tf.newaxis] != never, axis=-1)
    return there & (features[MASK] > 0 if MASK in features else tf.ones(tf.shape(content)[:-1], tf.bool))


def _chosen(are_real: tf_types.Tensor, share: float, seed: tf_types.Tensor) -> tf_types.Tensor:
    """(B, G) bool of which each row is to have some -> a share of these, drawn; one at least is left to find it from.

    A share that is no whole number is rounded up as often as it takes to be met on average.
    """
    seeds = tf.unstack(tf.random.split(seed, 2))
    real = tf.reduce_sum(tf.cast(are_real, tf.float32), axis=1, keepdims=True)
    wanted = tf.floor(share * real + tf.random.stateless_uniform(tf.shape(real), seeds[0]))
    draws = tf.where(are_real, tf.random.stateless_uniform(tf.shape(are_real), seeds[1]), 2.0)
    places = tf.argsort(tf.argsort(draws, axis=1), axis=1)
    return tf.cast(places, tf.float32) < tf.minimum(wanted, real - 1.0)


def _without(
    features: Mapping[str, tf_types.Tensor], hidden: tf_types.Tensor, modality: Modality, layout: _Layout
) -> dict[str, tf_types.Tensor]:
    """The features as the network sees them; switches of each number of the content say that there is none."""
    content = features[modality.content]
    if layout.pieces:
        return {
            **features,
            modality.content: tf.where(hidden, tf.cast(modality.pieces.unknown, content.dtype), content),
        }
    kept = 1.0 - tf.cast(_widened(hidden, layout), content.dtype)
    numbers = [modality.content, *(name for name in modality.switches if _is_of_numbers(features.get(name), layout))]
    return {**features, **{name: features[name] * kept for name in numbers}}


def _truth(
    features: Mapping[str, tf_types.Tensor], hidden: tf_types.Tensor, modality: Modality, layout: _Layout
) -> tuple[tf_types.Tensor, tf_types.Tensor]:
    """What is to be found, and (B, …) bool where. Of pieces (B, T), or (B, *shape, 2): a number, and whether it counts.

    Gaps that a switch tells of do not count.
    """
    content = features[modality.content]
    if layout.pieces:
        return tf.where(hidden, content, NOT_HIDDEN), hidden
    counted = tf.broadcast_to(_widened(hidden, layout), tf.shape(content))
    for name in modality.switches:
        if _is_of_numbers(features.get(name), layout):
            counted &= features[name] > 0
    return tf.stack([content, tf.cast(counted, content.dtype)], axis=-1), counted


def _is_of_numbers(switch: tf_types.Tensor | None, layout: _Layout) -> bool:
    """Whether it says of each number of the content whether it is real."""
    return switch is not None and tuple(switch.shape[1:]) == layout.shape


def _widened(hidden: tf_types.Tensor, layout: _Layout) -> tf_types.Tensor:
    """(B, positions) -> (B, positions, 1, …), as many axes as the content has."""
    return tf.reshape(hidden, (-1, *layout.positions, *[1] * len(layout.rest)))


# What is found


def _found(encoding: Encoding, name: str, modality: Modality, layout: _Layout) -> Any:
    """(B, T, V) or (B, *shape of the content), from the tokens and from the vector.

    Of the tokens alone what is in the vector only would learn nothing: n-grams of a text, a picture's small copy.
    """
    numbers = math.prod(layout.covered) * (modality.pieces.count if layout.pieces else math.prod(layout.rest))
    each = keras.layers.Dense(numbers, name=f"{name}.tokens")(encoding.tokens)
    whole = keras.layers.Dense(numbers, use_bias=False, name=f"{name}.vector")(encoding.vector)
    return _in_place(each + keras.ops.expand_dims(whole, 1), layout)


def _in_place(told: Any, layout: _Layout) -> Any:
    """(B, tokens, numbers) -> (B, positions, …): what tokens tell of each position that they cover."""
    grid, covered = layout.grid, layout.covered
    axes = len(grid)
    told = keras.ops.reshape(told, (-1, *grid, *covered, math.prod(told.shape[1:]) // math.prod(grid + covered)))
    # Each axis of tokens before that of the positions that they cover: (B, h, w, ph, pw, …) -> (B, h, ph, w, pw, …)
    order = [place for axis in range(1, axes + 1) for place in (axis, axis + axes)]
    told = keras.ops.transpose(told, (0, *order, 2 * axes + 1))
    told = keras.ops.reshape(told, (-1, *(a * b for a, b in zip(grid, covered, strict=True)), told.shape[-1]))
    told = told[(slice(None), *(slice(size) for size in layout.positions))]
    return told if layout.pieces else keras.ops.reshape(told, (-1, *layout.shape))


def _piece_loss(truths: Any, logits: Any) -> Any:
    """(B, T), (B, T, V) -> (B,): the mean cross-entropy of the hidden pieces."""
    counted = keras.ops.cast(truths >= 0, "float32")
    truths = keras.ops.cast(keras.ops.maximum(truths, 0), "int32")
    losses = keras.ops.sparse_categorical_crossentropy(truths, keras.ops.cast(logits, "float32"), from_logits=True)
    return _mean(losses, counted)


def _content_loss(truths: Any, answers: Any) -> Any:
    """(B, …, 2), (B, …) -> (B,): the mean square of what a hidden number, z-scored, is off by."""
    losses = keras.ops.square(keras.ops.cast(answers, "float32") - truths[..., 0])
    return _mean(losses, truths[..., 1])


def _mean(losses: Any, counted: Any) -> Any:
    axes: Sequence[int] = range(1, len(losses.shape))
    total = keras.ops.sum(losses * counted, axis=tuple(axes))
    return total / keras.ops.maximum(keras.ops.sum(counted, axis=tuple(axes)), 1.0)
