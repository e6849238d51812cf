"""Convolutions over the steps, one after another.

Reads: steps. Tokens: what the last convolution gives, of every step or of fewer. Vector: their maximum over time, with
the mean or without.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveInt

from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoder import Encoded, Encoder, Parts

layers = lazy("mmkeras.network.layers")


class Convolution(Encoder):
    """Conv1D with ReLU, as often as it has filters."""

    reads: ClassVar = frozenset({"steps"})

    filters: tuple[PositiveInt, ...] = tunable(
        (64, 96, 128), min_length=1, max_length=16, description="of each convolution, for each of its kernels"
    )
    kernel_steps: tuple[PositiveInt, ...] = tunable(
        (5,), min_length=1, max_length=16, description="lengths of the kernels, which stand side by side"
    )
    halving: Literal["none", "stride", "pool"] = tunable(
        "pool", description="each convolution halves the steps: stride: it takes every other; pool: maximum of two"
    )
    normalization: Literal["none", "batch", "layer"] = tunable("batch", description="after each convolution")
    pooling: Literal["mean_and_max", "max"] = tunable("mean_and_max", description="what the vector is, over time")
    dropout: float = tunable(0.0, ge=0, lt=1, description="after each convolution")

    def encode(self, parts: Parts) -> Encoded:
        # steps (B, T, F) -> tokens (B, T', D) -> vector (B, D) or (B, 2 D)
        tokens, mask = layers.time.convolve(
            parts.values, parts.mask, self.filters, self.kernel_steps, self.halving, self.normalization, self.dropout
        )
        pool = layers.time.mean_and_max if self.pooling == "mean_and_max" else layers.time.MaskedMax()
        return Encoded(tokens, mask, [pool(tokens, mask)])
