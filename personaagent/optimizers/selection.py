"""Judging personas: who may judge, which candidate wins, and what the winner may do and trust."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean

import dspy

from personaagent.data import Action, FusionWeights, Interaction, Persona, Task
from personaagent.data.influence import PER_DAY, by_day
from personaagent.data.pins import barest, news
from personaagent.data.style import EXAMPLE
from personaagent.optimizers.acceptance import Acceptance, EmptyPersonaBetter, Trial
from personaagent.optimizers.log import Candidate
from personaagent.optimizers.prequential import helps
from personaagent.optimizers.prior import MANY, RECALL_MANY
from personaagent.optimizers.replay import Asked, Replay, Replayed
from personaagent.optimizers.worklog import Record, once
from personaagent.programs.fusion import SHRINKAGE, fit_trust, grade, model_of

SETTLING = 8  # judging interactions that actions and trust are settled on: recall makes them dear
LONG = 3 * MANY  # interactions from which so many are a choice among them
WORTH = 1.0  # nats in all that must be saved to fit the trust of a published persona anew
Policies = Sequence[tuple[Action, ...] | None]
POLICIES: Policies = ((), (Action("recall"),))


def evidence_of(persona: Persona) -> frozenset[str]:
    """The ids of the interactions that wrote a persona.

    A habit of writing is counted over all texts, and none of them wrote it; an example is one's own
    words.
    """
    items = (one for one in persona.items if one.kind != "style" or one.topic == EXAMPLE)
    sides = [
        *((one.support, one.oppose) for one in persona.directives),
        *((one.support, one.oppose) for one in items),
    ]
    return frozenset(id for side in sides for ids in side for id in ids)


def split(
    trainset: Sequence[Interaction],
    valset: Sequence[Interaction] | None,
    *,
    evidence: Collection[str],
    judges: int,
    writers: int,
    seed: int,
) -> tuple[list[Interaction], list[Interaction]]:
    """Writing and judging interactions, both oldest first; what judges a persona never wrote it.

    Each answer judges about as often as the user gives it, so that no habit is left without a
    judge. A day either writes or judges, as far as there are days enough: else what one day says
    would be confirmed by the same day. No day is more than a third of the judges.

    Args:
        trainset: all interactions, oldest first.
        valset: the judging ones, where they are given; they do not write.
        evidence: ids of what wrote the persona that is aligned; they do not judge.
        judges: how many judge at most; never more than a third.
        writers: how many of the latest write at most.
        seed: of the draw.
    """
    if valset is not None:
        named = {one.id for one in valset}
        return [one for one in trainset if one.id not in named][-writers:], list(valset)
    latest = trainset[-(writers + judges) :]
    free = [one for one in latest if one.id not in evidence]
    count = min(judges, len(latest) // 3, len(free))
    days = _drawn(free, count, random.Random(seed))
    drawn: set[str] = set()
    for day in days:
        if len(day) <= max(1, PER_DAY * count) and len(drawn) + len(day) <= count:
            drawn |= {one.id for one in day}
    others = [one.id for day in days for one in day if one.id not in drawn]
    drawn |= set(others[: count - len(drawn)])
    return (
        [one for one in latest if one.id not in drawn],
        [one for one in latest if one.id in drawn],
    )


def lend(
    writing: Sequence[Interaction], champion: Persona, judges: int, seed: int
) -> tuple[list[Interaction], list[Interaction]]:
    """The writing interactions that write in one step, and those that judge it instead.

    The judging interactions are few, and a directive applies to few of them or to none. So others
    are lent to them in every step (cross-fitting). Over the steps nearly all of a history judges.
    No interaction judges a directive that it wrote, of a candidate or of the champion.

    A profile does not name the interactions that it was written from. The first profile is in every
    candidate and in the champion, so it favours neither. A rewritten one was written from
    interactions that now judge it as part of the champion: if that favours anybody, the champion.
    """
    wrote = evidence_of(champion)
    return split(writing, None, evidence=wrote, judges=judges, writers=len(writing), seed=seed)


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
    """

    def other(persona: Persona, one: Interaction) -> bool:
        return replay.view(champion, one) != replay.view(persona, one)

    wrote = frozenset(one.id for one in writing)
    told = [one for one in lent if any(other(persona, one) for persona in personas)]
    judging = [*(one.interaction for one in judged), *told]
    hopeless = [sparing and not told and not helps(persona, judged, replay) for persona in personas]
    tried = [one for one, gone in zip(personas, hopeless, strict=True) if not gone]
    under = [(champion, told), *((persona, judging) for persona in tried)]
    replay.ask([*((persona, one) for persona, past in under for one in past), *beside])
    before = [*judged, *replay(champion, told)]
    candidates: list[Candidate] = []
    verdict, most = Verdict((), None, champion, judged), 0.0
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
        if better and (verdict.accepted is None or saved > most):
            verdict, most = Verdict((), at, persona, held_out), saved
    return replace(verdict, candidates=tuple(candidates))


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
    found = once(
        record,
        "undecided",
        lambda: [one.to_dict() for one in acceptance.undecided(champion)],
    )
    return news(champion, map(Persona.from_dict, found))


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


def _drawn(free: Sequence[Interaction], count: int, dice: random.Random) -> list[list[Interaction]]:
    """The days in random order, those of the first `count` interactions with answers as mixed as
    those of all: a systematic sample of the days ordered by answer."""
    days = by_day(free)
    dice.shuffle(days)
    days.sort(key=lambda day: day[0].response)
    wanted, begin = ceil(count * len(days) / max(1, len(free))), dice.random()
    places = {int((begin + n) * len(days) / wanted) for n in range(wanted)}
    first = [day for at, day in enumerate(days) if at in places]
    others = [day for at, day in enumerate(days) if at not in places]
    dice.shuffle(first)
    dice.shuffle(others)
    return [*first, *others]


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
