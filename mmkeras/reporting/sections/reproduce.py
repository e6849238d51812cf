"""How to make the same run again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from mmkeras.base import run_files
from mmkeras.reporting.results import Results
from mmkeras.reporting.summary import best_other

HIDDEN = "(not shown)"


def reproduce_part(results: Results, others: Sequence[Results], explains: bool) -> dict[str, Any]:
    """Commands and versions that give the same run and page again."""
    folder = results.run.folder
    by = [part for column in results.evaluation.at("rows", "by") or [] for part in ("--by", shlex.quote(column))]
    table = results.evaluation.at("rows", "table")
    is_beside = any(best_other(results, target) for target in results.targets)
    evaluated = [*([shlex.quote(str(table))] if table else []), *(["--baselines"] if is_beside else []), *by]
    compared = [part for other in others for part in ("--compare", shlex.quote(str(other.run.folder)))]
    has_table = results.identity.get("path") is not None
    override = [] if has_table else [f"manifest={shlex.quote(str(folder / run_files.TABLE_ROWS))}"]
    commands = [
        ["train", shlex.quote(str(folder / run_files.CONFIG)), *override, "--run", shlex.quote(f"{folder}-again")],
        ["evaluate", shlex.quote(str(folder)), *evaluated],
        *([["explain", shlex.quote(str(folder))]] if results.explanation else []),
        ["report", shlex.quote(str(folder)), *compared, *([] if explains else ["--no-explain"])],
    ]
    return {
        "commands": [" ".join(["python -m", f"mmkeras.{name}", *rest]) for name, *rest in commands],
        "origin": results.origin | {"command": _without_keys(results.origin.get("command") or "")},
        "identity": results.identity,
        "config": _shared_config(results),
    }


# Commands


def _shared_config(results: Results) -> str:
    """config.yaml without the options of filesystems, among which are keys: a page is given to others."""
    config = results.run.config
    if not config.filesystems:
        return (results.run.folder / run_files.CONFIG).read_text(encoding="utf-8")
    hidden = {scheme: dict.fromkeys(options, HIDDEN) for scheme, options in config.filesystems.items()}
    return config.model_copy(update={"filesystems": hidden}).to_yaml()


def _without_keys(command: str) -> str:
    """A command line, the same left out."""
    words = shlex.split(command)
    return shlex.join(
        f"{word.partition('=')[0]}={HIDDEN}" if word.startswith("filesystems") else word for word in words
    )
