"""The contract of an encoder: what reads a column's steps or pictures, and how several stand behind each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import SerializeAsAny, SerializerFunctionWrapHandler, WrapSerializer

from mmkeras.base.lazy import lazy
from mmkeras.contracts.building import build
from mmkeras.contracts.component import Component, Kind
from mmkeras.contracts.registry import find, members

if TYPE_CHECKING:
    import keras as keras_types

keras = lazy("keras")

PartsKind = Literal["steps", "bands", "pixels", "frames", "pieces"]
STEPS: PartsKind = "steps"
PARTS: dict[PartsKind, str] = {
    "steps": "(B, T, D) float32, one after another, with their mask",
    "bands": "steps whose D values lie in order, as a spectrum's bands do",
    "pixels": "(B, H, W, C) float32, z-scored by channel",
    "frames": "(B, N, H, W, C) float32, pictures in the order of time, with their mask",
    "pieces": "(B, T) int32, the numbers that a tokenizer of the encoder's own gives, with their mask",
}
"""What a modality can offer and an encoder read, by its name."""


@dataclass(frozen=True)
class Parts:
    """What an encoder reads.

    Attributes:
        kind: One of `PARTS`, which says the shape.
        values: The parts.
        mask: (B, T) float32, 1 where a step, frame or piece is real; None of pixels.
        fitted: What the modality learned or took over, by field: means and deviations, for one.
    """

    kind: PartsKind
    values: keras_types.KerasTensor
    mask: keras_types.KerasTensor | None = None
    fitted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of parts; the next of a chain reads its tokens as steps.

    Attributes:
        tokens: (B, T, D) float32.
        mask: (B, T) float32, 1 where a token is real.
        vectors: (B, D) each: what tells of the whole, a last state or a mean and a maximum; a column joins them.
    """

    tokens: keras_types.KerasTensor
    mask: keras_types.KerasTensor
    vectors: Sequence[keras_types.KerasTensor]

    @property
    def vector(self) -> keras_types.KerasTensor:
        """(B, D): the vectors side by side."""
        return keras.layers.Concatenate()(list(self.vectors)) if len(self.vectors) > 1 else self.vectors[0]


class Encoder(Component):
    """One way to read steps or a picture; every modality that offers what it reads can use it."""

    kind: ClassVar[Kind] = "encoder"
    reads: ClassVar[frozenset[PartsKind]]
    """Which of `PARTS`; who reads pixels reads each of several frames, whose vectors are then steps."""

    def check(self, shape: Sequence[int | None]) -> None:
        """Refuses parts of another shape than it can read.

        Args:
            shape: Of the parts without the batch axis, of one frame without theirs; None is not known yet.

        Raises:
            ValueError: Says what does not fit, and what to change.
        """

    def needs(self, shape: Sequence[int | None]) -> dict[str, Any]:
        """What preprocessing has to be: {field of the modality: its value}, a vocabulary, a size, a rate, a mean.

        The modality takes it over when it is adapted, so that features, their cache and an export follow it; `{}` where
        anything will do. Weights and files that it fetches may be large: it is asked once.

        Raises:
            ValueError: It cannot be had.
        """
        return {}

    def encode(self, parts: Parts) -> Encoded:
        """Parts to tokens and vectors, by Keras' functional API; what is masked must not matter."""
        raise NotImplementedError

    def trained(self) -> Self:
        """A copy whose `encode` fetches no pretrained weights: a run's own weights follow."""
        return self


def _one_or_several(chain: tuple[Encoder, ...], handler: SerializerFunctionWrapHandler) -> Any:
    dumped = handler(chain)
    return dumped[0] if len(dumped) == 1 else dumped


Chain = Annotated[tuple[SerializeAsAny[Encoder], ...], WrapSerializer(_one_or_several)]
"""A modality's encoders: the first reads what it offers, each further one the steps that the one before it made.

In a config one alone stands as it is, `encoder: recurrent` or `encoder: {type: recurrent, units: 48}`, several in a
list: `encoder: [picture, {type: recurrent, units: 48}]`.
"""


def chain_of(
    raw: Any, standard: Sequence[str], defaults: Mapping[str, Mapping[str, Any]], where: str
) -> tuple[Encoder, ...]:
    """The encoders that a config names.

    Args:
        raw: A word, settings with a `type`, or a list of these; None: the standard ones. Settings without a type are of
            the standard one; of a standard chain's by number from 0: {1: {units: 48}}.
        standard: The types of the encoders that a column has where it says nothing.
        defaults: {type: settings that it has in this modality where nothing is said}.
        where: What messages call the place.

    Raises:
        ValueError: As `build`, for each of them.
    """
    parts = _listed(raw, standard, where)
    places = [where] if len(parts) == 1 else [f"{where}.{i}" for i in range(len(parts))]
    return tuple(_encoder(part, defaults, place) for part, place in zip(parts, places, strict=True))


def check_kinds(chain: Sequence[Encoder], offered: Collection[PartsKind], who: str, where: str) -> None:
    """Refuses an encoder that cannot read what a modality offers or the one before it made.

    Args:
        chain: The encoders.
        offered: By the modality.
        who: The modality's name.
        where: What messages call the place.

    Raises:
        ValueError: Names the encoders that can.
    """
    verb = "offers"
    for encoder in chain:
        if not can_read(type(encoder), offered):
            fitting = [name for name in members("encoder") if can_read(find("encoder", name), offered)]
            reads, offers = " or ".join(sorted(encoder.reads)), " and ".join(offered)
            raise ValueError(
                f'{where}: "{encoder.type_name()}" reads {reads}, "{who}" {verb} {offers}; '
                f"expected one of {', '.join(fitting)}"
            )
        offered, who, verb = (STEPS,), encoder.type_name(), "gives"


def can_read(encoder: type[Encoder], offered: Collection[PartsKind]) -> bool:
    """Whether an encoder reads one of the kinds of parts."""
    return any(reads_kind(encoder, kind) for kind in offered)


def reads_kind(encoder: type[Encoder], kind: PartsKind) -> bool:
    """Whether it reads them, or pixels where they are frames."""
    return kind in encoder.reads or (kind == "frames" and "pixels" in encoder.reads)


def chain_schema(offered: Collection[PartsKind], default: Any) -> dict[str, Any]:
    """The JSON schema of the setting, in a schema whose `$defs` hold all encoders."""
    names = members("encoder")
    first = [name for name in names if can_read(find("encoder", name), offered)]
    several = {"type": "array", "minItems": 1, "items": _schema_of(names)}
    return {"anyOf": [*_schema_of(first)["anyOf"], several], "default": default}


def _schema_of(names: Sequence[str]) -> dict[str, Any]:
    """One of these by its name or by its settings, or any from outside."""
    settings = [{"$ref": f"#/$defs/encoder.{name}"} for name in names]
    return {"anyOf": [{"enum": list(names)}, {"type": "string", "pattern": r"\."}, *settings]}


def _listed(raw: Any, standard: Sequence[str], where: str) -> list[Any]:
    """One entry for each encoder."""
    if raw is None:
        return list(standard)
    if isinstance(raw, list | tuple):
        if not raw:
            raise ValueError(f"{where}: expected at least one encoder, got none")
        return list(raw)
    if not isinstance(raw, Mapping) or "type" in raw:
        return [raw]
    if len(standard) == 1:
        return [{"type": standard[0], **raw}]
    return _changed(raw, standard, where)


def _changed(raw: Mapping[Any, Any], standard: Sequence[str], where: str) -> list[Any]:
    """A standard chain with settings by number."""
    changes = {str(key): value for key, value in raw.items()}
    numbers = [str(i) for i in range(len(standard))]
    if not changes.keys() <= {*numbers} or not all(isinstance(value, Mapping) for value in changes.values()):
        each = ", ".join(f"{where.rpartition('.')[2]}.{i} ({name})" for i, name in enumerate(standard))
        raise ValueError(
            f"{where}: expected a type, a list of encoders, or settings of one of the encoders that stand here unless "
            f"others are named, {each}; got {dict(raw)!r}"
        )
    return [{"type": name, **changes.get(number, {})} for number, name in zip(numbers, standard, strict=True)]


def _encoder(raw: Any, defaults: Mapping[str, Mapping[str, Any]], where: str) -> Encoder:
    if isinstance(raw, Encoder):
        return raw
    raw = {"type": raw} if isinstance(raw, str) else raw
    if isinstance(raw, Mapping) and "type" in raw:
        raw = {**defaults.get(str(raw["type"]), {}), **raw}
    return build("encoder", raw, where)
