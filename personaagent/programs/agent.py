"""PersonaAgent: memory, persona, action and answer put together (paper, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import dspy

from personaagent.data import Directive, FusionWeights, Interaction, Persona, Task, validation
from personaagent.data.task import given
from personaagent.memory import EpisodicMemory
from personaagent.programs.action import ActionChooser
from personaagent.programs.answer import Answerer
from personaagent.programs.directive_matching import announced, item_scores, match_directives
from personaagent.programs.fusion import serve, trusted
from personaagent.programs.persona import PersonaParameter, checked
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.scope import QueryScope
from personaagent.programs.tools import (
    Observation,
    general_tools,
    personal_tools,
    run,
    within_context,
)
from personaagent.programs.user_label_prior import user_label_prior


class PersonaAgent(dspy.Module):
    """Answers a user's queries under the user's persona.

    One program serves every user: the persona is data of the call, or else the program's own where
    it is this user's, or else the user's published one.

    Args:
        task: what an answer is.
        memory: episodic memory with its store.
        persona: the program's own persona; saved and loaded with the program.
        tools: the general tools A: `dspy.Tool`s, MCP tools, or plain functions, which are called by
            their name and described by their docstring.
        rounds: how often π_P may choose actions for one query; 0 leaves it to standing actions.
        k: memories that a recall returns unless the LM says otherwise.
        retriever: a name of `personaagent.policies.RETRIEVERS`.

    Raises:
        DataError: an argument is not what it is to be.

    With an LM that always says "money":

    >>> from dspy.utils import DummyLM
    >>> from personaagent import Classification, EpisodicMemory, SentenceEmbedder, Store
    >>> inbox = Classification("inbox", "Which folder?", labels=("money", "family"))
    >>> with Store("memory.db") as store, dspy.context(lm=DummyLM([{"answer": "money"}])):
    ...     agent = PersonaAgent(inbox, EpisodicMemory(store, SentenceEmbedder()), rounds=0)
    ...     agent(query="The car needs new tyres", user="amira").answer
    'money'
    """

    def __init__(
        self,
        task: Task,
        memory: EpisodicMemory,
        *,
        persona: Persona | None = None,
        tools: Sequence[dspy.Tool | Callable[..., Any]] = (),
        rounds: int = 1,
        k: int = 4,
        retriever: str = "dense",
    ) -> None:
        super().__init__()
        validation.whole("rounds", rounds, 0)
        self.task = given(task)
        self.tools = general_tools(tools)
        self.rounds = rounds
        self.persona = PersonaParameter(persona)
        self.retrieve = MemoryRetriever(memory, k=k, retriever=retriever)
        self.choose = ActionChooser()
        self.answer = Answerer(task)

    def __repr__(self) -> str:
        return f"PersonaAgent({self.task.name!r}, {self.memory!r}, {_whose(self.persona.value)})"

    @property
    def memory(self) -> EpisodicMemory:
        """The memory that the agent reads and `observe` writes."""
        return self.retrieve.memory

    def forward(
        self,
        query: str,
        user: str,
        *,
        before: datetime | None = None,
        exclude: Sequence[str] = (),
        persona: Persona | None = None,
    ) -> dspy.Prediction:
        """Answer a query as the user would.

        Args:
            query: the item that the task asks about.
            user: who asks; nothing of anybody else is read.
            before: what happened from this moment on does not exist.
            exclude: ids of interactions that do not exist.
            persona: answer under this one.

        Returns:
            `answer`; `distribution` over the labels, None for texts and where nothing says how sure
            the LM is (it told its label only, and no replay has fitted how far that counts); `lm`
            and `habit`, the two distributions it was fused from, `habit` None where the persona
            does not trust it; `stated`, whether `lm` is of an answer that told its label only;
            `actions`, `observations`, `memories`; `directives`, those whose cue fits, of which the
            LM sees the first; `persona`, its hash.

        Raises:
            DataError: the query or the user is empty.
            LMError: the LM failed after its retries, or answered in no usable form.
        """
        situation = QueryScope.of(query, user, self.task, before, exclude)
        persona = checked(persona) or self.persona_of(user)
        prompt = self._prompt(persona, situation.query)
        directives = match_directives(self.memory, persona, situation)
        said, observations = within_context(
            lambda seen: self.answer(
                query=situation.query, **self._shown(prompt, situation.query, seen, directives)
            ),
            self.act(situation, persona, prompt),
        )
        answer, distribution, habit = said.answer, said.distribution, None
        lm = distribution
        if self.task.labels:
            lm, trust = lm or self.task.stated(answer), trusted(persona.trust)
            if trust.habit:
                habit = user_label_prior(self.retrieve, situation, trust.meanings)
            if distribution or trust != FusionWeights():
                answer, distribution = serve(self.task, lm, habit, trust)
        return dspy.Prediction(
            answer=answer,
            distribution=distribution,
            lm=lm,
            stated=lm is not None and said.distribution is None,
            habit=habit,
            actions=[seen.action for seen in observations],
            observations=observations,
            directives=directives,
            memories=[memory for seen in observations for memory in seen.memories],
            persona=persona.hash,
        )

    async def aforward(self, query: str, user: str, **options: Any) -> dspy.Prediction:
        """The same on a worker thread, so that an event loop can wait for it."""
        # by the class: DSPy warns of every `self.forward` outside of `__call__`
        return await dspy.asyncify(type(self).forward)(self, query, user, **options)

    def act(self, situation: QueryScope, persona: Persona, prompt: str) -> list[Observation]:
        """Standing actions where the persona has them; else π_P chooses, round by round."""
        if persona.actions == ():
            return []
        tools = [
            *personal_tools(
                self.retrieve, situation, persona.profile, standing=persona.actions is not None
            ),
            *self.tools,
        ]
        if persona.actions is not None:
            return run(persona.actions, tools)
        observations: list[Observation] = []
        for _ in range(self.rounds):
            found = "\n".join(seen.text for seen in observations)
            chosen = self.choose(situation.query, tools, persona=prompt, found=found).actions
            taken = [seen.action for seen in observations]
            fresh = [action for action in chosen if action not in taken]
            if not fresh:
                break
            observations += run(fresh, tools)
        return observations

    def persona_of(self, user: str) -> Persona:
        """The program's own persona if it is this user's, else the published one, else none."""
        memory = self.memory.store.of(user)
        own, whose = self.persona.value, (memory.user, self.task.name)
        if own and (own.user, own.task) == whose:
            return own
        return memory.persona(self.task.name) or Persona(*whose, role=self.task.role)

    def replay(self, past: Interaction, persona: Persona) -> dspy.Prediction:
        """Answer a past query again, without its answer and what came after it.

        `nats` is beside what a call returns: how unlikely the user's true text was under the
        persona, in nats a word; None for labels, and where the LM cannot be held to a text.
        """
        situation = QueryScope.replaying(self.task, past)
        said = self(
            query=past.query,
            user=past.user,
            before=situation.before,
            exclude=situation.exclude,
            persona=persona,
        )
        prompt = self._prompt(persona, past.query)
        shown = self._shown(prompt, past.query, said.observations, said.directives)
        said.nats = self.answer.nats(past.query, past.response, **shown)
        return said

    def _prompt(self, persona: Persona, query: str) -> str:
        """The system prompt without the directives that have a cue."""
        return persona.standing_prompt(item_scores(self.memory, persona, query))

    def _shown(
        self,
        prompt: str,
        query: str,
        observations: Sequence[Observation],
        directives: Sequence[Directive],
    ) -> dict[str, str]:
        """What the LM is shown beside the query."""
        rule = announced(directives[0], query, self.task.item) if directives else ""
        evidence = "\n".join(seen.text for seen in observations if seen.text)
        return {"persona": prompt, "evidence": evidence, "directive": rule}

    def observe(self, interaction: Interaction) -> None:
        """Close the loop: what the user really answered enters memory (known ones change nothing).

        Raises:
            DataError: the interaction breaks the contract, its response is none of the task's
                answers, or its id is known with other content.
        """
        self.memory.add([interaction], tasks={self.task.name: self.task})


def _whose(persona: Persona | None) -> str:
    """Whose persona a program has of its own."""
    if persona is None:
        return "each user's published persona"
    return f"version {persona.version} of {persona.user!r}"
