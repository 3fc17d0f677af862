"""What every request of a server works with: the store, the LM, and a program for each task."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import dspy

from personaagent.memory.tasks import load_tasks, tasks_of
from personaagent.programs import PersonaAgent
from personaagent.server.keys import Keys
from personaagent.server.limits import Rates
from personaagent.server.metrics import Metrics
from personaagent.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from personaagent.data import Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import EpisodicMemory
    from personaagent.server.settings import Settings


class Service:
    """Made once for an app, and kept as `app.state.service`.

    Attributes:
        memory: the episodic memory; its store is `store`.
        lm: the one that answers.
        settings: how the server is run.
        keys: who may call.
        rates: how often.
        metrics: what `/metrics` shows.
        answering: what bounds the answers that are worked on side by side.
    """

    def __init__(self, memory: EpisodicMemory, lm: PersonaLM, settings: Settings) -> None:
        self.memory = memory
        self.store = memory.store
        self.lm = lm
        self.settings = settings
        self.keys = Keys(memory.store)
        self.rates = Rates(settings.rate)
        self.metrics = Metrics(lm.meter)
        self.answering = anyio.CapacityLimiter(settings.answering)
        self._agents: dict[Task, PersonaAgent] = {}
        self._lock = threading.Lock()

    def task_of(self, user: str, name: str | None) -> Task:
        """The task of this name, or without one the only task of a user of the store.

        Raises:
            Problem: there is no such task, or none or several to choose from.
        """
        known = load_tasks(self.store)
        if name is not None:
            if name not in known:
                raise Problem(404, f"there is no task '{name}': GET /v1/tasks lists them")
            return known[name]
        names = tasks_of(self.store, user)
        if len(names) == 1 and names[0] in known:
            return known[names[0]]
        if names:
            raise Problem(422, f"the user has several tasks ({', '.join(names)}): name one")
        raise Problem(422, "nothing is known of the user yet: name the task")

    def agent(self, task: Task) -> PersonaAgent:
        """The program that answers a task, for every user."""
        with self._lock:
            if task not in self._agents:
                self._agents[task] = PersonaAgent(task, self.memory)
            return self._agents[task]

    async def answering_with_lm(self, work: Callable[[], Any]) -> Any:
        """What some work gives, on a thread of its own and with the LM configured for DSPy."""

        def configured() -> Any:
            # DSPy would keep the latest 10,000 prompts, also of who was erased since.
            with dspy.context(lm=self.lm, disable_history=True):
                return work()

        return await anyio.to_thread.run_sync(configured, limiter=self.answering)
