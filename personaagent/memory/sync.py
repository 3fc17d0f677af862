"""Sync: what two devices know of a user becomes one, in any order and however often.

A merge is a union, of which the rest is a function. Interactions are a growing set that tombstones
thin out; personas are a growing set too, and where devices published side by side the champion is a
merge that follows from what they published, so every device arrives at the same one. A merge that
nobody has built upon yet is no event of its own: the merge of more branches replaces it.

What one device has in memory is not put aside on another. It may have been released there, devices
differ in their screening, and a persona that learned from it comes with it, so they would never
agree; what looks suspicious is told instead.

A `Replica` is a user's part of a database as a value that can be merged with another device's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from personaagent.data import Interaction, Persona
from personaagent.data import items as noted
from personaagent.data.persona import merge as joined
from personaagent.data.persona import resolve
from personaagent.errors import DataError
from personaagent.memory import changes, encoding
from personaagent.memory.chain import ERASED
from personaagent.memory.encoding import difference
from personaagent.memory.erasure import drop_derived, note_outside
from personaagent.memory.quarantine import Quarantined, all_of, put_aside, remove
from personaagent.memory.schema import (
    branches,
    champions,
    erasures,
    evidence,
    interactions,
    merges,
    personas,
)
from personaagent.memory.store import Store
from personaagent.memory.tombstones import INTERACTION, PERSONA, digest_of, owner_of
from personaagent.memory.wakeup import ERASURES, notify

_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Tombstone:
    """When something was erased, and when it was restored (0: never), in microseconds."""

    erased: int
    restored: int = 0

    @property
    def stands(self) -> bool:
        """Whether it is erased now."""
        return self.erased >= self.restored


@dataclass(frozen=True, slots=True)
class Version:
    """One persona of a history.

    Attributes:
        persona: None once it was erased; hash, version and parent stay.
        created: in microseconds.
        made_of: see `Chain.evidence`.
        sources: the hashes of the personas that it merges; empty where somebody wrote it.
    """

    hash: str
    version: int
    parent: str | None
    persona: Persona | None
    reason: str
    created: int
    made_of: Mapping[str, int] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()

    @property
    def before(self) -> frozenset[str]:
        """The hashes of the personas that this one comes directly after."""
        return self.sources | ({self.parent} if self.parent else set())


@dataclass(frozen=True, slots=True)
class History:
    """The personas of one task by hash, and which of them is the champion."""

    versions: Mapping[str, Version]
    champion: str


@dataclass(frozen=True, slots=True)
class Replica:
    """What one device knows of one user.

    Attributes:
        interactions: by id.
        quarantine: what screening put aside, by id.
        erasures: by kind and digest.
        histories: by task.
    """

    user: str
    interactions: Mapping[str, Interaction] = field(default_factory=dict)
    erasures: Mapping[tuple[str, str], Tombstone] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict)
    quarantine: Mapping[str, Quarantined] = field(default_factory=dict)

    @property
    def says_nothing(self) -> bool:
        """Whether no text is left in it."""
        versions = (one for history in self.histories.values() for one in history.versions.values())
        said = (one.persona for one in versions if one.persona)
        return not (self.interactions or self.quarantine) and all(one.blank for one in said)


def read(store: Store, connection: sa.Connection, user: str) -> Replica:
    """What the database knows of a user."""
    c = erasures.c
    mine = sa.select(interactions).where(interactions.c.user == user).order_by(interactions.c.seq)
    laid = sa.select(c.kind, c.digest, c.erased, c.restored).where(c.owner == owner_of(user))
    tasks = connection.scalars(sa.select(champions.c.task).where(champions.c.user == user)).all()
    return Replica(
        user,
        {row["id"]: encoding.interaction(row) for row in connection.execute(mine).mappings()},
        {
            (kind, digest): Tombstone(erased, restored or 0)
            for kind, digest, erased, restored in connection.execute(laid)
        },
        {task: _history(store, connection, user, task) for task in tasks},
        {one.interaction.id: one for one in all_of(connection, user)},
    )


def write(store: Store, connection: sa.Connection, before: Replica, after: Replica) -> None:
    """Make the database, which knows `before`, know `after`."""
    user = after.user
    _write_erasures(connection, before, after)
    for id in before.interactions.keys() - after.interactions.keys():
        one = sa.and_(interactions.c.user == user, interactions.c.id == id)
        connection.execute(interactions.delete().where(one))
    now = store.now()
    new = [
        encoding.row(encoding.checked(one, now))
        for id, one in after.interactions.items()
        if id not in before.interactions
    ]
    for start in range(0, len(new), _ROWS_AT_ONCE):
        connection.execute(interactions.insert(), new[start : start + _ROWS_AT_ONCE])
    changes.note(store.database, connection, ((user, row["task"]) for row in new))
    gone = [one for id, one in before.interactions.items() if id not in after.interactions]
    changes.note_loss(store.database, connection, user, (one.task for one in gone))
    aside = {id: one for id, one in after.quarantine.items() if before.quarantine.get(id) != one}
    remove(connection, user, {*aside, *before.quarantine.keys() - after.quarantine.keys()})
    put_aside(store.database, connection, list(aside.values()))
    for task, history in after.histories.items():
        if before.histories.get(task) != history:
            _write_history(connection, user, task, history)


def _history(store: Store, connection: sa.Connection, user: str, task: str) -> History:
    chain = store.of(user).chain(task)
    made_of = chain.evidence(connection)
    sources: dict[str, set[str]] = {}
    mine = sa.and_(merges.c.user == user, merges.c.task == task)
    for hash, source in connection.execute(sa.select(merges.c.hash, merges.c.source).where(mine)):
        sources.setdefault(hash, set()).add(source)
    line = chain.entries(connection, personas)
    versions = {
        one.hash: Version(
            one.hash,
            one.version,
            one.parent,
            one.persona,
            one.reason,
            encoding.microseconds(one.created),
            made_of.get(one.hash, {}),
            frozenset(sources.get(one.hash, ())),
        )
        for one in (*line, *chain.entries(connection, branches))
    }
    return History(versions, line[-1].hash)


def _write_erasures(connection: sa.Connection, before: Replica, after: Replica) -> None:
    owner = owner_of(after.user)
    for (kind, digest), one in after.erasures.items():
        if before.erasures.get((kind, digest)) == one:
            continue
        key = {"owner": owner, "kind": kind, "digest": digest}
        # Laid anew, so that caches see it
        these = sa.and_(*(erasures.c[name] == value for name, value in key.items()))
        connection.execute(erasures.delete().where(these))
        row = key | {"erased": one.erased, "restored": one.restored or None}
        connection.execute(erasures.insert(), row)
        notify(connection, ERASURES)


def _write_history(connection: sa.Connection, user: str, task: str, history: History) -> None:
    for table in (champions, personas, branches, merges, evidence):
        mine = sa.and_(table.c.user == user, table.c.task == task)
        connection.execute(table.delete().where(mine))
    key = {"user": user, "task": task}
    line = set()
    at: str | None = history.champion
    while at is not None:
        line.add(at)
        at = history.versions[at].parent
    for one in history.versions.values():
        row = key | {
            "hash": one.hash,
            "version": one.version,
            "parent": one.parent,
            "body": json.dumps(one.persona.to_dict(), sort_keys=True) if one.persona else "",
            "reason": one.reason,
            "created": one.created,
        }
        connection.execute((personas if one.hash in line else branches).insert(), row)
        if one.persona:
            ids = json.dumps(dict(one.made_of), sort_keys=True)
            connection.execute(evidence.insert(), key | {"hash": one.hash, "ids": ids})
        for source in one.sources:
            connection.execute(merges.insert(), key | {"hash": one.hash, "source": source})
    connection.execute(champions.insert(), key | {"hash": history.champion})


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync changed for one user: numbers of new and of erased interactions, of new personas,
    of other champions, and of interactions that are in quarantine here too now; and the ids of new
    interactions that are `suspicious` to the screening here."""

    user: str
    interactions: int
    erased: int
    personas: int
    champions: int
    quarantined: int
    suspicious: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything did."""
        return any(
            (self.interactions, self.erased, self.personas, self.champions, self.quarantined)
        )


def sync(store: Store, theirs: Replica) -> Synced:
    """Take in what another device knows of a user, in one transaction.

    What is in memory there comes into memory here, and is told where screening suspects it.

    Raises:
        DataError: one id is known with two contents; nothing was changed.
    """
    user = theirs.user
    with store.database.write() as connection:
        ours = read(store, connection, user)
        both = merge(ours, theirs)
        if not (ours.interactions or ours.histories or ours.quarantine) and both.says_nothing:
            both = replace(both, interactions={}, histories={})  # a name must not come back
        if both == ours:
            return Synced(user, 0, 0, 0, 0, 0)
        write(store, connection, ours, both)
        known = both.interactions.keys() | both.quarantine.keys()
        lost = ours.interactions.keys() - both.interactions.keys()
        aside = ours.quarantine.keys() - known  # erased, and not released
        emptied = _emptied(ours, both)
        if lost or emptied:
            drop_derived(connection, user)
        if lost or emptied or aside:
            note_outside(store, connection, user, emptied)
    new = both.interactions.keys() - ours.interactions.keys()
    unseen = [both.interactions[id] for id in sorted(new - ours.quarantine.keys())]
    return Synced(
        user,
        len(new),
        len(lost | aside),
        len(_hashes(both) - _hashes(ours)),
        sum(
            task not in ours.histories or ours.histories[task].champion != history.champion
            for task, history in both.histories.items()
        ),
        len(both.quarantine.keys() - ours.quarantine.keys()),
        tuple(one.id for one in store.suspicious(unseen)),
    )


def merge(one: Replica, other: Replica) -> Replica:
    """What two devices know of a user; commutative, associative and idempotent.

    An interaction that one of them has in memory is in quarantine no more: somebody released it,
    or nobody can, because its id is taken.

    Raises:
        DataError: one id is known with two contents.
    """
    user = one.user
    erasures = dict(one.erasures)
    for key, laid in other.erasures.items():
        before = erasures.get(key, laid)
        latest = max(before.erased, laid.erased), max(before.restored, laid.restored)
        erasures[key] = Tombstone(*latest)
    gone = {
        digest for (kind, digest), laid in erasures.items() if kind == INTERACTION and laid.stands
    }
    interactions: dict[str, Interaction] = {}
    for id, theirs in [*one.interactions.items(), *other.interactions.items()]:
        if digest_of(user, id) in gone:
            continue
        ours = interactions.setdefault(id, theirs)
        if ours.digest != theirs.digest:
            fields = ", ".join(difference(ours, theirs))
            raise DataError(
                f"interaction '{id}' of user '{user}' is known here with other content (differs "
                f"in: {fields}): forget it, and import both under ids of their own; nothing was "
                "changed"
            )
    aside: dict[str, Quarantined] = {}
    for id, suspect in [*one.quarantine.items(), *other.quarantine.items()]:
        if digest_of(user, id) not in gone and id not in interactions:
            aside[id] = min(aside.get(id, suspect), suspect, key=_first)
    histories = {}
    for task in sorted(one.histories.keys() | other.histories.keys()):
        known = [r.histories[task].versions for r in (one, other) if task in r.histories]
        versions = {version.hash: version for version in _union(known, user, erasures)}
        histories[task] = _settled(user, task, versions)
        for version in histories[task].versions.values():
            if version.persona is None:
                erasures[PERSONA, version.hash] = Tombstone(0)
    return Replica(user, interactions, erasures, histories, aside)


def merged_fields(personas: Sequence[Persona]) -> dict[str, Any]:
    """What personas of one user say together, the leading one last; the same for the same ones.

    Items and directives are joined with their evidence. Of directives that contradict each other
    the one stands for which more speaks (see `personaagent.data.persona`); items keep what
    speaks against them. The rest is the leading one's. What a person pinned on any side stays: of
    profiles the last pinned one.
    """
    if not personas:
        return {}
    lead = personas[-1]
    told = next((one for one in reversed(personas) if one.profile_pinned), lead)
    said = joined(*(one.directives for one in personas))
    return {
        "profile": told.profile,
        "profile_author": told.profile_author,
        "profile_pinned": told.profile_pinned,
        "items": noted.merged(*(one.items for one in personas)),
        "role": lead.role,
        "words": lead.words,
        "whole": told.whole,
        "directives": resolve(said, cap=len(said)),
        "trust": lead.trust,
        "actions": lead.actions,
    }


def _first(one: Quarantined) -> tuple[datetime, str, str]:
    return one.created, one.interaction.digest, one.reason


def _union(
    known: Iterable[Mapping[str, Version]],
    user: str,
    erasures: Mapping[tuple[str, str], Tombstone],
) -> Iterable[Version]:
    """Every persona once, without its text where it rests on something erased."""
    found: dict[str, Version] = {}
    for versions in known:
        for hash, one in versions.items():
            found[hash] = _same(found[hash], one) if hash in found else one
    for one in found.values():
        gone = (PERSONA, one.hash) in erasures or any(
            (laid := erasures.get((INTERACTION, digest_of(user, id)))) and laid.erased >= restored
            for id, restored in one.made_of.items()
        )
        if gone or one.persona is None:
            one = replace(one, persona=None, reason=ERASED, made_of={})
        yield one


def _same(one: Version, other: Version) -> Version:
    """One persona that two devices have: they may have made it each for themselves.

    What somebody wrote may by chance be what a merge would say; then it was written.
    """
    both = [v for v in (one, other) if not v.sources] or [one, other]
    first = min(both, key=lambda v: (v.created, v.reason))
    made_of: dict[str, int] = {}
    for v in both:
        made_of |= {id: min(at, made_of.get(id, at)) for id, at in v.made_of.items()}
    persona = one.persona if other.persona else None
    sources = frozenset().union(*(v.sources for v in both))
    return replace(first, persona=persona, made_of=made_of, sources=sources)


def _settled(user: str, task: str, versions: Mapping[str, Version]) -> History:
    """The history with its champion: the last persona, or the merge of the last ones."""
    built_upon = _ancestors(versions, [v for v in versions.values() if not v.sources])
    kept = {hash: one for hash, one in versions.items() if hash in built_upon}
    followed = {hash for one in kept.values() for hash in one.before}
    tips = sorted((one for hash, one in kept.items() if hash not in followed), key=_place)
    lead = tips[-1]
    if len(tips) == 1 and lead.persona:
        return History(kept, lead.hash)
    alive = [one for one in kept.values() if one.persona]
    past = {hash for one in alive for hash in _ancestors(versions, [one]) if hash != one.hash}
    latest = sorted((one for one in alive if one.hash not in past), key=_place)
    made_of: dict[str, int] = {}
    for one in latest:
        made_of |= {id: min(at, made_of.get(id, at)) for id, at in one.made_of.items()}
    persona = Persona(
        user,
        task,
        **merged_fields([one.persona for one in latest if one.persona]),
        version=lead.version + 1,
        parent=lead.hash,
    )
    merged = Version(
        persona.hash,
        persona.version,
        persona.parent,
        persona,
        f"merged {len(tips)} branches" if len(tips) > 1 else "erased on another device",
        max(one.created for one in tips),
        dict(sorted(made_of.items())),
        frozenset(one.hash for one in tips),
    )
    return History(kept | {merged.hash: merged}, merged.hash)


def _ancestors(versions: Mapping[str, Version], ends: Iterable[Version]) -> set[str]:
    """The hashes of these personas and of all that came before them."""
    found: set[str] = set()
    open_ = [one.hash for one in ends]
    while open_:
        hash = open_.pop()
        if hash not in found and hash in versions:
            found.add(hash)
            open_ += versions[hash].before
    return found


def _place(one: Version) -> tuple[int, str]:
    return one.version, one.hash


def _emptied(before: Replica, after: Replica) -> list[str]:
    return [
        hash
        for task, history in before.histories.items()
        for hash, one in history.versions.items()
        if one.persona and not ((now := after.histories[task].versions.get(hash)) and now.persona)
    ]


def _hashes(replica: Replica) -> set[str]:
    return {hash for history in replica.histories.values() for hash in history.versions}
