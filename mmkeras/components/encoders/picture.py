"""Convolutions over a picture, which learn from scratch.

Reads: pixels. Tokens: what the last block sees at each place. Vectors: their mean and their maximum, or what is where.

References:
    He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385 (`blocks: residual`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator

from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoder import Encoded, Encoder, Parts

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Picture(Encoder):
    """Blocks that halve the height and the width, plain or residual."""

    reads: ClassVar = frozenset({"pixels"})

    blocks: Literal["plain", "residual"] = tunable(
        "plain", description="plain: a convolution and a maximum; residual: two convolutions beside a shortcut"
    )
    filters: tuple[PositiveInt, ...] = tunable(
        (24, 48, 96, 128), min_length=1, max_length=10, description="of each block"
    )
    kernel_px: int = tunable(3, ge=1, description="of each convolution")
    normalization: Literal["none", "batch", "layer"] = tunable("batch", description="after each convolution")
    places: PositiveInt | Literal["all"] = tunable(
        1,
        description="cells a side in which what is seen keeps its place beside the maximum; 1: the mean alone; "
        "all: the last block as it is",
    )
    units: PositiveInt | None = tunable(None, description="a dense layer makes a vector of this width; null: none does")
    dropout: float = tunable(0.0, ge=0, lt=1, description="before this dense layer")

    @model_validator(mode="after")
    def _dropout_is_used(self) -> Self:
        if self.dropout and self.units is None:
            raise ValueError(f"dropout is {self.dropout}, but stands before a dense layer that units: null leaves out")
        return self

    def check(self, shape: Sequence[int | None]) -> None:
        height_px, width_px = shape[:2]
        least_px = 2 ** len(self.filters)
        if min(height_px, width_px) < least_px:
            raise ValueError(
                f"{len(self.filters)} filters halve a picture of {height_px} x {width_px} px to nothing; expected at "
                f"least {least_px} px; set height_px and width_px higher, or fewer filters"
            )

    def encode(self, parts: Parts) -> Encoded:
        # pixels (B, H, W, C) -> picture (B, h, w, D)
        convolve = layers.pictures.convolve_picture if self.blocks == "plain" else layers.pictures.residual_picture
        picture = convolve(parts.values, self.filters, self.kernel_px, self.normalization)
        # picture -> tokens (B, h * w, D), vectors (B, D')
        tokens, mask = layers.pictures.as_tokens(picture)
        return Encoded(tokens, mask, self._narrowed(self._vectors(picture)))

    def _vectors(self, picture: Any) -> list[Any]:
        if self.places == "all":
            return [keras.layers.Flatten()(picture)]
        if self.places == 1:
            return [keras.layers.GlobalAveragePooling2D()(picture), keras.layers.GlobalMaxPooling2D()(picture)]
        places = layers.pictures.pooled_by_place(picture, self.places)
        return [places, keras.layers.GlobalMaxPooling2D()(picture)]

    def _narrowed(self, vectors: list[Any]) -> list[Any]:
        if self.units is None:
            return vectors
        joined = layers.joining.concatenate(vectors)
        return [keras.layers.Dense(self.units, activation="relu")(keras.layers.Dropout(self.dropout)(joined))]
