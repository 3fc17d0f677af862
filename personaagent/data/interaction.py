"""What a user did (interaction), what is asked next (query), and signals of behaviour as the weight
of an interaction.

An answer that the user gave in so many words counts 1. What is only inferred from behaviour counts
less, never more:

| signal | what it says | factor |
|---|---|---|
| `click` | true: chosen; false: shown and not chosen otherwise | 1; 0.5 |
| `dwell` | seconds that the user stayed with it | 0.25 at 0 s, 1 from 60 s on, log between |
| `skip` | true: passed over; false: not | 0.1; 1 |
| `edit` | how much of a proposed answer the user changed, 0 to 1 | 0.5 at 0, 1 at 1, linear |

A proposal that was kept as it was (`edit` 0) may only have been convenient; what the user rewrote
is the user's own. The factors multiply; the product stays within [0.1, 1].
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from personaagent.data.normal import normal, whole
from personaagent.errors import DataError

ABSTRACT = "abstract"  # in the metadata: what a work that is named by its title says
CONVERSATION = "conversation"  # in the metadata: which conversation a message belongs to
TURN = "turn"  # in the metadata: the number of the user's message in its conversation, from 1
UNNUMBERED = ("chatgpt", "claude")  # sources of messages that were stored before there were turns


@dataclass(frozen=True, slots=True)
class Interaction:
    """One entry of episodic memory, (q_i, r_i^gt, m_i) in the paper (section 3.1).

    `response` is what the user really answered or chose, never what an LM said; it is empty
    where the entry is evidence about the user and not an answer (an authored paper in LaMP-1).
    `user` is kept in its normal form, texts without what no database can store.
    `time` is timezone-aware, or None where the origin has no dates: then the order of insertion
    counts. `source` says where it came from, `weight` how much it counts.

    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> one = Interaction("1", "amira", "inbox", "The car needs new tyres", "money", time=noon)
    >>> one.searched
    'The car needs new tyres'
    """

    id: str
    user: str
    task: str
    query: str
    response: str
    time: datetime | None = None
    weight: float = 1.0
    source: str = "user"
    expires: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _clean(self, "id", "user", "task", "query", "response", "source")
        metadata = {_whole(key): _whole(value) for key, value in self.metadata.items()}
        if metadata != self.metadata:
            object.__setattr__(self, "metadata", metadata)
        _require_zone(self.id, "time", self.time)
        _require_zone(self.id, "expires", self.expires)

    @property
    def searched(self) -> str:
        """What memory finds it by: its query and, as LaMP retrieves papers, its abstract if any. A
        message of a conversation is found by what the user wrote, not by what came before it."""
        return searched(self.query, self.response, self.metadata, self.source)

    @property
    def digest(self) -> str:
        """SHA-256 of the content: the same id with another digest is a conflict."""
        content = [
            self.user,
            self.task,
            self.query,
            self.response,
            _utc(self.time),
            self.weight,
            self.source,
            _utc(self.expires),
            dict(sorted(self.metadata.items())),
        ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Query:
    """A question of a user; `gold` is the held-out answer where one is known.

    An answer to it may use only what the user did before `time`.
    """

    id: str
    user: str
    task: str
    query: str
    gold: str | None = None
    time: datetime | None = None

    def __post_init__(self) -> None:
        _clean(self, "id", "user", "task", "query", "gold")
        _require_zone(self.id, "time", self.time)


def searched(query: str, response: str, metadata: Mapping[str, str], source: str) -> str:
    """`Interaction.searched` of its parts."""
    if TURN in metadata or (source in UNNUMBERED and CONVERSATION in metadata):
        return response or query
    return f"{query}. {metadata[ABSTRACT]}" if metadata.get(ABSTRACT) else query


def _clean(one: Interaction | Query, *names: str) -> None:
    """Set these fields to what can be stored, and the user to its normal form."""
    for name in names:
        given = getattr(one, name)
        value = _whole(given)
        if name == "user" and isinstance(value, str):
            value = normal(value)
        if value is not given:
            object.__setattr__(one, name, value)


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, str) else value  # the store refuses what is no text


def _require_zone(id: str, field: str, moment: datetime | None) -> None:
    if moment is not None and not isinstance(moment, datetime):
        raise DataError(
            f"{id}: field '{field}' is of type {type(moment).__name__}, must be a datetime with a "
            "time zone"
        )
    if moment is not None and moment.utcoffset() is None:
        raise DataError(f"{id}: field '{field}': {moment} has no time zone: add one, such as UTC")


def _utc(moment: datetime | None) -> str | None:
    """The same moment is the same text, whatever its zone."""
    return moment.astimezone(UTC).isoformat() if moment else None


LEAST, MOST = 0.1, 1.0
SHOWN = 0.5  # not clicked
UNREAD = 0.25  # left at once
READ = 60.0  # seconds after which staying longer says nothing more
KEPT = 0.5  # a proposal taken over unchanged


@dataclass(frozen=True, slots=True)
class Signal:
    """What was seen of the user's behaviour; None is not observed.

    `dwell` is in seconds and not negative, `edit` a normalised edit distance in [0, 1].
    """

    click: bool | None = None
    dwell: float | None = None
    skip: bool | None = None
    edit: float | None = None

    @property
    def weight(self) -> float:
        """How much the interaction counts, in [0.1, 1]; 1 without any signal."""
        product = 1.0
        if self.click is False:
            product *= SHOWN
        if self.dwell is not None:
            stayed = min(1.0, math.log1p(self.dwell) / math.log1p(READ))
            product *= UNREAD + (1 - UNREAD) * stayed
        if self.skip:
            product *= LEAST
        if self.edit is not None:
            product *= KEPT + (1 - KEPT) * self.edit
        return min(MOST, max(LEAST, product))
