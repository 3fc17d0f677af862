"""One user's persona, from what is new to what is published: follow a change of habits, watch the
champion, align, publish what does better, and track it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

import dspy

from personaagent.artifacts import Artifact, export
from personaagent.data import self_supervised_pairs
from personaagent.errors import BudgetError, ConflictError, DataError, LMError
from personaagent.memory.queue import newest_of, note_alignment
from personaagent.memory.waiting import Changed, days_to_approve, put_to_wait, was_rejected
from personaagent.memory.wins import add_wins, wins_of
from personaagent.optimizers import (
    AcceptOnEvidence,
    Contests,
    Replay,
    Setting,
    follow,
    pooled,
    watch_champion,
)
from personaagent.optimizers.competing import KINDS, Tally, of_log
from personaagent.optimizers.drift import Drift
from personaagent.optimizers.log import BARE, MEMORIES, WITHOUT
from personaagent.optimizers.worklog import ReadOnce
from personaagent.programs import PersonaAgent
from personaagent.programs.scope import derived_from
from personaagent.service.chats import lesson
from personaagent.service.leasing import held
from personaagent.service.publish import Compiled, Memo, origins
from personaagent.service.retirement import retire

if TYPE_CHECKING:
    import sqlalchemy as sa

    from personaagent.data import Interaction, Persona, Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import EpisodicMemory, Store, UserMemory
    from personaagent.optimizers import AlignmentLog, Prior, Step, Watched
    from personaagent.optimizers.conversations import Learned

WAITS = "waits for approval: "
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


class Quiet:
    """Shows nothing."""

    def note(self, text: str) -> None:
        del text

    def rolled_back(self, watched: Watched) -> None:
        del watched

    def step(self, step: Step) -> None:
        del step


@dataclass(frozen=True, slots=True)
class Telling:
    """A watcher that passes on what happens, as a value that another process can read."""

    tell: Callable[[object], None]

    def note(self, text: str) -> None:
        self.tell(("note", text))

    def rolled_back(self, watched: Watched) -> None:
        self.tell(("rolled_back", watched))

    def step(self, step: Step) -> None:
        self.tell(("step", step))


def tell_on(watcher: Watcher, what: tuple[str, object]) -> None:
    """Tell a watcher what a `Telling` has passed on."""
    method, value = what
    getattr(watcher, method)(value)


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
        newest = newest_of(store, user, task.name)  # first: what comes in between is new
        return cls(trainset(store, user, task, seed), newest)


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    Attributes:
        done: the outcome, as it is kept.
        log: of the alignment; `log.last` is the persona that is published.
        run: names the alignment.
        drift: what became of the user's habits.
        watched: what the champion was found to be, None where there was nothing to watch.
        before: the champion when it began, None if there was none.
        learned: of conversations, what reading them taught; None where the user's answers were
            replayed.
    """

    done: Compiled
    log: AlignmentLog
    run: str
    drift: Drift
    watched: Watched | None
    before: Persona | None
    learned: Learned | None = None


@dataclass(frozen=True)
class Trainer:
    """Trains personas of a memory with an LM and a setting, one user and task at a time.

    Args:
        memory: with the users' interactions; personas are published in its store.
        lm: the one that answers.
        setting: how to align.
        gradient_lm: the one for gradients and updates, where that is another.
        prior: where a new persona starts.
    """

    memory: EpisodicMemory
    lm: PersonaLM
    setting: Setting = field(default_factory=Setting)
    gradient_lm: PersonaLM | None = None
    prior: Prior | None = None

    @property
    def names(self) -> str:
        """The LMs that write a persona, for the key of a run."""
        return names_of(self.lm, self.gradient_lm)

    @property
    def writer(self) -> str:
        """The fingerprint of the LM that proposes."""
        return (self.gradient_lm or self.lm).fingerprint

    def agent(self, task: Task) -> PersonaAgent:
        """The program that is aligned."""
        return PersonaAgent(task, self.memory)

    def material(self, user: str, task: Task) -> Material:
        """What there is to learn from.

        Raises:
            DataError: nothing.
        """
        return Material.of(self.memory.store, user, task, self.setting.seed)

    def memo(self, user: str, task: Task) -> Memo:
        """What is known of the user's trainings."""
        journal = self.memory.store.of(user).journal(f"compiled/{task.name}")
        return Memo(journal, self.setting, self.names, self.prior)

    def train(
        self, user: str, task: Task, watcher: Watcher | None = None, *, restart: bool = False
    ) -> Trained:
        """Train whatever was done before, while nobody else works for this user.

        Raises:
            BusyError: somebody does; nothing was asked of the LM.
            DataError: there is nothing to learn from.
            ConflictError, LMError: see `learn`.
        """
        with held(self.memory.store, user, task.name) as end:
            material = self.material(user, task)
            return self.learn(task, material, watcher or Quiet(), restart=restart, then=end)

    def train_new(
        self,
        user: str,
        task: Task,
        watcher: Watcher | None = None,
        *,
        material: Material | None = None,
        restart: bool = False,
    ) -> Trained | Compiled:
        """Train, unless the same setting and LMs have made something of the same interactions
        already (maybe another process, meanwhile): then that.

        Args:
            material: what to learn from, by default what there is.

        Raises:
            BusyError, DataError, ConflictError, LMError: see `train`.
        """
        with held(self.memory.store, user, task.name) as end:
            material = material or self.material(user, task)
            known = self.memo(user, task).known(material.trainset)
            if known is not None and not restart:
                return known
            return self.learn(task, material, watcher or Quiet(), restart=restart, then=end)

    def learn(
        self,
        task: Task,
        material: Material,
        watcher: Watcher,
        *,
        restart: bool = False,
        then: Callable[[sa.Connection], None] | None = None,
    ) -> Trained:
        """Train under a lease that the caller holds: what does better is published in one
        transaction with the notes of what was done.

        Args:
            task: of the personas.
            material: of one user.
            watcher: is told of the steps.
            restart: do not go on with an interrupted run.
            then: called in the transaction that publishes.

        Raises:
            ConflictError: somebody published in between, or interactions were erased; nothing of
                the alignment is kept.
            LMError: the LM failed, or its budget is used up; the same call goes on from there.
        """
        with dspy.context(lm=self.lm):
            return self._learn(task, material, watcher, restart, then)

    def _learn(
        self,
        task: Task,
        material: Material,
        watcher: Watcher,
        restart: bool,
        then: Callable[[sa.Connection], None] | None,
    ) -> Trained:
        started = time.monotonic()
        store, agent, past = self.memory.store, self.agent(task), material.trainset
        user = past[0].user
        mine, memo = store.of(user), self.memo(user, task)
        before = mine.persona(task.name)
        self.memory.ready(user)
        if task.conversational:
            return self._read(task, material, watcher, restart, then, started)
        # STEP 1: follow a change of habits.
        drift = follow(self.memory, task, user, past)
        if drift.kind != "noise":
            watcher.note(f"drift: {_DRIFT[drift.kind]}")
        # STEP 2: watch the champion.
        watched = None
        days = days_to_approve(store, user)
        # The paper never looks back; and what a person approved gives way to nothing by itself.
        if self.setting.accept != "always" and not days:
            watched = watch(agent, user, past)
        if watched and watched.rolled_back:
            watcher.rolled_back(watched)
        if gone := retire(mine, task):
            watcher.note(f"items retired, as all that spoke for them has expired: {gone}")
        # STEP 3: align.
        champion = mine.persona(task.name)
        log, run = self.align(agent, past, watcher.step, restart=restart)
        done = Compiled.of(log, champion, reason(log), time.monotonic() - started)
        answers: list[Changed] = []
        if days and done.changed:
            done = _held(done, mine)
            if done.held == "waiting":
                answers = self._changed(agent, log, run)
        # STEP 4: publish, with the notes of what was done.
        made_of = sources(past)
        self._publish(task, material, memo, log, run, done, made_of, then, answers, days)
        if done.held:
            watcher.note(done.reason)
        return Trained(done, replace(log, last=done.persona), run, drift, watched, before)

    def _read(
        self,
        task: Task,
        material: Material,
        watcher: Watcher,
        restart: bool,
        then: Callable[[sa.Connection], None] | None,
        started: float,
    ) -> Trained:
        """Of conversations: read what is new. There are no habits of answering to follow, and
        nothing that a champion could be watched by."""
        user = material.trainset[0].user
        mine, memo = self.memory.store.of(user), self.memo(user, task)
        before = mine.persona(task.name)
        if gone := retire(mine, task):
            watcher.note(f"{gone} items retired: what they rested on has expired")
        champion = mine.persona(task.name)
        read = lesson(self, task, material.trainset, restart=restart)
        learned, log = read.learned, read.log
        for warning in learned.warnings:
            watcher.note(warning)
        done = Compiled.of(log, champion, learned.summary, time.monotonic() - started)
        days = days_to_approve(self.memory.store, user)
        if days and done.changed:
            done = _held(done, mine)

        def kept(connection: sa.Connection) -> None:
            if not done.held:  # else it is read again: what was learned may never be published
                read.keep(connection)
            if then is not None:
                then(connection)

        made_of = set(read.made_of)
        self._publish(task, material, memo, log, read.run, done, made_of, kept, days=days)
        if done.held:
            watcher.note(done.reason)
        last = replace(log, last=done.persona)
        return Trained(done, last, read.run, Drift("noise", None, ()), None, before, learned)

    def _publish(
        self,
        task: Task,
        material: Material,
        memo: Memo,
        log: AlignmentLog,
        run: str,
        done: Compiled,
        made_of: set[str],
        then: Callable[[sa.Connection], None] | None,
        answers: Sequence[Changed] = (),
        days: int = 0,
    ) -> None:
        """Publish a persona, or let it wait for approval, in one transaction with the notes of what
        was done.

        Args:
            answers: that it would change, where it waits.
            days: for how long it waits.
        """
        store, past = self.memory.store, material.trainset
        user = past[0].user
        mine = store.of(user)
        made = Artifact.of(log.last, log=log, lm=self.lm, embedder=self.memory.embedder)
        made = replace(made, persona=done.persona)
        origin = {
            "run": run,
            "version": done.persona.version,
            "until": past[-1].id,
            "steps": log.origins(),
        }

        counts = {str(kind): (one.won, one.judged) for kind, one in of_log(log).items()}

        def finished(connection: sa.Connection) -> None:
            note_alignment(store, connection, user, task.name, material.newest)
            memo.keep(connection, past, done)
            key = f"{done.persona.hash}/{run}"
            origins(store, user, task).write(connection, key, origin)
            made.keep(mine, connection)
            add_wins(store.database, connection, self.writer, counts)
            if then is not None:
                then(connection)

        if done.held == "rejected":
            with store.database.write() as connection:
                finished(connection)
        elif done.held:
            put_to_wait(
                mine,
                done.persona,
                over=done.over,
                reason=done.reason.removeprefix(WAITS),
                made_of=made_of,
                answers=answers,
                days=days,
                then=finished,
            )
        else:
            mine.publish(
                done.persona,
                expected=done.over,
                reason=done.reason,
                made_of=made_of,
                then=finished,
            )

    def _changed(self, agent: PersonaAgent, log: AlignmentLog, run: str) -> list[Changed]:
        """The answers to judging interactions that the last persona would change; only those that
        were not replayed under its standing actions cost a call."""
        mine = agent.memory.store.of(log.user)
        judged, replay = mine.get(log.judged), Replay(agent, mine.journal(run))
        both = zip(replay(log.first, judged), replay(log.last, judged), strict=True)
        return [
            Changed(before.interaction.id, before.answer, after.answer)
            for before, after in both
            if before.answer != after.answer
        ]

    def align(
        self,
        agent: PersonaAgent,
        interactions: Sequence[Interaction],
        report: Callable[[Step], None],
        *,
        restart: bool = False,
    ) -> tuple[AlignmentLog, str]:
        """Align the agent to the interactions of one user; the log, and the key of the run.

        Finished work is kept in the store's journal, so that an interrupted run goes on.

        Raises:
            ConflictError: interactions were erased.
            LMError: the LM failed, or its budget is used up.
        """
        user = interactions[0].user
        acceptance = _on_evidence(agent, user) if self.setting.accept == "evidence" else None
        alignment = self.setting.alignment(
            acceptance=acceptance, gradient_lm=self.gradient_lm, prior=self.prior, report=report
        )
        known = wins_of(self.memory.store.database, self.writer)
        alignment.won = {kind: Tally(*known[kind]) for kind in KINDS if kind in known}
        key = alignment.key(agent, interactions, self.names)
        memory = self.memory.store.of(user)
        journal = memory.journal(key)
        # Only now would an erasure stop the journal.
        wanted = sources(interactions)
        if len(memory.seqs(wanted)) < len(wanted):
            raise ConflictError(
                f"interactions of user '{user}' were erased meanwhile: the same command starts "
                "again, without them"
            )
        if restart:
            journal.clear()
        alignment.record = ReadOnce(journal, journal.entries())  # ours alone, by our lease
        try:
            aligned = alignment.compile(agent, trainset=interactions)
        except LMError as error:
            kind = BudgetError if isinstance(error, BudgetError) else LMError
            raise kind(
                f"{error}; what was done so far is kept: the same command goes on from there"
            ) from error
        log: AlignmentLog = aligned.alignment
        return log, key

    def track(self, task: Task, trained: Trained, note: Callable[[str], None]) -> str | None:
        """The id of the MLflow run that an alignment was written to, None where there is none.

        The same alignment of another database is a run of its own.
        """
        from personaagent import tracking
        from personaagent.privacy import untracking  # MLflow takes seconds to import

        log, store = trained.log, self.memory.store
        artifact = Artifact.of(
            log.last, log=log, lm=self.lm, embedder=self.memory.embedder, task=task
        )
        key = f"{trained.run}-{store.database.identity()[:12]}"
        with TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", tracking.TrackingWarning)
            path, _ = export(Path(folder), artifact)
            tracked = tracking.track(log, artifact=path, run=key)
        for warning in caught:
            if issubclass(warning.category, tracking.TrackingWarning):
                note(str(warning.message))
        if not len(store.of(log.user).journal(trained.run)):
            # An erasure has emptied the journal, and may have been done before this run was
            # written.
            untracking.forget(log.user)
            note("not tracked: interactions were erased meanwhile")
            return None
        return tracked


def names_of(lm: PersonaLM, gradient_lm: PersonaLM | None) -> str:
    """The LMs that write a persona, for the key of a run."""
    return " ".join(one.fingerprint for one in (lm, gradient_lm) if one is not None)


def trainset(store: Store, user: str, task: Task, seed: int) -> list[Interaction]:
    """What the user really answered, oldest first; for LaMP-1's papers, questions made of them.

    Raises:
        DataError: there is nothing to learn from.
    """
    mine = store.of(user).interactions(task.name)
    answered = [task.checked(one) for one in mine if one.response]
    if mine and not answered:
        return _pairs(store, user, task, seed)
    if not answered:
        raise DataError(
            f"user '{user}' has no interactions of task '{task.name}' to learn from: "
            "'personaagent import FILE --tasks tasks.json' adds some, or for LaMP "
            "--questions FILE"
        )
    return answered


def _pairs(store: Store, user: str, task: Task, seed: int) -> list[Interaction]:
    everyone = [one.user for one in store.users(task.name)]
    if everyone == [user]:
        raise DataError(
            f"user '{user}' is the only one with papers, and the questions of task '{task.name}' "
            "need papers of others as wrong options: 'personaagent import QUESTIONS --task "
            f"{task.name}' adds those of a whole file"
        )
    papers = {one: store.of(one).interactions(task.name) for one in everyone}
    pairs = [one for one in self_supervised_pairs(papers, seed) if one.user == user]
    if not pairs:
        raise DataError(f"user '{user}' has one paper in task '{task.name}': two are needed")
    return pairs


def sources(interactions: Sequence[Interaction]) -> set[str]:
    """The ids of stored interactions: for derived ones, of those that they were made from."""
    return {id for one in interactions for id in derived_from(one) or (one.id,)}


def watch(agent: PersonaAgent, user: str, interactions: Sequence[Interaction]) -> Watched | None:
    """Roll the champion back where what the user did since speaks for its parent.

    Args:
        interactions: all of the user's, oldest first.
    """
    store, task = agent.memory.store, agent.task
    chain = store.of(user).history(task.name)
    if len(chain) < 2:
        return None
    champion = chain[-1]
    runs = origins(store, user, task).entries(champion.hash)
    seen = {run["until"] for run in runs.values() if run["version"] == champion.version}
    ids = [one.id for one in interactions]
    if known := seen.intersection(ids):
        newer = interactions[min(map(ids.index, known)) + 1 :]
    else:  # rolled back or restored
        newer = [one for one in interactions if one.time and one.time > champion.created]
    return watch_champion(
        agent,
        user,
        newer,
        contests=Contests.of(store.of(user), task.name),
        record=store.of(user).journal(f"watch/{champion.hash}"),
    )


def _held(done: Compiled, mine: UserMemory) -> Compiled:
    """The same, where personas wait for a person."""
    if was_rejected(mine, done.persona):
        return replace(
            done, held="rejected", reason=f"not proposed: rejected before; {done.reason}"
        )
    return replace(done, held="waiting", reason=f"{WAITS}{done.reason}")


def reason(log: AlignmentLog) -> str:
    """Why the persona is published, as its history keeps it."""
    if not log.judged:
        return "aligned, with nothing to judge by"
    without = [
        step.candidates[step.accepted]
        for step in log.steps
        if step.iteration in (BARE, MEMORIES, WITHOUT) and step.accepted is not None
    ]
    if without and log.last.blank:
        return f"answers without a persona: {without[-1].reason}"
    return (
        f"aligned: loss {log.first_loss:.3f} to {log.last_loss:.3f}, score {log.first_score:.0%} "
        f"to {log.last_score:.0%} on {len(log.judged)} replayed"
    )


def _on_evidence(agent: PersonaAgent, user: str) -> AcceptOnEvidence:
    """With the evidence of the user, and bets informed by what others' edits did."""
    store, task = agent.memory.store, agent.task.name
    others = (store.of(one.user) for one in store.users(task) if one.user != user)
    bets = pooled(share for other in others for share in Contests.of(other, task).shares())
    return AcceptOnEvidence(Contests.of(store.of(user), task), bets=bets)
