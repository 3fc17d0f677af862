"""The contests between personas: evidence that adds up over a user's life.

A pair is a champion and a challenger, each named by what it says. For every pair it is kept who
the challenger is, which interactions may have written it, and what it saved on each of the others;
an interaction counts once a pair, the first time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from personaagent.data import Persona
from personaagent.memory.user import UserMemory
from personaagent.optimizers.record import Record


class Entries(Record, Protocol):
    """A record that can be read as a whole: `personaagent.memory.Journal`, or `Scratch`."""

    def entries(self, prefix: str = "") -> dict[str, Any]:
        """The values of the keys that start so, by key, in the order of keys."""
        ...


@dataclass(frozen=True, slots=True)
class Challenger:
    """A challenger of a champion: the kind of its edit, and what it saved on each interaction as a
    share of the most that counts, in [-1, 1]."""

    persona: Persona
    kind: str
    saved: dict[str, float]


class Contests:
    """Evidence in a record that outlives the alignment, one a user and task.

    Args:
        record: `Contests.of` takes the user's journal for it.
    """

    def __init__(self, record: Entries) -> None:
        self.record = record

    @classmethod
    def of(cls, memory: UserMemory, task: str) -> Contests:
        """The contests in a user's part of the store."""
        return cls(memory.journal(f"evidence/{task}"))

    def add(
        self,
        champion: Persona,
        challenger: Persona,
        saved: Mapping[str, float],
        *,
        kind: str,
        writing: frozenset[str] = frozenset(),
    ) -> Challenger:
        """Note what a challenger saved; all that is known of it against this champion.

        Args:
            champion: who is in place.
            challenger: who would take it.
            saved: by id of the interaction, in [-1, 1]; zeros say nothing and are left out.
            kind: of the edit.
            writing: what may have written it, which never counts.
        """
        pair = f"{identity(champion)}/{identity(challenger)}"
        said = {"profile": challenger.profile, "directives": challenger.to_dict()["directives"]}
        opened = self.record.put(pair, {"kind": kind, "says": said, "writing": sorted(writing)})
        for id in sorted(set(saved) - {*opened["writing"], *writing}):
            if saved[id]:
                self.record.put(f"{pair}/{id}", saved[id])
        return self._read(champion, pair, self.record.entries(f"{pair}/"), opened)

    def challengers(self, champion: Persona) -> list[Challenger]:
        """Everybody who ever stood against this champion, in a fixed order."""
        found = self.record.entries(f"{identity(champion)}/")
        return [
            self._read(champion, pair, found, opened)
            for pair, opened in found.items()
            if pair.count("/") == 1
        ]

    def shares(self) -> list[tuple[str, float]]:
        """Of every challenger and interaction the kind of the edit and the share that it saved."""
        found = self.record.entries()
        kinds = {key: value["kind"] for key, value in found.items() if key.count("/") == 1}
        pairs = {key: "/".join(key.split("/", 2)[:2]) for key in found if key not in kinds}
        return [(kinds[pair], found[key]) for key, pair in pairs.items() if pair in kinds]

    def _read(
        self, champion: Persona, pair: str, found: Mapping[str, Any], opened: Mapping[str, Any]
    ) -> Challenger:
        start = f"{pair}/"
        saved = {key[len(start) :]: one for key, one in found.items() if key.startswith(start)}
        body = champion.to_dict() | opened["says"]
        says = Persona.from_dict(body)
        persona = champion.succeed(profile=says.profile, directives=says.directives)
        return Challenger(persona, opened["kind"], saved)


def identity(persona: Persona) -> str:
    """Names what a persona says: user, task, profile, and each directive's text, cue and reach.

    Its place in the chain, the evidence of its directives, standing actions and trust change from
    alignment to alignment and are left out: evidence outlives them.
    """
    said = [replace(one, support=(), oppose=()) for one in persona.directives]
    content = [persona.user, persona.task, persona.profile, [asdict(one) for one in said]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def kind_of(champion: Persona, challenger: Persona) -> str:
    """The edit that makes one of the other: add, revise or drop a directive, else rewrite."""
    before, after = (
        {one.cue or one.text: (one.text, one.reach) for one in persona.directives}
        for persona in (champion, challenger)
    )
    added, dropped = after.keys() - before.keys(), before.keys() - after.keys()
    revised = {name for name in after.keys() & before.keys() if after[name] != before[name]}
    sizes = (len(added), len(revised), len(dropped))
    if champion.profile == challenger.profile and sum(sizes) == 1:
        return ("add", "revise", "drop")[sizes.index(1)]
    if champion.profile == challenger.profile and sizes == (1, 0, 1):  # one takes another's place
        return "revise"
    return "rewrite"
