"""A run's answers explained: which rows, and what a person sees of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmkeras.base import run_files
from mmkeras.base.lazy import lazy
from mmkeras.base.terminal import say, show_table, warn
from mmkeras.explanation.attribution import MOST_STEPS, TOLERANCE
from mmkeras.explanation.explained import checks_of, explain_rows, summary_of, values_of
from mmkeras.explanation.explainer import Explainer, answers_of
from mmkeras.explanation.result import Explanation
from mmkeras.table.manifest import Manifest, require_columns
from mmkeras.table.splits import units_of
from mmkeras.training.run import Run

pd = lazy("pandas")

MOST_ROWS = 200


def explain_run(
    run: Any,
    table: Any = None,
    rows: Any = None,
    target: str | None = None,
    answer: str | None = None,
    check: bool = True,
    minutes: float = 10.0,
    output: str | Path | None = None,
    allow_outside: bool = False,
) -> Explanation:
    """Explains a run's answers, shows it and writes it into a folder; `mmkeras explain` says more.

    Args:
        run: A run or its folder.
        table: Other rows, with or without targets; None: the run's own table.
        rows: Row numbers from 1, or such as "1,5,9-20"; None: the test rows or the whole table, at most `MOST_ROWS`.
        target: The only one to explain; None: all.
        answer: A class, label or number to explain in place of each row's own answer.
        check: Whether it is found out if the explanations are to be believed.
        minutes: After so many no more cells are looked into.
        output: The folder; None: `explanation` in the run's.
        allow_outside: Whether the table may name files outside its folder.

    Raises:
        FileNotFoundError, ValueError: The run or the table cannot be used.
    """
    run = Run(run)
    run.check_answers("explain")
    explanation = explanation_of(run, table, rows, target, answer, check, minutes, allow_outside)
    folder = Path(output) if output else run.folder / run_files.EXPLANATION_FOLDER
    explanation.write(folder)
    _show(explanation, folder)
    return explanation


def explanation_of(
    run: Run,
    table: Any = None,
    rows: Any = None,
    target: str | None = None,
    answer: str | None = None,
    check: bool = True,
    minutes: float = 10.0,
    allow_outside: bool = False,
) -> Explanation:
    """A run's answers explained, neither written nor shown; the arguments are those of `explain_run`."""
    schema = run.schema
    answers = answers_of(schema, target, answer)
    manifest, chosen, split = _rows_to_explain(run, table, rows, allow_outside)
    require_columns(manifest, list(schema.columns))
    explainer = Explainer(run.network(), schema, list(answers))
    findings = explain_rows(explainer, manifest, chosen, answers, 60 * minutes)
    checks = checks_of(explainer, findings) if check else {}
    summary = summary_of(explainer, findings, answers, _units(run, manifest, chosen))
    summary = {
        "rows": [int(row) + 1 for row in chosen],
        "table": None if table is None else str(manifest.folder / manifest.name),
        "split": split,
        **summary,
        "checks": checks,
    }
    return Explanation(summary, values_of(explainer, findings, chosen), findings.arrays(), run, manifest)


# Which rows


def _rows_to_explain(run: Run, table: Any, rows: Any, allow_outside: bool) -> tuple[Manifest, np.ndarray, str | None]:
    """The table, row numbers from 0, and the split that they all are of."""
    manifest = run.table() if table is None else run.read(table, allow_outside)
    splits = run.splits.to_numpy() if table is None else None
    if rows is not None:
        chosen = _row_numbers(rows, len(manifest.rows), manifest.name)
    elif table is None:
        split = next((name for name in ("test", "valid") if (splits == name).any()), "train")
        if split != "test":
            warn(f"there are no test rows; {split} rows are explained, on which the model may look better than it is")
        chosen = _sampled(np.flatnonzero(splits == split), f"{split} rows")
    else:
        chosen = _sampled(np.arange(len(manifest.rows)), f"rows of {manifest.name}")
    if not len(chosen):
        raise ValueError(f"{manifest.name}: holds no rows to explain")
    of_chosen = {*splits[chosen]} if splits is not None else {None}
    return manifest, chosen, of_chosen.pop() if len(of_chosen) == 1 else None


def _row_numbers(rows: Any, count: int, name: str) -> np.ndarray:
    """`1,5,9-20` or numbers from 1 as numbers from 0, in their order, each once."""
    parts = str(rows).split(",") if isinstance(rows, str | int) else [str(row) for row in rows]
    numbers: list[int] = []
    for part in filter(None, (part.strip() for part in parts)):
        first, _, last = part.partition("-")
        if not (first.strip().isdigit() and (last or first).strip().isdigit()):
            raise ValueError(f'--rows: got "{part}", expected row numbers from 1 such as 1,5,9-20')
        first, last = int(first), int(last or first)
        if not 1 <= first <= last <= count:
            raise ValueError(f"--rows: got {part}, expected numbers from 1 to {count}, the rows of {name}")
        numbers += range(first - 1, last)
    if not numbers:
        raise ValueError("--rows: names no row; expected row numbers from 1 such as 1,5,9-20")
    return np.array(list(dict.fromkeys(numbers)))


def _sampled(rows: np.ndarray, name: str) -> np.ndarray:
    if len(rows) <= MOST_ROWS:
        return rows
    say(f"{MOST_ROWS} of the {len(rows)} {name} are explained, drawn with a fixed seed; --rows names others")
    return np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))


def _units(run: Run, manifest: Manifest, chosen: np.ndarray) -> np.ndarray:
    """(N,) what an interval draws together: the config's groups, else single rows."""
    group = run.config.split.group
    return pd.factorize(units_of(manifest, group if group in manifest.rows else None)[chosen])[0]


def _show(explanation: Explanation, folder: Path) -> None:
    summary = explanation.summary
    name = f"{len(summary['rows'])} {summary['split'] or ''} rows".replace("  ", " ")
    for target, told in summary["targets"].items():
        lines = [
            (
                column,
                figures["mean"],
                figures["mean_absolute"],
                "{:.3f} to {:.3f}".format(*figures["interval"]),
                "" if np.isnan(figures["weight"]) else f"{figures['weight']:.3f}",
            )
            for column, figures in told["columns"].items()
        ]
        header = ("column", "mean Shapley", "mean amount", "95 %", "fusion weight")
        if not any(line[-1] for line in lines):
            header, lines = header[:-1], [line[:-1] for line in lines]
        show_table(f"{target}, {name}: what each column adds to the {told['explains']}", header, lines)
    _show_checks(summary)
    say(f"explanations of {name} in {folder}")


def _show_checks(summary: dict[str, Any]) -> None:
    if not summary["checks"]:
        say("whether they are to be believed was not checked")
        return
    lines = []
    for column, methods in summary["checks"].items():
        error = summary["columns"][column]["completeness"]["worst"]
        for method, check in methods.items():
            deletion, correlation = check["deletion"], check["random_weights"]["rank_correlation"]
            areas = ["" if deletion is None else deletion[side] for side in ("most_important_first", "random")]
            complete = "" if np.isnan(error) or method != next(iter(methods)) else f"{error:.3f}"
            lines.append((column, method, complete, *areas, "" if np.isnan(correlation) else f"{correlation:.3f}"))
    header = ("column", "method", "worst error", "deleted first", "at random", "like untrained")
    show_table("Are they to be believed? (areas: the lower of the two should be the first)", header, lines)
    for column, methods in summary["checks"].items():
        for method, check in methods.items():
            for fault in check["faults"]:
                warn(f"{column}, {method}: {fault}")
    for column, told in summary["columns"].items():
        if count := told["completeness"]["rows_over_tolerance"]:
            of = f"{count} of {told['completeness']['rows']}"
            warn(f"{column}: after {MOST_STEPS} steps the parts of {of} cells do not add up to within {TOLERANCE:.0%}")
