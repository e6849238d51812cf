"""One of several classes.

Target: () int32, the class's index. Prediction: (K,) float32 probabilities that add up to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mmkeras.base import statistics
from mmkeras.base.lazy import lazy
from mmkeras.base.words import rows_where
from mmkeras.contracts.head import ClassHead
from mmkeras.contracts.scorer import ClassScorer

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")


class ClassificationScorer(ClassScorer):
    """Judges classes that have no order."""

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """Accuracy, macro precision, recall and F1 over the classes that occur, one-against-rest ROC-AUC, log loss."""
        from sklearn import metrics

        guesses = self.guesses(predictions)
        labels = np.arange(len(self.classes))
        averaged = metrics.precision_recall_fscore_support(
            targets, guesses, labels=np.union1d(targets, guesses), average="macro", zero_division=0
        )
        scores = {
            "accuracy": metrics.accuracy_score(targets, guesses),
            "macro_precision": averaged[0],
            "macro_recall": averaged[1],
            "macro_f1": averaged[2],
            "log_loss": metrics.log_loss(targets, _distribution(predictions), labels=labels),
        }
        if len(np.unique(targets)) == len(self.classes):  # undefined for a class without a row
            scores["roc_auc"] = self._roc_auc(targets, predictions)
        return {name: float(value) for name, value in scores.items()}

    def resampled(
        self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray, first_only: bool = False
    ) -> dict[str, np.ndarray]:
        figures = {"accuracy": statistics.mean(weights, (self.guesses(predictions) == targets).astype(float))}
        if first_only:
            return figures
        hits, asked, said = statistics.class_counts(weights, *self.indicators(targets, predictions))
        for name, figure in statistics.class_figures(hits, asked, said).items():
            figures[f"macro_{name}"] = statistics.macro(figure, asked + said > 0)
        figures["log_loss"] = statistics.mean(weights, self.losses(targets, predictions))
        first = 1 if len(self.classes) == 2 else 0  # of two classes the areas are the same
        truth = targets[:, None] == np.arange(first, len(self.classes))
        areas = statistics.ranking(statistics.roc_area, truth, predictions[:, first:].astype(float), weights)
        return figures | {"roc_auc": areas.mean(axis=1)}

    def report(self, targets: np.ndarray, predictions: np.ndarray) -> str:
        from sklearn.metrics import classification_report

        labels = np.union1d(targets, self.guesses(predictions))
        names = [self.classes[i] for i in labels]
        return classification_report(
            targets, self.guesses(predictions), labels=labels, target_names=names, digits=3, zero_division=0
        )

    def _roc_auc(self, targets: np.ndarray, predictions: np.ndarray) -> float:
        """The mean over the classes of each one against the rest; scikit-learn takes minutes for a thousand classes."""
        weights = np.ones((1, len(targets)))
        areas = [statistics.roc_area(targets == k, predictions[:, k], weights) for k in range(len(self.classes))]
        return float(np.mean(areas))


class Classification(ClassHead):
    """Dense softmax and cross-entropy over two or more classes."""

    scorer_class: ClassVar = ClassificationScorer

    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: each class counts the same in the loss"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the truth that goes to all classes alike")
    focal_gamma: float = Field(
        0.0, ge=0, le=10, description="how much less rows count that are right already; 2 is usual, 0: all the same"
    )

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        return f"{values.nunique()} classes"

    def check(self, values: pd.Series, split: pd.Series) -> None:
        """Refuses one class alone, classes of one row, and classes that train lacks."""
        is_filled = values.str.strip() != ""
        counts = values[is_filled].value_counts()
        if len(counts) < 2:
            raise ValueError(f'every row has the class "{counts.index[0]}", expected two classes or more')
        if counts.iloc[-1] == 1:
            row = values.isin(counts.index[counts == 1]).idxmax()
            remedy = "add rows of this class, give the row another one or delete it"
            raise ValueError(f'the class "{values[row]}" has one row only (row {row + 1}); {remedy}')
        is_foreign = is_filled & ~values.isin(values[split == "train"])
        for name in ("valid", "test"):
            if (is_foreign & (split == name)).any():
                label = values[(is_foreign & (split == name)).idxmax()]
                rows = rows_where((values == label) & (split == name))
                got = f'the class "{label}" stands in {name} ({rows}) but not in train'
                raise ValueError(f"{got}; move some of its rows to train, or delete them")

    def adapt(self, values: pd.Series) -> Classification:
        """Learns the classes, sorted, how frequent each is and what it weighs."""
        counts = values.value_counts().sort_index()
        weights = len(values) / (len(counts) * counts) if self.class_weights == "balanced" else np.ones(len(counts))
        learned = {"classes": counts.index, "frequencies": counts / len(values), "weights": weights}
        return self.model_copy(update={name: tuple(numbers.tolist()) for name, numbers in learned.items()})

    def encode_target(self, values: pd.Series) -> np.ndarray:
        """The classes' indices; -1 where a row has no class or one that training never saw."""
        index = {name: i for i, name in enumerate(self.classes)}
        return values.map(index).fillna(-1).to_numpy(np.int32)

    def raw(self, vector: Any, name: str) -> Any:
        return keras.layers.Dense(len(self.classes), name=name)(vector)

    def output(self, raw: Any, name: str) -> Any:
        # float32 whatever the policy: a softmax over half precision does not add up to 1.
        return keras.layers.Softmax(dtype="float32", name=name)(raw)

    def loss(self) -> Any:
        """Cross-entropy; with `focal_gamma` each class's part is multiplied by (1 - its probability) ** gamma.

        References:
            Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.
        """

        def crossentropy(target: Any, prediction: Any) -> Any:
            wanted = keras.ops.one_hot(keras.ops.reshape(target, (-1,)), len(self.classes))
            if not self.focal_gamma:
                return keras.losses.categorical_crossentropy(wanted, prediction, label_smoothing=self.label_smoothing)
            return keras.losses.categorical_focal_crossentropy(
                wanted, prediction, alpha=1.0, gamma=self.focal_gamma, label_smoothing=self.label_smoothing
            )

        return crossentropy

    def metrics(self) -> list[Any]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def answer(self, prediction: tf.Tensor) -> dict[str, tf.Tensor]:
        best = tf.argmax(prediction, axis=-1)
        return {
            "label": tf.gather(tf.constant(self.classes), best),
            "probability": tf.reduce_max(prediction, axis=-1),
            "probabilities": prediction,
        }

    @property
    def answer_description(self) -> dict[str, str]:
        return {
            "label": "(B,) string: the most probable class",
            "probability": "(B,) float32 in [0, 1]: how probable the label is",
            "probabilities": f"(B, {len(self.classes)}) float32 in [0, 1], of {', '.join(self.classes)} in this order",
        }


def _distribution(predictions: np.ndarray) -> np.ndarray:
    """Probabilities that add up to 1 in double precision, as scikit-learn demands."""
    predictions = predictions.astype(np.float64)
    return predictions / predictions.sum(axis=-1, keepdims=True)
