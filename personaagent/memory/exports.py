"""The files that were written about a user, so that an erasure finds them.

What somebody asked for is theirs once they change it. What work on files left is deleted whatever
is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from personaagent.memory.encoding import microseconds
from personaagent.memory.schema import exports, workfiles
from personaagent.memory.store import Store

EVERYTHING = ""
"""Stands for the hash of a persona where a file holds all that is known of a user."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of the files that hold what was erased: how many were `deleted`; those that stand
    there `changed` were left, they may be something else by now; those that are not where they were
    written may have been `moved`, or be on another machine."""

    deleted: int
    changed: tuple[Path, ...]
    moved: tuple[Path, ...]


def record(store: Store, user: str, paths: Iterable[Path], hash: str) -> None:
    """Remember files of a user that have just been written; not where the database can only be
    read, whose erasures are of a copy.

    Args:
        store: the database that they come from.
        user: whose data they hold.
        paths: the files.
        hash: of the persona in them, or `EVERYTHING`.
    """
    if store.database.readonly:
        return
    now = microseconds(store.now())
    written = [
        {
            "path": str(path.absolute()),
            "user": user,
            "hash": hash,
            "sha256": _sha256(path),
            "created": now,
            "doomed": False,
        }
        for path in paths
    ]
    with store.database.write() as connection:
        for row in written:
            store.database.upsert(connection, exports, row)


def begin_work(store: Store, users: Iterable[str], path: Path) -> None:
    """Remember a place of work on files, before a text of these users is in it."""
    rows = [{"path": str(path.absolute()), "user": user} for user in users]
    with store.database.write() as connection:
        connection.execute(store.database.insert(workfiles).on_conflict_do_nothing(), rows)


def end_work(store: Store, path: Path, user: str | None = None) -> None:
    """Forget a place of work, once it is gone, or once nothing of this user is in it any more."""
    this = workfiles.c.path == str(path.absolute())
    if user is not None:
        this = sa.and_(this, workfiles.c.user == user)
    with store.database.write() as connection:
        connection.execute(workfiles.delete().where(this))


def delete_work(
    store: Store,
    user: str,
    erase: Callable[[Path, str], int] = lambda path, _user: int(delete_database(path)),
) -> Deleted:
    """Delete what work on files left of a user.

    Args:
        store: that knows the places.
        user: whose.
        erase: deletes what a place holds of a user, and says how much it was; by default the place
            is a database, and is deleted whatever is in it.

    Raises:
        OSError: a file cannot be deleted.
    """
    with store.database.read() as connection:
        select = sa.select(workfiles.c.path).where(workfiles.c.user == user)
        found = [Path(one) for one in connection.scalars(select)]
    deleted = 0
    moved = []
    for path in found:
        count = erase(path, user)
        deleted += count
        if not (count or path.exists()):
            moved.append(path)
        end_work(store, path, user if path.exists() else None)
    return Deleted(deleted, (), tuple(moved))


def delete_database(path: Path) -> bool:
    """Delete a SQLite file and its logs; whether it was there.

    Raises:
        OSError: it cannot be deleted.
    """
    there = path.is_file()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return there


def delete_doomed(store: Store, user: str) -> Deleted:
    """Delete the files of a user that hold what was erased.

    Raises:
        OSError: one cannot be deleted.
    """
    doomed = sa.and_(exports.c.user == user, exports.c.doomed)
    with store.database.read() as connection:
        found = connection.execute(sa.select(exports.c.path, exports.c.sha256).where(doomed)).all()
    deleted = 0
    changed: list[Path] = []
    moved: list[Path] = []
    for name, sha256 in found:
        path = Path(name)
        if path.is_file():
            if _sha256(path) == sha256:
                path.unlink()
                deleted += 1
            else:
                changed.append(path)
        else:
            moved.append(path)
        with store.database.write() as connection:
            connection.execute(exports.delete().where(exports.c.path == name))
    return Deleted(deleted, tuple(changed), tuple(moved))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
