"""The settings there are: `python -m mmkeras.config`, `mmkeras config` or `from mmkeras.config import config`."""

from __future__ import annotations

import json
from typing import Any

from mmkeras.base.terminal import run_command
from mmkeras.contracts.config import json_schema


def config() -> dict[str, Any]:
    """Prints the JSON schema of configs: every setting, its type, its default and what it is for.

    **Example**

    `python -m mmkeras.config > schema.json`
    """
    schema = json_schema()
    print(json.dumps(schema, indent=2))
    return schema


if __name__ == "__main__":
    run_command(config)
