"""The persona map as SVG text: users as points, and their similarities as two matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from personaagent.evaluation.persona_map import PersonaMap, projection
from personaagent.evaluation.plots import CYCLE, MARKERS, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
