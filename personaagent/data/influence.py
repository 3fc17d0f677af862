"""How much of what is learned may come from one place: repetitions, one source, one day, the past.

Pure functions on interactions of one user.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, time

from personaagent.data.interaction import Interaction

PER_SOURCE = 1 / 2  # of a history that one source may be, where there are several
PER_DAY = 1 / 3  # of a history that one day may be
LEAST = 8  # interactions that a source or a day may always have
WITNESSES = 2  # days or sources that must speak for what contradicts older evidence


def strength(weights: Sequence[float]) -> float:
    """What repetitions of one interaction weigh together: w (1 + ln n) for n of weight w.

    One weighs what it weighs; every further one adds, and each less than the one before.
    """
    most = max(weights)
    return most * (1 + math.log(math.fsum(weights) / most))


def consolidated(interactions: Sequence[Interaction]) -> list[Interaction]:
    """Repetitions merged into the latest of them, which gets their `strength`.

    The same task, query and response are a repetition, but for case and white space. Repetition
    strengthens; it does not multiply.

    Args:
        interactions: oldest first; so is the result.
    """
    groups = _grouped(interactions, _said)
    return [
        _with_weight(one, strength([other.weight for other in group]))
        for one in interactions
        if (group := groups[_said(one)])[-1] is one
    ]


def weighed(
    interactions: Sequence[Interaction], factor: Callable[[Interaction], float]
) -> list[Interaction]:
    """The same interactions, each with the weight that its vote has.

    That is its own times `factor`; repetitions share their `strength`.
    """
    scaled = [_with_weight(one, one.weight * factor(one)) for one in interactions]
    groups = _grouped(scaled, _said)
    shares = {
        key: strength(weights) / math.fsum(weights)
        for key, group in groups.items()
        if (weights := [one.weight for one in group])[1:]
    }
    return [_with_weight(one, one.weight * shares.get(_said(one), 1.0)) for one in scaled]


def faded(later: int, half_life: float) -> float:
    """What is left of the weight of an interaction from before a change, after `later`
    interactions that followed the change; halved by every `half_life` of them."""
    return float(2.0 ** (-later / half_life))


def capped(
    interactions: Sequence[Interaction],
    *,
    per_source: float = PER_SOURCE,
    per_day: float = PER_DAY,
    least: int = LEAST,
) -> list[Interaction]:
    """The interactions thinned out so that no source and no day makes up more than its share.

    Of a source or a day that has too many, evenly spaced ones stay. The user's own acts
    ("user") are no source to be capped; a single source or day has nobody to crowd out. Where all
    times are midnights they name dates or years, and what a day is, is not known.

    Args:
        interactions: oldest first; so is the result.
        per_source: the share of all that a source may be, in (0, 1].
        per_day: the share of all that a day (in UTC) may be, in (0, 1].
        least: what a source or a day may have whatever its share.
    """
    rest = _thinned(interactions, _day_of(interactions), max(least, per_day * len(interactions)))
    return _thinned(rest, _source, max(least, per_source * len(rest)))


def measured(interactions: Sequence[Interaction]) -> list[Interaction]:
    """What takes part in an alignment: repetitions once, no source and no day beyond its share."""
    return capped(consolidated(interactions))


def corroborated(interactions: Iterable[Interaction], response: str) -> bool:
    """Whether a rule that answers `response` to all of these may be believed.

    Where an older one speaks against the rule, those that speak for it must come from at least two
    days or two sources: one bad day, or one bad source, does not overturn what was known.
    """
    everything = list(interactions)
    support = [one for one in everything if one.response == response]
    latest = max((one.time for one in support if one.time), default=None)
    older = latest is not None and any(
        one.response != response and one.time is not None and one.time < latest
        for one in everything
    )
    if not older:
        return True
    days = {one.time.astimezone(UTC).date() for one in support if one.time}
    return max(len(days), len({one.source for one in support})) >= WITNESSES


def _said(one: Interaction) -> Hashable:
    query, response = (" ".join(text.casefold().split()) for text in (one.query, one.response))
    return one.user, one.task, query, response


def _with_weight(one: Interaction, weight: float) -> Interaction:
    return one if weight == one.weight else replace(one, weight=weight)


def _grouped(
    interactions: Iterable[Interaction], key: Callable[[Interaction], Hashable]
) -> dict[Hashable, list[Interaction]]:
    groups: dict[Hashable, list[Interaction]] = defaultdict(list)
    for one in interactions:
        groups[key(one)].append(one)
    return groups


def _source(one: Interaction) -> str | None:
    return None if one.source == "user" else one.source


def _day_of(interactions: Iterable[Interaction]) -> Callable[[Interaction], date | None]:
    moments = [one.time.astimezone(UTC) for one in interactions if one.time]
    known = any(moment.time() != time() for moment in moments)
    return lambda one: one.time.astimezone(UTC).date() if known and one.time else None


def _thinned(
    interactions: Sequence[Interaction],
    key: Callable[[Interaction], Hashable],
    limit: float,
) -> list[Interaction]:
    """At most `limit` of each group that is not None, where there is another group."""
    groups = _grouped(interactions, key)
    most = int(limit)
    if len(groups) < 2 or all(len(group) <= most for group in groups.values()):
        return list(interactions)
    kept: set[int] = set()
    for group, members in groups.items():
        step = 1.0 if group is None else max(1.0, len(members) / most)
        kept |= {id(members[int(n * step)]) for n in range(int(len(members) / step + 1e-9))}
    return [one for one in interactions if id(one) in kept]
