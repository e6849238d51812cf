"""One number or several; a cell holds them with "|" between: `12.5` or `0.3|-4`.

Target: (D,) float32 in deviations from the training rows' mean, NaN where they are not known. Prediction: the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mmkeras.base import statistics
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted
from mmkeras.contracts.head import Head
from mmkeras.contracts.scorer import Scorer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

pd = lazy("pandas")
tf = lazy("tensorflow")
keras = lazy("keras")

BETWEEN = "|"
UNKNOWN = ("", "na", "n/a", "nan", "null", "none")
MOST = 0.95  # of the cells are numbers where a column looks like numbers
MOST_CODES = 20  # so many whole numbers may be classes
STRATA, ROWS_PER_STRATUM = 10, 20


@dataclass(frozen=True)
class RegressionScorer(Scorer):
    """Judges numbers, in the units of the table.

    Attributes:
        mean: (P,) of the training rows.
        deviation: (P,) of the training rows.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    explains: ClassVar = "value"

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """R2, errors in the table's units, and how well the order is kept; means over a row's numbers."""
        scores = [_scores(*pair) for pair in self._columns(targets, predictions)]
        names = [name for name in scores[0] if all(name in each for each in scores)]
        return {name: float(np.mean([each[name] for each in scores])) for name in names}

    def resampled(
        self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray, first_only: bool = False
    ) -> dict[str, np.ndarray]:
        pairs = self._columns(targets, predictions)
        each = [_resampled(*pair, weights, first_only) for pair in pairs]
        return {name: np.mean([figures[name] for figures in each], axis=0) for name in each[0]}

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """The absolute error in the table's units; of several numbers, the mean of errors in training deviations."""
        scale = self.deviation if len(self.deviation) == 1 else np.ones(len(self.deviation))
        return (np.abs(targets.astype(np.float64) - predictions) * scale).mean(axis=1)

    def answer_texts(self, predictions: np.ndarray) -> list[str]:
        return [BETWEEN.join(f"{value:.6g}" for value in row) for row in self.numbers(predictions)]

    def numbers(self, values: np.ndarray) -> np.ndarray:
        return values.astype(np.float64) * self.deviation + self.mean

    def report(self, targets: np.ndarray, predictions: np.ndarray) -> str:
        """The figures of each number, and which share of rows is off by how much at most."""
        parts = []
        for name, (truth, said) in zip(self.parts, self._columns(targets, predictions), strict=True):
            off = np.quantile(np.abs(truth - said), (0.5, 0.9, 1))
            lines = [f"  {figure:<22} {value:.4g}" for figure, value in _scores(truth, said).items()]
            shares = zip(("half of the rows", "nine of ten rows", "all rows"), off, strict=True)
            lines += [f"  {share:<16} within {value:.4g}" for share, value in shares]
            parts += [f"{name}: {len(truth)} rows from {truth.min():.4g} to {truth.max():.4g}", *lines]
        return "\n".join([*parts, ""])

    def plot(self, targets: np.ndarray, predictions: np.ndarray, axes: Axes) -> None:
        """Predicted against true numbers, in the table's units; several share the axes in training deviations."""
        several = len(self.mean) > 1
        pairs = list(zip(targets.T, predictions.T, strict=True) if several else self._columns(targets, predictions))
        for name, (truth, said) in zip(self.parts, pairs, strict=True):
            axes.scatter(truth, said, s=12, alpha=0.6, label=name)
        ends = np.min(pairs), np.max(pairs)
        axes.plot(ends, ends, color="gray", linestyle="--", label="right")
        unit = " (training deviations from the mean)" if several else ""
        axes.set(xlabel=f"true{unit}", ylabel=f"predicted{unit}")
        axes.grid(alpha=0.3)
        axes.legend()

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(_names(len(self.mean)))

    def explained(self, predictions: np.ndarray) -> np.ndarray:
        """The first number: which of several one asks about, no prediction can tell."""
        return np.zeros(len(predictions), int)

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.deviation), np.array(self.mean)

    def baseline(self, is_sparse: bool, seed: int) -> Any:
        if is_sparse:
            from sklearn.linear_model import Ridge

            return Ridge()
        from sklearn.ensemble import ExtraTreesRegressor
        from sklearn.multioutput import MultiOutputRegressor

        # A forest warns of one number as (N, 1); the wrapper gives it (N,).
        return MultiOutputRegressor(ExtraTreesRegressor(300, n_jobs=-1, random_state=seed))

    def baseline_predictions(self, model: Any, inputs: Any) -> np.ndarray:
        return np.reshape(model.predict(inputs), (inputs.shape[0], len(self.mean)))

    def _columns(self, targets: np.ndarray, predictions: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each number of a row, (N,) true and predicted in the table's units."""
        truth, said = self.numbers(targets), self.numbers(predictions)
        return list(zip(truth.T, said.T, strict=True))


class Regression(Head):
    """Dense layer on targets that are scaled to mean 0 and deviation 1."""

    predicts: ClassVar = "numbers"
    scorer_class: ClassVar = RegressionScorer

    error: Literal["mse", "mae", "huber"] = Field(
        "mse",
        description="the loss: of squares, of amounts, or of squares up to one deviation and amounts beyond it",
    )
    mean: tuple[float, ...] | None = fitted()
    deviation: tuple[float, ...] | None = fitted()

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        """Numbers with decimals, or more whole ones than classes would be; numbers with leading zeros are codes."""
        cells = values[~_is_unknown(values)]
        parts = cells.str.split(BETWEEN).explode().str.strip()
        numbers = _numbers(parts)
        numbers = numbers[np.isfinite(numbers)]
        are_few_and_whole = numbers.nunique() <= MOST_CODES and (numbers == numbers.round()).all()
        are_codes = parts.str.match(r"0\d").any() or are_few_and_whole
        if are_codes or len(numbers) < MOST * len(parts) or cells.str.count(r"\|").nunique() != 1:
            return None
        return f"numbers from {numbers.min():g} to {numbers.max():g}"

    def check(self, values: pd.Series, split: pd.Series) -> None:
        """Refuses cells that are no numbers, cells of different counts, and train rows that are all equal."""
        trained = _parse(values)[(split == "train").to_numpy()]
        trained = trained[np.isfinite(trained).all(axis=1)]
        if not len(trained):
            raise ValueError("no train row has a number")
        if (trained == trained[0]).all():
            number = BETWEEN.join(f"{value:g}" for value in trained[0])
            raise ValueError(f"every train row has the number {number}, expected numbers that differ")

    def strata(self, values: pd.Series) -> pd.Series:
        """Ranges of the first number that hold equally many rows."""
        first = _parse(values)[:, 0]
        known = np.isfinite(first)
        count = int(np.clip(known.sum() // ROWS_PER_STRATUM, 1, STRATA))
        bounds = np.quantile(first[known], np.arange(1, count) / count) if known.any() else []
        ranges = np.searchsorted(bounds, first, side="right")
        return pd.Series(np.where(known, ranges.astype(str), ""), values.index, dtype=object)

    def adapt(self, values: pd.Series) -> Regression:
        """Learns how many numbers a cell holds, and the mean and deviation of each."""
        numbers = _parse(values)
        numbers = numbers[np.isfinite(numbers).all(axis=1)]
        if not len(numbers):
            raise ValueError("no training row has a number")
        deviation = numbers.std(axis=0)
        # A column of one number has a deviation of rounding errors, which must not be blown up to 1.
        deviation[deviation <= 1e-9 * np.abs(numbers).max(axis=0)] = 1
        learned = {"mean": numbers.mean(axis=0), "deviation": deviation}
        return self.model_copy(update={name: tuple(values.tolist()) for name, values in learned.items()})

    @property
    def prior(self) -> np.ndarray:
        """The training rows' mean."""
        return np.zeros(len(self.mean), np.float32)

    @property
    def target(self) -> tf.TensorSpec:
        return tf.TensorSpec((len(self.mean),), tf.float32)

    def encode_target(self, values: pd.Series) -> np.ndarray:
        """Scaled numbers; NaN in rows where one of them is not known."""
        numbers = _parse(values, len(self.mean))
        numbers[~np.isfinite(numbers).all(axis=1)] = np.nan
        return ((numbers - self.mean) / self.deviation).astype(np.float32)

    def sample_weights(self, targets: np.ndarray) -> np.ndarray:
        return self.scorer.known(targets).astype(np.float32)

    def raw(self, vector: Any, name: str) -> Any:
        return keras.layers.Dense(len(self.mean), name=name)(vector)

    def output(self, raw: Any, name: str) -> Any:
        # float32 whatever the policy: half precision has three digits.
        return keras.layers.Activation("linear", dtype="float32", name=name)(raw)

    def loss(self) -> Any:
        """The mean over a row's numbers, in deviations."""
        return {
            "mse": keras.losses.mean_squared_error,
            "mae": keras.losses.mean_absolute_error,
            "huber": keras.losses.huber,
        }[self.error]

    def metrics(self) -> list[Any]:
        """Skill, which is 1 - the squared error in training deviations, and the mean absolute error in table's units.

        Skill is R2 with the training rows' mean and variance in place of the judged rows': a mean over rows, so that
        a batch of one row or of equal numbers has it too.
        """

        def skill(target: Any, prediction: Any) -> Any:
            return 1 - keras.losses.mean_squared_error(target, prediction)

        def mae(target: Any, prediction: Any) -> Any:
            off = keras.ops.abs(keras.ops.cast(target, prediction.dtype) - prediction)
            return keras.ops.mean(off * keras.ops.convert_to_tensor(self.deviation, prediction.dtype), axis=-1)

        return [keras.metrics.MeanMetricWrapper(figure, name=figure.__name__) for figure in (skill, mae)]

    def answer(self, prediction: tf.Tensor) -> dict[str, tf.Tensor]:
        values = prediction * tf.constant(self.deviation, tf.float32) + tf.constant(self.mean, tf.float32)
        return {name: values[:, i] for i, name in enumerate(_names(len(self.mean)))}

    @property
    def answer_description(self) -> dict[str, str]:
        return {name: "(B,) float32: in the units of the table" for name in _names(len(self.mean))}


def _names(count: int) -> list[str]:
    return ["value"] if count == 1 else [f"value_{i}" for i in range(1, count + 1)]


def _is_unknown(values: pd.Series) -> pd.Series:
    return values.str.strip().str.lower().isin(UNKNOWN)


def _numbers(values: pd.Series) -> pd.Series:
    """float64, NaN where a string is no number."""
    return pd.to_numeric(values, errors="coerce").astype(float)


def _parse(values: pd.Series, count: int | None = None) -> np.ndarray:
    """Cells to (N, D) float64, NaN where they are not known.

    Args:
        values: The cells; their index is the rows' numbers from 0.
        count: D; None: as in the first cell that is known.

    Raises:
        ValueError: A part of a cell is no finite number, or a cell holds another count of them.
    """
    unknown = _is_unknown(values)
    counts = values.str.count(r"\|") + 1
    if count is None:
        count = int(counts[~unknown].iloc[0]) if not unknown.all() else 1
    _check_counts(values, counts, count, ~unknown & (counts != count))
    cells = np.full((len(values), count), np.nan)
    parts = values[~unknown].str.split(BETWEEN, expand=True)
    for i in range(count if len(parts) else 0):
        numbers = _numbers(parts[i].str.strip())
        _check_numbers(parts[i].str.strip(), ~_is_unknown(parts[i]) & ~np.isfinite(numbers))
        cells[~unknown.to_numpy(), i] = numbers
    return cells


def _check_counts(values: pd.Series, counts: pd.Series, count: int, is_wrong: pd.Series) -> None:
    if is_wrong.any():
        row = is_wrong.idxmax()
        got = f'row {row + 1} holds {counts[row]} numbers ("{values[row]}"), expected {count} as in the other rows'
        raise ValueError(f'{got}, with "{BETWEEN}" between them; leave the cell empty where they are not known')


def _check_numbers(parts: pd.Series, is_wrong: pd.Series) -> None:
    if is_wrong.any():
        row = is_wrong.idxmax()
        got = f'"{parts[row]}" (row {row + 1}) is no finite number, expected numbers such as 3 or -0.25'
        raise ValueError(f"{got}; correct the cell or leave it empty, or take another type for this target")


def _scores(truth: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """The figures of one number; the order cannot be judged where all are equal."""
    from scipy.stats import spearmanr

    off = truth - said
    figures = {
        "r2": _r2(truth, said),
        "mae": np.abs(off).mean(),
        "rmse": np.sqrt(np.mean(off**2)),
        "median_absolute_error": np.median(np.abs(off)),
    }
    if np.ptp(truth) and np.ptp(said):
        figures["spearman"] = spearmanr(truth, said).statistic
    return figures


def _r2(truth: np.ndarray, said: np.ndarray) -> float:
    """As scikit-learn has it where all true numbers are equal: 1 if they are met, else 0."""
    off, spread = truth - said, np.sum((truth - truth.mean()) ** 2)
    return 1 - np.sum(off**2) / spread if spread else float(not off.any())


def _resampled(truth: np.ndarray, said: np.ndarray, weights: np.ndarray, first_only: bool) -> dict[str, np.ndarray]:
    """`_scores` of many resamples."""
    off, centred = truth - said, truth - truth.mean()
    means = statistics.mean(weights, np.stack([off**2, np.abs(off), centred, centred**2], axis=1))
    square, mae, centre, spread = means.T
    spread = spread - centre**2
    is_flat = spread <= 1e-12 * np.square(centred).max(initial=0)
    figures = {"r2": np.where(is_flat, square == 0, 1 - square / np.where(is_flat, 1, spread))}
    if first_only:
        return figures
    return figures | {
        "mae": mae,
        "rmse": np.sqrt(square),
        "median_absolute_error": statistics.median(np.abs(off), weights),
        "spearman": statistics.spearman(truth, said, weights),
    }
