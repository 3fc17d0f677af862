"""Whole lives of generated users: nothing erased comes back, and nobody sees another's data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from standins import HashEmbedder
from test_sync import WORDS, Device
from worlds import NOON, interaction

from personaagent.data import Persona
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.schema import metadata
from personaagent.memory.sync import read
from personaagent.memory.tasks import tasks_of
from personaagent.policies import RETRIEVERS

NUMBERS = itertools.count()
ids = st.integers(0, 2)  # few, so that one is often erased and added again


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Device]]:
    folder = tmp_path_factory.mktemp("pair")
    pair = [Device(folder / "phone.db"), Device(folder / "laptop.db")]
    yield pair
    for device in pair:
        device.store.close()


class Life(RuleBasedStateMachine):
    """A user on a phone, and a laptop that knows what the phone knew in the beginning."""

    pair: list[Device]

    @initialize()
    def begin(self) -> None:
        self.user = f"user{next(NUMBERS)}"
        self.erased: set[str] = set()
        for n in range(3):
            self.phone("add", n)
        self.phone("learn", 2)
        self.laptop("sync", 0)

    def phone(self, what: str, n: int) -> None:
        self.pair[0].do(self.user, what, n, self.pair)

    def laptop(self, what: str, n: int) -> None:
        self.pair[1].do(self.user, what, n, self.pair)

    @rule(what=st.sampled_from(["add", "learn", "rollback"]), n=ids)
    def live(self, what: str, n: int) -> None:
        self.phone(what, n)

    @rule(n=ids)
    def erase(self, n: int) -> None:
        if self.pair[0].store.of(self.user).get([f"i{n}"]):
            self.phone("erase", n)
            self.erased.add(WORDS[n])

    @rule(n=ids)
    def bring_back(self, n: int) -> None:
        self.phone("restore", n)
        self.erased.discard(WORDS[n])

    @rule(what=st.sampled_from(["add", "learn"]), n=ids)
    def live_on_the_laptop(self, what: str, n: int) -> None:
        self.laptop(what, n)

    @rule(to_phone=st.booleans())
    def sync(self, to_phone: bool) -> None:
        if to_phone:
            self.phone("sync", 1)
        else:
            self.laptop("sync", 0)

    @invariant()
    def the_chain_is_valid_and_ends_with_the_champion(self) -> None:
        for device in self.pair:
            mine = device.store.of(self.user)
            chain = mine.history("films")
            assert (chain[-1].persona if chain else None) == mine.persona("films")

    @invariant()
    def nothing_erased_is_anywhere_in_the_database(self) -> None:
        said = _all_of(self.pair[0].store, self.user)
        assert [word for word in self.erased if word in said] == []


def _all_of(store: Store, user: str) -> str:
    tables = [table for table in metadata.sorted_tables if "user" in table.c]
    with store.database.read() as connection:
        return repr(
            [connection.execute(sa.select(t).where(t.c.user == user)).all() for t in tables]
        )


def test_no_sequence_of_deeds_breaks_the_chain_or_brings_back_what_was_erased(
    pair: list[Device],
) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    class Here(Life):
        pass

    Here.pair = pair
    run_state_machine_as_test(
        Here, settings=settings(max_examples=50, stateful_step_count=15, deadline=None)
    )


# Names that a careless query would mistake for each other
USERS = ("ann", "Ann", "a nn", "an", "a%", "a_n", "ann'", '"ann"', "ann--", "änn", "a\nnn", "*")


@dataclass
class Crowd:
    store: Store
    memory: EpisodicMemory

    def read(self, user: str, kind: str, n: int) -> Any:
        """One read of a user's data; it must hold the texts of this user only."""
        mine = self.store.of(user)
        everyone = list(range(1, 60))
        match kind:
            case "interactions":
                return mine.interactions("films" if n % 2 else None, limit=n or None)
            case "get":
                return mine.get([f"i{n}", "i1"])
            case "at":
                return mine.at(everyone)
            case "vectors":
                seqs, _ = mine.vectors(self.memory.embedder.fingerprint, n, 100)
                return mine.at(seqs), len(seqs) <= 4 or pytest.fail("vectors of others")
            case "after":
                return mine.at([seq for seq, *_ in mine.after(n)[0]])
            case "personas":
                return mine.persona("films"), mine.history("films"), mine.branches("films")
            case "journal":
                return mine.journal("run").get("key")
            case "count":
                return mine.count() == 4 or pytest.fail("counts others")
            case "tasks":
                return tasks_of(self.store, user)
            case "replica":
                with self.store.database.read() as connection:
                    return read(self.store, connection, user)
            case retriever:
                return self.memory.recall(user, f"film {n}", n + 1, retriever=retriever)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """Users with the same ids and queries; each one's texts hold a mark of their own."""
    with Store(tmp_path_factory.mktemp("crowd") / "memory.db") as store:
        memory = EpisodicMemory(store, HashEmbedder())
        for user in USERS:
            mark = _mark(user)
            memory.add([interaction(n, user=user, response=mark) for n in range(4)])
            first = Persona(user, "films", profile=mark)
            store.of(user).publish(first, expected=None, reason=mark)
            store.of(user).journal("run").put("key", mark)
        yield Crowd(store, memory)


def _mark(user: str) -> str:
    return f"<{USERS.index(user)}>"


KINDS = (
    "interactions", "get", "at", "vectors", "after", "personas", "journal", "count", "tasks",
    "replica", *RETRIEVERS,
)  # fmt: skip
READS = 50  # in an example


@settings(max_examples=200)
@given(
    reads=st.lists(
        st.tuples(st.sampled_from(USERS), st.sampled_from(KINDS), st.integers(0, 12)),
        min_size=READS,
        max_size=READS,
    )
)
def test_no_read_crosses_users_in_10000_cases(
    crowd: Crowd, reads: list[tuple[str, str, int]]
) -> None:
    for user, kind, n in reads:
        said = repr(crowd.read(user, kind, n))
        others = [_mark(other) for other in USERS if other != user and _mark(other) in said]
        assert others == [], (user, kind, n)


def test_every_kind_of_read_finds_the_users_own(crowd: Crowd) -> None:
    silent = {"count", "tasks"}
    for user in USERS:
        for kind in set(KINDS) - silent:
            assert _mark(user) in repr(crowd.read(user, kind, 1)), kind
        assert crowd.store.of(user).interactions(before=NOON) == []
