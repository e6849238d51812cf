"""A weighted sum of the columns' vectors: one learned weight per column, the same for every row."""

from __future__ import annotations

from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.registry import walk

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Weighted(Fusion):
    """h = sum_i a_i tanh(W_i v_i + b_i), a = softmax over the present columns of one learned number each.

    References:
        Peters et al., Deep Contextualized Word Representations, 2018, arXiv:1802.05365, equation 1, whose layers are
        here the columns.
    """

    width: int = Field(128, ge=1, description="of the vectors that are added")
    units: tuple[int, ...] = Field((128,), description="of each Dense layer after the sum; () leaves it as it is")
    dropout: float = Field(0.4, ge=0, lt=1)

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        columns = [encoding for _, encoding in walk(encodings)]
        present = keras.ops.stack([column.present for column in columns], axis=1)
        vectors = keras.ops.stack(layers.joining.project([column.vector for column in columns], self.width), axis=1)
        weights = layers.joining.MaskedSoftmax(dtype="float32")(
            layers.joining.LearnedScores(dtype="float32")(present), present
        )
        vector = layers.joining.WeightedSum()(vectors, weights)
        return Fused(layers.joining.dense_layers(vector, self.units, self.dropout), weights)
