"""The files that were written about a user, so that an erasure finds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from personaagent.memory.rows import microseconds
from personaagent.memory.schema import exports
from personaagent.memory.store import Store

EVERYTHING = ""
"""Stands for the hash of a persona where a file holds all that is known of a user."""


def record(store: Store, user: str, paths: Iterable[Path], hash: str) -> None:
    """Remember files of a user that have just been written.

    Args:
        store: the database that they come from.
        user: whose data they hold.
        paths: the files.
        hash: of the persona in them, or `EVERYTHING`.
    """
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


def delete_doomed(store: Store, user: str) -> tuple[int, list[Path]]:
    """Delete the files of a user that hold what was erased.

    Returns:
        How many were deleted, and those that stand there changed and were left: they may be
        something else by now.

    Raises:
        OSError: one cannot be deleted.
    """
    doomed = sa.and_(exports.c.user == user, exports.c.doomed)
    with store.database.read() as connection:
        found = connection.execute(sa.select(exports.c.path, exports.c.sha256).where(doomed)).all()
    deleted, changed = 0, []
    for name, sha256 in found:
        path = Path(name)
        if path.is_file():
            if _sha256(path) == sha256:
                path.unlink()
                deleted += 1
            else:
                changed.append(path)
        with store.database.write() as connection:
            connection.execute(exports.delete().where(exports.c.path == name))
    return deleted, changed


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
