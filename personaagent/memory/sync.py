"""Sync: what two devices know of a user becomes one, in any order and however often.

A merge is a union, of which the rest is a function. Interactions are a growing set that tombstones
thin out; personas are a growing set too, and where devices published side by side the champion is
a merge that follows from what they published, so every device arrives at the same one. A merge
that nobody has built upon yet is no event of its own: the merge of more branches replaces it.

What one device has in memory is not put aside on another. It may have been released there, devices
differ in their screening, and a persona that learned from it comes with it, so they would never
agree; what looks suspicious is told instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from personaagent.data import Interaction, Persona
from personaagent.data.directives import merge as joined
from personaagent.data.directives import resolve
from personaagent.errors import DataError
from personaagent.memory import replica as replicas
from personaagent.memory.chain import ERASED
from personaagent.memory.erasure import drop_derived, note_outside
from personaagent.memory.quarantine import Quarantined
from personaagent.memory.replica import History, Replica, Tombstone, Version
from personaagent.memory.rows import difference
from personaagent.memory.store import Store
from personaagent.memory.tombstones import INTERACTION, PERSONA, digest_of


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
        ours = replicas.read(store, connection, user)
        both = merge(ours, theirs)
        if not (ours.interactions or ours.histories or ours.quarantine) and both.says_nothing:
            both = replace(both, interactions={}, histories={})  # a name must not come back
        if both == ours:
            return Synced(user, 0, 0, 0, 0, 0)
        replicas.write(store, connection, ours, both)
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

    Directives are joined with their evidence, and of those that contradict each other the one
    stands for which more speaks (see `personaagent.data.directives`); the rest is the leading
    one's.
    """
    if not personas:
        return {}
    lead = personas[-1]
    said = joined(*(one.directives for one in personas))
    return {
        "profile": lead.profile,
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
