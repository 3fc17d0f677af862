"""The figures of a report as SVG text, drawn by matplotlib without a display or global state."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from math import log
from typing import TYPE_CHECKING, Any

from personaagent.evaluation.analysis import Analysis, Line
from personaagent.evaluation.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable with any colour vision (Okabe and Ito), and in grey by their markers.
_STYLE = {
    "floor": ("#8a8a8a", "o", "white"),
    "baseline": ("#0072b2", "o", "#0072b2"),
    "personaagent": ("#d55e00", "D", "#d55e00"),
    "ablation": ("#e69f00", "s", "white"),
}
_OURS = "#d55e00"
_CYCLE = (_OURS, "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
_WIDTH = 7.2  # inches
Box = tuple[float, float, float, float]
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and can be searched
    "svg.hashsalt": "personaagent",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "text.color": "#222222",
    "xtick.color": "#555555",
    "ytick.color": "#333333",
}


def quality(analysis: Analysis) -> str:
    """Every system's first metric with its interval; the line is the non-personalized system."""
    lines = [line for line in analysis.lines if line.n]

    def draw(axes: Axes) -> None:
        name = analysis.headline.name
        for at, line in enumerate(reversed(lines)):
            _point(axes, line, line.scores[name].value, at, line.scores[name])
        plain = analysis.line("non-personalized")
        if plain:
            axes.axvline(plain.scores[name].value, color="#0072b2", linewidth=0.8, alpha=0.5)
        axes.set_yticks(range(len(lines)), [line.system for line in reversed(lines)])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.6, len(lines) - 0.4)
        axes.set_xlabel(_name(analysis))
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)

    return _svg(draw, height=1.0 + 0.32 * len(lines))


def efficiency(analysis: Analysis) -> str:
    """Quality over seconds a sample: to the left and up (errors: down) is better.

    Floors, which take next to no time, are a line.
    """
    lines = [line for line in analysis.lines if line.n and line.role != "floor"]
    name = analysis.headline.name

    def draw(axes: Axes) -> None:
        for line in lines:
            _point(axes, line, line.cost.seconds, line.scores[name].value)
        axes.set_xscale("log")
        axes.margins(x=0.2, y=0.15)
        _label(
            axes,
            [(line.cost.seconds, line.scores[name].value) for line in lines],
            [line.system.replace("personaagent-without-", "w/o ") for line in lines],
        )
        if floor := analysis.line(analysis.floor or ""):
            value = floor.scores[name].value
            axes.axhline(value, color="#8a8a8a", linewidth=1, linestyle="--")
            axes.annotate(
                f"{floor.system} (floor)",
                (0, value),
                xycoords=("axes fraction", "data"),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=9,
                color="#6a6a6a",
            )
        for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")
        axes.set_xlabel("seconds a sample (mean, log scale)")
        axes.set_ylabel(_name(analysis).partition(",")[0])
        axes.grid(color="#e6e6e6", linewidth=0.8)

    return _svg(draw, height=4.2)


def curves(
    series: Mapping[str, Sequence[tuple[float, Line]]], metric: str, title: str, over: str
) -> str:
    """One line a system: the metric over a varied number, with intervals as bands."""

    def draw(axes: Axes) -> None:
        for at, (system, points) in enumerate(series.items()):
            ordered = sorted(points, key=lambda point: point[0])
            xs = [x for x, _ in ordered]
            scores = [line.scores[metric] for _, line in ordered]
            color = _CYCLE[at % len(_CYCLE)]
            axes.plot(xs, [one.value for one in scores], marker="o", color=color, label=system)
            lows, highs = [one.low for one in scores], [one.high for one in scores]
            axes.fill_between(xs, lows, highs, color=color, alpha=0.12, linewidth=0)
        axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
        axes.set_xlabel(over)
        axes.set_ylabel(title)
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.legend(frameon=False, fontsize=9)

    return _svg(draw, height=3.6)


def against_calls(
    series: Mapping[str, Sequence[tuple[float, Interval]]], ours: Collection[str]
) -> str:
    """Quality over LM calls, one line a system, with intervals; those in `ours` stand out."""
    others = [name for name in series if name not in ours]
    faint = [color for color in _CYCLE if color != _OURS]
    most = max(x for points in series.values() for x, _ in points)

    def draw(axes: Axes) -> None:
        for at, (name, points) in enumerate(series.items()):
            mine = name in ours
            place = [one for one in series if one in ours].index(name) if mine else 0
            color = _OURS if mine else faint[others.index(name) % len(faint)]
            axes.errorbar(
                [x + 0.006 * most * at for x, _ in points],  # equal calls would hide each other
                [one.value for _, one in points],
                yerr=[
                    [one.value - one.low for _, one in points],
                    [one.high - one.value for _, one in points],
                ],
                fmt="Ds"[place % 2] if mine else "o",
                markersize=6 if mine else 4.5,
                markerfacecolor="white" if place else color,
                color=color,
                linestyle="--" if place or (not mine and others.index(name) >= len(faint)) else "-",
                linewidth=2 if mine else 1.1,
                elinewidth=0.8,
                label=name,
            )
        axes.set_xlabel("LM calls a user")
        axes.set_ylabel("score on held-out questions (higher is better)")
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))

    return _svg(draw, height=4.2)


def _point(axes: Axes, line: Line, x: float, y: float, across: Interval | None = None) -> None:
    """A marker, with its interval in x where one is given."""
    color, marker, face = _STYLE[line.role]
    spans: dict[str, Any] = {}
    if across is not None:
        spans["xerr"] = [[across.value - across.low], [across.high - across.value]]
    axes.errorbar(
        x,
        y,
        **spans,
        fmt=marker,
        color=color,
        markerfacecolor=face,
        markersize=7,
        elinewidth=1.4,
        capsize=0,
    )


def _label(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write names beside points of a log-scaled axis, where none covers another name or point."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    wide, tall = 440.0, 250.0  # the axes in points, near enough
    placed = [
        (wide * log(x / left) / log(right / left), tall * (y - low) / (high - low))
        for x, y in points
    ]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in placed]
    for name, point, (x, y) in zip(names, points, placed, strict=True):
        length = 5.2 * len(name)

        def box(
            shift: float, rise: float, x: float = x, y: float = y, length: float = length
        ) -> Box:
            start = x + shift - (length if shift < 0 else 0)
            return start, y + rise - 1, start + length, y + rise + 9

        spots = [(side, rise) for rise in (-4, 5, -13, 15, -23, 25, -33) for side in (7, -7)]
        best = min(spots, key=lambda spot: sum(_overlap(box(*spot), other) for other in taken))
        taken.append(box(*best))
        axes.annotate(
            name,
            point,
            xytext=best,
            textcoords="offset points",
            ha="right" if best[0] < 0 else "left",
            fontsize=9,
        )


def _overlap(one: Box, other: Box) -> float:
    """The area that two boxes (left, bottom, right, top) share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    along = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, along)


def _name(analysis: Analysis) -> str:
    metric = analysis.headline
    better = "higher" if metric.larger_is_better else "lower"
    return f"{metric.title} ({better} is better), 95 % interval"


def _svg(draw: Any, *, height: float) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure: Figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    # What stands before <svg> has no place inside HTML.
    return re.sub(r"^.*?(?=<svg)", "", drawn.getvalue(), count=1, flags=re.S)
