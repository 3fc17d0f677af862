"""The figures of a report as SVG text, drawn by matplotlib without a display or global state."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from personaagent.experiments.analysis import Analysis, Line
from personaagent.experiments.curves import Curve
from personaagent.experiments.lineup import OURS
from personaagent.experiments.persona_map import PersonaMap, projection
from personaagent.experiments.statistics import Interval

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
CYCLE = (_OURS, "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
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

    return svg(draw, height=1.0 + 0.32 * len(lines))


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
            [short(line.system) for line in lines],
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

    return svg(draw, height=4.2)


def ablations(analysis: Analysis) -> str:
    """What each part was worth: every ablation minus the whole, with its interval; the line is the
    whole."""
    gaps = [(line.system, line.against_ours) for line in analysis.lines if line.against_ours]

    def draw(axes: Axes) -> None:
        for at, (_, gap) in enumerate(reversed(gaps)):
            one = gap.difference if gap else None
            if one is None:
                continue
            worse = analysis.headline.gain(one.value) < 0
            axes.barh(at, one.value, height=0.55, color=_OURS if worse else "#0072b2", alpha=0.6)
            axes.plot([one.low, one.high], [at, at], color="#333333", linewidth=1.4)
        axes.axvline(0, color="#333333", linewidth=1)
        axes.set_yticks(range(len(gaps)), [short(name) for name, _ in reversed(gaps)])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.6, len(gaps) - 0.4)
        better = "right" if analysis.headline.larger_is_better else "left"
        axes.set_xlabel(
            f"{analysis.headline.title} minus that of the whole, 95 % interval ({better} is better)"
        )
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)

    return svg(draw, height=1.0 + 0.36 * len(gaps))


def curves(curve: Curve) -> str:
    """One line a system: the metric over the varied number, with intervals as bands."""
    metric, values = curve.first.headline, curve.values

    def draw(axes: Axes) -> None:
        for at, system in enumerate(sorted(curve.systems, key=lambda name: name != OURS)):
            points = curve.series(system)
            xs = [value for value, _ in points]
            scores = [line.scores[metric.name] for _, line in points]
            color, marker = CYCLE[at % len(CYCLE)], MARKERS[at % len(MARKERS)]
            label = short(system)
            axes.plot(xs, [one.value for one in scores], marker=marker, color=color, label=label)
            lows, highs = [one.low for one in scores], [one.high for one in scores]
            axes.fill_between(xs, lows, highs, color=color, alpha=0.12, linewidth=0)
        axes.set_xticks(values)
        axes.set_xlabel(curve.title)
        axes.set_ylabel(metric.title)
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return svg(draw, height=3.6)


def short(system: str) -> str:
    """A system's name as a figure has room for."""
    return system.replace("personaagent-without-", "w/o ").replace("personaagent-", "")


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


def svg(draw: Callable[[Axes], None], *, height: float) -> str:
    """What `draw` puts on one pair of axes as SVG text, `height` in inches."""
    return drawn(lambda figure: draw(figure.add_subplot()), height=height)


def drawn(draw: Callable[[Figure], None], *, height: float) -> str:
    """What `draw` puts into a figure as SVG text, `height` in inches."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure: Figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    # What stands before <svg> has no place inside HTML.
    return re.sub(r"^.*?(?=<svg)", "", written.getvalue(), count=1, flags=re.S)


_NAMED = 12  # users at most whose names there is room for
_REST, _GREY = "other", "#b5b5b5"


def points(map: PersonaMap) -> str:
    """Users on the principal components of their personas and of their histories; a colour is a
    most frequent answer."""
    counts = {group: map.groups.count(group) for group in map.groups if group}
    shown = sorted(counts, key=lambda group: (-counts[group], group))[: len(CYCLE)]
    groups = [group if group in shown else _REST for group in map.groups]

    def draw(figure: Figure) -> None:
        sides = figure.subplots(1, 2)
        both = (("by persona", map.personas), ("by history", map.histories))
        for axes, (title, cosines) in zip(sides, both, strict=True):
            places, (first, second) = projection(cosines)
            for group in [*shown, _REST]:
                at = [n for n, one in enumerate(groups) if one == group]
                number = shown.index(group) if group in shown else None
                axes.scatter(
                    places[at, 0],
                    places[at, 1],
                    s=30,
                    color=_GREY if number is None else CYCLE[number],
                    marker="o" if number is None else MARKERS[number],
                    label=group,
                    edgecolors="white",
                    linewidths=0.5,
                )
            if len(map.users) <= _NAMED:
                for name, (x, y) in zip(map.users, places, strict=True):
                    axes.annotate(
                        name[:14], (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8
                    )
            axes.margins(0.15)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel(f"component 1 ({first:.0%})")
            axes.set_ylabel(f"component 2 ({second:.0%})")
            axes.grid(color="#eeeeee", linewidth=0.8)
        if shown:
            handles, labels = sides[0].get_legend_handles_labels()
            figure.legend(
                handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8
            )

    return drawn(draw, height=4.0)


def matrices(map: PersonaMap) -> str:
    """The cosines between users, both times in the order of the histories' first component."""
    order = np.argsort(projection(map.histories)[0][:, 0], kind="stable")

    def draw(figure: Figure) -> None:
        sides = figure.subplots(1, 2)
        both = (("personas", map.personas), ("histories", map.histories))
        for axes, (title, cosines) in zip(sides, both, strict=True):
            above = cosines[np.triu_indices(len(order), 1)]
            image = axes.imshow(
                cosines[np.ix_(order, order)],
                cmap="viridis",
                vmin=float(above.min()),
                vmax=float(above.max()),
                interpolation="nearest",
            )
            axes.set_title(title, fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel("users")
            figure.colorbar(image, ax=axes, shrink=0.8, label="cosine")

    return drawn(draw, height=3.4)
