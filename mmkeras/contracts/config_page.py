"""The reference of a config's settings as a page, of its JSON schema: `python -m mmkeras.config --markdown`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmkeras.contracts import old_spellings

BEGINNING = """\
# Every setting

What each setting takes, its default, and what it does. [config.md](config.md) shows a whole config and how settings are given; whatever is left out has its default. A command writes this page, from the places where settings are declared:

```bash
python -m mmkeras.config --markdown > docs/settings.md
```

A column's settings, the fusion's and a target's stand beside its `type`, an objective's behind its name."""  # noqa: E501 (one line a paragraph)
CHAPTERS = {"modality": "Columns", "fusion": "Fusions", "head": "Targets"}  # another kind is called by its own name
# JSON's types in words
WORDS = dict(integer="a whole number", number="a number", boolean="true or false", string="a text", null="null")
MANY = dict(integer="whole numbers", number="numbers", string="texts")
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

Schema = Mapping[str, Any]


def markdown(schema: Schema) -> str:
    """The page.

    Args:
        schema: As `mmkeras.config.json_schema` gives it: groups of settings, and members as `kind.name`, in `$defs`.
    """
    return "\n\n".join([BEGINNING, *_groups(schema), *_chapters(schema["$defs"])])


def old_spellings_table() -> str:
    """What configs said of encoders once beside what they say now, for `docs/config.md`."""
    lines = [f"| `{modality}` | `{old}` | `{new}` |" for modality, old, new in old_spellings.rows()]
    return "\n".join(["| type | then | now |", "|---|---|---|", *lines])


def _groups(schema: Schema) -> Iterator[str]:
    """The config's own settings, and those of its groups (`split`, `train`)."""
    definitions = schema["$defs"]
    named = {name: _named(field) for name, field in schema["properties"].items()}
    groups = {name: definitions[group] for name, group in named.items() if "properties" in definitions.get(group, {})}
    own = {name: field for name, field in schema["properties"].items() if name not in groups}
    yield _section("## The config", schema, own)
    for name, group in groups.items():
        yield _section(f"## `{name}`", group, group["properties"])


def _chapters(definitions: Schema) -> Iterator[str]:
    """Every kind with its members, those settings first that all members have alike."""
    kinds = dict.fromkeys(name.partition(".")[0] for name in definitions if "." in name)
    for kind in kinds:
        members = {name.partition(".")[2]: group for name, group in definitions.items() if name.startswith(f"{kind}.")}
        yield f"## {CHAPTERS.get(kind, f'{kind.title()}s')}"
        shared = _shared([group["properties"] for group in members.values()])
        if shared:
            yield f"All of them have:\n\n{_table(shared)}"
        for name, group in members.items():
            own = {field: about for field, about in group["properties"].items() if field not in {"type", *shared}}
            yield _section(f"### `type: {name}`" if "type" in group["properties"] else f"### `{name}`", group, own)


def _shared(groups: list[Schema]) -> dict[str, Any]:
    first, *others = groups
    return {name: field for name, field in first.items() if all(other.get(name) == field for other in others)}


def _section(heading: str, group: Schema, fields: Schema) -> str:
    about = group.get("description", "").partition("\n")[0]
    return "\n\n".join(part for part in (heading, _escaped(about), _table(fields) if fields else "") if part)


def _table(fields: Schema) -> str:
    lines = [
        f"| `{name}` | {_escaped(_takes(field))} | {_default(field)} | {_escaped(field.get('description', ''))} |"
        for name, field in fields.items()
    ]
    return "\n".join(["| setting | takes | default | |", "|---|---|---|---|", *lines])


def _takes(field: Schema) -> str:
    """What a setting may be, in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_takes(part) for part in field["anyOf"]))
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "$ref" in field:
        return "settings with a `type`"
    if field["type"] == "array":
        items = field["items"]
        if "type" not in items:  # several of what the setting may be
            return "a list of encoders"
        return f"list of {MANY[items['type']]}{_limits(items)}{_count(field)}"
    if "pattern" in field:
        return "a dotted name from outside"
    if field["type"] == "object":
        inside = field["additionalProperties"] or {}
        return f"{{name: {_takes(inside) if '$ref' in inside else 'settings'}}}"
    return WORDS[field["type"]] + _limits(field)


def _limits(field: Schema) -> str:
    """` 8 to 2048`, ` > 0`, ` ≥ 0, < 1`, or nothing."""
    if {"minimum", "maximum"} <= field.keys():
        return f" {field['minimum']:g} to {field['maximum']:g}"
    found = ", ".join(f"{sign} {field[key]:g}" for key, sign in LIMITS.items() if key in field)
    return f" {found}" if found else ""


def _count(field: Schema) -> str:
    """How many a list holds, where that is limited."""
    least, most = field.get("minItems"), field.get("maxItems")
    if most:
        return f", {least or 0} to {most} of them"
    return f", at least {least}" if least else ""


def _named(field: Schema) -> str:
    """The definition that a setting points at, "" where it points at none."""
    return field.get("$ref", "").rpartition("/")[2]


def _default(field: Schema) -> str:
    """As YAML takes it; nothing where there is none."""
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
