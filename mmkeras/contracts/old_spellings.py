"""How encoders were spelled before each had settings of its own, and how that is written now.

A column named its network in `encoder` (a clip's in `temporal` too) and gave its sizes beside it. The tables below hold
every such spelling; nothing else knows them, and a new encoder or modality has no part in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mmkeras.contracts.component import Component
from mmkeras.contracts.registry import find, members

Settings = dict[str, Any]


@dataclass(frozen=True)
class Old:
    """What a modality's column could say.

    Attributes:
        networks: {old key: {its value: the encoders that it means now}}; without the key it was the first value.
        keys: {old key: {encoder that it is a setting of: its name there}}.
        examples: {old key: a value}, of all keys.
    """

    networks: Mapping[str, Mapping[str, Sequence[Settings]]]
    keys: Mapping[str, Mapping[str, str]]
    examples: Mapping[str, Any]


def _recurrent(cell: str = "lstm", both_ways: bool | None = None) -> Settings:
    ways = {} if both_ways is None else {"both_ways": both_ways}
    return {"type": "recurrent", "cell": cell, **ways}


STEPS_SIZES = {
    "units": {"recurrent": "units", "transformer": "width", "spectral": "width"},
    "depth": {"recurrent": "depth", "transformer": "depth"},
    "heads": {"transformer": "heads"},
    "pooling": {"recurrent": "pooling"},
}


def _application(network: str) -> list[Settings]:
    return [{"type": "applications", "network": network}]


EXAMPLES = {"units": 32, "depth": 2, "heads": 2, "pooling": False}
# fmt: off
OLD: dict[str, Old] = {
    "text": Old(
        networks={
            "encoder": {
                "bilstm": [_recurrent(both_ways=True)],
                "lstm": [_recurrent(both_ways=False)],
                "gru": [_recurrent("gru", both_ways=False)],
                "cnn": [{"type": "convolution"}],
                "bag": [{"type": "bag"}],
                "transformer": [{"type": "transformer"}],
                "pretrained": [{"type": "pretrained"}],
            }
        },
        keys={
            "units": {"recurrent": "units"},
            "depth": {"recurrent": "depth", "transformer": "depth"},
            "filters": {"convolution": "filters"},
            "kernel_tokens": {"convolution": "kernel_steps"},
            "width": {"transformer": "width"},
            "heads": {"transformer": "heads"},
            "preset": {"pretrained": "preset"},
            "trainable_blocks": {"pretrained": "unfrozen_blocks"},
            "pooling": {"recurrent": "pooling", "transformer": "pooling", "pretrained": "pooling"},
            "inner_dropout": {"recurrent": "dropout", "transformer": "dropout"},
        },
        examples={
            **EXAMPLES, "filters": 32, "kernel_tokens": [2, 3], "width": 48, "preset": "bert_tiny_en_uncased",
            "trainable_blocks": 1, "inner_dropout": 0.2,
        },
    ),
    "timeseries": Old(
        networks={
            "encoder": {
                "cnn": [{"type": "convolution"}],
                "lstm": [_recurrent()],
                "gru": [_recurrent("gru")],
                "bilstm": [_recurrent(both_ways=True)],
                "transformer": [{"type": "transformer"}],
            }
        },
        keys={
            **STEPS_SIZES,
            "filters": {"convolution": "filters"},
            "kernel_steps": {"convolution": "kernel_steps"},
            "normalization": {"convolution": "normalization"},
        },
        examples={**EXAMPLES, "filters": [16, 32], "kernel_steps": 3, "normalization": "layer"},
    ),
    "audio": Old(
        networks={
            "encoder": {
                "lstm": [{"type": "convolution"}, _recurrent()],
                "gru": [{"type": "convolution"}, _recurrent("gru")],
                "cnn": [{"type": "spectral"}],
                "transformer": [{"type": "convolution"}, {"type": "transformer"}],
            }
        },
        keys={
            **STEPS_SIZES,
            "bidirectional": {"recurrent": "both_ways"},
            "convolutions": {"convolution": "filters"},
            "filters": {"convolution": "filters"},
            "picture_filters": {"spectral": "filters"},
            "normalization": {"convolution": "normalization", "spectral": "normalization"},
        },
        examples={
            **EXAMPLES, "bidirectional": True, "convolutions": 2, "filters": 32, "picture_filters": [8, 16],
            "normalization": "layer",
        },
    ),
    "video": Old(
        networks={
            "encoder": {
                "cnn": [{"type": "picture", "blocks": "plain"}],
                "resnet": [{"type": "picture", "blocks": "residual"}],
            },
            "temporal": {
                "lstm": [_recurrent()],
                "gru": [_recurrent("gru")],
                "transformer": [{"type": "transformer"}],
            },
        },
        keys={
            **STEPS_SIZES,
            "depth": {"transformer": "depth"},
            "bidirectional": {"recurrent": "both_ways"},
            "filters": {"picture": "filters"},
            "kernel_px": {"picture": "kernel_px"},
            "batch_normalization": {"picture": "normalization"},
            "grid": {"picture": "places"},
            "frame_units": {"picture": "units"},
        },
        examples={
            **EXAMPLES, "bidirectional": True, "filters": [8, 16], "kernel_px": 5, "batch_normalization": False,
            "grid": 3, "frame_units": 32,
        },
    ),
    "image": Old(
        networks={
            "encoder": {
                "cnn": [{"type": "picture", "blocks": "plain"}],
                "resnet": [{"type": "picture", "blocks": "residual"}],
                "MobileNetV2": _application("MobileNetV2"),  # and all others that keras.applications holds
            }
        },
        keys={
            "filters": {"picture": "filters"},
            "kernel_px": {"picture": "kernel_px"},
            "batch_normalization": {"picture": "normalization"},
            "layer_normalization": {"picture": "normalization"},
            "flatten": {"picture": "places", "applications": "places"},
            "weights": {"applications": "weights"},
            "frozen": {"applications": "frozen"},
            "unfrozen_blocks": {"applications": "unfrozen_blocks"},
        },
        examples={
            "filters": [8, 16], "kernel_px": 5, "batch_normalization": False, "layer_normalization": True,
            "flatten": True, "weights": "imagenet", "frozen": False, "unfrozen_blocks": 2,
        },
    ),
}
# fmt: on


def refuse(modality: str, raw: Mapping[str, Any], where: str) -> None:
    """Refuses old spellings.

    Args:
        modality: The column's type.
        raw: The column's settings without it.
        where: What messages call the column.

    Raises:
        ValueError: Says which they are and prints the column as it is written now.
    """
    spellings = _spellings(modality, raw)
    if spellings:
        column = where.partition("columns.")[2] or where
        written = flow({column: new_spelling(modality, raw)})
        raise ValueError(f"{where}: {', '.join(spellings)}: encoders are spelled otherwise now; write `{written}`")


def new_spelling(modality: str, raw: Mapping[str, Any]) -> Settings:
    """A column's settings as they are written now; what its encoder never read is left out.

    Args:
        modality: The column's type.
        raw: Its settings, in old spelling or partly so.
    """
    if not _spellings(modality, raw):
        return {**raw, "type": modality}
    old = OLD[modality]
    chain = _chain(old, raw)
    moved = _moved(modality, raw, {encoder["type"] for encoder in chain})
    chain = [encoder | moved.get(encoder["type"], {}) for encoder in chain]
    chain = [encoder for encoder in chain if encoder.get("filters") != []]  # no convolution at all
    beside = {key: value for key, value in raw.items() if key not in {"type", *old.keys, *old.networks}}
    return {"type": modality, **beside, "encoder": chain[0] if len(chain) == 1 else chain}


def rows() -> Iterator[tuple[str, str, str]]:
    """(modality, what its column said, what it says now), each as YAML: all old spellings, for a document's table."""
    for modality, old in OLD.items():
        for key, values in old.networks.items():
            for value in values:
                if _spellings(modality, {key: value}) or modality == "audio":
                    yield _row(modality, {key: value})
        for key, encoders in old.keys.items():
            for network in filter(None, (_network(old, encoder) for encoder in encoders)):
                yield _row(modality, {**network, key: old.examples[key]})


def flow(settings: Mapping[str, Any]) -> str:
    """Settings in one line of YAML, without the outermost braces."""
    options = {"default_flow_style": True, "sort_keys": False, "allow_unicode": True, "width": math.inf}
    return yaml.safe_dump(dict(settings), **options).strip()[1:-1]


def _spellings(modality: str, raw: Mapping[str, Any]) -> list[str]:
    """What of a column's settings is spelled in the old way, as a message quotes it."""
    if modality not in OLD:
        return []
    networks, keys = OLD[modality].networks, OLD[modality].keys
    names = [
        f'"{key}: {raw[key]}"'
        for key, values in networks.items()
        if key in raw and _old_name(raw[key], values) and (key != "encoder" or raw[key] not in members("encoder"))
    ]
    return [*names, *(f'"{key}"' for key in raw if key in keys)]


def _old_name(value: Any, values: Mapping[str, Any]) -> str | None:
    """A network's name as the table has it, or Keras; case, - and _ did not count. None: it is no old one."""
    if not isinstance(value, str):
        return None
    names = {name.lower(): name for name in values}
    return names.get(value.lower().replace("_", "").replace("-", "")) or _application_name(value, values)


def _application_name(value: str, values: Mapping[str, Any]) -> str | None:
    if not any(part["type"] == "applications" for chain in values.values() for part in chain):
        return None
    try:
        return find("encoder", "applications")(network=value).network
    except ValueError:
        return None


def _chain(old: Old, raw: Mapping[str, Any]) -> list[Settings]:
    """The encoders of a column, without its sizes."""
    given = raw.get("encoder")
    if given is not None and not _old_name(given, old.networks["encoder"]):  # new already, beside old sizes
        return [_plain(encoder) for encoder in (given if isinstance(given, list | tuple) else [given])]
    names = {key: _old_name(raw.get(key), values) or next(iter(values)) for key, values in old.networks.items()}
    chains = [values.get(names[key]) or _application(names[key]) for key, values in old.networks.items()]
    return [dict(encoder) for chain in chains for encoder in chain]


def _plain(encoder: Any) -> Settings:
    encoder = encoder.settings() if isinstance(encoder, Component) else encoder
    return {"type": "", **encoder} if isinstance(encoder, Mapping) else {"type": str(encoder)}


def _moved(modality: str, raw: Mapping[str, Any], encoders: set[str]) -> dict[str, Settings]:
    """{encoder: settings that stood beside it}."""
    moved: dict[str, Settings] = {encoder: {} for encoder in encoders}
    for key, names in OLD[modality].keys.items():
        for encoder in encoders & names.keys() if key in raw else ():
            value = _moved_value(key, raw[key], encoder)
            moved[encoder] |= {} if value is None else {names[encoder]: value}
    if modality == "audio" and "convolution" in encoders and raw.keys() & {"convolutions", "filters"}:
        count = raw.get("convolutions", 3)
        moved["convolution"]["filters"] = [raw.get("filters", 64)] * (count if isinstance(count, int) else 3)
    return moved


def _moved_value(key: str, value: Any, encoder: str) -> Any:
    """A setting's value as it is written now; None where it said nothing."""
    if key == "pooling":
        return "mean_and_max" if value else "last" if encoder == "recurrent" else "first"
    if key == "batch_normalization":
        return "batch" if value else "none"
    if key == "layer_normalization":
        return "layer" if value else None
    if key == "flatten":
        return "all" if value else 1
    if key in ("filters", "kernel_steps") and isinstance(value, int):
        return [value]
    return value


def _network(old: Old, encoder: str) -> Settings | None:
    """What a column said for a network that has become this encoder; None where there was none."""
    for key, values in old.networks.items():
        for value, chain in values.items():
            if encoder in {part["type"] for part in chain}:
                preset = {"preset": old.examples["preset"]} if encoder == "pretrained" else {}
                return {key: value, **preset}
    return None


def _row(modality: str, raw: Settings) -> tuple[str, str, str]:
    new = {key: value for key, value in _new_row(modality, raw).items() if key != "type"}
    return modality, flow(raw), flow(new)


def _new_row(modality: str, raw: Settings) -> Settings:
    chain = [dict(encoder) for encoder in _chain(OLD[modality], raw)]
    if not _spellings(modality, raw):  # a name that means another network now
        return {"encoder": chain[0] if len(chain) == 1 else chain}
    return new_spelling(modality, raw)
