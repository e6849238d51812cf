"""What the files of a finished run say of it, read once for a page; every number on the page is taken from here.

A file that is not there (no explanation, a table that is gone) is None, and `absent` says why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.contracts.config import Config
from mmkeras.contracts.head import Head
from mmkeras.contracts.registry import walk
from mmkeras.evaluation.models import Model, models_in
from mmkeras.table.manifest import Manifest
from mmkeras.training.run import Run

pd = lazy("pandas")

EXPLANATION = f"{run_files.EXPLANATION_FOLDER}/{run_files.EXPLANATION}"  # below the run folder
SHOWN_EXPLANATION = f"{run_files.EXPLANATION_FOLDER}/{run_files.SHOWN_FOLDER}/{run_files.EXPLANATION}"
NOTHING = "–"


@dataclass(frozen=True)
class Source:
    """A JSON file whose numbers are shown with the place that they were taken from.

    Attributes:
        name: The file's, relative to the run folder.
        content: What it holds.
    """

    name: str
    content: Any

    def at(self, *path: str | int) -> Any:
        """What stands at a path; None where nothing does."""
        value = self.content
        for step in path:
            steps = range(len(value)) if isinstance(value, list) else value
            if not isinstance(value, dict | list) or step not in steps:
                return None
            value = value[step]
        return value

    def figure(self, *path: str | int, form: str = "score") -> Markup:
        """A number as `shown` writes it, with its full precision and its place (a JSON pointer, RFC 6901) beside it."""
        value = self.at(*path)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return Markup('<span class="none">{}</span>').format(NOTHING)
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
        place = f"{self.name}#{pointer}"
        return Markup('<data value="{}" data-at="{}">{}</data>').format(repr(value), place, shown(value, form))

    def range(self, *path: str | int, form: str = "score") -> Markup:
        """An interval [low, high]; nothing where there is none."""
        ends = self.at(*path)
        if not isinstance(ends, list) or None in ends or len(ends) != 2:
            return Markup("")
        low, high = (self.figure(*path, i, form=form) for i in range(2))
        return Markup('<span class="range">{} to {}</span>').format(low, high)


def shown(value: float, form: str = "score") -> str:
    """A number for a reader: three decimals of a score, a percentage, a count with its thousands apart."""
    if form == "percent":
        return f"{100 * value:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"
    if form == "count":
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if form == "seconds":
        return f"{value:,.0f} s" if value < 600 else f"{value / 60:,.0f} min"
    if form == "signed":
        return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.5g}"


@dataclass(frozen=True)
class ExplainedRows:
    """What `explain` wrote into one folder.

    Attributes:
        source: Its explanation.json.
        folder: Where that lies.
    """

    source: Source
    folder: Path

    @cached_property
    def rows(self) -> list[int]:
        """Numbers from 1 in the table."""
        return self.source.at("rows") or []

    @cached_property
    def shapley(self) -> pd.DataFrame | None:
        file = self.folder / run_files.SHAPLEY
        return pd.read_parquet(file) if file.is_file() else None

    @cached_property
    def attributions(self) -> Mapping[tuple[str, str, str], np.ndarray]:
        """{(target, column, method): (explained rows, …)}."""
        file = self.folder / run_files.ATTRIBUTIONS
        names = self.source.at("arrays")
        if not names or not file.is_file():
            return {}
        with np.load(file, allow_pickle=False) as held:
            return {tuple(name): held[key] for key, name in names.items() if key in held}


class Results:
    """A finished run and the files that `evaluate` and `explain` wrote.

    Args:
        run: A run folder.
        name: What its files are called beside another run's; "" for the page's own.
        with_explanation: Whether the explanation is shown, if there is one.

    Raises:
        ValueError: The run is not finished.
    """

    def __init__(self, run: Any, name: str = "", with_explanation: bool = True):
        self.run = Run(run)
        if not self.run.is_done:
            raise ValueError(f"{self.run.folder}: training is not finished; give the train command again to go on")
        self._prefix = f"{name}/" if name else ""
        self._with_explanation = with_explanation

    # The training

    @cached_property
    def schema(self) -> Config:
        return self.run.schema

    @cached_property
    def columns(self) -> list[str]:
        return sorted(self.schema.columns)

    @cached_property
    def heads(self) -> dict[str, Head]:
        return dict(walk(self.schema.targets))

    @cached_property
    def metrics(self) -> Source:
        return self._source(run_files.METRICS) or Source(run_files.METRICS, {})

    @cached_property
    def history(self) -> dict[str, list[float]]:
        return self.run.history if (self.run.folder / run_files.HISTORY).is_file() else {}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Which table the run was trained on."""
        return json.loads((self.run.folder / run_files.TABLE).read_text(encoding="utf-8"))

    @cached_property
    def origin(self) -> dict[str, Any]:
        """Date, command and versions of the training, where they were written down."""
        source = self._source(run_files.ORIGIN)
        return source.content if source else {}

    @cached_property
    def splits(self) -> pd.Series:
        return self.run.splits

    @cached_property
    def log_warnings(self) -> list[str]:
        """What the training warned of, once each."""
        file = self.run.folder / run_files.LOG
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        texts = [line.partition(" WARNING ")[2] for line in lines if " WARNING " in line]
        return list(dict.fromkeys(texts))

    def table_file(self, name: str) -> pd.DataFrame | None:
        """A .csv file of the run folder, all cells text; None where it is not there or empty."""
        file = self.run.folder / name
        if not file.is_file():
            return None
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        return table if len(table) else None

    # The table

    @cached_property
    def _own_table(self) -> tuple[Manifest | None, str]:
        try:
            return self.run.table(), ""
        except (ValueError, OSError) as error:
            return None, str(error)

    @property
    def own_table(self) -> Manifest | None:
        """The table of the training."""
        return self._own_table[0]

    @property
    def absent(self) -> str:
        """Why there is no `own_table`."""
        return self._own_table[1]

    @cached_property
    def judged_table(self) -> tuple[Manifest | None, str]:
        """The table whose rows `evaluation_rows.parquet` counts, and why there is none."""
        path = self.evaluation.at("rows", "table")
        if path is None:
            return self._own_table
        try:
            return self.run.read(path), ""
        except (ValueError, OSError) as error:
            return None, str(error)

    def judged_cells(self, rows: np.ndarray) -> tuple[Manifest | None, str]:
        """The table's rows that were judged, (N,) places in `rows`, in that order."""
        manifest, why = self.judged_table
        if manifest is None:
            return None, why
        numbers = self.numbers_in_table(rows)
        if len(numbers) and max(numbers) > len(manifest.rows):
            return None, f"{manifest.name}: holds other rows than those that were judged"
        chosen = manifest.rows.iloc[numbers - 1].reset_index(drop=True)
        return replace(manifest, rows=chosen), ""

    def numbers_in_table(self, places: np.ndarray) -> np.ndarray:
        """(N,) row numbers from 1, in `judged_table`, of (N,) places among the judged rows."""
        is_own = self.evaluation.at("rows", "table") is None
        return self.rows["table_row" if is_own else "row"].to_numpy()[places].astype(int)

    # evaluate

    @cached_property
    def evaluation(self) -> Source:
        return self._source(run_files.EVALUATION) or Source(run_files.EVALUATION, {})

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per judged row."""
        rows = pd.read_parquet(self.run.folder / run_files.EVALUATED_ROWS)
        return rows.reset_index(drop=True)

    @cached_property
    def targets(self) -> dict[str, dict[str, Any]]:
        """What evaluate says of the targets that it could judge."""
        judged = self.evaluation.at("targets") or {}
        return {target: each for target, each in judged.items() if each["metric"]}

    def scores(self, target: str) -> dict[Model, dict[str, float]]:
        """{model: its figures} of those that evaluate could judge, in their order."""
        return {model: each["scores"] for model, each in self._models(target).items() if each["scores"]}

    def place_of(self, target: str, model: Model) -> tuple[str | int, ...]:
        """Where `evaluation` holds the record of a model, or where it would hold one more."""
        models = list(self._models(target))
        return "targets", target, "models", models.index(model) if model in models else len(models)

    def score(self, target: str, model: Model, metric: str, form: str = "score") -> Markup:
        """One figure of a model; a dash where it has none."""
        return self.evaluation.figure(*self.place_of(target, model), "scores", metric, form=form)

    def interval(self, target: str, model: Model, metric: str, form: str = "score") -> Markup:
        """The interval of a model's figure; nothing where it has none."""
        return self.evaluation.range(*self.place_of(target, model), "intervals", metric, form=form)

    def ends(self, target: str, model: Model, metric: str) -> tuple[float | None, float | None]:
        """The ends of that interval; None where there is none."""
        low, high = self.evaluation.at(*self.place_of(target, model), "intervals", metric) or (None, None)
        return low, high

    def _models(self, target: str) -> dict[Model, dict[str, Any]]:
        return models_in(self.targets[target]) if target in self.targets else {}

    @cached_property
    def prior_scores(self) -> dict[str, dict[str, float]]:
        """{target: what a prediction without looking at a row reaches}: always what the training rows had."""
        scores = {}
        for target in self.targets:
            head = self.heads[target]
            scorer, truth = head.scorer, head.encode_target(self.rows[f"{target} truth"].fillna("").astype(str))
            known = scorer.known(truth)
            prior = np.tile(scorer.prior, (int(known.sum()), 1))
            scores[target] = scorer.score(truth[known], prior) if known.any() else {}
        return scores

    # explain

    @cached_property
    def explanation(self) -> Source | None:
        """None where nobody asked for one."""
        return self._source(EXPLANATION) if self._with_explanation else None

    @property
    def explains_judged_table(self) -> bool:
        """Whether explanation and evaluation are of rows of one table."""
        return self._is_of_judged_table(self.explanation)

    @cached_property
    def explained(self) -> dict[int, tuple[ExplainedRows, int]]:
        """{place among the judged rows: where it was explained, and at which place}; {} where other rows were.

        Rows that were explained for a gallery are no fair sample: they are in no mean, and found here only.
        """
        if not self.explanation:
            return {}
        numbers = self.numbers_in_table(np.arange(len(self.rows)))
        places: dict[int, tuple[ExplainedRows, int]] = {}
        for name in (SHOWN_EXPLANATION, EXPLANATION):
            source = self._source(name)
            if source is not None and self._is_of_judged_table(source):
                each = ExplainedRows(source, (self.run.folder / name).parent)
                place = {row: i for i, row in enumerate(each.rows)}
                places |= {i: (each, place[number]) for i, number in enumerate(numbers) if number in place}
        return places

    def _is_of_judged_table(self, explanation: Source) -> bool:
        tables = explanation.at("table"), self.evaluation.at("rows", "table")
        if None in tables:
            return tables == (None, None)
        return Path(tables[0]).resolve() == Path(tables[1]).resolve()

    def _source(self, name: str) -> Source | None:
        file = self.run.folder / name
        if not file.is_file():
            return None
        return Source(self._prefix + name, json.loads(file.read_text(encoding="utf-8")))


def is_older(path: Path, others: Sequence[Path]) -> bool:
    """Whether a file is not there, or was written before one of the others."""
    return not path.is_file() or any(
        other.is_file() and path.stat().st_mtime_ns < other.stat().st_mtime_ns for other in others
    )
