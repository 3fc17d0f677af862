"""What a query may see: whose memory, and which part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from personaagent.data import Interaction, Query, Task, validation
from personaagent.data.normal import whole


@dataclass(frozen=True, slots=True)
class QueryScope:
    """A query of a user, and the part of memory that an answer may use.

    Only interactions before `before` (None: all) whose id is not in `exclude` exist for it: an
    answer never sees the future of its query, nor the very interaction that is replayed.
    """

    user: str
    task: Task
    query: str
    before: datetime | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        validation.text("the user", self.user)
        validation.instance("the query", self.query, str, "give a text")

    @classmethod
    def of(
        cls,
        query: str,
        user: str,
        task: Task,
        before: datetime | None = None,
        exclude: Sequence[str] = (),
    ) -> QueryScope:
        """The situation of a call; halves of characters in the query are replaced.

        Raises:
            DataError: the query or the user is empty.
        """
        validation.text("the query", query)
        return cls(user, task, whole(query), before, tuple(exclude))

    @classmethod
    def asking(cls, task: Task, query: Query) -> QueryScope:
        """The situation in which a query is put; a history may hold the very question."""
        return cls(query.user, task, query.query, query.time, (query.id,))

    @classmethod
    def replaying(cls, task: Task, past: Interaction) -> QueryScope:
        """The situation in which a past interaction took place.

        A derived interaction names the memories it was made from; they would give it away.
        """
        return cls(past.user, task, past.query, past.time, (past.id, *derived_from(past)))


def derived_from(past: Interaction) -> tuple[str, ...]:
    """The ids of the interactions that a derived one was made from (see `data.lamp_pairs`)."""
    return tuple(past.metadata[key] for key in ("stem", "own") if key in past.metadata)
