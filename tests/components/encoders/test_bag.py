"""The mean of steps, by hand."""

import numpy as np

from mmkeras.components.encoders.bag import Bag
from mmkeras.contracts.encoder import Parts


def test_the_mean_of_what_is_real():
    steps = np.array([[[1.0, 2.0], [3.0, 6.0], [50.0, 50.0]]], np.float32)
    found = Bag().encode(Parts("steps", steps, np.array([[1.0, 1.0, 0.0]], np.float32)))
    np.testing.assert_allclose(found.vector, [[2, 4]])
    assert found.tokens is steps
