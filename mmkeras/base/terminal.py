"""What a person sees: tables, progress, errors; and how a function becomes a command."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import mmkeras

FILE_COLUMNS = 120  # what a file or a pipe gets; a terminal has its own width
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else FILE_COLUMNS)

log = logging.getLogger("mmkeras")
log.setLevel(logging.INFO)
log.propagate = False
log.addHandler(logging.NullHandler())  # without any, Python prints warnings once more


def say(text: str) -> None:
    """One line on the terminal and in the run's log."""
    console.print(escape(text))
    log.info(text)


def warn(text: str) -> None:
    """One line about what a person should look at."""
    tell(text, "warning", "yellow")


def tell(text: str, level: str, color: str) -> None:
    """One line after a word of how grave it is, on the terminal and in the run's log."""
    console.print(f"[{color}]{level}:[/{color}] {escape(text)}")
    log.warning(text)


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on the terminal; its lines go to the run's log too."""
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for i, name in enumerate(header):
        table.add_column(
            escape(name), justify="left" if i == 0 or not _all_numbers(rows, i) else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    console.print(table, soft_wrap=False)
    log.info("%s\n%s", title, "\n".join("\t".join(map(_cell, row)) for row in (header, *rows)))


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar; the function it gives is told how much more is done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape(description), total=total)
        yield lambda done: bar.advance(task, done)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is shown, warnings neither; the log still gets everything.

    TensorFlow's own warnings neither: after five trainings in one process it takes the sixth for retracing.
    """
    before, console.quiet = console.quiet, True
    tensorflow_log = logging.getLogger("tensorflow")
    level = tensorflow_log.level
    tensorflow_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        console.quiet = before
        tensorflow_log.setLevel(level)


@contextlib.contextmanager
def kept_warnings() -> Iterator[list[str]]:
    """A list of what is warned of meanwhile, in order, without what `silence` hides."""
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: None if console.quiet else warnings.append(record.getMessage())
    log.addHandler(handler)
    try:
        yield warnings
    finally:
        log.removeHandler(handler)


def run_command(function: Callable[..., Any]) -> None:
    """Runs a function as this process's command: arguments from its signature, help from its docstring.

    A mistake of the user's ends with one line and exit status 1, anything else with a traceback.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(_with_exit_status(function))
    try:
        with _native_messages_hidden():
            app(prog_name=_command_name(function), standalone_mode=True)
    except (ValueError, OSError) as error:
        if not _is_users_mistake(error):
            raise
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _with_exit_status(function: Callable[..., Any]) -> Callable[..., None]:
    """What a command returns may say how its process ends."""
    function.__annotations__.pop("return", None)  # typer would evaluate it, which imports pandas

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        raise typer.Exit(getattr(function(*args, **kwargs), "exit_status", 0))

    return command


def _command_name(function: Callable[..., Any]) -> str:
    is_script = (
        not Path(sys.argv[0]).resolve().is_relative_to(Path(mmkeras.__file__).parent)
        and Path(sys.argv[0]).suffix == ".py"
    )
    return f"python {sys.argv[0]}" if is_script else f"mmkeras {function.__name__}"


@contextlib.contextmanager
def _native_messages_hidden() -> Iterator[None]:
    """Keeps what TensorFlow's C++ code writes to file descriptor 2 off the terminal; Python's messages get there.

    No setting hides its dozen lines about CPU features and absent GPUs. MMKERAS_NATIVE_MESSAGES=1 shows them.
    """
    if os.environ.get("MMKERAS_NATIVE_MESSAGES"):
        yield
        return
    with tempfile.TemporaryFile() as sink, os.fdopen(os.dup(2), "w", buffering=1) as terminal:
        python_stderr, sys.stderr = sys.stderr, terminal
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal.fileno(), 2)
            sys.stderr = python_stderr


def _is_users_mistake(error: BaseException) -> bool:
    """What users give is checked here, by raising; what another package raises is a defect."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # The package: under `python -m` the module's own name is __main__.
    package = (trace.tb_frame.f_globals.get("__package__") if trace else None) or ""
    return package.partition(".")[0] == "mmkeras"


def _all_numbers(rows: Sequence[Sequence[Any]], i: int) -> bool:
    return all(isinstance(row[i], int | float) for row in rows)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
