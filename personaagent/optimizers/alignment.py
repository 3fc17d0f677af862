"""Test-time alignment (paper, section 3.3, Algorithm 1) as a DSPy teleprompter.

P <- profile of the user
for each iteration: take a batch of interactions, simulate the responses, let LLM_grad criticize
them against the user's own, let LLM_update propose new personas, replay these on interactions
that wrote none of them, and accept the best one or keep the champion.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, TypeVar

import dspy
from dspy.teleprompt import Teleprompter

from personaagent.data import Interaction, Persona, Task, validation
from personaagent.data.influence import measured
from personaagent.data.pins import news
from personaagent.data.sensitive import POLICIES as SENSITIVE
from personaagent.data.sensitive import Policy
from personaagent.errors import DataError
from personaagent.lm import Usage
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.competing import Tallies
from personaagent.optimizers.log import AlignmentLog, Gradient, Step
from personaagent.optimizers.prior import Prior
from personaagent.optimizers.replay import Replayed, Student, parallel, unquoted
from personaagent.optimizers.run import Run
from personaagent.optimizers.sampling import REACH, SIMULATE, BatchSampler
from personaagent.optimizers.selection import POLICIES, Acceptance, AcceptOnReplay, Policies
from personaagent.optimizers.slots import Ahead, within_slots
from personaagent.optimizers.stopping import Patience, Stopping
from personaagent.optimizers.update import Proposal, Update
from personaagent.optimizers.worklog import Record, once
from personaagent.programs import GradientWriter, PersonaRewriter
from personaagent.programs.profile import LONGEST, WORDS

S = TypeVar("S", bound=Student)
NUMBERS = ("iterations", "batch", "replay", "reach", "simulate", "profile", "longest", "seed")


class PersonaAlignment(Teleprompter):
    """Learns one user's persona from the user's interactions.

    Args:
        iterations: steps at most (the paper's E).
        batch: interactions that a step learns from (the paper's n).
        replay: interactions held out for judging; they never write a persona.
        reach: the latest interactions that are considered for writing.
        simulate: of these, the latest first, how many a step simulates that none before it did; of
            the rest it knows what the user answered, at no cost.
        intake: what of the trainset takes part; by default repetitions count once, and a source or
            a day that crowds out the others is thinned.
        sampler: which of them make a batch; by default the hardest, but of an LM that tells its
            answer alone the next in the order of time, see `optimizers.prequential`.
        update: how candidates are made; by default in the ways that win with the LM, see
            `optimizers.competing`.
        acceptance: whether a candidate replaces the champion.
        stopping: when to end early.
        prior: what the cohort learned: where a first persona starts, and whose standing actions it
            keeps.
        policies: the standing actions to choose from at the end, by replay, without a prior.
        profile: words that a first profile may have.
        longest: words that a longer first profile may have. Of a long history two are tried, what
            can be counted of it and what an LM writes with that, and judged as any candidate is; 0
            is none.
        sensitive: what becomes of what is sensitive before it is part of a profile: "keep", "mask"
            or "leave-out", see `personaagent.data.sensitive`.
        won: what is known of the ways that win with the LM, from other alignments.
        gradient_lm: another LM for gradients and updates.
        seed: of the split into writing and judging.
        record: where finished work is kept, so that the same run goes on after a kill.
        report: called with every step as it ends, and with an empty one for an iteration that found
            nothing to learn from.
    """

    def __init__(
        self,
        *,
        iterations: int = 4,
        batch: int = 4,
        replay: int = 12,
        reach: int = REACH,
        simulate: int = SIMULATE,
        intake: Callable[[Sequence[Interaction]], list[Interaction]] = measured,
        sampler: BatchSampler | None = None,
        update: Update | None = None,
        acceptance: Acceptance | None = None,
        stopping: Stopping | None = None,
        prior: Prior | None = None,
        policies: Policies = POLICIES,
        profile: int = WORDS,
        longest: int = LONGEST,
        sensitive: Policy = "keep",
        won: Tallies | None = None,
        gradient_lm: dspy.LM | None = None,
        seed: int = 0,
        record: Record | None = None,
        report: Callable[[Step], None] | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("iterations", iterations, 0),
            ("batch", batch, 1),
            ("replay", replay, 0),
            ("reach", reach, 1),
            ("simulate", simulate, 1),
            ("profile", profile, 1),
            ("longest", longest, 0),
        ):
            validation.whole(name, value, least)
        if sensitive not in SENSITIVE:
            raise DataError(f"sensitive is {sensitive!r}, must be one of {', '.join(SENSITIVE)}")
        validation.instance("seed", seed, int, "give a whole number")
        for name, part, method in (
            ("sampler", sampler, "sample"),
            ("update", update, "propose"),
            ("acceptance", acceptance, "accepts"),
            ("stopping", stopping, "stops"),
        ):
            if part is not None and not callable(getattr(part, method, None)):
                raise DataError(
                    f"{name} is of type {type(part).__name__}, which has no method '{method}': "
                    "see personaagent.optimizers for those that there are"
                )
        if prior is not None:
            validation.instance("prior", prior, Prior, "give what 'pool' or 'read_prior' returns")
        self.iterations = iterations
        self.batch = batch
        self.replay = replay
        self.reach = reach
        self.simulate = simulate
        self.intake = intake
        self.sampler = sampler
        self.update = update
        self.acceptance = acceptance or AcceptOnReplay()
        self.stopping = stopping or Patience()
        self.prior = prior
        self.policies = (prior.start.actions,) if prior else policies
        self.profile = profile
        self.longest = longest
        self.sensitive = sensitive
        self.won = dict(won or {})
        self.gradient_lm = gradient_lm
        self.seed = seed
        self.record = record
        self.report = report
        self.write_gradient = GradientWriter()
        self.rewrite = PersonaRewriter()

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings().items())
        return f"PersonaAlignment({settings})"

    def compile(
        self,
        student: S,
        *,
        trainset: Sequence[Interaction],
        teacher: None = None,
        valset: Sequence[Interaction] | None = None,
    ) -> S:
        """Align a copy of the student's persona to the interactions of one user.

        Args:
            student: left as it is; where its user has a published persona, that is the start.
            trainset: what the user really answered, oldest first.
            teacher: unused; `gradient_lm` is the second LM.
            valset: what judges the candidates; by default a part of the trainset.

        Returns:
            A copy with the aligned persona; its `alignment` is an `AlignmentLog`.

        Raises:
            DataError: no interactions, those of several users, or one whose response is none of
                the task's answers; a prior of another task or LM.
            LMError: the LM failed; the same call with the same record goes on from there.
        """
        if not (hasattr(student, "persona_of") and hasattr(student, "replay")):
            raise DataError(
                f"student is of type {type(student).__name__}: give a PersonaAgent, or put your "
                "own program into personaagent.Personal"
            )
        agent: Any = student.deepcopy()
        task = agent.task
        if task.conversational:
            raise DataError(
                f"task '{task.name}' is one of conversations, which are read and not replayed: to "
                "predict the user's next message says nothing of how to answer it; use "
                "personaagent.train, or 'personaagent compile'"
            )
        trainset = _answers("trainset", task, trainset)
        valset = None if valset is None else _answers("valset", task, valset)
        user = _only_user(trainset)
        _only_user([*trainset, *(valset or ())])
        if self.prior:
            self.prior.check(task.name, dspy.settings.lm.fingerprint)
        lms = (dspy.settings.lm, self.gradient_lm)
        meters = {id(meter): meter for lm in lms if (meter := getattr(lm, "meter", None))}
        with ExitStack() as measuring:
            measuring.enter_context(within_slots())
            used = [measuring.enter_context(meter.measure()) for meter in meters.values()]
            run = Run(self, agent, user, trainset, valset)
            agent.persona.value = run.align()
        agent.alignment = AlignmentLog(
            user=user,
            task=task.name,
            first=run.first,
            last=agent.persona.value,
            first_loss=run.first_loss,
            first_score=run.first_score,
            steps=tuple(run.steps),
            judged=tuple(one.id for one in run.judging),
            stopped=run.stopped,
            settings=self.settings() | self._means(agent),
            usage=sum((one.snapshot() for one in used), Usage()).to_dict(),
        )
        agent._compiled = True
        compiled: S = agent
        return compiled

    def gradients(
        self, task: Task, update: Update, champion: Persona, batch: Sequence[Replayed],
        record: Record,
    ) -> Ahead[Gradient]:  # fmt: skip
        """LLM_grad: what may be the reason of each response that differs from the user's, or what
        the update wants to read instead; whoever reads them waits until they are there."""
        own = getattr(update, "criticism", None)

        def criticize(one: Replayed) -> Gradient:
            past = one.interaction
            state = f"/{_named(update)}/{champion.hash}" if own else ""
            with once(record, f"gradient/{past.id}/{one.answer}{state}") as entry:
                if entry.missing:
                    with self._writing():
                        entry.value = (
                            own(task, unquoted(champion, past), one, self.write_gradient)
                            if own
                            else self.write_gradient(task, past, one.answer).gradient
                        )
            likelihood = math.exp(-one.loss) if one.likelihoods and not one.stated else None
            return Gradient(past.id, one.answer, past.response, entry.value, likelihood)

        return Ahead(lambda: parallel(criticize, batch, len(batch)))

    def candidates(
        self, update: Update, proposal: Proposal, memory: EpisodicMemory, record: Record
    ) -> tuple[list[Persona], tuple[str, ...]]:
        """LLM_update: the personas that an update makes of the gradients, with what a person
        pinned, and why it left others out."""
        batch = sorted(one.interaction.id for one in proposal.batch)
        key = f"update/{proposal.persona.hash}/{_named(update)}/{'/'.join(batch)}"
        with once(record, key) as entry:
            if entry.missing:
                rewriter = _Recorded(self.rewrite, record)
                with self._writing():
                    made = update.propose(proposal, rewriter, memory)
                entry.value = {"personas": [one.to_dict() for one in made], "notes": rewriter.notes}
        found = map(Persona.from_dict, entry.value["personas"])
        return news(proposal.persona, found), tuple(entry.value["notes"])

    def _writing(self) -> AbstractContextManager[None]:
        """What asks the LM in the block asks the second one, where there is one."""
        writing: AbstractContextManager[None] = (
            dspy.context(lm=self.gradient_lm) if self.gradient_lm else nullcontext()
        )
        return writing

    def settings(self) -> dict[str, Any]:
        """The parameters of a run, as plain values."""
        named = {
            name: type(getattr(self, name)).__name__ if getattr(self, name) else "by task"
            for name in ("sampler", "update", "acceptance", "stopping")
        }
        numbers = {name: getattr(self, name) for name in NUMBERS}
        prior = {"prior": self.prior.digest} if self.prior else {}
        words = {"intake": self.intake.__name__, "sensitive": self.sensitive}
        return {**numbers, **words, **named, **prior}

    def _means(self, agent: Student) -> dict[str, Any]:
        """What a run works with beside its parameters, by name; `k` and `retriever` are those of
        the standing recall, where there may be one."""
        recall: dict[str, Any] = {}
        for action in (
            one for policy in self.policies for one in policy or () if one.tool == "recall"
        ):
            recall = dict(action.arguments)
        lms = {"lm": dspy.settings.lm, "gradient_lm": self.gradient_lm or dspy.settings.lm}
        names = {name: getattr(lm, "spec", None) or lm.model for name, lm in lms.items()}
        return {
            **names,
            **{f"{name}.fingerprint": getattr(lm, "fingerprint", "") for name, lm in lms.items()},
            "embedder": agent.memory.embedder.fingerprint,
            "k": recall.get("k", agent.retrieve.k),
            "retriever": recall.get("retriever", agent.retrieve.retriever),
        }

    def key(self, student: Student, trainset: Sequence[Interaction], lm: str) -> str:
        """Names a run: the same settings, LM, start and interactions give the same key."""
        start = student.persona_of(_only_user(trainset)).hash
        content = [
            self.settings(),
            lm,
            student.task.name,
            start,
            [(one.id, one.digest) for one in trainset],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


class _Recorded(PersonaRewriter):
    """Names each cue once: it may be there before the gradients are, which may fail."""

    def __init__(self, rewriter: PersonaRewriter, record: Record) -> None:
        super().__init__()
        self.name_cue = rewriter.name_cue
        self.rewrite = rewriter.rewrite
        self.write_edits = rewriter.write_edits
        self.write_summary = rewriter.write_summary
        self._record = record

    def cue(self, interactions: Sequence[Interaction]) -> str:
        key = f"cue/{'/'.join(sorted(one.id for one in interactions))}"
        with once(self._record, key) as entry:
            if entry.missing:
                entry.value = super().cue(interactions)
        return str(entry.value)


def _named(update: Update) -> str:
    """Names the work of an update in its present state."""
    return str(getattr(update, "name", type(update).__name__))


def _answers(what: str, task: Task, interactions: Sequence[Interaction]) -> list[Interaction]:
    """The interactions with their answers in the task's spelling.

    Raises:
        DataError: something else is among them, or an answer that is none of the task's.
    """
    remedy = "give the user's Interaction objects, as 'store.of(user).interactions(task)' has them"
    given = validation.every(what, interactions, Interaction, remedy)
    for one in given:
        if not one.response:
            raise DataError(
                f"{what}: interaction '{one.id}' has no response: leave it out, what is known of a "
                "user without an answer is read from memory"
            )
        if one.task != task.name:
            raise DataError(
                f"{what}: interaction '{one.id}' is of task '{one.task}', the program's task is "
                f"'{task.name}'"
            )
    return [task.checked(one) for one in given]


def _only_user(trainset: Sequence[Interaction]) -> str:
    users = {one.user for one in trainset}
    if not users:
        raise DataError("no interactions to align to: import the user's history first")
    if len(users) > 1:
        raise DataError(f"interactions of {len(users)} users: align one user at a time")
    return users.pop()
