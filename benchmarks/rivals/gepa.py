"""DSPy's GEPA on one user's persona: its text is the instruction that GEPA rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dspy

from benchmarks.rivals.program import Prompt, assistant, example, feedback, prompt_of
from personaagent.data import Interaction, Persona, Task
from personaagent.lm import PersonaLM
from personaagent.programs.adapter import LikelihoodAdapter

SIDE_BY_SIDE = 8  # answers at once
LONGEST = 2_000  # tokens that the reflecting LM may write


def metric_of(task: Task) -> Callable[..., dspy.Prediction]:
    """The task's score, and in words what the user answered, as GEPA takes it."""

    def metric(gold: Any, said: Any, trace: Any = None, name: Any = None, part: Any = None) -> Any:
        del trace, name, part
        return feedback(task, gold, said)

    return metric


def gepa(task: Task, start: Persona, past: Sequence[Interaction], lm: PersonaLM, *,
         judges: int, calls: int, seed: int = 0) -> Persona:  # fmt: skip
    """GEPA's best persona, from `start`.

    Args:
        task: what is answered.
        start: its text is where GEPA begins; its actions and trust are left out.
        past: what the user answered, oldest first. The latest `judges` decide, GEPA reflects on
            the others.
        lm: answers and reflects.
        judges: how many interactions decide.
        calls: answers that GEPA may have judged. Reflections come on top, and it ends the step
            that it has begun.
        seed: of its draws.
    """

    writing, judging = past[:-judges], past[-judges:]
    optimizer = dspy.GEPA(
        metric=metric_of(task),
        max_metric_calls=calls,
        reflection_lm=lm.copy(max_tokens=LONGEST, temperature=1.0),
        num_threads=SIDE_BY_SIDE,
        warn_on_score_mismatch=False,
        seed=seed,
    )
    with dspy.context(lm=lm, adapter=LikelihoodAdapter(task, query="question")):
        made = optimizer.compile(
            assistant(task, Prompt(start.render())),
            trainset=[example(task, one) for one in writing],
            valset=[example(task, one) for one in judging],
        )
    return Persona(start.user, task.name, prompt_of(made).instruction, whole=True, actions=())
