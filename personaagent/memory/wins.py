"""Which kinds of proposals win with an LM: counts over all users of a store, an entry an LM in
`meta`. No text and no name of a user is among them, so an erasure leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa

from personaagent.memory.schema import meta

if TYPE_CHECKING:
    from personaagent.memory.database import Database

KEY = "wins:"


def wins_of(database: Database, lm: str) -> dict[str, tuple[float, float]]:
    """By kind how often it won, and how often it was judged; `lm` is the LM's fingerprint."""
    with database.read() as connection:
        return _read(connection, lm)


def add_wins(
    database: Database,
    connection: sa.Connection,
    lm: str,
    counts: Mapping[str, tuple[float, float]],
) -> None:
    """Add what one alignment found, in the transaction that publishes it."""
    if not counts:
        return
    known = _read(connection, lm)
    for kind, (won, judged) in counts.items():
        before = known.get(kind, (0.0, 0.0))
        known[kind] = before[0] + won, before[1] + judged
    row = {"key": f"{KEY}{lm}", "value": json.dumps(known, sort_keys=True)}
    database.upsert(connection, meta, row)


def _read(connection: sa.Connection, lm: str) -> dict[str, tuple[float, float]]:
    text = connection.scalar(sa.select(meta.c.value).where(meta.c.key == f"{KEY}{lm}"))
    return {kind: (won, judged) for kind, (won, judged) in json.loads(text or "{}").items()}
