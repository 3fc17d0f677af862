"""What answers in `benchmarks.long_histories`: each arm under its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.kept import Kept
from personaagent import EpisodicMemory
from personaagent.data import Action, FusionWeights, Persona, Task
from personaagent.data.facts import facts_of, quoted
from personaagent.experiments.baselines import ICL, RAG, NonPersonalized
from personaagent.experiments.cohort import Sample
from personaagent.experiments.membank import MemBank
from personaagent.experiments.react import ReAct
from personaagent.programs import PersonaAgent, QueryScope

FLOORS = ("user's mean", "user's mode")
BEFORE, AFTER = "ours before alignment", "ours"
MEMORIES = {f"ours, k={k}": k for k in (4, 16)}  # ours beside so many memories
ALONE = "ours, the LM alone"  # without the habit that its answers are fused with
PAPERS = "the paper's"
SUMMARY = "pag, k=4"
OTHERS = {"react": ReAct, "membank": MemBank}
RIVAL = "gepa"
COUNTED = {f"counted, k={k}": k for k in (12, 16)}  # what code counts, and so many memories
COUNTED_WORDS = 60
ABLATIONS: dict[str, dict[str, Any]] = {
    "ours without persona": {"profile": "", "directives": (), "items": (), "whole": False},
    "ours without memory": {"actions": ()},
    "ours without action": {"actions": (Action("recall", {"k": 4}),)},  # the same for everybody
}
ARMS = (
    "none", "rag, k=4", "rag, k=16", "latest 60", SUMMARY, *OTHERS, BEFORE, ALONE, AFTER, *MEMORIES,
    PAPERS, RIVAL, *ABLATIONS,
)  # fmt: skip

Answering = Callable[..., Any]


class Summarized(RAG):
    """PAG with a profile that stands ready."""

    def __init__(self, task: Task, memory: EpisodicMemory, profiles: Mapping[str, str]) -> None:
        super().__init__(task, memory)
        self._profiles = profiles

    def profile(self, situation: QueryScope) -> str:
        """The user's."""
        return self._profiles[situation.user]


def said(persona: Persona) -> tuple[Any, ...]:
    """What decides an answer."""
    rules = tuple((one.cue, one.text, one.reach) for one in persona.directives)
    items = tuple(one.text for one in persona.items)
    return persona.profile, persona.whole, rules, items, persona.actions, persona.trust


class Arms:
    """All that answers; each as a function of a sample.

    Args:
        task: what is answered.
        memory: with everybody's history.
        personas: of `learn`.
    """

    def __init__(self, task: Task, memory: EpisodicMemory, personas: Kept) -> None:
        self._chains: dict[tuple[str, str], list[Persona]] = {
            key: [Persona.from_dict(one) for one in row["chain"]]
            for key, row in personas.rows.items()
        }
        self._plain: Mapping[str, Answering] = {
            "none": NonPersonalized(task),
            "rag, k=4": RAG(task, memory, k=4),
            "rag, k=16": RAG(task, memory, k=16),
            "latest 60": ICL(task, memory, k=60),
            **{arm: system(task, memory) for arm, system in OTHERS.items()},
        }
        self._summarized = Summarized(
            task, memory,
            {user: chain[0].profile for (way, user), chain in self._chains.items() if way == "pag"},
        )  # fmt: skip
        self._agent = PersonaAgent(task, memory)
        self._recalling = {arm: PersonaAgent(task, memory, k=k) for arm, k in MEMORIES.items()}

    def _counted(self, user: str, k: int) -> Persona:
        """A persona of what code counts, without a word of an LM's."""
        task, memory = self._agent.task, self._agent.memory
        facts = facts_of(task, memory.store.of(user).interactions(task.name))
        recall = (Action("recall", {"k": k}),)
        return Persona(user, task.name, quoted(facts, COUNTED_WORDS), actions=recall)

    def between(self, user: str) -> list[str]:
        """The personas between the first and the last, as arms."""
        return [f"update {at}" for at in range(1, len(self._chains.get(("ours", user), ())) - 1)]

    def knows(self, arm: str, user: str) -> bool:
        """Whether there is what the arm needs."""
        way = {PAPERS: "paper", SUMMARY: "pag", RIVAL: RIVAL}.get(arm, "ours")
        return arm in self._plain or arm in COUNTED or (way, user) in self._chains

    def twin(self, arm: str, user: str) -> str | None:
        """An arm that asks in the same words: nothing was accepted, or nothing is left out."""
        chain = self._chains.get(("ours", user), [])
        if arm == AFTER and len(chain) == 1:
            return BEFORE
        if arm in ABLATIONS and said(chain[-1].succeed(**ABLATIONS[arm])) == said(chain[-1]):
            return AFTER
        return None

    def __call__(self, arm: str, one: Sample) -> Any:
        asked = {"query": one.query.query, "user": one.query.user, "before": one.query.time}
        if plain := self._plain.get(arm):
            return plain(**asked)
        if arm == SUMMARY:
            return self._summarized(**asked)
        if arm in COUNTED:
            return self._agent(**asked, persona=self._counted(one.query.user, COUNTED[arm]))
        if way := {PAPERS: "paper", RIVAL: RIVAL}.get(arm):
            return self._agent(**asked, persona=self._chains[way, one.query.user][-1])
        chain = self._chains["ours", one.query.user]
        if arm in ABLATIONS:
            return self._agent(**asked, persona=chain[-1].succeed(**ABLATIONS[arm]))
        at = int(arm.split()[-1]) if arm.startswith("update") else 0 if arm == BEFORE else -1
        if arm == ALONE:
            return self._agent(**asked, persona=chain[at].succeed(trust=FusionWeights()))
        if arm not in MEMORIES:
            return self._agent(**asked, persona=chain[at])
        own = [one for one in chain[at].actions or () if one.tool == "recall"]
        recall = own[0] if own else Action("recall")
        words = {name: recall.arguments[name] for name in recall.arguments if name != "k"}
        return self._recalling[arm](
            **asked, persona=chain[at].succeed(actions=(Action("recall", words),))
        )
