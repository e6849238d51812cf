"""Modules that are imported when they are first used."""

import sys

import pytest

from mmkeras.base.lazy import lazy


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "sleeper_of_tests.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "sleeper_of_tests"
    sys.modules.pop("sleeper_of_tests", None)


def test_it_is_imported_by_its_first_use(module):
    stand_in = lazy(module)
    assert module not in sys.modules
    assert stand_in.answer == 42
    assert module in sys.modules


def test_a_name_that_is_not_there_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match="question"):
        _ = lazy(module).question


def test_a_module_that_is_not_there_says_so_when_it_is_used():
    stand_in = lazy("no_such_module_anywhere")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        _ = stand_in.anything
