"""The contract of a head: one target's encoding, output, loss, metrics and answers; a scorer judges them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from mmkeras.contracts.component import Component, Kind, fitted
from mmkeras.contracts.links import Link
from mmkeras.contracts.registry import walk
from mmkeras.contracts.scorer import ClassScorer, Predicts, Scorer

if TYPE_CHECKING:
    import keras
    import pandas as pd
    import tensorflow as tf


TEMPERATURES = 0.05, 20.0
MOST_ROWS_TO_CALIBRATE = 10_000  # of one number; more do not change it


class Head(Component):
    """One task: target encoding, output, loss, metrics and decoding, which have to agree, in one place."""

    kind: ClassVar[Kind] = "head"
    predicts: ClassVar[Predicts]
    """What the last axis of a prediction holds."""
    link: ClassVar[Link] = "identity"
    """What makes a prediction of logits, as `links.tempered` has it; "identity" has no temperature."""
    scorer_class: ClassVar[type[Scorer]]
    """What judges its answers."""

    loss_weight: float = Field(1.0, gt=0, description="how much this target's loss counts beside the other targets'")
    temperature: float = fitted(1.0)

    # The table's cells

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        """Why a target's cells (strings, none empty) look like this task; None where they do not."""
        raise NotImplementedError

    def check(self, values: pd.Series, split: pd.Series) -> None:
        """Refuses a target column that cannot be learned or judged.

        Args:
            values: The table's cells (strings) by row number from 0; "" where a row has no target.
            split: train, valid or test of each row.

        Raises:
            ValueError: Says which rows or classes, and what to do; the caller adds the table and the column.
        """
        raise NotImplementedError

    def missing(self, values: pd.Series) -> pd.Series:
        """Which cells (strings) say nothing of the target, as booleans by row."""
        distinct = values.drop_duplicates()
        return values.isin(distinct[distinct.str.strip() == ""])

    def named_classes(self, values: pd.Series) -> pd.Series | None:
        """The classes that cells (strings) name, by row, one after the other; None where a target is no class."""
        return None

    def foreign(self, values: pd.Series, split: pd.Series) -> pd.Series:
        """Which rows of valid and test hold what no row of train teaches, as booleans by row."""
        return values.isin([])

    def strata(self, values: pd.Series) -> pd.Series:
        """What the splits should hold equal shares of, by row: the classes themselves, or ranges of numbers."""
        return values

    # Learning

    def adapt(self, values: pd.Series) -> Head:
        """A copy that knows what it needs of the training rows' targets, none empty (the classes, their weights)."""
        raise NotImplementedError

    def tune(self, targets: np.ndarray, predictions: np.ndarray) -> Head:
        """A copy that has also learned from the validation rows' predictions, as the model makes them uncalibrated.

        That is the temperature whose predictions have the least log loss. Few rows say little of it, and rows that are
        all right would ask for a temperature of 0: the square of its logarithm counts like half a row's loss.

        References:
            Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599, section 4.2.
        """
        from scipy.optimize import minimize_scalar

        if self.link == "identity":
            return self
        scorer = self.scorer
        rows = np.flatnonzero(scorer.is_told(predictions))
        rows = rows[:: 1 + len(rows) // MOST_ROWS_TO_CALIBRATE]
        if not len(rows):
            return self
        # Where a loss is least it hardly changes: in single precision a thousandth to and fro would be all the same.
        truth, said = targets[rows], predictions[rows].astype(np.float64)

        def loss(log_temperature: float) -> float:
            divided = scorer.tempered(said, float(np.exp(log_temperature)))
            return float(scorer.losses(truth, divided).sum() + log_temperature**2 / 2)

        best = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-8})
        return self.model_copy(update={"temperature": float(np.exp(best.x))})

    def untuned(self) -> Self:
        """A copy that has forgotten what it learned of the validation rows: predictions as the network makes them."""
        return self.model_copy(update={"temperature": 1.0})

    @property
    def scorer(self) -> Scorer:
        """What judges its answers, with what it has learned."""
        fields = (field.name for field in dataclasses.fields(self.scorer_class))
        return self.scorer_class(**{name: getattr(self, name) for name in fields})

    @property
    def task(self) -> str:
        """What a config calls it."""
        return self.type_name()

    # The network

    @property
    def target(self) -> tf.TensorSpec:
        """One row's encoded target."""
        raise NotImplementedError

    def encode_target(self, values: pd.Series) -> np.ndarray:
        """The table's cells (strings) as the loss wants them, (N, *target.shape)."""
        raise NotImplementedError

    def sample_weights(self, targets: np.ndarray) -> np.ndarray:
        """(N,) float32: how much each row counts in the loss; 0 where its target is not known."""
        raise NotImplementedError

    @property
    def prior(self) -> np.ndarray:
        """A prediction, without the batch axis, for a row of which nothing is known: what the training rows had."""
        raise NotImplementedError

    def raw(self, vector: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """(B, D) -> the prediction before its activation, (B, P), by a layer called `name`."""
        raise NotImplementedError

    def output(self, raw: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """`raw` -> the prediction (B, P), by a layer called `name`."""
        raise NotImplementedError

    def loss(self) -> Any:
        """A function of a batch of `encode_target` and `output` to the loss of each row, (B,)."""
        raise NotImplementedError

    def metrics(self) -> list[keras.metrics.Metric]:
        """What is shown while training; the first, which is better the higher it is, can choose the best epoch."""
        raise NotImplementedError

    # Answers

    def answer(self, prediction: tf.Tensor) -> dict[str, tf.Tensor]:
        """(B, P) predictions as a client reads them: names and units, no indices."""
        raise NotImplementedError

    @property
    def answer_description(self) -> dict[str, str]:
        """What each tensor of `answer` holds, for a reader."""
        raise NotImplementedError


class ClassHead(Head):
    """A task whose target is one of several classes: () int32, its index, -1 where it is not known."""

    predicts: ClassVar = "distribution"
    link: ClassVar = "softmax"
    scorer_class: ClassVar[type[ClassScorer]]

    classes: tuple[str, ...] | None = fitted()
    weights: tuple[float, ...] | None = fitted()
    frequencies: tuple[float, ...] | None = fitted()

    def named_classes(self, values: pd.Series) -> pd.Series:
        return values[~self.missing(values)]

    def foreign(self, values: pd.Series, split: pd.Series) -> pd.Series:
        """Those of a class that train lacks."""
        is_judged = split.isin(("valid", "test")).set_axis(values.index)
        trained = values[(split == "train").to_numpy()]
        return is_judged & (values.str.strip() != "") & ~values.isin(trained)

    @property
    def target(self) -> tf.TensorSpec:
        import tensorflow as tf

        return tf.TensorSpec((), tf.int32)

    def sample_weights(self, targets: np.ndarray) -> np.ndarray:
        """Each row counts what its class weighs."""
        return np.where(self.scorer.known(targets), np.array(self.weights)[targets], 0).astype(np.float32)

    @property
    def prior(self) -> np.ndarray:
        """The classes' shares of the training rows."""
        return np.array(self.frequencies, np.float32)


def named_answers(heads: Mapping[str, Head], predictions: Mapping[str, Any]) -> dict[str, Any]:
    """Every head's answer by name; names begin with the target where there are several targets."""
    return {
        _named(target, name, heads): tensor
        for target, head in walk(dict(heads))
        for name, tensor in head.answer(predictions[target]).items()
    }


def named_descriptions(heads: Mapping[str, Head]) -> dict[str, str]:
    """What each of `named_answers` holds, for a reader."""
    return {
        _named(target, name, heads): text
        for target, head in walk(dict(heads))
        for name, text in head.answer_description.items()
    }


def _named(target: str, name: str, heads: Mapping[str, Head]) -> str:
    return name if len(heads) == 1 else f"{target}_{name}"
