"""Keys: who may call the service, for which tenant and user, and to do what.

A key is shown once. The store has its SHA-256 alone: it is 256 bits of chance, so nothing slower is
needed. Once there was a key, a server of this store serves nobody without one, also when all are
revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa

from personaagent.errors import DataError
from personaagent.memory.encoding import microseconds, moment, moment_or_none
from personaagent.memory.schema import keys
from personaagent.memory.store import Store
from personaagent.server import tenants

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_SHAPE = re.compile(r"pa_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOTED_EVERY = timedelta(minutes=1)  # the last use is written down so often at most


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key.

    Attributes:
        id: names it in lists and commands; the start of the key.
        tenant: whose users it reaches.
        user: the one user that it reaches, as the tenant names it; None for all of the tenant's.
        scopes: what it may do.
        note: what its maker wrote beside it.
        used: when it was last used, to about a minute.
        revoked: since when it is of no use any more.
    """

    id: str
    tenant: str
    user: str | None
    scopes: frozenset[Scope]
    note: str
    created: datetime
    used: datetime | None
    revoked: datetime | None


class Keys:
    """The keys of a store; thread-safe, as the store is."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._any = False
        self._noted: dict[str, datetime] = {}

    def add(
        self,
        *,
        tenant: str = tenants.OWN,
        user: str | None = None,
        scopes: Collection[str] = ("read", "write"),
        note: str = "",
    ) -> tuple[str, Key]:
        """Make a key: its text, which cannot be read again, and what is known of it.

        Raises:
            DataError: the tenant, the user or a scope is none.
        """
        tenants.checked(tenant)
        if unknown := set(scopes) - set(SCOPES):
            raise DataError(f"there is no scope '{min(unknown)}': there are {', '.join(SCOPES)}")
        if not scopes:
            raise DataError(f"a key without a scope can do nothing: give {', '.join(SCOPES)}")
        id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        row = {
            "id": id,
            "digest": _digest(secret),
            "tenant": tenant,
            "user": None if user is None else tenants.stored(tenant, user),
            "scopes": " ".join(one for one in SCOPES if one in scopes),
            "note": note,
            "created": microseconds(self.store.now()),
        }
        with self.store.database.write() as connection:
            connection.execute(keys.insert(), row)
        return f"pa_{id}_{secret}", _key({**row, "used": None, "revoked": None})

    def all(self) -> list[Key]:
        """Every key, the oldest first."""
        select = sa.select(keys).order_by(keys.c.created, keys.c.id)
        with self.store.database.read() as connection:
            return [_key(row) for row in connection.execute(select).mappings()]

    def revoke(self, id: str) -> Key:
        """Make a key useless; one that was revoked stays so.

        Raises:
            DataError: there is no such key.
        """
        now = microseconds(self.store.now())
        mine = keys.c.id == id
        with self.store.database.write() as connection:
            unrevoked = sa.and_(mine, keys.c.revoked.is_(None))
            connection.execute(keys.update().where(unrevoked).values(revoked=now))
            row = connection.execute(sa.select(keys).where(mine)).mappings().first()
        if row is None:
            raise DataError(f"there is no key '{id}': 'personaagent keys list' shows them")
        return _key(row)

    @property
    def any(self) -> bool:
        """Whether there was ever a key."""
        if not self._any:
            with self.store.database.glance() as connection:
                self._any = connection.scalar(sa.select(keys.c.id).limit(1)) is not None
        return self._any

    def find(self, text: str) -> Key | None:
        """The key that this text is, None where it is none or was revoked."""
        shape = _SHAPE.fullmatch(text)
        if shape is None:
            return None
        id, secret = shape.groups()
        with self.store.database.glance() as connection:
            row = connection.execute(sa.select(keys).where(keys.c.id == id)).mappings().first()
        if row is None or not hmac.compare_digest(row["digest"], _digest(secret)):
            return None
        if row["revoked"] is not None:
            return None
        self._note_use(id)
        return _key(row)

    def _note_use(self, id: str) -> None:
        now = self.store.now()
        noted = self._noted.get(id)
        if (noted is not None and now - noted < _NOTED_EVERY) or self.store.database.readonly:
            return
        self._noted[id] = now
        used = keys.update().where(keys.c.id == id).values(used=microseconds(now))
        self.store.database.together(lambda connection: connection.execute(used))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: Any) -> Key:
    tenant, user = row["tenant"], row["user"]
    return Key(
        id=row["id"],
        tenant=tenant,
        user=None if user is None else tenants.shown(tenant, user),
        scopes=frozenset(one for one in SCOPES if one in row["scopes"].split()),
        note=row["note"],
        created=moment(row["created"]),
        used=moment_or_none(row["used"]),
        revoked=moment_or_none(row["revoked"]),
    )
