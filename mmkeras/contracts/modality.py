"""The contract of a modality: how one kind of column is read, preprocessed, augmented, encoded and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from mmkeras.contracts import old_spellings
from mmkeras.contracts.component import Component, Kind
from mmkeras.contracts.encoder import Parts, PartsKind, chain_of, check_kinds, reads_kind
from mmkeras.contracts.encoding import Encoding

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd
    import tensorflow as tf

    Cell = str | bytes | float | list[bytes] | np.ndarray
    """What `Modality.read` gives: text, a file's bytes, a number, a list of pictures, a series (steps, channels)."""


@dataclass(frozen=True)
class Pieces:
    """What the numbers of a content mean that is a list of word pieces.

    Attributes:
        count: They are from 0, padding, to `count - 1`.
        unknown: The one that stands for any piece that is not known, or hidden.
        fixed: Those that are never hidden: padding, what begins and ends a text.
    """

    count: int
    unknown: int
    fixed: tuple[int, ...]


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


class Modality(Component):
    """One kind of column: how its cells are read, preprocessed, augmented and encoded.

    A subclass states its contract in its module's docstring: cell, features, encoding, attribution. It defines
    `preprocess`, or `examine` where a cell can be bad; the other one follows.
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
    offers: ClassVar[tuple[PartsKind, ...]] = ()
    """The kinds of `parts` that encoders can read, chosen by a field `encoder: Chain`; (): `encode` reads by itself."""
    standard_encoder: ClassVar[tuple[str, ...]] = ()
    """The types of the encoders, one behind the other, of a column that names none."""

    @classmethod
    def encoder_defaults(cls, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """{encoder: settings that suit this modality better than its own defaults}.

        Args:
            settings: Of the column, as far as they are given, not checked yet.
        """
        return {}

    @classmethod
    def number_of(cls, settings: Mapping[str, Any], name: str) -> float:
        """A number among settings that are not checked yet, or its default."""
        value = settings.get(name)
        return value if isinstance(value, int | float) else cls.model_fields[name].default

    @classmethod
    def understood(cls, raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        given = {key: value for key, value in raw.items() if key not in cls.fitted_fields()}
        old_spellings.refuse(cls.type_name(), given, where)
        if not cls.offers:
            return raw
        place = f"{where}.encoder"
        chain = chain_of(raw.get("encoder"), cls.standard_encoder, cls.encoder_defaults(raw), place)
        check_kinds(chain, cls.offers, cls.type_name(), place)
        return {**raw, "encoder": chain}

    @model_validator(mode="before")
    @classmethod
    def _with_encoders(cls, raw: Any) -> Any:
        return cls.understood(raw, cls.type_name()) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _encoder_reads_parts_of_this_shape(self) -> Self:
        if self.offers and any(getattr(self, name) is None for name in self.fitted_fields()):  # not adapted yet
            self.encoder[0].check(self._shape_read)
        return self

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.preprocess is Modality.preprocess and cls.examine is Modality.examine:
            raise TypeError(
                f"{cls.__module__}.{cls.__qualname__} defines neither preprocess nor examine; a modality whose cells "
                "can be bad defines examine, any other preprocess"
            )

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

    def adapt(self, cells: Iterable[Cell]) -> Self:
        """A copy that has learned what it needs of training cells, and taken over what its encoder needs.

        Raises:
            ValueError: There is no cell, or the encoder needs what this modality does not have.
        """
        if not self.offers:
            return self.learn(cells)
        needed = self.encoder[0].needs(self._shape_read)
        if unknown := needed.keys() - type(self).model_fields.keys():
            who = f'encoder "{self.encoder[0].type_name()}"'
            raise ValueError(f'{who} needs {", ".join(sorted(unknown))}, which "{self.type_name()}" does not have')
        return self.model_copy(update=needed).learn(cells).model_copy(update=needed)

    def learn(self, cells: Iterable[Cell]) -> Self:
        """A copy that has learned what it needs of training cells (vocabulary, mean, deviation)."""
        raise NotImplementedError

    def located(self, folder: Path) -> Self:
        located = super().located(folder)
        if not self.offers:
            return located
        return located.model_copy(update={"encoder": tuple(encoder.located(folder) for encoder in self.encoder)})

    def feature_settings(self) -> dict[str, Any]:
        settings = super().feature_settings()
        if not self.offers or not type(self.encoder[0]).model_fields.keys() - self.encoder[0].tunable_fields():
            return settings
        return {**settings, "encoder": self.encoder[0].feature_settings()}  # what it needs follows from these

    @property
    def cell(self) -> tf.TensorSpec:
        """What a serving client sends for one row, without the batch axis; None is an axis of any length.

        Strings that are empty, numbers that are NaN and axes of length 0 are missing. A batch fills shorter cells up
        at their ends, with empty strings or NaN, and `preprocess` does not see the difference.
        """
        raise NotImplementedError

    @property
    def cell_description(self) -> str:
        """`cell` in words, for who writes a client: encoding, units, what an empty value means."""
        raise NotImplementedError

    @property
    def features(self) -> dict[str, tf.TensorSpec]:
        """What `preprocess` returns: static shapes, no batch axis; always holds "present", shape ()."""
        raise NotImplementedError

    @property
    def pieces(self) -> Pieces | None:
        """What the numbers of its content mean, of an adapted one; None where they are no word pieces."""
        return None

    def preprocess(self, cell: tf.Tensor) -> dict[str, tf.Tensor]:
        """One cell to its features: TensorFlow operations only, no randomness. A missing or bad cell gives zeros.

        Autograph is off, which halves the time of tracing: what depends on a tensor is a `tf.cond` or `tf.case`.
        By default what `examine` gives; a modality whose cells cannot be bad defines this one in place of it.
        """
        return self.examine(cell)[0]

    def examine(self, cell: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """What `preprocess` gives and () string, what is wrong with the cell in words, "" where it is good or missing.

        No bytes make it fail, and none change what becomes of a cell beside it. By default no cell is bad.
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

    def parts(self, inputs: dict[str, keras.KerasTensor], kind: PartsKind) -> Parts:
        """What an encoder reads of features with a batch axis, one of the kinds that it `offers`."""
        raise NotImplementedError

    def parts_shape(self, kind: PartsKind) -> tuple[int | None, ...]:
        """The shape of these parts without the batch axis; None: known when it is adapted."""
        raise NotImplementedError

    @property
    def kind_read(self) -> PartsKind:
        """Which of the kinds that it `offers` its encoder reads."""
        return next(kind for kind in self.offers if reads_kind(type(self.encoder[0]), kind))

    @property
    def _shape_read(self) -> tuple[int | None, ...]:
        shape = self.parts_shape(self.kind_read)
        return shape[1:] if self.kind_read == "frames" and "frames" not in self.encoder[0].reads else shape

    def trained(self) -> Self:
        """A copy whose `encode` fetches no pretrained weights: a run's own weights follow."""
        if not self.offers:
            return self
        return self.model_copy(update={"encoder": tuple(encoder.trained() for encoder in self.encoder)})

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
            method: Where the attribution comes from, for the caption.
            scale: The attribution that gets the full colour; the cell's own largest unless it is given. The caption
                says how much it is.

        Raises:
            ValueError: The attribution is of another shape.
        """
        raise NotImplementedError

    def baseline(self) -> Any:
        """A scikit-learn transformer of a list of cells to (N, F), dense or sparse: what a classical model sees."""
        raise NotImplementedError


def _fault(modality: Modality, value: str) -> str:
    """What `read` says of a cell that cannot be used, "" of any other."""
    try:
        modality.read(value)
    except ValueError as error:
        return str(error)
    return ""
