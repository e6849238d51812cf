"""One page about a run: `python -m mmkeras.report`, `mmkeras report` or `from mmkeras.report import report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmkeras.base.terminal import run_command
from mmkeras.reporting.page import MAX_MB, ROWS, write_page


def report(
    run: Annotated[Any, typer.Argument(parser=str, help="A run folder.")],
    others: Annotated[list[str] | None, typer.Argument(help="More runs for --compare.", show_default=False)] = None,
    *,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="Other runs to show beside it.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page. Default: report.html in the run folder.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows in the gallery, at most.")] = ROWS,
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Show what decided the answers.")] = True,
    max_mb: Annotated[float, typer.Option(min=0.5, help="How large the page may be; fewer rows are shown.")] = MAX_MB,
) -> Path:
    """Writes one page about a run: how good it is, where it fails, which column decided, and rows to look at.

    **Examples**

    `python -m mmkeras.report runs/customer_service-20260101-120000`

    `python -m mmkeras.report runs/first --compare runs/second runs/third -o comparison.html`

    The page is one file: it needs no network and sends nothing. `evaluate` and `explain` are run first where the run
    folder has nothing of theirs, or something older than the model. What `check -o RUN/check.csv` found is shown too.

    Raises:
        FileNotFoundError: No such run.
        ValueError: A run is not finished.
    """
    return write_page([run, *(compare or []), *(others or [])], output, rows, explain, max_mb)


if __name__ == "__main__":
    run_command(report)
