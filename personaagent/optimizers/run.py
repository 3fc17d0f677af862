"""One run of `PersonaAlignment`: what it knows, where it stands, and its steps in their order.

Steps 1 to 9 are those of docs/architecture.md. A step asks the LM through `Replay`,
`Beginning` and the teleprompter, which keep every answer, so that the same run goes on after a
kill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from personaagent.data import Action, Choice, Interaction, Item, Persona
from personaagent.data.pins import barest
from personaagent.data.words import words_of
from personaagent.optimizers.beginning import Beginning
from personaagent.optimizers.competing import Competing, Tally, believed
from personaagent.optimizers.lm_judge import TextJudge
from personaagent.optimizers.log import (
    BARE,
    EARLIER,
    LONGER,
    MEMORIES,
    REACH,
    STYLE,
    WITHOUT,
    Gradient,
    Step,
)
from personaagent.optimizers.paper import PaperRewrite
from personaagent.optimizers.prequential import (
    CALLS,
    DOUBT,
    DOUBT_OF_A_TEXT,
    FIRST,
    FIRST_OF_A_TEXT,
    JUDGES,
    LONG_TEXT,
    TESTS,
    TRIAL,
    TRIAL_OF_A_TEXT,
    Counted,
    affordable,
    out_of,
    parted,
    room,
    states_only,
)
from personaagent.optimizers.prior import RECALL_MANY, Start
from personaagent.optimizers.replay import Asked, Replay, Replayed, together
from personaagent.optimizers.sampling import HardBatch, LatestBatch, due, widening
from personaagent.optimizers.selection import (
    SETTLING,
    Acceptance,
    AcceptOnReplay,
    EmptyPersonaBetter,
    NoWorse,
    Verdict,
    against_none,
    fitted_for_nothing,
    judge,
    means,
    memories_alone,
    recalling,
    settle,
    settling,
    undecided,
    without,
    worth_settling,
)
from personaagent.optimizers.split import evidence_of, lend, split
from personaagent.optimizers.thresholds import Reaching
from personaagent.optimizers.update import Proposal
from personaagent.optimizers.worklog import MemoryWorkLog, once
from personaagent.programs.fusion import POOLED, SHRINKAGE

if TYPE_CHECKING:
    from personaagent.optimizers.alignment import PersonaAlignment


class Run:
    """One user's alignment.

    Args:
        given: the parameters.
        agent: whose persona it is; its memory is read.
        user: the user.
        trainset: what the user really answered, oldest first.
        valset: what judges; by default a part of the trainset.

    Attributes:
        first: the persona that it starts from, and with what mean loss and score on the judges.
        champion: the best persona so far; `judged` is its replay.
        judging: the interactions that judge; they write no persona.
        steps: what was tried, in order.
        stopped: why there is no further iteration.
    """

    first: Persona
    first_loss: float
    first_score: float
    champion: Persona
    judged: list[Replayed]

    def __init__(
        self,
        given: PersonaAlignment,
        agent: Any,
        user: str,
        trainset: Sequence[Interaction],
        valset: Sequence[Interaction] | None,
    ) -> None:
        self.given, self.agent, self.user = given, agent, user
        self.task = agent.task
        self.steps: list[Step] = []
        self.stopped = "all iterations done"

        # STEP 1: split the history; what judges a persona never writes one, and no source and no
        # day decides alone
        self._trainset = given.intake(trainset)
        self._in_order = given.sampler is None and states_only(self.task)
        self._sparing = self._in_order and isinstance(given.acceptance, AcceptOnReplay)
        self._writing, self.judging = split(
            self._trainset,
            valset,
            evidence=evidence_of(agent.persona_of(user)),
            judges=min(given.replay, JUDGES) if self._sparing else given.replay,
            writers=given.reach + TESTS if self._in_order else given.reach,
            seed=given.seed,
        )
        self._older, self._newer = parted(self._writing) if self._in_order else (self._writing, [])
        agent.memory.remember([*self._writing, *self.judging])
        self._counted = Counted(given.record or MemoryWorkLog())
        self._replay = Replay(agent, self._counted)
        # Of texts only the overlap of words is known where the LM tells nothing but its answer.
        overlap = self._sparing and not self.task.labels
        self._second = (
            TextJudge(self._writing, self._counted, given.gradient_lm) if overlap else None
        )
        cross = valset is None and given.acceptance.on_evidence and not self._in_order
        self._lending = given.replay if cross else 0
        self._policies = (
            recalling(given.policies, len(self._trainset)) if hasattr(agent, "act") else ((),)
        )
        self._sampler = given.sampler or HardBatch()
        self._again = isinstance(self._sampler, LatestBatch)  # the latest stay the latest
        self._replayed: list[Replayed] = []  # of the champion, on what writes
        self._tried: set[str] = set()  # ids that were in a batch
        self._passed = 0  # tests so far

    @property
    def _on_evidence(self) -> bool:
        return self.given.acceptance.on_evidence

    @property
    def _spares(self) -> bool:
        """Whether calls are dear, and something judges."""
        return self._sparing and bool(self.judging)

    @property
    def _doubt(self) -> float:
        """What a text's persona with less in it must save, where few judges tell little."""
        return (
            DOUBT_OF_A_TEXT * len(self.judging) if self._sparing and not self.task.labels else 0.0
        )

    @property
    def _few(self) -> tuple[Action, ...]:
        """The standing recall of a few memories, where there may be one."""
        return next((one for one in self._policies if one and one != RECALL_MANY), ())

    @property
    def _beginning_to_recall(self) -> tuple[Action, ...]:
        """What a first persona recalls where few judges tell little: a few memories of a long
        history of labels, and of texts that are longer than a line. There they did better beside it
        than what such judges chose; beside short texts they did worse."""
        if not self._spares:
            return ()
        if self.task.labels:
            return self._few if RECALL_MANY in self._policies else ()
        lengths = [len(words_of(one.response)) for one in self._trainset]
        return self._few if median(lengths) >= LONG_TEXT else ()

    def align(self) -> Persona:
        """The persona in the end; the first one where nothing did better."""
        given = self.given
        start = given.prior.start if given.prior else Start()
        beginning = Beginning(
            self.agent, self.user, given.gradient_lm, given.profile, given.sensitive, self._counted
        )
        new, known = beginning.fresh, self._known()
        items = beginning.items(known)
        longer = self._begin(beginning, start, known, items)
        self._without_a_poor_profile()
        self._with_a_longer_profile(longer)
        self._with_or_without_style(items, new)
        self._with_what_was_undecided()
        if new:
            self._with_memories_alone()
        for iteration in range(1, self.given.iterations + 1):
            if why := self._iterate(iteration):
                self.stopped = why
                break
        self._with_rules_that_hold()
        return self._settled(start)

    def _known(self) -> list[Interaction]:
        """What may write a persona, also what is too old to write directives."""
        judges = {one.id for one in self.judging}
        return [one for one in self._trainset if one.id not in judges]

    def _told(self) -> list[Interaction]:
        """What is known of the user without an answer (a Choice's papers judge, too)."""
        if isinstance(self.task, Choice):
            return []
        known = [*self._older, *self.judging]
        last = max((one.time for one in known if one.time), default=None)
        mine = self.agent.memory.store.of(self.user)
        found: list[Interaction] = mine.interactions(self.task.name, before=last, unanswered=True)
        return found

    def _begin(
        self,
        beginning: Beginning,
        start: Start,
        known: Sequence[Interaction],
        items: tuple[Item, ...],
    ) -> list[str]:
        """STEP 2: start from the published persona, or from the profile; what that is held against,
        no profile, is replayed while it is written. Longer profiles, where these are candidates."""
        given, judging = self.given, self.judging
        floor = self._on_evidence and not self._sparing
        later = {one.id for one in self._newer}
        describing = partial(
            beginning.longer,
            [one for one in known if one.id not in later],
            given.longest if self._on_evidence and judging else 0,
            history=len(known),
        )

        def first() -> Persona:
            # Where calls are dear a long history is described at once: a short profile beside it
            # would have to be replayed as well.
            described = describing()[-1:] if self._sparing and start.profile else []
            begun = replace(
                start,
                profile=start.profile and not described,
                actions=start.actions or self._beginning_to_recall,
            )
            told = self._told() if beginning.fresh and begun.profile else []
            made = beginning.persona(begun, items, self._older, judging, told)
            return replace(made, profile=described[0]) if described else made

        bare = beginning.bare(start, items) if floor else []
        longer: list[str]
        self.first, longer, _ = together(
            first,
            (list[str] if self._sparing else describing),
            lambda: self._replay.ask((one, past) for one in bare for past in judging),
        )
        self._update = given.update or self._competing()
        if isinstance(self._update, PaperRewrite):
            self.first = self._update.opening(self.first)
        self.champion, self.judged = self.first, self._replay(self.first, judging)
        self.first_loss, self.first_score = means(self.judged)
        return longer

    def _competing(self) -> Competing:
        """The ways to propose, with what is known of them when the run begins."""
        known = believed(self.task, likelihoods=not states_only(self.task))
        told = {kind: [one.won, one.judged] for kind, one in self.given.won.items()}
        with once(self._counted, "won") as entry:
            if entry.missing:
                entry.value = told
        for kind, (won, of) in entry.value.items():
            if kind in known:
                known[kind] += Tally(won, of)
        return Competing(known)

    def _without_a_poor_profile(self) -> None:
        """STEP 2a: a profile that does worse than none is left out from the start."""
        first = self.first
        may_win = first.profile and not (first.directives or first.profile_pinned)
        if self._on_evidence and not self._sparing and may_win and self.judging:
            verdict = self._judge([first.succeed(profile="")], EmptyPersonaBetter())
            if verdict.accepted is not None:
                self._end(BARE, verdict)

    def _with_a_longer_profile(self, longer: Sequence[str]) -> None:
        """STEP 2b: a longer profile takes its place where it does better."""
        if longer:
            more = [self.champion.succeed(profile=profile) for profile in longer]
            self._end(LONGER, self._judge(more))

    def _with_or_without_style(self, items: tuple[Item, ...], new: bool) -> None:
        """STEP 2c: how the user writes, as it is counted, stands in a first persona; it is left out
        where that does better, and counted anew in a published one where that does."""
        learned = not all(one.own for one in items)
        if not (learned and self._on_evidence and self.judging):
            return
        if items != self.first.items:
            self._end(STYLE, self._judge([self.champion.succeed(items=items)]))
        elif new and len(self.judging) >= SETTLING:
            bare = self.champion.succeed(items=barest(self.champion)["items"])
            if self._spares and not self._replay.helps(bare, self.judged, TRIAL_OF_A_TEXT):
                return
            self._end(STYLE, self._judge([bare], EmptyPersonaBetter(margin=self._doubt)))

    def _with_what_was_undecided(self) -> None:
        """STEP 2d: judge again what earlier alignments left undecided."""
        waiting = undecided(self.given.acceptance, self.champion, self._counted)
        if waiting:
            self._end(EARLIER, self._judge(waiting, writing=self._writing))

    def _with_memories_alone(self) -> None:
        """STEP 2e: memories alone may be worth more than what was written of a long history; then
        both together may. Where answers are dear that goes before lessons."""
        if not self._spares or RECALL_MANY not in self._policies:
            return
        alone = memories_alone(self.champion)
        beside = self.champion.succeed(actions=RECALL_MANY)
        less = EmptyPersonaBetter(margin=self._doubt)
        for other, rule in ((alone, less), (beside, self.given.acceptance)):
            if not self._replay.helps(other, self.judged, TRIAL):
                break
            verdict = self._judge([other], rule)
            self._end(MEMORIES, verdict)
            if verdict.accepted is None:
                break

    def _iterate(self, iteration: int) -> str | None:
        """STEPS 3 to 6 of one iteration; why it is the last one."""
        given = self.given
        if self._spares and (why := self._out_of_calls()):
            return why
        write, lent, batch = self._batch(iteration)
        if not batch:
            self.stopped = "nothing left to learn from"
            if given.report:  # told, and not kept: no step was made
                given.report(Step(iteration, (), (), (), None, *means(self.judged)))
            return None
        self.stopped = "all iterations done"
        self._tried.update(one.interaction.id for one in batch)

        # STEP 4: LLM_grad criticizes every simulated response of the batch
        # STEP 5: LLM_update proposes candidates, and waits only for the gradients it reads
        champion, update = self.champion, self._update
        with given.gradients(self.task, update, champion, batch, self._counted) as gradients:
            seen = Proposal(self.task, champion, batch, gradients, write, self._replayed)
            personas, notes = given.candidates(update, seen, self.agent.memory, self._counted)
        if self._spares:
            count = affordable(self.judged, self._counted.calls)
            if left := len(personas[count:]):
                notes = (*notes, f"not replayed, for {CALLS} LM calls are made: {left}")
            personas = personas[:count]

        # STEP 6: replay them on what wrote none of them; accept the best or keep. What will be
        # replayed next whoever is the champion then is asked for in the same go
        sure = self._replay.sure([champion, *personas], self._soon(iteration, batch))
        verdict = judge(
            personas,
            champion,
            self.judged,
            given.acceptance,
            self._replay,
            write,
            lent,
            sure,
            sparing=self._sparing,
            second=self._second,
        )
        if isinstance(update, Competing):
            update.learn(champion, verdict.candidates, verdict.accepted)
        self._end(iteration, verdict, batch, gradients, lent, notes)
        return given.stopping.stops([one for one in self.steps if one.batch])

    def _with_rules_that_hold(self) -> None:
        """STEP 6a: a rule was fitted to what wrote in its step. Of all that may write too many may
        speak against it: then it is narrowed or dropped where that does no worse."""
        rules = self.champion.directives
        if not (self._on_evidence and self.judging and rules):
            return
        memory = self.agent.memory
        reaching = Reaching(self.task, self._writing, self._replayed, memory)
        mended = [one if one.pinned else reaching.mended(one) for one in rules]
        kept = tuple(one for one in mended if one)
        if kept != rules:
            held = self.champion.succeed(directives=kept)
            self._end(REACH, self._judge([held], NoWorse()))

    def _out_of_calls(self) -> str | None:
        first = FIRST if self.task.labels else FIRST_OF_A_TEXT
        return out_of(self.judged, self._counted.calls, self.given.batch, first)

    def _batch(self, iteration: int) -> tuple[list[Interaction], list[Interaction], list[Replayed]]:
        """STEP 3: what may write, what was lent to the judges of this step, and the batch; none
        where there is nothing left to learn from."""
        if self._in_order:
            lessons = self._next_lessons()
            return [*self._older, *self._newer[: self._passed]], [], lessons
        given, already = self.given, 0 if self._again else len(self._replayed)
        write, lent = lend(self._writing, self.champion, self._lending, given.seed + iteration)
        batch: list[Replayed] = []
        for some in widening(write, size=given.batch, already=already, more=given.simulate):
            self._replayed = self._replay(self.champion, some)
            if batch := self._sampler.sample(self._replayed, given.batch, self._tried):
                break
        return write, lent, batch

    def _next_lessons(self) -> list[Replayed]:
        """The next tests, oldest first, until some are answered otherwise than the user did: these.
        None where all tests are passed."""
        size, self._replayed = self.given.batch, []
        while self._passed < len(self._newer):
            tests = self._newer[self._passed : self._passed + size]
            answered = self._replay(self.champion, tests)
            self._replayed += answered
            self._passed += len(answered)
            if wrong := [one for one in answered if one.teaches]:
                return wrong
        return []

    def _soon(self, iteration: int, batch: Sequence[Replayed]) -> Callable[[Persona], list[Asked]]:
        """What will be replayed after an iteration, by who is the champion then."""
        given = self.given
        if self._in_order:
            return _nobody_knows
        if iteration == given.iterations:
            return partial(settling, judging=self.judging, policies=self._policies)
        if given.stopping.stops(_rejected(self.steps, iteration, batch)):
            return _nobody_knows
        done = 0 if self._again else len(self._replayed)
        return partial(self._simulating, iteration + 1, done)

    def _simulating(self, iteration: int, already: int, persona: Persona) -> list[Asked]:
        """What an iteration simulates first if the persona is the champion then."""
        given = self.given
        write, _ = lend(self._writing, persona, self._lending, given.seed + iteration)
        some = due(write, size=given.batch, already=already, more=given.simulate)
        return [(persona, one) for one in some]

    def _settled(self, start: Start) -> Persona:
        """STEPS 7 to 9: the persona with what it may do without asking and how far habit is
        trusted; no persona, or memories alone, rather than one that does worse."""
        given, judging, replay, champion = self.given, self.judging, self._replay, self.champion
        shrinkage = POOLED if given.prior else SHRINKAGE

        # STEP 7: what the persona may do without asking, and how far habit is trusted
        policies = self._policies
        silent = without(champion)[:1]
        many = not self._sparing and RECALL_MANY in policies
        memories = [memories_alone(champion)] if many else []
        floor = self._on_evidence and not self._sparing
        none = [*silent, *memories] if floor else []
        held_against = [(one, past) for one in none for past in judging]
        if self._spares:
            policies = policies if room(self.judged, self._counted.calls) else ()
            policies = worth_settling(champion, policies, self.judged[-SETTLING:], replay)
        last = settle(self.first, champion, judging, policies, replay, shrinkage, held_against)

        # STEP 8: no persona rather than one that does worse than none
        left = max(1, CALLS - self._counted.calls)
        beaten = not self._sparing or any(replay.helps(one, self.judged, left) for one in silent)
        if self._on_evidence and judging and beaten:
            margin = DOUBT * len(judging) if self._sparing and self.task.labels else self._doubt
            verdict = against_none(
                self.first, champion, last, judging, replay, shrinkage, margin, memories
            )
            if verdict.accepted is not None:
                self._end(WITHOUT, verdict)
                last = self.champion

        # STEP 9: what has been fitted already is not published again for next to nothing
        fitted = self.first.trust != start.trust
        return (
            self.first if fitted and fitted_for_nothing(self.first, last, judging, replay) else last
        )

    def _judge(
        self,
        candidates: Sequence[Persona],
        rule: Acceptance | None = None,
        writing: Sequence[Interaction] = (),
    ) -> Verdict:
        """Whether one of them takes the champion's place."""
        rule = rule or self.given.acceptance
        of = self.champion, self.judged
        return judge(candidates, *of, rule, self._replay, writing, second=self._second)

    def _end(
        self,
        kind: int,
        verdict: Verdict,
        batch: Sequence[Replayed] = (),
        gradients: Sequence[Gradient] = (),
        lent: Sequence[Interaction] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        """Note a step, and who is the champion after it."""
        ids = tuple(one.interaction.id for one in batch)
        also = tuple(one.id for one in lent)
        found = verdict.candidates, verdict.accepted, *means(verdict.judged)
        self.steps.append(Step(kind, ids, tuple(gradients), *found, also, notes))
        if self.given.report:
            self.given.report(self.steps[-1])
        self.champion, self.judged = verdict.champion, verdict.judged


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
