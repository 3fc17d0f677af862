"""What an alignment did: every gradient, candidate and score (plain values, JSON by `to_dict`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from personaagent.data import Persona

EARLIER, WITHOUT, BARE, LONGER, STYLE, MEMORIES, REACH = range(
    0, -7, -1
)  # in place of an iteration


@dataclass(frozen=True, slots=True)
class Gradient:
    """LLM_grad's critique of one simulated response against the true one.

    `likelihood` is the probability that the true one had, of a text that of a word on average
    (geometric mean), where the LM gives probabilities.
    """

    interaction: str
    response: str
    truth: str
    text: str
    likelihood: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposed persona, against the champion of its step.

    `loss` and `score` are means over the judging interactions. The rest counts those lent to the
    step, too: how many are `changed`, in that the LM is shown something else than under the
    champion, the nats that are `saved` and the score that is `gained`, both summed.
    """

    persona: Persona
    loss: float
    score: float
    changed: int
    reason: str
    saved: float = 0.0
    gained: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration: the batch, its gradients, the candidates, and which one was accepted.

    Seven kinds of step have no batch. Before the iterations `BARE` leaves a first profile out that
    did worse than none, `LONGER` holds longer ones against it, `STYLE` says how the user writes or
    leaves it out, `MEMORIES` holds memories alone against it and then both together, and `EARLIER`
    judges the challengers that earlier alignments left undecided. After them `REACH` narrows or
    drops rules that too many answers speak against by now, and `WITHOUT` puts no persona in the
    place of a champion that did worse than none, or than memories alone. `loss` and `score` are the
    champion's on the judging interactions after the step; `score` is the task's, 1 is best. `lent`
    are the ids of writing interactions that judged in this step; `notes`
    say what an LM proposed that could not be taken, and why.
    """

    iteration: int
    batch: tuple[str, ...]
    gradients: tuple[Gradient, ...]
    candidates: tuple[Candidate, ...]
    accepted: int | None
    loss: float
    score: float
    lent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlignmentLog:
    """A whole run. `usage` is what it cost (see `personaagent.lm.Usage`), `stopped` says why it
    ended, `settings` with what it ran; `judged` are the ids of the judging interactions."""

    user: str
    task: str
    first: Persona
    last: Persona
    first_loss: float
    first_score: float
    steps: tuple[Step, ...]
    judged: tuple[str, ...]
    stopped: str
    settings: dict[str, Any]
    usage: dict[str, float]

    @property
    def last_loss(self) -> float:
        """The mean loss of the last persona on the judging interactions, in nats."""
        return self.steps[-1].loss if self.steps else self.first_loss

    @property
    def last_score(self) -> float:
        """The mean score of the last persona on the judging interactions, 1 is best."""
        return self.steps[-1].score if self.steps else self.first_score

    def origins(self) -> list[dict[str, Any]]:
        """Where directives come from: of each step with gradients these, and what was proposed.

        As JSON data: `iteration`, `gradients`, `proposed` ({cue, text} of directives that were not
        in the champion), and `accepted`, those of them that joined it.
        """
        champion, found = self.first, []
        for step in self.steps:
            known = {(one.cue, one.text) for one in champion.directives}
            new = [
                [
                    {"cue": one.cue, "text": one.text}
                    for one in candidate.persona.directives
                    if (one.cue, one.text) not in known
                ]
                for candidate in step.candidates
            ]
            if step.accepted is not None:
                champion = step.candidates[step.accepted].persona
            if step.gradients:
                found.append(
                    {
                        "iteration": step.iteration,
                        "gradients": [asdict(one) for one in step.gradients],
                        "proposed": [one for added in new for one in added],
                        "accepted": [] if step.accepted is None else new[step.accepted],
                    }
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return data
