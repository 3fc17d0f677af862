"""The tables of a memory database, and the version of their shape.

Times are microseconds since 1970 in UTC: they sort, and they are the same instant everywhere.
"""

from __future__ import annotations

import json

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    select,
)

from personaagent.data.importers.chat import CHAT
from personaagent.data.interaction import ABSTRACT, CONVERSATION, UNNUMBERED

SCHEMA_VERSION = 6
_CHATS = f"task:{CHAT.name}"

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# `seq` only ever grows (SQLite: AUTOINCREMENT), and writers take turns (database.py), so whoever
# has seen a user's rows up to some seq needs to read only the rows after it.
interactions = Table(
    "interactions",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("response", Text, nullable=False),
    Column("time", BigInteger),
    Column("weight", Float, nullable=False),
    Column("source", Text, nullable=False),
    Column("expires", BigInteger),
    Column("metadata", Text, nullable=False),
    Column("digest", Text, nullable=False),
    UniqueConstraint("user", "id"),
    Index("interactions_of_user", "user", "seq"),
    sqlite_autoincrement=True,
)

# Keyed by `seq`: a vector cannot outlive its interaction, nor belong to another user.
vectors = Table(
    "vectors",
    metadata,
    Column(
        "seq",
        ForeignKey(interactions.c.seq, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("fingerprint", Text, nullable=False),
    Column("vector", LargeBinary, nullable=False),
)

personas = Table(
    "personas",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("parent", Text),
    Column("body", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("user", "task", "version"),
)

champions = Table(
    "champions",
    metadata,
    Column("user", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("hash", ForeignKey(personas.c.hash), nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("user", Text, primary_key=True),
    Column("run", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)

# What screening put aside: kept whole, so that a person can look at it and release it.
quarantine = Table(
    "quarantine",
    metadata,
    Column("user", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)

# Where a user's habits changed: `since` is the first interaction after the change.
turns = Table(
    "turns",
    metadata,
    Column("user", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("since", Text, nullable=False),
    Column("half_life", Float, nullable=False),
    Column("created", BigInteger, nullable=False),
)
# What a persona was made of: ids of interactions, each with when it had been restored after an
# erasure (0: never), a JSON object.
evidence = Table(
    "evidence",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("ids", Text, nullable=False),
)

# Personas of another device that are not on the line that led to the champion.
branches = Table(
    "branches",
    metadata,
    *(Column(c.name, c.type, primary_key=c.primary_key, nullable=c.nullable) for c in personas.c),
)

# Personas that were merged into another one, beside its parent.
merges = Table(
    "merges",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("task", Text, nullable=False),
)

# What must never come back, by hashes alone: `owner` is the user's, `digest` an interaction's or a
# persona's. `seq` tells caches that something was erased.
erasures = Table(
    "erasures",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("erased", BigInteger, nullable=False),
    Column("restored", BigInteger),
    UniqueConstraint("owner", "kind", "digest"),
    Index("erasures_of_owner", "owner", "seq"),
    sqlite_autoincrement=True,
)

# Users of whom something may still be found outside of the database.
unfinished = Table(
    "unfinished",
    metadata,
    Column("user", Text, primary_key=True),
    Column("since", BigInteger, nullable=False),
)

# Files that were written about a user; `hash` is the persona's, empty where it holds everything.
exports = Table(
    "exports",
    metadata,
    Column("path", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("doomed", Boolean, nullable=False),
)

# Places where work on files left texts of users: an erasure cleans them, whatever is in them.
workfiles = Table(
    "workfiles",
    metadata,
    Column("path", Text, primary_key=True),
    Column("user", Text, primary_key=True),
)

# Personas that an alignment accepted and that wait for a person, one a user and task: `over` is the
# champion that it would replace, `made_of` and `answers` are JSON.
waiting = Table(
    "waiting",
    metadata,
    Column("user", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("over", Text),
    Column("body", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_of", Text, nullable=False),
    Column("answers", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
)

# What a user has decided about how they are served, where it differs from what holds for all.
preferences = Table(
    "preferences",
    metadata,
    Column("user", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("user", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("trigger", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", Text),
    Column("lease", BigInteger),
    Column("problem", Text, nullable=False),
)

# The last alignment of each persona: when, and the newest interaction that it knew.
alignments = Table(
    "alignments",
    metadata,
    Column("user", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
)

# Whose interactions have changed since the last alignment knew them: few of many users, so that
# these are found without a look at all the others.
changed = Table(
    "changed",
    metadata,
    Column("user", Text, primary_key=True),
    Column("task", Text, primary_key=True),
)

# Who may call the service: `digest` is the SHA-256 of a key, `user` the one user that it is for.
keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("user", Text),
    Column("scopes", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("used", BigInteger),
    Column("revoked", BigInteger),
)

# Addresses that are told of what happens to personas; `secret` signs what they are told.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)

# What each of them was told, or is still to be: `event` names what happened, without a text.
deliveries = Table(
    "deliveries",
    metadata,
    Column("webhook", ForeignKey(webhooks.c.id, ondelete="CASCADE"), primary_key=True),
    Column("event", Text, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
)


def to_version_6(connection: Connection) -> None:
    """Note all as changed: what has not is found out when somebody asks for the first time
    (`compile --new`)."""
    i = interactions.c
    everyone = select(i.user, i.task).except_(select(changed.c.user, changed.c.task))
    connection.execute(changed.insert().from_select(["user", "task"], everyone))


def from_version_1(connection: Connection) -> None:
    """Put into the new tables what version 1 did not keep; its `profiles` held no user's data.

    What a persona was made of is not known, so it is all that its user has for the task.
    """
    connection.exec_driver_sql("DROP TABLE IF EXISTS profiles")
    p, i = personas.c, interactions.c
    for hash, user, task in connection.execute(select(p.hash, p.user, p.task)).all():
        ids = connection.scalars(select(i.id).where(i.user == user, i.task == task))
        row = {"hash": hash, "user": user, "task": task}
        connection.execute(evidence.insert(), row | {"ids": json.dumps(dict.fromkeys(ids, 0))})


def to_version_3(connection: Connection) -> None:
    """Drop the vectors of what is now found by its abstract too; recall embeds it again."""
    i = interactions.c
    changed = select(i.seq).where(i.metadata.contains(json.dumps(ABSTRACT)))
    connection.execute(vectors.delete().where(vectors.c.seq.in_(changed)))


def to_version_5(connection: Connection) -> None:
    """Drop the vectors of what is now found by what the user wrote; recall embeds it again.

    Imported conversations were a task of writing the user's next message. Now an assistant answers
    the user in it.
    """
    i = interactions.c
    said = i.source.in_(UNNUMBERED) & i.metadata.contains(json.dumps(CONVERSATION))
    changed = select(i.seq).where(said)
    connection.execute(vectors.delete().where(vectors.c.seq.in_(changed)))
    of_chats = meta.c.key == _CHATS
    known = connection.scalar(select(meta.c.value).where(of_chats))
    task = json.loads(known) if known else {}
    if task.get("kind") == "text":
        task |= {"kind": "chat", "instruction": CHAT.instruction}
        task |= {"item": CHAT.item, "answer": CHAT.answer}
        connection.execute(meta.update().where(of_chats).values(value=json.dumps(task)))
