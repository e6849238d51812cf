"""A Transformer encoder over the steps, in which each looks at all real ones.

Reads: steps. Tokens: what it makes of each step. Vector: their mean and maximum, or the first.

References:
    Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoder import Encoded, Encoder, Parts

layers = lazy("mmkeras.network.layers")


class Transformer(Encoder):
    """Blocks of self-attention and feed-forward layers, with sinusoidal positions."""

    reads: ClassVar = frozenset({"steps"})

    width: int = tunable(64, ge=1, description="of the tokens; a multiple of the heads")
    depth: int = tunable(1, ge=1, le=48, description="blocks")
    heads: int = tunable(4, ge=1, le=64, description="of the self-attention")
    pooling: Literal["mean_and_max", "first"] = tunable(
        "mean_and_max", description="what the vector is: the mean and the maximum of the tokens, or the first one"
    )
    dropout: float = tunable(0.1, ge=0, lt=1, description="inside the blocks")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"width is {self.width}, expected a multiple of heads, which is {self.heads}; change one of them"
            )
        return self

    def encode(self, parts: Parts) -> Encoded:
        # steps (B, T, F) -> tokens (B, T, D), vector (B, D) or (B, 2 D)
        tokens = layers.time.transform(parts.values, parts.mask, self.width, self.depth, self.heads, self.dropout)
        is_first = self.pooling == "first"
        vector = tokens[:, 0] if is_first else layers.time.mean_and_max(tokens, parts.mask)
        return Encoded(tokens, parts.mask, [vector])
