"""A person's word: what people write into a persona, pin, and let go.

Each is a version of its own in the chain, with its author, published by compare and swap. What is
pinned no alignment changes or drops (see `personaagent.data.pins`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from personaagent.data import Directive, Item, Persona
from personaagent.errors import ConflictError, DataError
from personaagent.optimizers.conversations import persona_of
from personaagent.service.chats import keep_unread
from personaagent.service.publish import publish, same
from personaagent.table import plain

if TYPE_CHECKING:
    from personaagent.data import Task
    from personaagent.memory import Store

LONGEST = 1_000  # characters of a directive or an item
LONGEST_PROFILE = 4_000


def edit(
    store: Store,
    user: str,
    task: Task,
    by: str,
    *,
    profile: str | None = None,
    texts: Mapping[int, str] | None = None,
    add: Sequence[str] = (),
    drop: Sequence[int] = (),
    items: Mapping[int, str] | None = None,
    add_items: Sequence[Item] = (),
    drop_items: Sequence[int] = (),
    pin: bool = True,
    expected: str | None = None,
) -> Persona:
    """Publish what a person changed in a persona as its next version; the champion that it is then.

    A directive that is written anew keeps its cue, an item its kind, topic and reach. What the
    person wrote rests on no interaction.

    Args:
        store: of the persona.
        user: whose persona.
        task: of the persona.
        by: who writes, the author.
        profile: the new profile; an empty one leaves none.
        texts: new texts of directives by number, from 1 on as `show` numbers them.
        add: directives that hold for every query.
        drop: numbers of directives that go, pinned or not.
        items: new texts of items by number, from 1 on as `show` numbers them.
        add_items: items that the person knows.
        drop_items: numbers of items that go.
        pin: whether alignments must keep the directives and the profile that are written here;
            items that a person wrote they always keep.
        expected: the hash of the persona that the person saw, by default the champion's.

    Raises:
        DataError: there is no such directive or item, a text is empty or too long, or an item is
            to be written but not kept.
        ConflictError: the persona has changed since the person saw it; nothing was changed.
    """
    texts, items = texts or {}, items or {}
    if not pin and (items or add_items):
        raise DataError("an item that a person wrote always stays: write it without --no-pin")

    def edited(persona: Persona) -> dict[str, Any]:
        _numbered(persona, [*texts, *drop])
        _numbered(persona, [*items, *drop_items], "item")
        directives = [
            replace(
                one, text=_line(texts[at], LONGEST), support=(), oppose=(), author=by, pinned=pin
            )
            if at in texts
            else one
            for at, one in enumerate(persona.directives, 1)
            if at not in drop
        ]
        directives += [Directive(_line(one, LONGEST), author=by, pinned=pin) for one in add]
        names = [(one.cue, one.text) for one in directives]
        if twice := [text for cue, text in names if names.count((cue, text)) > 1]:
            raise DataError(f"the persona would say twice: {twice[0]}")
        notes = [
            _written(one, items[at], by) if at in items else one
            for at, one in enumerate(persona.items, 1)
            if at not in drop_items
        ]
        notes += [_written(one, one.text, by) for one in add_items]
        keys = [one.key for one in notes]
        if twice := [one.text for one in notes if keys.count(one.key) > 1]:
            raise DataError(f"the persona would say twice: {twice[0]}")
        changes: dict[str, Any] = {"directives": tuple(directives), "items": tuple(notes)}
        if profile is not None:
            text = _line(profile, LONGEST_PROFILE) if profile.strip() else ""
            changes |= {"profile": text, "profile_author": by, "profile_pinned": pin}
        return changes

    return _publish(store, user, task, edited, f"edited by {by}", expected)


def set_pins(
    store: Store,
    user: str,
    task: Task,
    by: str,
    *,
    directives: Sequence[int] = (),
    profile: bool = False,
    pinned: bool = True,
    expected: str | None = None,
) -> Persona:
    """Pin directives, and the profile, or let them go; arguments and errors are as of `edit`."""

    def changed(persona: Persona) -> dict[str, Any]:
        _numbered(persona, directives)
        changes: dict[str, Any] = {
            "directives": tuple(
                replace(one, pinned=pinned) if at in directives else one
                for at, one in enumerate(persona.directives, 1)
            )
        }
        return changes | ({"profile_pinned": pinned} if profile else {})

    did = "pinned" if pinned else "unpinned"
    return _publish(store, user, task, changed, f"{did} by {by}", expected)


def _publish(
    store: Store,
    user: str,
    task: Task,
    change: Callable[[Persona], dict[str, Any]],
    reason: str,
    expected: str | None,
) -> Persona:
    memory = store.of(user)
    champion = memory.persona(task.name)
    if expected is not None and (champion is None or champion.hash != expected):
        raise ConflictError(
            f"the persona of user '{memory.user}' has changed since you saw it: look at it again, "
            "and decide then"
        )
    then = None
    if task.conversational:
        then = keep_unread(store, user, task)
        before = champion or persona_of(None, memory.user, task)
    else:
        before = champion or Persona(memory.user, task.name)
    after = replace(before, **change(before))
    if champion is not None and same(champion, after):
        return champion
    return publish(store, after, champion, reason, then)


def _written(item: Item, text: str, by: str) -> Item:
    """The item as a person wrote it."""
    return replace(item, text=_line(text, LONGEST), support=(), oppose=(), last=None, author=by)


def _numbered(persona: Persona, numbers: Sequence[int], noun: str = "directive") -> None:
    count = len(persona.items if noun == "item" else persona.directives)
    for number in numbers:
        if not 1 <= number <= count:
            there = f"there are 1 to {count}" if count else "it has none"
            raise DataError(
                f"the persona has no {noun} {number}: {there}; 'personaagent show --user "
                f"{persona.user}' numbers them"
            )


def _line(text: str, longest: int) -> str:
    """The text on one line, as a prompt takes it.

    Raises:
        DataError: nothing is left, or it is too long.
    """
    line = " ".join(plain(text).split())
    if not line:
        raise DataError("an empty text: write one, or drop what it is to replace")
    if len(line) > longest:
        raise DataError(f"a text of {len(line):,} characters: {longest:,} are the most")
    return line
