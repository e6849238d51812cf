"""Steps as they are, in no order: nothing is learned here.

Reads: steps. Tokens: the steps. Vector: their mean.
"""

from __future__ import annotations

from typing import ClassVar

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoder import Encoded, Encoder, Parts

layers = lazy("mmkeras.network.layers")


class Bag(Encoder):
    """The mean of the real steps."""

    reads: ClassVar = frozenset({"steps"})

    def encode(self, parts: Parts) -> Encoded:
        return Encoded(parts.values, parts.mask, [layers.time.MaskedMean()(parts.values, parts.mask)])
