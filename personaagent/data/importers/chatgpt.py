"""A ChatGPT data export as interactions of its user, read as a stream.

It is read as it is downloaded: the zip archive, the folder that it unpacks to, or a file of
conversations, of which large exports have several. A conversation is a tree, `mapping`: every edit
and regeneration is a branch. The branch that the user went on with ends in `current_node`; the
others are left. What a user pasted cannot be told from what the user wrote. What was spoken stands
as a transcript among the parts of a message (seen in github.com/marklubin/synix/issues/6).

A conversation that is broken, or a message, is left and counted, and costs no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from personaagent.data.files import documents
from personaagent.data.import_summary import ImportSummary
from personaagent.data.importers import Importer
from personaagent.data.importers.chat import (
    BRANCH,
    BROKEN,
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

HIDDEN = "custom instructions, or hidden by ChatGPT"

_FILES = r"conversations(-\d+)?\.json"
_DUE = "conversations.json of ChatGPT's export, nor conversations-000.json and so on"
_TEXTS = ("text", "multimodal_text")
_Node = dict[str, Any]


def read_chatgpt(
    path: str | Path, user: str, *, task: str = CHAT.name, account: ImportSummary | None = None
) -> Iterator[Interaction]:
    """The user's messages in an export, conversation by conversation, in the order of each.

    Args:
        path: the zip archive, its folder, or a file of conversations.
        user: whose export it is; the file does not say.
        task: the name of a task of free text.
        account: counts every message: what kind was taken, why others were left.

    Raises:
        DataError: there are no conversations, or a file is cut off or no JSON.
    """
    account = ImportSummary() if account is None else account
    replies = Replies(account.user(user), task, "chatgpt", account)
    for document in documents(path, _FILES, _DUE):
        for _, record in document.records("not a list of ChatGPT's conversations"):
            nodes = record.get("mapping") if isinstance(record, dict) else None
            if not isinstance(nodes, dict):
                account.left[HOLLOW] += 1
                continue
            name = record.get("conversation_id") or record.get("id") or ""
            yield from replies.of(_messages(record, nodes, account), str(name))


def _messages(
    record: dict[str, Any], nodes: dict[str, Any], account: ImportSummary
) -> Iterator[Message]:
    """What stands on the branch that the conversation went on with."""
    branch = _branch(nodes, record.get("current_node"))
    if branch is None:
        account.left[BROKEN] += sum(_role(node) == "user" for node in nodes.values())
        return
    account.left[BRANCH] += sum(
        _role(node) == "user" for id, node in nodes.items() if id not in branch
    )
    for id in branch:
        message, role = nodes[id].get("message"), _role(nodes[id])
        if not message:
            continue  # the root
        if role is None:
            account.left[UNREADABLE] += 1
        elif role == "user":
            text = _words(message, "in")
            if why := _unusable(message, text):
                yield Message(id, "user", text, left=why)
                continue
            time = sent(message.get("create_time"), record.get("create_time"), account)
            yield Message(id, "user", text, time)
        else:
            spoken = role == "assistant" and message.get("recipient", "all") == "all"
            kind: Literal["assistant", "other"] = "assistant" if role == "assistant" else "other"
            yield Message(id, kind, _words(message, "out") if spoken else "")


def _branch(nodes: dict[str, Any], last: object) -> dict[str, None] | None:
    """The ids from the root to the current node, in order; None where the tree is broken."""
    if last is None:  # old exports do not say it: the leaf that stands last
        parents = {str(node.get("parent")) for node in nodes.values() if isinstance(node, dict)}
        last = next((id for id in reversed(nodes) if id not in parents), None)
        if last is None:
            return {} if not nodes else None
    way: dict[str, None] = {}
    while last is not None:
        if not isinstance(last, str) or last in way or not isinstance(nodes.get(last), dict):
            return None
        way[last] = None
        last = nodes[last].get("parent")
    return dict.fromkeys(reversed(way))


def _role(node: object) -> str | None:
    """Who wrote the message of a node; None where there is none, or it does not say."""
    message = node.get("message") if isinstance(node, dict) else None
    author = message.get("author") if isinstance(message, dict) else None
    role = author.get("role") if isinstance(author, dict) else None
    return role if isinstance(role, str) else None


def _content(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    return content if isinstance(content, dict) else {}


def _words(message: dict[str, Any], direction: Literal["in", "out"]) -> str:
    """What is written or was spoken in a message, without what else it holds.

    `direction` is that of the one who speaks, as transcripts give it.
    """
    content = _content(message)
    parts = content.get("parts")
    if not isinstance(parts, list) or content.get("content_type") not in _TEXTS:
        return ""
    texts = (_text(part, direction).replace("\0", "").strip() for part in parts)
    return "\n\n".join(text for text in texts if text)


def _text(part: object, direction: str) -> str:
    if isinstance(part, dict) and part.get("content_type") == "audio_transcription":
        part = part.get("text") if part.get("direction") in (None, direction) else ""
    return part if isinstance(part, str) else ""


def _unusable(message: dict[str, Any], text: str) -> str:
    """Why a message of the user is left; empty if it is taken."""
    content, metadata = _content(message), message.get("metadata")
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation")
    if hidden or content.get("content_type") == "user_editable_context":
        return HIDDEN
    if text:
        return ""
    parts = content.get("parts")
    if not isinstance(parts, list | None):
        return UNREADABLE
    return WORDLESS if parts and any(isinstance(part, dict) for part in parts) else EMPTY


IMPORTER = Importer(read_chatgpt)
