"""The function that training and the exported model share: rows of cells to features, column by column."""

import numpy as np
import tensorflow as tf

from mmkeras.contracts.modality import Modality
from mmkeras.features.preprocessing import Preprocessor


class Lengths(Modality):
    """How many bytes a cell holds, in so many units."""

    unit: int = 1

    @property
    def cell(self):
        return tf.TensorSpec((), tf.string)

    @property
    def features(self):
        return {"length": tf.TensorSpec((2,), tf.float32), "present": tf.TensorSpec((), tf.float32)}

    def preprocess(self, cell):
        length = tf.cast(tf.strings.length(cell), tf.float32)
        return {"length": tf.stack([length, length / self.unit]), "present": tf.cast(length > 0, tf.float32)}


def test_each_column_goes_through_its_own_modality():
    preprocessor = Preprocessor({"b": Lengths(unit=2), "a": Lengths(unit=4)})
    features = preprocessor({"a": tf.constant(["xxxx", "", "xx"]), "b": tf.constant(["x", "xxxx", ""])})
    np.testing.assert_array_equal(features["a"]["length"], [[4, 1], [0, 0], [2, 0.5]])
    np.testing.assert_array_equal(features["b"]["length"], [[1, 0.5], [4, 2], [0, 0]])
    np.testing.assert_array_equal(features["a"]["present"], [1, 0, 1])


def test_columns_come_sorted():
    columns = {"b": Lengths(), "a": Lengths()}
    preprocessor = Preprocessor(columns)
    assert list(preprocessor.columns) == list(preprocessor.cells) == ["a", "b"]
    assert list(preprocessor({"b": tf.constant(["x"]), "a": tf.constant(["x"])})) == ["a", "b"]


def test_cells_are_named_batches_of_any_size():
    spec = Preprocessor({"a": Lengths()}).cells["a"]
    assert (spec.shape.as_list(), spec.dtype, spec.name) == ([None], tf.string, "a")


def test_no_rows_give_no_features():
    features = Preprocessor({"a": Lengths()})({"a": tf.constant([], tf.string)})["a"]
    assert features["length"].shape == (0, 2)
    assert features["present"].shape == (0,)
