"""Answers to the table's targets: every head on what the fusion makes of the columns."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from mmkeras.base.lazy import lazy
from mmkeras.contracts.encoding import COLUMN_WEIGHTS, FUSED, Encoding
from mmkeras.contracts.fusion import own_prediction
from mmkeras.contracts.head import named_answers, named_descriptions
from mmkeras.contracts.objective import DEFAULT_ENDPOINT, Endpoint, Example, Objective, Outputs, Setting, Term
from mmkeras.contracts.registry import walk

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")
layers = lazy("mmkeras.network.layers")

GIVEN = "columns.given"


class Supervised(Objective):
    """Every target is answered from the fused columns, and what a column alone says of it has a loss of its own.

    Outputs: {target: (B, P)}, tempered, or the training rows' prior where no cell is there; what columns predict alone;
    `columns.fused` (B, D); where the fusion weighs the columns `column_weights` (B, M).
    """

    answers: ClassVar = True
    offers: ClassVar = "answers"

    def check(self, setting: Setting) -> None:
        setting.fusion.check(list(setting.branches), dict(setting.heads))

    def outputs(self, encodings: Mapping[str, Encoding], setting: Setting) -> Outputs:
        # Fuse, and predict each target
        predictions, fused = setting.fusion.predict(dict(encodings), dict(walk(dict(setting.heads))))
        if setting.learns_loss_weights:
            predictions |= {target: _weighed(predictions[target], target) for target in setting.heads}
        given = functools.reduce(keras.ops.maximum, [encoding.present for encoding in encodings.values()])
        told = {FUSED: fused.vector, GIVEN: given}
        told |= {_before_answer(target): predictions[target] for target in setting.heads}
        if fused.weights is not None:
            told[COLUMN_WEIGHTS] = fused.weights
        # Answer
        return Outputs(predictions | self.answered(setting, told), told)

    def answered(
        self, setting: Setting, outputs: Mapping[str, keras_types.KerasTensor]
    ) -> dict[str, keras_types.KerasTensor]:
        """{target: (B, P)} by a layer called after the target: tempered, and the prior where nothing is given."""
        return {
            target: layers.answers.Answer(head.prior.tolist(), head.temperature, head.link, name=target)(
                outputs[_before_answer(target)], outputs[GIVEN]
            )
            for target, head in walk(dict(setting.heads))
        }

    def example(self, example: Example, setting: Setting) -> Example:
        """What columns alone predict does not count where it is judged: the best epoch is that of the targets."""
        truths, weights = dict(example.truths), dict(example.weights)
        for output, target in _targets_of(setting).items():
            truths[output], weight = example.targets[target]
            weights[output] = weight if example.is_training or output == target else weight * 0.0
        return replace(example, truths=truths, weights=weights)

    def terms(self, setting: Setting, model: keras_types.Model) -> dict[str, Term]:
        return {output: self._term(output, target, setting, model) for output, target in _targets_of(setting).items()}

    def vectors(self, setting: Setting) -> dict[str, str]:
        return {"fused": FUSED}

    def endpoints(self, setting: Setting, outputs: Collection[str]) -> dict[str, Endpoint]:
        weighs = COLUMN_WEIGHTS in outputs
        descriptions = named_descriptions(setting.heads)
        if weighs:
            names = list(setting.branches)
            descriptions[COLUMN_WEIGHTS] = f"(B, {len(names)}) float32 in [0, 1], what {', '.join(names)} weighed"
        asked = [*setting.heads, *([COLUMN_WEIGHTS] if weighs else [])]

        def answer(predictions: Mapping[str, Any]) -> dict[str, Any]:
            weights = {COLUMN_WEIGHTS: predictions[COLUMN_WEIGHTS]} if weighs else {}
            return {**named_answers(setting.heads, predictions), **weights}

        empty = "the answer is that of the training rows as a whole"
        return {DEFAULT_ENDPOINT: Endpoint(sorted(setting.columns), asked, answer, descriptions, empty)}

    def _term(self, output: str, target: str, setting: Setting, model: keras_types.Model) -> Term:
        head, is_answer = setting.heads[target], output == target
        loss = head.loss()
        if is_answer and setting.learns_loss_weights:
            loss = _weighed_by_uncertainty(loss, model.get_layer(loss_weight_of(target)))
        weight = self.weight * head.loss_weight * (1.0 if is_answer else setting.fusion.column_loss)
        return Term(loss, weight, head.metrics() if is_answer else (), is_answer)


def loss_weight_of(target: str) -> str:
    """The layer that holds the learned weight of a target's loss."""
    return f"{target}.loss_weight"


def _before_answer(target: str) -> str:
    return f"{target}.predicted"


def _targets_of(setting: Setting) -> dict[str, str]:
    """{output: target} of all that is predicted: what columns alone say of a target before the target itself."""
    branches = setting.branches
    has_own = setting.fusion.column_loss and len(branches) > 1
    owns = {own_prediction(target, branch): target for target in setting.heads for branch in branches}
    return (owns if has_own else {}) | {target: target for target in setting.heads}


def _weighed(prediction: Any, target: str) -> Any:
    return layers.answers.LossWeight(name=loss_weight_of(target))(prediction)


def _weighed_by_uncertainty(loss: Any, layer: Any) -> Any:
    """The loss weighed by what its layer has learned.

    References:
        Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses, 2018, arXiv:1705.07115.
    """

    def weighed_by_uncertainty(truths: Any, predictions: Any) -> Any:
        log_variance = keras.ops.convert_to_tensor(layer.log_variance)
        return keras.ops.exp(-log_variance) * loss(truths, predictions) + log_variance

    return weighed_by_uncertainty
