"""Attention over columns: a weighted sum whose weights depend on what each column holds in this row."""

from __future__ import annotations

from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.registry import walk

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Attention(Fusion):
    """h = sum_i a_i v_i, a_i = softmax_i(u^T v_i) over the present columns, v_i = tanh(W_i x_i + b_i).

    References:
        Yang et al., Hierarchical Attention Networks for Document Classification, NAACL 2016, equations 5 to 7, whose
        words are here the columns.
    """

    width: int = Field(128, ge=1, description="of the vectors v that are added")
    units: tuple[int, ...] = Field((128,), description="of each Dense layer after the sum; () leaves it as it is")
    dropout: float = Field(0.4, ge=0, lt=1)

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        columns = [encoding for _, encoding in walk(encodings)]
        present = keras.ops.stack([column.present for column in columns], axis=1)
        vectors = keras.ops.stack(layers.joining.project([column.vector for column in columns], self.width), axis=1)
        # A bias would be the same for every column: the softmax does not see it.
        scores = keras.layers.Dense(1, use_bias=False)(vectors)[..., 0]
        weights = layers.joining.MaskedSoftmax(dtype="float32")(scores, present)
        vector = layers.joining.WeightedSum()(vectors, weights)
        return Fused(layers.joining.dense_layers(vector, self.units, self.dropout), weights)
