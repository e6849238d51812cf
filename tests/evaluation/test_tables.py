"""What `evaluate` shows: figures with intervals, a few rows, nothing that a terminal would obey."""

import numpy as np
import pandas as pd
import pytest

from mmkeras.evaluation import tables


def test_figures_stand_before_their_intervals():
    assert tables.figure(0.97, [0.939, 0.99249]) == "0.970 [0.939, 0.992]"
    assert tables.figure(0.97, None) == "0.970"
    assert tables.figure(None, None) == ""


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("two\nlines\tand  spaces", "two lines and spaces"),
        ("\x1b[31mred\x00", "·[31mred·"),
        ("a" * 40, "a" * 27 + "…"),
        (3.5, 3.5),
        ("[bold]x", "[bold]x"),
    ],
)
def test_cells_are_shortened(cell, shown):
    assert tables.shortened(cell) == shown


@pytest.fixture
def frame():
    return pd.DataFrame({
        "row": [1, 2, 3, 4], "table_row": pd.array([11, 12, 13, 14], dtype="Int64"),
        "x truth": ["a", "b", "b", ""], "x answer": ["a", "a", "a", "b"], "x confidence": [0.9, 0.6, 0.8, 0.5],
        "x right": pd.array([True, False, False, pd.NA], dtype="boolean"), "x loss": [0.1, 0.9, 1.6, np.nan],
        "x suspect": [np.nan, np.nan, 0.6, np.nan], "x should be": [None, None, "a", None],
    })  # fmt: skip


def rows_after(printed, title):
    """The first cells of a table's lines."""
    lines = printed.split(title)[1].split("└")[0].split("\n")
    return [line.split("│")[1].strip() for line in lines if line.startswith("│")]


def test_rows_to_look_at_are_named_as_the_table_counts_them(frame, capsys):
    cells = tables.cell_table(pd.DataFrame({"text": ["one", "two", "[red]three", "four"]}), ["text"])
    tables.show_rows("x, 4 rows", "x", frame, cells)
    printed = capsys.readouterr().out
    assert rows_after(printed, "most confident mistakes") == ["13", "12"]
    assert rows_after(printed, "least confident rows") == ["12", "13", "11"]
    assert rows_after(printed, "1 whose x may be wrong in the table") == ["13"]
    assert "[red]three" in printed


def test_without_a_mistake_none_is_shown(frame, capsys):
    frame = frame.assign(**{"x right": pd.array([True, True, True, pd.NA], dtype="boolean"), "x suspect": np.nan})
    tables.show_rows("x, 4 rows", "x", frame, pd.DataFrame(index=range(4)))
    printed = capsys.readouterr().out
    assert "mistakes" not in printed and "may be wrong" not in printed
    assert rows_after(printed, "least confident rows") == ["12", "13", "11"]


def test_numbers_show_what_is_furthest_off(frame, capsys):
    frame = frame.assign(**{"x right": pd.array([pd.NA] * 4, dtype="boolean"), "table_row": pd.array([pd.NA] * 4)})
    tables.show_rows("x, 4 rows", "x", frame, pd.DataFrame(index=range(4)))
    assert rows_after(capsys.readouterr().out, "furthest off") == ["3", "2", "1"]


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        ({"confidence": 0.8, "coverage": 0.715, "accuracy": 0.96}, "72% of the rows can be answered automatically"),
        ({"confidence": 0.8, "coverage": 0.0, "accuracy": None}, "here, no row"),
        ({"confidence": None, "coverage": None, "accuracy": None}, "no confidence makes 95% right on 20 validation"),
    ],
)
def test_what_can_be_answered_automatically_is_said_in_a_line(coverage, said, capsys):
    found = {"calibration": None, "coverage": coverage | {"wanted": 0.95, "chosen_on": "valid"}}
    tables.show_confidence("x", found)
    assert said in capsys.readouterr().out
    tables.show_confidence("x", {"calibration": None, "coverage": coverage | {"wanted": 0.95, "chosen_on": None}})
    assert capsys.readouterr().out == ""
