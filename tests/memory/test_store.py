from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import NOON, histories, interaction

from personaagent.data import Choice, Classification, Interaction, Rating, Task, Text
from personaagent.errors import DataError, StoreError
from personaagent.memory import Added, Store
from personaagent.memory.tasks import save_tasks

several = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def content(store: Store) -> dict[str, dict[str, str]]:
    """All that is stored, without the order of insertion."""
    return {
        user.user: {
            one.id: one.digest for one in store.of(user.user).interactions(include_expired=True)
        }
        for user in store.users()
    }


# Adding


def test_what_was_added_is_read_back_equal(store: Store) -> None:
    given_one = interaction(1, metadata={"genre": "noir"}, weight=2.5, expires=NOON)
    store.add([given_one])
    assert store.of("ann").interactions(include_expired=True) == [given_one]


def test_adding_the_same_again_stores_nothing(store: Store) -> None:
    batch = [interaction(n) for n in range(5)]
    assert store.add(batch) == Added(new=5, known=0)
    assert store.add(reversed(batch)) == Added(new=0, known=5)
    assert store.of("ann").count() == 5


def test_one_instant_in_two_timezones_is_the_same_interaction(store: Store) -> None:
    one = interaction(1)
    elsewhere = one.time.astimezone(timezone(timedelta(hours=2)))
    store.add([one])
    assert store.add([replace(one, time=elsewhere)]) == Added(new=0, known=1)


def test_an_id_with_other_content_is_refused_and_nothing_is_stored(store: Store) -> None:
    store.add([interaction(1)])
    changed = interaction(1, response="bad", weight=2.0)
    with pytest.raises(DataError, match=r"'i1' of user 'ann'.*response, weight.*immutable"):
        store.add([interaction(2), changed])
    assert store.of("ann").get(["i1", "i2"]) == [interaction(1)]


def test_one_id_may_not_have_two_contents_in_one_batch(store: Store) -> None:
    with pytest.raises(DataError, match="'i1'"):
        store.add([interaction(1), interaction(1, response="bad")])
    assert store.users() == []


def test_the_same_id_of_two_users_is_two_interactions(store: Store) -> None:
    assert store.add([interaction(1), interaction(1, user="bob")]).new == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("user", " "),
        ("task", ""),
        ("query", "\n"),
        ("query", 3),
        ("weight", 0.0),
        ("weight", math.nan),
        ("weight", math.inf),
        ("time", datetime(2024, 1, 1)),
        ("time", datetime.now(UTC) + timedelta(days=2)),
        ("time", datetime.min.replace(tzinfo=timezone(timedelta(hours=3)))),
        ("expires", datetime(2024, 1, 1)),
        ("metadata", {"year": 1999}),
    ],
)
def test_a_broken_field_is_named_and_nothing_is_stored(
    store: Store, field: str, value: object
) -> None:
    with pytest.raises(DataError, match=f"field '{field}'"):
        store.add([interaction(1), interaction(2, **{field: value})])
    assert store.users() == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a\0b", "a\ufffdb"), ("half \ud83d", "half \ufffd"), ("\udc00\ud83d!", "\ufffd\ufffd!")],
)
def test_what_no_database_can_store_is_replaced(store: Store, given: str, kept: str) -> None:
    one = interaction(1, query=given, response=given, metadata={given: given})
    store.add([one])
    (stored,) = store.of("ann").interactions()
    assert (stored.query, stored.response, stored.metadata) == (kept, kept, {kept: kept})
    assert stored.digest == one.digest


def test_users_who_differ_in_form_only_are_one(store: Store) -> None:
    store.add([interaction(1, user="Zoe\u0301"), interaction(2, user=" Zo\u00e9\u200f")])
    assert [(one.user, one.interactions) for one in store.users()] == [("Zo\u00e9", 2)]
    assert len(store.of("\u200eZoe\u0301 ").interactions()) == 2
    with pytest.raises(DataError, match="the user is empty"):
        store.of(" \u200b")


def test_of_what_changed_elsewhere_the_first_is_kept_where_that_is_wanted(store: Store) -> None:
    store.add([interaction(1)])
    changed = [interaction(1, response="bad"), interaction(2), interaction(2, response="worse")]
    assert store.add(changed, keep_first=True) == Added(new=1, known=2, changed=2)
    assert store.of("ann").get(["i1", "i2"]) == [interaction(1), interaction(2)]


def test_the_clock_decides_what_is_the_future(database: str) -> None:
    with Store(database, now=lambda: NOON) as store:
        store.add([interaction(1, time=NOON + timedelta(hours=23))])
        with pytest.raises(DataError, match="future"):
            store.add([interaction(2, time=NOON + timedelta(hours=25))])


def test_progress_is_reported_up_to_the_last_interaction(store: Store) -> None:
    seen: list[int] = []
    store.add([interaction(n) for n in range(2500)], progress=seen.append)
    assert len(seen) > 1
    assert sum(seen) == 2500


@several
@given(histories(), st.randoms(use_true_random=False), st.integers(1, 7))
def test_any_order_any_batches_and_any_repetition_store_the_same(
    new_database: Callable[[], str], history: list[Interaction], random: object, size: int
) -> None:
    at_once, in_parts = (Store(new_database(), screening=None) for _ in range(2))
    with at_once, in_parts:
        at_once.add(history)
        shuffled = history * 2
        random.shuffle(shuffled)
        new = 0
        for start in range(0, len(shuffled), size):
            new += in_parts.add(shuffled[start : start + size]).new
        assert new == len(history)
        assert content(at_once) == content(in_parts)


# Reading


@several
@given(histories())
def test_no_read_crosses_users(new_database: Callable[[], str], history: list[Interaction]) -> None:
    with Store(new_database(), screening=None) as store:
        store.add(history)
        ids = [one.id for one in history]
        for user in ("ann", "bob", "eve"):
            mine = store.of(user)
            expected = {one.id for one in history if one.user == user}
            found = mine.interactions(include_expired=True)
            assert {one.user for one in found + mine.get(ids)} <= {user}
            assert {one.id for one in found} == {one.id for one in mine.get(ids)} == expected
            assert len(mine.after(0)[0]) == len(mine.without_vector("x")) == len(expected)
            assert not mine.seqs(ids) or len(mine.seqs(ids)) == len(expected)
            assert len(mine.at(range(100))) <= len(expected)
            assert mine.count() == len(mine.interactions())


@several
@given(histories(users=("ann",)))
def test_interactions_come_undated_first_then_by_time_then_by_insertion(
    new_database: Callable[[], str], history: list[Interaction]
) -> None:
    with Store(new_database(), screening=None) as store:
        store.add(history)
        mine = store.of("ann")
        undated = [one for one in history if one.time is None]
        dated = sorted((one for one in history if one.time), key=lambda one: one.time)
        ordered = [one.id for one in undated + dated]
        assert [one.id for one in mine.interactions(include_expired=True)] == ordered
        latest = mine.interactions(include_expired=True, limit=3)
        assert [one.id for one in latest] == ordered[-3:]
        for place, id in enumerate(ordered):
            sooner = mine.interactions(before_id=id, include_expired=True)
            assert [one.id for one in sooner] == ordered[:place]


def test_before_excludes_the_moment_itself(store: Store) -> None:
    store.add([interaction(n) for n in range(3)])
    found = store.of("ann").interactions(before=NOON + timedelta(hours=1))
    assert [one.id for one in found] == ["i0"]


def test_expired_interactions_are_read_only_on_request(database: str) -> None:
    with Store(database, now=lambda: NOON + timedelta(days=1)) as store:
        store.add([interaction(1, expires=NOON + timedelta(days=1)), interaction(2)])
        mine = store.of("ann")
        assert [one.id for one in mine.interactions()] == ["i2"]
        assert mine.count() == 1
        assert len(mine.interactions(include_expired=True)) == 2


def test_an_empty_filter_finds_nothing(store: Store) -> None:
    store.add([interaction(1)])
    assert store.of("ann").get([]) == []


def test_get_keeps_the_order_that_was_asked_for(store: Store) -> None:
    store.add([interaction(n) for n in range(4)])
    assert [one.id for one in store.of("ann").get(["i2", "nope", "i0"])] == ["i2", "i0"]


@pytest.mark.parametrize("user", ["", "  "])
def test_there_is_no_read_without_a_user(store: Store, user: str) -> None:
    with pytest.raises(DataError, match="user is empty"):
        store.of(user)


def test_an_unknown_anchor_and_a_naive_moment_are_refused(store: Store) -> None:
    with pytest.raises(DataError, match="no interaction 'i9'"):
        store.of("ann").interactions(before_id="i9")
    with pytest.raises(DataError, match="timezone"):
        store.of("ann").interactions(before=datetime(2024, 1, 1))


def test_users_are_summarized_by_counts_and_times(store: Store) -> None:
    store.add([interaction(n) for n in range(3)])
    store.add([interaction(1, user="bob", task="books", time=None)])
    ann, bob = store.users()
    assert (ann.user, ann.interactions) == ("ann", 3)
    assert (ann.first, ann.last) == (NOON, NOON + timedelta(hours=2))
    assert (bob.user, bob.interactions, bob.first, bob.last) == ("bob", 1, None, None)
    assert [summary.user for summary in store.users("books")] == ["bob"]


def test_the_environment_names_the_default_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAAGENT_DB", str(tmp_path / "new folder" / "mine.db"))
    with Store() as store:
        store.add([interaction(1)])
    assert (tmp_path / "new folder" / "mine.db").exists()


def test_a_newer_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    file = tmp_path / "newer.db"
    Store(file).close()
    connection = sqlite3.connect(file)
    connection.execute("UPDATE meta SET value = '7' WHERE key = 'schema_version'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"newer\.db.*version 7.*version \d+.*upgrade"):
        Store(file)


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("these are my notes " * 100)
    with pytest.raises(StoreError, match=r"notes\.txt.*not a database.*name another"):
        Store(file)
    assert file.read_text() == "these are my notes " * 100


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "memory.db"
    with Store(file) as store:
        store.add([interaction(n) for n in range(2000)])
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(size // 4)
        stream.write(b"\xff" * (size // 2))
    with Store(file) as store, pytest.raises(StoreError, match=r"memory\.db.*backup"):
        store.of("ann").interactions()


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE runs (id)")
    connection.close()
    with pytest.raises(StoreError, match=r"other\.db.*not a PersonaAgent database"):
        Store(file)


@pytest.mark.parametrize("where", ["sqlite://", "sqlite:///:memory:", "mysql://host/x", "://"])
def test_an_address_that_cannot_work_is_refused(where: str) -> None:
    with pytest.raises(StoreError):
        Store(where)


def test_a_folder_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        Store(tmp_path)


def test_a_commit_survives_power_loss_and_readers_do_not_wait(tmp_path: Path) -> None:
    with Store(tmp_path / "memory.db") as store, store.database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "page_size")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 30_000,
        "foreign_keys": 1,
        "page_size": 16_384,
    }


INBOX = Classification("inbox", "Which?", labels=("Work", "Home"))
STARS = Rating("stars", "How many?")
NOTES = Text("notes", "Write.")
PAIRS = Choice("pairs", "Which?")
OPTIONS = 'Which? [1]: "a" [2]: "b"'


@pytest.mark.parametrize(
    ("task", "query", "response", "said"),
    [
        (INBOX, "q", "WRONG", "'WRONG' is not one of its answers: Work, Home"),
        (INBOX, "q", "  ", "the answer is blank"),
        (STARS, "q", "6", "'6' is not one of its answers: 1, 2, 3, 4, 5"),
        (STARS, "q", "4.0", "'4.0' is not one of its answers"),
        (PAIRS, OPTIONS, "[3]", "'[3]' is not one of its answers"),
        (PAIRS, "Which?", "[1]", "lacks its options"),
        (NOTES, "q", " ", "the answer is blank"),
    ],
)
def test_an_answer_that_is_none_of_its_task_is_refused_with_all_that_came_along(
    store: Store, task: Task, query: str, response: str, said: str
) -> None:
    save_tasks(store, [task])
    good = Interaction("1", "ann", "anything", "q", "r")
    bad = Interaction("2", "ann", task.name, query, response)
    with pytest.raises(DataError) as refused:
        store.add([good, bad])
    assert str(refused.value).startswith("interaction '2' of user 'ann': field 'response': ")
    assert said in str(refused.value)
    assert store.users() == []
    with pytest.raises(DataError):
        store.add([replace(bad, task="new")], tasks={"new": replace(task, name="new")})


@pytest.mark.parametrize(
    ("task", "query", "given", "kept"),
    [
        (INBOX, "q", " work ", "Work"),
        (STARS, "q", " 4", "4"),
        (PAIRS, OPTIONS, "[2] ", "[2]"),
        (PAIRS, "a paper of mine", "", ""),  # LaMP-1's papers
        (INBOX, "what mem0 knows", "", ""),
        (NOTES, "q", " Dear all ", "Dear all"),
    ],
)
def test_what_is_stored_is_spelled_as_its_task_spells_it(
    store: Store, task: Task, query: str, given: str, kept: str
) -> None:
    save_tasks(store, [task])
    one = Interaction("1", "ann", task.name, query, given)
    assert store.add([one]).new == 1
    assert store.of("ann").get(["1"])[0].response == kept
    assert store.add([one, replace(one, response=kept)]).known == 2


def test_an_answer_to_a_task_that_nobody_knows_is_stored_as_it_is(store: Store) -> None:
    store.add([Interaction("1", "ann", "later", "q", " WRONG ")])
    assert store.of("ann").get(["1"])[0].response == " WRONG "
