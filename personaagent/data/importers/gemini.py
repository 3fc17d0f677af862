"""What a user asked Gemini, from the activity that Google Takeout exports as JSON.

The form, as read from real exports (github.com/NateBJones-Projects/OB1/pull/455): a list of
activities, newest first, each with `header`, `time` and a `title`, which is "Prompted " and what
the user wrote; Gemini's answer is HTML in `safeHtmlItem`, once for each draft. Other activities
("Created", "Used", "Gave feedback") are no messages.

Takeout does not say which messages belong to one conversation: an answer counts as what was said
before a message if it came within the half hour before.

An account in another language has the titles in that language. Their beginning is then learned
from the file: what all titles with an answer begin with. Where they share nothing they are left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path
from typing import Any

from personaagent.data.files import documents, head
from personaagent.data.import_summary import ImportSummary
from personaagent.data.importers import Importer
from personaagent.data.importers.chat import CHAT, EMPTY, UNREADABLE, Message, Replies, sent
from personaagent.data.interaction import Interaction
from personaagent.errors import DataError

OTHER = "another activity than a message"
FOREIGN = "in a title of unknown form: export with the Google account set to English"
ELSEWHERE = "of another product of Google"

PROMPTED = "Prompted "
_PAUSE = timedelta(minutes=30)
_ENOUGH = 5  # titles that begin alike by more than chance
_FILES = r".*\.json"  # Takeout translates the names of files and folders
_DUE = (
    "JSON file: choose 'My Activity' in Google Takeout, in it only 'Gemini Apps', and JSON as its "
    "format, which is HTML by default"
)
_UNDATED = datetime.min.replace(tzinfo=UTC)


def read_gemini(
    path: str | Path, user: str, *, task: str = CHAT.name, account: ImportSummary | None = None
) -> Iterator[Interaction]:
    """The user's messages to Gemini, oldest first.

    Args:
        path: the zip archive, its folder, or `MyActivity.json`.
        user: whose export it is.
        task: the name of a task of free text.
        account: counts every activity: what kind was taken, why others were left.

    Raises:
        DataError: there is no activity of Gemini, or a file is cut off or no JSON.
    """
    account = ImportSummary() if account is None else account
    replies = Replies(account.user(user), task, "gemini", account)
    activities = _activities(path, account)
    beginning = _beginning(activities)
    dated = [(sent(one.get("time"), None, account), one) for one in reversed(activities)]
    dated.sort(key=lambda pair: pair[0] or _UNDATED)
    conversation: list[Message] = []
    for time, one in dated:
        message = _message(one, time, beginning)
        if message is None:
            account.left[OTHER if beginning else FOREIGN] += 1
            continue
        last = conversation[-1].time if conversation else None
        if not (time and last and time - last <= _PAUSE):
            yield from replies.of(conversation, _name(conversation))
            conversation = []
        conversation.append(message)
        if answer := _answer(one):
            conversation.append(Message(f"{message.id}-answer", "assistant", answer, time))
    yield from replies.of(conversation, _name(conversation))


def _name(conversation: Sequence[Message]) -> str:
    """A conversation is named by the message that opens it: Takeout has no name for it."""
    return conversation[0].id if conversation else ""


def _activities(path: str | Path, account: ImportSummary) -> list[dict[str, Any]]:
    """The activities of Gemini with a title, of all files; the rest is counted."""
    found: list[dict[str, Any]] = []
    if Path(path).suffix.lower() == ".html":
        raise DataError(f"{path}: it should be a {_DUE}")
    for document in documents(path, _FILES, _DUE):
        with document.opened() as stream:
            if not head(stream).startswith(b"["):
                continue  # settings, or another product's file
        for _, record in document.records("no list of activities"):
            if not isinstance(record, dict) or not _of_gemini(record):
                account.left[ELSEWHERE] += 1
            elif isinstance(record.get("title"), str):
                found.append(record)
            else:
                account.left[UNREADABLE] += 1
    if not found:
        raise DataError(f"{path}: no activity of Gemini in it; it should hold a {_DUE}")
    return found


def _of_gemini(record: dict[str, Any]) -> bool:
    products = record.get("products")
    names = [record.get("header"), *(products if isinstance(products, list) else [])]
    return any("gemini" in f"{name}".casefold() or "bard" in f"{name}".casefold() for name in names)


def _beginning(activities: Sequence[dict[str, Any]]) -> str:
    """What stands before the user's words in titles; empty where that is unknown."""
    if any(one["title"].startswith(PROMPTED) for one in activities):
        return PROMPTED
    titles = [one["title"] for one in activities if _answer(one)]
    if len(titles) < _ENOUGH:
        return ""
    first, last = min(titles), max(titles)  # what these two share, all between them do
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    shared = "".join(letter for letter, _ in same)
    return shared[: shared.rfind(" ") + 1]


def _message(one: dict[str, Any], time: datetime | None, beginning: str) -> Message | None:
    """The message of an activity, None if it is none or its words cannot be told."""
    title = one["title"]
    if not beginning or not f"{title} ".startswith(beginning):
        return None
    text = title[len(beginning) :].replace("\0", "").strip()
    id = hashlib.sha256(f"{one.get('time')} {title}".encode(errors="replace")).hexdigest()[:16]
    return Message(id, "user", text, time, "" if text else EMPTY)


def _answer(one: dict[str, Any]) -> str:
    """What Gemini said: of several drafts the last."""
    drafts = one.get("safeHtmlItem")
    html = [
        draft["html"]
        for draft in (drafts if isinstance(drafts, list) else [])
        if isinstance(draft, dict) and isinstance(draft.get("html"), str)
    ]
    return _Words.of(html[-1]) if html else ""


class _Words(HTMLParser):
    """The text of HTML, a line for every block."""

    _BLOCKS = frozenset(
        ("p", "br", "li", "div", "tr", "pre", "hr", *(f"h{n}" for n in range(1, 7)))
    )
    _UNSEEN = frozenset(("script", "style"))

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._hidden = 0

    @classmethod
    def of(cls, html: str) -> str:
        """The words of a piece of HTML."""
        reader = cls()
        reader.feed(html)
        reader.close()
        lines = (" ".join(line.split()) for line in "".join(reader._parts).split("\n"))
        return "\n".join(line for line in lines if line)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self._hidden += tag in self._UNSEEN
        if tag in self._BLOCKS:
            self._parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in self._UNSEEN
        if tag in self._BLOCKS:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._hidden <= 0:
            self._parts.append(data)


IMPORTER = Importer(read_gemini)
