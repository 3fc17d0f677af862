"""What a report says about one experiment, its personas and the swap test included."""

from __future__ import annotations

from collections.abc import Iterator

from personaagent.experiments import plots
from personaagent.experiments.analysis import Analysis, Line
from personaagent.experiments.document import Block, Figure, Heading, Items, Paragraph
from personaagent.experiments.formatting import (
    NONE,
    could_have_shown,
    gap,
    p_value,
    protocol_lines,
    signed,
    smallest,
)
from personaagent.experiments.lineup import OURS, SWAPPED
from personaagent.experiments.persona_map import PERMUTATIONS, PersonaMap
from personaagent.experiments.results import Results
from personaagent.experiments.tables import cost_table, main_table
from personaagent.experiments.trace import chosen_traces
from personaagent.table import Table


def section(analysis: Analysis, title: str, answers: Results, *, traces: bool) -> Iterator[Block]:
    """Protocol, main table, figures, costs, comparisons, personas and traces."""
    yield Heading(title)
    yield Items(list(protocol_lines(analysis)))
    if not any(line.n for line in analysis.lines):
        yield Paragraph("Nothing is answered yet.")
        return
    name = analysis.experiment.id[:8]
    yield main_table(analysis)
    yield Paragraph(
        "p-values are corrected (Holm): those against the non-personalized system and the best "
        f"baseline, which is {analysis.best or NONE}, over all of these; those of ablations "
        "against PersonaAgent by themselves. Faint rows are floors: they use no LM. Loss, seconds, "
        "calls and tokens are means a sample; the loss is -ln p of the true answer, in nats, where "
        "likelihoods were read, and 1 minus the score elsewhere."
    )
    yield Figure(f"{name}-quality", plots.quality(analysis), f"{analysis.headline.title} by system")
    if any(line.against_ours for line in analysis.lines):
        yield Figure(
            f"{name}-ablations",
            plots.ablations(analysis),
            f"{analysis.headline.title} of ablations minus that of PersonaAgent as it is",
        )
    yield Heading("Efficiency", 3)
    yield cost_table(analysis)
    yield Figure(
        f"{name}-efficiency",
        plots.efficiency(analysis),
        f"{analysis.headline.title} against seconds a sample",
    )
    if compared := [c for line in analysis.lines for c in _compared(line)]:
        yield Heading("Comparisons", 3)
        columns = ["n", "difference [95 %]", "p", "p (Holm)", "smallest effect"]
        columns += ["loss, nats [95 %]", "p (loss)"]
        yield Table(columns=["System", "against", *columns], rows=compared, right=columns)
    yield from _ahead(analysis)
    yield from likeness(analysis)
    if traces:
        yield Heading("Traces", 3)
        yield from chosen_traces(answers, analysis)


def _compared(line: Line) -> Iterator[list[str]]:
    for one in line.comparisons:
        yield [
            line.system,
            one.other,
            str(one.n),
            gap(one.difference),
            p_value(one.p),
            p_value(one.corrected),
            smallest(one),
            gap(one.loss) if one.loss else NONE,
            p_value(one.loss.p) if one.loss else NONE,
        ]


def _ahead(analysis: Analysis) -> Iterator[Block]:
    """What was paid before the first question."""
    told = [
        f"{line.system}: {line.cost.ahead_seconds:.2f} s and {line.cost.ahead_calls:.1f} calls a "
        "sample (nothing where another system had it written already)"
        for line in analysis.lines
        if line.cost.ahead_calls
    ]
    if personas := analysis.personas:
        count = len(personas)
        told.append(
            f"personas: {count}, each {sum(one.seconds for one in personas) / count:.1f} s, "
            f"{sum(one.calls for one in personas) / count:.0f} calls and "
            f"{sum(one.tokens for one in personas) / count:,.0f} tokens, once a user; "
            f"{sum(one.accepted > 0 for one in personas)} changed in alignment, "
            f"{sum(one.directives for one in personas) / count:.1f} directives each"
        )
    if told:
        yield Heading("Made before the questions", 3)
        yield Items(told)


_NEIGHBOURS = 12  # users whose neighbours are listed


def likeness(analysis: Analysis) -> Iterator[Block]:
    """How alike the users are by persona and by history, and whether a persona is its user's own;
    nothing where neither was looked at."""
    swap, map = swap_test(analysis), analysis.map
    if swap or map:
        yield Heading("Personas", 3)
    if swap:
        yield Paragraph(swap)
    if map:
        yield from _map(analysis, map)


def swap_test(analysis: Analysis) -> str:
    """What the swap test says; empty where it was not done."""
    own, other = analysis.line(OURS), analysis.line(SWAPPED)
    if own is None or other is None or other.against_ours is None:
        return ""
    one, metric = other.against_ours, analysis.headline
    gained = metric.gain(one.difference.value)
    word = "as well as" if gained == 0 else "worse than" if gained < 0 else "better than"
    sure = "significant" if one.corrected < 0.05 else "not significant"
    return (
        "Swap test: under another user's persona, on the user's own memory, the answers are "
        f"{word} under the user's own: {metric.title} "
        f"{other.scores[metric.name].value:.3f} against {own.scores[metric.name].value:.3f}, "
        f"difference {gap(one.difference)}, "
        f"p = {p_value(one.corrected)} corrected, {sure}; {could_have_shown(one)}."
    )


def map_lines(map: PersonaMap) -> Iterator[str]:
    """What the map says, one statement a line."""
    count = len(map.users)
    yield f"personas that differ from one another: {map.distinct}, of {count} users"
    if (found := map.mantel) is None:
        yield "the users are too few or too uniform to compare personas with histories"
        return
    yield (
        "similarity of personas against similarity of histories, over pairs of users: Mantel's r = "
        f"{signed(found.r)}, p = {p_value(found.p)} ({PERMUTATIONS:,} permutations)"
    )
    yield (
        f"the nearest user by persona is also the nearest by history for {map.agreement:.0%} of "
        f"the users (by chance {1 / (count - 1):.0%})"
    )


def _map(analysis: Analysis, map: PersonaMap) -> Iterator[Block]:
    name = analysis.experiment.id[:8]
    yield Items(list(map_lines(map)))
    if map.mantel is None:
        return
    yield Figure(
        f"{name}-map",
        plots.points(map),
        "Users on the two principal components of their rendered personas (left) and of the means "
        "of their histories (right)"
        + ("; colour: the most frequent answer" if any(map.groups) else ""),
    )
    yield Figure(
        f"{name}-similarity",
        plots.matrices(map),
        "Cosines between users, by persona and by history, in the same order of users",
    )
    rows = [
        [user, by_persona, by_history, f"{one:.3f}", f"{other:.3f}"]
        for user, by_persona, one, by_history, other in map.neighbours()[:_NEIGHBOURS]
    ]
    columns = ["User", "nearest by persona", "nearest by history", "cosine", "cosine"]
    yield Table(columns=columns, rows=rows, right=["cosine"])
    if len(map.users) > _NEIGHBOURS:
        yield Paragraph(f"The first {_NEIGHBOURS} of {len(map.users)} users.")
