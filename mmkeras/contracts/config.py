"""YAML to frozen, checked objects and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

from mmkeras.contracts.building import build, validate
from mmkeras.contracts.component import PACKAGES, Component, Kind
from mmkeras.contracts.encoder import chain_schema
from mmkeras.contracts.fusion import Fusion, own_prediction
from mmkeras.contracts.head import Head
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.objective import DEFAULT, Objective, Setting, default_objectives
from mmkeras.contracts.registry import find, layer_name, members

MEMBERS = (".type", ".encoder")  # how keys end that name one
OUTPUTS = ("column_weights", "status")  # of an exported model, beside the targets' own


@dataclass(frozen=True)
class Access:
    """What a table may name beside the files of its own folder.

    Attributes:
        allow_outside: Absolute paths, and such that leave the folder.
        filesystems: {scheme: fsspec's storage options}: the only ones that are ever opened.
    """

    allow_outside: bool = False
    filesystems: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Settings(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Split(Settings):
    """Which rows are trained on, which choose the best epoch, and which are only judged on."""

    column: str | None = Field(None, description="a column that says train, valid or test for each row")
    group: str | None = Field(None, description="rows that share this column's value never fall in two splits")
    train: float = Field(0.7, gt=0, le=1, description="fraction of the rows, where no column says it")
    valid: float = Field(0.15, gt=0, lt=1, description="of these rows: the best epoch, temperatures, thresholds")
    test: float = Field(0.15, ge=0, lt=1, description="the three add up to 1")
    seed: int = Field(0, ge=0, description="of the order in which rows are dealt")

    @model_validator(mode="after")
    def _sums_to_one(self) -> Split:
        if abs(self.train + self.valid + self.test - 1) > 1e-6:
            raise ValueError(f"train + valid + test must be 1, got {self.train + self.valid + self.test:g}")
        return self


class Train(Settings):
    """How the model is trained."""

    epochs: int = Field(60, ge=1, description="at most; early stopping usually ends sooner")
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(0.001, gt=0, le=1, description="of Adam, before it is reduced on a plateau")
    weight_decay: float = Field(0.0, ge=0, description="decoupled from the gradient (AdamW) where it is not 0")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="longest gradient; longer ones are scaled down, on each device those of its own rows"
    )
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau",
        description="how the learning rate falls: when validation gets no better, or along a cosine to the end",
    )
    monitor: Literal["loss", "metric"] = Field(
        "loss",
        description="what of the validation rows chooses the best epoch; metric: the first target's, its accuracy",
    )
    patience: int = Field(10, ge=1, description="epochs without a better one before training stops")
    plateau_patience: int = Field(
        4, ge=1, description="schedule plateau: epochs without a better one before the learning rate falls"
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="what the learning rate is then multiplied by")
    loss_weights: Literal["fixed", "learned"] = Field(
        "fixed", description="of several targets: as their loss_weight says, or learned beside it from their noise"
    )
    modality_dropout: float = Field(0.1, ge=0, lt=1, description="chance that training hides a cell")
    seed: int = Field(0, ge=0, description="of weights, order, augmentation and dropout")
    deterministic: bool = Field(
        True, description="two runs on one machine give the same bits; false is faster on a GPU"
    )
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="auto: every GPU; a number: that many GPUs or, where there is none, logical CPU devices"
    )
    cache: Literal["disk", "memory"] = Field("disk", description="where features are kept between epochs")
    cache_max_gb: float = Field(
        20, gt=0, description="what was not used for the longest time leaves the cache on disk when it is larger"
    )


class Config(Settings):
    """All that a training needs to know."""

    manifest: str | None = Field(None, description="the table: .csv or .parquet; relative to this file")
    columns: dict[str, SerializeAsAny[Modality]] = Field(min_length=1, description="what the model reads of a row")
    fusion: SerializeAsAny[Fusion] = Field(description="how the columns become one; left out: a weighted sum")
    targets: dict[str, SerializeAsAny[Head]] = Field({}, description="what the model predicts")
    objectives: dict[str, SerializeAsAny[Objective]] = Field(
        default_factory=default_objectives, min_length=1, description="what the model is trained for, by its name"
    )
    split: Split = Split()
    train: Train = Train()
    on_bad_file: Literal["error", "missing", "drop"] = Field(
        "error",
        description="a cell that cannot be used ends the training, counts as missing, or drops its row from all splits",
    )
    allow_outside: bool = Field(
        False, description="absolute paths, and such that leave the table's folder, may be read too"
    )
    filesystems: dict[str, dict[str, Any]] = Field(
        {},
        description="{scheme: fsspec's storage options}: addresses such as s3://… that may be read; others never are",
    )

    @model_validator(mode="after")
    def _targets_are_answered(self) -> Config:
        if self.answers and not self.targets:
            raise ValueError(f"targets: expected at least one, for example `label: {members('head')[0]}`, got none")
        if self.targets and not self.answers:
            names = ", ".join(self.objectives)
            raise ValueError(
                f"targets: the objectives ({names}) answer none; leave the targets out (targets=null), or add "
                f"objectives.{DEFAULT}={{}}"
            )
        if self.train.monitor == "metric" and not self.answers:
            raise ValueError("train.monitor: metric is a target's, and none is answered; expected loss")
        return self

    @model_validator(mode="after")
    def _names_are_usable(self) -> Config:
        called: dict[str, str] = {}
        for column in self.columns:
            other = called.setdefault(layer_name(column), column)
            if other != column:
                raise ValueError(
                    f'columns "{other}" and "{column}" are both {layer_name(column)} in the model; rename one'
                )
        owns = {own_prediction(target, column) for target in self.targets for column in self.columns}
        for target in self.targets:
            if target in owns:
                raise ValueError(f'target "{target}": what one column alone predicts is called so; rename the column')
            if target in OUTPUTS:
                raise ValueError(f'target "{target}": the exported model calls another output so; rename the column')
            if target in self.columns:
                raise ValueError(f'target "{target}" is an input column too: the model would be told the answer')
            if target != layer_name(target):
                expected = (
                    "expected letters a to z, digits and underscores, since the model's outputs are called after it"
                )
                raise ValueError(f'target "{target}": {expected}; rename the column in the table')
        return self

    @property
    def access(self) -> Access:
        """What the table may name beside the files of its own folder."""
        return Access(self.allow_outside, self.filesystems)

    @property
    def answers(self) -> bool:
        """Whether one of the objectives answers the targets."""
        return any(objective.answers for objective in self.objectives.values())

    @property
    def setting(self) -> Setting:
        """What the objectives are about."""
        columns = dict(sorted(self.columns.items()))
        return Setting(columns, self.fusion, self.targets, self.train.loss_weights == "learned")

    def alone(self, column: str) -> Config:
        """To answer the targets from one column: another objective may need several columns, or others than this."""
        answering = {name: objective for name, objective in self.objectives.items() if objective.answers}
        return self.model_copy(update={"columns": {column: self.columns[column]}, "objectives": answering})

    def settings(self) -> dict[str, Any]:
        """Everything as plain data, all defaults visible, fitted state left out."""
        return {
            "manifest": self.manifest,
            "columns": {name: column.settings() for name, column in self.columns.items()},
            "fusion": self.fusion.settings(),
            "targets": {name: head.settings() for name, head in self.targets.items()},
            "objectives": {name: _without_type(objective.settings()) for name, objective in self.objectives.items()},
            "split": self.split.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
            "on_bad_file": self.on_bad_file,
            "allow_outside": self.allow_outside,
            "filesystems": self.filesystems,
        }

    def to_yaml(self) -> str:
        """The config as a file that `read_config` reads."""
        return yaml.safe_dump(self.settings(), sort_keys=False, allow_unicode=True)


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file; dotted `key=value` overrides win. Relative paths in it start at the file's folder.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Something in it is wrong; names file, key, value and what was expected, one line per mistake.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file; expected a .yaml file (or a table with --target)")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected keys such as manifest, columns and targets, got {type(raw).__name__}")
    config = parse_config(override(raw, overrides), path.name)
    if config.manifest is None:
        raise ValueError(f"{path.name} manifest: missing; name the table, for example `manifest: table.csv`")
    columns = {column: modality.located(path.parent) for column, modality in config.columns.items()}
    manifest = str((path.parent / config.manifest).resolve())
    return config.model_copy(update={"columns": columns, "manifest": manifest})


def parse_config(raw: Mapping[str, Any], where: str = "config") -> Config:
    """Checks plain data; `where` is what messages call it.

    Raises:
        ValueError: As `read_config`.
    """
    raw = {"fusion": {"type": "weighted"}, **raw}
    objectives = _objectives(raw.get("objectives", {DEFAULT: {}}), f"{where} objectives")
    has_targets = raw.get("targets") or any(objective.answers for objective in objectives.values())
    parts = {
        "columns": _components("modality", raw.get("columns"), f"{where} columns"),
        "objectives": objectives,
        "targets": _components("head", raw.get("targets"), f"{where} targets") if has_targets else {},
        "fusion": build("fusion", raw["fusion"], f"{where} fusion"),
    }
    return validate(Config, {**raw, **parts}, where)


def override(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Applies `a.b.c=value` (the value is YAML; null takes a key away). A new `type` discards the old one's settings.

    A member that a word stands for gets the settings beside its type; a number in a key is a place in a list.

    Raises:
        ValueError: Not of the form key=value.
    """
    raw = copy.deepcopy(dict(raw))
    # What names a member first, so that settings given beside it survive whatever their order.
    for text in sorted(overrides, key=lambda text: not text.partition("=")[0].endswith(MEMBERS)):
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f'override "{text}": expected key=value with dotted keys, for example train.epochs=3')
        *parents, last = key.split(".")
        place: Any = raw
        for depth, parent in enumerate(parents):
            place = _inside(place, parent, is_member=depth > 0 or parent == "fusion", text=text)
        _set(place, last, value, text)
    return raw


def _inside(place: Any, name: str, is_member: bool, text: str) -> Any:
    """The settings of that name, new ones where there are none."""
    place, key = _at(place, name, text)
    inside = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    if isinstance(inside, str) and is_member:
        inside = place[key] = {"type": inside}
    if not isinstance(inside, dict | list):
        raise ValueError(f'override "{text}": "{name}" holds no settings')
    return inside


def _at(place: Any, name: str, text: str) -> tuple[Any, Any]:
    """Where a name stands: in a dict, or by its number in a list."""
    if isinstance(place, dict):
        return place, name
    if not name.isdigit() or int(name) >= len(place):
        raise ValueError(f'override "{text}": expected a number from 0 to {len(place) - 1}, got "{name}"')
    return place, int(name)


def _set(place: Any, name: str, value: str, text: str) -> None:
    place, key = _at(place, name, text)
    if key == "type" and place.get("type") != value:
        place.clear()
    try:
        place[key] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f'override "{text}": the value is not readable as YAML; quote it') from None
    if place[key] is None:
        del place[key]


def json_schema() -> dict[str, Any]:
    """The JSON schema of a config file, with every installed modality, encoder, fusion, head and objective."""
    schema = Config.model_json_schema()
    # Of a file; code may leave the table out, files the fusion, and targets where an objective needs none
    schema |= {"required": ["manifest", "columns"], "anyOf": [{"required": ["targets"]}, {"required": ["objectives"]}]}
    definitions = schema.setdefault("$defs", {})
    for kind in PACKAGES:
        names = members(kind)
        for name in names:
            definitions[f"{kind}.{name}"] = _component_schema(kind, name)
        definitions[kind.title()] = {"oneOf": [{"$ref": f"#/$defs/{kind}.{name}"} for name in names]}
    del definitions["Objective"]
    schema["properties"]["objectives"] |= _objectives_schema()
    return schema


def _objectives_schema() -> dict[str, Any]:
    """By name, one from outside by its dotted name; a name may have nothing behind it."""
    settings = {name: {"$ref": f"#/$defs/objective.{name}"} for name in members("objective")}
    return {
        "properties": {name: {"anyOf": [each, {"type": "null"}]} for name, each in settings.items()},
        "patternProperties": {r"\.": {"type": ["object", "null"]}},
        "additionalProperties": False,
    }


def _component_schema(kind: Kind, name: str) -> dict[str, Any]:
    member = find(kind, name)
    schema = member.model_json_schema()
    kept = {key: value for key, value in schema.get("properties", {}).items() if key not in member.fitted_fields()}
    if issubclass(member, Modality) and member.offers:
        kept["encoder"] |= chain_schema(member.offers, member().settings()["encoder"])
        kept["encoder"] = {key: kept["encoder"][key] for key in ("description", "default", "anyOf")}
        schema.pop("$defs")
    if issubclass(member, Objective):  # its type is its key
        return {**schema, "properties": kept}
    return {**schema, "properties": {"type": {"const": name}, **kept}, "required": ["type"]}


def _objectives(raw: Any, where: str) -> dict[str, Component]:
    """A key is the objective's type; a run's own state says it again."""
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError(f"{where}: expected at least one, for example {{{DEFAULT}: {{}}}}, got {raw!r}")
    described = {str(name): {} if settings is None else settings for name, settings in raw.items()}
    for name, settings in described.items():
        if not isinstance(settings, Mapping):
            raise ValueError(f"{where}.{name}: expected settings, for example {{weight: 1.0}}, got {settings!r}")
    for name in described:
        try:
            find("objective", name)
        except ValueError as error:  # its name is no setting of its own
            raise ValueError(f"{where}.{name}: {error}") from None
    return {
        name: build("objective", {**settings, "type": name}, f"{where}.{name}") for name, settings in described.items()
    }


def _without_type(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "type"}


def _components(kind: Kind, raw: Any, where: str) -> dict[str, Component]:
    if not isinstance(raw, Mapping) or not raw:
        example = f"`label: {{type: {members(kind)[0]}}}`"
        raise ValueError(f"{where}: expected at least one, for example {example}, got {raw!r}")
    return {str(name): build(kind, item, f"{where}.{name}") for name, item in raw.items()}
