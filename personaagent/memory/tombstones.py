"""Tombstones: what was erased, by hashes alone, so that it never comes back by itself.

An interaction is named by the hash of its user and id, so a file or another device that still has
it cannot bring it back; only its user can, by saying so. A persona is named by its own hash.
Hashes of short ids can be guessed by whoever holds the database and guesses both user and id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

import sqlalchemy as sa

from personaagent.memory.schema import erasures
from personaagent.memory.wakeup import ERASURES, notify

INTERACTION, PERSONA = "interaction", "persona"
_AT_ONCE = 10_000
_LATEST = sa.select(sa.func.max(erasures.c.seq)).where(erasures.c.owner == sa.bindparam("owner"))


@lru_cache(maxsize=1_024)
def owner_of(user: str) -> str:
    """The hash that stands for a user."""
    return _sha256(["user", user])


def digest_of(user: str, id: str) -> str:
    """The hash that stands for an interaction."""
    return _sha256(["interaction", user, id])


def latest(connection: sa.Connection, user: str) -> int:
    """The number of the user's latest erasure, 0 without one; another number means a new one."""
    return connection.scalar(_LATEST, {"owner": owner_of(user)}) or 0


def erased(connection: sa.Connection, user: str, ids: Iterable[str]) -> set[str]:
    """Which of these ids were erased and not restored."""
    by_digest = {digest_of(user, id): id for id in ids}
    found = _standing(connection, INTERACTION, list(by_digest))
    return {by_digest[digest] for digest in found}


def is_erased_persona(connection: sa.Connection, hash: str) -> bool:
    """Whether a persona of this hash was erased, whoever's it was."""
    return any(_standing(connection, PERSONA, [hash]))


def lay(
    connection: sa.Connection, user: str, kind: str, digests: Collection[str], moment: int
) -> None:
    """Lay tombstones; those that lay there already are laid anew, so that caches see it."""
    owner, c = owner_of(user), erasures.c
    for some in _parts(list(digests)):
        these = sa.and_(c.kind == kind, c.digest.in_(some))
        restored = connection.scalar(sa.select(sa.func.max(c.restored)).where(these))
        # Later than a restoration, whatever the clock says
        at = moment if restored is None else max(moment, restored + 1)
        connection.execute(erasures.delete().where(these))
        rows = [{"owner": owner, "kind": kind, "digest": one, "erased": at} for one in some]
        connection.execute(erasures.insert(), rows)
        notify(connection, ERASURES)


def restore(connection: sa.Connection, user: str, ids: Iterable[str], moment: int) -> None:
    """Let erased interactions in again: their user said so."""
    c = erasures.c
    for some in _parts([digest_of(user, id) for id in ids]):
        mine = sa.and_(c.kind == INTERACTION, c.digest.in_(some))
        later = sa.case((c.erased >= moment, c.erased + 1), else_=moment)
        connection.execute(erasures.update().where(mine).values(restored=later))


def restorations(connection: sa.Connection, user: str, ids: Iterable[str]) -> dict[str, int]:
    """When each of these ids was last restored after an erasure, in microseconds; 0 if never."""
    by_digest = {digest_of(user, id): id for id in ids}
    c = erasures.c
    found = dict.fromkeys(by_digest.values(), 0)
    for some in _parts(list(by_digest)):
        select = sa.select(c.digest, c.restored).where(c.digest.in_(some), c.restored.is_not(None))
        found |= {by_digest[digest]: restored for digest, restored in connection.execute(select)}
    return found


def _standing(connection: sa.Connection, kind: str, digests: list[str]) -> Iterator[str]:
    c = erasures.c
    stands = sa.or_(c.restored.is_(None), c.restored <= c.erased)
    for some in _parts(digests):
        select = sa.select(c.digest).where(c.kind == kind, c.digest.in_(some), stands)
        yield from connection.scalars(select)


def _parts(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _sha256(content: list[str]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
