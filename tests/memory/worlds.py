"""Interactions for the tests of memory: a maker of plain ones, and Hypothesis strategies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from personaagent.data import Interaction

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
WORDS = ["film", "music", "slow", "plot", "scene", "ending", "actor", "dull", "bright"]


def interaction(n: int, user: str = "ann", **fields: Any) -> Interaction:
    """The n-th hour's interaction of a user."""
    plain: dict[str, Any] = {
        "id": f"i{n}",
        "user": user,
        "task": "films",
        "query": f"film number {n}",
        "response": "good",
        "time": NOON + timedelta(hours=n),
    }
    return Interaction(**(plain | fields))


times = st.none() | st.datetimes(
    min_value=datetime(2020, 1, 1),
    max_value=datetime(2024, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


def histories(users: tuple[str, ...] = ("ann", "bob"), most: int = 20) -> Any:
    """Lists of interactions of a few users, no id twice in a user."""
    one = st.builds(
        Interaction,
        id=st.sampled_from([f"i{n}" for n in range(most)]),
        user=st.sampled_from(users),
        task=st.sampled_from(["films", "books"]),
        query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join),
        response=st.text(
            st.characters(codec="utf-8", exclude_characters="\0"), min_size=0, max_size=5
        ),
        time=times,
        weight=st.sampled_from([0.5, 1, 2.0]),
        expires=times,
        metadata=st.dictionaries(st.sampled_from(["genre", "year"]), st.just("x")),
    )
    return st.lists(one, max_size=most, unique_by=lambda i: (i.user, i.id))
