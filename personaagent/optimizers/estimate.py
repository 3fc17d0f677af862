"""What alignments will cost: calls from settings and histories, the rest from rates.

Three numbers of calls: the least that is needed, what is to be expected, and the most. They follow
the steps of `PersonaAlignment.compile`. An answer in another form than was asked for is asked for
once more, and a prompt that is too long is asked in halves; that comes on top.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from math import ceil
from typing import Self

import dspy

from personaagent.data import Choice, Interaction, Persona, Task
from personaagent.lm import PersonaLM, Usage
from personaagent.optimizers.beginning import fresh
from personaagent.optimizers.conversations import calls_to_read, chunks
from personaagent.optimizers.evidence import AcceptOnEvidence
from personaagent.optimizers.lm_judge import PAIRS
from personaagent.optimizers.paper import PaperRewrite
from personaagent.optimizers.prequential import (
    CALLS,
    JUDGES,
    TESTS,
    UPDATE,
    parted,
    states_only,
)
from personaagent.optimizers.prior import RECALL_MANY
from personaagent.optimizers.rollback import LATEST
from personaagent.optimizers.sampling import LatestBatch
from personaagent.optimizers.selection import SETTLING, AcceptOnReplay, recalling
from personaagent.optimizers.setting import Setting
from personaagent.optimizers.split import evidence_of, split
from personaagent.programs.notes import shown
from personaagent.programs.profile import words_for

CHUNK = 40  # interactions that are summarized at once (`ProfileSummarizer`)
PROPOSED = 2  # candidates that a step is taken to have (`ItemisedEdits.keep`)
MOST_PROPOSED = PROPOSED + 3  # ... and can have: a new reach, a removal, and one of another kind
MOST_UPDATE = 6  # calls of an update: a summary, edits twice, a cue, a rewrite twice
CHANGED = 1 / 3  # of the replayed answers that a candidate is taken to change
FRAME_TOKENS = 90  # of a prompt beside the query: the task, the persona, the form of the answer
ANSWER_TOKENS = 4
NOTES = 1.25  # of what is read, with the notes that are written of it
CHARACTERS = 4  # a token


@dataclass(frozen=True, slots=True)
class Rates:
    """Means a call. `seconds` and `money` are None where nothing is known of them."""

    tokens: float
    seconds: float | None
    money: float | None

    @classmethod
    def measured(cls, spent: Iterable[Usage]) -> Self | None:
        """The rates of earlier alignments with the same LM, None without any."""
        total = sum(spent, Usage())
        calls = total.calls - total.hits
        if calls < 1:
            return None
        money = None if total.unpriced else total.money / calls
        return cls(total.tokens / calls, total.seconds / calls, money)

    @classmethod
    def guessed(
        cls, lm: PersonaLM, interactions: Sequence[Interaction], chats: Sequence[Interaction] = ()
    ) -> Self:
        """From the length of the texts and the price list.

        Args:
            lm: the one that is asked.
            interactions: what is replayed, a text a call.
            chats: messages that are read, a chunk a call.
        """
        lengths = [len(one.query) for one in interactions]
        lengths += [round(len(shown(chunk)) * NOTES) for chunk in chunks(chats)]
        characters = sum(lengths) / max(1, len(lengths))
        asked = FRAME_TOKENS + characters / CHARACTERS
        price = lm.identity.price
        money = _listed(lm.model, round(asked)) if price is None else price
        return cls(asked + ANSWER_TOKENS, None, money)


@dataclass(frozen=True, slots=True)
class Calls:
    """LM calls: `least` are needed in any case, `calls` to be expected, `most` not exceeded."""

    least: int
    calls: int
    most: int

    @classmethod
    def ordered(cls, least: int, calls: int, most: int) -> Self:
        """With the expected ones between the others."""
        return cls(least, max(least, min(calls, most)), most)

    @classmethod
    def ahead(
        cls,
        task: Task,
        past: Sequence[Interaction],
        setting: Setting,
        lm: PersonaLM,
        champion: Persona | None = None,
        *,
        profile: bool = True,
    ) -> Self:
        """Of one alignment.

        Where nobody knows yet whether the LM gives likelihoods, the least and the most are those of
        both kinds of LM.

        Args:
            task: whose answers or messages they are.
            past: what there is to learn from, oldest first; of a conversation, what was not read.
            setting: how it is learned.
            lm: the one that is asked.
            champion: the published persona.
            profile: whether a first persona begins with a profile, as it does without a prior.
        """
        if task.conversational:
            expected, most = calls_to_read(past)
            return cls.ordered(len(chunks(past)), expected, most)
        with dspy.context(lm=lm):
            states = states_only(task)
        kinds = [states]
        if task.labels and not states and lm.known.source("alternatives") == "assumed":
            kinds.append(True)
        both = [_Ahead(task, past, setting, one, champion, profile).calls for one in kinds]
        return cls.ordered(
            min(one.least for one in both), both[0].calls, max(one.most for one in both)
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of all alignments: calls as in `Calls`, tokens, `seconds` of wall clock, and money."""

    least: int
    calls: int
    most: int
    tokens: int
    seconds: float | None
    money: float | None

    @classmethod
    def of(cls, ahead: Iterable[Calls], rates: Rates, slots: int) -> Self:
        """The estimate for these alignments, on so many slots."""
        counts = [astuple(one) for one in ahead]
        least, calls, most = map(sum, zip(*counts, strict=True)) if counts else (0, 0, 0)
        return cls(
            least,
            calls,
            most,
            round(calls * rates.tokens),
            None if rates.seconds is None else calls * rates.seconds / slots,
            None if rates.money is None else calls * rates.money,
        )


class _Ahead:
    """One alignment that replays, before it is made: the history is split as it will be."""

    def __init__(
        self,
        task: Task,
        past: Sequence[Interaction],
        setting: Setting,
        states: bool,
        champion: Persona | None,
        profile: bool,
    ) -> None:
        self.task = task
        self.run = run = setting.alignment()
        self.on_evidence = run.acceptance.on_evidence
        self.in_order = run.sampler is None and states
        self.sparing = self.in_order and isinstance(run.acceptance, AcceptOnReplay)
        taken = run.intake(past)
        writing, judging = split(
            taken,
            None,
            evidence=evidence_of(champion) if champion else (),
            judges=min(run.replay, JUDGES) if self.sparing else run.replay,
            writers=run.reach + TESTS if self.in_order else run.reach,
            seed=run.seed,
        )
        self.judges, self.writers = len(judging), len(writing)
        older, newer = parted(writing) if self.in_order else (writing, [])
        self.tests = len(newer)
        self.batch = min(run.batch, self.writers)
        self.asks = _asks(task, states) + (
            isinstance(run.update, PaperRewrite) or (champion or _UNKNOWN).actions is None
        )
        new = champion is None or fresh(champion)
        longer = new and self.on_evidence and judging
        words = words_for(task, len(taken) - self.judges, run.longest) if longer else 0
        self.longer = words >= 2 * run.profile
        self.described = 2 if task.labels else 1  # with what is counted, as it stands
        summaries = ceil(len(older) / CHUNK)
        self.profile = summaries + (summaries > 1) if new and profile else 0
        if self.sparing and self.longer and self.profile:
            self.profile, self.longer = 1, False  # described at once
        # Of a long history many memories are tried, alone and beside the persona.
        self.many = RECALL_MANY in recalling(run.policies, len(taken))
        # How the user writes, as it is counted, is a candidate of its own.
        self.styled = 0 if task.labels else self.judges
        # Newer interactions may tell that the champion's parent was better.
        watched = champion and champion.parent and setting.accept != "always"
        self.watched = 2 * LATEST if watched else 0

    @property
    def calls(self) -> Calls:
        """What it takes."""
        made = self._sparing() if self.sparing and self.judges else self._by_replay()
        most = made.most + self.asks * (self.styled + self.watched)
        return Calls.ordered(made.least, made.calls + self.asks * self.styled, most)

    def _by_replay(self) -> Calls:
        """Replays are made once for every view, so an iteration costs what its candidates change.

        A candidate is replayed on the judges, and on those that are lent to them.
        """
        run, asks, judges = self.run, self.asks, self.judges
        settled = min(SETTLING, judges) if self.on_evidence else 0
        held_against = judges if self.on_evidence else 0
        if self.many:
            held_against += settled + held_against
        known = self.profile + asks * (judges + settled)
        cross = self.on_evidence and not self.in_order
        lent = min(run.replay, self.writers // 3) if cross else 0
        # Simulated: of the latest always the same, else so many more in every step.
        again = isinstance(run.sampler, LatestBatch)
        once = max(run.simulate, self.batch)
        if self.in_order:
            simulated, first = self.tests, min(self.batch, self.tests)
        elif again:
            simulated, first = min(self.writers, once) * run.iterations, min(self.writers, once)
        else:
            simulated = min(self.writers, once * run.iterations)
            first = min(self.writers - lent, once)
        step = self.batch + (1 if isinstance(run.update, PaperRewrite) else UPDATE)
        if not self.in_order and not again:
            step = self.batch + 1  # a directive: its cue
        changed = round(PROPOSED * CHANGED * judges)
        longer = (1 + self.described * asks * judges) if self.longer else 0
        expected = known + longer + asks * (held_against + simulated)
        expected += run.iterations * (step + asks * changed)
        writes = 1 if isinstance(run.update, PaperRewrite) else MOST_UPDATE
        tried = MOST_PROPOSED * (judges + lent) + self.writers
        most = known + longer + asks * held_against
        most += run.iterations * (self.batch + writes + asks * tried)
        most += asks * (self.writers + 2 * judges)  # at the end
        if isinstance(run.acceptance, AcceptOnEvidence):
            most += asks * run.acceptance.keep * judges  # challengers of earlier alignments
        least = known + self.longer + (asks * first if run.iterations else 0)
        return Calls.ordered(least, expected, most)

    def _sparing(self) -> Calls:
        """Of an LM that tells its answer alone: see `prequential.out_of`, `affordable`, `room`.

        Nothing was wrong: the profile and its replay are all. Else a step is begun while it is
        taken to end within `CALLS`. The one that is last may find what is wrong only in the last of
        the tests, and every candidate that it can afford may have to be replayed on all judges.
        """
        run, judges, asks = self.run, self.judges, self.asks
        least, begun = self.profile + asks * judges, self.profile + judges
        step, tail = run.batch + run.batch // 2 + UPDATE, (5 if self.many else 2) * judges
        expected = least + run.iterations * (step + judges // 2) + judges
        most = least
        # A step takes a test, a critique and an update at the least.
        later = range(begun + 2 + UPDATE, CALLS - step - 1) if run.iterations > 1 else ()
        for calls in [begun, *later] if run.iterations else []:
            steps = min(run.iterations - 1, (calls - begun) // (2 + UPDATE))
            written = self.batch + MOST_UPDATE + steps * (MOST_UPDATE - UPDATE)
            for tested in range(1, self.tests + 1):
                left = CALLS - (calls + tested + 1 + UPDATE) - judges - 1
                tried = min(MOST_PROPOSED, 1 + max(0, left)) * judges
                most = max(most, asks * (calls + tested + tried) + written)
        # Beside the steps standing actions are tried, no persona, and memories. Of texts a judge is
        # asked in both orders, of every winner and of pairs of which the answer is known.
        winners = 0 if self.task.labels else 2 + run.iterations * MOST_PROPOSED
        judging = 2 * PAIRS * (winners + run.iterations + 1) if winners else 0
        return Calls.ordered(least, min(expected, max(CALLS, least)), most + asks * tail + judging)


_UNKNOWN = Persona("", "", actions=())


def _asks(task: Task, states: bool) -> int:
    """Calls of a replay: a choice is read with each option in every place; a text is written, and
    read where the LM can be held to it."""
    if states:
        return 1
    return len(task.labels) if isinstance(task, Choice) else 1 if task.labels else 2


def _listed(model: str, tokens: int) -> float | None:
    """The price of such a call by LiteLLM's list, in dollars; None where it is not in it."""
    # Its own price list, or it tries the network three times before it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    try:
        asked, answered = litellm.cost_per_token(
            model=model, prompt_tokens=tokens, completion_tokens=ANSWER_TOKENS
        )
    except Exception:  # the list raises whatever it likes for a model that it does not know
        return None
    return float(asked + answered)
