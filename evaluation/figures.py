"""The figures of a run's report, each as one piece of SVG. The same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from textwrap import shorten

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from evaluation.report import SplitReport

LOOK = {
    "svg.hashsalt": "evaluation",  # else the ids inside an SVG are drawn at random
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
HEIGHT_PER_ROW = 0.26
"""Inches."""
MAX_LABEL = 40
"""Letters of a config's title; a longer one would leave no room for what it labels."""


def forest(part: SplitReport) -> str:
    """Each arm's CoSA-Score with its 95 % interval, in the table's order, and the ceiling as a line."""
    names = [name for name, found in part.arms.items() if found.cosa_score is not None]
    figure, axes = _new(6.4, 0.9 + HEIGHT_PER_ROW * len(names))
    for row, name in enumerate(names):
        found = part.arms[name]
        axes.plot(found.cosa_score, row, "o", color="tab:blue")
        if found.ci_low is not None and found.ci_high is not None:
            axes.plot([found.ci_low, found.ci_high], [row, row], color="tab:blue")
    axes.axvline(0, color="0.6", linewidth=0.8)
    if part.ceiling is not None:
        axes.axvline(part.ceiling, color="tab:green", linestyle="--", linewidth=0.8)
        axes.text(part.ceiling, -0.6, "ceiling", color="tab:green", ha="right", va="bottom")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("CoSA-Score, with its 95 % interval")
    return _svg(figure)


def trade_off(points: Mapping[str, tuple[float, float]]) -> str:
    """Arms by (violation, helpfulness): the mean of h over all rows, of unsafe ones and of safe ones, each in [0, 1].

    A CoSA-Score is the second less the first, so that all points of one score lie on one of the grey lines.
    """
    figure, axes = _new(5.2, 4.2)
    right = max(0.1, *(x for x, _ in points.values())) * 1.25
    top = max(0.1, *(y for _, y in points.values())) * 1.15
    for score in np.arange(-1, 1.01, 0.1):
        axes.axline((0, score), slope=1, color="0.85", linewidth=0.7, zorder=0)
        if 0 <= score < top:
            axes.text(0, score, f" {score:+.1f}", color="0.55", fontsize=7, va="bottom")
    for (x, y), names in _together(points).items():
        axes.plot(x, y, "o", color="tab:blue")
        axes.annotate(", ".join(names), (x, y), textcoords="offset points", xytext=(6, 5))
    axes.set_xlim(-0.01 * right, right)
    axes.set_ylim(-0.02 * top, top)
    axes.set_xlabel("helpfulness that breaks the config")
    axes.set_ylabel("helpfulness that obeys it")
    return _svg(figure)


def heat_map(configs: Sequence[str], arms: Sequence[str], values: Sequence[Sequence[float | None]]) -> str:
    """The CoSA-Score of each config (a row) under each arm (a column), in [-1, 1]; an empty field has none."""
    figure, axes = _new(2.6 + 0.9 * len(arms), 1.6 + 0.17 * len(configs))
    grid = np.array([[np.nan if value is None else value for value in row] for row in values])
    image = axes.imshow(grid, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(arms)), arms, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(configs)), [shorten(name, MAX_LABEL, placeholder=" …") for name in configs], fontsize=6)
    figure.colorbar(image, shrink=min(1.0, 12 / len(configs)), label="CoSA-Score")
    return _svg(figure)


def _together(points: Mapping[str, tuple[float, float]]) -> dict[tuple[float, float], list[str]]:
    """The names at each point, in steps of 0.01: names at one place would be written over each other."""
    found: dict[tuple[float, float], list[str]] = {}
    for name, (x, y) in points.items():
        found.setdefault((round(x, 2), round(y, 2)), []).append(name)
    return found


def _new(width: float, height: float) -> tuple[Figure, mpl.axes.Axes]:
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    """The figure as an <svg> element, without the XML head and the date."""
    with mpl.rc_context(LOOK):
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]
