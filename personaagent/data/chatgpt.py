"""A ChatGPT data export (`conversations.json`) as interactions of its user, read as a stream.

Only what the user wrote counts as the user's: an interaction is (what the assistant said before,
the message with which the user replied). The assistant's text is what was asked, never an answer.
The first message of a conversation replies to nothing. The conversation's title does not take that
place: ChatGPT writes it from that very message, so it would give the answer away.

A conversation is a tree, `mapping`: every edit and regeneration is a branch. The branch that the
user went on with ends in `current_node`; the others are left. What a user pasted cannot be told
from what the user wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import ijson

from personaagent.data.account import Account
from personaagent.data.interaction import Interaction
from personaagent.data.reading import head, opened, past
from personaagent.data.rows import Refuse, require_object
from personaagent.data.task import Text
from personaagent.errors import DataError

CHAT = Text(
    "chat",
    "Write the message that this user sends to the assistant next.",
    item="assistant's message",
    answer="reply",
)
"""The task of imported conversations."""

OPENING = "(nothing yet: the user opens the conversation)"
"""The query of a conversation's first message."""

REPLY, FIRST = "reply to the assistant", "first message of a conversation"
BRANCH = "on a branch that was edited or regenerated away"
ASSISTANT = "of the assistant: context, never an answer"
TOOL = "of the system or a tool"
HIDDEN = "custom instructions, or hidden by ChatGPT"
WORDLESS = "no text of the user: an image, a file or a recording"
EMPTY = "empty"
TWICE = "taken already: the same message in another conversation"
BROKEN = "in a conversation whose tree is broken"

_TEXTS = ("text", "multimodal_text")
_Node = dict[str, Any]


def read_chatgpt(
    path: str | Path, user: str, *, task: str = CHAT.name, account: Account | None = None
) -> Iterator[Interaction]:
    """The user's messages in an export, conversation by conversation, in the order of each.

    Args:
        path: `conversations.json`, or one of the numbered parts of a large export; may be gzip.
        user: whose export it is; the file does not say.
        task: the name of a task of free text.
        account: counts every message: what kind was taken, why others were left.

    Raises:
        DataError: not such a file, or a value of the wrong type; names file, record and field. A
            tree with a cycle or a missing node is no error: its conversation is left.
    """
    account = Account() if account is None else account
    seen: set[str] = set()
    number = 0
    with opened(path) as stream:
        if not head(stream).startswith(b"["):
            raise DataError(
                f"{path}: not a list of conversations: unpack the archive that ChatGPT sent and "
                "give conversations.json"
            )
        try:
            for number, record in enumerate(ijson.items(stream, "item", use_float=True), 1):
                refuse: Refuse = partial(_refuse, path, number)
                for one in _messages(require_object(record, refuse), user, task, account, refuse):
                    if one.id in seen:
                        account.left[TWICE] += 1
                        continue
                    seen.add(one.id)
                    account.taken[FIRST if one.query == OPENING else REPLY] += 1
                    yield one
        except (ijson.JSONError, UnicodeDecodeError) as error:
            problem = str(error).partition("\n")[0]
            raise DataError(
                f"{path}: after record {number}: not valid JSON or cut off ({problem}): unpack the "
                "archive again"
            ) from error


def _refuse(path: str | Path, number: int, field: str, problem: str) -> DataError:
    return DataError(f"{path}: record {number}: field '{field}': {problem}")


def _messages(
    record: dict[str, Any], user: str, task: str, account: Account, refuse: Refuse
) -> Iterator[Interaction]:
    """What the user wrote on the branch that the conversation went on with."""
    nodes = _nodes(record, refuse)
    branch = _branch(nodes, record.get("current_node"), refuse)
    if branch is None:
        account.left[BROKEN] += sum(_role(node) == "user" for node in nodes.values())
        return
    conversation = record.get("conversation_id") or record.get("id") or ""
    account.left[BRANCH] += sum(
        _role(node) == "user" for id, node in nodes.items() if id not in branch
    )
    said: list[str] = []  # by the assistant since the user's last message
    heard = ""  # the last thing that the assistant said
    for id in branch:
        message = nodes[id].get("message")
        if not message:
            continue  # the root
        role, text = _role(nodes[id]), _words(message, partial(_inside, refuse, id))
        if role != "user":
            account.left[ASSISTANT if role == "assistant" else TOOL] += 1
            if role == "assistant" and text and message.get("recipient", "all") == "all":
                said.append(text)
        elif why := _unusable(message, text):
            account.left[why] += 1
        else:
            heard = "\n\n".join(said) or heard
            said = []
            yield Interaction(
                id=f"chatgpt-{id}",
                user=user,
                task=task,
                query=heard or OPENING,
                response=text,
                time=_time(message, record, partial(_inside, refuse, id)),
                source="chatgpt",
                metadata={"conversation": str(conversation)},
            )


def _inside(refuse: Refuse, id: str, field: str, problem: str) -> DataError:
    return refuse(f"mapping.{id}.{field}", problem)


def _nodes(record: dict[str, Any], refuse: Refuse) -> dict[str, _Node]:
    """The tree with every node an object, its message and author too."""
    nodes = record.get("mapping")
    if not isinstance(nodes, dict):
        raise refuse("mapping", f"an object of messages is due, not {nodes!r:.60}")
    for id, node in nodes.items():
        require_object(node, partial(_inside, refuse, id))
        message = node.get("message")
        if message is not None and not isinstance(message, dict):
            raise refuse(f"mapping.{id}.message", f"an object is due, not {message!r:.60}")
        author = (message or {}).get("author")
        if message and not (isinstance(author, dict) and isinstance(author.get("role"), str)):
            raise refuse(f"mapping.{id}.message.author.role", "it is missing or no text")
    return nodes


def _branch(nodes: dict[str, _Node], last: object, refuse: Refuse) -> dict[str, None] | None:
    """The ids from the root to the current node, in order; None where the tree is broken."""
    if last is None:  # old exports do not say it: the leaf that stands last
        parents = {str(node.get("parent")) for node in nodes.values()}
        last = next((id for id in reversed(nodes) if id not in parents), None)
        if last is None:
            return {} if not nodes else None
    way: dict[str, None] = {}
    while last is not None:
        if not isinstance(last, str):
            raise refuse("current_node" if not way else f"mapping.{[*way][-1]}.parent", "no text")
        if last in way or last not in nodes:
            return None
        way[last] = None
        last = nodes[last].get("parent")
    return dict.fromkeys(reversed(way))


def _role(node: _Node) -> str | None:
    message = node.get("message")
    return str(message["author"]["role"]) if message else None


def _words(message: dict[str, Any], refuse: Refuse) -> str:
    """The text of a message without what else it holds; empty where it has none."""
    content = message.get("content")
    if not isinstance(content, dict) or content.get("content_type") not in _TEXTS:
        return ""
    parts = content.get("parts")
    if parts is None:
        return ""
    if not isinstance(parts, list):
        raise refuse("message.content.parts", f"a list is due, not {parts!r:.60}")
    # NUL and halves of characters are nothing that a database can store.
    texts = (
        part.replace("\0", "").encode(errors="ignore").decode().strip()
        for part in parts
        if isinstance(part, str)
    )
    return "\n\n".join(text for text in texts if text)


def _unusable(message: dict[str, Any], text: str) -> str | None:
    """Why a message of the user is left, None if it is taken."""
    content, metadata = message.get("content"), message.get("metadata")
    kind = content.get("content_type") if isinstance(content, dict) else None
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation")
    if hidden or kind == "user_editable_context":
        return HIDDEN
    if text:
        return None
    parts = content.get("parts") if isinstance(content, dict) else None
    return WORDLESS if parts and any(isinstance(part, dict) for part in parts) else EMPTY


def _time(message: dict[str, Any], record: dict[str, Any], refuse: Refuse) -> datetime | None:
    """When the message was sent; else when the conversation began; else unknown."""
    given = message.get("create_time")
    seconds = record.get("create_time") if given is None else given
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise refuse("message.create_time", f"seconds since 1970 are due, not {seconds!r:.60}")
    try:
        return past(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise refuse("message.create_time", str(error)) from error
