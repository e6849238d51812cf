"""Trains a model on a table: `python -m mmkeras.train`, `mmkeras train` or `from mmkeras.train import train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base.terminal import run_command, say, show_table
from mmkeras.features.fitted import open_records
from mmkeras.table.plan import embedded_example, planned, understand
from mmkeras.training.run import Run
from mmkeras.training.trainer import train_plan

__all__ = ["embedded_example", "train"]
INTERVAL = ("_low", "_high")  # ends of the names of a figure's 95 % interval


def train(
    table: Annotated[
        Any, typer.Argument(parser=str, help="A config (.yaml) or, with --target, a table (.csv, .parquet).")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings that win, such as train.epochs=3.")
    ] = None,
    *,
    target: Annotated[str | None, typer.Option(help="The column to predict; the other columns are guessed.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder. Default: runs/NAME-DATE-TIME.", show_default=False)
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="A folder that `mmkeras prepare` wrote, also gs://…", show_default=False)
    ] = None,
) -> Run:
    """Trains a model and judges it on rows that it never saw.

    **Examples**

    `python -m mmkeras.train` – the embedded example

    `python -m mmkeras.train table.csv --target label` – guesses what each column holds

    `python -m mmkeras.train config.yaml train.epochs=20 columns.photo.height_px=64`

    The same command again goes on with a training that was stopped.
    """
    overrides = list(overrides or [])
    if isinstance(table, str) and "=" in table and not Path(table).exists():
        table, overrides = None, [table, *overrides]
    config, manifest, name = understand(table, overrides, target)
    plan = planned(config, manifest)
    trained = train_plan(plan, run, name, records=features and open_records(features, plan))
    _show_results(trained)
    return trained


def _show_results(run: Run) -> None:
    """The figures, and what to do next."""
    metrics = run.metrics
    training, splits = metrics["training"], [name for name in ("test", "valid") if name in metrics]
    rows = [
        (output, metric, *(_with_interval(metrics[split][output], metric) for split in splits))
        for output, figures in metrics["valid"].items()
        for metric in figures
        if not metric.endswith(INTERVAL)
    ]
    best, epochs, seconds = training["best_epoch"], training["epochs"], training["seconds"]
    title = f"Results of epoch {best}, the best of {epochs}, after {seconds:.0f} s"
    names = "target" if metrics["valid"].keys() <= run.config.targets.keys() else "output"
    show_table(title, (names, "metric", *(f"{split} rows" for split in splits)), rows)
    commands = {
        f"mmkeras evaluate {run.folder} --baselines": "in detail, beside simpler models",
        f"mmkeras report {run.folder}": "one page to look at: results, explanations, rows",
        f"mmkeras predict {run.folder} TABLE -o answers.csv": "answers for the rows of a table",
    }
    if not run.config.answers:
        commands = {f"mmkeras embed {run.folder} TABLE -o vectors.parquet": "vectors of the rows of a table"}
    commands[f"mmkeras export {run.folder} my_model"] = "a SavedModel that takes raw rows"
    width = max(map(len, commands))
    say("Next:\n" + "\n".join(f"  {command:<{width}}  {purpose}" for command, purpose in commands.items()))


def _with_interval(figures: Mapping[str, float], metric: str) -> Any:
    low, high = (figures.get(f"{metric}{ending}") for ending in INTERVAL)
    value = figures.get(metric, "")
    return value if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    run_command(train)
