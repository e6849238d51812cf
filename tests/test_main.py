"""Every command under one name, the same function by three ways, and no TensorFlow before there is work."""

import importlib
import json
import sys

import pytest
from fixtures_tables import command, python

import mmkeras
from mmkeras import __main__ as main_module
from mmkeras.__main__ import COMMANDS, main

pytest_plugins = "fixtures_tables"

# Runs modules as commands, one after the other, and says after each whether TensorFlow was imported.
AND_TELL = """
import json, runpy, sys
for module, *arguments in json.loads(sys.argv[1]):
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, end.code
    print("tensorflow" in sys.modules, "keras" in sys.modules, "END")
"""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command_after_an_example(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmkeras", *arguments])
    main()
    shown = capsys.readouterr().out
    assert shown.startswith("Example: mmkeras train table.csv --target label")
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_version(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmkeras", "--version"])
    main()
    assert capsys.readouterr().out == f"{mmkeras.__version__}\n"


def test_unknown_command_names_those_there_are(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmkeras", "trian"])
    with pytest.raises(
        SystemExit, match=r'unknown command "trian"; .*train, check, evaluate, .*compare, predict, export'
    ):
        main()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_is_the_function(name, monkeypatch):
    asked = []
    monkeypatch.setattr(main_module, "run_command", asked.append)
    monkeypatch.setattr(sys, "argv", ["mmkeras", name, "--flag"])
    main()
    assert asked == [getattr(importlib.import_module(f"mmkeras.{name}"), name)]
    assert sys.argv == ["mmkeras", "--flag"]


def test_help_of_a_command_begins_with_examples_and_starts_no_tensorflow():
    done = python(AND_TELL, json.dumps([[f"mmkeras.{name}", "--help"] for name in COMMANDS]))
    assert done.returncode == 0, done.stderr
    *shown, end = done.stdout.split("False False END\n")
    assert len(shown) == len(COMMANDS) and end == ""
    for name, text in zip(COMMANDS, shown, strict=True):
        assert f"python -m mmkeras.{name}" in text
        assert text.index(f"python -m mmkeras.{name}") < text.index("Options")


def test_the_common_name_starts_no_tensorflow():
    done = python(AND_TELL, json.dumps([["mmkeras"], ["mmkeras", "train", "--help"]]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("False False END\n") == 2


def test_unknown_command_has_exit_status_1():
    done = command("mmkeras", "trian")
    assert done.returncode == 1
    assert done.stderr.startswith('mmkeras: unknown command "trian"')
