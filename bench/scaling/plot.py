"""Lines over time as SVG: enough for the figures of docs/scaling.md, without a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 200  # of one panel, pixels
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 26, 34
COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#787774")

Line = Sequence[tuple[float, float]]


def figure(title: str, panels: Mapping[str, Mapping[str, Line]]) -> str:
    """Panels under each other with one time axis in seconds; the lines of a panel by name, drawn as steps."""
    end = max(point[0] for lines in panels.values() for line in lines.values() for point in line)
    total = HEIGHT * len(panels) + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" font-family="sans-serif"',
        ' font-size="11">',
        f'<rect width="{WIDTH}" height="{total}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (label, lines) in enumerate(panels.items()):
        out += _panel(label, lines, end, 30 + number * HEIGHT)
    return "\n".join([*out, "</svg>"]) + "\n"


def _panel(label: str, lines: Mapping[str, Line], end: float, top: float) -> list[str]:
    most = _round_up(max(value for line in lines.values() for _, value in line))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    base = top + TOP + high
    out = [f'<text x="{LEFT}" y="{top + TOP - 8:.0f}">{escape(label)}</text>']
    for part in range(5):
        y, x = base - high * part / 4, LEFT + wide * part / 4
        out.append(f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_label(most * part / 4)}</text>')
        out.append(f'<text x="{x:.1f}" y="{base + 16:.1f}" text-anchor="middle">{end * part / 4:.0f} s</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = _path([(LEFT + wide * when / end, base - high * value / most) for when, value in line])
        out.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = top + TOP + 8 + 16 * number
        out.append(f'<text x="{WIDTH - RIGHT + 10}" y="{y:.0f}" fill="{colour}">{escape(name)}</text>')
    return out


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Steps: a value holds until the next. Points of one pixel column are one, the last."""
    columns = {round(x): y for x, y in points}
    words, before = [], ""
    for x, height in sorted(columns.items()):
        y = f"{height:.0f}"
        if y != before:
            words.append(f"H{x}V{y}" if before else f"M{x} {y}")
        before = y
    return "".join(words) + f"H{max(columns)}"


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 8 or 10 times a power of ten."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    return next((power * step for step in (1, 2, 4, 5, 8, 10) if power * step >= value), power * 10) or 1.0
