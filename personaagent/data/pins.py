"""What a person pinned, put back into whatever an alignment makes of a persona.

A person's word outranks replay. Every way in which an alignment proposes a persona, or returns to
an earlier one, passes through `keeping`: nothing that a person pinned is changed or missing then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from personaagent.data.persona import Directive, Persona, contradict


def keeping(champion: Persona, persona: Persona) -> Persona:
    """The persona with everything that is pinned in the champion, and the items that a person
    wrote, exactly as they stand there.

    A pinned directive takes the place of one with the same text; what contradicts it goes. The
    persona itself where nothing of it is to change.

    Args:
        champion: the persona that people see, and that they pinned parts of.
        persona: what would take its place.
    """
    changes: dict[str, Any] = {}
    if pinned := tuple(one for one in champion.directives if one.pinned):
        changes["directives"] = _with(pinned, persona.directives)
    own = {one.key: one for one in champion.items if one.own}
    if not own.items() <= {one.key: one for one in persona.items}.items():
        items = tuple(own.pop(one.key, one) for one in persona.items)
        changes["items"] = (*items, *own.values())
    if champion.profile_pinned:
        for name in ("profile", "profile_author", "profile_pinned", "whole"):
            changes[name] = getattr(champion, name)
    return replace(persona, **changes) if changes else persona


def news(champion: Persona, personas: Iterable[Persona]) -> list[Persona]:
    """The personas with what is pinned in the champion; without those that then say no more than
    it, or what one before them says."""
    found, seen = [], {_said(champion)}
    for persona in personas:
        kept = keeping(champion, persona)
        if kept != persona and _said(kept) in seen:
            continue
        seen.add(_said(kept))
        found.append(kept)
    return found


def barest(persona: Persona) -> dict[str, Any]:
    """Profile, items and directives of the least that an alignment may leave: what is pinned, and
    the items that a person wrote."""
    return {
        "profile": persona.profile if persona.profile_pinned else "",
        "whole": persona.whole and persona.profile_pinned,
        "items": tuple(one for one in persona.items if one.own),
        "directives": tuple(one for one in persona.directives if one.pinned),
    }


def _said(persona: Persona) -> tuple[object, ...]:
    said = tuple((one.text, one.cue, one.reach) for one in persona.directives)
    items = tuple(one.key for one in persona.items)
    return (
        persona.profile,
        persona.whole,
        items,
        persona.words,
        said,
        persona.actions,
        persona.trust,
    )


def _with(pinned: tuple[Directive, ...], directives: Iterable[Directive]) -> tuple[Directive, ...]:
    """The directives in their order, the pinned ones among them; those that were missing at the
    end."""
    by_name = {(one.cue, one.text): one for one in pinned}
    kept: list[Directive] = []
    for one in directives:
        held = by_name.pop((one.cue, one.text), None)
        if held is not None:
            kept.append(held)
        elif not any(contradict(one, other) for other in pinned):
            kept.append(one)
    return (*kept, *by_name.values())
