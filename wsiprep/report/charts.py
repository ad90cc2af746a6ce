"""Small charts as inline SVG, in colours that colour-blind readers tell apart (Okabe and Ito 2008)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, BLACK, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1a1a1a", "#b8bec6",
)  # fmt: skip
SERIES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, BLACK)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its legend entry (shared by curves of one colour), and points in order of x."""

    group: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plotting area inside a chart, and the scales of its axes."""

    width: int
    height: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: int = 52
    right: int = 12
    top: int = 12
    bottom: int = 38

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low or 1) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - self.bottom - (value - low) / (high - low or 1) * (self.height - self.top - self.bottom)

    @property
    def base(self) -> int:
        return self.height - self.bottom


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def share_chart(before: Sequence[int], after: Sequence[int], bounds: Sequence[float], title: str) -> Markup:
    """Histogram of shares in [0, 1], all cells behind the kept ones, with the rule's bounds as dashed lines."""
    top = max([*before, *after, 1])
    frame = _Frame(560, 230, (0.0, 1.0), (0.0, 1.05 * top))
    step = 1 / len(before)
    parts = [_axes(frame, "share of the annotated area", "cells", [0, 0.2, 0.4, 0.6, 0.8, 1.0], whole=True)]
    for k, (wide, narrow) in enumerate(zip(before, after, strict=True)):
        x, full = frame.x(k * step), frame.x(step) - frame.x(0)
        tip = f"<title>{k * step:.2f} to {(k + 1) * step:.2f}: {wide} before, {narrow} kept</title>"
        parts.append(f"<g>{tip}{_bar(frame, x + 0.5, full - 1, wide, GREY)}")
        parts.append(f"{_bar(frame, x + full * 0.2, full * 0.6, narrow, BLUE)}</g>")
    for bound in bounds:
        x = frame.x(bound)
        parts.append(f'<path class="bound" d="M{x:.1f} {frame.top}V{frame.base}"/>')
    return _svg(frame, title, parts)


def _bar(frame: _Frame, x: float, width: float, value: float, colour: str) -> str:
    y = frame.y(value)
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{frame.base - y:.1f}" fill="{colour}"/>'


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, colours: Mapping[str, str]) -> Markup:
    """Curves, one colour a group; points that are not finite are left out."""
    finite = [(x, y) for line in lines for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return Markup("")
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    low, high = min(ys), max(ys)
    rim = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    frame = _Frame(560, 260, (min(xs), max(xs)), (low - rim, high + rim))
    parts = [_axes(frame, x_label, y_label, ticks(*frame.x_range, 6), whole=False)]
    for line in lines:
        points = [(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
        colour = colours.get(line.group, BLACK)
        path = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)
        tip = f"<title>{escape(line.group)}</title>"
        if len(points) == 1:
            x, y = points[0]
            parts.append(f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3" fill="{colour}">{tip}</circle>')
        elif points:
            parts.append(f'<path class="curve" d="M{path}" stroke="{colour}">{tip}</path>')
    return _svg(frame, f"{y_label} over {x_label}", parts)


def stacked_bars(rows: Sequence[tuple[str, Mapping[str, float]]], colours: Mapping[str, str], title: str) -> Markup:
    """One full-width bar a row, cut by the shares of its parts; shares from 6 % on are written in."""
    height, gap, left, width = 26, 8, 130, 760
    parts = []
    for k, (name, values) in enumerate(rows):
        total, y, x = sum(values.values()), k * (height + gap), float(left)
        parts.append(f'<text class="row" x="{left - 10}" y="{y + 18}">{escape(name)}</text>')
        for key, value in values.items():
            share = value / total if total else 0.0
            wide = share * (width - left)
            tip = f"<title>{escape(key)}: {100 * share:.1f} %</title>"
            shape = f'x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{height}" fill="{colours.get(key, GREY)}"'
            parts.append(f"<rect {shape}>{tip}</rect>")
            if share >= 0.06:
                ink = text_colour(colours.get(key, GREY))
                middle = f'x="{x + wide / 2:.1f}" y="{y + 18}"'
                parts.append(f'<text class="inside" {middle} fill="{ink}">{100 * share:.0f} %</text>')
            x += wide
    tall = len(rows) * (height + gap)
    box = f'viewBox="0 0 {width} {tall}" role="img" aria-label="{escape(title)}"'
    return Markup(f'<svg class="chart wide" {box}>{"".join(parts)}</svg>')  # noqa: S704 - made here, texts escaped


def text_colour(background: str) -> str:
    """Black or white, whichever is easier to read on ``#rrggbb``."""
    red, green, blue = (int(background[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


def _axes(frame: _Frame, x_label: str, y_label: str, x_ticks: Sequence[float], *, whole: bool) -> str:
    parts = []
    for value in ticks(*frame.y_range):
        if whole and value != round(value):
            continue
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left} {y:.1f}H{frame.width - frame.right}"/>')
        parts.append(f'<text class="tick" x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in x_ticks:
        place = f'x="{frame.x(value):.1f}" y="{frame.base + 15}"'
        parts.append(f'<text class="tick" {place} text-anchor="middle">{value:g}</text>')
    parts.append(f'<path class="axis" d="M{frame.left} {frame.base}H{frame.width - frame.right}"/>')
    middle = (frame.left + frame.width - frame.right) / 2
    parts.append(f'<text class="name" x="{middle}" y="{frame.height - 6}">{escape(x_label)}</text>')
    up = f'transform="translate(12 {(frame.top + frame.base) / 2}) rotate(-90)"'
    parts.append(f'<text class="name" {up}>{escape(y_label)}</text>')
    return "".join(parts)


def _svg(frame: _Frame, title: str, parts: Sequence[str]) -> Markup:
    box = f'viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(title)}"'
    return Markup(f'<svg class="chart" {box}>{"".join(parts)}</svg>')  # noqa: S704 - made here, texts escaped
