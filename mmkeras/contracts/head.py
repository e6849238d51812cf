"""The contract of a head: one target's encoding, output, loss, metrics, decoding, and what judges it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from mmkeras.contracts.component import Component, Kind, fitted

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd
    import tensorflow as tf
    from matplotlib.axes import Axes


TINY = 1e-12  # no probability is taken to be less, for its logarithm's sake
EPSILON = 2.0**-52  # the same for a loss, as scikit-learn has it
TEMPERATURES = 0.05, 20.0
MOST_ROWS_TO_CALIBRATE = 10_000  # of one number; more do not change it


class Head(Component):
    """One task: target encoding, output, loss, metrics and decoding, which have to agree, in one place."""

    kind: ClassVar[Kind] = "head"
    predicts: ClassVar[Literal["distribution", "probabilities", "numbers"]]
    """What the last axis of a prediction holds: probabilities that add up to 1, probabilities each for itself, numbers.
    """
    explains: ClassVar[str] = "probability of the answer"
    """What `explained` chooses, in words."""

    link: ClassVar[Literal["identity", "softmax", "sigmoid", "cumulative"]] = "identity"
    """What makes a prediction of logits, as `links.tempered` has it; "identity" has no temperature."""

    loss_weight: float = Field(1.0, gt=0, description="how much this target's loss counts beside the other targets'")
    temperature: float = fitted(1.0)

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
        import numpy as np
        from scipy.optimize import minimize_scalar

        if self.link == "identity":
            return self
        rows = np.flatnonzero(self.is_told(predictions))
        rows = rows[:: 1 + len(rows) // MOST_ROWS_TO_CALIBRATE]
        if not len(rows):
            return self
        # Where a loss is least it hardly changes: in single precision a thousandth to and fro would be all the same.
        truth, said = targets[rows], predictions[rows].astype(np.float64)

        def loss(log_temperature: float) -> float:
            found = self.tempered(said, float(np.exp(log_temperature)))
            return float(self.losses(truth, found).sum() + log_temperature**2 / 2)

        found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-8})
        return self.model_copy(update={"temperature": float(np.exp(found.x))})

    def untuned(self) -> Self:
        """A copy that has forgotten what it learned of the validation rows: predictions as the network makes them."""
        return self.model_copy(update={"temperature": 1.0})

    def tempered(self, predictions: np.ndarray, temperature: float) -> np.ndarray:
        """(N, P) predictions with their logits divided, as the model's last layer does; the prior stays what it is."""
        import numpy as np

        from mmkeras.contracts import links

        found = np.asarray(links.tempered(predictions, temperature, self.link))
        return np.where(self.is_told(predictions)[:, None], found, predictions)

    def is_told(self, predictions: np.ndarray) -> np.ndarray:
        """(N,) bool: which (N, P) predictions say anything but the prior."""
        return (predictions != self.prior).any(axis=1)

    @property
    def target(self) -> tf.TensorSpec:
        """One row's encoded target."""
        raise NotImplementedError

    def encode_target(self, values: pd.Series) -> np.ndarray:
        """The table's cells (strings) as the loss wants them, (N, *target.shape)."""
        raise NotImplementedError

    def known(self, targets: np.ndarray) -> np.ndarray:
        """(N,) bool: which rows have a target that training knew; -1 and NaN stand for all others."""
        import numpy as np

        is_known = targets >= 0 if targets.dtype.kind == "i" else np.isfinite(targets)
        return is_known.reshape(len(targets), -1).all(axis=1)

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

    def answer(self, prediction: tf.Tensor) -> dict[str, tf.Tensor]:
        """(B, P) predictions as a client reads them: names and units, no indices."""
        raise NotImplementedError

    @property
    def answer_description(self) -> dict[str, str]:
        """What each tensor of `answer` holds, for a reader."""
        raise NotImplementedError

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
        import numpy as np

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
        """What `answer` says first, as a cell of the table would hold it."""
        raise NotImplementedError

    def numbers(self, values: np.ndarray) -> np.ndarray | None:
        """(N, D) targets or predictions in the units of the table; None where they are no numbers."""
        return None

    def report(self, targets: np.ndarray, predictions: np.ndarray) -> str:
        """The same in detail, as text."""
        raise NotImplementedError

    def draw(self, targets: np.ndarray, predictions: np.ndarray, axes: Axes) -> None:
        """A picture of what is confused with what."""
        raise NotImplementedError

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
        import numpy as np

        return np.ones(len(self.parts)), np.zeros(len(self.parts))

    def baseline(self, is_sparse: bool, seed: int) -> Any:
        """A scikit-learn estimator that learns `encode_target` from (N, F) inputs: what a network has to beat.

        Args:
            is_sparse: The inputs are sparse counts or weights of words, for which a linear model is good.
            seed: Of what is random.
        """
        raise NotImplementedError

    def baseline_predictions(self, model: Any, inputs: Any) -> np.ndarray:
        """What a fitted `baseline` says of (N, F) inputs, as (N, P) predictions."""
        raise NotImplementedError

    def join(self, predictions: Sequence[np.ndarray]) -> np.ndarray:
        """(N, P) predictions of several models as one: the mean, of logarithms where they are probabilities."""
        import numpy as np

        if self.predicts == "numbers":
            return np.mean(predictions, axis=0)
        kept = np.clip(np.asarray(predictions, np.float64), TINY, 1 - TINY)
        if self.predicts == "probabilities":
            return 1 / (1 + np.exp(-np.mean(np.log(kept) - np.log1p(-kept), axis=0)))
        logs = np.log(kept).mean(axis=0)
        joined = np.exp(logs - logs.max(axis=-1, keepdims=True))
        return joined / joined.sum(axis=-1, keepdims=True)


class ClassHead(Head):
    """A task whose target is one of several classes: () int32, its index, -1 where it is not known."""

    predicts: ClassVar = "distribution"
    link: ClassVar = "softmax"

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

    @property
    def prior(self) -> np.ndarray:
        """The classes' shares of the training rows."""
        import numpy as np

        return np.array(self.frequencies, np.float32)

    def guesses(self, predictions: np.ndarray) -> np.ndarray:
        """(N, K) probabilities -> (N,) the classes that are answered."""
        return predictions.argmax(axis=-1)

    @property
    def parts(self) -> tuple[str, ...]:
        return self.classes

    def explained(self, predictions: np.ndarray) -> np.ndarray:
        return self.guesses(predictions)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes

    def indicators(self, targets: np.ndarray, predictions: np.ndarray) -> tuple[Any, Any]:
        import numpy as np
        from scipy.sparse import csr_matrix

        rows, shape = np.arange(len(targets)), (len(targets), len(self.classes))
        pair = (targets, self.guesses(predictions))
        return tuple(csr_matrix((np.ones(len(rows)), (rows, classes)), shape) for classes in pair)

    def confidences(self, predictions: np.ndarray) -> np.ndarray:
        """The probability of the class that is answered."""
        import numpy as np

        return predictions[np.arange(len(predictions)), self.guesses(predictions)].astype(np.float64)

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the right class's probability."""
        import numpy as np

        shares = predictions.astype(np.float64)
        shares /= shares.sum(axis=-1, keepdims=True)
        return -np.log(np.clip(shares[np.arange(len(targets)), targets], EPSILON, 1))

    def answer_texts(self, predictions: np.ndarray) -> list[str]:
        return [self.classes[i] for i in self.guesses(predictions)]

    def draw(self, targets: np.ndarray, predictions: np.ndarray, axes: Axes) -> None:
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

    def baseline(self, is_sparse: bool, seed: int) -> Any:
        if is_sparse:
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(C=10, max_iter=1000, random_state=seed)
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(800, n_jobs=-1, random_state=seed)

    def baseline_predictions(self, model: Any, inputs: Any) -> np.ndarray:
        import numpy as np

        found = np.zeros((inputs.shape[0], len(self.classes)))
        found[:, model.classes_] = model.predict_proba(inputs)
        return found
