"""The tables of a memory database, and the version of their shape.

Times are microseconds since 1970 in UTC: they sort, and they are the same instant everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 2
"""Versions only ever add tables, so an older database is brought up to date by creating them."""

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

profiles = Table(
    "profiles",
    metadata,
    Column("user", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
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
