"""Test-time alignment (paper, section 3.3, Algorithm 1) as a DSPy teleprompter.

P <- profile of the user
for each iteration: take a batch of interactions, simulate the responses, let LLM_grad criticize
them against the user's own, let LLM_update propose new personas, replay these on interactions
that wrote none of them, and accept the best one or keep the champion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import dspy
from dspy.teleprompt import Teleprompter

from personaagent.data import Interaction, Persona, Task, validation
from personaagent.data.influence import measured
from personaagent.data.pins import barest
from personaagent.data.sensitive import POLICIES as SENSITIVE
from personaagent.data.sensitive import Policy
from personaagent.errors import DataError
from personaagent.lm import Usage
from personaagent.optimizers.acceptance import Acceptance, AcceptOnReplay, EmptyPersonaBetter
from personaagent.optimizers.competing import Competing, Tallies, Tally, believed
from personaagent.optimizers.log import (
    BARE,
    EARLIER,
    LONGER,
    MEMORIES,
    STYLE,
    WITHOUT,
    AlignmentLog,
    Gradient,
    Step,
)
from personaagent.optimizers.paper import PaperRewrite
from personaagent.optimizers.prequential import (
    CALLS,
    DOUBT,
    JUDGES,
    TESTS,
    TRIAL,
    Counted,
    affordable,
    helps,
    out_of,
    parted,
    room,
    states_only,
    tested,
    worth_settling,
)
from personaagent.optimizers.prior import (
    RECALL_MANY,
    Prior,
    Start,
    bare_of,
    fresh,
    longer_of,
    start_of,
    styled,
)
from personaagent.optimizers.replay import Asked, Replay, Replayed, Student, together
from personaagent.optimizers.sampling import (
    REACH,
    SIMULATE,
    BatchSampler,
    HardBatch,
    LatestBatch,
    due,
    simulated,
)
from personaagent.optimizers.selection import (
    POLICIES,
    SETTLING,
    Policies,
    Verdict,
    against_none,
    evidence_of,
    fitted_for_nothing,
    judge,
    lend,
    means,
    memories_alone,
    recalling,
    settle,
    settling,
    split,
    undecided,
    without,
)
from personaagent.optimizers.slots import within_slots
from personaagent.optimizers.stopping import Patience, Stopping
from personaagent.optimizers.update import Proposal, Update
from personaagent.optimizers.worklog import MemoryWorkLog, Record, once
from personaagent.optimizers.writers import Writers
from personaagent.programs.fusion import POOLED, SHRINKAGE
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
        self.writers = Writers(gradient_lm, profile, sensitive)

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
            # STEP 1: split the history; what judges a persona never writes one, and no source
            # and no day decides alone
            trainset = self.intake(trainset)
            in_order = self.sampler is None and states_only(task)
            sparing = in_order and isinstance(self.acceptance, AcceptOnReplay)
            writing, judging = split(
                trainset,
                valset,
                evidence=evidence_of(agent.persona_of(user)),
                judges=min(self.replay, JUDGES) if sparing else self.replay,
                writers=self.reach + TESTS if in_order else self.reach,
                seed=self.seed,
            )
            agent.memory.remember([*writing, *judging])
            counted = Counted(self.record or MemoryWorkLog())
            replay = Replay(agent, counted)
            older, newer = parted(writing) if in_order else (writing, [])

            # STEP 2: start from the published persona, or from the profile; what that is held
            # against, no profile, is replayed while it is written
            start = self.prior.start if self.prior else Start()
            new = fresh(agent.persona_of(user))
            judges = {one.id for one in judging}
            known = [one for one in trainset if one.id not in judges]
            items = styled(agent, user, known, self.sensitive)
            floor = self.acceptance.on_evidence and not sparing
            longest = self.longest if self.acceptance.on_evidence and judging else 0
            later = {one.id for one in newer}
            describing = partial(
                longer_of,
                agent,
                user,
                [one for one in known if one.id not in later],
                self.profile,
                longest,
                self.writers,
                replay.record,
                history=len(known),
            )

            def beginning() -> Persona:
                # Where calls are dear a long history is described at once: a short profile beside
                # it would have to be replayed as well.
                described = describing()[-1:] if sparing and start.profile else []
                begun = replace(start, profile=start.profile and not described)
                made = start_of(
                    agent, user, older, judging, begun, items, self.writers, replay.record
                )
                return replace(made, profile=described[0]) if described else made

            bare = bare_of(agent, user, start, items) if floor else []
            first: Persona
            first, longer, _ = together(
                beginning,
                (list[str] if sparing else describing),
                lambda: replay.ask((one, past) for one in bare for past in judging),
            )
            update = self.update or self._competing(task, replay.record)
            if isinstance(update, PaperRewrite):
                first = update.opening(first)
            champion = first
            judged = replay(champion, judging)
            first_loss, first_score = means(judged)
            policies = recalling(self.policies, len(trainset)) if hasattr(agent, "act") else ((),)
            cross = valset is None and self.acceptance.on_evidence and not in_order
            lending = self.replay if cross else 0
            sampler, passed = self.sampler or HardBatch(), 0
            again = isinstance(sampler, LatestBatch)  # the latest stay the latest
            steps: list[Step] = []
            tried: set[str] = set()
            replayed: list[Replayed] = []
            stopped = "all iterations done"

            def end(
                kind: int,
                verdict: Verdict,
                batch: Sequence[Replayed] = (),
                gradients: Sequence[Gradient] = (),
                lent: Sequence[Interaction] = (),
                notes: tuple[str, ...] = (),
            ) -> tuple[Persona, list[Replayed]]:
                """Note a step; the champion after it, with its replay."""
                ids = tuple(one.interaction.id for one in batch)
                also = tuple(one.id for one in lent)
                found = verdict.candidates, verdict.accepted, *means(verdict.judged)
                steps.append(Step(kind, ids, tuple(gradients), *found, also, notes))
                if self.report:
                    self.report(steps[-1])
                return verdict.champion, verdict.judged

            # STEP 2a: a profile that does worse than none is left out from the start
            bare_may_win = first.profile and not (first.directives or first.profile_pinned)
            if floor and bare_may_win and judging:
                bare = [first.succeed(profile="")]
                verdict = judge(bare, first, judged, EmptyPersonaBetter(), replay)
                if verdict.accepted is not None:
                    champion, judged = end(BARE, verdict)

            # STEP 2b: a longer profile takes its place where it does better
            if longer:
                more = [champion.succeed(profile=profile) for profile in longer]
                verdict = judge(more, champion, judged, self.acceptance, replay)
                champion, judged = end(LONGER, verdict)

            # STEP 2c: how the user writes, as it is counted, stands in a first persona; it is left
            # out where that does better, and counted anew in a published one where that does
            learned = not all(one.own for one in items)
            if learned and self.acceptance.on_evidence and judging:
                if items != first.items:
                    other, rule = champion.succeed(items=items), self.acceptance
                else:
                    own = barest(champion)["items"]
                    other, rule = champion.succeed(items=own), EmptyPersonaBetter()
                if items != first.items or (new and len(judging) >= SETTLING):
                    verdict = judge([other], champion, judged, rule, replay)
                    champion, judged = end(STYLE, verdict)

            # STEP 2d: judge again what earlier alignments left undecided
            if waiting := undecided(self.acceptance, champion, replay.record):
                verdict = judge(waiting, champion, judged, self.acceptance, replay, writing)
                champion, judged = end(EARLIER, verdict)

            # STEP 2e: memories alone may be worth more than what was written of a long history;
            # then both together may. Where answers are dear that goes before lessons
            if sparing and judging and new and RECALL_MANY in policies:
                alone, beside = memories_alone(champion), champion.succeed(actions=RECALL_MANY)
                for other, rule in ((alone, EmptyPersonaBetter()), (beside, self.acceptance)):
                    if not helps(other, judged, replay, TRIAL):
                        break
                    verdict = judge([other], champion, judged, rule, replay)
                    champion, judged = end(MEMORIES, verdict)
                    if verdict.accepted is None:
                        break

            for iteration in range(1, self.iterations + 1):
                # STEP 3: lend some of the writing interactions to the judges of this step; simulate
                # more of the others, until they make a batch
                if sparing and judging and (why := out_of(judged, counted.calls, self.batch)):
                    stopped = why
                    break
                write, lent = lend(writing, champion, lending, self.seed + iteration)
                if in_order:
                    replayed, batch = tested(
                        partial(replay, champion), newer, size=self.batch, after=passed
                    )
                    passed += len(replayed)
                    write = [*older, *newer[:passed]]
                else:
                    replayed, batch = simulated(
                        partial(replay, champion),
                        write,
                        sampler,
                        size=self.batch,
                        tried=tried,
                        already=0 if again else len(replayed),
                        more=self.simulate,
                    )
                stopped = "all iterations done" if batch else "nothing left to learn from"
                if not batch:
                    if self.report:  # told, and not kept: no step was made
                        self.report(Step(iteration, (), (), (), None, *means(judged)))
                    continue
                tried.update(one.interaction.id for one in batch)

                # STEP 4: LLM_grad criticizes every simulated response of the batch
                # STEP 5: LLM_update proposes candidates, and waits only for the gradients it reads
                with self.writers.gradients(
                    task, batch, replay.record, update, champion
                ) as gradients:
                    seen = Proposal(task, champion, batch, gradients, write, replayed)
                    personas, notes = self.writers.candidates(
                        update, seen, agent.memory, replay.record
                    )

                if sparing and judging:
                    count = affordable(judged, counted.calls)
                    if left := len(personas[count:]):
                        notes = (*notes, f"not replayed, for {CALLS} LM calls are made: {left}")
                    personas = personas[:count]

                # STEP 6: replay them on what wrote none of them; accept the best or keep. What will
                # be replayed next whoever is the champion then is asked for in the same go
                soon: Callable[[Persona], list[Asked]]
                if in_order:
                    soon = _nobody_knows
                elif iteration == self.iterations:
                    soon = partial(settling, judging=judging, policies=policies)
                elif self.stopping.stops(_rejected(steps, iteration, batch)):
                    soon = _nobody_knows
                else:
                    done = 0 if again else len(replayed)
                    soon = partial(self._simulating, iteration + 1, writing, lending, done)
                sure = replay.sure([champion, *personas], soon)
                verdict = judge(
                    personas,
                    champion,
                    judged,
                    self.acceptance,
                    replay,
                    write,
                    lent,
                    sure,
                    sparing=sparing,
                )
                if isinstance(update, Competing):
                    update.learn(champion, verdict.candidates, verdict.accepted)
                champion, judged = end(iteration, verdict, batch, gradients, lent, notes)
                if (why := self.stopping.stops([one for one in steps if one.batch])) is not None:
                    stopped = why
                    break

            # STEP 7: what the persona may do without asking, and how far habit is trusted
            shrinkage = POOLED if self.prior else SHRINKAGE
            many = not sparing and RECALL_MANY in policies
            memories = [memories_alone(champion)] if many else []
            none = [*without(champion)[:1], *memories] if floor else []
            held_against = [(one, past) for one in none for past in judging]
            if sparing and judging:
                policies = policies if room(judged, counted.calls) else ()
                policies = worth_settling(champion, policies, judged[-SETTLING:], replay)
            last = settle(first, champion, judging, policies, replay, shrinkage, held_against)

            # STEP 8: no persona rather than one that does worse than none
            silent = without(champion)[:1] if sparing else []
            left = max(1, CALLS - counted.calls)
            beaten = not sparing or any(helps(one, judged, replay, left) for one in silent)
            if self.acceptance.on_evidence and judging and beaten:
                margin = DOUBT * len(judging) if sparing else 0.0
                verdict = against_none(
                    first, champion, last, judging, replay, shrinkage, margin, memories
                )
                if verdict.accepted is not None:
                    last, judged = end(WITHOUT, verdict)

            # STEP 9: what has been fitted already is not published again for next to nothing
            if first.trust != start.trust and fitted_for_nothing(first, last, judging, replay):
                last = first
        agent.persona.value = last
        agent.alignment = AlignmentLog(
            user=user,
            task=task.name,
            first=first,
            last=last,
            first_loss=first_loss,
            first_score=first_score,
            steps=tuple(steps),
            judged=tuple(one.id for one in judging),
            stopped=stopped,
            settings=self.settings() | self._means(agent),
            usage=sum((one.snapshot() for one in used), Usage()).to_dict(),
        )
        agent._compiled = True
        compiled: S = agent
        return compiled

    def _competing(self, task: Task, record: Record) -> Competing:
        """The ways to propose, with what is known of them when the run begins."""
        known = believed(task, likelihoods=not states_only(task))
        told = {kind: [one.won, one.judged] for kind, one in self.won.items()}
        for kind, (won, of) in once(record, "won", lambda: told).items():
            if kind in known:
                known[kind] += Tally(won, of)
        return Competing(known)

    def _simulating(
        self,
        iteration: int,
        writing: Sequence[Interaction],
        lending: int,
        already: int,
        persona: Persona,
    ) -> list[Asked]:
        """What an iteration simulates first if the persona is the champion then."""
        write, _ = lend(writing, persona, lending, self.seed + iteration)
        some = due(write, size=self.batch, already=already, more=self.simulate)
        return [(persona, one) for one in some]

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


def _rejected(steps: Sequence[Step], iteration: int, batch: Sequence[Replayed]) -> list[Step]:
    """The steps with a batch, as they will be if this one brings nothing better."""
    before = [one for one in steps if one.batch]
    loss, score = (before[-1].loss, before[-1].score) if before else (0.0, 0.0)
    ids = tuple(one.interaction.id for one in batch)
    return [*before, Step(iteration, ids, (), (), None, loss, score)]


def _nobody_knows(persona: Persona) -> list[Asked]:
    """Where the verdict decides whether there is a next iteration."""
    del persona
    return []


def _only_user(trainset: Sequence[Interaction]) -> str:
    users = {one.user for one in trainset}
    if not users:
        raise DataError("no interactions to align to: import the user's history first")
    if len(users) > 1:
        raise DataError(f"interactions of {len(users)} users: align one user at a time")
    return users.pop()
