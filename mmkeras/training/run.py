"""A run folder: what is in it, written and read in one place; `base/run_files.py` lists its files."""

from __future__ import annotations

import contextlib
import fcntl
import html
import json
import logging
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import mmkeras
from mmkeras.base import run_files
from mmkeras.base.files import holds_more_than, write_atomically
from mmkeras.base.lazy import lazy
from mmkeras.base.words import joined
from mmkeras.contracts.config import Config, parse_config
from mmkeras.network.build import network_of
from mmkeras.network.network import Network
from mmkeras.table.manifest import Manifest, read_table, table_hash
from mmkeras.table.plan import Plan

pd = lazy("pandas")

log = logging.getLogger("mmkeras")
FORMAT = 2  # of run folders; 1 had encoders that were words, and no objectives
VERSIONED = ("mmkeras", "tensorflow", "tensorflow-text", "keras", "numpy")


class Run:
    """A training's folder.

    Args:
        folder: A run folder that `train` wrote.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: The folder is not a run.
    """

    def __init__(self, folder: str | Path | Run):
        self.folder = folder.folder if isinstance(folder, Run) else Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: no such run folder; expected one that `mmkeras train` wrote")
        if not (self.folder / run_files.CONFIG).is_file():
            missing = f"not a run folder: it holds no {run_files.CONFIG}"
            raise ValueError(f"{self.folder}: {missing}; expected one that `mmkeras train` wrote")

    @classmethod
    def create(cls, folder: Path, plan: Plan) -> Run:
        """Starts a run folder.

        Raises:
            ValueError: The folder holds something else already.
        """
        if folder.exists() and (not folder.is_dir() or holds_more_than(run_files.BAD_ROWS, folder)):
            raise ValueError(f"{folder}: exists and is not this training's run; choose another --run or delete it")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / run_files.TABLE).write_text(json.dumps(_table_identity(plan.manifest), indent=2))
        (folder / run_files.ORIGIN).write_text(json.dumps(_origin(), indent=2))
        if plan.config.manifest is None:
            plan.manifest.rows.to_parquet(folder / run_files.TABLE_ROWS)
        # Last, since it makes the folder a run
        (folder / run_files.CONFIG).write_text(plan.config.to_yaml(), encoding="utf-8")
        return cls(folder)

    # What a run holds

    @property
    def name(self) -> str:
        return self.folder.name

    def _check_format(self) -> None:
        """Refuses a run folder that another version wrote in another way.

        Raises:
            ValueError: Names the version, and says how to get an equal run.
        """
        file = self.folder / run_files.ORIGIN
        origin = json.loads(file.read_text()) if file.is_file() else {"format": FORMAT}
        if origin.get("format", 1) != FORMAT:
            version = origin.get("versions", {}).get("mmkeras", "an older version")
            raise ValueError(
                f"{self.folder}: a run folder of mmkeras {version}, which mmkeras {mmkeras.__version__} does not read; "
                f"for an equal run train again from its {run_files.CONFIG} (--run another folder): whatever is spelled "
                f"otherwise now is refused with its new spelling"
            )

    @cached_property
    def config(self) -> Config:
        """The configuration, without fitted state.

        Raises:
            ValueError: Another version wrote the folder.
        """
        import yaml

        self._check_format()

        content = (self.folder / run_files.CONFIG).read_text(encoding="utf-8")
        return parse_config(yaml.safe_load(content), run_files.CONFIG)

    @cached_property
    def schema(self) -> Config:
        """The configuration with the fitted state of columns and heads.

        Raises:
            ValueError: The training was stopped before it began.
        """
        self._check_format()
        if not (self.folder / run_files.SCHEMA).is_file():
            raise ValueError(f"{self.folder}: training stopped before its first epoch; give the train command again")
        return parse_config(json.loads((self.folder / run_files.SCHEMA).read_text(encoding="utf-8")), run_files.SCHEMA)

    @property
    def checkpoints(self) -> Path:
        """Where the last finished epoch lies until training is done."""
        return self.folder / run_files.CHECKPOINTS

    @property
    def board_folder(self) -> Path:
        """What TensorBoard shows beside the scalars, in a folder of its own below `tensorboard`."""
        return self.folder / run_files.TENSORBOARD / run_files.ANSWERS

    @property
    def is_done(self) -> bool:
        """Whether training came to its end."""
        return (self.folder / run_files.METRICS).is_file()

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / run_files.METRICS).read_text())

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        """{"test TARGET": (R, P)} predictions of these rows, in the table's order; "valid TARGET" too."""
        with np.load(self.folder / run_files.PREDICTIONS, allow_pickle=False) as held:
            return dict(held)

    @property
    def history(self) -> dict[str, list[float]]:
        return json.loads((self.folder / run_files.HISTORY).read_text())

    @property
    def splits(self) -> pd.Series:
        """train, valid or test for each row of the table."""
        return pd.read_csv(self.folder / run_files.SPLITS, dtype=str)["split"]

    def table(self) -> Manifest:
        """The table that the run was trained on, read once.

        Raises:
            FileNotFoundError, ValueError: It is gone, or its content is another one now.
        """
        return self._table

    @cached_property
    def _table(self) -> Manifest:
        identity, access = self._identity, self.config.access
        if identity["path"] is None:
            return read_table(self.folder / run_files.TABLE_ROWS, Path(identity["folder"]), access)
        manifest = read_table(identity["path"], access=access)
        if table_hash(manifest) != identity["sha256"]:
            raise ValueError(
                f"{identity['path']}: changed since {self.folder} was trained on it; name the table to use"
            )
        return manifest

    @property
    def _identity(self) -> dict[str, Any]:
        """Which table it was, as `_table_identity` gave it."""
        return json.loads((self.folder / run_files.TABLE).read_text())

    def is_own(self, manifest: Manifest) -> bool:
        """Whether a table is the one that the run was trained on, wherever it lies."""
        return table_hash(manifest) == self._identity["sha256"]

    def read(self, table: Any, allow_outside: bool = False) -> Manifest:
        """Another table, its files looked for where the run's config allows it, or anywhere."""
        access = self.config.access
        return read_table(table, access=replace(access, allow_outside=allow_outside or access.allow_outside))

    def check_answers(self, doing: str) -> None:
        """Refuses what needs answers of a run whose objectives give none.

        Args:
            doing: What is asked for, in words.

        Raises:
            ValueError: Says what the run can do.
        """
        objectives = self.config.objectives
        if not self.config.answers:
            offers = "; ".join(dict.fromkeys(objective.offers for objective in objectives.values()))
            raise ValueError(
                f"{self.folder}: trained for {joined(objectives)}, by which no target is answered, so there is nothing "
                f"to {doing}; it has {offers}: `mmkeras embed` and `mmkeras export` give them"
            )

    def network(self) -> Network:
        """The trained network, rebuilt from `schema.json` with the best weights.

        Raises:
            ValueError: The training was not finished.
        """
        if not self.is_done:
            raise ValueError(f"{self.folder}: training is not finished; give the train command again to go on")
        schema = self.schema
        columns = {column: modality.trained() for column, modality in schema.columns.items()}
        network = network_of(schema.model_copy(update={"columns": columns}))
        try:
            network.model.load_weights(self.folder / run_files.WEIGHTS)
        except (ValueError, KeyError):
            raise ValueError(f"{self.folder}: its weights fit another version of mmkeras; train it again") from None
        return network

    # Writing

    def write_schema(self, schema: Config) -> None:
        write_atomically(self.folder / run_files.SCHEMA, schema.model_dump_json())
        self.__dict__.pop("schema", None)  # what was parsed is not what lies there any more

    def write_json(self, name: str, content: Any) -> None:
        write_atomically(self.folder / name, json.dumps(content, indent=2))

    def write_predictions(self, predictions: Mapping[str, np.ndarray]) -> None:
        np.savez_compressed(self.folder / run_files.PREDICTIONS, **predictions)

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Copies what is logged into run.log."""
        handler = logging.FileHandler(self.folder / run_files.LOG, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            handler.close()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process from training in the same folder.

        Raises:
            ValueError: Another process does already.
        """
        with open(self.folder / run_files.LOCK, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.folder}: another process is training here; choose another --run") from None
            yield

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        metrics = self.metrics if self.is_done else {}
        splits = [split for split in ("test", "valid") if split in metrics]
        rows = "".join(
            f"<tr><td>{html.escape(target)}</td><td>{metric}</td>"
            + "".join(f"<td>{metrics[split][target].get(metric, float('nan')):.3f}</td>" for split in splits)
            + "</tr>"
            for target, scores in (metrics[splits[0]] if splits else {}).items()
            for metric in scores
        )
        header = "".join(f"<th>{name}</th>" for name in ("target", "metric", *(f"{split} rows" for split in splits)))
        state = "" if self.is_done else " (not finished)"
        return f"<b>{html.escape(str(self.folder))}</b>{state}<table><tr>{header}</tr>{rows}</table>"


def resumable(plan: Plan, folder: Path | None, name: str) -> Run | None:
    """The run that the same command began and did not finish.

    Args:
        plan: What is asked for now.
        folder: The run folder that was asked for; None looks at `runs/<name>-*`, the newest first.
        name: What default run folders are called after.
    """
    folders = [folder] if folder else sorted(Path("runs").glob(f"{name}-*"), reverse=True)
    wanted = plan.config.to_yaml(), _table_identity(plan.manifest)
    for candidate in folders:
        files = candidate / run_files.CONFIG, candidate / run_files.TABLE
        if all(file.is_file() for file in files):
            held = files[0].read_text(encoding="utf-8"), json.loads(files[1].read_text())
            run = Run(candidate)
            # Of a folder that was asked for, `locked` says that another process trains there.
            if held == wanted and (folder or not run.is_done and not _is_locked(candidate)):
                return run
    return None


def default_folder(name: str) -> Path:
    """runs/<name>-<date and time>, not there yet."""
    stem = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    numbered = (stem.with_name(f"{stem.name}-{number}") for number in range(2, 100))
    return next(folder for folder in (stem, *numbered) if not folder.exists())


def _table_identity(manifest: Manifest) -> dict[str, Any]:
    path = manifest.folder / manifest.name
    sha256 = table_hash(manifest)
    if path.is_file():
        return {"path": str(path.resolve()), "sha256": sha256}
    return {"path": None, "folder": str(manifest.folder), "sha256": sha256}


def _origin() -> dict[str, Any]:
    """What a reader needs to make the same run again, beside its config and table."""
    return {
        "format": FORMAT,
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv[0] else None,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in VERSIONED}},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a clone that was not installed, another build of TensorFlow
        return mmkeras.__version__ if package == "mmkeras" else None


def _is_locked(folder: Path) -> bool:
    with open(folder / run_files.LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
