"""Comparison of columns: how alike each two of them are, beside what each of them says."""

from __future__ import annotations

import itertools

from pydantic import Field

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.registry import walk

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Similarity(Fusion):
    """The projected vectors v_i and, of each two, cosine, distance, product and difference; then Dense layers.

    cos = v_i^T v_j / (|v_i| |v_j|), distance = |v_i - v_j| / sqrt(D), product = v_i * v_j, difference = abs(v_i - v_j).
    A pair of which one column is absent gives zeros. For questions about a relation: does the caption fit the picture?

    References:
        Conneau et al., Supervised Learning of Universal Sentence Representations from Natural Language Inference Data,
        2017, arXiv:1705.02364, section 3.1.
    """

    width: int = Field(64, ge=1, description="of the vectors that are compared")
    units: tuple[int, ...] = Field((128,), description="of each Dense layer; () leaves vectors and pairs as they are")
    dropout: float = Field(0.4, ge=0, lt=1)

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        columns = [encoding for _, encoding in walk(encodings)]
        present = [column.present[:, None] for column in columns]
        projected = layers.joining.project([column.vector for column in columns], self.width)
        vectors = [vector * there for vector, there in zip(projected, present, strict=True)]
        parts = list(vectors)
        for i, j in itertools.combinations(range(len(columns)), 2):
            parts.append(layers.joining.Compare()(vectors[i], vectors[j]) * present[i] * present[j])
        return Fused(layers.joining.dense_layers(layers.joining.concatenate(parts), self.units, self.dropout))
