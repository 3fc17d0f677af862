"""mem0's memories: evidence about a user, never what the user answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import ImportSummary, Interaction, read_mem0
from personaagent.data.importers import mem0
from personaagent.errors import DataError

MEMORY = {
    "id": "m1",
    "memory": "Ann drinks tea.",
    "user_id": "ann",
    "created_at": "2024-07-20T01:30:36.275141-07:00",
    "updated_at": None,
    "hash": "x",
    "categories": ["food"],
}
Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(data: Any) -> Path:
        path = tmp_path / "mem0.json"
        path.write_text(json.dumps(data))
        return path

    return write


def read(path: Path, user: str | None = None) -> tuple[list[Interaction], ImportSummary]:
    account = ImportSummary()
    return list(read_mem0(path, "inbox", user=user, account=account)), account


@pytest.mark.parametrize("wrap", [lambda one: [one], lambda one: {"count": 1, "results": [one]}])
def test_a_memory_is_evidence_without_an_answer(write: Write, wrap: Callable[[Any], Any]):
    (one,), account = read(write(wrap(MEMORY)))
    assert (one.user, one.task, one.query, one.response) == ("ann", "inbox", "Ann drinks tea.", "")
    assert (one.source, one.weight) == ("mem0", mem0.WEIGHT)
    assert str(one.time) == "2024-07-20 08:30:36.275141+00:00"
    assert account.taken == {mem0.MEMORY: 1}
    assert not account.left


def test_a_memory_that_mem0_rewrote_is_another_one(write: Write):
    (before,), _ = read(write([MEMORY]))
    changed = MEMORY | {"memory": "Ann drinks coffee.", "updated_at": "2024-08-01T00:00:00Z"}
    (after,), _ = read(write([changed]))
    assert before.id != after.id
    assert str(after.time) == "2024-08-01 00:00:00+00:00"
    assert read(write([MEMORY]))[0] == [before]


def test_a_user_gets_their_own_memories_and_those_that_name_nobody(write: Write):
    nameless = MEMORY | {"user_id": None, "id": "m2"}
    others = MEMORY | {"user_id": "bob", "id": "m3"}
    agents = nameless | {"agent_id": "support", "id": "m4"}
    data = write([MEMORY, nameless, others, agents])
    found, account = read(data, "ann")
    assert [one.user for one in found] == ["ann", "ann"]
    assert account.left == {mem0.OTHER: 1, mem0.AGENT: 1}
    found, account = read(data)
    assert [one.user for one in found] == ["ann", "bob"]
    assert account.left == {mem0.NOBODY: 1, mem0.AGENT: 1}


def test_empty_expired_and_repeated_memories_are_left(write: Write):
    data = [
        MEMORY,
        MEMORY,
        MEMORY | {"id": "m2", "memory": None},
        MEMORY | {"id": "m3", "memory": "  "},
        MEMORY | {"id": "m4", "expiration_date": "2024-12-31"},
        MEMORY | {"id": "m5", "expiration_date": "2999-12-31"},
    ]
    found, account = read(write(data))
    assert [str(one.expires) for one in found] == ["None", "3000-01-01 00:00:00+00:00"]
    assert account.left == {mem0.TWICE: 1, mem0.EMPTY: 2, mem0.EXPIRED: 1}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([MEMORY, 3], r"record 2: field '\*'"),
        ([MEMORY | {"id": ""}], "record 1: field 'id'"),
        ([{"text": "x", "id": "1"}], "record 1: field 'memory': it is missing"),
        ([MEMORY | {"created_at": "yesterday"}], "record 1: field 'created_at'"),
        ([MEMORY | {"created_at": "2999-01-01T00:00:00Z"}], "lies in the future"),
        ([MEMORY | {"expiration_date": "soon"}], "record 1: field 'expiration_date'"),
        ({"professional": "engineer"}, "mem0's get_all"),
    ],
)
def test_what_is_wrong_is_named(write: Write, data: Any, problem: str):
    with pytest.raises(DataError, match=problem) as caught:
        read(write(data))
    assert "mem0.json: " in str(caught.value)


CASES = Path(__file__).resolve().parents[2] / "cases"


def test_a_page_of_a_longer_list_is_told():
    found, account = read(CASES / "mem0-page.json")
    assert [one.query for one in found] == ["Prefers trains to planes"]
    assert account.missing.startswith("1 of 2: ")


def test_all_pages_together_lack_nothing(write: Write, tmp_path: Path):
    second = {"count": 2, "next": None, "results": [MEMORY]}
    account = ImportSummary()
    for path in (CASES / "mem0-page.json", write(second)):
        list(read_mem0(path, "inbox", account=account))
    assert account.taken == {mem0.MEMORY: 2}
    assert account.missing == ""
    (tmp_path / "page-2.json").write_text((CASES / "mem0-page.json").read_text())
    found, account = read(tmp_path)
    assert (len(found), account.missing) == (2, "")


@pytest.mark.parametrize(
    ("page", "missing"),
    [
        ({"results": [MEMORY], "next": "https://x"}, "1 of more: "),
        ({"results": [MEMORY], "next": None}, ""),
        ({"results": [MEMORY], "relations": []}, ""),
        ({"results": [MEMORY], "count": 40}, "1 of 40: "),
        ({"results": [MEMORY], "count": 1, "next": None}, ""),
        ([MEMORY], ""),
    ],
)
def test_what_a_page_says_of_the_rest_is_believed(write: Write, page: Any, missing: str):
    _, account = read(write(page))
    assert account.missing.startswith(missing)
    assert bool(account.missing) == bool(missing)


def test_a_broken_memory_is_left_where_that_is_wanted(write: Write):
    account = ImportSummary(skip_malformed=True)
    path = write([MEMORY | {"id": ""}, MEMORY, 3])
    assert [one.query for one in read_mem0(path, "inbox", account=account)] == ["Ann drinks tea."]
    assert [text.split(": ")[1] for text in account.malformed] == ["record 1", "record 3"]


@pytest.mark.parametrize("given", [1721464236, "1721464236", 1721464236000, "2024-07-20 08:30:36"])
def test_a_time_is_read_in_every_form(write: Write, given: Any):
    (one,), _ = read(write([MEMORY | {"created_at": given}]))
    assert str(one.time) == "2024-07-20 08:30:36+00:00"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_other_unicode_encodings_are_read(tmp_path: Path, encoding: str):
    path = tmp_path / "mem0.json"
    memory = json.dumps([MEMORY | {"memory": "@ drinks café"}], ensure_ascii=False)
    path.write_bytes(memory.replace("@", r"\ud83d").encode(encoding))
    assert [one.query for one in read(path)[0]] == ["\ufffd drinks café"]


def test_a_user_in_another_form_is_the_same(write: Write):
    path = write([MEMORY | {"user_id": "Zoe\u0301"}, MEMORY | {"id": "m2", "user_id": "Zo\u00e9"}])
    found, account = read(path, "Zo\u00e9\u200e")
    assert [one.user for one in found] == ["Zoé", "Zoé"]
    assert account.joined == {"Zoé": ["Zoe\u0301", "Zo\u00e9", "Zo\u00e9\u200e"]}


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": st.sampled_from(["1", "2"]),
                "memory": st.one_of(st.none(), st.text(max_size=4)),
            },
            optional={
                "user_id": st.sampled_from(["ann", "bob", "", None]),
                "agent_id": st.sampled_from(["it", None]),
                "expiration_date": st.sampled_from([None, "2020-01-01", "2999-01-01"]),
            },
        ),
        max_size=5,
    )
)
def test_every_record_is_taken_or_left(tmp_path_factory: pytest.TempPathFactory, data: Any):
    path = tmp_path_factory.mktemp("any") / "mem0.json"
    path.write_text(json.dumps(data))
    found, account = read(path)
    assert len(found) == account.taken.total()
    assert len(found) + account.left.total() == len(data)
    assert all(one.response == "" and one.user for one in found)
