"""Columns of numbers that are read together by one matrix, of which each column has a row."""

import functools

import keras

from mmkeras.contracts.encoding import Encoding
from mmkeras.network.build import Group

UNITS = 3


class Matrix(keras.layers.Layer):
    """(B, M) numbers of M columns -> (B, UNITS)."""

    def __init__(self, columns, **options):
        super().__init__(**options)
        self.rows_of = {column: slice(i, i + 1) for i, column in enumerate(columns)}

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], UNITS), name="kernel")

    def call(self, values):
        return keras.ops.matmul(values, self.kernel)


def group_of(*columns):
    """A group of these columns, sorted; a missing cell takes no part."""

    def encode(features):
        there = [keras.ops.expand_dims(features[column]["present"], -1) for column in columns]
        values = [features[column]["value"] * each for column, each in zip(columns, there, strict=True)]
        seen = Matrix(columns, name="matrix")(keras.ops.concatenate(values, axis=-1))
        vector = keras.layers.Dense(2, activation="tanh", name="shared")(seen)
        any_there = functools.reduce(keras.ops.maximum, there)
        return Encoding(vector, keras.ops.expand_dims(vector, 1), any_there, any_there[:, 0])

    return Group(columns, encode)
