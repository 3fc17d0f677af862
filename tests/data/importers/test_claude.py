"""Claude's export: what the user wrote is taken, everything else is counted and left."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personaagent.data import ImportSummary, Interaction, read_claude
from personaagent.data.importers import chat
from personaagent.errors import DataError

Write = Callable[[Any], Path]
ROOT = "00000000-0000-4000-8000-000000000000"


def said(id: str, sender: str, words: str | None, **more: Any) -> dict[str, Any]:
    blocks = [] if words is None else [{"type": "text", "text": words}]
    message = {"uuid": id, "sender": sender, "text": words or "", "content": blocks}
    return message | {"created_at": "2025-10-09T08:55:20.123456Z", "attachments": []} | more


def talk(*messages: Any, **more: Any) -> dict[str, Any]:
    about = {"uuid": "c", "name": "Tyres", "created_at": "2025-10-09T08:00:00Z"}
    return about | {"chat_messages": list(messages)} | more


TALK = talk(
    said("1", "human", "My tyres are worn."),
    said(
        "2",
        "assistant",
        None,
        text="Thinking… Buy new ones.",
        content=[
            {"type": "thinking", "thinking": "Let me think."},
            {"type": "text", "text": "Buy new ones."},
            {"type": "tool_use", "name": "search", "input": {}},
            {"type": "text", "text": "Soon."},
        ],
    ),
    said("3", "human", "Which are quiet?"),
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(data: Any) -> Path:
        path = tmp_path / "conversations.json"
        path.write_text(json.dumps(data))
        return path

    return write


def read(path: Path) -> tuple[list[Interaction], ImportSummary]:
    account = ImportSummary()
    return list(read_claude(path, "ann", account=account)), account


def test_the_user_replies_to_what_the_assistant_said(write: Write):
    (first, reply), account = read(write([TALK]))
    assert (first.query, first.response) == (chat.OPENING, "My tyres are worn.")
    assert (reply.query, reply.response) == ("Buy new ones.\n\nSoon.", "Which are quiet?")
    assert (reply.id, reply.user, reply.task, reply.source) == ("claude-3", "ann", "chat", "claude")
    assert reply.metadata == {"conversation": "c", "turn": "2"}
    assert reply.searched == reply.response
    assert str(reply.time) == "2025-10-09 08:55:20.123456+00:00"
    assert account.taken == {chat.FIRST: 1, chat.REPLY: 1}
    assert +account.left == {chat.ASSISTANT: 1}
    assert "Tyres" not in repr((first, reply))


def test_messages_of_old_exports_have_their_text_alone(write: Write):
    old = talk(
        {"uuid": "1", "sender": "human", "text": "Hi."},
        {"uuid": "2", "sender": "assistant", "text": "Hello?"},
        {"uuid": "3", "sender": "human", "text": "New tyres."},
    )
    found, _ = read(write([old]))
    assert [(one.query, one.response) for one in found] == [
        (chat.OPENING, "Hi."),
        ("Hello?", "New tyres."),
    ]
    assert str(found[0].time) == "2025-10-09 08:00:00+00:00"


def test_an_edited_message_is_a_branch(write: Write):
    edited = talk(
        said("1", "human", "Rite a poem.", parent_message_uuid=ROOT),
        said("2", "assistant", "Rose.", parent_message_uuid="1"),
        said("3", "human", "Write a poem.", parent_message_uuid=ROOT),
        said("4", "assistant", "Roses.", parent_message_uuid="3"),
        said("5", "human", "Shorter.", parent_message_uuid="4"),
    )
    found, account = read(write([edited]))
    assert [(one.query, one.response) for one in found] == [
        (chat.OPENING, "Write a poem."),
        ("Roses.", "Shorter."),
    ]
    assert account.left[chat.BRANCH] == 1
    found, account = read(write([edited | {"current_leaf_message_uuid": "2"}]))
    assert [one.response for one in found] == ["Rite a poem."]
    assert account.left[chat.BRANCH] == 2


def test_parents_in_a_circle_end(write: Write):
    circle = talk(
        said("1", "human", "a", parent_message_uuid="2"),
        said("2", "human", "b", parent_message_uuid="1"),
    )
    assert [one.response for one in read(write([circle]))[0]] == ["a", "b"]


def test_attached_files_are_left_and_the_words_beside_them_taken(write: Write):
    file = {"file_name": "a.txt", "extracted_content": "not mine"}
    found, account = read(
        write(
            [
                talk(
                    said("1", "human", "Look.", attachments=[file]),
                    said("2", "human", None, attachments=[file]),
                    said("3", "human", None),
                )
            ]
        )
    )
    assert [one.response for one in found] == ["Look."]
    assert (account.left[chat.WORDLESS], account.left[chat.EMPTY]) == (1, 1)


@pytest.mark.parametrize(
    ("broken", "why", "count"),
    [
        (3, chat.HOLLOW, 1),
        ({"uuid": "z", "name": ""}, chat.HOLLOW, 1),
        (talk() | {"chat_messages": None}, chat.HOLLOW, 1),
        (talk(3, {"sender": "human", "text": "no id"}), chat.UNREADABLE, 2),
        (talk({"uuid": "9", "sender": None}), chat.TOOL, 1),
        (talk(said("9", "human", None, content="x", text=None)), chat.WORDLESS, 1),
        (talk(said("9", "human", None, content=[1, {"type": "text"}])), chat.WORDLESS, 1),
    ],
)
def test_what_is_broken_is_left_and_costs_nothing_else(
    write: Write, broken: Any, why: str, count: int
):
    found, account = read(write([broken, TALK]))
    assert [one.id for one in found] == ["claude-1", "claude-3"]
    assert account.left[why] == count


def test_a_time_that_cannot_be_read_is_the_conversations(write: Write):
    (one,), account = read(write([talk(said("1", "human", "Hi.", created_at="soon"))]))
    assert str(one.time) == "2025-10-09 08:00:00+00:00"
    assert account.changed == {chat.UNTIMED: 1}


def test_the_archive_is_read_as_it_was_downloaded(tmp_path: Path):
    archive = tmp_path / "data-2025-10-09.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("users.json", "[{}]")
        packed.writestr("projects.json", "[]")
        packed.writestr("conversations.json", json.dumps([TALK], ensure_ascii=False))
    assert [one.id for one in read(archive)[0]] == ["claude-1", "claude-3"]


def test_another_file_is_refused(write: Write):
    with pytest.raises(DataError, match="not a list of Claude's conversations"):
        read(write({}))
