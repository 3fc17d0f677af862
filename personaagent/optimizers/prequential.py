"""Each interaction a test before it is a lesson: learning in the order of time.

A persona that was written from an interaction answers it right, and there is nothing to learn from
that. An LM with likelihoods still says how sure it was. Of one that tells its answer alone the
first persona is written from the older part, and what came later tests it, a few interactions at a
time. What was answered otherwise is criticized; what was answered right confirms, at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import dspy

from personaagent.data import Interaction, Task
from personaagent.optimizers.replay import Replayed
from personaagent.optimizers.worklog import Entry, Record, once

TESTS = 20  # of the latest interactions; never more than half
JUDGES = 8  # interactions held out: with a right and a wrong each is dear, and says little
CALLS = 28  # that learning may take, and a trial; the paper's own way takes eleven
UPDATE = 3  # calls of an update: a summary and two proposals
TRIAL = 2  # judges, of those that the persona was wrong on, that memories are tried on first
TRIAL_OF_A_TEXT = 4  # the same of less in a text's persona, with which any may be a little better
# Calls before the first step, which is always made: a profile, its replay, and a trial of memories.
FIRST = JUDGES + 2 + TRIAL
FIRST_OF_A_TEXT = 2 * JUDGES  # of texts also a trial without the habits that are counted
LONG_TEXT = 20  # words, from which a few memories stand beside a first persona
DOUBT = 0.6  # nats a judge that no persona must save: of so few, less is chance
DOUBT_OF_A_TEXT = 0.05  # the same of a text, whose loss is one minus ROUGE


def states_only(task: Task) -> bool:
    """Whether nothing but the answer is known of what DSPy's LM answers to this task."""
    lm = dspy.settings.lm
    return not getattr(lm, "reads_likelihoods" if task.labels else "reads_texts", False)


def parted(
    writing: Sequence[Interaction],
) -> tuple[list[Interaction], list[Interaction]]:
    """What the first persona is written from, and what tests it, both oldest first."""
    tests = min(TESTS, len(writing) // 2)
    at = len(writing) - tests
    return list(writing[:at]), list(writing[at:])


class Counted:
    """A record that counts what was asked for through it: the same number after a kill."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._keys: set[str] = set()

    def get(self, key: str) -> Any | None:
        """As the record."""
        return self._record.get(key)

    def put(self, key: str, value: Any) -> Any:
        """As the record."""
        return self._record.put(key, value)

    def once(self, key: str) -> AbstractContextManager[Entry]:
        """As the record, and counted."""
        self._keys.add(key)
        return once(self._record, key)

    @property
    def calls(self) -> int:
        """LM calls that this took, nearly: an update asks for a summary and two proposals."""
        updates = sum(key.startswith("update/") for key in self._keys)
        own = sum(key.startswith(("undecided", "cue/")) for key in self._keys)
        return len(self._keys) - own - ("won" in self._keys) + (UPDATE - 1) * updates


def out_of(judged: Sequence[Replayed], calls: int, size: int, first: int) -> str | None:
    """Why no further step can bring anything; None where one may.

    Args:
        judged: the champion's replay.
        calls: that were made so far.
        size: of a batch.
        first: calls up to which a step is made in any case.
    """
    wrong = sum(one.teaches for one in judged)
    if not wrong:
        return "right, or near enough, on all that judges: nothing could be told to be better"
    # Tests, critiques of half of them, an update, the replay of one candidate, and of no persona.
    if calls > first and calls + size + size // 2 + UPDATE + 2 * wrong > CALLS:
        return f"{calls} LM calls made: another step would take more than {CALLS}"
    return None


def affordable(judged: Sequence[Replayed], calls: int) -> int:
    """How many of the candidates can be replayed; one always can."""
    wrong = sum(one.teaches for one in judged)
    return 1 + max(0, CALLS - calls - len(judged) - wrong) // max(1, wrong)


def room(judged: Sequence[Replayed], calls: int) -> bool:
    """Whether there are calls left to try standing actions, before no persona is tried."""
    return calls + 2 * sum(one.teaches for one in judged) <= CALLS
