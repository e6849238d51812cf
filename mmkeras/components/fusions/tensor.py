"""Low-rank tensor fusion: products of all columns' features, without the tensor that would hold them."""

from __future__ import annotations

from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.registry import walk

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Tensor(Fusion):
    """h = mean over r of prod_i W_i^(r) [v_i; 1], v_i = tanh(V_i x_i + b_i), then Dense layers.

    The 1 keeps the products of fewer columns, down to each column by itself. An absent column's factor is 1. At the
    start the factors lie around 1, with a variance that falls with the number of columns M: their product's mean square
    is (1 + 1/M)^M, below e, however many columns there are.

    References:
        Liu et al., Efficient Low-rank Multimodal Fusion with Modality-Specific Factors, 2018, arXiv:1806.00064.
    """

    width: int = Field(64, ge=1, description="of the vectors v and of the product h")
    rank: int = Field(4, ge=1, description="products that are averaged")
    units: tuple[int, ...] = Field((128,), description="of each Dense layer after the product; () leaves it as it is")
    dropout: float = Field(0.4, ge=0, lt=1)

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        columns = [encoding for _, encoding in walk(encodings)]
        projected = layers.joining.project([column.vector for column in columns], self.width)
        product = None
        for column, vector in zip(columns, projected, strict=True):
            present = column.present[:, None]
            factor = self._factor(vector, len(columns)) * present + (1.0 - present)
            product = factor if product is None else product * factor
        by_rank = keras.layers.Reshape((self.rank, self.width))(product)
        # Around 0, as Dense layers like their inputs
        vector = keras.ops.mean(by_rank, axis=1) - 1.0
        return Fused(layers.joining.dense_layers(vector, self.units, self.dropout))

    def _factor(self, vector: keras.KerasTensor, count: int) -> keras.KerasTensor:
        """(B, width) -> (B, rank * width). The bias is what belongs to the 1 behind the vector."""
        kernel = keras.initializers.VarianceScaling(1.0 / count, mode="fan_in", distribution="truncated_normal")
        dense = keras.layers.Dense(self.rank * self.width, kernel_initializer=kernel, bias_initializer="ones")
        return dense(vector)
