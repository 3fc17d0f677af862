"""Interactions as rows: what is refused, and the way there and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from personaagent.data import Interaction
from personaagent.errors import DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCKS_DIFFER = timedelta(days=1)
_FIELDS = (
    "task",
    "query",
    "response",
    "time",
    "weight",
    "source",
    "expires",
    "metadata",
)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """The inverse of `microseconds`, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def moment_or_none(microseconds: int | None) -> datetime | None:
    """The same where the column may be empty."""
    return None if microseconds is None else moment(microseconds)


def checked(interaction: Interaction, now: datetime) -> Interaction:
    """The same interaction in the one form that is stored: times in UTC, weight a float.

    Raises:
        DataError: a field breaks the contract; the message names the id and the field.
    """

    def refuse(field: str, problem: str) -> DataError:
        return DataError(
            f"interaction '{interaction.id}' of user '{interaction.user}': "
            f"field '{field}': {problem}"
        )

    for field in ("id", "user", "task", "query", "response", "source"):
        text = getattr(interaction, field)
        if not isinstance(text, str):
            raise refuse(field, f"is {type(text).__name__}, must be text")
        if field not in ("response", "source") and not text.strip():
            raise refuse(field, "must not be empty")
    if not isinstance(interaction.metadata, Mapping):
        raise refuse("metadata", f"is {type(interaction.metadata).__name__}, must map text to text")
    for key, value in interaction.metadata.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise refuse("metadata", f"'{key}' must map text to text")
    weight = interaction.weight
    if (
        isinstance(weight, bool)
        or not isinstance(weight, int | float)
        or not math.isfinite(weight)
        or weight <= 0
    ):
        raise refuse("weight", f"is {weight}, must be a finite number above 0")

    def in_utc(field: str, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise refuse(field, f"{value.isoformat()} lacks a timezone: add one, such as +00:00")
        try:
            return value and value.astimezone(UTC)
        except OverflowError:
            raise refuse(field, "is out of range in UTC") from None

    time = in_utc("time", interaction.time)
    expires = in_utc("expires", interaction.expires)
    if time and time > now + _CLOCKS_DIFFER:
        raise refuse("time", f"{time.isoformat()} is in the future")
    return replace(interaction, weight=float(weight), time=time, expires=expires)


def row(interaction: Interaction) -> dict[str, Any]:
    """The columns of a checked interaction, all but `seq`."""
    return {
        "id": interaction.id,
        "user": interaction.user,
        "task": interaction.task,
        "query": interaction.query,
        "response": interaction.response,
        "time": interaction.time and microseconds(interaction.time),
        "weight": interaction.weight,
        "source": interaction.source,
        "expires": interaction.expires and microseconds(interaction.expires),
        "metadata": json.dumps(dict(interaction.metadata), sort_keys=True),
        "digest": interaction.digest,
    }


def interaction(row: Mapping[Any, Any]) -> Interaction:
    """The interaction of a row; its digest is the one that was stored."""
    return Interaction(
        id=row["id"],
        user=row["user"],
        task=row["task"],
        query=row["query"],
        response=row["response"],
        time=moment_or_none(row["time"]),
        weight=row["weight"],
        source=row["source"],
        expires=moment_or_none(row["expires"]),
        metadata=json.loads(row["metadata"]),
    )


def difference(one: Interaction, other: Interaction) -> list[str]:
    """The names of the fields in which two interactions of one id differ."""
    return [field for field in _FIELDS if getattr(one, field) != getattr(other, field)]
