"""Curves as inline SVG, drawn here: axes with round numbers, a logarithmic scale where values span decades, the spread of
thinned points as a band, and a running mean over noise."""

import math

from dream3d.export.page import Markup, join, tag
from dream3d.export.record import Series

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
DECADES = 1.3  # powers of ten that values span before the scale is logarithmic
SMOOTH, NOISY = 60, 0.25  # points, and the share of them at which a curve turns, from which on a running mean is drawn


def figure(name: str, series: Series, stages: list[float]) -> Markup:
    """One scalar against steps. The drawing carries its domain and points as data, for the page's read-out."""
    points = series.points
    low, high = min(p[2] for p in points), max(p[3] for p in points)
    log = low > 0 and math.log10(high / low) > DECADES
    xs = _spread(min(p[0] for p in points), max(p[0] for p in points))
    ys = (low, high) if log else _spread(low, high)
    kind = " (logarithmic)" if log else ""
    words = [f"last {number(series.last)}", f"lowest {number(low)}", f"highest {number(high)}"]
    words += [f"each point is {series.each} steps, the band their range"] if series.each > 1 else []
    caption = tag("figcaption", tag("b", name), tag("span", " \u00b7 ".join(words), class_="quiet"))
    return tag("figure", caption, _svg(f"{name}{kind} against steps", points, stages, xs, ys, log), class_="curve")


def _svg(title: str, points: list, stages: list[float], xs: tuple, ys: tuple, log: bool) -> Markup:
    def place(step: float, value: float) -> tuple[float, float]:
        low, high, value = (math.log(v) for v in (*ys, value)) if log else (*ys, value)
        x, y = (step - xs[0]) / (xs[1] - xs[0]), (value - low) / (high - low)
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(xs, ys, log, place)]
    for step in stages:
        x, _ = place(step, ys[0])
        parts.append(tag("line", x1=_f(x), x2=_f(x), y1=TOP, y2=HEIGHT - BOTTOM, class_="stage"))
    if any(high > low for _, _, low, high in points):
        there, back = [(s, high) for s, _, _, high in points], [(s, low) for s, _, low, _ in reversed(points)]
        parts.append(tag("polygon", points=_path(there + back, place), class_="band"))
    values = [(s, v) for s, v, _, _ in points]
    smooth = len(points) >= SMOOTH and _turns([v for _, v in values]) > NOISY * len(points)
    parts.append(tag("polyline", points=_path(values, place), class_="line faint" if smooth else "line"))
    if smooth:
        parts.append(tag("polyline", points=_path(_mean(values, len(values) // 40), place), class_="smooth"))
    numbers = " ".join(f"{step:.6g},{value:.6g}" for step, value in values)
    domain = " ".join(f"{v!r}" for v in (*xs, *ys))
    return tag("svg", tag("title", title), *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", data_points=numbers,
               data_domain=domain, data_scale="log" if log else "linear", data_frame=f"{LEFT} {WIDTH - RIGHT}")  # fmt: skip


def _grid(xs: tuple, ys: tuple, log: bool, place) -> Markup:
    bottom, parts = HEIGHT - BOTTOM, []
    for value in decades(*ys) if log else ticks(*ys):
        y = place(xs[0], value)[1]
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_f(y), y2=_f(y), class_="grid"))
        parts.append(tag("text", number(value), x=LEFT - 6, y=_f(y + 3.5), text_anchor="end"))
    for step in ticks(*xs, 6):
        x = place(step, ys[0])[0]
        parts.append(tag("line", x1=_f(x), x2=_f(x), y1=bottom, y2=bottom + 4, class_="tick"))
        parts.append(tag("text", number(step), x=_f(x), y=bottom + 16, text_anchor="middle"))
    parts.append(tag("text", "step", x=WIDTH - RIGHT, y=HEIGHT - 3, text_anchor="end", class_="label"))
    return join(*parts)


def _path(points: list[tuple[float, float]], place) -> str:
    return " ".join(f"{_f(x)},{_f(y)}" for x, y in (place(*point) for point in points))


def _f(value: float) -> str:
    return f"{value:.2f}"


def _turns(values: list[float]) -> int:
    """How often a curve goes up after it went down, or down after up."""
    moves = [b - a for a, b in zip(values, values[1:], strict=False) if b != a]
    return sum((a > 0) != (b > 0) for a, b in zip(moves, moves[1:], strict=False))


def _mean(values: list[tuple[float, float]], reach: int) -> list[tuple[float, float]]:
    """The mean of each point and `reach` neighbours on either side (fewer at the ends)."""
    out = []
    for i, (step, _) in enumerate(values):
        near = [v for _, v in values[max(0, i - reach) : i + reach + 1]]
        out.append((step, sum(near) / len(near)))
    return out


def _spread(low: float, high: float) -> tuple[float, float]:
    """Bounds with room between them."""
    size = max(abs(low), abs(high))
    room = 0.0 if high - low > 1e-9 * size else 0.05 * size or 0.5
    return low - room, high + room


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """At most `count` + 1 round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, first + count + 2) if k * step <= high + 1e-9 * step]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`; also 2 and 5 times them where that makes few."""
    span = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [k * 10.0**p for p in span for k in factors if low <= k * 10.0**p <= high]
        if len(found) <= 7:
            return found
    return found[:: math.ceil(len(found) / 7)]


def number(value: float) -> str:
    """A number as people read it: 12,345 0.0123 4.5e-07."""
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.2e}"
