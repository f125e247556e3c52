"""Charts: where their points stand, and that nothing a reader would see is lost."""

import re

import numpy as np
import pytest

from litegpt.pictures.chart import HEIGHT, WIDTH, Series, line_chart, tick_step

NUMBER = r"-?\d+(?:\.\d+)?"


def points(svg: str, line: int = 1) -> np.ndarray:
    """The corners (N, 2) of a line."""
    (path,) = re.findall(rf'<path d="([^"]*)" class="line s{line}"', svg)
    return np.array([pair.split() for pair in re.findall(rf"[ML]({NUMBER} {NUMBER})", path)], float)


def ticks(svg: str, anchor: str) -> list[tuple[float, float]]:
    """(value, place) of an axis's ticks: the y axis has anchor end, the x axis middle."""
    place = "y" if anchor == "end" else "x"
    found = re.findall(r'<text x="([^"]*)" y="([^"]*)" text-anchor="(\w+)">([-+.,\de]+)<', svg)
    return [
        (float(value.replace(",", "")), float(x if place == "x" else y))
        for x, y, kind, value in found
        if kind == anchor
    ]


@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (1e-5, 0.0), (1e6, -3e6), (1e-3, 4.0)])
def test_points_stand_where_the_axes_say(scale: float, offset: float) -> None:
    x = np.array([0.0, 250, 1000])
    y = offset + scale * np.array([1.0, 3.5, 2.0])
    svg = line_chart([Series("a", x, y)], "step", "loss")
    corners = points(svg)
    for column, anchor, values in ((0, "middle", x), (1, "end", y)):
        (v0, p0), *_, (v1, p1) = ticks(svg, anchor)
        shift = 4 if anchor == "end" else 0  # labels stand a little below their line
        expected = (p0 - shift) + (values - v0) * (p1 - p0) / (v1 - v0)
        rounding = 1 if scale > 1e-4 else 3  # labels of tiny values have three digits
        np.testing.assert_allclose(corners[:, column], expected, atol=rounding)
    assert (corners > 0).all() and (corners < [WIDTH, HEIGHT]).all()


def test_higher_is_up_and_later_is_right() -> None:
    corners = points(line_chart([Series("a", np.array([1.0, 2]), np.array([1.0, 2]))], "x", "y"))
    assert corners[1, 0] > corners[0, 0] and corners[1, 1] < corners[0, 1]


def test_a_line_is_broken_where_there_is_no_number() -> None:
    y = np.array([1, 2, np.nan, 3, np.inf, 2, 1])
    svg = line_chart([Series("a", np.arange(7.0), y)], "x", "y")
    (path,) = re.findall(r'<path d="([^"]*)"', svg)
    assert path.count("M") == 3 and path.count("L") == 2
    assert "nan" not in svg and "inf" not in svg
    assert svg.count("<circle") == 1 and "<title>a 3 at 3</title>" in svg  # a line alone isn't seen


def test_long_series_are_thinned_and_keep_their_peaks() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x / 5000)
    y[54_321], y[77_777] = 9, -9
    svg = line_chart([Series("a", x, y)], "x", "y")
    corners = points(svg)
    assert len(corners) < 1500
    assert len(svg) < 50_000
    straight = points(line_chart([Series("a", x[54_321:54_323], y[54_321:54_323])], "x", "y"))
    assert len(straight) == 2
    tick = dict(ticks(svg, "end"))
    assert corners[:, 1].min() < tick[8.0] - 4 if 8.0 in tick else corners[:, 1].min() < 40
    assert np.ptp(corners[:, 1]) > 0.85 * (HEIGHT - 52)


def test_one_value_and_none() -> None:
    for value in (0.0, 5.0, -1e-8):
        corners = points(line_chart([Series("a", np.array([3.0]), np.array([value]))], "x", "y"))
        assert np.isfinite(corners).all() and len(corners) == 1
    one = line_chart([Series("a", np.array([1.0]), np.array([3.5]))], "step", "loss")
    assert one.count("<circle") == 1
    assert [value for value, _ in ticks(one, "middle")] == [1.0]  # there's no step 0.8
    nothing = line_chart([Series("a", np.array([3.0]), np.array([np.nan]))], "x", "speed")
    assert nothing == '<p class="quiet">no speed to show</p>'


def test_ticks_are_round_and_few() -> None:
    for span in 10 ** np.linspace(-9, 9, 181):
        step = tick_step(span, 6)
        mantissa = step / 10 ** np.floor(np.log10(step) + 1e-9)
        assert min(abs(mantissa - n) for n in (1, 2, 5)) < 1e-6
        assert 2 <= span / step <= 6 + 1e-9


def test_a_legend_names_several_lines_and_texts_are_escaped() -> None:
    x = np.arange(3.0)
    svg = line_chart(
        [Series("<a>", x, x), Series("b", x, x + 1, dots=True)], "x", "<y>", (1, "<m>")
    )
    assert "&lt;a&gt;" in svg and "&lt;m&gt;" in svg and "<a>" not in svg and "<y>" not in svg
    assert svg.count("<circle") == 3
    assert "<title>b 3 at 2</title>" in svg
