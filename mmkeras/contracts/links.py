"""What turns logits into a prediction, and how a temperature divides the logits behind one."""

from __future__ import annotations

from typing import Literal

from keras import ops

Link = Literal["identity", "softmax", "sigmoid", "cumulative"]
SMALLEST = 1.2e-38  # about the least float32 that no device takes for 0


def tempered(prediction, temperature: float, link: Link):
    """A prediction whose logits are divided by a temperature: (B, P) -> (B, P). No answer changes by it.

    Args:
        prediction: Probabilities, or with the link "identity" anything, which is left as it is.
        temperature: Above 1 makes the model less sure, below 1 surer.
        link: What made the prediction of logits. "cumulative": of each class but the last, whether the row is not above
            it, which keeps the median class where a softmax would move it.

    References:
        Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, section 4.2.
    """
    if temperature == 1.0 or link == "identity":
        return prediction
    if link == "softmax":
        return ops.softmax(_logarithm(prediction) / temperature)
    if link == "sigmoid":
        # The float below 1: a probability of 1 says that its logit is 17 or more, not that it is without end.
        without = ops.maximum(1.0 - prediction, 6e-8)
        return ops.sigmoid((_logarithm(prediction) - ops.log(without)) / temperature)
    upwards, downwards = ops.cumsum(prediction, axis=-1), ops.flip(ops.cumsum(ops.flip(prediction, -1), axis=-1), -1)
    logits = (_logarithm(upwards[:, :-1]) - _logarithm(downwards[:, 1:])) / temperature
    none = ops.zeros_like(prediction[:, :1])
    below = ops.concatenate([none, ops.sigmoid(logits), none + 1.0], -1)
    above = ops.concatenate([none + 1.0, ops.sigmoid(-logits), none], -1)
    # The difference of two small numbers, not of two that are nearly 1
    return ops.where(below[:, :-1] < 0.5, below[:, 1:] - below[:, :-1], above[:, :-1] - above[:, 1:])


def _logarithm(probabilities):
    return ops.log(ops.maximum(probabilities, SMALLEST))
