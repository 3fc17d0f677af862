"""Where a user's persona starts: from the published one, or from a first one that an LM writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import dspy

from personaagent.data import Interaction, Item, Persona
from personaagent.data.facts import facts_of, quoted
from personaagent.data.sensitive import Policy, prose
from personaagent.data.style import EXAMPLE, restyled
from personaagent.optimizers.prior import Start
from personaagent.optimizers.replay import Student
from personaagent.optimizers.worklog import Record, once
from personaagent.programs import ProfileSummarizer
from personaagent.programs.fusion import fits
from personaagent.programs.profile import UserDescriber, words_for
from personaagent.programs.scope import derived_from


class Beginning:
    """What there may be of a user at the start; what an LM writes is asked for once in a run.

    Args:
        agent: its task and memory.
        user: whose persona.
        lm: another LM than DSPy's, to write.
        words: that a first profile may have.
        policy: what becomes of what is sensitive in a profile.
        record: keeps what was written.
    """

    def __init__(
        self,
        agent: Student,
        user: str,
        lm: dspy.LM | None,
        words: int,
        policy: Policy,
        record: Record,
    ) -> None:
        self._agent, self._user, self._task = agent, user, agent.task
        self._lm, self._words, self._policy, self._record = lm, words, policy, record
        self._published = agent.persona_of(user)

    @property
    def fresh(self) -> bool:
        """Whether a first profile is to be written: there is no persona yet, or an erasure took
        it."""
        return fresh(self._published)

    def items(self, known: Sequence[Interaction]) -> tuple[Item, ...]:
        """The items of the user's persona, where the task is to write texts with the user's habits
        of writing counted anew.

        They are as they were where only the counts in them would change, so that not every new text
        makes another persona.

        Args:
            known: what may write a persona, oldest first.
        """
        items = self._published.items
        if self._task.labels:
            return items
        counted = restyled(items, known, self._policy)
        return items if _gist(counted) == _gist(items) else counted

    def bare(self, start: Start, items: tuple[Item, ...]) -> list[Persona]:
        """What `persona` gives, without its profile; empty where that is not all that it says."""
        persona = self._published
        if persona.directives or persona.profile_pinned:
            return []
        if persona.profile:
            return [replace(persona, profile="")]
        return [replace(persona, profile="", items=items, actions=start.actions)]

    def longer(self, known: Sequence[Interaction], longest: int, *, history: int) -> list[str]:
        """Longer first profiles, where there is no persona yet and the history is long enough for
        one that may be at least twice as long as the short one.

        The first is what code has counted, as it stands, which costs no call and which a small LM
        follows better than a description of its own (of texts that stands in items already); the
        other an LM has written from that and the latest interactions.

        Args:
            known: what may write a persona, also what is too old to write directives.
            longest: words that it may have at most.
            history: how much there is in all that may write, also what tests the persona first.
        """
        words = words_for(self._task, history, longest)
        if not self.fresh or words < 2 * self._words:
            return []
        facts = facts_of(self._task, known, self._policy) if self._task.labels else None
        counted = quoted(facts, words) if facts else ""
        with once(self._record, f"profile/longer/{words}/{self._policy}") as entry:
            if entry.missing:
                entry.value = self._said(UserDescriber(words=words, policy=self._policy), known)
        return [one for one in (counted, entry.value) if one]

    def persona(
        self,
        start: Start,
        items: tuple[Item, ...],
        writing: Sequence[Interaction],
        judging: Sequence[Interaction],
        told: Sequence[Interaction],
    ) -> Persona:
        """The published persona, or a first one as the cohort starts: by default a profile.

        Args:
            start: how a first one begins.
            items: of a first one.
            writing: what may write a persona.
            judging: what judges it, and must not write it.
            told: what is known of the user without an answer.
        """
        persona = self._published
        if not self.fresh:  # its weights are fitted anew where another model is asked
            return persona if fits(persona.trust) else persona.succeed(trust=start.trust)
        persona = replace(persona, items=items, actions=start.actions, trust=start.trust)
        if not start.profile:
            return persona
        # Derived interactions say little of the user; what they were made from says more.
        sources = {id for one in writing for id in derived_from(one)}
        hidden = {id for one in judging for id in derived_from(one)}
        papers = self._agent.memory.store.of(self._user).get(sorted(sources - hidden))
        with once(self._record, f"profile/{self._words}") as entry:
            if entry.missing:
                summarize = ProfileSummarizer(words=self._words)
                entry.value = self._said(summarize, papers or [*told, *writing])
        return replace(persona, profile=prose(entry.value, self._policy))

    def _said(self, write: dspy.Module, interactions: Sequence[Interaction]) -> str:
        with dspy.context(lm=self._lm) if self._lm else nullcontext():
            return str(write(self._task, interactions).profile)


def fresh(persona: Persona) -> bool:
    """Whether nothing is written of the user yet."""
    return not (persona.profile or persona.directives or persona.profile_pinned)


def _gist(items: Sequence[Item]) -> set[tuple[str, str]]:
    """What the items say but for counts, examples, favourite words, and small changes of length."""

    def gist(one: Item) -> str:
        if one.topic == "length":  # "writes 6 words, the middle half ...": about how many, doubled
            return re.sub(r"\d+", lambda n: str(int(n[0]).bit_length()), one.text.split(",")[0])
        return re.sub(r"\d+|\([^()]*\)", "", one.text)

    return {(one.topic, gist(one)) for one in items if one.topic not in (EXAMPLE, "words")}
