"""Charts say what they are given: places that can be worked out by hand, gaps, and text that stays text."""

import re
from xml.etree import ElementTree

import pytest

from mmkeras.reporting.charts import HEIGHT, WIDTH, Axes, Line, bar, chart, flow, whisker

UNIT = (0.0, 1.0)


def parsed(drawn):
    """The chart as a tree: it is well-formed, or this fails."""
    return ElementTree.fromstring(f"<div>{drawn}</div>")


def paths(drawn, style):
    return [path.get("d") for path in parsed(drawn).iter("path") if style in path.get("class").split()]


def test_corners_of_the_data_are_corners_of_the_axes():
    drawn = chart("t", [Line("a", [0, 1], [0, 1])], Axes("x", "y", UNIT, UNIT))
    (axis,), (line, _) = paths(drawn, "axis"), paths(drawn, "s0")
    left, top, bottom, right = map(float, re.fullmatch(r"M(\d+) (\d+)V(\d+)H(\d+)", axis).groups())
    assert line == f"M{left:.1f} {bottom:.1f}L{right:.1f} {top:.1f}"
    assert 0 < left < right < WIDTH and 0 < top < bottom < HEIGHT


def test_a_missing_number_breaks_the_line():
    drawn = chart("t", [Line("", [0, 1, 2, 3], [0, None, 1, 1])], Axes("x", "y", (0, 3), UNIT))
    assert re.sub(r"[\d. ]+", "", paths(drawn, "s0")[0]) == "MML"


def test_there_are_no_half_epochs():
    drawn = chart("t", [Line("", [1, 2], [0, 1])], Axes("epoch", "", (1, 2), UNIT, is_whole=True))
    ticks = [each.text for each in parsed(drawn).iter("text") if each.get("text-anchor") == "middle"]
    assert ticks[:2] == ["1", "2"] and ticks[2] == "epoch"


def test_numbers_beyond_the_axes_stay_at_their_ends():
    inside = chart("t", [Line("", [0, 1], [1, 1])], Axes("x", "y", UNIT, UNIT))
    beyond = chart("t", [Line("", [0, 1], [1, 7])], Axes("x", "y", UNIT, UNIT))
    assert paths(inside, "s0") == paths(beyond, "s0")


@pytest.mark.parametrize("style, dots", [("line", 0), ("both", 3), ("dots", 3), ("dashed", 0)])
def test_styles(style, dots):
    drawn = chart("t", [Line("", [1, 2, 3], [1, 2, 3], style=style)], Axes("x", "y"))
    assert len(list(parsed(drawn).iter("circle"))) == dots
    assert bool(paths(drawn, style)) == (style != "dots")


def test_a_single_epoch_is_seen():
    assert len(list(parsed(chart("t", [Line("", [1], [0.5])], Axes("epoch", ""))).iter("circle"))) == 1


def test_whiskers_go_from_low_to_high():
    line = Line("", [0.5], [0.5], low=[0.0], high=[1.0], style="both")
    drawn = chart("t", [line], Axes("x", "y", UNIT, UNIT))
    (axis,), (whole,) = paths(drawn, "axis"), paths(drawn, "range")
    top, bottom = re.search(r" (\d+)V(\d+)", axis).groups()
    assert whole.endswith(f" {float(bottom):.1f}V{float(top):.1f}")


def test_text_is_escaped_and_read_aloud():
    drawn = chart("a <b>", [Line("<script>", [0], [0])], Axes("<x>", "y", marks=[(0, "<mark>")]))
    assert "<b>" not in drawn and "<script>" not in drawn and "<mark>" not in drawn
    (svg,) = (each for each in parsed(drawn).iter("svg") if each.get("role") == "img")
    assert svg.get("aria-label") == "a <b>: y over <x>, <script>"


def test_more_lines_than_colours_are_grey_and_counted():
    drawn = chart("t", [Line(f"n{i}", [0, 1], [0, 1]) for i in range(9)], Axes("x", "y", UNIT, UNIT))
    assert len(paths(drawn, "rest")) == 3 + 1  # and the legend's
    assert [each.text for each in parsed(drawn).iter("bdi")] == [*(f"n{i}" for i in range(6)), "3 more"]


def test_nothing_to_draw_is_drawn_as_nothing():
    assert parsed(chart("t", [Line("", [], [])], Axes("x", "y")))
    assert parsed(chart("t", [], Axes("x", "y")))


def test_whisker_and_bar():
    assert 'cx="60.0"' in whisker(0.5, 0.0, 1.0, 0.0, 1.0)
    assert "M4.0 7H116.0" in whisker(0.5, 0.0, 1.0, 0.0, 1.0)
    assert "M60.0 7H60.0" in whisker(0.5, None, None, 0.0, 1.0)
    assert whisker(None, 0, 1, 0.0, 1.0) == "" == whisker(0.5, 0, 1, 1.0, 1.0)
    assert 'class="bar for"' in bar(2.0, 4.0) and 'x="60.0" y="2" width="29.0"' in bar(2.0, 4.0)
    assert 'class="bar against"' in bar(-4.0, 4.0) and 'x="2.0" y="2" width="58.0"' in bar(-4.0, 4.0)
    assert bar(None, 1.0) == "" == bar(1.0, 0.0)


def test_flow_names_columns_fusion_and_targets_short():
    drawn = flow([("a" * 99, "text"), ("<b>", "image")], "gated", [("intent", "classification")])
    texts = [each.text for each in parsed(drawn).iter("text")]
    assert texts == ["a" * 13 + "…", "text", "<b>", "image", "joined by", "gated", "intent", "classification"]
    assert len(paths(drawn, "arrow")) == 3
