"""Numbers.

Cell: a float32 number; NaN means missing, an infinite one is bad.
Features: `value` (1,) float32, z-scored or mapped by the training rows' quantiles; `present` ().
Encoding: a dense layer over the value and its soft membership in bins, so that one layer can single out a range; one
token, the same as the vector.
Attribution: (), of the number.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from mmkeras.base import html
from mmkeras.base.cell_text import MISSING_WORDS, NUMBER, are_codes, numbers_of
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Doubt, Modality, Survey
from mmkeras.features.cells import at_least_one

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
layers = lazy("mmkeras.network.layers")
ops = lazy("mmkeras.features.ops")

LARGEST = float(np.finfo(np.float32).max)
# What is far out: so many interquartile ranges from the median, and so many times as far as the next number inside.
FAR_RANGES, FAR_TIMES = 10, 5
FEWEST_JUDGED, MOST_FAR, MOST_FAR_ALIKE = 20, 0.01, 0.2


class Number(Modality):
    """A number that can be counted with: a price, an age, a measurement."""

    from_file = False
    every_row = True
    content: ClassVar = "value"

    scaling: Literal["zscore", "quantile"] = Field(
        "zscore", description="quantile: by its place among the training rows, good for skewed columns and outliers"
    )
    quantiles: int = Field(200, ge=2, le=10_000, description="of the training rows, at most one for each of them")
    missing: tuple[str, ...] = Field(MISSING_WORDS, description="what tables write for a missing number, in any case")
    bins: int = tunable(16, ge=2, le=1024, description="show the encoder in which of so many ranges a number lies")
    units: int = tunable(32, ge=1, description="width of the vector")
    noise: float = tunable(0.02, ge=0, description="training adds so much, in standard deviations")
    mean: float | None = fitted()
    deviation: float | None = fitted()
    quantile_values: tuple[float, ...] | None = fitted()

    def read(self, value: str) -> float:
        plain = value.strip()
        if plain.lower() in {"", *map(str.lower, self.missing)}:
            return math.nan
        if not re.fullmatch(NUMBER, plain):
            raise ValueError(f'got "{plain[:40]}", expected a number')
        number = float(plain.replace(",", ""))
        if abs(number) > LARGEST:
            raise ValueError(f'got "{plain[:40]}", expected a number between {-LARGEST:.1e} and {LARGEST:.1e}')
        return number

    def survey(self, values: pd.Series) -> Survey:
        numbers, errors = self._numbers(values)
        given = numbers.to_numpy()
        far = _far_out(given)
        typical = f"the median is {_shown(np.median(given))}, half of the numbers lie" if far.any() else ""
        low, high = np.percentile(given, (25, 75)) if far.any() else (0, 0)
        remedy = "correct the numbers; if they stand for missing ones, empty the cells"
        doubts = [
            (int(row), Doubt("far out", f"{_shown(number)}; {typical} from {_shown(low)} to {_shown(high)}", remedy))
            for row, number in numbers[far].items()
        ]
        missing = sorted({*values.index} - {*numbers.index} - errors.keys())
        return Survey({"value": given}, doubts=doubts, errors=errors, missing=missing)

    def learn(self, cells: Iterable[float]) -> Self:
        """Learns mean, deviation and quantiles; a column that never changes has the deviation 1."""
        from sklearn.preprocessing import StandardScaler

        values = np.array([*at_least_one(cell for cell in cells if math.isfinite(cell))], np.float64)
        scaler = StandardScaler().fit(values[:, np.newaxis])
        places = np.linspace(0, 100, min(self.quantiles, max(2, len(values))))
        return self.model_copy(
            update={
                "mean": float(scaler.mean_[0]),
                "deviation": float(scaler.scale_[0]),
                "quantile_values": tuple(np.maximum.accumulate(np.percentile(values, places)).tolist()),
            }
        )

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((), tf.float32)

    @property
    def cell_description(self) -> str:
        return "number, finite; NaN: missing"

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        return {"value": tf.TensorSpec((1,), tf.float32), "present": tf.TensorSpec((), tf.float32)}

    def examine(self, cell: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        is_there = tf.math.is_finite(cell)
        number = tf.where(is_there, cell, 0.0)
        scaled = self._z_score(number) if self.scaling == "zscore" else self._place(number)
        features = {
            "value": tf.where(is_there, scaled, 0.0)[tf.newaxis],
            "present": tf.cast(is_there, tf.float32),
        }
        words = tf.strings.join(['got "', tf.strings.as_string(cell), '", expected a number'])
        return features, ops.common.first_fault((tf.math.is_inf(cell), words))

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        noise = self.noise * tf.random.stateless_normal(tf.shape(features["value"]), seed)
        return {**features, "value": features["value"] + noise * features["present"][:, tf.newaxis]}

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs (B, 1) -> vector (B, D)
        value = keras.layers.Concatenate()([inputs["value"], layers.time.SoftBins(self.bins)(inputs["value"])])
        vector = keras.layers.Dense(self.units, activation="relu")(value)
        # vector (B, D) -> tokens (B, 1, D)
        tokens = keras.layers.Reshape((1, self.units))(vector)
        return Encoding(vector, tokens, keras.ops.ones_like(inputs["value"]), inputs["present"])

    def attribute(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        return parts[self.content].sum(axis=-1)

    def example(self, seed: int) -> float:
        return round(random.Random(seed).uniform(-100, 100), 2)

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        numbers = numbers_of(values)
        if numbers is None or are_codes(values):
            return None
        low, high, share = _shown(numbers.min()), _shown(numbers.max()), len(numbers) / len(values)
        return f"numbers from {low} to {high}" + (f" in {share:.0%} of the cells" if share < 1 else "")

    def draw(
        self, cell: float, attribution: np.ndarray | None = None, method: str = "", scale: float | None = None
    ) -> str:
        if cell is None or math.isnan(cell):
            return html.note("missing")
        if attribution is None:
            return html.figure(f"{cell:.10g}")
        value = float(html.checked(attribution, ()))
        scale = html.full_scale(np.array(value), scale)
        shown = f"{html.mark(f'{cell:.10g}', value, scale)} ({html.signed(value)})"
        return html.figure(shown, html.legend(attribution, scale, method))

    def baseline(self) -> Any:
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer

        return make_pipeline(
            FunctionTransformer(_as_column), SimpleImputer(strategy="median", keep_empty_features=True)
        )

    def _numbers(self, values: pd.Series) -> tuple[pd.Series, dict[int, str]]:
        """The numbers by row, and what `read` says of each cell that is none; it is asked where pandas finds none."""
        import pandas as pd

        numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
        unclear = values[~(numbers.abs() <= LARGEST).to_numpy()]
        errors = {}
        for row, value in unclear.items():
            try:
                numbers[row] = self.read(value)
            except ValueError as error:
                errors[int(row)], numbers[row] = str(error), math.nan
        return numbers[np.isfinite(numbers)], errors

    def _z_score(self, number: tf.Tensor) -> tf.Tensor:
        # A cell near the end of float32's range may pass it when it is divided.
        return tf.clip_by_value(ops.common.standardize(number, self.mean, self.deviation), -LARGEST, LARGEST)

    def _place(self, number: tf.Tensor) -> tf.Tensor:
        """The share of training rows below, as a uniform variable of mean 0 and deviation 1.

        On a run of equal quantiles it is the middle of the run. (scikit-learn's QuantileTransformer does the same, but
        for runs at the ends: with many zeros, it sends all of them to the end.)
        """
        known = tf.constant(self.quantile_values, tf.float32)
        last = len(self.quantile_values) - 1
        number = tf.clip_by_value(number, known[0], known[-1])
        below = tf.minimum(tf.searchsorted(known, number[tf.newaxis], "right")[0] - 1, last)
        above = tf.maximum(tf.searchsorted(known, number[tf.newaxis], "left")[0], 0)
        low, high = tf.cast(below, tf.float32), tf.cast(above, tf.float32)
        # Between two quantiles `above` follows `below`; on a quantile, `below` is its last place and `above` its first.
        gap = known[above] - known[below]
        between = low + tf.math.divide_no_nan(number - known[below], gap)
        place = tf.where(gap > 0, between, (low + high) / 2.0) / last
        return (2.0 * place - 1.0) * math.sqrt(3.0)


def _as_column(cells: Iterable[float | None]) -> np.ndarray:
    """(N, 1): NaN where a cell is missing."""
    values = np.array([math.nan if cell is None or cell == "" else cell for cell in cells], np.float64)
    return np.where(np.isfinite(values), values, math.nan)[:, np.newaxis]


def _far_out(numbers: np.ndarray) -> np.ndarray:
    """Which of (N,) numbers no distribution explains: few or all alike, beyond a gap, far from all others.

    Distances are from the median in interquartile ranges, of the numbers that are not the median itself where half of
    them are; so neither a skewed column nor one that is mostly zeros has any.
    """
    if len(numbers) < FEWEST_JUDGED:
        return np.zeros(len(numbers), bool)
    low, median, high = np.percentile(numbers, (25, 50, 75))
    if low == high:
        judged = numbers != median
        is_far = np.zeros(len(numbers), bool)
        others = numbers[judged]
        if len(others) and np.ptp(np.percentile(others, (25, 75))):
            is_far[judged] = _far_out(others)
        return is_far
    distances = (numbers - median) / (high - low)
    return _beyond_a_gap(numbers, distances) | _beyond_a_gap(numbers, -distances)


def _beyond_a_gap(numbers: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Which numbers lie far above, by their distances from the middle."""
    order = np.sort(distances[distances > 0.5])
    gaps = np.flatnonzero((order[1:] > FAR_RANGES) & (order[1:] > FAR_TIMES * order[:-1]))
    if not len(gaps):
        return np.zeros(len(numbers), bool)
    far = distances > order[gaps[0]]
    most = MOST_FAR_ALIKE if len(np.unique(numbers[far])) == 1 else MOST_FAR
    return far & (far.sum() <= max(1, most * len(numbers)))


def _shown(number: float) -> str:
    return f"{number:.0f}" if number % 1 == 0 and abs(number) < 1e15 else f"{number:g}"
