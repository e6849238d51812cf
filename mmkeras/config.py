"""The settings there are: `python -m mmkeras.config`, `mmkeras config` or `from mmkeras.config import config`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mmkeras.base.terminal import run_command
from mmkeras.contracts.config import json_schema
from mmkeras.contracts.config_page import markdown as page_of


def config(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="A page for readers in place of a schema.")] = False,
) -> dict[str, Any]:
    """Prints the JSON schema of configs: every setting, its type, its default and what it is for.

    **Examples**

    `python -m mmkeras.config > schema.json`

    `python -m mmkeras.config --markdown > settings.md`
    """
    schema = json_schema()
    print(page_of(schema) if markdown else json.dumps(schema, indent=2))
    return schema


if __name__ == "__main__":
    run_command(config)
