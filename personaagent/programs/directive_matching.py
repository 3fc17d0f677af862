"""What of a persona speaks to a query: directives without a cue, those whose cue fits, and items.

Items stand in the prompt as they are. Only where all of them exceed the persona's budget does their
cosine with the query decide what has half of it.

A small LM that sees every rule applies one of them to every query; shown only what fits, it follows
it. The gate is a cosine, so it costs no LM call.

A cue is a word or two and fits by chance, too. Where the user has answered nearly this very query
before, otherwise than the rule would, and the memories around it agree, the rule gives way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from personaagent.data import Choice, Directive, Item, Persona
from personaagent.data.influence import said_alike
from personaagent.data.items import render, word_count
from personaagent.data.words import words_of
from personaagent.memory import EpisodicMemory, Memory
from personaagent.programs.scope import QueryScope
from personaagent.programs.user_label_prior import NEIGHBOURS, votes_of

_STEM = 3  # letters at least that an ending leaves, and two thirds of a word
VERBATIM = 0.92  # cosine from which a past query is nearly the same text: a word or two differ


def fit(memory: EpisodicMemory, cue: str, query: str) -> float:
    """The cosine between a cue and a query, in [-1, 1]."""
    return float(memory.embed(cue) @ memory.embed(query))


def match_directives(
    memory: EpisodicMemory, persona: Persona, situation: QueryScope
) -> list[Directive]:
    """The directives with a cue that fits the query and that no precedent gainsays, the best fit
    first."""
    fitting = [
        (fit(memory, directive.cue, situation.query), directive)
        for directive in persona.directives
        if directive.cue
    ]
    fitting = [(value, directive) for value, directive in fitting if value >= directive.reach]
    ordered = [one for _, one in sorted(fitting, key=lambda pair: pair[0], reverse=True)]
    precedent = _precedent(memory, situation) if ordered else None
    if precedent is None:
        return ordered
    return [one for one in ordered if not precedent.gainsays(_answer_of(memory, situation, one))]


def announced(directive: Directive, query: str, item: str) -> str:
    """The rule in front of an LM: that it holds for the query only where that says the cue's words.
    A capable LM does as it is told, also where a cosine was too kind to a cue.

    Args:
        directive: one that fits.
        query: the user's.
        item: what the task calls a query.
    """
    if _says(query.lower(), directive.cue.lower()):
        return f"This {item} falls under a rule of this user: {directive.text}"
    return f"A rule of this user, if this {item} falls under it: {directive.text}"


def _says(query: str, cue: str) -> bool:
    """Whether a text has the words of a cue, in any order and with other endings."""
    said = words_of(query)
    stems = [word[: max(_STEM, 2 * len(word) // 3)] for word in words_of(cue)]
    return cue in query or all(any(one.startswith(stem) for one in said) for stem in stems)


def item_scores(memory: EpisodicMemory, persona: Persona, query: str) -> dict[Item, float] | None:
    """How well each item fits the query; None where all of them fit into the budget, so that
    nothing is embedded for nothing."""
    if persona.words is None or word_count(render(persona.items)) <= persona.words:
        return None
    told = memory.embed_kept(persona.user, [f"{one.topic}: {one.text}" for one in persona.items])
    return dict(zip(persona.items, map(float, told @ memory.embed(query)), strict=True))


@dataclass(frozen=True, slots=True)
class _Precedent:
    """How the user answered nearly the same query, and what weighs for it and for other answers.

    Attributes:
        answer: the neighbours' first choice, which a near-verbatim one among them gave.
        backing: what votes for it beside the strongest voter: one interaction, however often it is
            repeated, overrules no rule.
        votes: by answer, of all neighbours.
    """

    answer: str
    backing: float
    votes: Mapping[str, float]

    def gainsays(self, answer: str | None) -> bool:
        """Whether it speaks against a rule of this answer."""
        if answer is None or answer == self.answer:
            return False
        return self.backing > self.votes.get(answer, 0.0)


def _precedent(memory: EpisodicMemory, situation: QueryScope) -> _Precedent | None:
    task = situation.task
    if not task.labels or isinstance(task, Choice):  # [1] of one pair says nothing of another's
        return None

    def recall(k: int) -> list[Memory]:
        return memory.recall(
            situation.user,
            situation.query,
            k,
            task=task.name,
            before=situation.before,
            exclude=situation.exclude,
        )

    if not (nearest := recall(1)) or nearest[0].score < VERBATIM:
        return None
    near = [one for one in recall(NEIGHBOURS) if one.interaction.response in task.labels]
    totals: defaultdict[str, float] = defaultdict(float)
    voters: defaultdict[Hashable, float] = defaultdict(float)
    for one, vote in zip(near, votes_of(near), strict=True):
        totals[one.interaction.response] += vote
        voters[said_alike(one.interaction)] += vote
    verbatim = {one.interaction.response for one in near if one.score >= VERBATIM}
    answer = max(totals, key=lambda label: totals[label], default=None)
    if answer not in verbatim:
        return None
    strongest = max(
        voters[said_alike(one.interaction)] for one in near if one.interaction.response == answer
    )
    return _Precedent(answer, totals[answer] - strongest, totals)


def _answer_of(memory: EpisodicMemory, situation: QueryScope, directive: Directive) -> str | None:
    """What a directive answers: most of the interactions that speak for it; None where that is not
    known, as of one that a person wrote."""
    behind = memory.store.of(situation.user).get(directive.support)
    counts = Counter(one.response for one in behind)
    return counts.most_common(1)[0][0] if counts else None
