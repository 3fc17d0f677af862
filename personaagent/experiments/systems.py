"""Every system by name, all made from the same: what experiments compare."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import dspy

from personaagent.data import Task
from personaagent.experiments.ablations import (
    Part,
    Personas,
    UnderPersona,
    WithoutMemory,
    full,
    in_the_paper,
    swapped,
    without_action,
    without_alignment,
    without_habit,
    without_lean,
    without_meanings,
    without_memory,
    without_persona,
)
from personaagent.experiments.baselines import (
    ICL,
    PAG,
    RAG,
    Majority,
    NearestNeighbour,
    NonPersonalized,
    ZeroShot,
)
from personaagent.experiments.lora import Lora
from personaagent.experiments.membank import MemBank
from personaagent.experiments.react import ReAct
from personaagent.memory import EpisodicMemory
from personaagent.programs.agent import PersonaAgent

Tools = Sequence[dspy.Tool]


class System(Protocol):
    """Anything that answers a query for a user.

    Those that write something of a history before they answer (PAG, ReAct, MemBank, Lora) also have
    `prepare(user, before=…, exclude=…)`, to have it written before a clock starts.
    """

    def __call__(
        self, *, query: str, user: str, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        """Answer as the user would, from what was before `before` and is not in `exclude`.

        Returns:
            `answer`; `distribution` over the labels or None; `actions`; `memories`.

        Raises:
            LMError: the LM failed after its retries, or answered in no usable form.
        """
        ...


class Maker(Protocol):
    """Makes a system from what all systems share."""

    def __call__(
        self,
        task: Task,
        memory: EpisodicMemory,
        personas: Personas,
        /,
        *,
        k: int = 4,
        tools: Tools = (),
    ) -> System:
        """`k`: memories that are shown; `tools`: the general tools of systems that have tools."""
        ...


def _made_by(kind: Any, *options: str) -> Maker:
    """Makes a system of this class, which takes task, memory and some of the options."""

    def make(task: Task, memory: EpisodicMemory, _: Personas, /, **given: Any) -> System:
        taken = {name: given[name] for name in options if name in given}
        system: System = kind(task, memory, **taken)
        return system

    return make


def _agent(part: Part, kind: type[UnderPersona] = UnderPersona) -> Maker:
    """Makes PersonaAgent under this part of the personas."""

    def make(task: Task, memory: EpisodicMemory, personas: Personas, /, **given: Any) -> System:
        system: System = kind(PersonaAgent(task, memory, **given), personas, part)
        return system

    return make


SYSTEMS: dict[str, Maker] = {
    # floors
    "majority": _made_by(Majority),
    "zero-shot": _made_by(ZeroShot),
    "knn": _made_by(NearestNeighbour),
    # baselines
    "non-personalized": _made_by(NonPersonalized),
    "icl": _made_by(ICL, "k"),
    "rag": _made_by(RAG, "k"),
    "pag": _made_by(PAG, "k"),
    "react": _made_by(ReAct, "k", "tools"),
    "membank": _made_by(MemBank, "k"),
    "lora": _made_by(Lora),
    # the paper's own way, PersonaAgent and its ablations
    "personaagent-paper": _agent(in_the_paper),
    "personaagent": _agent(full),
    "personaagent-without-alignment": _agent(without_alignment),
    "personaagent-without-persona": _agent(without_persona),
    "personaagent-without-memory": _agent(without_memory, WithoutMemory),
    "personaagent-without-action": _agent(without_action),
    "personaagent-without-habit": _agent(without_habit),
    "personaagent-without-lean": _agent(without_lean),
    "personaagent-without-meanings": _agent(without_meanings),
    "personaagent-swapped": _agent(swapped),
}
"""In the order of a table."""
