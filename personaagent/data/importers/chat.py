"""Conversations with an assistant as interactions of the user, whatever program exported them.

Only what the user wrote counts as the user's: an interaction is (what the assistant said before,
the message with which the user replied). The assistant's text is what was asked, never an answer.
The metadata say which conversation it is of and which message in it, so that turns stay together
and in order. The first message of a conversation replies to nothing. The conversation's title does
not take that place: programs write it from that very message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from personaagent.data.files import exported_instant
from personaagent.data.import_summary import ImportSummary
from personaagent.data.interaction import CONVERSATION, TURN, Interaction
from personaagent.data.task import OPENING, Chat

CHAT = Chat("chat", "Answer this message of the user.", item="message")
"""The task of imported conversations."""

REPLY, FIRST = "reply to the assistant", "first message of a conversation"
BRANCH = "on a branch that was edited or regenerated away"
ASSISTANT = "of the assistant: context, never an answer"
TOOL = "of the system or a tool"
WORDLESS = "no text of the user: an image, a file or a recording"
EMPTY = "empty"
TWICE = "taken already: the same message in another conversation"
HOLLOW = "conversation without messages"
BROKEN = "in a conversation whose tree is broken"
UNREADABLE = "broken: what it is cannot be told"
UNTIMED = "time that cannot be read: the conversation's is taken, if it has one"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `left` says why one of the user is not taken."""

    id: str
    role: Literal["user", "assistant", "other"]
    text: str
    time: datetime | None = None
    left: str = ""


@dataclass(slots=True)
class Replies:
    """Makes interactions of one user's conversations; each message is taken once."""

    user: str
    task: str
    source: str
    account: ImportSummary
    _seen: set[str] = field(default_factory=set)

    def of(self, messages: Iterable[Message], conversation: str) -> Iterator[Interaction]:
        """What the user wrote in a conversation, in its order; all else is counted."""
        said: list[str] = []  # by the assistant since the user's last message
        heard = ""  # the last thing that the assistant said
        turn = 0
        for one in messages:
            if one.role != "user":
                self.account.left[ASSISTANT if one.role == "assistant" else TOOL] += 1
                if one.role == "assistant" and one.text:
                    said.append(one.text)
                continue
            if one.left:
                self.account.left[one.left] += 1
                continue
            heard, said = "\n\n".join(said) or heard, []
            turn += 1
            if one.id in self._seen:
                self.account.left[TWICE] += 1
                continue
            self._seen.add(one.id)
            self.account.taken[REPLY if heard else FIRST] += 1
            yield Interaction(
                id=f"{self.source}-{one.id}",
                user=self.user,
                task=self.task,
                query=heard or OPENING,
                response=one.text,
                time=one.time,
                source=self.source,
                metadata={TURN: str(turn)} | ({CONVERSATION: conversation} if conversation else {}),
            )


def sent(given: object, began: object, account: ImportSummary) -> datetime | None:
    """When a message was sent; where that is unknown, when its conversation began."""
    for value in (given, began):
        if value:
            try:
                return exported_instant(value)
            except ValueError:
                account.changed[UNTIMED] += 1
    return None
