"""An LSTM or GRU over the steps.

Reads: steps. Tokens: its outputs. Vector: their mean and maximum over time, or the last state.

References:
    Hochreiter and Schmidhuber, Long Short-Term Memory, 1997; Cho et al., Learning Phrase Representations using RNN
    Encoder-Decoder, 2014, arXiv:1406.1078 (GRU).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import tunable
from mmkeras.contracts.encoder import Encoded, Encoder, Parts

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Recurrent(Encoder):
    """LSTMs or GRUs on top of each other."""

    reads: ClassVar = frozenset({"steps"})

    cell: Literal["lstm", "gru"] = tunable("lstm")
    both_ways: bool = tunable(False, description="also from the end to the start")
    units: int = tunable(64, ge=1, description="in each direction")
    depth: int = tunable(1, ge=1, le=48, description="how many lie on top of each other")
    pooling: Literal["mean_and_max", "last"] = tunable(
        "mean_and_max", description="what the vector is: the mean and the maximum over time, or the last state"
    )
    dropout: float = tunable(0.0, ge=0, lt=1, description="between those on top of each other")

    def encode(self, parts: Parts) -> Encoded:
        # steps (B, T, F) -> tokens (B, T, D), vector (B, D')
        steps = parts.values
        for _ in range(self.depth - 1):
            steps, _ = self._recur(steps, parts.mask, pooling=False)
            steps = keras.layers.Dropout(self.dropout)(steps)
        tokens, vector = self._recur(steps, parts.mask, self.pooling == "mean_and_max")
        return Encoded(tokens, parts.mask, [vector])

    def _recur(self, steps: Any, mask: Any, pooling: bool) -> tuple[Any, Any]:
        return layers.time.recur(steps, mask, self.units, self.both_ways, pooling, self.cell)
