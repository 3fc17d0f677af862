"""The part of a report about personas: how alike they are, and the swap test."""

from __future__ import annotations

from collections.abc import Iterator

from personaagent.evaluation import map_plots
from personaagent.evaluation.analysis import Analysis
from personaagent.evaluation.document import Block, Figure, Heading, Items, Paragraph, Table
from personaagent.evaluation.lineup import OURS, SWAPPED
from personaagent.evaluation.persona_map import PERMUTATIONS, PersonaMap
from personaagent.evaluation.wording import could_have_shown, gap, p_value, signed

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
        map_plots.points(map),
        "Users on the two principal components of their rendered personas (left) and of the means "
        "of their histories (right)"
        + ("; colour: the most frequent answer" if any(map.groups) else ""),
    )
    yield Figure(
        f"{name}-similarity",
        map_plots.matrices(map),
        "Cosines between users, by persona and by history, in the same order of users",
    )
    rows = [
        [user, by_persona, f"{one:.3f}", by_history, f"{other:.3f}"]
        for user, by_persona, one, by_history, other in map.neighbours()[:_NEIGHBOURS]
    ]
    yield Table(
        ["User", "nearest by persona", "nearest by history", "cosine", "cosine"],
        [[user, one, other, a, b] for user, one, a, other, b in rows],
        left=3,
    )
    if len(map.users) > _NEIGHBOURS:
        yield Paragraph(f"The first {_NEIGHBOURS} of {len(map.users)} users.")
