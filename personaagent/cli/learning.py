"""One user's persona, from what is new to what is published: for `compile` and for the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from personaagent.cli import align, session
from personaagent.cli.compiled import Compiled, Memo

if TYPE_CHECKING:
    import sqlalchemy as sa

    from personaagent.data import Interaction, Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import Store
    from personaagent.optimizers import AlignmentLog, Drift, Prior, Setting, Step, Watched
    from personaagent.programs import PersonaAgent

_DRIFT = {
    "change": "this user's habits have changed; what is older fades from the votes",
    "oscillation": "this user goes back and forth between habits; all of them are kept",
}


class Watcher(Protocol):
    """Shows what happens to somebody who waits for it."""

    def note(self, text: str) -> None:
        """Something that should be known."""
        ...

    def rolled_back(self, watched: Watched) -> None:
        """The champion has given way to its parent."""
        ...

    def step(self, step: Step) -> None:
        """A step of the alignment has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Material:
    """What a persona is to be learned from.

    Attributes:
        trainset: what the user really answered, oldest first.
        newest: the number of the newest interaction that was there, see `queue.newest_of`.
    """

    trainset: Sequence[Interaction]
    newest: int

    @classmethod
    def of(cls, store: Store, user: str, task: Task, seed: int) -> Material:
        """What there is now.

        Raises:
            DataError: there is nothing to learn from.
        """
        from personaagent.memory.queue import newest_of

        newest = newest_of(store, user, task.name)  # first: what comes in between is new
        return cls(align.trainset(store, user, task, seed), newest)


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of it: `log.last` is the persona that is published, `run` names the alignment;
    `watched` is None where there was nothing to watch."""

    done: Compiled
    log: AlignmentLog
    run: str
    drift: Drift
    watched: Watched | None


def learn(
    agent: PersonaAgent,
    material: Material,
    setting: Setting,
    lms: tuple[PersonaLM, PersonaLM | None],
    watcher: Watcher,
    *,
    prior: Prior | None = None,
    restart: bool = False,
    then: Callable[[sa.Connection], None] | None = None,
) -> Learned:
    """Follow a change of habits, watch the champion, align, and publish what does better, in one
    transaction with the notes of what was done.

    Args:
        agent: its LM is configured for DSPy.
        material: of one user.
        setting: how to align.
        lms: the one that answers, and the one for gradients and updates where that is another.
        watcher: is told of the steps.
        prior: where a new persona starts.
        restart: do not go on with an interrupted run.
        then: called in the transaction that publishes.

    Raises:
        ConflictError: somebody published in between, or interactions were erased; nothing of the
            alignment is kept.
        LMError: the LM failed, or its budget is used up; the same call goes on from there.
    """
    from personaagent.artifacts import Artifact
    from personaagent.memory.queue import note_alignment
    from personaagent.optimizers import follow

    started = time.monotonic()
    store, task = agent.memory.store, agent.task
    user = material.trainset[0].user
    memory = store.of(user)
    memo = Memo.of(store, user, task, setting, lms, prior)
    origins = session.origins(store, user, task)
    agent.memory.ready(user)
    drift = follow(agent.memory, task, user, material.trainset)
    if drift.kind != "noise":
        watcher.note(f"drift: {_DRIFT[drift.kind]}")
    watched = None
    if setting.accept != "always":  # the paper never looks back
        watched = align.watch(agent, user, material.trainset)
    if watched and watched.rolled_back:
        watcher.rolled_back(watched)
    champion = memory.persona(task.name)
    log, run = align.align(
        agent, material.trainset, setting, lms[1], watcher.step, prior=prior, restart=restart
    )
    embedder = agent.memory.embedder
    made = Artifact.of(log.last, log=log, lm=lms[0], embedder=embedder)
    done = Compiled.of(log, champion, align.reason(log), time.monotonic() - started)

    made = replace(made, persona=done.persona)

    def finished(connection: sa.Connection) -> None:
        note_alignment(store, connection, user, task.name, material.newest)
        memo.keep(connection, material.trainset, done)
        origin = align.origin(log, run, done.persona, material.trainset[-1])
        origins.write(connection, f"{done.persona.hash}/{run}", origin)
        made.keep(memory, connection)
        if then is not None:
            then(connection)

    made_of = align.sources(material.trainset)
    memory.publish(
        done.persona, expected=done.over, reason=done.reason, made_of=made_of, then=finished
    )
    return Learned(done, replace(log, last=done.persona), run, drift, watched)
