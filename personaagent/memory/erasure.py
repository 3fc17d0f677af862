"""Erasure: interactions leave the database, and so does everything that was derived from them.

One transaction deletes the rows and their vectors, the journals and whatever else was derived for
the user, lays tombstones, empties every persona that rests on an erased interaction, and publishes
the champion without what it owed to them; a job in the queue derives the rest again. What lies
outside the database is written down to be
deleted (`unfinished`, `exports.doomed`): see `personaagent.privacy.forgetting`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from personaagent.data import Interaction, Persona
from personaagent.data import items as noted
from personaagent.errors import DataError
from personaagent.memory import changes, encoding, quarantine, queue, tombstones
from personaagent.memory.chain import ERASED, Chain
from personaagent.memory.schema import (
    branches,
    evidence,
    exports,
    interactions,
    metadata,
    personas,
    unfinished,
)
from personaagent.memory.store import Store

LEAST = 2  # interactions that must speak for a directive, as when it was proposed
_OWN = 2  # items from which on a word is the writer's own
_IDS_AT_ONCE = 10_000
# Every other table with a user is derived from interactions and is dropped whole, so that a table
# that is added later cannot be forgotten here.
_NOT_DERIVED = {
    "interactions", "quarantine", "personas", "champions", "evidence", "branches", "merges",
    "exports", "unfinished", "alignments", "workfiles", "preferences", "keys", "changed",
}  # fmt: skip
_KEPT = {"exports", "unfinished", "workfiles"}  # needed until the places outside are clean


class UnknownInteraction(DataError):
    """The user has no interaction of an id that was to be erased: nothing was.

    Attributes:
        id: the first of those.
    """

    def __init__(self, user: str, id: str) -> None:
        super().__init__(
            f"user '{user}' has no interaction '{id}': nothing was erased; "
            f"'personaagent interactions --user {user}' lists the ids"
        )
        self.id = id


@dataclass(frozen=True, slots=True)
class Erased:
    """What one erasure deleted, by hashes and counts.

    Attributes:
        interactions: the hashes of their users and ids, those of quarantined ones among them.
        vectors: how many.
        personas: the hashes of the versions that were emptied, or deleted with their user.
        published: the hashes of the versions that took the place of the champions.
        derived: rows by table.
    """

    interactions: tuple[str, ...]
    vectors: int
    personas: tuple[str, ...]
    published: tuple[str, ...]
    derived: dict[str, int]


def erase(
    store: Store,
    user: str,
    *,
    ids: Collection[str] = (),
    source: str | None = None,
    everything: bool = False,
) -> Erased:
    """Erase interactions of a user from the database, and what was derived from them.

    Args:
        store: the database.
        user: whose interactions.
        ids: those of these ids; one that was erased before is no error.
        source: those of this source.
        everything: all of them, and everything else that is known of the user.

    Raises:
        DataError: an id is unknown, or the selection is empty.
    """
    if not (ids or source is not None or everything):
        raise DataError(f"nothing of user '{user}' selected: give ids, a source, or everything")
    memory = store.of(user)
    user = memory.user
    now = encoding.microseconds(store.now())
    with store.database.write() as connection:
        gone = _selected(connection, memory.user, ids, source, everything)
        named = {*ids, *(one.id for one in gone)}
        aside = {
            one.interaction.id
            for one in quarantine.all_of(connection, user)
            if everything or one.interaction.source == source or one.interaction.id in named
        }
        if source is None and not everything:
            _refuse_unknown(connection, user, named - {*aside, *(one.id for one in gone)})
        quarantine.remove(connection, user, aside)
        # Where another interaction has the id in memory, that one stays.
        others = {one.id for one in _selected(connection, user, aside - named, None, False)}
        erased = [*(one.id for one in gone), *sorted(aside - others - {one.id for one in gone})]
        digests = [tombstones.digest_of(user, id) for id in erased]
        tombstones.lay(connection, user, tombstones.INTERACTION, digests, now)
        vectors = _delete(connection, user, gone)
        emptied: list[str] = []
        published: list[str] = []
        renewed: list[str] = []
        tasks = sa.select(personas.c.task).where(_of(personas, user)).distinct()
        for task in connection.scalars(tasks).all():
            chain = Chain(store.database, store.now, user, task)
            some, new = _clean(connection, chain, gone, everything)
            emptied += some
            published += new
            renewed += [task] if new else []
        tombstones.lay(connection, user, tombstones.PERSONA, emptied, 0)  # never restored
        if not everything:
            changes.note_loss(store.database, connection, user, (one.task for one in gone))
        derived = {}
        if gone or everything:
            derived = drop_derived(connection, user, everything=everything)
        if gone or aside or everything:
            note_outside(store, connection, user, None if everything else emptied)
        for task in renewed:
            queue.add(store, connection, user, task, "erasure")
    return Erased(tuple(digests), vectors, tuple(emptied), tuple(published), derived)


def without(
    persona: Persona,
    gone: Sequence[Interaction],
    kept: Mapping[str, Interaction],
    unsaid: Collection[str] = (),
    rest: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of a persona that no longer owes anything to some interactions.

    The profile is a summary and goes whole; the next alignment writes it again. A directive loses
    its erased evidence, and stays if enough speaks for it and if every word of its cue that stands
    in an erased interaction also stands in one that still speaks for it. One without a cue is free
    text, which may quote, and goes with its evidence. An item stays if something still speaks for
    it and it has no word that only erased interactions have.

    What a person wrote was not learned from anything, and stays, pinned or not, unless a word of it
    stands in an erased interaction and in nothing that is left of the user: erasure outranks it.

    Args:
        persona: that rests on them.
        gone: the erased interactions.
        kept: by id, the interactions that it cites and that remain.
        unsaid: words that stand in erased interactions, and in none that remain.
        rest: the words of all that is left of the user.
    """
    ids = {one.id for one in gone}
    words = _words(gone)

    def free(text: str) -> bool:
        return not (_words_of(text) & words) - set(rest)

    directives = []
    for one in persona.directives:
        support, oppose = (
            [id for id in side if id not in ids] for side in (one.support, one.oppose)
        )
        if one.author:
            if free(f"{one.text} {one.cue}"):
                directives.append(replace(one, support=tuple(support), oppose=tuple(oppose)))
            continue
        lost = len(support) + len(oppose) < len(one.support) + len(one.oppose)
        if lost and (not one.cue or len(support) < LEAST):
            continue
        said = _words_of(one.cue)
        if (said & words) - _words(kept[id] for id in support if id in kept):
            continue
        directives.append(replace(one, support=tuple(support), oppose=tuple(oppose)))
    # Arguments of actions are free text too.
    quoting = persona.actions is not None and any(one.arguments for one in persona.actions)
    actions = None if quoting else persona.actions
    times = {id: one.time for id, one in kept.items() if one.time}
    items = [
        one
        for one in noted.without(persona.items, ids, times)
        if _words_of(one.text, one.topic, one.reach).isdisjoint(unsaid)
    ]
    return {
        "profile": persona.profile if persona.profile_author and free(persona.profile) else "",
        "items": tuple(items),
        "directives": tuple(directives),
        "actions": actions,
    }


def _selected(
    connection: sa.Connection,
    user: str,
    ids: Collection[str],
    source: str | None,
    everything: bool,
) -> list[Interaction]:
    mine = sa.select(interactions).where(_of(interactions, user))
    if everything:
        selects = [mine]
    elif source is not None:
        selects = [mine.where(interactions.c.source == source)]
    else:
        selects = [mine.where(interactions.c.id.in_(some)) for some in _parts(ids)]
    return [
        encoding.interaction(row)
        for select in selects
        for row in connection.execute(select.order_by(interactions.c.seq)).mappings()
    ]


def _refuse_unknown(connection: sa.Connection, user: str, unknown: Collection[str]) -> None:
    if unknown := set(unknown) - tombstones.erased(connection, user, unknown):
        raise UnknownInteraction(user, min(unknown))


def _delete(connection: sa.Connection, user: str, gone: Sequence[Interaction]) -> int:
    """Delete interactions; the number of vectors that went with them."""
    vectors = metadata.tables["vectors"]
    count = 0
    for some in _parts([one.id for one in gone]):
        these = sa.and_(_of(interactions, user), interactions.c.id.in_(some))
        seqs = sa.select(interactions.c.seq).where(these)
        count += connection.execute(vectors.delete().where(vectors.c.seq.in_(seqs))).rowcount
        connection.execute(interactions.delete().where(these))
    return count


def _clean(
    connection: sa.Connection, chain: Chain, gone: Sequence[Interaction], everything: bool
) -> tuple[list[str], list[str]]:
    """Empty the personas that rest on what is gone, and succeed the champion where there were any.

    Returns:
        The hashes of what was emptied, and of the successor.
    """
    line = chain.entries(connection, personas)
    entries = [*line, *chain.entries(connection, branches)]
    if everything:
        return [entry.hash for entry in entries], []
    made_of = chain.evidence(connection)
    ids = {one.id for one in gone}
    resting = [one for one in entries if one.persona and not ids.isdisjoint(made_of[one.hash])]
    if not resting:
        return [], []
    hashes = [entry.hash for entry in resting]
    empty_entries(connection, hashes)
    champion = line[-1].persona
    assert champion is not None  # the champion is never an emptied one
    without_it: dict[str, Any] = {}
    if champion.hash in hashes:
        kept = {
            row["id"]: encoding.interaction(row)
            for some in _parts(champion.cited)
            for row in connection.execute(
                sa.select(interactions).where(
                    _of(interactions, chain.user), interactions.c.id.in_(some)
                )
            ).mappings()
        }
        unsaid = _unsaid(connection, chain.user, champion, gone)
        left = _words_left(connection, chain.user, champion)
        without_it = without(champion, gone, kept, unsaid, left)
    successor = champion.succeed(**without_it)
    rest = {id: at for id, at in made_of[champion.hash].items() if id not in ids}
    reason = f"{len(gone)} interaction{'s' if len(gone) > 1 else ''} erased"
    chain.append(connection, successor, reason, rest)
    return hashes, [successor.hash]


def _words_left(connection: sa.Connection, user: str, champion: Persona) -> set[str]:
    """The words of all that is left of a user, where the champion says what a person wrote."""
    if not (champion.profile_author or any(one.author for one in champion.directives)):
        return set()
    left = sa.select(interactions).where(_of(interactions, user))
    return _words(encoding.interaction(row) for row in connection.execute(left).mappings())


def empty_entries(connection: sa.Connection, hashes: Collection[str]) -> None:
    """Take the text out of personas; hash, parent, version and time stay."""
    for some in _parts(hashes):
        for table in (personas, branches):
            these = table.update().where(table.c.hash.in_(some))
            connection.execute(these.values(body="", reason=ERASED))
        connection.execute(evidence.delete().where(evidence.c.hash.in_(some)))


def note_outside(
    store: Store, connection: sa.Connection, user: str, emptied: Collection[str] | None
) -> None:
    """Note that the places outside are to be cleaned: files of these personas, or (None) all."""
    doomed = exports.update().where(_of(exports, user))
    if emptied is not None:
        doomed = doomed.where(exports.c.hash.in_([*emptied, ""]))
    connection.execute(doomed.values(doomed=True))
    row = {"user": user, "since": encoding.microseconds(store.now())}
    store.database.upsert(connection, unfinished, row)


def drop_derived(
    connection: sa.Connection, user: str, *, everything: bool = False
) -> dict[str, int]:
    """Delete what was derived for a user (or everything that there is); the rows by table."""
    spared = _KEPT if everything else _NOT_DERIVED
    counts = {
        table.name: connection.execute(table.delete().where(_of(table, user))).rowcount
        for table in reversed(metadata.sorted_tables)
        if "user" in table.c and table.name not in spared
    }
    return {name: count for name, count in counts.items() if count}


def _of(table: sa.Table, user: str) -> sa.ColumnElement[bool]:
    return table.c.user == user


def _unsaid(
    connection: sa.Connection, user: str, persona: Persona, gone: Sequence[Interaction]
) -> set[str]:
    """Words of a persona's items that stand in erased interactions, and in none that remain.

    A word that several items have which rest on nothing erased is one of the writer's own, such as
    "prefers"; else one erased text that has it, too, would take all of them along.
    """
    ids = {one.id for one in gone}
    told: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for one in persona.items:
        words = _words_of(one.text, one.topic, one.reach)
        told.update(words)
        if ids.isdisjoint((*one.support, *one.oppose)):
            others.update(words)
    unsaid = {word for word in _words(gone) & told.keys() if others[word] < _OWN}
    if unsaid:
        mine = sa.select(interactions).where(_of(interactions, user))
        for row in connection.execute(mine).mappings():
            unsaid -= _words([encoding.interaction(row)])
    return unsaid


def _words(said: Iterable[Interaction]) -> set[str]:
    return {
        word
        for one in said
        for word in _words_of(
            one.query, one.response, json.dumps(dict(one.metadata), ensure_ascii=False)
        )
    }


def _words_of(*texts: str) -> set[str]:
    return {word for text in texts for word in re.findall(r"\w+", text.casefold())}


def _parts(values: Collection[str]) -> Iterable[list[str]]:
    ordered = list(values)
    return (ordered[at : at + _IDS_AT_ONCE] for at in range(0, len(ordered), _IDS_AT_ONCE))
