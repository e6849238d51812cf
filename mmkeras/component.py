"""The contracts that every modality, fusion and head keeps, and `find`, which turns a config's `type:` into a class."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import itertools
import os
import pkgutil
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_serializer

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd
    import tensorflow as tf
    from matplotlib.axes import Axes

    Cell = str | bytes | float | list[bytes] | np.ndarray
    """What `Modality.read` gives: text, a file's bytes, a number, a list of pictures, a series (steps, channels)."""

Kind = Literal["modality", "fusion", "head"]
FOLDERS: dict[str, str] = {"modality": "modalities", "fusion": "fusions", "head": "heads"}
TINY = 1e-12  # no probability is taken to be less, for its logarithm's sake
EPSILON = 2.0**-52  # the same for a loss, as scikit-learn has it
TEMPERATURES = 0.05, 20.0
MOST_ROWS_TO_CALIBRATE = 10_000  # of one number; more do not change it


@dataclass(frozen=True)
class Encoding:
    """What a modality makes of one column.

    Attributes:
        vector: (B, D) float32.
        tokens: (B, T, D) float32: the parts of the cell in order (word pieces, image patches, moments).
        mask: (B, T) float32, 1 where a token is real and 0 where it is padding.
        present: (B,) float32, 1 where the cell is there and 0 where it is missing.
    """

    vector: keras.KerasTensor
    tokens: keras.KerasTensor
    mask: keras.KerasTensor
    present: keras.KerasTensor


@dataclass(frozen=True)
class Fused:
    """What a fusion makes of all columns.

    Attributes:
        vector: (B, D) float32.
        weights: (B, M) float32, how much each column (in sorted order) counted; None where a fusion has no such figure.
    """

    vector: keras.KerasTensor
    weights: keras.KerasTensor | None = None


@dataclass(frozen=True)
class Doubt:
    """What a person should look at in a cell that can be read.

    Attributes:
        kind: In a few words; doubts of one kind are counted together: "silent", "all of one colour".
        what: This cell's case: "no sample is louder than -80 dB".
        remedy: What to do about it.
    """

    kind: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Survey:
    """What the texts of a column tell without any file being opened.

    Attributes:
        measures: {name with its unit: (N,) numbers}, whose median and extremes are shown.
        shares: {what: share of the cells}, the greatest first: the scripts of texts, the commonest values.
        doubts: (row number from 0, doubt) of each cell that should be looked at.
        errors: {row number from 0: what `read` says of the cell, which cannot be used}.
        missing: Row numbers from 0 of cells that say that there is nothing: nan, n/a.
    """

    measures: dict[str, np.ndarray] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    doubts: list[tuple[int, Doubt]] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    missing: Sequence[int] = ()


def fitted(default: Any = None) -> Any:
    """A field that `adapt` fills from the training rows; it is saved with a run but is no part of the configuration."""
    return Field(default, repr=False, json_schema_extra={"fitted": True})


def tunable(default: Any, is_path: bool = False, **limits: Any) -> Any:
    """A field that only `encode` or `augment` reads: features made before it changed are still good.

    Args:
        default: Its value where a config says nothing.
        is_path: It may name a file or folder, relative to the config.
        **limits: As pydantic's Field takes them.
    """
    return Field(default, json_schema_extra={"tunable": True, "path": is_path}, **limits)


class Component(BaseModel):
    """A frozen set of fields: the configuration and, after `adapt`, what was learned from the training rows.

    Its JSON (`model_dump_json`, read back by `build`) holds everything that is needed to do the same again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[Kind]

    @classmethod
    def type_name(cls) -> str:
        """The value of `type:` in a config: the file's name, or a dotted path for a class from outside."""
        return cls.__module__.removeprefix(f"mmkeras.{FOLDERS[cls.kind]}.")

    @classmethod
    def fitted_fields(cls) -> set[str]:
        """The names of the fields that `adapt` fills."""
        return cls._marked("fitted")

    @classmethod
    def tunable_fields(cls) -> set[str]:
        """The names of the fields that features do not depend on."""
        return cls._marked("tunable")

    @classmethod
    def _marked(cls, mark: str) -> set[str]:
        return {name for name, field in cls.model_fields.items() if (field.json_schema_extra or {}).get(mark)}

    def located(self, folder: Path) -> Self:
        """A copy whose paths are absolute, whatever folder a process runs in; what is not under `folder` is a name."""
        given = {name: getattr(self, name) for name in self._marked("path")}
        there = {name: folder / value for name, value in given.items() if value and (folder / value).exists()}
        return self.model_copy(update={name: str(path.resolve()) for name, path in there.items()})

    def settings(self) -> dict[str, Any]:
        """The configuration alone, all defaults visible, as a config file holds it."""
        return self.model_dump(mode="json", exclude=self.fitted_fields())

    @model_serializer(mode="wrap")
    def _with_type(self, handler: Any) -> dict[str, Any]:
        return {"type": self.type_name(), **handler(self)}


class Modality(Component):
    """One kind of column: how its cells are read, preprocessed, augmented and encoded.

    A subclass states its contract in its module's docstring: cell, features, encoding, attribution.
    """

    kind: ClassVar[Kind] = "modality"
    from_file: ClassVar[bool] = True
    """Whether a cell of the table names files (sound, pictures), or holds the value itself (text)."""
    takes_folders: ClassVar[bool] = False
    """Whether a path in a cell may be a folder."""
    every_row: ClassVar[bool] = False
    """Whether `adapt` sees the cell of each training row, however often it repeats, or each distinct cell once."""
    content: ClassVar[str] = ""
    """The feature that holds what a cell says, which an explanation of a prediction is about; "": there is none."""
    switches: ClassVar[frozenset[str]] = frozenset({"present"})
    """Features that only say what is there and what is padding: an explanation leaves them as they are."""
    has_grad_cam: ClassVar[bool] = False
    """Whether `encode` passes pictures, whose height and width end an attribution's shape, through convolutions."""

    def check(self) -> None:
        """Refuses settings that this machine cannot follow.

        Raises:
            ValueError: Says what is not installed, and how to get it.
        """

    def paths(self, value: str) -> list[str]:
        """The files that a table's cell names, in order; [] where it holds the value itself."""
        return [value] if self.from_file else []

    def read(self, value: str) -> Cell:
        """Reads a table's cell, not empty, as its canonical form, which is what a serving client sends.

        Args:
            value: The cell's text; the paths in it are absolute.

        Raises:
            ValueError: The cell or its file cannot be used; the message says what is wrong with it.
        """
        raise NotImplementedError

    def measure(self, value: str, cell: Cell) -> dict[str, float]:
        """What a summary of a column shows of a cell, by names with units: seconds, rate_hz, height_px.

        Args:
            value: The cell's text, as `read` got it: a canonical cell may know less than the file that it comes from.
            cell: What `read` made of it.
        """
        return {}

    def doubts(self, value: str, cell: Cell) -> list[Doubt]:
        """What is suspicious about a cell that `read` took; looks at all of it, to the end of its files.

        Raises:
            ValueError: It cannot be used after all.
        """
        return []

    def survey(self, values: pd.Series) -> Survey:
        """What a column's filled cells (strings by row number from 0) tell without any file being opened.

        A million cells take a few seconds at most. By default every distinct cell that holds its value itself is read.
        """
        if self.from_file:
            return Survey()
        faults = {value: fault for value in values.unique() if (fault := _fault(self, value))}
        is_bad = values.isin(faults.keys())
        return Survey(errors={int(row): faults[value] for row, value in values[is_bad].items()})

    def adapt(self, cells: Iterable[Cell]) -> Modality:
        """A copy that has learned what it needs of training cells (vocabulary, mean, deviation)."""
        raise NotImplementedError

    @property
    def cell(self) -> tf.TensorSpec:
        """What a serving client sends for one row, without the batch axis; None is an axis of any length.

        Strings that are empty, numbers that are NaN and axes of length 0 are missing. A batch fills shorter cells up
        at their ends, with empty strings or NaN, and `preprocess` does not see the difference.
        """
        raise NotImplementedError

    @property
    def cell_description(self) -> str:
        """The same for a reader: encoding, units, what an empty value means."""
        raise NotImplementedError

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        """What `preprocess` returns: static shapes, no batch axis; always holds "present", shape ()."""
        raise NotImplementedError

    def preprocess(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        """One cell to its features: TensorFlow operations only, no randomness. A missing or bad cell gives zeros.

        Autograph is off, which halves the time of tracing: what depends on a tensor is a `tf.cond` or `tf.case`.

        A member whose cells can be bad overrides `examine`, any other this.
        """
        return self.examine(cell)[0]

    def examine(self, cell: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The same and () string, what is wrong with the cell in words, "" where it is good or missing.

        No bytes make it fail, and none change what becomes of a cell beside it.
        """
        import tensorflow as tf

        return self.preprocess(cell), tf.constant("")

    def sort_of(self, cell: Cell) -> str | None:
        """Of which sort a canonical cell is, a missing one too: a file's format, say. None: of none.

        Reading a table gives cells of one sort to `examine_many` together, by a graph for each sort that it meets. It
        asks `examine` of those that have no sort, and of those that made `examine_many` fail.
        """
        return None

    def examine_many(self, cells: tf.Tensor, sort: str) -> dict[str, tf.Tensor]:
        """(B, …) good or missing cells of one sort to (B, …) features, the bits that `examine` gives.

        To catch in a graph what a decoder raises takes longer than most operations: the exported model, which has to
        answer for every row, examines each one alone.

        Raises:
            tf.errors.OpError: One of them is bad, when the graph runs.
        """
        raise NotImplementedError

    def augment(self, features: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch of features, (B, …) each, every row changed at random for itself; same shapes and types.

        Args:
            features: As `features` says, with a batch axis; what a missing cell holds stays zero.
            seed: (2,) integers, which fix what the whole batch draws.
        """
        raise NotImplementedError

    def encode(self, inputs: dict[str, keras.KerasTensor]) -> Encoding:
        """Features with a batch axis to an encoding, by Keras' functional API."""
        raise NotImplementedError

    def attribute(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        """What the numbers of each feature did to predictions, as what a person looks at: the content's numbers.

        Args:
            parts: {feature: (B, *its shape)} of all features but switches.

        Returns:
            (B, …): what the module's docstring calls the attribution, the first axes of the content.
        """
        return parts[self.content]

    def trained(self) -> Modality:
        """A copy whose `encode` fetches no pretrained weights: a run's own weights follow."""
        return self

    def example(self, seed: int) -> Cell:
        """A small valid cell, in canonical form."""
        raise NotImplementedError

    @classmethod
    def claims(cls, values: pd.Series) -> str | None:
        """Why the cells (strings, none empty) look like this modality; None where they do not."""
        raise NotImplementedError

    @classmethod
    def suggest(cls, values: pd.Series) -> dict[str, Any]:
        """Settings that the claimed cells need, where the defaults would not do."""
        return {}

    def draw(
        self, cell: Cell, attribution: np.ndarray | None = None, method: str = "", scale: float | None = None
    ) -> str:
        """The cell as an HTML fragment for notebooks and reports: inline styles only, some 50 kB, light and dark.

        A missing cell, and one that cannot be shown, says so in a line; text in it is escaped.

        Args:
            cell: As `read` gives it.
            attribution: How much each part of it speaks for the answer (> 0) or against it (< 0), in the unit of the
                prediction; its shape stands in the module's docstring. None: nothing is coloured.
            method: What found the attribution, for the caption.
            scale: The attribution that gets the full colour; the cell's own largest unless it is given. The caption
                says how much it is.

        Raises:
            ValueError: The attribution is of another shape.
        """
        raise NotImplementedError

    def baseline(self) -> Any:
        """A scikit-learn transformer of a list of cells to (N, F), dense or sparse: what a classical model sees."""
        raise NotImplementedError


class Fusion(Component):
    """One way to join the columns' encodings; it sees the columns in sorted order."""

    kind: ClassVar[Kind] = "fusion"

    column_loss: float = Field(
        1.0, ge=0, description="weight of each column's own prediction's loss; it is added to the joint one; 0: none"
    )

    def check(self, columns: Collection[str], heads: dict[str, Head]) -> None:
        """Refuses columns or targets that cannot be joined in this way.

        Raises:
            ValueError: Says what does not fit, and what to change.
        """

    def fuse(self, encodings: dict[str, Encoding]) -> Fused:
        """The columns' encodings to one vector. What an absent column holds must not matter."""
        raise NotImplementedError

    def predict(
        self, encodings: dict[str, Encoding], heads: dict[str, Head]
    ) -> tuple[dict[str, keras.KerasTensor], Fused]:
        """Every head on the fused vector; a fusion that joins decisions overrides this.

        With `column_loss` each column predicts alone too, as `own_prediction(target, column)`. What it says before the
        activation is added to what the fused vector says: a sum of evidence, in which no column has to relearn what
        another one knows, and a loss for each column keeps the strongest from silencing the others.

        Returns:
            {target: prediction, own_prediction(target, column): prediction}, and what `fuse` gives.

        References:
            Wang et al., What Makes Training Multi-Modal Classification Networks Hard?, 2020, arXiv:1905.12681.
        """
        fused = self.fuse(encodings)
        outputs = {}
        for target, head in heads.items():
            joint = head.raw(fused.vector, f"{target}_joint")
            if self.column_loss and len(encodings) > 1:
                for column in sorted(encodings):
                    name = own_prediction(target, column)
                    own = head.raw(encodings[column].vector, f"{name}_raw")
                    outputs[name] = head.output(own, name)
                    joint = joint + own
            outputs[target] = head.output(joint, f"{target}_prediction")
        return outputs, fused


class Head(Component):
    """One task: target encoding, output, loss, metrics and decoding, which have to agree, in one place."""

    kind: ClassVar[Kind] = "head"
    predicts: ClassVar[Literal["distribution", "probabilities", "numbers"]]
    """What the last axis of a prediction holds: probabilities that add up to 1, probabilities each for itself, numbers.
    """
    explains: ClassVar[str] = "probability of the answer"
    """What `explained` chooses, in words."""

    link: ClassVar[Literal["identity", "softmax", "sigmoid", "cumulative"]] = "identity"
    """What makes a prediction of logits, as `layers.tempered` has it; "identity" has no temperature."""

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

    def tempered(self, predictions: np.ndarray, temperature: float) -> np.ndarray:
        """(N, P) predictions with their logits divided, as the model's last layer does; the prior stays what it is."""
        import numpy as np

        from mmkeras import layers

        found = np.asarray(layers.tempered(predictions, temperature, self.link))
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


def layer_name(name: str) -> str:
    """What a column is called inside TensorFlow, which allows letters a to z, digits and underscores only."""
    plain = re.sub(r"[^A-Za-z0-9_]", lambda found: "_" if found[0].isascii() else f"u{ord(found[0]):x}", name)
    return plain if plain[:1].isalnum() else f"x{plain}"


def at_least_one(cells: Iterable[Cell]) -> Iterator[Cell]:
    """The same cells, for `adapt` to learn from.

    Raises:
        ValueError: There is none.
    """
    is_empty = True
    for cell in cells:
        is_empty = False
        yield cell
    if is_empty:
        raise ValueError("no cell of a training row can be learned from; leave the column out or mend its cells")


def chunked(cells: Iterable[Cell], size: int) -> Iterator[list[Cell]]:
    """The same cells, so many at a time."""
    remaining = iter(cells)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def split_paths(value: str) -> list[str]:
    """The files that a cell names, with semicolons between them."""
    return [path.strip() for path in value.split(";") if path.strip()]


def check_bytes(path: str, max_mb: float) -> None:
    """Refuses a file that is too large, before it is read.

    Raises:
        ValueError: Says how large it is; `ops.bytes_fault` says the same of what a client sends.
    """
    size = os.stat(path).st_size
    if size > max_mb * 1e6:
        raise ValueError(f"{size} bytes, more than max_mb {max_mb:g}")


def check_files(paths: Sequence[str], files: int) -> None:
    """Refuses a cell that names more files than the features have room for.

    Raises:
        ValueError: Says how many there are, and which setting to raise.
    """
    if len(paths) > files:
        raise ValueError(f"names {len(paths)} files, expected at most {files}; set files: {len(paths)} for this column")


def own_prediction(target: str, column: str) -> str:
    """The model's output that says what one column alone predicts."""
    return f"{target}_by_{layer_name(column)}"


def find(kind: Kind, name: str) -> type[Component]:
    """The class that a config's `type:` names.

    Args:
        kind: Which of the three open folders.
        name: A file's name in that folder, or a dotted module path from outside (`mypackage.thermal` holds `Thermal`).

    Raises:
        ValueError: No such file or class; names the nearest one.
    """
    class_name = name.rpartition(".")[2].title().replace("_", "")
    if "." not in name and name not in members(kind):
        raise ValueError(f'unknown {kind} "{name}"{nearest(name, members(kind))}')
    module_name = name if "." in name else f"mmkeras.{FOLDERS[kind]}.{name}"
    if "." in name and not _importable(name):
        raise ValueError(f'unknown {kind} "{name}": Python finds no module of that name; is its package installed?')
    found = getattr(importlib.import_module(module_name), class_name, None)
    if not (isinstance(found, type) and issubclass(found, Component) and found.kind == kind):
        raise ValueError(f'{kind} "{name}": module {module_name} holds no {kind} class named {class_name}')
    return found


def members(kind: Kind) -> list[str]:
    """The names of all files in a kind's folder, sorted."""
    folder = importlib.import_module(f"mmkeras.{FOLDERS[kind]}")
    return sorted(module.name for module in pkgutil.iter_modules(folder.__path__))


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: `; did you mean "x"? (x, y, z)`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f'; did you mean "{close[0]}"?' if close else "; expected one of"
    return f"{hint} ({', '.join(known)})"


def walk(components: dict[str, Component]) -> Iterator[tuple[str, Component]]:
    """Columns or targets in sorted order, so that nothing depends on how a dict was filled."""
    yield from sorted(components.items())


def _fault(modality: Modality, value: str) -> str:
    """What `read` says of a cell that cannot be used, "" of any other."""
    try:
        modality.read(value)
    except ValueError as error:
        return str(error)
    return ""


def _importable(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError:
        return False
