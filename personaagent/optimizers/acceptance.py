"""Whether a candidate persona takes the champion's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from personaagent.data import Persona, validation
from personaagent.optimizers.replay import Replayed

WRONG = 3.0  # nats that a label's loss counts for at most: less than 5 % likely is just wrong


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
        ...


class AlwaysAccept:
    """The paper's: the latest rewrite is the persona."""

    on_evidence = False

    def accepts(self, trial: Trial) -> tuple[bool, str]:
        return True, "always accepted"

    def undecided(self, champion: Persona) -> list[Persona]:
        return []


class AcceptOnReplay:
    """Only what lowers the loss on held-out interactions, and not by a few of the answers that it
    changes at the cost of most; without evidence the champion stays."""

    on_evidence = True

    def __init__(self, *, margin: float = 0.05) -> None:
        # nats that the whole replay must save: more than an answer changes when it is asked again
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

    def undecided(self, champion: Persona) -> list[Persona]:
        return []


class EmptyPersonaBetter:
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

    def undecided(self, champion: Persona) -> list[Persona]:
        return []


def _counted(one: Replayed) -> float:
    return one.loss if one.lm is None else min(one.loss, WRONG)
