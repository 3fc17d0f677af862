"""Plain JSON of who said what, as chat APIs have it, as interactions of the users.

A conversation is a list of messages, `{"role": "user", "text": "…"}`; `content` may stand for
`text`, as text or in blocks. A file holds one such list, or conversations as objects, `{"user":
"amira", "messages": […]}`: in a JSON list, or one a line (JSON Lines). Conversations and messages
may have an `id` and a `time`; a message may name its `conversation`, so that a list of messages
can hold several.

Without ids a message is known by all that was said up to it, so a longer export of the same
conversation adds what is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict

from personaagent.data.files import Document, documents, exported_instant, head
from personaagent.data.import_summary import ImportSummary
from personaagent.data.importers import Importer
from personaagent.data.importers.chat import CHAT, EMPTY, HOLLOW, WORDLESS, Message, Replies
from personaagent.data.interaction import Interaction
from personaagent.data.normal import normal
from personaagent.data.validation import Filled, Refuse, Row, parse_json, suggestion, validated
from personaagent.errors import DataError

OTHER = "of another user"

_FILES = r".*\.jsonl?(\.gz)?"
_DUE = "file of conversations: JSON or JSON Lines of {role, text}, or of {user, messages}"
_ROLES: dict[str, Literal["user", "assistant", "other"]] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "other",
    "developer": "other",
    "tool": "other",
    "function": "other",
}
_Moment = Annotated[datetime, BeforeValidator(exported_instant)]
_Name = Annotated[str, BeforeValidator(lambda given: str(given) if _whole(given) else given)]


def _whole(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


class _Message(Row):
    # What else an API says of a message (names, tool calls, tokens) is not needed here.
    model_config = ConfigDict(strict=True, extra="ignore")

    role: Filled
    text: str | None = None
    content: str | list[Any] | None = None
    id: _Name | None = None
    time: _Moment | None = None
    conversation: _Name | None = None


class _Conversation(Row):
    model_config = ConfigDict(strict=True, extra="ignore")

    messages: list[Any]
    user: str | None = None
    id: _Name | None = None
    conversation: _Name | None = None
    time: _Moment | None = None


@dataclass(slots=True)
class _Talk:
    """One conversation on its way: its name, and its messages until now."""

    name: str
    messages: list[Message] = field(default_factory=list)
    chain: str = ""  # digest of all that was said


def read_roles(
    path: str | Path,
    user: str | None = None,
    *,
    task: str = CHAT.name,
    account: ImportSummary | None = None,
) -> Iterator[Interaction]:
    """The users' messages in a file, conversation by conversation, in the order of each.

    Args:
        path: JSON or JSON Lines, may be gzip; or a folder or zip archive of such files.
        user: whose conversations those are that name nobody; others' are then left. Without it
            every conversation must name its user.
        task: the name of a task of free text.
        account: counts every message: what kind was taken, why others were left.

    Raises:
        DataError: a file is no JSON or has another form; names the place and the field.
    """
    account = ImportSummary() if account is None else account
    user = account.user(user) if user else None
    readers: dict[str, Replies] = {}
    opened: set[str] = set()
    for document in documents(path, _FILES, _DUE):
        for whose, talk in _talks(document, user, opened, account):
            reader = readers.setdefault(whose, Replies(whose, task, "chat", account))
            yield from reader.of(talk.messages, talk.name)


def _talks(
    document: Document, user: str | None, opened: set[str], account: ImportSummary
) -> Iterator[tuple[str, _Talk]]:
    """The conversations of a file, each with its user; `opened` are the names that are taken."""
    loose: list[tuple[Refuse, Any]] = []
    for place, record in _records(document):
        refuse: Refuse = partial(_refuse, document, place)
        try:
            if isinstance(record, dict) and "role" in record:
                loose.append((refuse, record))
                continue
            if isinstance(record, list):
                record = {"messages": record}
            one = validated(_Conversation, record, refuse)
            whose = normal(one.user or "") or user
            if whose is None:
                raise refuse("user", "it is missing: name the user with --user")
            if user is not None and whose != user:
                account.left[OTHER] += len(one.messages)
                continue
            account.user(one.user or whose)
            given = [(refuse, message) for message in one.messages]
            name = one.conversation or one.id or ""
            talks = list(_told(given, name, one.time, whose, opened, account))
            account.left[HOLLOW] += not one.messages
        except DataError as error:
            account.refuse(error)
            continue
        yield from ((whose, talk) for talk in talks)
    if loose:
        if user is None:
            raise DataError(f"{document}: it does not say whose messages these are: --user does")
        yield from ((user, talk) for talk in _told(loose, "", None, user, opened, account))


def _records(document: Document) -> Iterator[tuple[str, Any]]:
    """What stands in a file, with its place: the entries of a JSON list, or what is on the lines;
    an object that spans lines is a file of one."""
    with document.opened() as stream:
        begins = head(stream)
    if begins.startswith(b"[") and not _lines_of_lists(document):
        for number, record in document.records(f"it should be a {_DUE}"):
            yield f"record {number}", record
        return
    with document.opened() as stream:
        raw = stream.read()
    try:
        yield "record 1", json.loads(raw)
        return
    except ValueError:  # several lines, or broken: which one is told below
        pass
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield f"line {number}", parse_json(line, str(document), number)


def _lines_of_lists(document: Document) -> bool:
    """Whether every line is a conversation as a list."""
    with document.opened() as stream:
        lines = [line for line in (stream.readline(), stream.readline()) if line.strip()]
    return len(lines) == 2 and all(
        line.strip().startswith(b"[") and line.strip().endswith(b"]") for line in lines
    )


def _told(
    given: list[tuple[Refuse, Any]],
    name: str,
    time: datetime | None,
    user: str,
    opened: set[str],
    account: ImportSummary,
) -> Iterator[_Talk]:
    """The conversations in a list of messages; one without a name is named by its opening."""
    talks: dict[str, _Talk] = {}
    for at, (refuse, entry) in enumerate(given, 1):

        def wrong(field: str, problem: str, at: int = at, refuse: Refuse = refuse) -> DataError:
            return refuse(f"messages.{at}.{field}", problem)

        try:
            one = validated(_Message, entry, wrong)
            role = _ROLES.get(one.role.casefold())
            if role is None:
                raise wrong("role", f"'{one.role}' is not known{suggestion(one.role, _ROLES)}")
        except DataError as error:
            account.refuse(error)
            continue
        called = one.conversation or name
        talk = talks.setdefault(called, _Talk(called))
        text = _words(one)
        moment = one.time or time
        said = json.dumps([talk.chain or called, role, text, str(one.time or "")])
        talk.chain = hashlib.sha256(said.encode(errors="replace")).hexdigest()[:16]
        if not talk.name:
            talk.name = _unused(talk.chain, user, opened)
        id = f"{called}-{one.id}" if called and one.id else one.id or talk.chain
        left = "" if text or role != "user" else WORDLESS if one.content else EMPTY
        talk.messages.append(Message(id, role, text, moment, left))
    yield from talks.values()


def _unused(name: str, user: str, opened: set[str]) -> str:
    """The name, numbered where another conversation of the user has it."""
    number, free = 1, name
    while f"{user}/{free}" in opened:
        number += 1
        free = f"{name}-{number}"
    opened.add(f"{user}/{free}")
    return free


def _words(message: _Message) -> str:
    """What was said: text, or the blocks of text."""
    given = message.content if message.text is None else message.text
    blocks = given if isinstance(given, list) else [given]
    said = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    texts = (one.replace("\0", "").strip() for one in said if isinstance(one, str))
    return "\n\n".join(text for text in texts if text)


def _refuse(document: Document, place: str, field: str, problem: str) -> DataError:
    return DataError(f"{document}: {place}: field '{field}': {problem}")


IMPORTER = Importer(read_roles, named=True)
