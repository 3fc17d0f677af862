"""Judging personas: whether a candidate takes the champion's place, which one does, and what the
winner may do and trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

import dspy

from personaagent.data import Action, FusionWeights, Interaction, Persona, Task, validation
from personaagent.data.pins import barest, news
from personaagent.optimizers.log import Candidate
from personaagent.optimizers.prior import MANY, RECALL, RECALL_MANY
from personaagent.optimizers.replay import Asked, Replay, Replayed
from personaagent.optimizers.worklog import Record, once
from personaagent.programs.fusion import SHRINKAGE, fit_trust, grade, model_of

WRONG = 3.0  # nats that a label's loss counts for at most: less than 5 % likely is just wrong
AGAIN = 0.05  # nats that a replay may differ by: an answer changes when it is asked again
SETTLING = 8  # judging interactions that actions and trust are settled on: recall makes them dear
LONG = 3 * MANY  # interactions from which so many are a choice among them
WORTH = 1.0  # nats in all that must be saved to fit the trust of a published persona anew
Policies = Sequence[tuple[Action, ...] | None]
POLICIES: Policies = ((), RECALL)


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate against the champion on interactions that wrote neither.

    Attributes:
        champion: who is in place.
        candidate: who may take it.
        before: the replay under the champion.
        after: the same interactions in the same order, under the candidate.
        writing: ids of the interactions that the candidate may have been written from.
    """

    champion: Persona
    candidate: Persona
    before: Sequence[Replayed]
    after: Sequence[Replayed]
    writing: frozenset[str] = frozenset()

    @property
    def saved(self) -> list[float]:
        """What the candidate saves on each interaction, in units of the loss.

        A label's loss is cut off at `WRONG`: beyond it an LM says more of how sure it is of itself
        than of the persona, and one mistaken response would outvote several others.
        """
        pairs = zip(self.before, self.after, strict=True)
        return [_counted(old) - _counted(new) for old, new in pairs]

    @property
    def gained(self) -> float:
        """What the candidate gains in score over all of them."""
        pairs = zip(self.before, self.after, strict=True)
        return sum(new.score - old.score for old, new in pairs)


class Acceptance(Protocol):
    """Judges candidates.

    Attributes:
        on_evidence: whether it asks for any. Then some of the writing interactions judge, too,
            and an alignment may not end with a persona that does worse than none.
    """

    on_evidence: bool

    def accepts(self, trial: Trial) -> tuple[bool, str]:
        """The verdict and its reason."""
        ...

    def undecided(self, champion: Persona) -> list[Persona]:
        """Candidates of earlier alignments that more evidence may still let win."""
        del champion
        return []


class Second(Protocol):
    """Is asked of a candidate that was accepted."""

    def agrees(self, trial: Trial) -> tuple[bool, str]:
        """Whether it stays accepted, and why."""
        ...


class AlwaysAccept(Acceptance):
    """The paper's: the latest rewrite is the persona."""

    on_evidence = False

    def accepts(self, trial: Trial) -> tuple[bool, str]:
        return True, "always accepted"


class AcceptOnReplay(Acceptance):
    """Only what lowers the loss on held-out interactions, and not by a few of the answers that it
    changes at the cost of most; without evidence the champion stays."""

    on_evidence = True

    def __init__(self, *, margin: float = AGAIN) -> None:
        # nats that the whole replay must save
        validation.number("margin", margin, 0)
        self.margin = margin

    def accepts(self, trial: Trial) -> tuple[bool, str]:
        saved = trial.saved
        changed = [value for value in saved if value]
        if not changed:
            return False, "changes nothing on replay"
        better = sum(value > 0 for value in changed)
        verdict = sum(saved) > self.margin and 2 * better >= len(changed)
        of = f"better on {better} of {len(changed)} changed answers"
        return verdict, f"saves {sum(saved):.1f} nats on replay, {of}"


class EmptyPersonaBetter(Acceptance):
    """Whether the champion does worse than no persona, or than memories alone, which is the
    candidate: its answers are less likely, and not right more often.

    Args:
        margin: nats that no persona must save on the whole replay. Where few judge, and each tells
            little, doubt is the persona's: in general a description of the user helps.
    """

    on_evidence = False

    def __init__(self, *, margin: float = 0.0) -> None:
        validation.number("margin", margin, 0)
        self.margin = margin

    def accepts(self, trial: Trial) -> tuple[bool, str]:
        saved = sum(trial.saved)
        better = saved > self.margin and trial.gained >= 0
        alone = trial.candidate.actions and trial.candidate.actions != trial.champion.actions
        other = "memories alone save" if alone else "no persona saves"
        return better, f"{other} {saved:.1f} nats on replay"


class NoWorse(Acceptance):
    """Whether a candidate that other evidence speaks for does no worse than the champion."""

    on_evidence = True

    def accepts(self, trial: Trial) -> tuple[bool, str]:
        saved = sum(trial.saved)
        return saved >= -AGAIN, f"saves {saved:.1f} nats on replay"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The candidates in their order, which of them is accepted, and the champion afterwards with
    its replay."""

    candidates: tuple[Candidate, ...]
    accepted: int | None
    champion: Persona
    judged: list[Replayed]


def judge(
    personas: Sequence[Persona],
    champion: Persona,
    judged: list[Replayed],
    acceptance: Acceptance,
    replay: Replay,
    writing: Sequence[Interaction] = (),
    lent: Sequence[Interaction] = (),
    beside: Sequence[Asked] = (),
    *,
    sparing: bool = False,
    second: Second | None = None,
) -> Verdict:
    """Replay the candidates on what judged the champion; of those accepted the best one wins.

    Args:
        personas: the candidates.
        champion: who is in place.
        judged: its replay on the judging interactions.
        acceptance: may a candidate win?
        replay: answers again.
        writing: what the candidates may have been written from.
        lent: interactions that judge these candidates only. They are replayed where the LM would be
            shown something else than under the champion.
        beside: what else will be replayed soon, and is asked for at the same time.
        sparing: candidates that do no better where the champion was wrong are not replayed on the
            rest, where they can only do worse.
        second: whom those that are accepted must convince, too, the best one first.
    """

    def other(persona: Persona, one: Interaction) -> bool:
        return replay.view(champion, one) != replay.view(persona, one)

    wrote = frozenset(one.id for one in writing)
    told = [one for one in lent if any(other(persona, one) for persona in personas)]
    judging = [*(one.interaction for one in judged), *told]
    hopeless = [sparing and not told and not replay.helps(persona, judged) for persona in personas]
    tried = [one for one, gone in zip(personas, hopeless, strict=True) if not gone]
    under = [(champion, told), *((persona, judging) for persona in tried)]
    replay.ask([*((persona, one) for persona, past in under for one in past), *beside])
    before = [*judged, *replay(champion, told)]
    candidates: list[Candidate] = []
    winners: list[tuple[float, int, Trial]] = []
    for at, persona in enumerate(personas):
        if hopeless[at]:
            reason = "does no better where the champion is wrong"
            candidates.append(Candidate(persona, *means(judged), 0, reason))
            continue
        again = replay(persona, judging)
        trial = Trial(champion, persona, before, again, wrote)
        better, reason = acceptance.accepts(trial)
        changed = sum(other(persona, one) for one in judging)
        held_out = again[: len(judged)]
        saved, (loss, score) = sum(trial.saved), means(held_out)
        candidates.append(Candidate(persona, loss, score, changed, reason, saved, trial.gained))
        if better:
            winners.append((-saved, at, trial))
    for _, at, trial in sorted(winners, key=lambda one: one[:2]):
        agrees, why = second.agrees(trial) if second else (True, "")
        if why:
            candidates[at] = replace(candidates[at], reason=f"{candidates[at].reason}; {why}")
        if agrees:
            held_out = list(trial.after[: len(judged)])
            return Verdict(tuple(candidates), at, trial.candidate, held_out)
    return Verdict(tuple(candidates), None, champion, judged)


def recalling(policies: Policies, history: int) -> Policies:
    """What may be recalled without asking, of so many interactions: of many, more."""
    return (*policies, RECALL_MANY) if len(policies) > 1 and history >= LONG else policies


def without(champion: Persona) -> list[Persona]:
    """Successors that tell the LM nothing but what a person pinned: with the champion's trust in
    habit, and with none, where the LM answers as it would answer anyone."""
    silent = champion.succeed(**barest(champion), actions=())
    return [silent, replace(silent, trust=FusionWeights())]


def memories_alone(champion: Persona) -> Persona:
    """A successor that tells the LM nothing but what a person pinned, and shows many memories."""
    return champion.succeed(**barest(champion), actions=RECALL_MANY)


def undecided(acceptance: Acceptance, champion: Persona, record: Record) -> list[Persona]:
    """Challengers of earlier alignments; the same ones when the run goes on after a kill."""
    with once(record, "undecided") as entry:
        if entry.missing:
            entry.value = [one.to_dict() for one in acceptance.undecided(champion)]
    return news(champion, map(Persona.from_dict, entry.value))


def against_none(
    first: Persona,
    champion: Persona,
    last: Persona,
    judging: Sequence[Interaction],
    replay: Replay,
    shrinkage: float = SHRINKAGE,
    margin: float = 0.0,
    memories: Sequence[Persona] = (),
) -> Verdict:
    """No persona for the last one, the settled champion, where that one does worse than none, or
    than these, which are memories alone.

    Each is judged as it would be served. The champion's text with newly fitted trust is compared
    first, so that a difference in trust is not taken for one in the text. It is not a candidate.
    """
    others = [*without(champion), *memories]
    replay.ask((one, past) for one in (last, *others) for past in judging)
    anew, *silent = (
        settle(first, one, judging, (one.actions or (),), replay, shrinkage)
        for one in (replace(last, trust=FusionWeights()), *others)
    )
    verdict = judge(
        [anew, *silent], last, replay(last, judging), EmptyPersonaBetter(margin=margin), replay
    )
    accepted = verdict.accepted - 1 if verdict.accepted else None
    return replace(verdict, candidates=verdict.candidates[1:], accepted=accepted)


def settle(
    first: Persona,
    champion: Persona,
    judging: Sequence[Interaction],
    policies: Policies,
    replay: Replay,
    shrinkage: float = SHRINKAGE,
    beside: Sequence[Asked] = (),
) -> Persona:
    """The successor of the first persona: the champion with the standing actions and the trust that
    do best on the latest of the replay. The first one itself where nothing changed.

    Trust is shrunk to the champion's, which a new persona has from its cohort. `beside` is as in
    `judge`.
    """
    task, latest = replay.agent.task, judging[-SETTLING:]
    replay.ask([*settling(champion, judging, policies), *beside])
    compared = []
    # Without a judge there is no choice, unless it has been made.
    unjudged = policies if len(policies) == 1 else (champion.actions or (),)
    for actions in policies if judging else unjudged:
        replayed = replay(replace(champion, actions=actions), latest)
        trust = _fitted(task, replayed, champion.trust, shrinkage)
        compared.append((_served_loss(task, replayed, trust), actions, trust))
    _, actions, trust = min(compared, key=lambda one: one[0])
    if actions == champion.actions:  # all of the judging interactions were replayed so
        trust = _fitted(task, replay(champion, judging), champion.trust, shrinkage)
    said = {
        "profile": champion.profile,
        "items": champion.items,
        "words": champion.words,
        "whole": champion.whole,
        "directives": champion.directives,
        "trust": trust,
        "actions": actions,
    }
    if all(getattr(first, name) == value for name, value in said.items()):
        return first
    return first.succeed(**said)


def settling(champion: Persona, judging: Sequence[Interaction], policies: Policies) -> list[Asked]:
    """What `settle` replays to tell standing actions apart."""
    acting = [replace(champion, actions=actions) for actions in policies]
    return [(one, past) for one in acting for past in judging[-SETTLING:]]


def worth_settling(
    champion: Persona, policies: Policies, before: Sequence[Replayed], replay: Replay
) -> Policies:
    """The champion's own standing actions, and those that help it."""
    own = champion.actions or ()
    others = [one for one in policies if one != own]
    return [own, *(one for one in others if replay.helps(replace(champion, actions=one), before))]


def fitted_for_nothing(
    first: Persona, last: Persona, judging: Sequence[Interaction], replay: Replay
) -> bool:
    """Whether the last persona is the first one with its trust fitted once more, and answers no
    better for it: the same answers would move the trust a little with every alignment."""
    if replace(last, trust=first.trust, version=first.version, parent=first.parent) != first:
        return False
    task, replayed = replay.agent.task, replay(first, judging)
    before, after = (_served_loss(task, replayed, one.trust) for one in (first, last))
    return before - after < WORTH


def means(replayed: Sequence[Replayed]) -> tuple[float, float]:
    """The mean loss and score; zeros where nothing was replayed."""
    if not replayed:
        return 0.0, 0.0
    return fmean(one.loss for one in replayed), fmean(one.score for one in replayed)


def _counted(one: Replayed) -> float:
    return one.loss if one.lm is None else min(one.loss, WRONG)


def _fitted(
    task: Task, replayed: Sequence[Replayed], prior: FusionWeights, shrinkage: float
) -> FusionWeights:
    """The trust that replay speaks for; the prior where answers would be worse under it.

    Derived questions are easier than the user's own, so they say nothing of trust.
    """
    read = [
        (one.lm, one.habit, one.interaction.response)
        for one in replayed
        if one.lm and one.interaction.source != "derived"
    ]

    def score(trust: FusionWeights) -> float:
        return sum(grade(task, one, trust)[2] for one in read)

    trust = fit_trust(read, prior, shrinkage=shrinkage)
    if trust == prior or score(trust) < score(prior):
        return prior
    return replace(trust, fitted_with=model_of(dspy.settings.lm))


def _served_loss(task: Task, replayed: Sequence[Replayed], trust: FusionWeights) -> float:
    """The summed loss of the answers as they would be served, fused with habit."""
    return sum(
        grade(task, (one.lm, one.habit, one.interaction.response), trust)[1] if one.lm else one.loss
        for one in replayed
    )
