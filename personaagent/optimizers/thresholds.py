"""What directives with a cue reach among replayed interactions, and what that says for them.

Everything here follows from losses and the cosines between cues and queries; no LM is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Directive, Interaction, Task
from personaagent.data.influence import corroborated
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.replay import Replayed

FOLLOWED = 0.3  # nats that a directive leaves where it is right
MISLED = 3.0  # nats that it costs where it is wrong
HELD = 1.0  # nats that it is taken to save where it is in force and right
LEAST = 2  # interactions that must speak for a directive
MOST = 0.6  # of those that it speaks to, more must: with nearly as many against it, it is no rule


@dataclass(frozen=True, slots=True)
class Fitted:
    """A directive that reaches where it helps most, and the nats that it should save there."""

    directive: Directive
    gain: float


class Reaching:
    """The writing interactions as directives see them.

    Args:
        task: whose answers the directives give.
        writing: all of them, oldest first.
        replayed: those that were replayed under the persona in force. Of the others only the
            user's answers are known: they may speak against a directive at the mean loss, but
            promise nothing for it.
        memory: embeds cues and queries.
    """

    def __init__(
        self,
        task: Task,
        writing: Sequence[Interaction],
        replayed: Sequence[Replayed],
        memory: EpisodicMemory,
    ) -> None:
        self.task = task
        self.memory = memory
        self.interactions = writing
        self.order = tuple(one.id for one in writing)
        losses = {one.interaction.id: one.loss for one in replayed}
        mean = fmean(losses.values() or [0.0])
        self.losses = np.array([losses.get(id, mean) for id in self.order])
        self.simulated = np.array([id in losses for id in self.order], dtype=bool)

    def fit(self, cue: str, answer: str, *, held: float = np.inf) -> Fitted:
        """The directive for a cue, with the threshold on the cosine that promises most; of equal
        ones the widest.

        More than `MOST` of the interactions that it then speaks to must agree, `LEAST` at least,
        and be corroborated (see `data.influence`); without such a threshold the gain is 0.

        Args:
            cue: a few words.
            answer: what the directive tells.
            held: the reach that the directive has now; beyond it nothing is in force yet.
        """
        fits, agrees, saved = self._fits(cue), self._agrees(answer), self._saved(cue, answer, held)
        order = np.argsort(-fits, kind="stable")
        gains = np.cumsum(saved[order])
        ends = np.append(np.diff(fits[order]) < 0, True)  # no reach tells equal fits apart
        agreeing = np.cumsum(agrees[order])
        most = agreeing > MOST * np.arange(1, len(order) + 1)
        enough = (agreeing >= LEAST) & most & ends
        if not enough.any():
            return Fitted(Directive(""), 0.0)
        promised = np.where(enough, gains, -np.inf)
        last = int(np.flatnonzero(promised == promised.max())[-1])
        inside = fits[order[last]]
        outside = fits[order[last + 1]] if last + 1 < len(order) else inside
        spoken_to = order[: last + 1]
        if not corroborated([self.interactions[i] for i in spoken_to], answer):
            return Fitted(Directive(""), 0.0)
        directive = Directive(
            rule(self.task, cue, answer),
            cue=cue,
            reach=float(inside + outside) / 2,
            support=tuple(self.order[i] for i in spoken_to if agrees[i]),
            oppose=tuple(self.order[i] for i in spoken_to if not agrees[i]),
        )
        return Fitted(directive, float(gains[last]))

    def gain(self, directive: Directive, answer: str) -> float:
        """What a directive in force should save with the reach that it has, in nats."""
        within = self._fits(directive.cue) >= directive.reach
        return float(self._saved(directive.cue, answer, directive.reach)[within].sum())

    def renewed(self, directive: Directive) -> Directive:
        """The directive with its evidence as these interactions show it, older evidence kept."""
        answer = self.answer(directive)
        if answer is None:
            return directive
        within, agrees = self._fits(directive.cue) >= directive.reach, self._agrees(answer)
        seen = set(self.order)
        sides = []
        for known, speaks in ((directive.support, agrees), (directive.oppose, ~agrees)):
            here = [id for id, found in zip(self.order, within & speaks, strict=True) if found]
            sides.append((*(id for id in known if id in here or id not in seen), *here))
        support, oppose = (tuple(dict.fromkeys(side)) for side in sides)
        return replace(directive, support=support, oppose=oppose)

    def mended(self, directive: Directive) -> Directive | None:
        """The directive as it is where more than `MOST` of what it speaks to agree with it, or
        nothing speaks against it; else with the reach within which they do; None where there is
        none."""
        answer, now = self.answer(directive), self.renewed(directive)
        spoken_to = len(now.support) + len(now.oppose)
        if answer is None or not now.oppose or len(now.support) > MOST * spoken_to:
            return directive
        fitted = self.fit(directive.cue, answer, held=directive.reach)
        if fitted.gain <= 0:
            return None
        return self.renewed(replace(directive, reach=fitted.directive.reach))

    def net(self, directive: Directive) -> int:
        """How many more of these interactions speak for a directive than against it."""
        answer = self.answer(directive)
        if answer is None:
            return 0
        within, agrees = self._fits(directive.cue) >= directive.reach, self._agrees(answer)
        return int((within & agrees).sum()) - int((within & ~agrees).sum())

    def answer(self, directive: Directive) -> str | None:
        """The label that a directive tells, None where it is none of ours."""
        if not directive.cue:
            return None
        cue, text = directive.cue, directive.text
        return next((one for one in self.task.labels if text == rule(self.task, cue, one)), None)

    def _saved(self, cue: str, answer: str, held: float) -> NDArray[np.float64]:
        """What following the directive saves or costs on each interaction, in nats.

        Where it is in force the loss without it is not known: `HELD` and `MISLED` stand for it.
        One that speaks against it costs `HELD` at least, also where the LM was wrong by itself:
        another wrong answer is no better, and stands in the way of the rule that is right there.
        """
        agrees = self._agrees(answer)
        right, wrong = self.losses - FOLLOWED, np.minimum(self.losses - MISLED, -HELD)
        ahead = np.where(agrees, np.where(self.simulated, right, 0.0), wrong)
        return np.where(self._fits(cue) >= held, np.where(agrees, HELD, -MISLED), ahead)

    def _fits(self, cue: str) -> NDArray[np.float64]:
        vector = self.memory.embed(cue)
        queries = (self.memory.embed(one.query) for one in self.interactions)
        return np.array([float(vector @ query) for query in queries])

    def _agrees(self, answer: str) -> NDArray[np.bool_]:
        return np.array([one.response == answer for one in self.interactions], dtype=bool)


def rule(task: Task, cue: str, answer: str) -> str:
    """The text of a directive with a cue."""
    return f"If the {task.item} mentions {cue}, answer {answer}."
