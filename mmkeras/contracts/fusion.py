"""The contract of a fusion: columns' encodings to one vector and to every target's prediction."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mmkeras.contracts.component import Component, Kind
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import layer_name

if TYPE_CHECKING:
    import keras


class Fusion(Component):
    """One way to join the columns' encodings; it sees the columns in sorted order."""

    kind: ClassVar[Kind] = "fusion"

    column_loss: float = Field(
        1.0, ge=0, description="weight of each column's own prediction's loss; it is added to the joint one; 0: none"
    )

    def check(self, columns: Collection[str], heads: dict[str, Head]) -> None:
        """Refuses columns or targets that cannot be joined in this way.

        Raises:
            ValueError: Says what does not fit, and what to change.
        """

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        """The columns' encodings to one vector. What an absent column holds must not matter."""
        raise NotImplementedError

    def predict(
        self, encodings: dict[str, Encoding], heads: dict[str, Head]
    ) -> tuple[dict[str, keras.KerasTensor], Fused]:
        """Every head on the fused vector; a fusion that joins decisions overrides this.

        With `column_loss` each column predicts alone too, as `own_prediction(target, column)`. What it says before the
        activation is added to what the fused vector says: a sum of evidence, in which no column has to relearn what
        another one knows, and a loss for each column keeps the strongest from silencing the others.

        Returns:
            {target: prediction, own_prediction(target, column): prediction}, and what `fuse` gives.

        References:
            Wang et al., What Makes Training Multi-Modal Classification Networks Hard?, 2020, arXiv:1905.12681.
        """
        fused = self.fuse(encodings)
        outputs = {}
        for target, head in heads.items():
            joint = head.raw(fused.vector, f"{target}_joint")
            if self.column_loss and len(encodings) > 1:
                for column in sorted(encodings):
                    name = own_prediction(target, column)
                    own = head.raw(encodings[column].vector, f"{name}_raw")
                    outputs[name] = head.output(own, name)
                    joint = joint + own
            outputs[target] = head.output(joint, f"{target}_prediction")
        return outputs, fused


def own_prediction(target: str, column: str) -> str:
    """The model's output that says what one column alone predicts."""
    return f"{target}_by_{layer_name(column)}"
