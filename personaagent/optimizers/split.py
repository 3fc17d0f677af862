"""Which interactions write a persona, and which judge it: never the same."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from math import ceil

from personaagent.data import Interaction, Persona
from personaagent.data.influence import PER_DAY, by_day
from personaagent.data.style import EXAMPLE


def evidence_of(persona: Persona) -> frozenset[str]:
    """The ids of the interactions that wrote a persona.

    A habit of writing is counted over all texts, and none of them wrote it; an example is one's own
    words.
    """
    items = (one for one in persona.items if one.kind != "style" or one.topic == EXAMPLE)
    sides = [
        *((one.support, one.oppose) for one in persona.directives),
        *((one.support, one.oppose) for one in items),
    ]
    return frozenset(id for side in sides for ids in side for id in ids)


def split(
    trainset: Sequence[Interaction],
    valset: Sequence[Interaction] | None,
    *,
    evidence: Collection[str],
    judges: int,
    writers: int,
    seed: int,
) -> tuple[list[Interaction], list[Interaction]]:
    """Writing and judging interactions, both oldest first; what judges a persona never wrote it.

    Each answer judges about as often as the user gives it, so that no habit is left without a
    judge. A day either writes or judges, as far as there are days enough: else what one day says
    would be confirmed by the same day. No day is more than a third of the judges.

    Args:
        trainset: all interactions, oldest first.
        valset: the judging ones, where they are given; they do not write.
        evidence: ids of what wrote the persona that is aligned; they do not judge.
        judges: how many judge at most; never more than a third.
        writers: how many of the latest write at most.
        seed: of the draw.
    """
    if valset is not None:
        named = {one.id for one in valset}
        return [one for one in trainset if one.id not in named][-writers:], list(valset)
    latest = trainset[-(writers + judges) :]
    free = [one for one in latest if one.id not in evidence]
    count = min(judges, len(latest) // 3, len(free))
    days = _drawn(free, count, random.Random(seed))
    drawn: set[str] = set()
    for day in days:
        if len(day) <= max(1, PER_DAY * count) and len(drawn) + len(day) <= count:
            drawn |= {one.id for one in day}
    others = [one.id for day in days for one in day if one.id not in drawn]
    drawn |= set(others[: count - len(drawn)])
    return (
        [one for one in latest if one.id not in drawn],
        [one for one in latest if one.id in drawn],
    )


def lend(
    writing: Sequence[Interaction], champion: Persona, judges: int, seed: int
) -> tuple[list[Interaction], list[Interaction]]:
    """The writing interactions that write in one step, and those that judge it instead.

    The judging interactions are few, and a directive applies to few of them or to none. So others
    are lent to them in every step (cross-fitting). Over the steps nearly all of a history judges.
    No interaction judges a directive that it wrote, of a candidate or of the champion.

    A profile does not name the interactions that it was written from. The first profile is in every
    candidate and in the champion, so it favours neither. A rewritten one was written from
    interactions that now judge it as part of the champion: if that favours anybody, the champion.
    """
    wrote = evidence_of(champion)
    return split(writing, None, evidence=wrote, judges=judges, writers=len(writing), seed=seed)


def _drawn(free: Sequence[Interaction], count: int, dice: random.Random) -> list[list[Interaction]]:
    """The days in random order, those of the first `count` interactions with answers as mixed as
    those of all: a systematic sample of the days ordered by answer."""
    days = by_day(free)
    dice.shuffle(days)
    days.sort(key=lambda day: day[0].response)
    wanted, begin = ceil(count * len(days) / max(1, len(free))), dice.random()
    places = {int((begin + n) * len(days) / wanted) for n in range(wanted)}
    first = [day for at, day in enumerate(days) if at in places]
    others = [day for at, day in enumerate(days) if at not in places]
    dice.shuffle(first)
    dice.shuffle(others)
    return [*first, *others]
