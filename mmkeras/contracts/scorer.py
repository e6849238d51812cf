"""The contract of a scorer: what judges the predictions of one target. NumPy arrays in, plain values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from mmkeras.contracts.links import Link, tempered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TINY = 1e-12  # no probability is taken to be less, for its logarithm's sake
EPSILON = 2.0**-52  # what a loss takes for 0, as scikit-learn has it

Predicts = Literal["distribution", "probabilities", "numbers"]
"""What the last axis of a prediction holds: probabilities that add up to 1, probabilities each for itself, numbers."""


@dataclass(frozen=True)
class Scorer:
    """What judges one target's predictions, with what its head has learned. It needs neither TensorFlow nor Keras.

    Its fields are those of the head that it needs, by the same names; `Head.scorer` fills them.

    Attributes:
        task: What a config calls the head.
        predicts: What the last axis of a prediction holds.
        link: What makes a prediction of logits, as `links.tempered` has it; "identity" has no temperature.
        temperature: What the model's last layer divides the logits by.
        prior: (P,) the prediction for a row of which nothing is known.
    """

    task: str
    predicts: Predicts
    link: Link
    temperature: float
    prior: np.ndarray

    explains: ClassVar[str] = "probability of the answer"
    """What `explained` chooses, in words."""

    # Which rows count

    def known(self, targets: np.ndarray) -> np.ndarray:
        """(N,) bool: which rows have a target that training knew; -1 and NaN stand for all others."""
        is_known = targets >= 0 if targets.dtype.kind == "i" else np.isfinite(targets)
        return is_known.reshape(len(targets), -1).all(axis=1)

    def is_told(self, predictions: np.ndarray) -> np.ndarray:
        """(N,) bool: which (N, P) predictions say anything but the prior."""
        return (predictions != self.prior).any(axis=1)

    # Figures

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """The figures that a practitioner reports, by name, of rows whose target is known.

        The first is the one that models are compared by, better the higher it is.
        """
        raise NotImplementedError

    def resampled(
        self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray, first_only: bool = False
    ) -> dict[str, np.ndarray]:
        """`score` of many resamples at once, (R,) each; NaN where it is not defined.

        Args:
            targets: (N, …), all known.
            predictions: (N, P).
            weights: (R, N) how often each row is drawn.
            first_only: Whether the first figure is enough; the others may take longer.
        """
        raise NotImplementedError

    def report(self, targets: np.ndarray, predictions: np.ndarray) -> str:
        """The figures in detail, as text."""
        raise NotImplementedError

    def plot(self, targets: np.ndarray, predictions: np.ndarray, axes: Axes) -> None:
        """A picture of what is confused with what, by matplotlib."""
        raise NotImplementedError

    # Row by row

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Of the last axis of `indicators` and of a prediction; None where there are no classes."""
        return None

    def indicators(self, targets: np.ndarray, predictions: np.ndarray) -> tuple[Any, Any] | None:
        """(N, K) sparse matrices of 0 and 1: which classes a row is of, and which are answered; None without classes.

        A row is right where both are the same.
        """
        return None

    def right(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray | None:
        """(N,) bool: whether the answer is right, in all of its classes; None where an answer is only near or far."""
        if (pair := self.indicators(targets, predictions)) is None:
            return None
        truth, chosen = pair
        return np.asarray(abs(truth - chosen).sum(axis=1)).reshape(-1) == 0

    def confidences(self, predictions: np.ndarray) -> np.ndarray | None:
        """(N,) how probable it is that the answer is right, in [0, 1]; None where the prediction does not say."""
        return None

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """(N,) how far each prediction is from the truth: log loss, or the error of a number; higher is worse."""
        raise NotImplementedError

    def answer_texts(self, predictions: np.ndarray) -> list[str]:
        """What `Head.answer` says first, as a cell of the table would hold it."""
        raise NotImplementedError

    def numbers(self, values: np.ndarray) -> np.ndarray | None:
        """(N, D) targets or predictions in the units of the table; None where they are no numbers."""
        return None

    # What an explanation is of

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the P numbers of a prediction is called: classes, labels, numbers."""
        raise NotImplementedError

    def explained(self, predictions: np.ndarray) -> np.ndarray:
        """(N, P) predictions -> (N,) which of the P numbers an explanation of the row is about."""
        return predictions.argmax(axis=-1)

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """(P,) factors and (P,) terms: a number times the one plus the other is what a person reads."""
        return np.ones(len(self.parts)), np.zeros(len(self.parts))

    # Predictions made of others, and of simpler models

    def tempered(self, predictions: np.ndarray, temperature: float) -> np.ndarray:
        """(N, P) predictions with their logits divided, as the model's last layer does; the prior stays what it is."""
        divided = tempered(predictions, temperature, self.link, np)
        return np.where(self.is_told(predictions)[:, None], divided, predictions)

    def join(self, predictions: Sequence[np.ndarray]) -> np.ndarray:
        """(N, P) predictions of several models as one: the mean, of logarithms where they are probabilities."""
        if self.predicts == "numbers":
            return np.mean(predictions, axis=0)
        kept = np.clip(np.asarray(predictions, np.float64), TINY, 1 - TINY)
        if self.predicts == "probabilities":
            return 1 / (1 + np.exp(-np.mean(np.log(kept) - np.log1p(-kept), axis=0)))
        logs = np.log(kept).mean(axis=0)
        odds = np.exp(logs - logs.max(axis=-1, keepdims=True))
        return odds / odds.sum(axis=-1, keepdims=True)

    def baseline(self, is_sparse: bool, seed: int) -> Any:
        """A scikit-learn estimator that learns `Head.encode_target` from (N, F) inputs: what a network has to beat.

        Args:
            is_sparse: The inputs are sparse counts or weights of words, for which a linear model is good.
            seed: Of what is random.
        """
        raise NotImplementedError

    def baseline_predictions(self, model: Any, inputs: Any) -> np.ndarray:
        """What a fitted `baseline` says of (N, F) inputs, as (N, P) predictions."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClassScorer(Scorer):
    """Judges answers that are one of several classes; targets are their indices.

    Attributes:
        classes: (P,) names.
    """

    classes: tuple[str, ...]

    def guesses(self, predictions: np.ndarray) -> np.ndarray:
        """(N, K) probabilities -> (N,) the classes that are answered."""
        return predictions.argmax(axis=-1)

    def plot(self, targets: np.ndarray, predictions: np.ndarray, axes: Axes) -> None:
        """The confusion matrix."""
        from sklearn.metrics import ConfusionMatrixDisplay

        many = len(self.classes) > 8
        ConfusionMatrixDisplay.from_predictions(
            targets,
            self.guesses(predictions),
            labels=range(len(self.classes)),
            display_labels=self.classes,
            xticks_rotation="vertical" if many else "horizontal",
            cmap="Blues",
            colorbar=False,
            ax=axes,
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes

    def indicators(self, targets: np.ndarray, predictions: np.ndarray) -> tuple[Any, Any]:
        from scipy.sparse import csr_matrix

        rows, shape = np.arange(len(targets)), (len(targets), len(self.classes))
        pair = (targets, self.guesses(predictions))
        return tuple(csr_matrix((np.ones(len(rows)), (rows, classes)), shape) for classes in pair)

    def confidences(self, predictions: np.ndarray) -> np.ndarray:
        """The probability of the class that is answered."""
        return predictions[np.arange(len(predictions)), self.guesses(predictions)].astype(np.float64)

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the right class's probability."""
        shares = predictions.astype(np.float64)
        shares /= shares.sum(axis=-1, keepdims=True)
        return -np.log(np.clip(shares[np.arange(len(targets)), targets], EPSILON, 1))

    def answer_texts(self, predictions: np.ndarray) -> list[str]:
        return [self.classes[i] for i in self.guesses(predictions)]

    @property
    def parts(self) -> tuple[str, ...]:
        return self.classes

    def explained(self, predictions: np.ndarray) -> np.ndarray:
        """The class that is answered."""
        return self.guesses(predictions)

    def baseline(self, is_sparse: bool, seed: int) -> Any:
        if is_sparse:
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(C=10, max_iter=1000, random_state=seed)
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(800, n_jobs=-1, random_state=seed)

    def baseline_predictions(self, model: Any, inputs: Any) -> np.ndarray:
        predictions = np.zeros((inputs.shape[0], len(self.classes)))
        predictions[:, model.classes_] = model.predict_proba(inputs)
        return predictions
