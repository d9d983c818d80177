"""The learning curve of `competition.py` as an SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.competition_page import Results, interval

COLOURS = ("#0b6e4f", "#c1440e", "#3a5a9b", "#8a5a9e", "#7a7a7a", "#b8860b", "#333333")


def plot(results: Results, ns: Sequence[int], cell: tuple[float, float], heads: Sequence[str]) -> str:
    """The learning curve as an SVG: weighted F1 over the logarithm of n, bars are 95 % intervals."""
    lines = {head: {n: list(results.by_seed(head, n, *cell).values()) for n in ns} for head in heads}
    lines = {head: {n: v for n, v in line.items() if v} for head, line in lines.items()}
    limit = [value for n in ns for value in results.limits(n, *cell)]
    low, high = 0.2, 0.8
    left, right, top, bottom = 60.0, 560.0, 20.0, 330.0

    def x(n: int) -> float:
        return left + 20 + (right - left - 40) * float(np.log(n / ns[0]) / np.log(ns[-1] / ns[0]))

    def y(f1: float) -> float:
        return bottom - (bottom - top) * (f1 - low) / (high - low)

    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 390" font-family="sans-serif" font-size="12">',
        "<title>Weighted F1 by the number of labels</title>",
        '<rect width="700" height="390" fill="white"/>',
    ]
    for tick in np.arange(low, high + 0.01, 0.1):
        out += [
            f'<path d="M{left} {y(tick):.1f}H{right}" stroke="#ddd"/>',
            f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.1f}</text>',
        ]
    for n in ns:
        out.append(f'<text x="{x(n):.1f}" y="{bottom + 18}" text-anchor="middle">{n:,}</text>')
    out.append(f'<text x="{(left + right) / 2}" y="{bottom + 40}" text-anchor="middle">labels</text>')
    if limit:
        at = y(float(np.mean(limit)))
        out += [
            f'<path d="M{left} {at:.1f}H{right}" stroke="black" stroke-dasharray="5 4"/>',
            f'<text x="{right + 8}" y="{at + 4:.1f}">limit</text>',
        ]
    ends = []
    for (head, line), colour in zip(lines.items(), COLOURS, strict=False):
        if not line:
            continue
        points = {n: interval(values) for n, values in line.items()}
        path = " ".join(f"{x(n):.1f},{y(mean):.1f}" for n, (mean, _, _) in points.items())
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [
            f'<path d="M{x(n):.1f} {y(down):.1f}V{y(up):.1f}" stroke="{colour}"/>'
            for n, (_, down, up) in points.items() if np.isfinite(down)
        ]  # fmt: skip
        ends.append((y(list(points.values())[-1][0]), head, colour))
    at = 0.0
    for end, head, colour in sorted(ends):  # names keep clear of one another
        at = max(end + 4, at + 15)
        out.append(f'<text x="{right + 8}" y="{at:.1f}" fill="{colour}">{head}</text>')
    return "\n".join([*out, "</svg>", ""])
