"""Acceptance by an anytime-valid sequential test whose evidence adds up over a user's life.

The challenger bets against the hypothesis that it is no better than the champion: on every
interaction that its answer differs on, it stakes a share of what it has and wins or loses in
proportion to what it saves. Under the hypothesis its capital e is a supermartingale that starts at
1, so the probability that it ever reaches 1/alpha, however often and whenever one looks, is at most
alpha (Ville's inequality). Testing by betting: Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting" (2024); Shafer, "Testing by betting" (2021).

`Contests` keep that evidence. A pair is a champion and a challenger, each named by what it says.
For every pair it is kept who the challenger is, which interactions may have written it, and what it
saved on each of the others; an interaction counts once a pair, the first time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from personaagent.data import Persona, validation
from personaagent.memory.user import UserMemory
from personaagent.optimizers.replay import Replayed
from personaagent.optimizers.selection import Trial
from personaagent.optimizers.worklog import MemoryWorkLog, Record


class Entries(Record, Protocol):
    """A record that can be read as a whole: `personaagent.memory.Journal`, or `MemoryWorkLog`."""

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
        body, names = challenger.to_dict(), ("profile", "items", "words", "directives", "whole")
        said = {name: body[name] for name in names if name in body}
        if champion.whole and not challenger.whole:
            said["whole"] = False
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
        body = champion.to_dict() | {"items": [], "words": None} | opened["says"]
        says = Persona.from_dict(body)
        names = ("profile", "items", "words", "directives", "whole")
        persona = champion.succeed(**{name: getattr(says, name) for name in names})
        return Challenger(persona, opened["kind"], saved)


def identity(persona: Persona) -> str:
    """Names what a persona says: user, task, profile, each directive's text, cue and reach, each
    item's kind, text and reach, and the budget of items.

    Its place in the chain, evidence, standing actions and trust change from alignment to alignment
    and are left out: what was saved outlives them.
    """
    said = [
        # without evidence: as it was written before there were authors and pins
        {"text": one.text, "cue": one.cue, "reach": one.reach, "support": (), "oppose": ()}
        for one in persona.directives
    ]
    content: list[Any] = [persona.user, persona.task, persona.profile, said]
    if persona.items:  # identities from before there were items stay valid
        content += [sorted(one.key for one in persona.items), persona.words]
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
    says = [(one.profile, one.items, one.words) for one in (champion, challenger)]
    if says[0] != says[1]:
        return "rewrite"
    if sum(sizes) == 1:
        return ("add", "revise", "drop")[sizes.index(1)]
    if sizes == (1, 0, 1):  # one takes another's place
        return "revise"
    return "rewrite"


ROLLBACK = "rollback"  # the kind of edit that returns to a champion's parent
ALPHA = 0.2  # of challengers that are no better, the share that may ever be accepted
MOST = math.log(4)  # nats that count at most: from 1 in 5 to 4 in 5 likely is all there is to win
_GRID = (np.arange(64) + 0.5) / 64  # stakes


@dataclass(frozen=True, slots=True)
class Bet:
    """What is believed of an edit before there is evidence: as if of the answers that such edits
    changed, `wins` had become better and `losses` worse (pseudo-counts above 0)."""

    wins: float
    losses: float


BETS: Mapping[str, Bet] = {
    "add": Bet(6, 1),
    "revise": Bet(6, 1),
    "drop": Bet(6, 1),
    "rewrite": Bet(3, 1),
    ROLLBACK: Bet(3, 1),
}
"""By kind of edit; those of directives come from counted evidence, rewrites from an LM's words.
With six to one, three of three clear wins reach 5 and four of four nearly 10."""


def e_value(saved: Iterable[float], bet: Bet) -> float:
    """The evidence that the mean of what is saved is above 0; 1 is none.

    A mixture over all stakes in (0, 1), each weighted by the bet's Beta density of the share of
    wins for which it is the best one. So it needs no tuning on the way, and the order of the
    interactions does not matter.

    Args:
        saved: of each interaction, in [-1, 1].
        bet: chosen before any of it was seen.

    Returns:
        Above 0; under the hypothesis its expectation is at most 1.
    """
    wins = (1 + _GRID) / 2
    belief = wins ** (bet.wins - 1) * (1 - wins) ** (bet.losses - 1)
    values = np.sort(np.fromiter(saved, float))  # sorted: the same sum in any order
    capital = np.exp(np.log1p(np.outer(values, _GRID)).sum(axis=0))
    return float((belief * capital).sum() / belief.sum())


def pooled(
    shares: Iterable[tuple[str, float]], bets: Mapping[str, Bet] = BETS, *, most: float = 20.0
) -> dict[str, Bet]:
    """The bets, informed by how the edits of other users did.

    It stays valid as long as nothing of the user who is aligned is among it.

    Args:
        shares: (kind of edit, what it saved in [-1, 1]) of other users, see `Contests.shares`.
        bets: what is believed without them.
        most: how many answers theirs count for at most, a kind.
    """
    saved: dict[str, list[float]] = {kind: [] for kind in bets}
    for kind, share in shares:
        saved.setdefault(kind, []).append(share)
    informed = {}
    for kind, bet in bets.items():
        weight = most / max(most, len(saved[kind]))
        won = sum((1 + share) / 2 for share in saved[kind])
        lost = len(saved[kind]) - won
        informed[kind] = Bet(bet.wins + weight * won, bet.losses + weight * lost)
    return informed


class AcceptOnEvidence:
    """Only what has won its bets, on all interactions that ever judged it against this champion.

    Evidence that does not suffice is kept: the challenger is undecided, and what the user does
    next may decide. Choose it where a persona lives long and must rarely change for the worse;
    `AcceptOnReplay` decides on one replay alone and learns sooner.

    Args:
        contests: where the evidence is kept; by default as long as this object.
        alpha: the probability, of each challenger that is no better, of ever being accepted.
        bets: by kind of edit, see `BETS`; those of `pooled` where other users are known.
        keep: how many undecided challengers are judged again at most.
    """

    on_evidence = True

    def __init__(
        self,
        contests: Contests | None = None,
        *,
        alpha: float = ALPHA,
        bets: Mapping[str, Bet] = BETS,
        keep: int = 4,
    ) -> None:
        validation.number("alpha", alpha, 0, 1)
        validation.whole("keep", keep, 0)
        self.contests = contests or Contests(MemoryWorkLog())
        self.alpha = alpha
        self.bets = bets
        self.keep = keep

    def accepts(self, trial: Trial) -> tuple[bool, str]:
        kind = kind_of(trial.champion, trial.candidate)
        known = self.contests.add(
            trial.champion, trial.candidate, shares(trial), kind=kind, writing=trial.writing
        )
        if not known.saved:
            return False, "changes nothing on replay"
        e = e_value(known.saved.values(), self.bets[known.kind])
        return e >= 1 / self.alpha, evidence(known, e, self.alpha)

    def undecided(self, champion: Persona) -> list[Persona]:
        """Those whose evidence speaks for them, the strongest first; not those that were accepted
        once: where their champion is back, somebody or newer evidence was against them."""
        found = [
            (e_value(one.saved.values(), self.bets[one.kind]), one)
            for one in self.contests.challengers(champion)
            if one.kind != ROLLBACK
        ]
        promising = [pair for pair in found if 1 < pair[0] < 1 / self.alpha]
        promising.sort(key=lambda pair: -pair[0])
        return [one.persona for _, one in promising[: self.keep]]


def shares(trial: Trial) -> dict[str, float]:
    """What the candidate saves on each interaction, as a share of the most that counts."""
    return {
        one.interaction.id: max(-1.0, min(1.0, saved / _most(one)))
        for one, saved in zip(trial.before, trial.saved, strict=True)
    }


def evidence(known: Challenger, e: float, alpha: float) -> str:
    """The evidence of a challenger in words."""
    better = sum(value > 0 for value in known.saved.values())
    of = f"better on {better} of {len(known.saved)} answers that it changed so far"
    return f"evidence {e:.1f} of the {1 / alpha:g} needed, {of}"


def _most(one: Replayed) -> float:
    return MOST if one.likelihoods else 1.0  # without probabilities the loss is in [0, 1]
