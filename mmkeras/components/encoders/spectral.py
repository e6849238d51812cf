"""Convolutions over the time and the bands of a spectrum, as over a picture.

Reads: bands. Tokens: of every 2, 4, 8 … steps what all bands tell. Vector: their mean and maximum over time.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveInt

from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoder import Encoded, Encoder, Parts

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Spectral(Encoder):
    """Blocks of Conv2D and MaxPooling2D, then a dense layer over the bands of each step."""

    reads: ClassVar = frozenset({"bands"})

    filters: tuple[PositiveInt, ...] = tunable(
        (16, 32, 64), min_length=1, max_length=8, description="of each block, which halves the steps and the bands"
    )
    kernel: int = tunable(3, ge=1, le=64, description="steps and bands of each convolution")
    normalization: Literal["none", "batch", "layer"] = tunable("none", description="after each convolution")
    width: int = tunable(64, ge=1, description="of the tokens")
    dropout: float = tunable(0.0, ge=0, lt=1, description="after each block")

    def encode(self, parts: Parts) -> Encoded:
        # steps (B, T, F) -> picture (B, T', f, C), in which what lies behind the end stays zero
        picture, mask = layers.time.convolve(
            keras.ops.expand_dims(parts.values, -1),
            parts.mask,
            self.filters,
            (self.kernel,),
            "pool",
            self.normalization,
            self.dropout,
        )
        # picture -> tokens (B, T', D): what a band means depends on where it lies
        steps = keras.layers.Reshape((picture.shape[1], -1))(picture)
        tokens = keras.layers.Dense(self.width, activation="relu")(steps)
        return Encoded(tokens, mask, [layers.time.mean_and_max(tokens, mask)])
