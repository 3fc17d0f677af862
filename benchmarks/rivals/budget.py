"""A ration of LM calls: what one optimizer may ask for one user, and what happens at its end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import uuid4

from personaagent.errors import BudgetError, LMError
from personaagent.lm import Budget, Meter, PersonaLM, Usage
from personaagent.lm.model import CallError


class Stopped(BaseException):
    """Ends an optimizer: optimizers take every Exception for a bad answer and go on.

    `cause` is the BudgetError of a used up ration, or what is wrong with the LM.
    """

    def __init__(self, cause: LMError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Ration(Budget):
    """A budget within that of another LM, which is checked first: where that one ends, the run is
    over, and the ration is not what ended the optimizer."""

    within: PersonaLM

    def check(self, used: Usage) -> None:
        """Let the next call pass, or not.

        Raises:
            CallError: the LM that it is a ration of may not be asked any more.
            BudgetError: the ration is used up.
        """
        if self.within.budget:
            try:
                self.within.budget.check(self.within.meter.snapshot())
            except BudgetError as error:
                raise CallError(str(error)) from error
        Budget.check(self, used)


def ration(lm: PersonaLM, calls: int | None = None) -> PersonaLM:
    """The same LM with a meter and so many calls of its own, and nothing remembered.

    Within the ration DSPy's response cache is on, as it is for whoever uses DSPy: asking the same
    again is free. Nobody finds what another one has paid for.
    """
    rationed: PersonaLM = lm.copy(cache=True)
    rationed.meter = Meter()
    rationed.budget = Ration(calls=calls, within=lm)
    # The fingerprint is part of the response cache's key.
    rationed.identity = replace(lm.identity, fingerprint=f"{lm.fingerprint}/{uuid4().hex}")
    return rationed


def spent(lm: PersonaLM) -> int:
    """The calls that were paid for."""
    used = lm.meter.snapshot()
    return used.calls - used.hits
