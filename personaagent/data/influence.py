"""How much of what is learned, recalled and voted may come from one place: repetitions, one source,
one day, the past.

Pure functions on interactions of one user.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, time

import numpy as np
from numpy.typing import NDArray

from personaagent.data.interaction import Interaction

PER_SOURCE = 1 / 2  # of a history that one source may be, where there are several
PER_DAY = 1 / 3  # of a history that one day may be
LEAST = 8  # interactions that a source or a day may always have
WITNESSES = 2  # days or sources that must speak for what contradicts older evidence
RECALLED = 1 / 8  # of what is recalled that one day may be where others are about as near
NEAR = 2 / 3  # of its score that is left to what is beyond its share, where 0 is unrelated
NOWHERE = int(np.iinfo(np.int64).min)  # the day or the source of what has none


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
    groups = _grouped(interactions, said_alike)
    return [
        _with_weight(one, strength([other.weight for other in group]))
        for one in interactions
        if (group := groups[said_alike(one)])[-1] is one
    ]


def weighed(
    interactions: Sequence[Interaction], factor: Callable[[Interaction], float]
) -> list[Interaction]:
    """The same interactions, each with the weight that its vote has.

    That is its own times `factor`; repetitions share their `strength`.
    """
    scaled = [_with_weight(one, one.weight * factor(one)) for one in interactions]
    groups = _grouped(scaled, said_alike)
    shares = {
        key: strength(weights) / math.fsum(weights)
        for key, group in groups.items()
        if (weights := [one.weight for one in group])[1:]
    }
    return [_with_weight(one, one.weight * shares.get(said_alike(one), 1.0)) for one in scaled]


def faded(later: int, half_life: float) -> float:
    """What is left of the weight of an interaction from before a change, after `later`
    interactions that followed the change; halved by every `half_life` of them."""
    return float(2.0 ** (-later / half_life))


def capped(interactions: Sequence[Interaction], *, least: int = LEAST) -> list[Interaction]:
    """The interactions thinned out so that no source and no day makes up more than its share.

    Of a source or a day that has too many, evenly spaced ones stay. The user's own acts
    ("user") are no source to be capped; a single source or day has nobody to crowd out. A midnight
    names a date or a year: what its day is, is not known.

    Args:
        interactions: oldest first; so is the result.
        least: what a source or a day may have whatever its share.
    """
    rest = _thinned(interactions, _day, max(least, PER_DAY * len(interactions)))
    return _thinned(rest, _source, max(least, PER_SOURCE * len(rest)))


def measured(interactions: Sequence[Interaction]) -> list[Interaction]:
    """What takes part in an alignment: repetitions once, no source and no day beyond its share."""
    return capped(consolidated(interactions))


def by_day(interactions: Sequence[Interaction]) -> list[list[Interaction]]:
    """The interactions of each day together, those of an unknown moment each on its own."""
    return list(_grouped(interactions, lambda one: _day(one) or one.id).values())


def latest_first(interactions: Sequence[Interaction], most: int) -> list[Interaction]:
    """The interactions, newest first; what a day has beyond its latest `most` comes after all else.

    Args:
        interactions: oldest first.
        most: of one day.
    """
    surplus = {one.id for day in by_day(interactions) for one in day[: max(0, len(day) - most)]}
    newest = interactions[::-1]
    return sorted(newest, key=lambda one: one.id in surplus)


def corroborated(interactions: Iterable[Interaction], response: str) -> bool:
    """Whether a rule that answers `response` to all of these may be believed.

    Where older ones speak against the rule, those that speak for it must come from at least two
    days or two sources, and without the most of one day (or of one source) be no fewer than the
    older ones: one bad day, or one bad source, does not overturn what was known.
    """
    everything = list(interactions)
    support = [one for one in everything if one.response == response]
    latest = max((one.time for one in support if one.time), default=None)
    older = sum(
        one.response != response and one.time is not None and one.time < latest
        for one in everything
        if latest
    )
    if not older:
        return True
    dates = {one.time.astimezone(UTC).date() for one in support if one.time}
    sources = Counter(one.source for one in support)
    if max(len(dates), len(sources)) < WITNESSES:
        return False
    days = Counter(day for one in support if (day := _day(one)))
    most = min(max(days.values(), default=0), max(sources.values()))
    return len(support) - most >= older


def crowding(days: NDArray[np.int64], sources: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Which memories of a ranking [n], best first, are beyond their day's or source's share of k.

    The first of a source is never, nor the first of a day, unless several of that day are more than
    a third of the best k.

    Args:
        days: [n], a number for each day, or `NOWHERE`.
        sources: [n], likewise.
        k: how many are to be recalled.
    """
    near, times = np.unique(days[:k], return_counts=True)
    flooding = near[(times > max(1, PER_DAY * k)) & (near != NOWHERE)]
    beyond = _beyond(days, int(RECALLED * k)) | _beyond(sources, int(PER_SOURCE * k))
    return beyond | np.isin(days, flooding)


def spread(scores: NDArray[np.float64], crowd: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """The places of the k to recall of a ranking, in its order.

    What crowds keeps two thirds of its score. So it gives way to others that are about as near,
    and to no others: a subject that came up on one day only is still recalled.

    Args:
        scores: [n], falling; 0 is unrelated.
        crowd: [n], see `crowding`.
        k: how many, at most n.
    """
    less = scores - np.where(crowd, (1 - NEAR) * np.abs(scores), 0.0)
    return np.sort(np.argsort(-less, kind="stable")[:k])


def balanced(votes: Sequence[float], interactions: Sequence[Interaction]) -> list[float]:
    """The votes, those of one day or source for one answer lowered to their share of all.

    They are lowered only where they contradict older votes that weigh as much as one of them. One
    vote always counts. Where the moments are not known, it is not known either what is older.

    Args:
        votes: how much each interaction's response is spoken for, above 0.
        interactions: whose votes they are.
    """
    fair = _balanced(votes, interactions, _day, PER_DAY)
    return _balanced(fair, interactions, lambda one: _day(one) and _source(one), PER_SOURCE)


def said_alike(one: Interaction) -> Hashable:
    """The same for repetitions of one interaction, but for case and white space."""
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


def _day(one: Interaction) -> date | None:
    moment = one.time.astimezone(UTC) if one.time else None
    return moment.date() if moment and moment.time() != time() else None


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


def _beyond(origins: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Which are not among the first `most` of their origin."""
    order = np.argsort(origins, kind="stable")
    ordered = origins[order]
    place = np.empty(len(origins), dtype=np.int64)
    place[order] = np.arange(len(origins)) - np.searchsorted(ordered, ordered)
    beyond: NDArray[np.bool_] = (place >= max(1, most)) & (origins != NOWHERE)
    return beyond


def _balanced(
    votes: Sequence[float],
    interactions: Sequence[Interaction],
    key: Callable[[Interaction], Hashable],
    share: float,
) -> list[float]:
    fair = list(votes)
    origins = [key(one) for one in interactions]
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for at, one in enumerate(interactions):
        if origins[at] is not None:
            groups[origins[at], one.response].append(at)
    total = math.fsum(votes)
    for places in groups.values():
        one = interactions[places[0]]
        most, together = max(votes[at] for at in places), math.fsum(votes[at] for at in places)
        limit = max(most, (total - together) * share / (1 - share))
        if together <= limit:
            continue
        since = min(other.time for at in places if (other := interactions[at]).time)
        older = math.fsum(
            vote
            for vote, other, origin in zip(votes, interactions, origins, strict=True)
            if other.response != one.response
            and origin != origins[places[0]]
            and (other.time is None or other.time < since)
        )
        if older >= most:
            for at in places:
                fair[at] *= limit / together
    return fair
