"""Every layer comes back from its config."""

import keras
import numpy as np
import pytest

from mmkeras.network import layers


def floats(values):
    return np.array(values, np.float32)


TOKENS = floats([[[1, -5], [3, -7], [100, 100]], [[2, 2], [9, 9], [9, 9]], [[9, 9], [9, 9], [9, 9]]])  # (B=3, T=3, D=2)
MASK = floats([[1, 1, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (layers.joining.ReplaceAbsent(), [floats([[1, 2], [3, 4]]), floats([1, 0])]),
        (layers.time.MaskedMean(), [TOKENS, MASK]),
        (layers.time.MaskedMax(), [TOKENS, MASK]),
        (layers.time.NgramBag(2, 50, 4), [np.array([[4, 8, 0]], np.int32)]),
        (layers.time.SoftBins(5), [floats([[-2, 0.5]])]),
        (layers.time.AttentionPool(4), [TOKENS, MASK]),
        (layers.joining.MaskedSoftmax(), [floats([[1, 2, 3]]), floats([[1, 0, 1]])]),
        (layers.joining.LearnedScores(), [floats([[1, 0, 1]])]),
        (layers.joining.WeightedSum(), [TOKENS, MASK]),
        (layers.joining.AddLearned(), [TOKENS]),
        (layers.joining.PrependLearned(), [TOKENS]),
        (layers.joining.Compare(), [floats([[1, 2, 3]]), floats([[4, 5, 6]])]),
        (layers.answers.JointMaximum(True), [TOKENS, MASK]),
        (layers.answers.Vote(False), [TOKENS, MASK]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_layer_is_rebuilt_from_its_config(layer, inputs):
    wanted = layer(*inputs)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again(*inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(*inputs), wanted)
    assert layer.compute_output_shape(*[array.shape for array in inputs]) == wanted.shape
