"""Concatenation: the columns' vectors side by side, then Dense layers ("deep fusion")."""

from __future__ import annotations

from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion

layers = lazy("mmkeras.network.layers")


class Concat(Fusion):
    """(B, D1), (B, D2), … -> (B, D1 + D2 + …) -> Dense layers.

    An absent column takes part with the vector that the model learned for it.

    References:
        Ngiam et al., Multimodal Deep Learning, ICML 2011.
    """

    units: tuple[int, ...] = Field((128,), description="of each Dense layer; () leaves the concatenation as it is")
    dropout: float = Field(0.4, ge=0, lt=1)

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        vector = layers.joining.concatenate([encodings[column].vector for column in sorted(encodings)])
        return Fused(layers.joining.dense_layers(vector, self.units, self.dropout))
