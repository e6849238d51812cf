"""One of several classes that have an order, such as grades.

Target: () int32, the class's rank from 0. Prediction: (K,) float32 probabilities that add up to 1, lowest class first.
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
layers = lazy("mmkeras.network.layers")


class OrdinalScorer(ClassScorer):
    """Judges classes that have an order: how many ranks an answer is off counts."""

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """Cohen's kappa with quadratic weights, accuracy, how many ranks the answers are off (mean, root mean square).

        Kappa is 0 for answers that have nothing to do with the truth, and 1 where all are right.
        """
        guesses = self.guesses(predictions)
        off = np.abs(guesses - targets)
        return {
            "quadratic_kappa": _quadratic_kappa(targets, guesses),
            "accuracy": float(np.mean(off == 0)),
            "rank_mae": float(np.mean(off)),
            "rank_rmse": float(np.sqrt(np.mean(off**2))),
        }

    def resampled(
        self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray, first_only: bool = False
    ) -> dict[str, np.ndarray]:
        """Kappa is 1 - the mean square of ranks off over what guesses would be off that do not look at the row."""
        guesses = self.guesses(predictions)
        off = np.abs(guesses - targets).astype(float)
        figures = np.stack([off == 0, off, off**2, targets, guesses, targets**2.0 + guesses**2.0], axis=1)
        accuracy, rank_mae, square, truth, said, squares = statistics.mean(weights, figures.astype(float)).T
        by_chance = squares - 2 * truth * said
        is_one_class = np.isclose(by_chance, 0)
        kappa = np.where(is_one_class, 1.0, 1 - square / np.where(is_one_class, 1, by_chance))
        others = {"accuracy": accuracy, "rank_mae": rank_mae, "rank_rmse": np.sqrt(square)}
        return {"quadratic_kappa": kappa} | ({} if first_only else others)

    def report(self, targets: np.ndarray, predictions: np.ndarray) -> str:
        from sklearn.metrics import classification_report

        guesses = self.guesses(predictions)
        labels = np.union1d(targets, guesses)
        names = [self.classes[i] for i in labels]
        per_class = classification_report(
            targets, guesses, labels=labels, target_names=names, digits=3, zero_division=0
        )
        figures = (f"{name:<16} {value:.3f}" for name, value in self.score(targets, predictions).items())
        return "\n".join([per_class, *figures, ""])

    def guesses(self, predictions: np.ndarray) -> np.ndarray:
        """(N, K) probabilities -> (N,) the first class up to which there is half of them."""
        return (np.cumsum(predictions, axis=-1)[:, :-1] < 0.5).sum(axis=-1)


class Ordinal(ClassHead):
    """One number for how high a row stands, and thresholds in order between the classes; two classes or more.

    What several columns say is added before the thresholds, so that the classes keep their order in any sum.

    References:
        McCullagh, Regression Models for Ordinal Data, 1980, Journal of the Royal Statistical Society B 42(2).
    """

    link: ClassVar = "cumulative"
    scorer_class: ClassVar = OrdinalScorer

    order: tuple[str, ...] | None = Field(
        None, min_length=2, description="the classes, lowest first; null: by number, where all are numbers"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: each class counts the same in the loss"
    )

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        return None  # that classes have an order is for the user to say

    def check(self, values: pd.Series, split: pd.Series) -> None:
        """Refuses classes without an order, fewer than two in train, and classes of which nothing can be learned."""
        cells = values.str.strip()
        self._refuse_foreign(cells, (cells != "") & ~cells.isin(self._ranks(cells)), "is not in the order")
        trained = cells[(split == "train") & (cells != "")].unique()
        if len(trained) < 2:
            got = f'every train row has the class "{trained[0]}"' if len(trained) else "no train row has a class"
            raise ValueError(f"{got}, expected two classes or more")
        if self.order is None:
            self._refuse_foreign(cells, (cells != "") & ~cells.isin(trained), "stands in no train row")

    def foreign(self, values: pd.Series, split: pd.Series) -> pd.Series:
        """Those of a class that train lacks; a class that `order` names is known by its place."""
        return super().foreign(values.str.strip(), split) if self.order is None else values.isin([])

    def strata(self, values: pd.Series) -> pd.Series:
        return values.str.strip()

    def adapt(self, values: pd.Series) -> Ordinal:
        """Learns the classes, lowest first, how frequent each is and what it weighs."""
        cells = values.str.strip()
        classes = self._ranks(cells)
        self._refuse_foreign(cells, ~cells.isin(classes), "is not in the order")
        counts = np.array([(cells == name).sum() for name in classes])
        balanced = len(cells) / ((counts > 0).sum() * np.maximum(counts, 1))
        weights = balanced if self.class_weights == "balanced" else np.ones(len(classes))
        learned = {"frequencies": counts / len(cells), "weights": weights}
        return self.model_copy(
            update={"classes": classes} | {name: tuple(numbers.tolist()) for name, numbers in learned.items()}
        )

    def encode_target(self, values: pd.Series) -> np.ndarray:
        """The classes' ranks; -1 where a row has no class or one that training did not know."""
        ranks = {name: rank for rank, name in enumerate(self.classes)}
        return values.str.strip().map(ranks).fillna(-1).to_numpy(np.int32)

    def raw(self, vector: Any, name: str) -> Any:
        """(B, D) -> (B, 1): how high a row stands."""
        return keras.layers.Dense(1, use_bias=False, name=name)(vector)  # the thresholds are its bias

    def output(self, raw: Any, name: str) -> Any:
        # float32 whatever the policy: differences of half-precision sigmoids are coarse.
        return layers.answers.OrderedClasses(self._first_thresholds(), dtype="float32", name=name)(raw)

    def loss(self) -> Any:
        """Of each threshold, whether the row is above it: the sum of K - 1 binary cross-entropies.

        References:
            Cao et al., Rank Consistent Ordinal Regression (CORAL), 2020, arXiv:1901.07884, equation 4.
        """

        def crossentropy_of_thresholds(target: Any, prediction: Any) -> Any:
            rank = keras.ops.reshape(target, (-1, 1))
            is_above = keras.ops.cast(rank > keras.ops.arange(len(self.classes) - 1, dtype=rank.dtype), "float32")
            above = 1 - keras.ops.cumsum(prediction, axis=-1)[:, :-1]
            return keras.ops.sum(keras.ops.binary_crossentropy(is_above, above), axis=-1)

        return crossentropy_of_thresholds

    def metrics(self) -> list[Any]:
        """Accuracy, and how many ranks the answers are off."""

        def ranks_off(target: Any, prediction: Any) -> Any:
            below = keras.ops.cast(keras.ops.cumsum(prediction, axis=-1)[:, :-1] < 0.5, "float32")
            rank = keras.ops.cast(keras.ops.reshape(target, (-1,)), "float32")
            return keras.ops.abs(keras.ops.sum(below, axis=-1) - rank)

        def is_right(target: Any, prediction: Any) -> Any:
            return keras.ops.cast(ranks_off(target, prediction) < 0.5, "float32")

        figures = {"accuracy": is_right, "rank_mae": ranks_off}
        return [keras.metrics.MeanMetricWrapper(figure, name=name) for name, figure in figures.items()]

    def answer(self, prediction: tf.Tensor) -> dict[str, tf.Tensor]:
        """The median class: it is expected to be the fewest ranks off."""
        best = tf.reduce_sum(tf.cast(tf.cumsum(prediction, axis=-1)[:, :-1] < 0.5, tf.int32), axis=-1)
        ranks = tf.range(1, len(self.classes) + 1, dtype=tf.float32)
        return {
            "label": tf.gather(tf.constant(self.classes), best),
            "probability": tf.gather(prediction, best, batch_dims=1),
            "probabilities": prediction,
            "expected_rank": tf.linalg.matvec(prediction, ranks),
        }

    @property
    def answer_description(self) -> dict[str, str]:
        count = len(self.classes)
        return {
            "label": "(B,) string: the median class: lower and higher ones have at most half of the probability each",
            "probability": "(B,) float32 in [0, 1]: how probable the label is",
            "probabilities": f"(B, {count}) float32 in [0, 1], of {', '.join(self.classes)} in this order",
            "expected_rank": f"(B,) float32 in [1, {count}]: the mean place in this order; 1 is {self.classes[0]}",
        }

    def _ranks(self, cells: pd.Series) -> tuple[str, ...]:
        """The classes, lowest first.

        Raises:
            ValueError: No order is given, and the cells are no numbers that could say it.
        """
        if self.order is not None:
            return self.order
        remedy = "give the classes, lowest first, as order of this target (targets.NAME.order: [low, middle, high])"
        numbers: dict[float, str] = {}
        for name in sorted(set(cells) - {""}):
            number = _number(name)
            if number is None:
                raise ValueError(
                    f'the class "{name}" is no number, so its place among the others is not known; {remedy}'
                )
            if number in numbers:
                raise ValueError(f'the classes "{numbers[number]}" and "{name}" are the same number; {remedy}')
            numbers[number] = name
        return tuple(name for _, name in sorted(numbers.items()))

    def _refuse_foreign(self, cells: pd.Series, is_foreign: pd.Series, fault: str) -> None:
        if not is_foreign.any():
            return
        name = cells[is_foreign.idxmax()]
        known = f" ({', '.join(self.order)})" if self.order else ""
        remedy = "correct it or name it in targets.NAME.order, in its place among the others"
        raise ValueError(f'the class "{name}" ({rows_where(cells == name)}) {fault}{known}; {remedy}')

    def _first_thresholds(self) -> list[float]:
        """Those at which every row has the classes' shares of the loss: else the first epochs go to finding them."""
        shares = np.multiply(self.frequencies, self.weights)
        below = np.clip(np.cumsum(shares / shares.sum())[:-1], 0.01, 0.99)
        return np.log(below / (1 - below)).tolist()


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _quadratic_kappa(targets: np.ndarray, guesses: np.ndarray) -> float:
    """1 where all rows are of one class and guessed so: scikit-learn divides 0 by 0 there."""
    from sklearn.metrics import cohen_kappa_score

    if len(np.union1d(targets, guesses)) == 1:
        return 1.0
    return float(cohen_kappa_score(targets, guesses, weights="quadratic"))
