"""A table's features as TFRecord shards that training reads from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import progress, say
from mmkeras.contracts.config import Config, parse_config, read_config
from mmkeras.features.columns import features_in_chunks, table_cells
from mmkeras.features.fitted import fit_schema
from mmkeras.features.records import (
    BAD,
    META,
    Specs,
    examples,
    is_as_written,
    read_json,
    row_bytes,
    specs_of,
    write_json,
    write_schema,
    write_shard,
)
from mmkeras.table import bad_rows
from mmkeras.table.manifest import SPLITS, BadCell, read_table
from mmkeras.table.plan import Plan, checked

pd = lazy("pandas")
tf = lazy("tensorflow")


CHUNK_BYTES = 32 << 20  # of columns that lie in memory at once
CHUNK_ROWS = 1024


def write_records(config: Path, overrides: Sequence[str], out: str, shard_mb: int = 128, gzip: bool = False) -> str:
    """Writes the features of a config's table in shards; the same call goes on where it was stopped.

    Args:
        config: A config file.
        overrides: Settings that win, KEY=VALUE.
        out: The folder, also gs://…
        shard_mb: About so large is a shard.
        gzip: Whether shards are compressed.

    Returns:
        The folder.

    Raises:
        FileNotFoundError, ValueError: The config or the table cannot be used, or the folder holds something else.
    """
    settings = read_config(config, overrides)
    manifest = read_table(settings.manifest, access=settings.access)
    out = str(out).rstrip("/")
    plan = checked(settings, manifest)
    tf.io.gfile.makedirs(out)
    meta = _begun(out, plan, shard_mb, "GZIP" if gzip else "")
    _write_shards(out, plan.of_config(_known_schema(out)), meta)
    bad = _finish(out, meta)
    rows = sum(shard["rows"] for shards in meta["shards"].values() for shard in shards)
    size_gb = sum(shard["bytes"] for shards in meta["shards"].values() for shard in shards) / 1e9
    say(f"{rows} rows, {size_gb:.3g} GB and {len(bad)} bad cells in {out}; mmkeras train {config} --features {out}")
    return out


def _begun(out: str, plan: Plan, shard_mb: int, compression: str) -> dict[str, Any]:
    """What `prepared.json` holds, from the folder if the same command was stopped in it; writes the fitted config."""
    wanted = {"identity": plan.identity, "compression": compression, "shard_mb": shard_mb}
    meta = read_json(out, META)
    if meta is None:
        if tf.io.gfile.listdir(out):
            raise ValueError(f"{out}: holds something else already; choose another --out or empty it")
        schema = fit_schema(plan)
        write_schema(out, schema)
        specs = specs_of(schema.columns)
        meta = {**wanted, "done": False, "specs": specs, "shards": _dealt(plan.split, specs, shard_mb)}
        write_json(out, META, meta)
    elif any(meta[name] != value for name, value in wanted.items()):
        raise ValueError(f"{out}: was begun with another table, config or options; choose another --out or delete it")
    return meta


def _known_schema(out: str) -> Config:
    return parse_config(read_json(out, run_files.SCHEMA), run_files.SCHEMA)


def _dealt(split: pd.Series, specs: Specs, shard_mb: int) -> dict[str, list[dict[str, Any]]]:
    """{split: its shards, of almost equal sizes}, not written yet."""
    most_rows = _most_rows(specs, shard_mb)
    shards = {}
    for name in SPLITS:
        count = int((split == name).sum())
        parts = np.array_split(np.arange(count), -(-count // most_rows)) if count else []
        shards[name] = [{"name": f"{name}-{i:05d}.tfrecord", "rows": len(part)} for i, part in enumerate(parts)]
    return shards


def _most_rows(specs: Specs, shard_mb: int) -> int:
    return max(1, shard_mb * 1_000_000 // row_bytes(specs))


def _rows_of_shards(split: pd.Series, shards: Sequence[Mapping[str, Any]], name: str, seed: int) -> list[np.ndarray]:
    """The rows of each shard of a split; training rows are shuffled, so that each shard is a sample of all."""
    rows = np.flatnonzero(split == name)
    if name == "train":
        rows = np.random.default_rng(seed).permutation(rows)
    return np.split(rows, np.cumsum([shard["rows"] for shard in shards])[:-1])


def _write_shards(out: str, plan: Plan, meta: dict[str, Any]) -> None:
    """Writes the shards that are not there yet; what is in each stands beside it."""
    cells, seed = table_cells(plan.manifest, plan.config.columns), plan.config.split.seed
    with progress("preparing", int(plan.split.isin(SPLITS).sum())) as advance:
        for name, shards in meta["shards"].items():
            for shard, rows in zip(shards, _rows_of_shards(plan.split, shards, name, seed), strict=True):
                if not _is_written(out, shard):
                    _write_shard(out, shard["name"], plan, cells, rows, meta["compression"])
                advance(len(rows))


def _is_written(out: str, shard: Mapping[str, Any]) -> bool:
    beside = read_json(out, _beside(shard))
    return beside is not None and is_as_written(out, {**shard, **beside})


def _beside(shard: Mapping[str, Any]) -> str:
    return f"{shard['name']}.json"


def _write_shard(
    out: str, name: str, plan: Plan, cells: Mapping[str, pd.Series], rows: np.ndarray, compression: str
) -> None:
    bad: list[BadCell] = []
    size = write_shard(f"{out}/{name}", _records(plan, cells, rows, bad), compression)
    write_json(out, f"{name}.json", {"bytes": size, "bad": [astuple(cell) for cell in bad]})


def _records(plan: Plan, cells: Mapping[str, pd.Series], rows: np.ndarray, bad: list[BadCell]) -> Iterator[bytes]:
    """Records of the rows, some in memory at once; fills the list of cells that cannot be used.

    Raises:
        ValueError: There are some, and the config says that this is an error.
    """
    schema = plan.config
    chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes(specs_of(schema.columns))))
    for places, features, new in features_in_chunks(schema.columns, cells, rows, chunk_rows):
        bad_rows.refuse(sorted(new, key=lambda cell: cell.row), schema.on_bad_file, plan.manifest, None)
        bad += new
        yield from examples(rows[places], features.rows(np.arange(len(places))))


def _finish(out: str, meta: dict[str, Any]) -> list[list[Any]]:
    """Writes what a reader needs, last of all that it is done; returns the cells that cannot be used, by row."""
    beside = {shard["name"]: read_json(out, _beside(shard)) for shards in meta["shards"].values() for shard in shards}
    bad = sorted(cell for told in beside.values() for cell in told["bad"])
    for shards in meta["shards"].values():
        for shard in shards:
            shard["bytes"] = beside[shard["name"]]["bytes"]
    write_json(out, BAD, bad)
    write_json(out, META, {**meta, "done": True})
    return bad
