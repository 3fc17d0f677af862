"""What DSPy's optimizers are given: a program whose instruction is the persona, and its ledger."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import dspy
from dspy.signatures.signature import Signature

from benchmarks.rivals.budget import Stopped, spent
from personaagent.data import Interaction, Task
from personaagent.errors import BudgetError, LMError
from personaagent.lm import PersonaLM
from personaagent.lm.model import CallError, ContextError
from personaagent.programs.adapter import LikelihoodAdapter

FIELDS = {"question", "answer"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an optimizer changes: the instruction, which is the system message, and demos before
    the question, as (question, answer)."""

    instruction: str
    demos: tuple[tuple[str, str], ...] = ()


class Assistant(dspy.Module):
    """Answers like one user; the predictor's instruction says who the user is."""

    def __init__(self, signature: type[Signature]) -> None:
        super().__init__()
        self.respond = dspy.Predict(signature)

    def forward(self, question: str) -> dspy.Prediction:
        """The answer to the task's question."""
        return self.respond(question=question)


def assistant(task: Task, prompt: Prompt) -> Assistant:
    """The program under a prompt; its messages are those of `programs.Answerer`."""
    signature = dspy.Signature(
        {
            "question": (str, dspy.InputField(desc="")),
            "answer": (task.output_type, dspy.OutputField(desc=task.answer)),
        },
        prompt.instruction,
    )
    made = Assistant(signature)
    made.respond.demos = [dspy.Example(question=q, answer=a) for q, a in prompt.demos]
    return made


def prompt_of(program: dspy.Module) -> Prompt:
    """The prompt of an optimized program."""
    (predict,) = program.predictors()
    return _prompt(predict.signature, predict.demos)


def question(task: Task, query: str) -> str:
    """The task's question: the instruction of the task opens it, the query ends it."""
    return f"{task.system}\n\n{task.question(query)}"


def example(task: Task, past: Interaction) -> dspy.Example:
    """An interaction as DSPy's optimizers take it."""
    asked = question(task, past.query)
    return dspy.Example(question=asked, answer=past.response).with_inputs("question")


class Ledger:
    """Every score that an optimizer has seen, so that it can be stopped with its best so far.

    Args:
        task: what is scored.
        truths: by question, what the user answered.
    """

    def __init__(self, task: Task, truths: Mapping[str, str]) -> None:
        self.task = task
        self.truths = truths
        self._seen: list[tuple[int, Prompt, str, float]] = []

    def note(self, calls: int, prompt: Prompt, asked: str, answer: str) -> None:
        """An answer, after so many calls."""
        if (truth := self.truths.get(asked)) is not None:
            self._seen.append((calls, prompt, asked, self.task.score(answer, truth)))

    def best(self, calls: int, deciding: Collection[str], least: int) -> Prompt | None:
        """After so many calls, the prompt with the best mean score on at least `least` of the
        questions that the optimizer decides by; of equals the first. None without such a prompt."""
        scores: dict[Prompt, dict[str, float]] = defaultdict(dict)
        for at, prompt, asked, score in self._seen:
            if at <= calls and asked in deciding:
                scores[prompt][asked] = score
        judged = {prompt: fmean(of.values()) for prompt, of in scores.items() if len(of) >= least}
        return max(judged, key=lambda prompt: judged[prompt], default=None)


class LedgerAdapter(LikelihoodAdapter):
    """Reads the student's answers and notes them; what optimizers ask besides is JSON by schema.

    An LM above temperature 0 draws its label, as when it writes it: SIMBA lives on such variety,
    and by DSPy's custom its rollout's number is the seed.
    """

    def __init__(self, task: Task, ledger: Ledger) -> None:
        super().__init__(task, query="question")
        self.ledger = ledger
        self.plain = dspy.JSONAdapter()

    def __call__(
        self,
        lm: PersonaLM,
        lm_kwargs: dict[str, Any],
        signature: type[Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """As DSPy's adapters.

        Raises:
            Stopped: the ration is used up (free answers end with it too), or the LM fails.
        """
        if set(signature.fields) != FIELDS:
            return list(self.plain(lm, lm_kwargs, signature, demos, inputs))
        try:
            if lm.budget is not None:
                lm.budget.check(lm.meter.snapshot())
            said = super().__call__(lm, lm_kwargs, signature, demos, inputs)
        except ContextError:
            raise  # the prompt that was made is too long: its own fault
        except (BudgetError, CallError) as error:
            raise Stopped(error) from error
        if not _temperature(lm):
            answer = str(said[0]["answer"])
            self.ledger.note(spent(lm), _prompt(signature, demos), inputs["question"], answer)
        return said

    def decide(self, lm: PersonaLM, distribution: dict[str, float]) -> str:
        """The answer; drawn where the LM's temperature is above 0."""
        heat = _temperature(lm)
        if not heat:
            return super().decide(lm, distribution)
        seed = f"{lm.kwargs.get('rollout_id')} {sorted(distribution.items())}"
        weights = [p ** (1 / heat) for p in distribution.values()]
        return random.Random(seed).choices(list(distribution), weights)[0]


def score(task: Task, gold: dspy.Example, said: dspy.Prediction) -> float:
    """The task's own score; an answer in no usable form is a wrong one.

    Raises:
        LMError: there is no answer.
    """
    if said is None:
        raise LMError("no answer")
    return task.score(str(said.answer), gold.answer)


def feedback(task: Task, gold: dspy.Example, said: dspy.Prediction) -> dspy.Prediction:
    """The score, and in words what GEPA and SIMBA reflect on: what the user really answered."""
    value = score(task, gold, said)
    verdict = "as the user did" if value == 1 else f"but the user answered '{gold.answer}'"
    text = f"The assistant answered '{said.answer}', {verdict}."
    return dspy.Prediction(score=value, feedback=text)


def _temperature(lm: PersonaLM) -> float:
    return float(lm.kwargs.get("temperature") or 0.0)


def _prompt(signature: type[Signature], demos: Sequence[Mapping[str, Any]]) -> Prompt:
    shown = tuple((str(one["question"]), str(one["answer"])) for one in demos)
    return Prompt(signature.instructions, shown)
