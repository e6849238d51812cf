"""What the base class of modalities does for its members: the halves of `preprocess` and `examine`."""

import pytest
import tensorflow as tf

from mmkeras.contracts.modality import Modality


class NeverBad(Modality):
    def preprocess(self, cell):
        return {"length": tf.strings.length(cell), "present": tf.constant(1.0)}


class SometimesBad(Modality):
    def examine(self, cell):
        return {"length": tf.strings.length(cell), "present": tf.constant(1.0)}, tf.strings.join(["bad ", cell])


def test_examine_follows_from_preprocess():
    features, fault = NeverBad().examine(tf.constant("four"))
    assert (int(features["length"]), fault.numpy()) == (4, b"")


def test_preprocess_follows_from_examine():
    assert int(SometimesBad().preprocess(tf.constant("four"))["length"]) == 4


def test_a_modality_without_either_is_refused_when_its_class_is_made():
    with pytest.raises(TypeError, match=r"test_modality\..*Neither defines neither preprocess nor examine; a modality"):

        class Neither(Modality):
            def read(self, value):
                return value


def test_a_subclass_may_inherit_either():
    class Quiet(SometimesBad):
        pass

    assert int(Quiet().preprocess(tf.constant("four"))["length"]) == 4
