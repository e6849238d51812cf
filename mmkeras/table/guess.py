"""A table and its target column to a config: what each column holds is guessed from its cells, and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmkeras.base.terminal import say, show_table
from mmkeras.contracts.config import Access, Config, override, parse_config
from mmkeras.contracts.modality import Modality
from mmkeras.contracts.registry import find, members
from mmkeras.table.column_guess import Guess, guess_columns, guess_split_column
from mmkeras.table.manifest import Manifest, filled_cells, require_columns, usable_cells
from mmkeras.table.paths import REFUSED

if TYPE_CHECKING:
    import pandas as pd

# What a target is where no other head claims it.
DEFAULT_HEAD = "classification"


def guess_config(manifest: Manifest, target: str | None, overrides: list[str], path: str | None) -> Config:
    """A config whose columns are guessed from their cells; shows the guess.

    Args:
        manifest: The table.
        target: The column to predict.
        overrides: Settings that win, as `config.override` takes them.
        path: Of the table; None: it has none.

    Raises:
        ValueError: No target is given, or no column looks like one that mmkeras knows.
    """
    if target is None:
        names = ", ".join(manifest.rows)
        raise ValueError(f"{manifest.name}: which column is to be predicted? Add --target with one of {names}")
    raw = guess_modalities(manifest, target, overrides)
    return parse_config({"manifest": path, **raw}, "overrides")


def guess_modalities(manifest: Manifest, target: str | None, overrides: list[str]) -> dict[str, Any]:
    """What `guess_config` guesses, as plain data; `target` may be None, where nothing is to be predicted.

    Raises:
        ValueError: No column looks like one that mmkeras knows.
    """
    require_columns(manifest, [target] if target else [])
    given = override({}, overrides)
    manifest = manifest.allowed(Access(given.get("allow_outside") is True, given.get("filesystems") or {}))
    split_column = guess_split_column(manifest)
    modalities = {name: find("modality", name) for name in members("modality")}
    exclude = [split_column] if split_column else []
    guesses = guess_columns(manifest, target, modalities, exclude)
    columns = {
        guess.column: {"type": guess.type, **_suggested(modalities[guess.type], manifest, guess.column)}
        for guess in guesses
        if guess.type
    }
    heads = [Guess(target, *guess_head(filled_cells(manifest, target)))] if target else []
    _show_guess(guesses, heads, split_column)
    if not columns:
        raise ValueError(
            f"{manifest.name}: no column looks like {', '.join(modalities)}; write a config that names them"
        )
    raw = {
        "columns": columns,
        "targets": {guess.column: {"type": guess.type} for guess in heads},
        "split": {"column": split_column} if split_column else {},
    }
    return override(raw, overrides)


def guess_head(values: pd.Series) -> tuple[str, str]:
    """The head that claims a target's filled cells, and why; the default one is asked last."""
    heads = sorted(members("head"), key=lambda name: name == DEFAULT_HEAD)
    for name in heads:
        if reason := find("head", name).claims(values):
            return name, reason
    return DEFAULT_HEAD, "no head claims it"


def _suggested(modality: type[Modality], manifest: Manifest, column: str) -> dict[str, Any]:
    """Settings that a column's cells need; the paths in them are absolute, as `Modality.read` gets them.

    In front of one that must not be read stands a character that makes it name nothing.
    """
    cells = filled_cells(manifest, column).str.strip()
    usable = usable_cells(cells, modality(), manifest.gate)
    return modality.suggest(usable.mask(usable.str.startswith(REFUSED), REFUSED + cells))


def _show_guess(guesses: list[Guess], heads: list[Guess], split_column: str | None) -> None:
    rows = [
        (
            guess.column,
            guess.type or "ignored",
            guess.reason,
            f"columns.{guess.column}={'null' if guess.type else '{type: …}'}",
        )
        for guess in guesses
    ]
    for head in heads:
        rows.append((head.column, f"target: {head.type}", head.reason, f"targets.{head.column}={{type: …}}"))
    if split_column:
        rows.append((split_column, "split", "says train, valid or test", f"split.column={split_column}"))
    show_table("What the columns seem to hold", ("column", "type", "why", "to change it, add"), rows)
    say(f"columns.NAME={{type: …}} changes a type: {', '.join(members('modality'))}")
    if heads:
        say(f"targets.NAME={{type: …}} changes a task: {', '.join(members('head'))}")
