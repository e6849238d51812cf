"""Any number of labels at once; a cell holds them with "|" between: `red|round`, and "|" alone where there is none.

Target: (K,) float32, 1 where the row has the label, NaN where its labels are not known. Prediction: (K,) float32
probabilities, each for itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mmkeras.base import statistics
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted
from mmkeras.contracts.head import Head
from mmkeras.contracts.scorer import EPSILON, Scorer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

pd = lazy("pandas")
tf = lazy("tensorflow")
keras = lazy("keras")

BETWEEN = "|"
SHARE_OF_LISTS = 0.25  # of the cells hold several labels where a column looks like labels: many rows have one only
MOST_LABELS_DRAWN = 40


@dataclass(frozen=True)
class MultilabelScorer(Scorer):
    """Judges any number of labels at once.

    Attributes:
        labels: (P,) names.
        thresholds: (P,) from which probability on a label is answered.
    """

    labels: tuple[str, ...]
    thresholds: tuple[float, ...]

    explains: ClassVar = "probability of the most probable label"

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """F1 over all labels together and as a mean over labels, rows that are right in all labels, wrong labels.

        Figures that need no threshold follow, as means over the labels that some rows have: average precision, and
        ROC-AUC where others have it not.
        """
        chosen = self._chosen(predictions)
        hits, asked, said = (targets * chosen).sum(axis=0), targets.sum(axis=0), chosen.sum(axis=0)
        occurs = asked + said > 0
        scores = {
            "micro_f1": 2 * hits.sum() / max(asked.sum() + said.sum(), 1),
            "macro_f1": (2 * hits / np.maximum(asked + said, 1)).sum() / max(occurs.sum(), 1),
            "subset_accuracy": (targets == chosen).all(axis=-1).mean(),
            "hamming_loss": (targets != chosen).mean(),
        }
        return {name: float(value) for name, value in scores.items()} | _ranking_scores(targets, predictions)

    def resampled(
        self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray, first_only: bool = False
    ) -> dict[str, np.ndarray]:
        chosen = self._chosen(predictions)
        hits, asked, said = statistics.class_counts(weights, targets, chosen)
        total = np.maximum((asked + said).sum(axis=1), 1)
        figures = {"micro_f1": 2 * hits.sum(axis=1) / total}
        if first_only:
            return figures
        f1, occurs = statistics.class_figures(hits, asked, said)["f1"], asked + said > 0
        figures["macro_f1"] = np.where(occurs.any(axis=1), statistics.macro(f1, occurs), 0)
        wrong = targets != chosen
        figures["subset_accuracy"] = statistics.mean(weights, (~wrong.any(axis=1)).astype(float))
        figures["hamming_loss"] = statistics.mean(weights, wrong.mean(axis=1))
        rankings = {"mean_average_precision": statistics.average_precision, "macro_roc_auc": statistics.roc_area}
        for name, figure in rankings.items():
            each = statistics.ranking(figure, targets, predictions.astype(float), weights)
            is_defined = np.isfinite(each)
            figures[name] = statistics.macro(np.where(is_defined, each, 0), is_defined)
        return figures

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.labels

    def indicators(self, targets: np.ndarray, predictions: np.ndarray) -> tuple[Any, Any]:
        from scipy.sparse import csr_matrix

        return csr_matrix(targets, dtype=float), csr_matrix(self._chosen(predictions), dtype=float)

    def confidences(self, predictions: np.ndarray) -> np.ndarray:
        """The probability that all labels are right, if none depends on another."""
        said = np.where(self._chosen(predictions), predictions, 1 - predictions.astype(np.float64))
        return said.prod(axis=1)

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Binary log loss, the mean over the labels."""
        right = np.where(targets == 1, predictions, 1 - predictions.astype(np.float64))
        return -np.log(np.clip(right, EPSILON, 1)).mean(axis=1)

    def answer_texts(self, predictions: np.ndarray) -> list[str]:
        names = np.array(self.labels, dtype=object)
        return [BETWEEN.join(names[row]) for row in self._chosen(predictions)]

    def report(self, targets: np.ndarray, predictions: np.ndarray) -> str:
        """Precision, recall and F1 of each label, its threshold, and how many rows have it."""
        rows = zip(self.labels, *self._per_label(targets, predictions), self.thresholds, targets.sum(0), strict=True)
        width = max(map(len, (*self.labels, "label")))
        head = f"{'label':<{width}}  precision  recall     f1  threshold  rows"
        lines = [
            f"{label:<{width}}  {precision:9.3f}  {recall:6.3f}  {f1:5.3f}  {threshold:9.3f}  {count:4.0f}"
            for label, precision, recall, f1, threshold, count in rows
        ]
        return "\n".join([head, *lines, ""])

    def plot(self, targets: np.ndarray, predictions: np.ndarray, axes: Axes) -> None:
        """Precision, recall and F1 of the most frequent labels."""
        shown = np.sort(np.argsort(-targets.sum(axis=0), kind="stable")[:MOST_LABELS_DRAWN])
        figures = self._per_label(targets, predictions)
        for name, marker, values in zip(("precision", "recall", "F1"), "<>o", figures, strict=True):
            axes.plot(values[shown], range(len(shown)), marker, label=name)
        names = [f"{self.labels[i]} ({targets[:, i].sum():.0f})" for i in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.set(xlim=(-0.02, 1.02), ylabel="label (rows that have it)")
        axes.invert_yaxis()
        axes.grid(alpha=0.3)
        axes.legend()

    @property
    def parts(self) -> tuple[str, ...]:
        return self.labels

    def baseline(self, is_sparse: bool, seed: int) -> Any:
        if is_sparse:
            from sklearn.linear_model import LogisticRegression
            from sklearn.multiclass import OneVsRestClassifier

            return OneVsRestClassifier(LogisticRegression(C=10, max_iter=1000, random_state=seed))
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(800, n_jobs=-1, random_state=seed)

    def baseline_predictions(self, model: Any, inputs: Any) -> np.ndarray:
        shares = model.predict_proba(inputs)
        if isinstance(shares, list):  # of each label, (N, the values 0 and 1 that it had)
            pairs = zip(shares, model.classes_, strict=True)
            return np.stack([each @ np.asarray(values) for each, values in pairs], axis=-1)
        return shares if len(self.labels) > 1 else shares @ np.asarray(model.classes_)[:, None]

    def _chosen(self, predictions: np.ndarray) -> np.ndarray:
        return predictions >= np.array(self.thresholds, np.float32)

    def _per_label(self, targets: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(K,) precision, recall and F1; 0 where there is nothing to divide by."""
        chosen = self._chosen(predictions)
        hits, asked, said = (targets * chosen).sum(axis=0), targets.sum(axis=0), chosen.sum(axis=0)
        return hits / np.maximum(said, 1), hits / np.maximum(asked, 1), 2 * hits / np.maximum(asked + said, 1)


class Multilabel(Head):
    """Dense sigmoid and binary cross-entropy, averaged over the labels."""

    predicts: ClassVar = "probabilities"
    link: ClassVar = "sigmoid"
    scorer_class: ClassVar = MultilabelScorer

    empty: Literal["unknown", "none"] = Field(
        "unknown", description="what an empty cell means: the labels are not known, or there is none"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: of each label, the rows with it and without it count the same in the loss"
    )
    focal_gamma: float = Field(
        0.0, ge=0, le=10, description="how much less labels count that are right already; 2 is usual, 0: all the same"
    )
    labels: tuple[str, ...] | None = fitted()
    frequencies: tuple[float, ...] | None = fitted()
    thresholds: tuple[float, ...] | None = fitted()

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        share = values.str.contains(BETWEEN, regex=False).mean()
        labels = [label for cell in values for label in _labels(cell)]
        repeat = len(labels) >= 2 * len(set(labels))
        if share < SHARE_OF_LISTS or not repeat or _are_measurements(values, labels):
            return None
        return f'{len(set(labels))} labels, "{BETWEEN}" between them in {share:.0%} of the cells'

    def check(self, values: pd.Series, split: pd.Series) -> None:
        """Refuses train rows that all have the same labels."""
        known = [_labels(cell) for cell in values[split == "train"] if self._is_known(cell)]
        if not any(known):
            raise ValueError(f'no train row has a label, expected labels with "{BETWEEN}" between them in a cell')
        if all(labels == known[0] for labels in known):
            got = f'every train row has the labels "{BETWEEN.join(sorted(known[0]))}"'
            raise ValueError(f"{got}, expected labels that some rows have and others have not")

    def missing(self, values: pd.Series) -> pd.Series:
        return super().missing(values) & (self.empty == "unknown")

    def named_classes(self, values: pd.Series) -> pd.Series:
        cells = values[~self.missing(values)].map(lambda cell: sorted(_labels(cell)))
        return cells.explode().dropna()

    def strata(self, values: pd.Series) -> pd.Series:
        """Each row's rarest label, so that rare labels come into all splits, and into train first."""
        cells = [_labels(cell) for cell in values]
        counts = Counter(label for labels in cells for label in labels)
        rarest = [min(sorted(labels), key=counts.__getitem__, default="") for labels in cells]
        return pd.Series(rarest, values.index, dtype=object)

    def adapt(self, values: pd.Series) -> Multilabel:
        """Learns the labels, sorted, and how frequent each is; empty cells count as the configuration says."""
        cells = [_labels(cell) for cell in values if self._is_known(cell)]
        labels = sorted(set().union(*cells))
        if not labels:
            raise ValueError(f'no training row has a label, expected labels with "{BETWEEN}" between them in a cell')
        frequencies = [sum(label in cell for cell in cells) / len(cells) for label in labels]
        thresholds = [0.5] * len(labels)
        learned = {"labels": labels, "frequencies": frequencies, "thresholds": thresholds}
        return self.model_copy(update={name: tuple(values) for name, values in learned.items()})

    def tune(self, targets: np.ndarray, predictions: np.ndarray) -> Multilabel:
        """Sets the temperature, and each label's threshold where its F1 is best on the validation rows after it.

        A threshold stays 0.5 where nothing is better.
        """
        known = self.scorer.known(targets)
        tuned = super().tune(targets[known], predictions[known])
        divided = tuned.scorer.tempered(predictions[known], tuned.temperature)
        pairs = zip(targets[known].T, divided.T, strict=True)
        return tuned.model_copy(update={"thresholds": tuple(best_threshold(*pair) for pair in pairs)})

    @property
    def prior(self) -> np.ndarray:
        """Which share of the training rows has each label."""
        return np.array(self.frequencies, np.float32)

    @property
    def target(self) -> tf.TensorSpec:
        return tf.TensorSpec((len(self.labels),), tf.float32)

    def encode_target(self, values: pd.Series) -> np.ndarray:
        """1 for each label of a row, NaN in rows without any knowledge; labels new to training are left out."""
        index = {label: i for i, label in enumerate(self.labels)}
        targets = np.zeros((len(values), len(index)), np.float32)
        for row, cell in enumerate(values):
            targets[row, [index[label] for label in _labels(cell) if label in index]] = 1
            if not self._is_known(cell):
                targets[row] = np.nan
        return targets

    def sample_weights(self, targets: np.ndarray) -> np.ndarray:
        return self.scorer.known(targets).astype(np.float32)

    def raw(self, vector: Any, name: str) -> Any:
        return keras.layers.Dense(len(self.labels), name=name)(vector)

    def output(self, raw: Any, name: str) -> Any:
        # float32 whatever the policy: a half-precision sigmoid is 1 from 8 on.
        return keras.layers.Activation("sigmoid", dtype="float32", name=name)(raw)

    def loss(self) -> Any:
        """Binary cross-entropy; with `focal_gamma` times (1 - the probability of what is right) ** gamma.

        References:
            Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.
        """
        with_label, without = self._label_weights()

        def binary_crossentropy(target: Any, prediction: Any) -> Any:
            target = keras.ops.cast(target, prediction.dtype)
            losses = keras.ops.binary_crossentropy(target, prediction)
            if self.focal_gamma:
                wrong = keras.ops.abs(target - prediction)
                losses *= keras.ops.maximum(wrong, keras.config.epsilon()) ** self.focal_gamma
            return keras.ops.mean(losses * (target * with_label + (1 - target) * without), axis=-1)

        return binary_crossentropy

    def metrics(self) -> list[Any]:
        """Both over all labels together: the area under precision and recall, and F1 at a threshold of 0.5."""
        return [
            keras.metrics.AUC(curve="PR", name="average_precision"),
            keras.metrics.F1Score("micro", threshold=0.5, name="f1"),
        ]

    def answer(self, prediction: tf.Tensor) -> dict[str, tf.Tensor]:
        names = tf.constant([label + BETWEEN for label in self.labels])
        chosen = tf.where(prediction >= tf.constant(self.thresholds, tf.float32), names, "")
        joined = tf.strings.reduce_join(chosen, axis=-1)
        return {"labels": tf.strings.regex_replace(joined, r"\|$", ""), "probabilities": prediction}

    @property
    def answer_description(self) -> dict[str, str]:
        names = ", ".join(self.labels)
        thresholds = ", ".join(f"{threshold:.3g}" for threshold in self.thresholds)
        return {
            "labels": f'(B,) string: the labels from their thresholds on ({thresholds}), "{BETWEEN}" between; "": none',
            "probabilities": f"(B, {len(self.labels)}) float32 in [0, 1], each for itself, of {names} in this order",
        }

    def _is_known(self, cell: str) -> bool:
        return self.empty == "none" or cell.strip() != ""

    def _label_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(K,) what a label counts in rows that have it, and in rows that have it not."""
        shares = np.array(self.frequencies, np.float32)
        if self.class_weights == "none":
            return np.ones_like(shares), np.ones_like(shares)
        return 0.5 / shares, np.where(shares < 1, 0.5 / np.maximum(1 - shares, 1e-6), 1).astype(np.float32)


def best_threshold(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Between which two rows a label's F1 is best when all above have the label: the middle between their two.

    Args:
        truth: (N,) 0 or 1.
        probabilities: (N,) in [0, 1].

    Returns:
        0.5 where no other threshold is better; of equally good ones the nearest to it.
    """
    order = np.argsort(-probabilities, kind="stable")
    upper = probabilities[order].astype(float)
    lower = np.append(upper[1:], 0.0)
    f1 = 2 * np.cumsum(truth[order]) / (np.arange(len(order)) + 1 + truth.sum())
    chosen = probabilities >= 0.5
    usual = 2 * truth[chosen].sum() / max(chosen.sum() + truth.sum(), 1)
    best = np.where(upper > lower, f1, 0).max(initial=0)
    if best <= usual + 1e-9:
        return 0.5
    middles = ((upper + lower) / 2)[(upper > lower) & (f1 >= best - 1e-9)]
    return float(middles[np.abs(middles - 0.5).argmin()])


def _labels(cell: str) -> set[str]:
    return {label.strip() for label in cell.split(BETWEEN)} - {""}


def _are_measurements(values: pd.Series, labels: list[str]) -> bool:
    """Whether all cells hold equally many numbers and some have decimals: no labels, but several figures a row."""
    has_one_count = values.str.count(r"\|").nunique() == 1
    are_numbers = all(label.replace(".", "", 1).removeprefix("-").isdigit() for label in labels)
    return has_one_count and are_numbers and any("." in label for label in labels)


def _ranking_scores(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Means over the labels of which they are defined; {} where there is none."""
    from sklearn import metrics

    columns = [pair for pair in zip(targets.T, predictions.T, strict=True) if pair[0].any()]
    precisions = [metrics.average_precision_score(*pair) for pair in columns]
    areas = [metrics.roc_auc_score(*pair) for pair in columns if not pair[0].all()]
    figures = {"mean_average_precision": precisions, "macro_roc_auc": areas}
    return {name: float(np.mean(values)) for name, values in figures.items() if values}
