"""Plain JSON of who said what, and what conversations become of it."""

from __future__ import annotations

import gzip
import json

import pytest

from personaagent.data import ImportSummary, read_roles
from personaagent.data.importers.chat import EMPTY, HOLLOW, OPENING, TOOL, WORDLESS
from personaagent.data.importers.roles import OTHER
from personaagent.data.interaction import CONVERSATION, TURN
from personaagent.errors import DataError


def said(role: str, text: str, **more: object) -> dict[str, object]:
    return {"role": role, "text": text, **more}


TALK = [
    said("user", "What can I cook?"),
    said("assistant", "Steak, or a lentil curry."),
    said("user", "The curry: I eat no meat."),
]


@pytest.fixture
def read(tmp_path):
    def reading(data, user="amira", account=None, name="chats.json"):
        path = tmp_path / name
        text = data if isinstance(data, str) else json.dumps(data)
        path.write_text(text, encoding="utf-8")
        return list(read_roles(path, user, account=account))

    return reading


def test_what_the_user_wrote_is_the_response_with_its_place_in_the_conversation(read):
    first, second = read(TALK)
    assert (first.query, first.response) == (OPENING, "What can I cook?")
    assert (second.query, second.response) == (TALK[1]["text"], TALK[2]["text"])
    assert [one.metadata[TURN] for one in (first, second)] == ["1", "2"]
    assert first.metadata[CONVERSATION] == second.metadata[CONVERSATION]
    assert (first.user, first.task, first.source) == ("amira", "chat", "chat")


def test_a_message_is_found_by_what_the_user_wrote(read):
    assert read(TALK)[1].searched == TALK[2]["text"]


def test_lines_that_name_their_users_need_no_user(read, tmp_path):
    lines = "\n".join(json.dumps({"user": user, "messages": TALK}) for user in ("u1", "u2"))
    found = read(lines, user=None, name="chats.jsonl")
    assert [one.user for one in found] == ["u1", "u1", "u2", "u2"]
    packed = tmp_path / "chats.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.encode()))
    assert list(read_roles(packed)) == found


def test_with_a_user_the_conversations_of_others_are_left_and_counted(read):
    account = ImportSummary()
    lines = "\n".join(json.dumps({"user": user, "messages": TALK}) for user in ("u1", "u2"))
    assert {one.user for one in read(lines, user="u2", account=account)} == {"u2"}
    assert account.left[OTHER] == 3


def test_a_longer_export_of_the_same_conversation_only_adds(read):
    longer = [*TALK, said("assistant", "Here it is."), said("user", "With rice, please.")]
    short, long = read(TALK), read(longer)
    assert long[:2] == short
    assert len(long) == 3


def test_one_object_a_list_of_objects_and_a_list_on_each_line_are_read_too(read):
    plain = [one.response for one in read(TALK)]
    assert [one.response for one in read({"messages": TALK})] == plain
    assert [one.response for one in read(json.dumps({"messages": TALK}, indent=1))] == plain
    assert [one.response for one in read([{"messages": TALK}])] == plain
    other = [said("user", "Good morning.")]
    listed = read(f"{json.dumps(TALK)}\n{json.dumps(other)}\n")
    assert [one.response for one in listed] == [*plain, "Good morning."]


def test_content_in_blocks_and_other_names_of_roles_are_read(read):
    blocks = [{"type": "text", "text": "Look at"}, {"type": "image"}, {"text": "this."}]
    account = ImportSummary()
    (one,) = read(
        [
            {"role": "system", "content": "Be kind."},
            {"role": "model", "content": "Welcome!"},
            {"role": "human", "content": blocks},
            {"role": "user", "content": [{"type": "image"}]},
            {"role": "user", "content": ""},
        ],
        account=account,
    )
    assert (one.query, one.response) == ("Welcome!", "Look at\n\nthis.")
    assert (account.left[TOOL], account.left[WORDLESS], account.left[EMPTY]) == (1, 1, 1)


def test_messages_that_name_their_conversation_are_put_together(read):
    told = [
        said("user", "About cats.", conversation="a", id=1),
        said("user", "About cars.", conversation="b", id=1),
        said("assistant", "Cats purr.", conversation="a", id=2),
        said("user", "Mine does not.", conversation="a", id=3),
    ]
    found = read(told)
    assert [one.metadata[CONVERSATION] for one in found] == ["a", "a", "b"]
    assert found[1].query == "Cats purr."
    assert [one.id for one in found] == ["chat-a-1", "chat-a-3", "chat-b-1"]


def test_two_conversations_that_open_alike_stay_two(read):
    again = [TALK[0], said("assistant", "Soup?"), said("user", "No soup.")]
    found = read([{"messages": TALK}, {"messages": again}])
    names = {one.metadata[CONVERSATION] for one in found}
    assert [one.response for one in found] == ["What can I cook?", TALK[2]["text"], "No soup."]
    assert len(names) == 2


def test_times_are_read_of_messages_and_of_conversations(read):
    first, second = read(
        [{"time": "2026-03-01T09:00:00Z", "messages": [TALK[0], {**TALK[2], "time": 1772500000}]}]
    )
    assert first.time.isoformat() == "2026-03-01T09:00:00+00:00"
    assert second.time > first.time


def test_what_is_wrong_is_named_with_its_place(read):
    with pytest.raises(DataError, match=r"record 1: field 'messages.1.role': 'robot' is not known"):
        read([{"messages": [said("robot", "Beep.")]}])
    with pytest.raises(DataError, match="line 2: field 'user': it is missing: name the user"):
        read(
            "\n".join(
                json.dumps(one) for one in ({"user": "u", "messages": TALK}, {"messages": []})
            ),
            user=None,
        )
    with pytest.raises(DataError, match="--user does"):
        read(TALK, user=None)
    with pytest.raises(DataError, match="not valid JSON"):
        read('{"user": "u", "messages": []}\n{"user": ', user=None)


def test_one_broken_record_costs_no_other_where_that_is_wanted(read):
    account = ImportSummary(skip_malformed=True)
    broken = [{"messages": 3}, {"messages": [*TALK, said("robot", "Beep.")]}, {"messages": []}]
    assert len(read(broken, account=account)) == 2
    assert len(account.malformed) == 2
    assert account.left[HOLLOW] == 1
