"""A line chart as SVG, readable on a light and on a dark page; nothing but the standard library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
GREY = "#808080"
COLOURS = ("#2a8fd8", "#d9822b", "#3aa655", "#c04fa0", "#8a7be0", "#a07050")


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) with a name; what was measured by others is dashed."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def line_chart(title: str, x_name: str, lines: Sequence[Line]) -> str:
    """The chart, with powers of two along x and y from zero."""
    shown = [line for line in lines if line.points]
    xs = [x for line in shown for x, _ in line.points]
    top = max(y for line in shown for _, y in line.points)
    step = _step(top)
    top = math.ceil(top / step) * step
    low, high = math.log2(min(xs)), math.log2(max(xs))

    def place(x: float, y: float) -> tuple[float, float]:
        share = 0.5 if high == low else (math.log2(x) - low) / (high - low)
        across = LEFT + share * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 22, title, size=15)]
    for i in range(round(top / step) + 1):
        _, y = place(min(xs), i * step)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GREY}" opacity="0.3"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{i * step:,.0f}", anchor="end"))
    for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1):
        x, y = place(2**power, 0)
        parts.append(_text(x, y + 20, _length(2**power), anchor="middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_name, anchor="middle"))
    for i, line in enumerate(shown):
        parts += _drawn(line, COLOURS[i % len(COLOURS)], i, place)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">\n'
        f"{body}\n</svg>\n"
    )


def _drawn(line: Line, colour: str, number: int, place) -> list[str]:
    points = [place(x, y) for x, y in sorted(line.points)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="6 4"' if line.dashed else ""
    drawn = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
    drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    x, y = WIDTH - RIGHT + 16, TOP + 20 * number
    drawn.append(f'<path d="M{x} {y}h22" stroke="{colour}" stroke-width="2"{dash}/>')
    return [*drawn, _text(x + 28, y + 4, line.name)]


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{GREY}" text-anchor="{anchor}" '
        f'font-size="{size}">{escape(words)}</text>'
    )


def _step(top: float) -> float:
    """A round distance that gives four to nine lines up to `top`."""
    unit = 10.0 ** math.floor(math.log10(top))
    return next(unit * each for each in (0.2, 0.5, 1, 2) if top / (unit * each) <= 8)


def _length(tokens: float) -> str:
    return f"{tokens / 1024:g}k" if tokens >= 1024 else f"{tokens:g}"
