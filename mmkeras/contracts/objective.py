"""The contract of an objective: what a network is trained for, and what it offers when it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from mmkeras.base import statistics
from mmkeras.contracts.component import Component, Kind
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.fusion import Fusion
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import find

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

DEFAULT = "supervised"
DEFAULT_ENDPOINT = "serve"
Features = Mapping[str, Mapping[str, "tf.Tensor"]]
"""{column: {feature: (B, …)}}."""


@dataclass(frozen=True)
class Setting:
    """What the objectives of a training are about.

    Attributes:
        columns: Modalities by column, in sorted order; adapted where a network is built of them.
        fusion: How the columns are joined.
        heads: By target, as the config names them, the first one first; empty where nothing is to be answered.
        learns_loss_weights: Whether each target has a learned weight of its loss.
        tokens: {branch: (T, D) of its encoding's tokens}; empty until a network is built.
        groups: {what columns that are read together are called: those columns}.
    """

    columns: Mapping[str, Modality]
    fusion: Fusion
    heads: Mapping[str, Head]
    learns_loss_weights: bool = False
    tokens: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def branches(self) -> dict[str, tuple[str, ...]]:
        """{branch: the columns that it reads}, sorted: what objectives and fusions see as one.

        A column that is in no group is a branch of its own, called as it is.
        """
        grouped = {column for columns in self.groups.values() for column in columns}
        alone = {column: (column,) for column in self.columns if column not in grouped}
        return dict(sorted({**alone, **self.groups}.items()))


@dataclass(frozen=True)
class Outputs:
    """What an objective makes of the encodings, symbolic tensors by name; a name with a point is no target's.

    Attributes:
        trained: What has a loss; `Objective.terms` names the same.
        told: What an endpoint or an explanation asks for beside that.
    """

    trained: Mapping[str, keras.KerasTensor]
    told: Mapping[str, keras.KerasTensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A batch as it is trained on or judged, inside tf.data's graph.

    Attributes:
        features: After augmentation.
        truths: {output: (B, …)} what each trained output should be.
        weights: {output: (B,)} float32, how much each row's loss counts.
        targets: {target: ((B, …) encoded, (B,) how much each row counts)} of the table's rows.
        cells: {column: (B,) int64}: the number of the row's cell among the distinct cells of its column.
        seed: (2,) int32, of this batch and objective.
        is_training: Whether it is trained on; what is judged is the same at every epoch.
    """

    features: Features
    truths: Mapping[str, tf.Tensor]
    weights: Mapping[str, tf.Tensor]
    targets: Mapping[str, tuple[tf.Tensor, tf.Tensor]]
    cells: Mapping[str, tf.Tensor]
    seed: tf.Tensor
    is_training: bool


@dataclass(frozen=True)
class Term:
    """One trained output's part of the loss.

    Attributes:
        loss: A function of a batch of truths, float32 whatever they were, and of outputs to the loss of each row, (B,).
        weight: What it is multiplied by.
        metrics: What Keras logs beside it; the first can choose the best epoch, the higher the better.
        is_answer: Whether the output answers a target, so that its figures and pictures are shown.
    """

    loss: Callable[[Any, Any], Any]
    weight: float
    metrics: Sequence[keras.metrics.Metric] = ()
    is_answer: bool = False


@dataclass(frozen=True)
class Endpoint:
    """What an exported model offers under a name of its own: raw cells in, tensors out.

    Attributes:
        columns: Whose cells a client sends.
        outputs: The network's, by name, that `answer` asks for; they depend on these columns alone.
        answer: {output: (B, …)} -> {name: (B, …)} as a client reads it; a row's `status` is added.
        descriptions: What each of these holds, for a reader.
        empty: What they hold of a row none of whose cells is there, in words.
    """

    columns: Sequence[str]
    outputs: Sequence[str]
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    descriptions: Mapping[str, str]
    empty: str


class Objective(Component):
    """What a network is trained for: outputs, truths, losses and endpoints, which have to agree, in one place.

    In a config `objectives: {masked: {weight: 0.5}, contrastive: {}}`. Several share one pass: their losses add up.
    The order of a batch is: features, `Modality.augment`, hidden cells, then `example` of each objective in turn, so
    that what one hides is hidden from all.
    """

    kind: ClassVar[Kind] = "objective"
    answers: ClassVar[bool] = False
    """Whether it answers targets: such runs predict, are evaluated and explained."""
    offers: ClassVar[str] = "vectors of rows and columns"
    """What a run that was trained for it can be used for, in words."""

    weight: float = Field(1.0, gt=0, description="how much its loss counts beside the other objectives'")

    def check(self, setting: Setting) -> None:
        """Refuses columns or targets that it can learn nothing of.

        Raises:
            ValueError: Says what does not fit, and what to change.
        """

    def outputs(self, encodings: Mapping[str, Encoding], setting: Setting) -> Outputs:
        """What it predicts from the encodings, by Keras' functional API."""
        raise NotImplementedError

    def example(self, example: Example, setting: Setting) -> Example:
        """The batch with its truths and weights added; it may hide some of the features that are to be found again.

        Random draws follow from `example.seed` alone.
        """
        raise NotImplementedError

    def terms(self, setting: Setting, model: keras.Model) -> dict[str, Term]:
        """{trained output: its part of the loss}; `model` holds layers that a loss may need."""
        raise NotImplementedError

    def answered(self, setting: Setting, outputs: Mapping[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        """The outputs that change with what heads learn after training: answers with another temperature."""
        return {}

    def judge(self, losses: Mapping[str, np.ndarray], units: np.ndarray) -> dict[str, dict[str, float]]:
        """{output: {figure: value}} of rows that were not trained on, with 95 % intervals of a bootstrap over units.

        Args:
            losses: {output: (R,)} the loss of each row, NaN where the row has none.
            units: (R,) which rows belong together.
        """
        return {output: _with_interval(values, units) for output, values in losses.items()}

    def vectors(self, setting: Setting) -> dict[str, str]:
        """{what `embed` calls it: output (B, D)}: vectors of whole rows, beside each column's own."""
        return {}

    def endpoints(self, setting: Setting, outputs: Collection[str]) -> dict[str, Endpoint]:
        """{name: what an exported model offers}; a client that names none gets `DEFAULT_ENDPOINT`, or else the first.

        Args:
            setting: What it is about.
            outputs: The names of all that the network tells.
        """
        raise NotImplementedError


def _with_interval(losses: np.ndarray, units: np.ndarray) -> dict[str, float]:
    known = np.isfinite(losses)
    if not known.any():
        return {}
    blocks = statistics.resample_weights(units[known], seed=0)
    low, high = statistics.interval(np.concatenate([statistics.mean(weights, losses[known]) for weights in blocks]))
    return {"loss": float(losses[known].mean()), "loss_low": float(low), "loss_high": float(high)}


def default_objectives() -> dict[str, Objective]:
    """What a network is trained for where nothing is said: to answer the targets."""
    return {DEFAULT: find("objective", DEFAULT)()}
