"""What alignments will cost: calls from settings and lengths of histories, the rest from rates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from personaagent.data import Choice, Interaction, Task
from personaagent.lm import PersonaLM, Usage
from personaagent.optimizers.conversations import calls_to_read, chunks
from personaagent.optimizers.sampling import REACH, SIMULATE
from personaagent.optimizers.selection import SETTLING
from personaagent.optimizers.setting import Setting
from personaagent.programs.notes import shown
from personaagent.programs.profile import words_for

CHUNK = 40  # interactions that are summarized at once (`ProfileSummarizer`)
PROPOSED = 2  # candidates that a step is taken to have (`ItemisedEdits.keep`)
MOST_PROPOSED = PROPOSED + 2  # ... and can have: with a new reach and a removal
MOST_EARLIER = 4  # that are judged again on evidence (`AcceptOnEvidence.keep`)
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
class Estimate:
    """`calls` are what is to be expected, `most` cannot be exceeded; `seconds` of wall clock."""

    calls: int
    most: int
    tokens: int
    seconds: float | None
    money: float | None

    @classmethod
    def of(
        cls,
        histories: Iterable[tuple[Task, Sequence[Interaction]]],
        setting: Setting,
        rates: Rates,
        slots: int,
    ) -> Self:
        """The estimate for histories of these tasks, on so many slots."""
        both = [
            calls_to_read(past) if task.conversational else expected_calls(task, setting, len(past))
            for task, past in histories
        ]
        calls, most = sum(one for one, _ in both), sum(one for _, one in both)
        return cls(
            calls,
            most,
            round(calls * rates.tokens),
            None if rates.seconds is None else calls * rates.seconds / slots,
            None if rates.money is None else calls * rates.money,
        )


def expected_calls(task: Task, setting: Setting, count: int) -> tuple[int, int]:
    """LM calls of one alignment to `count` interactions: to be expected, and at most.

    Replays are made once for every view, so an iteration costs what its candidates change.
    """
    judges = min(setting.replay, count // 3)
    writers = min(count, REACH + setting.replay) - judges
    # Each option of a choice is read in every place.
    asks = len(task.labels) if isinstance(task, Choice) else 1
    batch = min(setting.batch, writers)
    chunks = ceil(writers / CHUNK)
    profile = chunks + (chunks > 1)
    simulated = min(writers, max(SIMULATE, setting.batch) * setting.iterations)
    base = profile + asks * (2 * judges + min(SETTLING, judges))
    if (
        task.labels
        and asks == 1
        and words_for(count - judges, setting.longest) >= (2 * setting.profile)
    ):
        base += 1 + 2 * judges  # two longer profiles are replayed, one of them is written
    step = batch + 1  # gradients, and an update
    changed = round(PROPOSED * CHANGED * judges)
    expected = base + asks * simulated + setting.iterations * (step + asks * changed)
    lent = min(setting.replay, writers // 3)  # of each step, beside the judges
    tried = MOST_PROPOSED * (judges + lent)
    earlier = MOST_EARLIER * judges if setting.accept == "evidence" else 0
    most = base + setting.iterations * (step + asks * (tried + writers))
    return expected, most + asks * (earlier + writers + judges)


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
