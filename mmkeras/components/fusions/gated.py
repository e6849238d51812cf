"""Gated multimodal units: for every unit of the joint vector, all columns together decide which column fills it."""

from __future__ import annotations

from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.registry import walk

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Gated(Fusion):
    """h = sum_i z_i * v_i, v_i = tanh(W_i x_i + b_i), z = softmax over the present columns of U [v_1; v_2; …] + c.

    Each z_i has one gate per unit. With two columns this is the paper's z and 1 - z, since a softmax over two numbers
    is the sigmoid of their difference; the gates look at the projected vectors, which keeps U small. A column's weight
    is the mean of its gates.

    References:
        Arevalo et al., Gated Multimodal Units for Information Fusion, 2017, arXiv:1702.01992.
    """

    width: int = Field(64, ge=1, description="of the joint vector: so many gates per column")
    units: tuple[int, ...] = Field(
        (128,), description="of each Dense layer after the gates; () leaves the sum as it is"
    )
    dropout: float = Field(0.4, ge=0, lt=1)

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        columns = [encoding for _, encoding in walk(encodings)]
        present = keras.ops.stack([column.present for column in columns], axis=1)
        projected = layers.joining.project([column.vector for column in columns], self.width)
        vectors = keras.ops.stack(projected, axis=1) * keras.ops.expand_dims(present, -1)
        gates = self._gates(vectors, present)
        vector = layers.joining.WeightedSum()(vectors, gates)
        return Fused(layers.joining.dense_layers(vector, self.units, self.dropout), keras.ops.mean(gates, axis=2))

    def _gates(self, vectors: keras.KerasTensor, present: keras.KerasTensor) -> keras.KerasTensor:
        """(B, M, D), (B, M) -> (B, M, D), which adds up to 1 over the present columns."""
        count = vectors.shape[1]
        scores = keras.layers.Dense(self.width * count)(keras.layers.Flatten()(vectors))
        scores = keras.layers.Reshape((self.width, count))(scores)
        gates = layers.joining.MaskedSoftmax(dtype="float32")(scores, keras.ops.expand_dims(present, 1))
        return keras.ops.transpose(gates, (0, 2, 1))
