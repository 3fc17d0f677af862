"""Directives put together: merged from any number of sides, resolved where they contradict.

`merge` only ever joins, so writers and devices may merge in any order and as often as they like.
`resolve` throws away, so it comes once, after everything was merged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from personaagent.data.persona import Directive


def merge(*sides: Iterable[Directive]) -> tuple[Directive, ...]:
    """The directives of all sides, ordered by cue and text.

    Those with the same cue and text are one: the evidence of all of them, and the narrowest reach.
    Commutative, associative and idempotent.
    """
    merged: dict[tuple[str, str], Directive] = {}
    for one in (directive for side in sides for directive in side):
        known = merged.setdefault((one.cue, one.text), one)
        merged[one.cue, one.text] = replace(
            one,
            reach=max(one.reach, known.reach),
            support=_union(one.support, known.support),
            oppose=_union(one.oppose, known.oppose),
        )
    return tuple(merged[name] for name in sorted(merged))


def resolve(
    directives: Iterable[Directive], *, cap: int, order: Sequence[str] = ()
) -> tuple[Directive, ...]:
    """The best supported directives, no two of which contradict each other, ordered as by `merge`.

    What has more for than against it stands before what has less; of equals the one with the
    latest support, then the one with the lower SHA-256 of its content.

    Args:
        directives: in any order.
        cap: how many are kept at most.
        order: ids of interactions, oldest first; others count as older than these.
    """
    place = {id: number for number, id in enumerate(order)}

    def rank(one: Directive) -> tuple[int, int, str]:
        latest = max((place.get(id, -1) for id in one.support), default=-1)
        name = hashlib.sha256(f"{one.cue}\n{one.text}".encode(errors="surrogatepass")).hexdigest()
        return -net(one), -latest, name

    kept: list[Directive] = []
    for one in sorted(merge(directives), key=rank):
        if len(kept) < cap and not any(contradict(one, better) for better in kept):
            kept.append(one)
    return merge(kept)


def net(directive: Directive) -> int:
    """How many interactions more speak for a directive than against it."""
    return len(directive.support) - len(directive.oppose)


def contradict(one: Directive, other: Directive) -> bool:
    """Whether two directives answer the same queries differently.

    The same queries: they have the same cue, or of the interactions that they speak to most are the
    same ones. A narrow directive inside the reach of a wide one is its exception, which the better
    fit of its cue decides. Without cues nobody but an LM could tell.
    """
    if not (one.cue and other.cue) or _answer(one) == _answer(other):
        return False
    if one.cue.casefold() == other.cue.casefold():
        return True
    mine, theirs = ({*each.support, *each.oppose} for each in (one, other))
    return 2 * len(mine & theirs) > len(mine | theirs)


def _answer(directive: Directive) -> str:
    """What is left of a directive without its cue: equal where the answers are equal."""
    return directive.text.replace(directive.cue, "")


def _union(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))
