"""The comparison as Markdown and as one HTML page, with its plot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rivals.comparison import HALF, WHOLE, Comparison, Played, Versus, compare
from benchmarks.rivals.contest import FRACTIONS, JUDGES, Setup
from benchmarks.rivals.optimizers import ARMS
from personaagent.experiments import document, plots
from personaagent.experiments.document import Block, Figure, Heading, Items, Paragraph
from personaagent.experiments.formatting import gap, interval, p_value
from personaagent.experiments.statistics import RESAMPLES, Interval
from personaagent.lm import PersonaLM
from personaagent.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "PersonaAlignment and DSPy's optimizers at the same budget of LM calls"


def write_account(
    contests: Sequence[Played], setup: Setup, lm: PersonaLM, folder: Path
) -> tuple[Path, Path]:
    """Write `optimizers.html` and `optimizers.md` with its figures into a folder."""
    blocks = list(_blocks(contests, setup, lm))
    folder.mkdir(parents=True, exist_ok=True)
    page, twin = folder / "optimizers.html", folder / "optimizers.md"
    page.write_text(document.to_html(TITLE, blocks), encoding="utf-8")
    twin.write_text(document.to_markdown(TITLE, blocks, folder), encoding="utf-8")
    return page, twin


def _blocks(contests: Sequence[Played], setup: Setup, lm: PersonaLM) -> Iterator[Block]:
    whole = compare(contests)
    names = ", ".join(one.task.name for one in contests)
    yield Items(list(verdicts(whole)))
    yield from _section(f"{names}: {whole.users} users", "all", whole, setup)
    if len(contests) > 1:
        for one in contests:
            alone = compare([one])
            yield from _section(
                f"{one.task.name} alone: {alone.users} users", one.task.name, alone, setup
            )
    yield Heading("The arms")
    yield Items([f"{arm}: {ARMS[arm].about}" for arm in whole.stopped])
    yield Heading("How this was computed")
    yield Items(list(_method(setup, lm)))


def verdicts(comparison: Comparison) -> Iterator[str]:
    """Of each of our arms, whether half the calls were enough, one sentence each."""
    for ours in dict.fromkeys(one.ours for one in comparison.versus):
        half = [
            one
            for one in comparison.versus
            if (one.ours, one.fraction) == (ours, HALF) and ARMS[one.rival].optimizes
        ]
        ahead = [one for one in half if one.difference.value >= 0]
        sure = [one for one in half if one.difference.value > 0 and one.corrected < 0.05]
        behind = ", ".join(one.rival for one in half if one not in ahead)
        yield (
            f"{ours} with half of the calls ({_quality(comparison, ours, HALF)}) is at least as "
            f"good as {len(ahead)} of {len(half)} optimizers with all of them, significantly "
            f"better than {len(sure)}" + (f"; behind {behind}" if behind else "")
        )


def _section(heading: str, name: str, comparison: Comparison, setup: Setup) -> Iterator[Block]:
    yield Heading(heading)
    numbers = [
        *(f"score after {fraction:.0%} of the budget [95 %]" for fraction in FRACTIONS),
        "calls used",
        "seconds",
        "ended by the budget",
        "by an error",
        "unusable answers",
    ]
    yield Table(
        columns=["Optimizer", *numbers],
        rows=[
            [
                arm,
                *(_quality(comparison, arm, fraction) for fraction in FRACTIONS),
                f"{comparison.standing(arm, WHOLE).calls:.0f}",
                f"{comparison.seconds[arm]:,.0f}",
                str(ended.get("by the budget", 0)),
                str(sum(n for how, n in ended.items() if how.startswith("by an error"))),
                str(comparison.standing(arm, WHOLE).unusable),
            ]
            for arm, ended in comparison.stopped.items()
        ],
        right=numbers,
        strong=[at for at, arm in enumerate(comparison.stopped) if ARMS[arm].ours],
    )
    yield Figure(
        f"optimizers-{name}",
        _against_calls(
            {
                arm: [(one.calls, one.quality) for one in comparison.standings if one.arm == arm]
                for arm in comparison.stopped
            },
            frozenset(arm for arm in comparison.stopped if ARMS[arm].ours),
        ),
        f"Score on {comparison.samples} held-out questions against LM calls a user, of at most "
        f"{setup.calls}",
    )
    if comparison.versus:
        yield Heading("Ours minus each rival's whole budget", 3)
        numbers = ["difference [95 %]", "p", "p (Holm)"]
        rows = [_row(one) for one in comparison.versus]
        yield Table(columns=["Ours", "with", "against", *numbers], rows=rows, right=numbers)
    errors = [
        f"{arm}: {how} ({count} users)"
        for arm, ended in comparison.stopped.items()
        for how, count in ended.items()
        if how.startswith("by an error")
    ]
    if errors:
        yield Paragraph("Optimizers that failed, and were taken with their best so far:")
        yield Items(errors)


def _against_calls(
    series: Mapping[str, Sequence[tuple[float, Interval]]], ours: Collection[str]
) -> str:
    """Quality over LM calls, one line a system, with intervals; those in `ours` stand out."""
    others = [name for name in series if name not in ours]
    faint = plots.CYCLE[1:]
    most = max(x for points in series.values() for x, _ in points)

    def draw(axes: Axes) -> None:
        for at, (name, points) in enumerate(series.items()):
            mine = name in ours
            place = [one for one in series if one in ours].index(name) if mine else 0
            color = plots.CYCLE[0] if mine else faint[others.index(name) % len(faint)]
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

    return plots.svg(draw, height=4.2)


def _row(one: Versus) -> list[str]:
    found = one.difference
    return [
        one.ours,
        f"{one.fraction:.0%} of the calls",
        one.rival,
        gap(found),
        p_value(found.p),
        p_value(one.corrected),
    ]


def _quality(comparison: Comparison, arm: str, fraction: float) -> str:
    return interval(comparison.standing(arm, fraction).quality)


def _method(setup: Setup, lm: PersonaLM) -> Iterator[str]:
    yield (
        f"LM {lm.spec} ({lm.fingerprint[:16]}) for answers, gradients and proposals alike; a "
        f"budget of {setup.calls} calls for each user and optimizer, seed {setup.seed}"
    )
    yield (
        "Every arm starts from the same persona, whose profile was made of the user's latest "
        f"{setup.latest} interactions but for the {JUDGES} that judge; all pay for it. Optimizers "
        "that decide by a second set are given those that judge."
    )
    yield (
        "The persona is the system message, the task's question the user message; of labels the "
        "answer is read from the likelihoods, in optimization and on the held-out questions alike "
        "(drawn from them where an optimizer samples)."
    )
    yield (
        "Calls are counted by one meter; asking the same again within an arm is free, as with "
        "DSPy's response cache. An optimizer that would ask for more is stopped, and its best so "
        "far is taken: the prompt with the best mean score on what it decides by. So it is at each "
        "fraction of the budget."
    )
    yield (
        "The score is the task's own in [0, 1]; an answer that cannot be used is wrong. "
        f"Intervals: percentile bootstrap, {RESAMPLES:,} resamples of users. p: the paired "
        "bootstrap by users, corrected (Holm) over the comparisons of a table."
    )
