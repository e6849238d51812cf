"""What every member is: a frozen set of fields, the configuration and what was learned from the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_serializer

Kind = Literal["modality", "encoder", "fusion", "head", "objective"]
PACKAGES: dict[str, str] = {
    "modality": "mmkeras.components.modalities",
    "encoder": "mmkeras.components.encoders",
    "fusion": "mmkeras.components.fusions",
    "head": "mmkeras.components.heads",
    "objective": "mmkeras.components.objectives",
}
"""The package that holds a kind's members, one file each."""


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
        return cls.__module__.removeprefix(f"{PACKAGES[cls.kind]}.")

    @classmethod
    def understood(cls, raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """Plain settings as the class takes them: what stands for a part of its own has become that part.

        Args:
            raw: Without `type`.
            where: What messages call the place of these settings.

        Raises:
            ValueError: A part cannot be made of them.
        """
        return raw

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

    def feature_settings(self) -> dict[str, Any]:
        """The part of `settings` on which features depend."""
        return self.model_dump(mode="json", exclude=self.fitted_fields() | self.tunable_fields())

    @model_serializer(mode="wrap")
    def _with_type(self, handler: Any) -> dict[str, Any]:
        return {"type": self.type_name(), **handler(self)}
