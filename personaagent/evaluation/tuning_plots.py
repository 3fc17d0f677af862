"""The figures of a search: the front, what matters, and the loss over each choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from personaagent.evaluation.plots import svg
from personaagent.evaluation.tuning import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLAIN, _FRONT, _DEFAULT, _LOSS, _COST = "#8a8a8a", "#d55e00", "#0072b2", "#d55e00", "#0072b2"


def front(findings: Findings) -> str:
    """Every setting by cost and held-out loss; down and to the left is better."""

    def draw(axes: Axes) -> None:
        complete = findings.complete
        axes.plot(
            [one.cost for one in complete],
            [one.loss for one in complete],
            linestyle="",
            marker="o",
            color=_PLAIN,
            markerfacecolor="white",
            label="setting",
        )
        best = findings.front
        axes.step(
            [one.cost for one in best],
            [one.loss for one in best],
            where="post",
            marker="o",
            color=_FRONT,
            label="front",
        )
        if (base := findings.baseline) is not None:
            axes.plot([base.cost], [base.loss], "s", color=_DEFAULT, markersize=8, label="defaults")
        winner = findings.winner
        axes.plot(
            [winner.cost],
            [winner.loss],
            "D",
            color=_FRONT,
            markersize=9,
            label=f"winner (trial {winner.number})",
        )
        axes.set_xlabel(f"{findings.cost} a user, learning and answering")
        axes.set_ylabel("held-out loss (nats)")
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.legend(frameon=False, fontsize=9)

    return svg(draw, height=4.0)


def importances(found: Mapping[str, Mapping[str, float]]) -> str:
    """Each choice's share, by objective."""

    def draw(axes: Axes) -> None:
        names = list(next(iter(found.values())))
        thick = 0.8 / len(found)
        colors = (_LOSS, _COST)
        for at, (objective, shares) in enumerate(found.items()):
            places = [row + at * thick for row in range(len(names))]
            axes.barh(
                places, [shares[n] for n in names], thick, color=colors[at % 2], label=objective
            )
        axes.set_yticks([row + 0.4 - thick / 2 for row in range(len(names))], names)
        axes.invert_yaxis()
        axes.set_xlabel("importance (share)")
        axes.legend(frameon=False, fontsize=9)

    height = 1.2 + 0.5 * len(next(iter(found.values())))
    return svg(draw, height=height)


def slice_of(findings: Findings, name: str) -> str:
    """The held-out loss of every setting over one choice; later trials are darker."""

    def draw(axes: Axes) -> None:
        tried = findings.complete
        values = [getattr(one.setting, name) for one in tried]
        numbers = all(isinstance(value, int) for value in values)
        kinds = sorted(set(values), key=None if numbers else str)
        xs = values if numbers else [kinds.index(value) for value in values]
        shades = [0.35 + 0.65 * at / max(1, len(tried) - 1) for at in range(len(tried))]
        for x, one, shade in zip(xs, tried, shades, strict=True):
            axes.plot([x], [one.loss], "o", color=_LOSS, alpha=shade, markersize=6)
        if numbers:
            axes.set_xscale("log", base=2)  # as it was searched
            axes.minorticks_off()
            axes.set_xticks(kinds, [str(kind) for kind in kinds])
        else:
            axes.set_xticks(range(len(kinds)), kinds)
        axes.margins(x=0.08)
        axes.set_xlabel(name)
        axes.set_ylabel("held-out loss (nats)")
        axes.grid(color="#e6e6e6", linewidth=0.8)

    return svg(draw, height=2.6)
