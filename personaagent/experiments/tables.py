"""The tables of an experiment, for its report and for the terminal."""

from __future__ import annotations

from personaagent.experiments.analysis import Analysis
from personaagent.experiments.curves import Curve
from personaagent.experiments.formatting import (
    NONE,
    headline,
    interval,
    mean_loss,
    named,
    p_value,
)
from personaagent.table import Table

_RAG = "rag"  # what a personal answer costs as a rule: the others are put in proportion to it
_PLAIN, _BEST, _OURS = "p vs non-pers.", "p vs best", "p vs PersonaAgent"


def main_table(analysis: Analysis) -> Table:
    """How good every system is, what the tests say, and what an answer takes."""
    lines = analysis.lines
    scores = [f"{one.title} [95 %]" for one in analysis.metrics]
    ours = [_OURS] if any(line.against_ours for line in lines) else []
    tests = [_PLAIN, _BEST, *ours]
    numbers = ["n", "failed", *scores, "loss", *tests, "seconds", "calls", "tokens"]
    rows = []
    for line in lines:
        cost = line.cost
        tokens = cost.input_tokens + cost.output_tokens
        spent = [f"{cost.seconds:.2f}", f"{cost.calls:.1f}", f"{tokens:,.0f}"]
        compared = (line.against_plain, line.against_best, line.against_ours)[: len(tests)]
        rows.append(
            [
                named(line),
                str(line.n),
                str(line.failed),
                *(interval(line.scores.get(one.name)) for one in analysis.metrics),
                mean_loss(line),
                *(p_value(one.corrected) if one else NONE for one in compared),
                *(spent if line.n else [NONE] * 3),
            ]
        )
    failed = ["failed"] if any(line.failed for line in lines) else []
    short = {_PLAIN: "p vs plain", _OURS: "p vs ours"}
    shown = ["n", *failed, scores[0], *tests, "seconds", "calls", "tokens"]
    return Table(
        columns=["System", *numbers],
        rows=rows,
        right=numbers,
        strong=[at for at, line in enumerate(lines) if line.n and line.system == _top(analysis)],
        faint=_floors(analysis),
        terminal={"System": "system"} | {name: short.get(name, name) for name in shown},
    )


def cost_table(analysis: Analysis) -> Table:
    """What an answer costs, beside its quality."""
    lines = [line for line in analysis.lines if line.n]
    metric = analysis.headline
    reference = analysis.line(_RAG) or analysis.line(analysis.best or "")
    paid = any(line.cost.money for line in lines)
    numbers = [metric.title, "seconds [95 %]", "median"]
    numbers += [f"{reference.system} = 1"] if reference else []
    numbers += ["calls", "tokens in", "cached", "out"] + (["$ per 1,000"] if paid else [])
    rows = []
    for line in lines:
        cost = line.cost
        tokens = (cost.input_tokens, cost.cached_tokens, cost.output_tokens)
        row = [
            named(line),
            f"{line.scores[metric.name].value:.3f}",
            interval(line.seconds),
            f"{cost.median:.3f}",
        ]
        if reference:
            row.append(f"{cost.seconds / max(reference.cost.seconds, 1e-9):.2f}")
        row += [f"{cost.calls:.1f}", *(f"{one:,.0f}" for one in tokens)]
        rows.append(row + ([f"{1_000 * cost.money:.2f}"] if paid else []))
    failed = [f"{line.system} {line.failed}" for line in analysis.lines if line.failed]
    return Table(
        columns=["System", *numbers],
        rows=rows,
        right=numbers,
        faint=[at for at, line in enumerate(lines) if line.role == "floor"],
        note=f"Failed samples: {', '.join(failed)}." if failed else "",
    )


def curve_table(curve: Curve) -> Table:
    """Every system's score by the number that was varied."""
    numbers = [f"{value:g}" for value in curve.values]
    points = list(curve.points.values())
    rows = [[system, *(headline(at, system) for at in points)] for system in curve.systems]
    return Table(columns=["System", *numbers], rows=rows, right=numbers)


def _top(analysis: Analysis) -> str:
    name, gain = analysis.headline.name, analysis.headline.gain
    answered = [line for line in analysis.lines if line.n and line.role != "ablation"]
    if not answered:
        return ""
    return max(answered, key=lambda line: gain(line.scores[name].value)).system


def _floors(analysis: Analysis) -> list[int]:
    return [at for at, line in enumerate(analysis.lines) if line.role == "floor"]
