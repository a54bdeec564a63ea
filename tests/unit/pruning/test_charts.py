"""Charts: points lie where their values are on the axes, and nothing breaks the page."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning.charts import HEIGHT, WIDTH, Chart, Line, decades, draw, nice

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 6))


def element(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(draw(chart))


def labels(svg: ElementTree.Element) -> list[tuple[float, str]]:
    """Of the vertical axis: height and text."""
    return [(float(t.attrib["y"]) - 4, t.text or "") for t in svg.iter("text") if t.attrib.get("text-anchor") == "end"]


@given(NUMBERS, NUMBERS)
def test_nice_ticks_enclose_and_are_even(a, b):
    low, high = min(a, b), max(a, b)
    ticks = nice(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1)
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack and 2 <= len(ticks) <= 8
    steps = {round(y - x, 9) for x, y in pairwise(ticks)}
    assert max(steps) - min(steps) <= slack


@given(st.floats(1e-12, 1e12), st.floats(1, 1e9))
def test_decades_enclose(low, factor):
    ticks = decades(low, low * factor)
    assert ticks[0] <= low * (1 + 1e-6) and ticks[-1] >= low * factor * (1 - 1e-6) and 2 <= len(ticks) <= 8
    assert all(math.isclose(math.log10(t), round(math.log10(t)), abs_tol=1e-9) for t in ticks)


@pytest.mark.parametrize(("is_log", "values"), [(False, [0.0, 5.0, 10.0]), (True, [1.0, 10.0, 100.0])])
def test_points_lie_on_the_ticks_of_their_values(is_log, values):
    svg = element(Chart("t", [1, 2, 3], [Line("a", values)], is_log=is_log))
    heights = [float(c.attrib["cy"]) for c in svg.iter("circle")]
    at = {float(text): y for y, text in labels(svg)}
    for value, y in zip(values, heights, strict=True):
        assert value not in at or at[value] == pytest.approx(y, abs=0.2)
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=0.2) and heights[0] > heights[2]


def test_percent_ticks_tell_each_other_apart():
    svg = element(Chart("t", [1, 2], [Line("a", [0.991, 0.9915])], is_percent=True))
    texts = [text for _, text in labels(svg)]
    assert len(set(texts)) == len(texts) and all(text.endswith(" %") for text in texts)


def test_a_gap_where_there_is_no_value():
    svg = element(Chart("t", [1, 2, 3, 4], [Line("a", [1, None, 2, 3])]))
    (path,) = [p.attrib["d"] for p in svg.iter("path") if p.attrib["class"] == "line0"]
    assert path.count("M") == 2 and path.count("L") == 1


def test_what_a_log_axis_cannot_show_is_left_out():
    assert draw(Chart("t", [1, 2], [Line("a", [0, -1])], is_log=True)) == ""
    svg = element(Chart("t", [1, 2, 3], [Line("a", [0, 1, float("inf")]), Line("b", [None, None, None])], is_log=True))
    assert len(list(svg.iter("circle"))) == 1


def test_nothing_is_drawn_of_one_round():
    assert draw(Chart("t", [1], [Line("a", [1])])) == "" and draw(Chart("t", [], [])) == ""


def test_it_is_named_for_those_who_hear_it_and_escaped():
    text = draw(Chart('<b> & "q"', [1, 2], [Line("W", [0.5, 0.75])], [(1, "<i>")], is_percent=True))
    svg = ElementTree.fromstring(text)
    assert svg.attrib["role"] == "img" and svg.attrib["aria-label"].startswith('<b> & "q". W: 50.00 % at first, 75.00')
    assert "<b>" not in text and "<i>" not in text


def test_everything_is_inside():
    steps = list(range(1, 1001))
    phases = [(1, "ADMM"), (500, "retraining"), (990, "a long name without room")]
    text = draw(Chart("t", steps, [Line("a", [math.sin(s / 50) for s in steps])], phases))
    assert "retraining" in text and "without room" not in text and "<circle" not in text
    for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", text):
        assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT
