"""An LM judge of texts: which of two did this user write? Heard only where it knows the user.

Overlap of words says little of a text: the same can be said in other words. So where an LM tells
nothing but its answer, a candidate that overlaps more with what the user wrote is shown to a judge,
beside the champion's text, in both orders. First the judge is tried on pairs of which the answer is
known, the user's own text and the champion's. A judge that cannot tell these apart is not asked
again: two texts of ours are nearer to each other than to the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import dspy

from personaagent.data import Interaction
from personaagent.errors import FormError
from personaagent.optimizers.replay import Replayed, parallel
from personaagent.optimizers.selection import Trial
from personaagent.optimizers.worklog import Record, once
from personaagent.programs.adapter import PersonaAdapter
from personaagent.signatures import WhoWrote

EXAMPLES = 12  # texts of the user that a judge sees, the latest
PAIRS = 4  # that it is asked of at most, the latest; each takes two calls
LEAST = 2  # pairs of which the answer is known that say whether it knows the user
KNOWS = 0.75  # of these it must take the user's own text for the user's
UNSAID = "unsaid"  # the LM gave neither of them for an answer


def examples_of(past: Sequence[Interaction]) -> str:
    """The latest texts of a user, with what they answer, as a judge sees them."""
    return "\n\n".join(f"Message: {one.query}\nText: {one.response}" for one in past[-EXAMPLES:])


def picked(examples: str, message: str, first: str, second: str) -> str:
    """Which of two texts DSPy's LM takes for the user's, "first" or "second".

    Raises:
        FormError: it does not say which.
    """
    with dspy.context(adapter=PersonaAdapter()):
        said = dspy.Predict(WhoWrote)(
            examples=examples, message=message, first=first, second=second
        )
    return str(said.written)


class TextJudge:
    """Tells two texts apart by how a user writes.

    Args:
        past: texts of the user, oldest first; the one that is judged is not shown.
        record: keeps what was said, by pair.
        lm: which judges; by default DSPy's.
    """

    def __init__(
        self, past: Sequence[Interaction], record: Record, lm: dspy.LM | None = None
    ) -> None:
        self._past, self._record, self._lm = past, record, lm

    def agrees(self, trial: Trial) -> tuple[bool, str]:
        """Whether it does not gainsay a winner, and what it said; a winner stays one where the
        judge does not know the user."""
        changed = [
            (new.interaction, new.answer, old.answer)
            for old, new in zip(trial.before, trial.after, strict=True)
            if old.answer.strip() != new.answer.strip()
        ][-PAIRS:]
        if not changed:
            return True, "no text is another one"
        if not self.knows(trial.before):
            return True, "no judge: it does not know the user's own texts from ours"
        share = fmean(self.shares(changed))
        said = f"a judge takes it for the user's in {share:.0%} of {len(changed)} pairs"
        return share >= 0.5, said

    def shares(self, pairs: Sequence[tuple[Interaction, str, str]]) -> list[float]:
        """For every message and pair of texts, how far the first text is taken for the user's: 1,
        or 0, or .5 where the order decides or the texts are the same."""
        asked = [(pair, turned) for pair in pairs for turned in (False, True)]
        said = parallel(lambda one: self._taken(*one), asked, len(asked))
        return [fmean(said[at : at + 2]) for at in range(0, len(said), 2)]

    def knows(self, replayed: Sequence[Replayed]) -> bool:
        """Whether it knows the user's own texts from these answers."""
        known = [
            (one.interaction, one.interaction.response, one.answer)
            for one in replayed
            if one.answer.strip() != one.interaction.response.strip()
        ][-PAIRS:]
        return len(known) >= LEAST and fmean(self.shares(known)) >= KNOWS

    def _taken(self, pair: tuple[Interaction, str, str], turned: bool) -> float:
        past, *texts = pair
        if texts[0].strip() == texts[1].strip():
            return 0.5
        first, second = texts[::-1] if turned else texts
        with once(self._record, f"written/{past.id}/{first}/{second}") as entry:
            if entry.missing:
                others = [one for one in self._past if one.id != past.id]
                with dspy.context(lm=self._lm or dspy.settings.lm):
                    entry.value = _said(examples_of(others), past.query, first, second)
        return 0.5 if entry.value == UNSAID else float((entry.value == "first") != turned)


def _said(examples: str, message: str, first: str, second: str) -> str:
    try:
        return picked(examples, message, first, second)
    except FormError:  # an LM that cannot answer so is one that does not know the user
        return UNSAID
