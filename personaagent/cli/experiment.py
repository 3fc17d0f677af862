"""Carries out a plan of experiments for a command, and tells what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from personaagent.cli.experiment_options import ExperimentOptions, names
from personaagent.errors import BudgetError

if TYPE_CHECKING:
    from personaagent.cli.options import LMChoice
    from personaagent.experiments.analysis import Analysis
    from personaagent.experiments.protocol import Trial
    from personaagent.experiments.results import Results
    from personaagent.experiments.runner import Experiment
    from personaagent.lm import PersonaLM
    from personaagent.memory import EpisodicMemory

PERSONAS = "personas"

Show = Callable[[Sequence["Analysis"], Console], None]
After = Callable[["Experiment"], None]


def carry_out(
    given: ExperimentOptions,
    trials: Sequence[Trial],
    show: Show,
    *,
    parallel: int | None = None,
    engine: str = "local",
    whole: bool = False,
    after: After = lambda _: None,
) -> None:
    """Answer what is not answered yet, then print and write what the experiments say.

    Args:
        given: the options of the command.
        trials: what is asked.
        show: prints the experiments.
        parallel: samples side by side where a setup does not say; default: the LM's slots.
        engine: "ray" has a Ray cluster do the work.
        whole: whether the files are of everything in the database, and not of these trials alone.
        after: called with every experiment that is complete.

    Raises:
        BudgetError: the budget is used up; what was answered is kept.
    """
    from personaagent.cli import render
    from personaagent.experiments.predictions import read_predictions
    from personaagent.experiments.results import Results

    screen = render.screen(as_json=given.as_json)
    with redirect_stdout(screen.file), Results(given.results) as database:
        if given.known:
            database.take_over(read_predictions(given.known))
        ids = answer(given, trials, database, screen, parallel=parallel, engine=engine, after=after)
        told = Told.of(given, database, ids, whole=whole)
    told.tell(given, screen, show)


@dataclass(frozen=True, slots=True)
class Told:
    """What some experiments say, and the files that say it."""

    analyses: tuple[Analysis, ...]
    written: tuple[str, ...]
    tracked: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        given: ExperimentOptions,
        answers: Results,
        only: Sequence[str] = (),
        *,
        whole: bool = True,
    ) -> Told:
        """Compute it from the answers, and write the files that the options ask for: of everything,
        or of these experiments alone."""
        from personaagent.cli import session
        from personaagent.experiments.predictions import write_predictions
        from personaagent.experiments.report import analyses_of, write_report

        found = analyses_of(answers, only)
        inside = () if whole else only
        written: list[Path] = []
        if given.report:
            written += write_report(answers, given.report, traces=given.traces, only=inside)
            for path in written if given.traces else ():
                session.note_work(_names(answers), path)
        if given.predictions:
            written += write_predictions(answers, given.predictions, inside)
            session.note_work(_names(answers), given.predictions)
        tracked: list[str] = []
        if given.track:
            from personaagent.experiments.mlflow_runs import track_evaluation

            with session.tracking_noted():
                tracked = track_evaluation(answers, only)
        return cls(tuple(found), tuple(map(str, written)), tuple(tracked))

    def tell(self, given: ExperimentOptions, screen: Console, show: Show) -> None:
        """Print it: for people, or as one JSON document."""
        from personaagent.cli import render
        from personaagent.experiments.analysis import summary

        if given.as_json:
            render.print_json(
                {
                    "experiments": [summary(one) for one in self.analyses],
                    "report": list(self.written),
                    "tracked": list(self.tracked),
                }
            )
            return
        show(self.analyses, screen)
        for path in self.written:
            screen.print(path, soft_wrap=True)
        for run in self.tracked:
            screen.print(f"tracked as MLflow run {run}")


def answer(
    given: ExperimentOptions,
    trials: Sequence[Trial],
    database: Results,
    screen: Console,
    *,
    parallel: int | None = None,
    engine: str = "local",
    after: After = lambda _: None,
) -> list[str]:
    """Ask what is not answered yet; the experiments' ids."""
    from personaagent import memory
    from personaagent.cli import session
    from personaagent.cli.experiment_tables import Watch
    from personaagent.experiments.lineup import entrants
    from personaagent.experiments.runner import Experiment
    from personaagent.experiments.trace import workplace
    from personaagent.lm.capabilities import settle
    from personaagent.optimizers import ray_pool

    data = given.data()
    forgotten, again = _redone(given.redo)
    choice = replace(given.choice, likelihoods=False) if given.sampled else given.choice
    lm = session.connect(choice)
    settle(lm)
    embedder = memory.named_embedder()
    session.note_work(data.names, database.path)

    @contextmanager
    def opened(trial: Trial, engine: str = "local") -> Iterator[tuple[Experiment, Watch]]:
        where = workplace(database.path, data.digest, trial.setup.latest)
        with memory.Store(where) as store, Watch(screen, data) as watch, ExitStack() as stack:
            pool = None
            if engine == "ray":
                ray_pool.refuse_budget(lm.budget)
                stack.enter_context(ray_pool.cluster())
                make = partial(_elsewhere, str(Path(where).absolute()), choice)
                pool = stack.enter_context(ray_pool.RayPool(make, lm, store))
            experiment = Experiment(
                data,
                trial.systems,
                lm,
                memory.EpisodicMemory(store, embedder),
                database,
                cohort=given.cohort(),
                setup=trial.setup,
                parallel=parallel,
                pool=pool,
                watch=watch,
            )
            yield experiment, watch

    # All are forgotten before any is asked: variants share their personas.
    for trial in trials if given.redo else ():
        with opened(trial) as (experiment, watch):
            gone = experiment.redo(entrants(again) if again else [], personas=forgotten)
            watch.note(f"forgot {gone:,} answers{_of(trial)}")
    ids: list[str] = []
    for trial in trials:
        with opened(trial, engine) as (experiment, watch):
            if len(trials) > 1:
                watch.note(f"{len(ids) + 1} of {len(trials)}{_of(trial)}")
            try:
                ids.append(experiment())
                after(experiment)
            except BudgetError as error:
                raise BudgetError(f"{error}; what was answered is kept") from error
    return ids


def _elsewhere(where: str, choice: LMChoice, slots: int) -> tuple[PersonaLM, EpisodicMemory]:
    """In another process: the same LM with so many slots, and the same memory, warmed up."""
    from personaagent import memory
    from personaagent.cli import session
    from personaagent.lm.capabilities import settle

    lm, _ = session.uncached(choice)(slots)
    settle(lm)
    recalling = memory.EpisodicMemory(memory.Store(where), memory.named_embedder())
    recalling.embed("warm up")
    return lm, recalling


def _names(answers: Results) -> set[str]:
    """Whom experiments are about."""
    found: set[str] = set()
    for one in answers.experiments():
        samples = one.protocol["samples"]
        found |= {*samples.values(), *(row.user for row in answers.rows(one.run, samples))}
    return found


def _redone(redo: str) -> tuple[bool, list[str]]:
    """Whether personas are forgotten, and the systems whose answers are: with the personas goes
    whatever was answered under them."""
    from personaagent.experiments.lineup import OURS
    from personaagent.experiments.systems import SYSTEMS

    again = names(redo)
    if PERSONAS not in again:
        return False, again
    again.remove(PERSONAS)
    return True, [*again, *(name for name in SYSTEMS if name.startswith(OURS))]


def _of(trial: Trial) -> str:
    said = ", ".join(f"{name} = {value}" for name, value in trial.setup.variant.items())
    return f": {said}" if said else ""
