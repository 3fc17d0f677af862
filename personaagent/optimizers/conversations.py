"""A persona learned by reading conversations: what is new is noted down, and brought together with
what is known.

Nothing is replayed here. To predict the user's next message says nothing of how to answer that
user, and what an assistant once answered is no truth to be held against. What keeps the persona
honest is its evidence instead: each item names the messages that it rests on.

Chunks are read side by side; in whatever order they end, the same items come of them. What an
update does is bounded by what is new: the LM reads the new messages, and compares new notes with
the few known ones that are near them. Known items that it does not name stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import dspy
import numpy as np
from numpy.typing import NDArray

from personaagent.data import Interaction, Persona, Task
from personaagent.data.interaction import CONVERSATION, TURN
from personaagent.data.items import Item, merged
from personaagent.data.sensitive import Policy
from personaagent.data.task import OPENING
from personaagent.errors import LMError
from personaagent.lm import Usage
from personaagent.optimizers.replay import parallel
from personaagent.optimizers.slots import within_slots
from personaagent.optimizers.worklog import Record, once
from personaagent.programs.notes import (
    Noted,
    NoteRelater,
    NoteTaker,
    Related,
    bring_together,
    summed,
    told,
)
from personaagent.signatures.notes import NoteDown, RelateNotes

Embed = Callable[[Sequence[str]], NDArray[np.float32]]

MESSAGES = 40  # of both sides, that are read at once
LETTERS = 24_000  # that are read at once
NEAREST = 8  # items that a new one is compared with
NEAR = 0.6  # least cosine of two items that may say the same
TOGETHER = 50  # items that are compared at once
MOST_TOPICS = 6  # that are named when it is told what was learned


@dataclass(frozen=True, slots=True)
class Learned:
    """What reading taught.

    Attributes:
        conversations, messages: that were read.
        new: items that were not known before, by topic.
        confirmed: known items for which there is more evidence now.
        revised: known items that another took up, because it says the same and more.
        retired: known items that do not hold any more.
        contradicting: items that contradict each other, and stay as they are.
        dropped: by reason, what the LM wrote that could not be used.
        cut: messages that were read in part.
        unread: messages for which the LM gave no usable answer; they are read again next time.
    """

    conversations: int = 0
    messages: int = 0
    new: Mapping[str, int] = field(default_factory=dict)
    confirmed: int = 0
    revised: int = 0
    retired: int = 0
    contradicting: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    cut: int = 0
    unread: int = 0

    @property
    def summary(self) -> str:
        """In plain words."""
        if not self.messages:
            return "nothing new to read"
        count = sum(self.new.values())
        things = f"{count:,} thing{'s'[: count != 1]}" if count else "nothing new"
        said = f"learned {things} from {_counted(self.conversations, 'conversation')}"
        ranked = sorted(self.new.items(), key=lambda pair: (-pair[1], pair[0]))
        topics = [f"{number} about {topic or 'other things'}" for topic, number in ranked]
        if len(topics) > MOST_TOPICS:
            rest = sum(number for _, number in ranked[MOST_TOPICS:])
            topics = [*topics[:MOST_TOPICS], f"{rest} about {len(ranked) - MOST_TOPICS} others"]
        said += f": {', '.join(topics)}" if topics else ""
        more = {
            "confirmed": self.confirmed,
            "revised": self.revised,
            "retired": self.retired,
            "in contradiction": self.contradicting,
        }
        return "; ".join([said, *(f"{number} {what}" for what, number in more.items() if number)])

    @property
    def warnings(self) -> list[str]:
        """What should be known, in plain words."""
        said = [f"dropped {number} {why}" for why, number in self.dropped.items()]
        if self.cut:
            said.append(f"only the beginning was read of {_counted(self.cut, 'long message')}")
        if self.unread:
            said.append(
                f"{_counted(self.unread, 'message')} could not be read: the LM gave no answer in "
                "the form that was asked for; the next run reads them again"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self) | {"new": dict(self.new), "dropped": dict(self.dropped)}


@dataclass(frozen=True)
class Read:
    """What came of reading: the items, which messages count as read, and what was learned."""

    items: tuple[Item, ...]
    ids: tuple[str, ...]
    learned: Learned
    usage: dict[str, float]


@dataclass(frozen=True)
class ConversationReader:
    """Reads a user's conversations into items.

    Args:
        embed: unit vectors of texts; they tell which items may say the same.
        lm: another LM than DSPy's, for reading and comparing.
        sensitive: what becomes of what is sensitive.
        record: keeps what is finished, so that it is paid once.
    """

    embed: Embed
    record: Record
    lm: dspy.LM | None = None
    sensitive: Policy = "keep"

    def read(
        self, known: Sequence[Item], new: Sequence[Interaction], past: Sequence[Interaction]
    ) -> Read:
        """What is known after reading what is new.

        Args:
            known: items of before; a person's own (`Item.own`) stay.
            new: messages that were not read yet, of one user.
            past: all messages, oldest first; tells which note is older.

        Raises:
            LMError: the LM failed; the same call with the same record goes on from there.
        """
        with ExitStack() as around:
            around.enter_context(dspy.context(lm=self.lm) if self.lm else nullcontext())
            around.enter_context(within_slots())
            meter = getattr(dspy.settings.lm, "meter", None)
            used = around.enter_context(meter.measure()) if meter else None
            slots = 2 * getattr(dspy.settings.lm, "slots", 1)
            # STEP 1: note down what the messages tell, chunk by chunk
            parts = chunks(new)
            noted = Noted.together(parallel(self._noted, parts, slots))
            if new and len(noted.unread) == len(new):
                raise LMError(
                    f"none of the {_counted(len(new), 'message')} could be read: the LM did not "
                    "write notes in the form that was asked for; try a larger LM, for reading "
                    "alone with --gradient-lm"
                )
            # STEP 2: join what says the same word for word
            before = {one.key: one for one in known}
            items = in_order(merged(known, noted.items), past)
            # STEP 3: have the LM say which of the new ones say nearly the same as others, or differ
            fresh = {one.key for one in noted.items}
            batches = near(self.embed, items, fresh)
            answers = parallel(lambda at: self._related([items[one] for one in at]), batches, slots)
        related = [
            replace(one, places=tuple(batch[place] for place in one.places))
            for batch, answer in zip(batches, answers, strict=True)
            for one in (Related(**{**said, "places": tuple(said["places"])})
                        for said in answer["related"])
        ]  # fmt: skip
        when = {one.id: one.time for one in past}
        brought = bring_together(items, related, when.get, self.sensitive)
        unread = set(noted.unread)
        ids = tuple(one.id for one in new if one.id not in unread)
        after = {one.key: one for one in brought.items}
        gone = [one.key for one in before.values() if one.key not in after]
        retired = {one.key for one in brought.changed} & set(gone)
        made_anew = [
            one
            for key, one in after.items()
            if before.keys().isdisjoint(brought.made_of.get(key, (key,)))
        ]
        learned = Learned(
            conversations=len({_conversation(one) for one in new}),
            messages=len(new),
            new=Counter(one.topic for one in made_anew),
            confirmed=sum(
                len(after[key].support) > len(one.support)
                for key, one in before.items()
                if key in after
            ),
            revised=len(gone) - len(retired),
            retired=len(retired),
            contradicting=len(brought.contradicting),
            dropped=summed([noted.dropped, *(one["dropped"] for one in answers)]),
            cut=len(noted.cut),
            unread=len(unread),
        )
        usage = used.snapshot() if used else Usage()
        items_now = brought.items if new else tuple(known)
        return Read(items_now, ids, learned, usage.to_dict())

    def _noted(self, chunk: Sequence[Interaction]) -> Noted:
        """Of one chunk, once."""
        key = _key("noted", NoteDown, self.sensitive, [(one.id, one.digest) for one in chunk])
        with once(self.record, key) as entry:
            if entry.missing:
                entry.value = NoteTaker(self.sensitive)(chunk).noted.to_dict()
        return Noted.from_dict(entry.value)

    def _related(self, items: Sequence[Item]) -> dict[str, Any]:
        """What an LM says of some items, once."""
        key = _key("related", RelateNotes, "", [told(one) for one in items])
        with once(self.record, key) as entry:
            if entry.missing:
                said = NoteRelater()(items)
                related = [asdict(one) for one in said.related]
                entry.value = {"related": related, "dropped": said.dropped}
        return dict(entry.value)


def conversations(turns: Iterable[Interaction]) -> list[list[Interaction]]:
    """Messages by conversation, in the order in which those began, each in its own order; one that
    is of none stands alone."""
    found: dict[tuple[str, str], list[Interaction]] = {}
    for one in turns:
        found.setdefault(_conversation(one), []).append(one)
    return [sorted(mine, key=_turn) for mine in found.values()]


def chunks(turns: Iterable[Interaction]) -> list[list[Interaction]]:
    """Messages as they are read: conversations one after the other, as many at once as an LM reads
    well."""
    made: list[list[Interaction]] = []
    messages = letters = 0
    for one in (turn for mine in conversations(turns) for turn in mine):
        both = 1 if one.query == OPENING else 2
        size = min(len(one.query), 1_500) + min(len(one.response), 2_000)
        if not made or messages + both > MESSAGES or letters + size > LETTERS:
            made.append([])
            messages = letters = 0
        made[-1].append(one)
        messages, letters = messages + both, letters + size
    return made


def in_order(items: Iterable[Item], past: Sequence[Interaction]) -> list[Item]:
    """Items by the latest message that speaks for them, oldest first."""
    place = {one.id: at for at, one in enumerate(past)}
    return sorted(
        items, key=lambda one: (max((place.get(id, -1) for id in one.support), default=-1), one.key)
    )


def near(embed: Embed, items: Sequence[Item], fresh: Iterable[object]) -> list[list[int]]:
    """Places of items that are worth comparing, in groups to be compared at once: new ones and what
    is near them, by their topic or by what they say.

    Args:
        embed: unit vectors of texts.
        items: older ones first.
        fresh: keys of the new ones.
    """
    keys = set(fresh)
    new = [at for at, one in enumerate(items) if one.key in keys]
    if not new or len(items) < 2:
        return []
    vectors = embed([f"{one.topic}: {one.text}" for one in items])
    group = list(range(len(items)))  # each item's group is named by the first place in it

    def root(at: int) -> int:
        while group[at] != at:
            at = group[at]
        return at

    for at in new:
        nearness = vectors @ vectors[at]
        found = [
            other
            for other, one in enumerate(items)
            if other != at
            and (nearness[other] >= NEAR or (one.topic and one.topic == items[at].topic))
        ]
        for other in sorted(found, key=lambda other: (-nearness[other], other))[:NEAREST]:
            first, second = sorted((root(at), root(other)))
            group[second] = first
    groups: dict[int, list[int]] = {}
    for at in range(len(items)):
        groups.setdefault(root(at), []).append(at)
    batches: list[list[int]] = []
    for places in (one for one in groups.values() if len(one) > 1):
        for start in range(0, len(places), TOGETHER):
            some = places[start : start + TOGETHER]
            if batches and len(batches[-1]) + len(some) <= TOGETHER:
                batches[-1] = sorted(batches[-1] + some)
            else:
                batches.append(some)
    return batches


def calls_to_read(turns: Sequence[Interaction]) -> tuple[int, int]:
    """LM calls that reading these messages takes: to be expected, one a chunk and half as many to
    bring their notes together; and at most, where answers have to be asked for again, in halves."""
    count = len(chunks(turns))
    return count + -(-count // 2), 20 * count


def persona_of(champion: Persona | None, user: str, task: Task) -> Persona:
    """What a reading adds to: the champion; a new persona where that was to answer as the user,
    which is another thing than to answer the user."""
    if champion is not None and champion.role == task.role:
        return champion
    return Persona(user, task.name, role=task.role, actions=())


def _conversation(one: Interaction) -> tuple[str, str]:
    return one.source, one.metadata.get(CONVERSATION) or one.id


def _turn(one: Interaction) -> int:
    number = one.metadata.get(TURN, "")
    return int(number) if number.isdecimal() else 0


def _key(kind: str, signature: type[dspy.Signature], policy: str, content: object) -> str:
    """Names a piece of work: the same prompt, LM and texts."""
    lm = getattr(dspy.settings.lm, "fingerprint", "")
    said = json.dumps([signature.instructions, policy, lm, content])
    return f"{kind}/{hashlib.sha256(said.encode()).hexdigest()[:24]}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s'[: number != 1]}"
