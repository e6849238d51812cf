"""Decisions joined: every column predicts by itself, and the predictions are joined ("late fusion")."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field, model_validator

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import Encoding, Fused
from mmkeras.contracts.fusion import Fusion, own_prediction
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")


class Decision(Fusion):
    """One prediction p_i per column, trained by its own loss, joined over the present columns.

    mean: their mean. weights: sum_i a_i p_i, a = softmax of one learned number per column and target. maximum: the
    highest of each class's probabilities, scaled to add up to 1 where classes exclude each other. vote: the share of
    columns for which a class is the most probable one, or more probable than not where classes do not exclude each
    other. What only several columns together tell is out of reach; in return no column can mislead another.

    References:
        Kittler et al., On Combining Classifiers, IEEE PAMI 20(3), 1998, sections 2.3 to 2.6.
    """

    join: Literal["mean", "weights", "maximum", "vote"] = Field(
        "mean", description="of the columns' predictions; weights: a mean whose weights are learned"
    )
    units: tuple[int, ...] = Field((128,), description="of each column's Dense layers before its prediction")
    dropout: float = Field(0.4, ge=0, lt=1)

    @model_validator(mode="after")
    def _something_trains(self) -> Decision:
        if self.join == "vote" and not self.column_loss:
            raise ValueError("join: vote trains by column_loss only, got 0; set it above 0, or join by mean")
        return self

    def check(self, columns: Collection[str], heads: dict[str, Head]) -> None:
        """Refuses to vote on numbers, or to take the highest of them.

        Raises:
            ValueError: Names the target.
        """
        for target, head in walk(heads):
            if self.join in ("maximum", "vote") and head.predicts == "numbers":
                raise ValueError(
                    f'join: {self.join} needs probabilities, but the target "{target}" ({head.type_name()}) '
                    "predicts numbers; join by mean or weights"
                )

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        """The columns' own vectors, which no target is predicted from together, and equal weights."""
        present = _present(encodings)
        vectors = list(self._vectors(encodings).values())
        masked = [vector * present[:, i : i + 1] for i, vector in enumerate(vectors)]
        return Fused(layers.joining.concatenate(masked), _equal_weights(present))

    def predict(
        self, encodings: dict[str, Encoding], heads: dict[str, Head]
    ) -> tuple[dict[str, keras.KerasTensor], Fused]:
        """The joined and the columns' own predictions; the weights of several targets are averaged."""
        vectors = self._vectors(encodings)
        fused = layers.joining.concatenate(list(vectors.values()))
        if len(vectors) == 1:
            [vector] = vectors.values()
            outputs = {
                target: head.output(head.raw(vector, f"{target}_alone"), f"{target}_prediction")
                for target, head in heads.items()
            }
            return outputs, Fused(fused, _equal_weights(_present(encodings)))
        outputs, weights = {}, []
        for target, head in heads.items():
            own = {own_prediction(target, column): vector for column, vector in vectors.items()}
            own = {name: head.output(head.raw(vector, f"{name}_raw"), name) for name, vector in own.items()}
            outputs |= own if self.column_loss else {}
            outputs[target], counted = self._joined(list(own.values()), _present(encodings), head, target)
            weights.append(counted)
        return outputs, Fused(fused, sum(weights) / len(weights))

    def _vectors(self, encodings: dict[str, Encoding]) -> dict[str, keras.KerasTensor]:
        """What each column predicts from."""
        return {
            column: layers.joining.dense_layers(encoding.vector, self.units, self.dropout)
            for column, encoding in walk(encodings)
        }

    def _joined(
        self, predictions: list[keras.KerasTensor], present: keras.KerasTensor, head: Head, target: str
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """(B, P) each, (B, M) -> the target's prediction (B, P), the columns' weights (B, M)."""
        stacked = keras.ops.stack(predictions, axis=1)
        name = f"{target}_prediction"
        weights = _equal_weights(present)
        if self.join == "weights":
            scores = layers.joining.LearnedScores(dtype="float32", name=f"{target}_scores")(present)
            weights = layers.joining.MaskedSoftmax(dtype="float32")(scores, present)
        if self.join == "maximum":
            joined = layers.answers.JointMaximum(head.predicts == "distribution", dtype="float32", name=name)(
                stacked, present
            )
        elif self.join == "vote":
            joined = layers.answers.Vote(head.predicts == "distribution", dtype="float32", name=name)(stacked, weights)
        else:
            joined = layers.joining.WeightedSum(dtype="float32", name=name)(stacked, weights)
        if head.predicts == "distribution":
            # From nothing follows nothing: all classes alike, where zeros would be no distribution.
            joined = joined + (1.0 - keras.ops.max(present, axis=1, keepdims=True)) / joined.shape[-1]
        return joined, weights


def _present(encodings: dict[str, Encoding]) -> keras.KerasTensor:
    """(B, M)."""
    return keras.ops.stack([encoding.present for _, encoding in walk(encodings)], axis=1)


def _equal_weights(present: keras.KerasTensor) -> keras.KerasTensor:
    """1 / how many columns are present, of each that is: (B, M) -> (B, M)."""
    return present / keras.ops.maximum(keras.ops.sum(present, axis=1, keepdims=True), 1.0)
