"""The contest: every arm for every user at the same budget, each once; a stopped run goes on.

Users play side by side on the LM's slots, the arms of one user after one another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dspy

from benchmarks.rivals.budget import Stopped, ration, spent
from benchmarks.rivals.dataset import material
from benchmarks.rivals.job import Arm, Lesson, Product
from benchmarks.rivals.program import Prompt, assistant, question
from personaagent.data import Choice, Interaction, Persona
from personaagent.errors import BudgetError, DataError, LMError
from personaagent.experiments.cohort import Cohort, EvaluationData, Sample
from personaagent.experiments.protocol import digest, lm_to_dict, task_to_dict
from personaagent.lm import PersonaLM
from personaagent.lm.model import CallError, ContextError
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.split import split
from personaagent.optimizers.user_pool import side_by_side
from personaagent.programs import Answerer, PersonaAgent, ProfileSummarizer
from personaagent.programs.adapter import LikelihoodAdapter

FRACTIONS = (0.25, 0.5, 1.0)
"""Of the budget: where an arm's product so far is tried on the held-out questions."""
JUDGES = 12  # interactions that decide, as PersonaAlignment's default has it


@dataclass(frozen=True, slots=True)
class Point:
    """What an arm would have served after a fraction of the budget: `calls` are those used by then,
    `answers` those to the held-out questions by their id (None: the product cannot be asked)."""

    fraction: float
    calls: int
    product: dict[str, Any]
    answers: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One arm for one user. `stopped` says how it ended: by itself, by the budget, or by an error
    of its own; `seconds` are the optimizer's."""

    user: str
    arm: str
    points: tuple[Point, ...]
    stopped: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Setup:
    """The budget in LM calls a user and arm; `latest` interactions of a user at most to learn from;
    the seed of every optimizer."""

    calls: int = 200
    latest: int = 40
    seed: int = 0


class Contest:
    """One LM on the users of one data set, under several arms.

    Args:
        data: samples and histories.
        arms: who optimizes, in this order.
        lm: the same one for all, for answers and for whatever an optimizer writes.
        memory: over a store that is this data set's own; its journal keeps what is done.
        cohort: which users and samples.
        setup: the budget.
        log: a file for what the optimizers print.
        watch: called with user and arm before each, by several threads.
    """

    def __init__(
        self,
        data: EvaluationData,
        arms: Sequence[Arm],
        lm: PersonaLM,
        memory: EpisodicMemory,
        *,
        cohort: Cohort | None = None,
        setup: Setup | None = None,
        log: Path,
        watch: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self.data = data
        self.arms = list(arms)
        self.lm = lm
        self.memory = memory
        self.setup = setup or Setup()
        self.log = log
        self.watch = watch
        self.samples: dict[str, list[Sample]] = {}
        for sample in (cohort or Cohort()).choose(data.samples):
            self.samples.setdefault(sample.query.user, []).append(sample)
        named = {name: v for name, v in lm_to_dict(lm, data.task).items() if name != "spec"}
        chosen = asdict(self.setup)
        run = [named, task_to_dict(data.task), data.digest, chosen, memory.embedder.fingerprint]
        self._run = f"rivals/{digest(run)}"

    def __call__(self) -> list[Outcome]:
        """Do what is not done yet; all outcomes, by user and arm.

        Raises:
            LMError: the LM fails; what is done is kept.
            DataError: the histories hold nothing to learn from.
        """
        pasts = material(self.data, self.memory, self.samples, self.setup.latest)

        def play(user: str) -> None:
            for arm in self.arms:
                if self._known(user, arm) is None:
                    self.watch(user, arm.name)
                    self._one(user, arm, pasts[user])

        todo = [
            user
            for user in self.samples
            if any(self._known(user, arm) is None for arm in self.arms)
        ]
        if todo:
            with _quiet(self.log), closing(side_by_side(play, todo, self.lm)) as coming:
                for done in coming:
                    if done.error:
                        raise done.error
        found = [self._known(user, arm) for user in self.samples for arm in self.arms]
        return [outcome for outcome in found if outcome]

    def left(self) -> dict[str, int]:
        """By arm, the LM calls that are still to be made at most."""
        calls = dict.fromkeys((arm.name for arm in self.arms), 0)
        for user, samples in self.samples.items():
            for arm in self.arms:
                if self._known(user, arm) is None:
                    asking = self._asking(samples)
                    learning = self.setup.calls + (len(FRACTIONS) - 1) * asking
                    calls[arm.name] += asking + (learning if arm.optimizes else int(arm.profile))
        return calls

    def _asking(self, samples: Sequence[Sample]) -> int:
        return len(samples) * (2 if isinstance(self.data.task, Choice) else 1)

    def _known(self, user: str, arm: Arm) -> Outcome | None:
        kept = self._journal(user).get(self._key(user, arm))
        if kept is None:
            return None
        points = tuple(Point(**one) for one in kept.pop("points"))
        return Outcome(points=points, **kept)

    def _key(self, user: str, arm: Arm) -> str:
        """More samples of a user are more to answer: the outcome depends on them."""
        asked = digest(sorted(one.query.id for one in self.samples[user]))
        return f"{arm.name}/{digest(arm.about)[:8]}/{asked[:8]}"

    def _journal(self, user: str) -> Any:
        return self.memory.store.of(user).journal(self._run)

    def _one(self, user: str, arm: Arm, past: list[Interaction]) -> None:
        """One arm for one user, with DSPy's LM."""
        began = time.perf_counter()
        setup, task = self.setup, self.data.task
        start, paid = self._start(user, past)
        paid = paid if arm.profile else 0
        lm = ration(dspy.settings.lm, setup.calls - paid)
        judging = self._judging(past)
        lesson = Lesson(
            task, user, past, judging, start, self.memory, lm, setup.calls - paid, setup.seed
        )
        stopped = "by itself"
        with dspy.context(lm=lm):
            try:
                product = arm.learn(lesson)
                lesson.trail.append((spent(lm), product))
            except (BudgetError, Stopped) as error:
                cause = error.cause if isinstance(error, Stopped) else error
                if not isinstance(cause, BudgetError):
                    raise cause from error
                stopped = "by the budget"
            except CallError:
                raise
            except Exception as error:  # DSPy's optimizers may end by any, a small LM's doing
                logging.getLogger("dspy").exception("%s failed for %s", arm.name, user)
                stopped = f"by an error: {type(error).__name__}"  # the log has its text
        seconds = time.perf_counter() - began
        started = (0, Prompt(start.render()))
        points = self._tried(user, [started, *lesson.trail], spent(lm), paid)
        outcome = Outcome(user, arm.name, tuple(points), stopped, seconds)
        self._journal(user).put(self._key(user, arm), asdict(outcome))

    def _judging(self, past: Sequence[Interaction]) -> list[Interaction]:
        return split(
            past, None, evidence=(), judges=JUDGES, writers=len(past), seed=self.setup.seed
        )[1]

    def _start(self, user: str, past: Sequence[Interaction]) -> tuple[Persona, int]:
        """The persona that all arms start from, and the calls that it took, which all pay.

        Nothing that judges is in it.
        """
        kept = self._journal(user).get("start")
        if kept is None:
            judges = {one.id for one in self._judging(past)}
            writing = [one for one in past if one.id not in judges]
            lm = ration(dspy.settings.lm)
            with dspy.context(lm=lm):
                profile = ProfileSummarizer()(self.data.task, writing).profile
            kept = self._journal(user).put("start", {"profile": profile, "calls": spent(lm)})
        return Persona(user, self.data.task.name, profile=kept["profile"]), int(kept["calls"])

    def _tried(
        self, user: str, trail: Sequence[tuple[int, Product]], used: int, paid: int
    ) -> Iterator[Point]:
        """What would have been served at each fraction of the budget, on the held-out questions."""
        asked: dict[Product, dict[str, str | None]] = {}
        lm = ration(dspy.settings.lm)
        for fraction in FRACTIONS:
            limit = fraction * self.setup.calls - paid
            product = [made for calls, made in trail if calls <= max(limit, 0)][-1]
            if product not in asked:
                asked[product] = {
                    one.query.id: self._answer(product, one, lm) for one in self.samples[user]
                }
            yield Point(
                fraction, int(min(used, max(limit, 0))) + paid, _plain(product), asked[product]
            )

    def _answer(self, product: Product, sample: Sample, lm: PersonaLM) -> str | None:
        """The answer to a held-out question; None where the prompt is too long or its answer has
        no usable form, which is the product's own fault."""
        query, task = sample.query, self.data.task
        try:
            with dspy.context(lm=lm, adapter=LikelihoodAdapter(task, query="question")):
                if isinstance(product, Prompt):
                    said = assistant(task, product)(question=question(task, query.query))
                elif product is None:
                    said = Answerer(task)(query=query.query)
                else:
                    said = PersonaAgent(task, self.memory)(
                        query=query.query,
                        user=query.user,
                        before=query.time,
                        exclude=(query.id,),
                        persona=product,
                    )
                return task.parse(str(said.answer))
        except ContextError:
            return None
        except CallError:
            raise
        except (LMError, DataError):
            return None


def _plain(product: Product) -> dict[str, Any]:
    if isinstance(product, Prompt):
        return asdict(product)
    return product.to_dict() if product else {}


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """What DSPy's optimizers print and log goes to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("dspy")
    handlers = logger.handlers[:]
    with path.open("a", encoding="utf-8") as file:
        mine = logging.StreamHandler(file)
        logger.handlers = [mine]
        try:
            with redirect_stdout(file), redirect_stderr(file):
                yield
        finally:
            logger.handlers = handlers
