"""The figures of a report as SVG text, drawn by matplotlib without a display or global state."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personaagent.evaluation.analysis import Analysis, Line

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
_CYCLE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
_WIDTH = 7.2  # inches
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
            _point(axes, line, line.scores[name].value, at, across=line.scores[name])
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
    """Quality over seconds a sample: up (for errors: down) and to the left is better."""
    lines = [line for line in analysis.lines if line.n and line.cost.seconds > 0]

    def draw(axes: Axes) -> None:
        name = analysis.headline.name
        for line in lines:
            score = line.scores[name]
            _point(axes, line, line.cost.seconds, score.value, along=score)
            axes.annotate(
                line.system,
                (line.cost.seconds, score.value),
                xytext=(7, 5),
                textcoords="offset points",
                fontsize=9,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.margins(x=0.18, y=0.12)
        axes.set_xlabel("seconds a sample (mean, log scale)")
        axes.set_ylabel(_name(analysis))
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
        axes.set_xlabel(over)
        axes.set_ylabel(title)
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.legend(frameon=False, fontsize=9)

    return _svg(draw, height=3.6)


def _point(
    axes: Axes, line: Line, x: float, y: float, *, across: Any = None, along: Any = None
) -> None:
    """A marker with its interval, which lies across (in x) or along (in y)."""
    color, marker, face = _STYLE[line.role]
    spans: dict[str, Any] = {}
    if across is not None:
        spans["xerr"] = [[across.value - across.low], [across.high - across.value]]
    if along is not None:
        spans["yerr"] = [[along.value - along.low], [along.high - along.value]]
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
