"""Plain data to checked members, and each mistake in it as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from mmkeras.contracts.component import Component, Kind
from mmkeras.contracts.registry import find, members, nearest


def build(kind: Kind, raw: Any, where: str) -> Component:
    """A member from plain data with its `type`.

    Args:
        kind: Which of the open folders holds it.
        raw: Its settings, or its type alone as a word.
        where: What messages call the place.

    Raises:
        ValueError: Unknown type or setting, or a value out of range.
    """
    if isinstance(raw, str):
        raw = {"type": raw}
    if not isinstance(raw, Mapping) or "type" not in raw:
        raise ValueError(f"{where}: expected a type, for example {{type: {members(kind)[0]}}}, got {raw!r}")
    try:
        member = find(kind, str(raw["type"]))
    except ValueError as error:
        raise ValueError(f"{where}.type: {error}") from None
    settings = {str(key): value for key, value in raw.items() if key != "type"}
    return validate(member, member.understood(settings, where), where)


def validate(model: type[BaseModel], raw: Mapping[str, Any], where: str) -> Any:
    """A checked object.

    Raises:
        ValueError: One line for each mistake, with its place.
    """
    try:
        return model(**{str(key): value for key, value in raw.items()})
    except ValidationError as error:
        raise ValueError("\n".join(_describe(detail, model, where) for detail in error.errors())) from None


def _describe(detail: Mapping[str, Any], model: type[BaseModel], where: str) -> str:
    """One mistake as one line: where, what, got, expected."""
    *parents, last = [str(part) for part in detail["loc"]] or [""]
    key = ".".join([*parents, last])
    place = f"{where}.{key}".rstrip(".") if " " in where else f"{where} {key}".rstrip()
    if detail["type"] == "extra_forbidden":
        return f'{place}: unknown key "{last}"{nearest(last, _known_keys(model, parents))}'
    if detail["type"] == "missing":
        return f"{place}: missing"
    expected = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    got = "" if detail["type"] == "value_error" else f", got {detail['input']!r}"
    return f"{place}: {expected}{got}"


def _known_keys(model: type[BaseModel], parents: Sequence[str]) -> list[str]:
    for parent in parents:
        model = model.model_fields[parent].annotation
    fitted = model.fitted_fields() if issubclass(model, Component) else set()
    return [name for name in model.model_fields if name not in fitted]
