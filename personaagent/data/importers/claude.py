"""The data export of Claude (claude.ai) as interactions of its user, read as a stream.

It is read as it is downloaded: the zip archive, its folder, or `conversations.json`. The form,
as other importers of real exports describe it (github.com/danny-avila/LibreChat/pull/11124,
github.com/anthropics/claude-code/issues/40411): a list of conversations with `uuid`, `created_at`
and `chat_messages`, each with `uuid`, `sender` (human or assistant), `created_at`, `text`, and
`content` in blocks, of which only those of type text were said. Files that the user attached stand
apart from the message, in `attachments`, and are left: they are seldom the user's own words.
Newer exports name a parent for each message, and then an edited message is a branch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personaagent.data.files import documents
from personaagent.data.import_summary import ImportSummary
from personaagent.data.importers import Importer
from personaagent.data.importers.chat import (
    BRANCH,
    CHAT,
    EMPTY,
    HOLLOW,
    UNREADABLE,
    WORDLESS,
    Message,
    Replies,
    sent,
)
from personaagent.data.interaction import Interaction

_FILES = r"conversations(-\d+)?\.json"
_DUE = "conversations.json of Claude's export"


def read_claude(
    path: str | Path, user: str, *, task: str = CHAT.name, account: ImportSummary | None = None
) -> Iterator[Interaction]:
    """The user's messages in an export, conversation by conversation, in the order of each.

    Args:
        path: the zip archive, its folder, or `conversations.json`.
        user: whose export it is.
        task: the name of a task of free text.
        account: counts every message: what kind was taken, why others were left.

    Raises:
        DataError: there are no conversations, or a file is cut off or no JSON.
    """
    account = ImportSummary() if account is None else account
    replies = Replies(account.user(user), task, "claude", account)
    for document in documents(path, _FILES, _DUE):
        for _, record in document.records("not a list of Claude's conversations"):
            given = record.get("chat_messages") if isinstance(record, dict) else None
            if not isinstance(given, list):
                account.left[HOLLOW] += 1
                continue
            yield from replies.of(_messages(record, given, account), str(record.get("uuid") or ""))


def _messages(
    record: dict[str, Any], given: list[Any], account: ImportSummary
) -> Iterator[Message]:
    readable = [one for one in given if isinstance(one, dict) and isinstance(one.get("uuid"), str)]
    account.left[UNREADABLE] += len(given) - len(readable)
    branch = _branch(readable, record.get("current_leaf_message_uuid"))
    for one in readable:
        if one["uuid"] not in branch:
            account.left[BRANCH] += one.get("sender") == "human"
            continue
        text = _words(one)
        match one.get("sender"):
            case "human":
                if text:
                    time = sent(one.get("created_at"), record.get("created_at"), account)
                    yield Message(one["uuid"], "user", text, time)
                else:
                    yield Message(one["uuid"], "user", "", left=_missing(one))
            case "assistant":
                yield Message(one["uuid"], "assistant", text)
            case _:
                yield Message(one["uuid"], "other", "")


def _branch(messages: list[dict[str, Any]], leaf: object) -> set[str]:
    """The ids on the way to the last message, or to the one that is named as such; all of them
    where messages do not name their parents."""
    by_id = {one["uuid"]: one for one in messages}
    if not any(one.get("parent_message_uuid") in by_id for one in messages):
        return set(by_id)
    at: Any = leaf if leaf in by_id else messages[-1]["uuid"]
    way: set[str] = set()
    while at in by_id and at not in way:  # the first message names a parent that is none
        way.add(at)
        at = by_id[at].get("parent_message_uuid")
    return way


def _words(message: dict[str, Any]) -> str:
    """What was said in a message: its blocks of text. Old exports have its text alone; elsewhere
    the assistant's text also tells of its tools."""
    blocks = message.get("content")
    said = [
        one["text"].strip()
        for one in (blocks if isinstance(blocks, list) else [])
        if isinstance(one, dict) and one.get("type") == "text" and isinstance(one.get("text"), str)
    ]
    plain = message.get("text")
    if (
        not any(said)
        and isinstance(plain, str)
        and (message.get("sender") == "human" or not blocks)
    ):
        said = [plain.strip()]
    return "\n\n".join(text for text in said if text)


def _missing(message: dict[str, Any]) -> str:
    """Why a message of the user has no words."""
    other = message.get("attachments") or message.get("files") or message.get("content")
    return WORDLESS if other else EMPTY


IMPORTER = Importer(read_claude)
