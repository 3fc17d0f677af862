"""Semantic memory as items, read from conversations: notes of a few messages at a time, and what
several readings noted brought together.

An LM names messages and notes by their numbers. A number that does not exist is dropped and
counted, and so is a note that nothing speaks for. What the LM says of notes only joins those that
it names: a note that it does not name stays, so nothing is lost by being left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self

import dspy

from personaagent.data import Interaction
from personaagent.data.interaction import CONVERSATION
from personaagent.data.items import KINDS, Item, merged
from personaagent.data.screening import withheld
from personaagent.data.sensitive import Policy, guarded
from personaagent.data.task import OPENING
from personaagent.data.words import one_line
from personaagent.errors import DataError, FormError
from personaagent.lm import truncation_expected
from personaagent.lm.model import ContextError
from personaagent.programs.adapter import PersonaAdapter
from personaagent.signatures.notes import Note, NoteDown, RelateNotes, Relation

LONGEST_MESSAGE = 2_000  # characters of a message of the user that are read
LONGEST_BEFORE = 1_500  # of what the assistant said before it
TOKENS_A_MESSAGE, TOKENS_A_NOTE = 150, 60  # of an answer
LEAST_TOKENS = 600
HALVINGS = 2  # of a chunk whose notes cannot be read, before its messages are left unread


ItemKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Noted:
    """What one reading noted.

    Attributes:
        items: with the ids of interactions as evidence.
        dropped: by reason, what the LM wrote that could not be used.
        cut: ids of messages that were read in part.
        unread: ids of messages for which the LM gave no usable answer.
    """

    items: tuple[Item, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` reads it."""
        return asdict(self) | {
            "items": [one.to_dict() for one in self.items],
            "dropped": dict(self.dropped),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            tuple(map(Item.from_dict, data["items"])),
            data["dropped"],
            tuple(data["cut"]),
            tuple(data["unread"]),
        )

    @classmethod
    def together(cls, parts: Iterable[Noted]) -> Self:
        """Of several readings; their order does not matter."""
        parts = list(parts)
        return cls(
            merged(*(one.items for one in parts)),
            dict(sorted(summed(one.dropped for one in parts).items())),
            tuple(sorted(id for one in parts for id in one.cut)),
            tuple(sorted(id for one in parts for id in one.unread)),
        )


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Several counts as one."""
    return dict(sum((Counter(one) for one in counts), Counter()))


NO_SUCH_MESSAGE = "numbers of messages that do not exist"
NO_EVIDENCE = "notes that no message speaks for"
NO_NOTE = "notes without a text"
ORDER = "notes that look like an instruction"
WITHHELD = "notes of something secret or sensitive"
NO_SUCH_NOTE = "numbers of notes that do not exist"
NO_RELATION = "relations that cannot be told"


class NoteTaker(dspy.Module):
    """Reads some messages of a user; those that are too many for the LM in halves.

    Args:
        sensitive: what becomes of sensitive notes, see `personaagent.data.sensitive`.
    """

    def __init__(self, sensitive: Policy = "keep") -> None:
        super().__init__()
        self.sensitive: Policy = sensitive
        self.note = dspy.Predict(NoteDown)

    def forward(self, turns: Sequence[Interaction]) -> dspy.Prediction:
        """`noted`, a `Noted`.

        Raises:
            LMError: the LM failed; a message alone is too long for it.
        """
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            return dspy.Prediction(noted=self._read(turns, HALVINGS))

    def _read(self, turns: Sequence[Interaction], halvings: int) -> Noted:
        most = max(LEAST_TOKENS, TOKENS_A_MESSAGE * len(turns))
        try:
            said = self.note(messages=shown(turns), config={"max_tokens": most})
        except ContextError:
            if len(turns) < 2:
                raise
        except FormError:
            if len(turns) < 2 or not halvings:
                return Noted(unread=tuple(one.id for one in turns))
            halvings -= 1
        else:
            return self._noted(said.notes, turns)
        middle = len(turns) // 2
        halves = (turns[:middle], turns[middle:])
        return Noted.together(self._read(half, halvings) for half in halves)

    def _noted(self, notes: Sequence[Note], turns: Sequence[Interaction]) -> Noted:
        dropped: Counter[str] = Counter()
        items = []
        for one in notes:
            sides = []
            for numbers in (one.support, one.oppose):
                known = [turns[number - 1] for number in numbers if 0 < number <= len(turns)]
                dropped[NO_SUCH_MESSAGE] += len(numbers) - len(known)
                sides.append(known)
            support, oppose = sides
            if not one.text.strip():
                dropped[NO_NOTE] += 1
            elif not support:
                dropped[NO_EVIDENCE] += 1
            elif any(withheld(text) != text for text in (one.text, one.topic, one.reach)):
                dropped[ORDER] += 1
            elif item := _item(one, support, oppose):
                items.append(item)
            else:
                dropped[NO_NOTE] += 1
        left = guarded(items, self.sensitive)
        dropped[WITHHELD] += len(items) - len(left)
        cut = [one.id for one in turns if len(one_line(one.response)) > LONGEST_MESSAGE]
        return Noted(merged(left), dict(+dropped), tuple(cut))


def _item(note: Note, support: Sequence[Interaction], oppose: Sequence[Interaction]) -> Item | None:
    kind = note.kind.strip().casefold()
    try:
        return Item(
            kind if kind in KINDS else "fact",
            note.text,
            note.topic,
            note.reach,
            tuple(one.id for one in support),
            tuple(one.id for one in oppose),
            max((one.time for one in support if one.time), default=None),
        )
    except DataError:  # nothing in it that can be seen
        return None


def shown(turns: Sequence[Interaction]) -> str:
    """Messages as they are read: numbered, each with what the assistant had said before, and with a
    line where another conversation begins."""
    lines: list[str] = []
    conversation: str | None = None
    for number, one in enumerate(turns, 1):
        name = one.metadata.get(CONVERSATION, one.id)
        if name != conversation:
            day = f" on {one.time:%Y-%m-%d}" if one.time else ""
            lines.append(f"(a conversation{day})")
            conversation = name
        if one.query != OPENING:
            lines.append(f"Assistant: {_cut(one.query, LONGEST_BEFORE)}")
        lines.append(f"{number}. User: {_cut(one.response, LONGEST_MESSAGE)}")
    return "\n".join(lines)


def _cut(text: str, most: int) -> str:
    line = one_line(text)
    return line if len(line) <= most else f"{line[:most].rstrip()} … (and more)"


@dataclass(frozen=True, slots=True)
class Related:
    """What an LM said of some items: groups of their places, each with what became of it."""

    relation: Literal["same", "changed", "contradiction"]
    places: tuple[int, ...]
    text: str = ""
    topic: str = ""
    reach: str = ""


class NoteRelater(dspy.Module):
    """Finds the items that say nearly the same, or differ about the same thing."""

    def __init__(self) -> None:
        super().__init__()
        self.relate = dspy.Predict(RelateNotes)

    def forward(self, items: Sequence[Item]) -> dspy.Prediction:
        """`related`, groups of two or more places in `items` (none is in two groups), and
        `dropped`, by reason what could not be used. Nothing is related where the LM's answer cannot
        be read.

        Args:
            items: older ones first.

        Raises:
            LMError: the LM failed; two items alone are too long for it.
        """
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            return self._ask(items)

    def _ask(self, items: Sequence[Item]) -> dspy.Prediction:
        lines = [f"{number}. {told(one)}" for number, one in enumerate(items, 1)]
        most = max(LEAST_TOKENS, TOKENS_A_NOTE * len(items))
        try:
            said = self.relate(notes="\n".join(lines), config={"max_tokens": most})
        except ContextError:
            if len(items) < 4:
                raise
            middle = len(items) // 2
            first, second = self._ask(items[:middle]), self._ask(items[middle:])
            moved = [
                replace(one, places=tuple(at + middle for at in one.places))
                for one in second.related
            ]
            dropped = summed([first.dropped, second.dropped])
            return dspy.Prediction(related=[*first.related, *moved], dropped=dropped)
        except FormError:
            return dspy.Prediction(related=[], dropped={NO_RELATION: 1})
        return _related(said.relations, len(items))


def _related(relations: Sequence[Relation], count: int) -> dspy.Prediction:
    found: list[Related] = []
    dropped: Counter[str] = Counter()
    taken: set[int] = set()
    for one in relations:
        known = [number - 1 for number in one.notes if 0 < number <= count]
        dropped[NO_SUCH_NOTE] += len(one.notes) - len(known)
        places = tuple(dict.fromkeys(at for at in known if at not in taken))
        relation = one.relation.strip().casefold()
        if relation not in ("same", "changed", "contradiction") or len(places) < 2:
            dropped[NO_RELATION] += 1
            continue
        taken.update(places)
        text = one.text if withheld(one.text) == one.text else ""
        found.append(Related(relation, places, text, one.topic, one.reach))  # type: ignore[arg-type]
    return dspy.Prediction(related=found, dropped=dict(+dropped))


def told(item: Item) -> str:
    """An item in one line, as notes are compared."""
    about = f"{item.kind}, {item.topic}" if item.topic else item.kind
    reach = f" ({item.reach})" if item.reach else ""
    last = f", last on {item.last:%Y-%m-%d}" if item.last else ""
    number = len(item.support)
    return f"[{about}] {item.text}{reach} - in {number} message{'s'[: number != 1]}{last}"


@dataclass(frozen=True, slots=True)
class Brought:
    """Items brought together.

    Attributes:
        items: as they are now.
        changed: those that do not hold any more, and are gone.
        contradicting: those that contradict each other.
        made_of: by the key of an item that others became part of, the keys of all of them.
    """

    items: tuple[Item, ...]
    changed: tuple[Item, ...]
    contradicting: tuple[Item, ...]
    made_of: Mapping[ItemKey, tuple[ItemKey, ...]]


def bring_together(
    items: Sequence[Item],
    related: Iterable[Related],
    times: Callable[[str], datetime | None],
    sensitive: Policy = "keep",
) -> Brought:
    """The items after what an LM said of them.

    Of those that say the same, one stays with the evidence of all. Of a change, what holds now
    stays; what spoke for what held before does not speak against it, however often it was said. Of
    a contradiction both stay, each with what speaks for the other against it. What a person wrote
    stays as it is.

    Args:
        items: as the places in `related` count them.
        related: of no item twice.
        times: when an interaction happened.
        sensitive: what becomes of a new wording that is sensitive; where it may not be, the old one
            stays.
    """
    left: dict[int, Item] = dict(enumerate(items))
    changed: list[Item] = []
    made_of: dict[ItemKey, tuple[ItemKey, ...]] = {}
    contradicting: list[Item] = []
    for one in related:
        group = [items[at] for at in one.places]
        own = [at for at in one.places if items[at].own]
        if own:
            for at in set(one.places) - set(own) if one.relation == "same" else ():
                del left[at]
            continue
        support = {id for item in group for id in item.support}
        oppose = {id for item in group for id in item.oppose}
        if one.relation == "contradiction":
            for at in one.places:
                mine = set(items[at].support)
                others = {id for item in group if item is not items[at] for id in item.support}
                against = {*items[at].oppose, *(others - mine)}
                left[at] = replace(items[at], oppose=tuple(against))
            contradicting += group
            continue
        stays = one.places[0] if one.relation == "same" else one.places[-1]
        if one.relation == "changed":
            support, oppose = set(items[stays].support), set(items[stays].oppose)
        moments = [moment for id in support if (moment := times(id))]
        kept = replace(
            items[stays],
            support=tuple(support),
            oppose=tuple(oppose),
            last=max(moments, default=items[stays].last),
        )
        left[stays] = _worded(kept, one, sensitive)
        made_of[left[stays].key] = tuple(item.key for item in group)
        for at in set(one.places) - {stays}:
            gone = left.pop(at)
            changed += [gone] if one.relation == "changed" else []
    return Brought(merged(left.values()), tuple(changed), tuple(contradicting), made_of)


def _worded(item: Item, said: Related, sensitive: Policy) -> Item:
    """The item in the words that were found for it, if there are any and it may have them."""
    if not said.text.strip():
        return item
    try:
        new = replace(
            item, text=said.text, topic=said.topic or item.topic, reach=said.reach or item.reach
        )
    except DataError:
        return item
    allowed = guarded([new], sensitive)
    return allowed[0] if allowed else item
