"""Explanations of data in which the deciding part of each row is known: they find it."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
LEAST_HITS = 0.9


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import explanations
    finally:
        sys.path.pop(0)
    return explanations


def assert_found(lines):
    for line in lines:
        assert line["accuracy"] >= 0.9 and line["rows"] >= 20, line  # of a model that guesses nothing is to be found
        assert line["hits"] >= LEAST_HITS > 2 * line["chance"], line
        if not np.isnan(line["first"]):
            assert line["first"] < line["random"] - 0.1, line
            assert line["untrained"] < 0.5, line


@pytest.mark.slow
def test_the_deciding_column_is_found(benchmark, tmp_path):
    assert_found(benchmark.judged("column", 240, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["word", "patch", "moment and band", "step and channel", "frame"])
def test_the_deciding_part_is_found(name, benchmark, tmp_path):
    lines = benchmark.judged(name, 400, tmp_path)
    assert_found(lines)
    assert len(lines) == (2 if name == "patch" else 1)


def test_a_hit_is_the_planted_place_only(benchmark):
    """Of pictures, sounds and series by hand: which place a single bright number counts for."""
    picture = np.zeros((1, 32, 32))
    picture[0, 9, 30] = 1  # second row of patches, last of four
    assert benchmark.PLANTED["patch"].places(None, picture, None).argmax() == 7
    series = np.zeros((1, 40, 3))
    series[0, 14, 1] = 1  # third slot, second of three channels
    assert benchmark.PLANTED["step and channel"].places(None, series, None).argmax() == 7
    clip = np.zeros((1, 6, 16, 16))
    clip[0, 4, 3, 3] = 1
    assert benchmark.PLANTED["frame"].places(None, clip, None).argmax() == 4


def test_the_table_is_markdown(benchmark):
    line = {"planted": "word", "method": "x", "hits": 0.951, "chance": 0.125, "first": 0.2, "random": 0.7}
    shown = benchmark.as_markdown(pd.DataFrame([{**line, "untrained": np.nan, "accuracy": 1.0}]))
    assert shown.splitlines()[-1] == "| word | x | 0.95 | 0.12 | 0.20 | 0.70 |  | 1.00 |"
