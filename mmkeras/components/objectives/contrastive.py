"""Columns of one row belong together: their vectors meet in one space, those of other rows keep away."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.objective import Endpoint, Example, Objective, Outputs, Setting, Term
from mmkeras.contracts.registry import layer_name

if TYPE_CHECKING:
    import keras as keras_types
    import tensorflow as tf_types

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")

TOGETHER, SHARED = "columns.together", "columns.shared"
HIGHEST_SCALE = 100.0  # of similarities: a temperature of 0.01, as CLIP has it
NOWHERE = -1e9  # a similarity that takes no share
VECTOR = "vector"


class Contrastive(Objective):
    """Of the rows of a batch each column is to find its own row's other columns.

    The loss is InfoNCE between every two columns that a row has both of, both ways. Rows that share the cell of one of
    the two columns are not told apart, and absent cells take no part.

    Outputs: `columns.together` (B, M, W + 1), each column's vector of length 1 times the root of what similarities are
    multiplied by, and whether it is there; `columns.shared` (B, W), the mean of those that are there, of length 1; of
    each column `COLUMN.shared` (B, W), of length 1, zeros where its cell is missing.

    References:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, arXiv:1807.03748; Radford
        et al., Learning Transferable Visual Models From Natural Language Supervision (CLIP), 2021, arXiv:2103.00020.
    """

    width: int = Field(64, ge=2, description="of the space that the columns share")
    temperature: float = Field(
        0.07, gt=1 / HIGHEST_SCALE, le=1, description="what similarities are divided by at first; it is learned"
    )

    def check(self, setting: Setting) -> None:
        if len(setting.branches) < 2:
            raise ValueError(
                f"objectives.{self.type_name()}: compares columns of a row, and there is one only, "
                f'"{next(iter(setting.branches))}"; expected two or more'
            )

    def outputs(self, encodings: Mapping[str, Encoding], setting: Setting) -> Outputs:
        # Project: vectors (B, D) -> (B, W) of length 1
        there = {column: keras.ops.expand_dims(encodings[column].present, -1) for column in setting.branches}
        shared = {column: self._projected(column, encodings[column].vector) * there[column] for column in there}
        # Join
        mean = keras.layers.UnitNormalization()(functools.reduce(keras.ops.add, shared.values()))
        root = keras.ops.expand_dims(keras.ops.sqrt(self._scale(next(iter(there.values())))), 1)
        vectors, present = keras.ops.stack([*shared.values()], axis=1), keras.ops.stack([*there.values()], axis=1)
        together = keras.ops.concatenate([vectors * root, present], axis=-1)
        return Outputs(
            {TOGETHER: together}, {SHARED: mean} | {_shared(column): each for column, each in shared.items()}
        )

    def example(self, example: Example, setting: Setting) -> Example:
        """Truths: (B, M) which of the batch's distinct cells a row has, in small numbers that float32 tells apart."""
        branches = setting.branches.values()
        numbers = [_distinct([example.cells[column] for column in columns]) for columns in branches]
        truth = tf.cast(tf.stack(numbers, axis=1), tf.float32)
        given = [[example.features[column]["present"] for column in columns] for columns in branches]
        present = tf.stack([functools.reduce(tf.maximum, each) for each in given], axis=1)
        is_asked, _ = _pairs(truth, present)
        weight = tf.cast(tf.reduce_any(is_asked, axis=(0, 1)), tf.float32)
        return replace(
            example, truths={**example.truths, TOGETHER: truth}, weights={**example.weights, TOGETHER: weight}
        )

    def terms(self, setting: Setting, model: keras_types.Model) -> dict[str, Term]:
        return {TOGETHER: Term(_info_nce, self.weight)}

    def vectors(self, setting: Setting) -> dict[str, str]:
        return {"shared": SHARED}

    def endpoints(self, setting: Setting, outputs: Collection[str]) -> dict[str, Endpoint]:
        """`embed`: a row's vector of all its columns; `embed_COLUMN`: that of one column alone, in the same space."""
        parts = {"embed": ([*setting.columns], SHARED, "the columns of a row")}
        parts |= {
            f"embed_{layer_name(name)}": ([*columns], _shared(name), f"the column {name}")
            for name, columns in setting.branches.items()
        }
        return {
            name: Endpoint(
                columns,
                [output],
                functools.partial(_answer, output),
                {VECTOR: f"(B, {self.width}) float32 of length 1, {whose} in the space that all columns share"},
                "the vector is zeros",
            )
            for name, (columns, output, whose) in parts.items()
        }

    def _projected(self, column: str, vector: Any) -> Any:
        projected = keras.layers.Dense(self.width, use_bias=False, name=f"{layer_name(column)}.projection")(vector)
        return keras.layers.UnitNormalization()(projected)

    def _scale(self, there: Any) -> Any:
        """(B, 1), one number for all rows, learned between 0 and `HIGHEST_SCALE`; the numbers of `there` are not used.

        Its gradient grows small towards the end, where that of a cut is 0 for good.
        """
        share = 1.0 / (self.temperature * HIGHEST_SCALE)
        start = float(np.log(share / (1.0 - share)))
        return HIGHEST_SCALE * keras.ops.sigmoid(layers.joining.LearnedScores(name="columns.scale")(there) + start)


def _distinct(cells: list[tf_types.Tensor]) -> tf_types.Tensor:
    """(B,) numbers of cells of each column -> (B,) int32, alike where all of a row's cells are those of another."""
    return tf.raw_ops.UniqueV2(x=tf.stack(cells, axis=1), axis=[0]).idx


def _shared(column: str) -> str:
    return f"{layer_name(column)}.shared"


def _answer(output: str, told: Mapping[str, Any]) -> dict[str, Any]:
    return {VECTOR: told[output]}


def _info_nce(cells: Any, together: Any) -> Any:
    """(B, M) numbers of cells, (B, M, W + 1) -> (B,): the mean over a row's pairs of columns; 0 where it has none."""
    together = keras.ops.cast(together, "float32")
    vectors, present = together[..., :-1], together[..., -1]
    is_asked, is_other = _pairs(cells, present)
    similarity = keras.ops.einsum("imw,jnw->mnij", vectors, vectors)
    # Of each row's own partner, against those of other rows
    own = keras.ops.expand_dims(keras.ops.diagonal(similarity, axis1=2, axis2=3), -1)
    others = keras.ops.where(is_other, similarity, NOWHERE)
    losses = keras.ops.logsumexp(keras.ops.concatenate([own, others], axis=-1), axis=-1) - own[..., 0]
    asked = keras.ops.cast(is_asked, "float32")
    return keras.ops.sum(losses * asked, axis=(0, 1)) / keras.ops.maximum(keras.ops.sum(asked, axis=(0, 1)), 1.0)


def _pairs(cells: tf_types.Tensor, present: tf_types.Tensor) -> tuple[tf_types.Tensor, tf_types.Tensor]:
    """Who is asked whom, of (B, M) numbers of cells and whether they are there.

    Returns:
        (M, M, B) whether a row's column, the first, is asked for its other one: both are there, and it has a choice.
        (M, M, B, B) whose other column it could be taken for: is there, and of rows that share neither cell.
    """
    cells, there = keras.ops.transpose(cells), keras.ops.transpose(present > 0)
    differs = keras.ops.expand_dims(cells, 2) != keras.ops.expand_dims(cells, 1)
    is_other = differs[:, None] & differs[None, :] & there[None, :, None, :]
    both = there[:, None] & there[None, :] & ~keras.ops.expand_dims(keras.ops.eye(cells.shape[0], dtype="bool"), -1)
    return both & keras.ops.any(is_other, axis=-1), is_other
