"""What the page shows of a persona, as values that a template only lays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import ndiff
from typing import Any

from personaagent.data import Directive, Interaction, Item, Persona, Task
from personaagent.data.items import by_topic
from personaagent.memory import Published, Store
from personaagent.memory.waiting import Changed, Waiting
from personaagent.service import lineage, publish

MOST = 12  # interactions that are shown for a directive or an item
_WIDTH, _HEIGHT, _EDGE = 640, 120, 10  # of the picture of quality


@dataclass(frozen=True, slots=True)
class Rule:
    """A directive with its number, its evidence as far as it is stored, and since when it holds."""

    number: int
    said: Directive
    support: list[Interaction]
    oppose: list[Interaction]
    since: Published
    critiques: list[lineage.Critique]


@dataclass(frozen=True, slots=True)
class Note:
    """An item with its number, its evidence as far as it is stored, and since when it is there."""

    number: int
    said: Item
    support: list[Interaction]
    oppose: list[Interaction]
    since: Published


@dataclass(frozen=True, slots=True)
class Step:
    """A version with what changed in it; `lines` are (sign, text)."""

    entry: Published
    lines: list[tuple[str, str]]
    score: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A persona that waits, beside what it would replace."""

    waits: Waiting
    user: str
    task: str
    before: list[tuple[str, str]]
    after: list[tuple[str, str]]
    answers: list[tuple[Changed, Interaction | None]]


def rules(store: Store, chain: Sequence[Published], said: Persona, task: Task) -> list[Rule]:
    """The directives of a persona."""
    memory = store.of(said.user)
    runs = list(publish.origins(store, said.user, task).entries().values())
    return [
        Rule(
            number,
            one,
            memory.get(one.support[:MOST]),
            memory.get(one.oppose[:MOST]),
            lineage.since(chain, said, one),
            lineage.critiques(runs, one)[:MOST],
        )
        for number, one in enumerate(said.directives, 1)
    ]


def notes(store: Store, chain: Sequence[Published], said: Persona) -> dict[str, list[Note]]:
    """The items of a persona by topic, as the LM reads them."""
    memory = store.of(said.user)
    numbers = {one: number for number, one in enumerate(said.items, 1)}

    def note(one: Item) -> Note:
        support, oppose = memory.get(one.support[:MOST]), memory.get(one.oppose[:MOST])
        return Note(numbers[one], one, support, oppose, lineage.since(chain, said, one))

    return {topic: [note(one) for one in some] for topic, some in by_topic(said.items).items()}


def scores(store: Store, user: str, task: str) -> dict[str, dict[str, float]]:
    """Loss and score on replay by the hash of the persona, for those that an alignment made."""
    made = store.of(user).journal(f"made/{task}").entries()
    return {hash: one["scores"] for hash, one in made.items() if one.get("scores")}


def timeline(chain: Sequence[Published], known: dict[str, dict[str, float]]) -> list[Step]:
    """Every version with what changed, the latest first."""
    steps, before = [], None
    for entry in chain:
        steps.append(
            Step(
                entry,
                changes(before, entry.persona) if entry.persona else [],
                known.get(entry.hash, {}).get("last_score"),
            )
        )
        before = entry.persona or before
    return steps[::-1]


def changes(before: Persona | None, after: Persona) -> list[tuple[str, str]]:
    """What differs between two personas, line by line: `+`, `-` or a space, and the text; of all
    items, also those that exceed the budget, and how the evidence of those that stay changed."""
    old, new = (
        replace(one, words=None).render().splitlines() if one else [] for one in (before, after)
    )
    found = [(one[0], one[2:]) for one in ndiff(old, new)]
    for edit in lineage.item_edits(before, after):
        if edit["edit"] == "revise":
            found += [
                (sign, f"{edit['text']}: {_figures(edit[side])}")
                for sign, side in (("-", "from"), ("+", "to"))
            ]
    return [one for one in found if one[0] in "+- "]


def _figures(item: dict[str, Any]) -> str:
    said = [f"{item['support']} for", f"{item['oppose']} against"]
    said += [f"about {item['topic']}"] if item["topic"] else []
    said += [f"sensitive: {item['sensitive']}"] if item["sensitive"] else []
    return ", ".join(said)


def decision(store: Store, waits: Waiting, user: str) -> Decision:
    """What there is to decide about."""
    memory = store.of(waits.persona.user)
    lines = changes(memory.persona(waits.persona.task), waits.persona)
    known = {one.id: one for one in memory.get(answer.id for answer in waits.answers)}
    return Decision(
        waits,
        user,
        waits.persona.task,
        [one for one in lines if one[0] != "+"],
        [one for one in lines if one[0] != "-"],
        [(answer, known.get(answer.id)) for answer in waits.answers],
    )


def picture(steps: Sequence[Step]) -> dict[str, Any] | None:
    """Points of a line through the scores on replay, oldest first; None for fewer than two."""
    known = [(one.entry.version, one.score) for one in reversed(steps) if one.score is not None]
    if len(known) < 2:
        return None
    across = (_WIDTH - 2 * _EDGE) / (len(known) - 1)
    points = [
        {
            "x": round(_EDGE + at * across, 1),
            "y": round(_EDGE + (1 - score) * (_HEIGHT - 2 * _EDGE), 1),
            "version": version,
            "score": score,
        }
        for at, (version, score) in enumerate(known)
    ]
    line = " ".join(f"{one['x']},{one['y']}" for one in points)
    return {"points": points, "line": line, "width": _WIDTH, "height": _HEIGHT}
