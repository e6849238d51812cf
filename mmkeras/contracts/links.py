"""How a temperature divides the logits behind a prediction; written once for arrays and for tensors."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

Link = Literal["identity", "softmax", "sigmoid", "cumulative"]
SMALLEST = 1.2e-38  # about the least float32 that no device takes for 0
LEAST_LOGIT = -80.0  # the exponential of 80 is still a float32


def tempered(prediction: Any, temperature: float, link: Link, xp: ModuleType) -> Any:
    """A prediction whose logits are divided by a temperature: (B, P) -> (B, P). No answer changes by it.

    Args:
        prediction: Probabilities, or with the link "identity" anything, which is left as it is.
        temperature: Above 1 makes the model less sure, below 1 surer.
        link: What made the prediction of logits. "cumulative": of each class but the last, whether the row is not above
            it, which keeps the median class where a softmax would move it.
        xp: The module that computes: numpy for arrays, keras.ops for tensors.

    References:
        Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, section 4.2.
    """
    if temperature == 1.0 or link == "identity":
        return prediction
    if link == "softmax":
        return _softmax(_logarithm(prediction, xp) / temperature, xp)
    if link == "sigmoid":
        # The float below 1: a probability of 1 says that its logit is 17 or more, not that it is without end.
        without = xp.maximum(1.0 - prediction, 6e-8)
        return _sigmoid((_logarithm(prediction, xp) - xp.log(without)) / temperature, xp)
    upwards, downwards = xp.cumsum(prediction, axis=-1), xp.flip(xp.cumsum(xp.flip(prediction, -1), axis=-1), -1)
    logits = (_logarithm(upwards[:, :-1], xp) - _logarithm(downwards[:, 1:], xp)) / temperature
    none = xp.zeros_like(prediction[:, :1])
    below = xp.concatenate([none, _sigmoid(logits, xp), none + 1.0], -1)
    above = xp.concatenate([none + 1.0, _sigmoid(-logits, xp), none], -1)
    # The difference of two small numbers, not of two that are nearly 1
    return xp.where(below[:, :-1] < 0.5, below[:, 1:] - below[:, :-1], above[:, :-1] - above[:, 1:])


def _logarithm(probabilities: Any, xp: ModuleType) -> Any:
    return xp.log(xp.maximum(probabilities, SMALLEST))


def _softmax(logits: Any, xp: ModuleType) -> Any:
    odds = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return odds / xp.sum(odds, axis=-1, keepdims=True)


def _sigmoid(logits: Any, xp: ModuleType) -> Any:
    # Cases for both signs would overflow nowhere either, but have no slope, or a wrong one, where a logit is 0
    return 1.0 / (1.0 + xp.exp(-xp.maximum(logits, LEAST_LOGIT)))
