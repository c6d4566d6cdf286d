"""A plot of cost against nodes, as SVG, by hand: one line a series, both axes from zero."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

Point = tuple[float, float]

_WIDTH: Final = 760
_HEIGHT: Final = 420
_LEFT: Final = 70
_RIGHT: Final = 170
_TOP: Final = 50
_BOTTOM: Final = 60
_TICKS: Final = 5
_LABEL_HEIGHT: Final = 15
_COLOURS: Final = ("#0b6e4f", "#c8553d", "#6c757d", "#3d5a80")


def nice_step(most: float, ticks: int = _TICKS) -> float:
    """The distance of an axis's ticks: 1, 2 or 5 times a power of ten.

    Args:
        most: the largest value that is to fit.
        ticks: how many ticks there are at most.
    """
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / ticks))
    # 10 always is enough
    return power * next(factor for factor in (1, 2, 5, 10) if power * factor * ticks >= most)


def spread(places: Sequence[float], distance: float) -> list[float]:
    """Places moved down, in their order, until each is at least so far from the one above it."""
    moved = dict.fromkeys(range(len(places)), 0.0)
    last = -math.inf
    for index in sorted(moved, key=lambda it: places[it]):
        last = moved[index] = max(places[index], last + distance)
    return list(moved.values())


def to_svg(series: Mapping[str, Sequence[Point]], *, title: str, x: str, y: str) -> str:
    """The plot.

    Args:
        series: points by name, of which those with no points are left out.
        title: what it shows.
        x: what the horizontal axis is.
        y: what the vertical axis is.
    """
    lines = {name: sorted(points) for name, points in series.items() if points}
    points = [point for line in lines.values() for point in line] or [(0.0, 0.0)]
    step_x, step_y = (nice_step(max(point[axis] for point in points)) for axis in (0, 1))
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(point: Point) -> Point:
        across, up = point[0] / (step_x * _TICKS), point[1] / (step_y * _TICKS)
        return _LEFT + across * wide, _TOP + (1 - up) * high

    parts = [_text(_LEFT, 24, title, size=15)]
    for tick in range(_TICKS + 1):
        across, _ = at((tick * step_x, 0))
        _, up = at((0, tick * step_y))
        parts.append(_rule(_LEFT, up, _WIDTH - _RIGHT, up))
        parts.append(_text(_LEFT - 8, up + 4, f"{tick * step_y:g}", anchor="end"))
        parts.append(_text(across, _HEIGHT - _BOTTOM + 20, f"{tick * step_x:g}", anchor="middle"))
    parts.append(_text(_LEFT + wide / 2, _HEIGHT - 16, x, anchor="middle"))
    parts.append(_text(_LEFT - 56, _TOP - 10, y))
    ends = [at(line[-1]) for line in lines.values()]
    labels = spread([up for _, up in ends], _LABEL_HEIGHT)
    for index, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [at(point) for point in line]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{u:.1f}" r="3.5" fill="{colour}"/>' for a, u in places]
        parts.append(_text(ends[index][0] + 10, labels[index] + 4, name, colour=colour))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    colour: str = "#222",
    size: int = 12,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-size="{size}">{escape(text)}</text>'
    )
