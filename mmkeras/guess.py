"""A table and its target column to a config: what each column holds is guessed from its cells, and shown."""

from __future__ import annotations

from mmkeras.component import find, members
from mmkeras.config import Config, override, parse_config
from mmkeras.manifest import Guess, Manifest, guess_columns, guess_split_column, require_columns
from mmkeras.terminal import show_table

# A column of classes is what most tables are about; a config names other tasks.
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
    require_columns(manifest, [target])
    split_column = guess_split_column(manifest)
    modalities = {name: find("modality", name) for name in members("modality")}
    exclude = [split_column] if split_column else []
    guesses = guess_columns(manifest, target, modalities, exclude)
    _show_guess(guesses, target, split_column)
    columns = {guess.column: {"type": guess.type} for guess in guesses if guess.type}
    if not columns:
        raise ValueError(
            f"{manifest.name}: no column looks like {', '.join(modalities)}; write a config that names them"
        )
    raw = {
        "manifest": path,
        "columns": columns,
        "targets": {target: {"type": DEFAULT_HEAD}},
        "split": {"column": split_column} if split_column else {},
    }
    return parse_config(override(raw, overrides), "overrides")


def _show_guess(guesses: list[Guess], target: str, split_column: str | None) -> None:
    types = "|".join(members("modality"))
    rows = [
        (
            guess.column,
            guess.type or "ignored",
            guess.reason,
            f"columns.{guess.column}={'null' if guess.type else '{type: ' + types + '}'}",
        )
        for guess in guesses
    ]
    rows.append((target, "target", "asked for", f"targets.{target}.type={DEFAULT_HEAD}"))
    if split_column:
        rows.append((split_column, "split", "says train, valid or test", f"split.column={split_column}"))
    show_table("What the columns seem to hold", ("column", "type", "why", "to change it, add"), rows)
