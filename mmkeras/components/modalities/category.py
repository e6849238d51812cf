"""Categories: one of a few values, whose order means nothing.

Cell: a UTF-8 string; blank means missing.
Features: `index` () int32, 0 = missing, 1 = a value that training did not know; `present` (), 1 for unknown values too.
Encoding: Embedding; one token, the same as the vector.
Attribution: (), of the value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from mmkeras.base import html
from mmkeras.base.cell_text import are_categories, are_codes, numbers_of
from mmkeras.base.lazy import lazy
from mmkeras.contracts.component import fitted, tunable
from mmkeras.contracts.encoding import Encoding
from mmkeras.contracts.modality import Modality, Survey
from mmkeras.features.cells import at_least_one

if TYPE_CHECKING:
    import pandas as pd

tf = lazy("tensorflow")
keras = lazy("keras")
ops = lazy("mmkeras.features.ops")

UNKNOWN, FIRST = 1, 2
MOST_WIDTH, LEAST_WIDTH = 50, 8
BASELINE_VALUES = 100


class Category(Modality):
    """A value of a list: a country, a brand, yes or no, a code."""

    from_file = False
    every_row = True
    content: ClassVar = "index"

    max_categories: int = Field(1000, ge=1, le=20_000, description="rarer values of the training rows are unknown")
    min_count: int = Field(1, ge=1, description="values of fewer training rows are unknown")
    width: int | None = tunable(None, ge=1, description="of the embedding; by default half the values, 8 to 50")
    unknown_dropout: float = tunable(0.1, ge=0, lt=1, description="chance that training makes a value unknown")
    categories: tuple[str, ...] | None = fitted()

    def read(self, value: str) -> str:
        return value.strip()

    def survey(self, values: pd.Series) -> Survey:
        return Survey(shares=values.str.strip().value_counts(normalize=True).to_dict())

    def learn(self, cells: Iterable[str]) -> Self:
        """Learns the most frequent values, sorted."""
        counts = Counter(at_least_one(filter(None, map(str.strip, cells))))
        frequent = sorted(counts, key=lambda value: (-counts[value], value))[: self.max_categories]
        known = tuple(sorted(value for value in frequent if counts[value] >= self.min_count))
        return self.model_copy(update={"categories": known})

    @property
    def cell(self) -> tf.TensorSpec:
        return tf.TensorSpec((), tf.string)

    @property
    def cell_description(self) -> str:
        return "UTF-8 string, one of the values that training knew or any other; empty or blank: missing"

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        return {"index": tf.TensorSpec((), tf.int32), "present": tf.TensorSpec((), tf.float32)}

    def preprocess(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        cell = ops.common.strip_blanks(cell)
        # A comparison with each: thousands take microseconds, and unlike a table it needs no resource in an export.
        places = tf.where(tf.equal(tf.constant(np.array(self.categories, dtype=object), tf.string), cell))[:, 0]
        index = tf.reduce_max(tf.concat([[UNKNOWN], tf.cast(places, tf.int32) + FIRST], axis=0))
        is_there = tf.strings.length(cell) > 0
        return {"index": tf.where(is_there, index, 0), "present": tf.cast(is_there, tf.float32)}

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.random.stateless_uniform(tf.shape(features["index"]), seed) < self.unknown_dropout
        return {**features, "index": tf.where(hidden & (features["index"] > 0), UNKNOWN, features["index"])}

    def encode(self, inputs: dict[str, Any]) -> Encoding:
        # Inputs (B,) -> vector (B, D)
        count = len(self.categories)
        width = self.width or max(LEAST_WIDTH, min(MOST_WIDTH, (count + 1) // 2))
        vector = keras.layers.Embedding(count + FIRST, width)(inputs["index"])
        # vector (B, D) -> tokens (B, 1, D)
        tokens = keras.layers.Reshape((1, width))(vector)
        return Encoding(vector, tokens, keras.ops.ones_like(tokens[..., 0]), inputs["present"])

    def example(self, seed: int) -> str:
        return ["red", "green", "blue", "синий", "黄色"][seed % 5]

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        is_number = numbers_of(values) is not None
        if not are_categories(values) or (is_number and not are_codes(values)):
            return None
        return f"{values.nunique()} different values{', codes or grades' * is_number}"

    def draw(
        self, cell: str, attribution: np.ndarray | None = None, method: str = "", scale: float | None = None
    ) -> str:
        if not (cell and cell.strip()):
            return html.note("missing")
        shown = f'<bdi dir="auto">{html.escaped(cell)}</bdi>'
        if attribution is None:
            return html.figure(shown)
        value = float(html.checked(attribution, ()))
        scale = html.full_scale(np.array(value), scale)
        is_known = self.categories is None or cell.strip() in self.categories
        remark = "" if is_known else "training did not know this value"
        shown = f"{html.mark(shown, value, scale)} ({html.signed(value)})"
        return html.figure(shown, html.legend(attribution, scale, method, remark))

    def baseline(self) -> Any:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=BASELINE_VALUES, sparse_output=False
        )
        return make_pipeline(FunctionTransformer(_as_column), encoder)


def _as_column(cells: Iterable[str | None]) -> np.ndarray:
    """(N, 1) strings, "" where a cell is missing."""
    return np.array([cell or "" for cell in cells], dtype=object)[:, np.newaxis]
