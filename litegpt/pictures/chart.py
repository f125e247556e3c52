"""Line charts as SVG, drawn here: no script, no library, and colours that follow the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from litegpt.pictures.page import Html, element

WIDTH, HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 40  # room around the plot, for ticks and names
_POINTS = 600  # a line has about as many corners at most; more wouldn't be seen

STYLE = """
figure { margin: 0; overflow-x: auto; }
.chart { min-width: 32rem; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .line { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.chart .mark { stroke: var(--quiet); stroke-dasharray: 4 3; }
.legend { display: flex; gap: 1.25rem; margin: 0.25rem 0 0 4rem; font-size: 0.875rem; }
.legend span::before { content: ""; display: inline-block; width: 1.25rem; height: 0.25rem;
  margin-right: 0.4rem; vertical-align: middle; border-radius: 2px; background: var(--colour); }
""" + "".join(
    f".s{i} {{ stroke: var(--series-{i}); --colour: var(--series-{i}); }}\n"
    f".dot.s{i} {{ fill: var(--series-{i}); stroke: none; }}\n"
    for i in range(1, 5)
)


@dataclass(frozen=True)
class Series:
    """A line: y over x (N,), x rising, broken where y isn't finite.

    dots marks each point; one that stands alone, where no line would be seen, always has a dot.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    dots: bool = False


def line_chart(
    series: Sequence[Series], x_name: str, y_name: str, mark: tuple[float, str] | None = None
) -> Html:
    """Up to four lines over common axes, x in whole numbers, with a legend if there are several.

    The heading above says what y is; the chart itself says it to those who can't see it. mark: an
    x that a dashed line and a word point out.
    """
    shown = [_thinned(s) for s in series]
    finite = [(s.x[np.isfinite(s.y)], s.y[np.isfinite(s.y)]) for s in shown]
    xs, ys = (np.concatenate([pair[i] for pair in finite] or [np.empty(0)]) for i in (0, 1))
    if not len(xs):
        return element("p", f"no {y_name} to show", class_="quiet")
    x_axis = _Axis(xs.min(), xs.max(), _LEFT, WIDTH - _RIGHT, most=8, least_step=1.0)
    y_axis = _Axis(ys.min(), ys.max(), HEIGHT - _BOTTOM, _TOP, most=6, to_ticks=True)
    parts: list[Html] = [element("title", f"{y_name} over {x_name}")]
    parts += _grid(x_axis, y_axis, x_name)
    if mark:
        parts += _mark(x_axis.at(mark[0]), mark[1])
    for i, line in enumerate(shown, 1):
        parts.append(element("path", d=_path(line, x_axis, y_axis), class_=f"line s{i}"))
        parts += _dots(line, x_axis, y_axis, f"dot s{i}")
    drawing = element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=y_name,
        class_="chart",
    )
    names = [element("span", s.name, class_=f"s{i}") for i, s in enumerate(series, 1)]
    return element("figure", drawing, element("div", *names, class_="legend") if names[1:] else "")


class _Axis:
    """From values to places on the drawing, and the values that get a tick."""

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        end: float,
        most: int,
        to_ticks: bool = False,
        least_step: float = 0.0,
    ) -> None:
        if low == high:  # one value: it stands in the middle
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        step = max(tick_step(high - low, most), least_step)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if to_ticks:
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            low, high = first * step, last * step
        self.ticks = [i * step for i in range(first, last + 1)]
        self.step = step
        self._low, self._scale, self._start = low, (end - start) / (high - low), start

    def at(self, value: float) -> float:
        return round(self._start + (value - self._low) * self._scale, 1)

    def label(self, tick: float) -> str:
        return f"{tick:.2e}" if 0 < self.step < 1e-4 else f"{tick:,.{_decimals(self.step)}f}"


def tick_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that gives at most `most` steps."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(n * power for n in (1, 2, 5, 10, 20) if span / (n * power) <= most)


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _thinned(series: Series) -> Series:
    """The series, or the lowest and highest of every piece of a long one: no peak is lost."""
    size = 2 * math.ceil(len(series.x) / _POINTS)
    if size <= 2:
        return series
    kept: set[int] = {0, len(series.x) - 1}
    for start in range(0, len(series.x), size):
        piece = series.y[start : start + size]
        if np.isfinite(piece).any():
            kept |= {start + int(np.nanargmin(piece)), start + int(np.nanargmax(piece))}
        kept |= {start + int(i) for i in np.flatnonzero(~np.isfinite(piece))[:1]}
    chosen = sorted(kept)
    return Series(series.name, series.x[chosen], series.y[chosen], series.dots)


def _path(series: Series, x_axis: _Axis, y_axis: _Axis) -> str:
    words, pen = [], "M"
    for x, y in zip(series.x, series.y, strict=True):
        if math.isfinite(y):
            words.append(f"{pen}{x_axis.at(x)} {y_axis.at(y)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(words)


def _dots(series: Series, x_axis: _Axis, y_axis: _Axis, kind: str) -> list[Html]:
    marked = np.isfinite(series.y)
    if not series.dots:
        beside = np.r_[False, marked, False]
        marked = marked & ~(beside[:-2] | beside[2:])
    return [
        element(
            "circle",
            element("title", f"{series.name} {y:.4g} at {x:,.0f}"),
            cx=x_axis.at(x),
            cy=y_axis.at(y),
            r=2.5,
            class_=kind,
        )
        for x, y in zip(series.x[marked], series.y[marked], strict=True)
    ]


def _grid(x_axis: _Axis, y_axis: _Axis, x_name: str) -> list[Html]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        parts.append(element("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid"))
        label = y_axis.label(tick)
        parts.append(element("text", label, x=_LEFT - 8, y=y + 4, text_anchor="end"))
    for tick in x_axis.ticks:
        x = x_axis.at(tick)
        label = x_axis.label(tick)
        parts.append(element("text", label, x=x, y=bottom + 16, text_anchor="middle"))
    parts.append(element("text", x_name, x=right, y=HEIGHT - 6, text_anchor="end"))
    return parts


def _mark(x: float, word: str) -> list[Html]:
    past_middle = x > WIDTH / 2
    return [
        element("line", x1=x, x2=x, y1=_TOP, y2=HEIGHT - _BOTTOM, class_="mark"),
        element(
            "text",
            word,
            x=x - 6 if past_middle else x + 6,
            y=_TOP + 10,
            text_anchor="end" if past_middle else "start",
        ),
    ]
