"""What a person sees: lines as they are, tables, one line for a mistake and a traceback for a defect."""

import logging

import pytest
from fixtures_tables import python

from mmkeras.base import terminal

pytest_plugins = "fixtures_tables"


@pytest.fixture
def logged():
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.levelname, record.getMessage()))
    terminal.log.addHandler(handler)
    yield lines
    terminal.log.removeHandler(handler)


def test_a_line_is_printed_and_logged_as_it_is(capsys, logged):
    line = "[bold]not markup[/bold] {x} " + "long " * 60
    terminal.say(line)
    assert capsys.readouterr().out == line + "\n"
    assert logged == [("INFO", line)]


def test_a_warning_says_so(capsys, logged):
    terminal.warn("look [here]")
    assert capsys.readouterr().out == "warning: look [here]\n"
    assert logged == [("WARNING", "look [here]")]


def test_a_table_holds_every_cell(capsys, logged):
    terminal.show_table("Title", ("name", "value"), [("[a]", 0.12345), ("b", "")])
    shown = capsys.readouterr().out
    assert "Title" in shown
    assert "[a]" in shown
    assert "0.123" in shown
    assert logged == [("INFO", "Title\nname\tvalue\n[a]\t0.123\nb\t")]


def test_progress_takes_any_number_of_steps(capsys):
    with terminal.progress("reading", 7) as advance:
        advance(3)
        advance(4)
    with terminal.progress("of unknown length", 0) as advance:
        advance(1)


DEMO = """
import sys
from mmkeras.base.terminal import run_command

def demo(kind: str) -> None:
    '''Does nothing.

    **Example**

    `python -m demo nothing`
    '''
    if kind == "mistake":
        raise ValueError("table.csv row 3: [wrong]")
    if kind == "file":
        raise FileNotFoundError("no.csv: no such file")
    if kind == "defect":
        int("x")
    if kind == "other defect":
        raise KeyError("x")
    if kind == "interrupt":
        raise KeyboardInterrupt

__package__ = "mmkeras"  # as under python -m
run_command(demo)
"""


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("nothing", 0, ""),
        ("mistake", 1, "error: table.csv row 3: [wrong]\n"),
        ("file", 1, "error: no.csv: no such file\n"),
        ("interrupt", 130, ""),
    ],
)
def test_a_command_ends_with_its_status(kind, status, error):
    done = python(DEMO, kind)
    assert (done.returncode, done.stderr) == (status, error)


def test_a_defect_ends_with_a_traceback():
    done = python(DEMO, "other defect")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'x'" in done.stderr


def test_help_shows_an_example():
    done = python(DEMO, "--help")
    assert done.returncode == 0
    assert "python -m demo nothing" in done.stdout


def test_what_native_code_writes_is_hidden_and_what_python_writes_is_not():
    code = (
        "import os, sys\nfrom mmkeras.base.terminal import _native_messages_hidden\n"
        "with _native_messages_hidden():\n"
        "    os.write(2, b'native ')\n"
        "    print('python ', file=sys.stderr, end='')\n"
        "print('after', file=sys.stderr, end='')"
    )
    assert python(code).stderr == "python after"


def test_warnings_are_kept_in_order_without_silenced_ones():
    with terminal.kept_warnings() as found:
        terminal.warn("first")
        terminal.say("no warning")
        with terminal.silence():
            terminal.warn("of another training")
        terminal.warn("second")
    terminal.warn("too late")
    assert found == ["first", "second"]
