"""ReAct: thoughts and tools in turns, with PersonaAgent's tools and without its persona."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError
from pydantic import Field

from personaagent.data import Action, Task, validation
from personaagent.data.task import given
from personaagent.errors import LMError
from personaagent.memory import EpisodicMemory
from personaagent.programs.action import call_model
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.answer import Answerer
from personaagent.programs.history import HistoryProfile
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.scope import QueryScope
from personaagent.programs.tools import Observation, general_tools, personal_tools, run
from personaagent.signatures import TakeStep

LONGEST_THOUGHT = 200  # characters
STEP_TOKENS = 160


class ReAct(dspy.Module):
    """`dspy.ReAct` with the tools of PersonaAgent (the profile that one of them reads is PAG's).

    Source: Yao et al., 2023, in DSPy's version and wording. Adapted for small LMs: a step is one
    JSON object by a schema of the tools, and repeating a call finishes; the answer is not extracted
    by a further thought but read as everywhere here, with what the tools found as evidence.

    Args:
        task: what an answer is.
        memory: episodic memory.
        tools: general tools, as PersonaAgent's.
        iterations: steps at most.
        k: memories that a recall returns unless the LM says otherwise.
        retriever: a name of `personaagent.policies.RETRIEVERS`.
    """

    def __init__(
        self,
        task: Task,
        memory: EpisodicMemory,
        *,
        tools: Sequence[dspy.Tool | Callable[..., Any]] = (),
        iterations: int = 3,
        k: int = 4,
        retriever: str = "dense",
    ) -> None:
        super().__init__()
        self.task = given(task)
        validation.whole("iterations", iterations, 1)
        self.tools = general_tools(tools)
        self.iterations = iterations
        self.retrieve = MemoryRetriever(memory, k=k, retriever=retriever)
        self.summarize = HistoryProfile()
        self.answer = Answerer(task)

    def prepare(
        self, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> None:
        """Make the profile ahead of the first query, for which it then costs no call."""
        self.summarize(
            self.retrieve.memory, QueryScope(user, self.task, "", before, tuple(exclude))
        )

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        """As every system; `trajectory` has the thoughts, tools and observations by turn."""
        situation = QueryScope.of(query, user, self.task, before, exclude)
        profile = self.summarize(self.retrieve.memory, situation).profile
        tools = [*personal_tools(self.retrieve, situation, profile), *self.tools]
        observations: list[Observation] = []
        watched = [_watched(tool, tools, observations) for tool in tools]
        loop = _Loop(self.task, watched, self.iterations)
        with dspy.context(adapter=PersonaAdapter(repair=False)):  # such a step ends the loop
            trajectory = loop(query=self.task.question(query)).trajectory
        found = dict.fromkeys(seen.text for seen in observations if seen.text)
        said = self.answer(query=query, evidence="\n".join(found))
        return dspy.Prediction(
            answer=said.answer,
            distribution=said.distribution,
            actions=[seen.action for seen in observations],
            memories=[memory for seen in observations for memory in seen.memories],
            trajectory=trajectory,
        )


class _Loop(dspy.ReAct):
    """DSPy's loop; a step is one call by schema, and nothing is extracted at the end."""

    react: dspy.Module

    def __init__(self, task: Task, tools: Sequence[dspy.Tool], iterations: int) -> None:
        asked = dspy.Signature(
            {"query": (str, dspy.InputField()), "answer": (str, dspy.OutputField())}, task.system
        )
        super().__init__(asked, list(tools), max_iters=iterations)
        self.react = _Step(self.react.signature.instructions, self.tools.values())
        self.extract = _nothing

    def _format_trajectory(self, trajectory: dict[str, Any]) -> str:
        return "\n".join(f"{name}: {value}" for name, value in trajectory.items())


class _Step(dspy.Module):
    """One turn of a loop: a thought and a call, in the form that `dspy.ReAct` expects.

    A call that was made before finishes the loop, as it does PersonaAgent's choosing.
    """

    def __init__(self, instructions: str, tools: Sequence[dspy.Tool]) -> None:
        super().__init__()
        arguments = json.dumps([[tool.name, tool.args or {}] for tool in tools], sort_keys=True)
        self.predict = dspy.Predict(_steps(instructions, arguments), max_tokens=STEP_TOKENS)
        self.taken: list[Any] = []

    def forward(self, query: str, trajectory: str) -> dspy.Prediction:
        try:
            step = self.predict(query=query, trajectory=trajectory).step.model_dump()
        except LMError as error:
            if isinstance(error.__cause__, AdapterParseError):
                raise ValueError(str(error)) from error  # ends the loop: there is no such tool
            raise
        thought, tool = step.pop("next_thought"), step.pop("tool")
        call = (tool, {name: str(value).strip() for name, value in step.items()})
        if call in self.taken:
            tool, step = "finish", {}
        self.taken.append(call)
        return dspy.Prediction(next_thought=thought, next_tool_name=tool, next_tool_args=step)


@lru_cache(maxsize=64)
def _steps(instructions: str, arguments: str) -> type[dspy.Signature]:
    """The signature of a step; `arguments` is JSON, so that one set of tools is built once."""
    thought = (str, Field(max_length=LONGEST_THOUGHT))
    models = [call_model(name, args, next_thought=thought) for name, args in json.loads(arguments)]
    union: Any = models[0]
    for model in models[1:]:
        union |= model
    step: type[dspy.Signature] = TakeStep.with_instructions(instructions).with_updated_fields(
        "step", type_=union
    )
    return step


def _watched(
    tool: dspy.Tool, tools: Sequence[dspy.Tool], observations: list[Observation]
) -> dspy.Tool:
    """The same tool for the LM; what it finds is kept as an observation."""

    def call(**arguments: Any) -> str:
        (seen,) = run([Action(tool.name, arguments)], tools)
        observations.append(seen)
        return seen.text or "Nothing was found."

    return dspy.Tool(call, name=tool.name, desc=tool.desc, args=tool.args)


def _nothing(**_: Any) -> dspy.Prediction:
    return dspy.Prediction()
