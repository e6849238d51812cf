"""What passes between the parts of a network: a column's encoding, and all columns fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmkeras.contracts.registry import layer_name

if TYPE_CHECKING:
    import keras


FUSED, COLUMN_WEIGHTS = "columns.fused", "column_weights"
"""What a network calls the vector and the weights of `Fused`; no target can be called so."""


@dataclass(frozen=True)
class Encoding:
    """What is made of one column, or of several that are read together.

    Attributes:
        vector: (B, D) float32.
        tokens: (B, T, D) float32: the parts of the cell in order (word pieces, image patches, moments).
        mask: (B, T) float32, 1 where a token is real and 0 where it is padding.
        present: (B,) float32, 1 where the cell is there and 0 where it is missing.
    """

    vector: keras.KerasTensor
    tokens: keras.KerasTensor
    mask: keras.KerasTensor
    present: keras.KerasTensor


@dataclass(frozen=True)
class Fused:
    """What a fusion makes of all columns.

    Attributes:
        vector: (B, D) float32.
        weights: (B, M) float32, how much each column (in sorted order) counted; None where a fusion has no such figure.
    """

    vector: keras.KerasTensor
    weights: keras.KerasTensor | None = None


def vector_of(branch: str) -> str:
    """The output that holds what a branch's cells are encoded as, and where none is there what stands in for them."""
    return f"{layer_name(branch)}.vector"


def present_of(branch: str) -> str:
    """The output that says where any of a branch's cells is there, 1, or none, 0."""
    return f"{layer_name(branch)}.present"
