"""What every experiment is told: the data, the cohort, the setup, the LM and where results go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from personaagent.cli.options import Json, LMChoice, SkipMalformed
from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.data import ImportSummary
    from personaagent.experiments.cohort import Cohort, EvaluationData
    from personaagent.experiments.protocol import Setup

_LAMP, _OWN, _COHORT, _SETUP, _OUT = "LaMP", "Your own data", "Cohort", "Setup", "Results"

Systems = Annotated[
    str, typer.Option("--systems", "-s", help="Names with commas between them, or all.")
]


@dataclass(frozen=True, slots=True)
class ExperimentOptions:
    """The options that all experiments share."""

    task: Annotated[
        str | None, typer.Option("--task", "-t", help="The task: lamp-2n, say, or one of yours.")
    ] = None
    questions: Annotated[
        Path | None, typer.Option(help="A questions file of LaMP.", rich_help_panel=_LAMP)
    ] = None
    outputs: Annotated[
        Path | None, typer.Option(help="Its gold answers.", rich_help_panel=_LAMP)
    ] = None
    oppu: Annotated[
        Path | None,
        typer.Option(
            help="OPPU's processed users of a LaMP task: user_top_100_history.json.",
            rich_help_panel=_LAMP,
        ),
    ] = None
    history: Annotated[
        Path | None,
        typer.Option(help="Interactions as JSON Lines, as for 'import'.", rich_help_panel=_OWN),
    ] = None
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries as JSON Lines; 'response' is the gold answer.", rich_help_panel=_OWN
        ),
    ] = None
    tasks: Annotated[
        Path | None,
        typer.Option(help="A JSON list of the tasks that they name.", rich_help_panel=_OWN),
    ] = None
    skip_malformed: SkipMalformed = False
    samples: Annotated[
        int | None, typer.Option(min=1, help="So many at most.", rich_help_panel=_COHORT)
    ] = None
    users: Annotated[
        int | None, typer.Option(min=1, help="Of so many users at most.", rich_help_panel=_COHORT)
    ] = None
    earlier: Annotated[
        int,
        typer.Option(
            min=0,
            help="Ask of every user also so many earlier interactions: the latest before the first "
            "question, each from its own moment, or without times any, each as if only it were "
            "unknown.",
            rich_help_panel=_COHORT,
        ),
    ] = 0
    half: Annotated[
        Literal["dev", "report"] | None,
        typer.Option(
            help="One half of the users: develop on dev, report the other. A user's half never "
            "changes.",
            rich_help_panel=_COHORT,
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Chooses the cohort.", rich_help_panel=_COHORT)] = 0
    k: Annotated[
        int | None, typer.Option(min=1, help="Memories shown to the LM.", rich_help_panel=_SETUP)
    ] = None
    iterations: Annotated[
        int | None, typer.Option(min=0, help="Steps of the alignment.", rich_help_panel=_SETUP)
    ] = None
    batch: Annotated[
        int | None, typer.Option(min=1, help="Interactions per step.", rich_help_panel=_SETUP)
    ] = None
    replay: Annotated[
        int | None,
        typer.Option(min=0, help="Interactions held out to judge by.", rich_help_panel=_SETUP),
    ] = None
    prior: Annotated[
        Path | None,
        typer.Option(
            help="Where personas start: what 'pool' learned on other users.",
            rich_help_panel=_SETUP,
        ),
    ] = None
    sampled: Annotated[
        bool,
        typer.Option(
            "--sampled",
            help="Let the LM write its answers, instead of reading the labels' likelihoods.",
            rich_help_panel=_SETUP,
        ),
    ] = False
    results: Annotated[
        Path, typer.Option(help="The database of answers.", rich_help_panel=_OUT)
    ] = Path("results.db")
    report: Annotated[
        Path | None,
        typer.Option(help="A folder for report.html and report.md.", rich_help_panel=_OUT),
    ] = None
    traces: Annotated[
        bool,
        typer.Option(
            "--traces",
            help="Some answers in full in the report. They quote the data: mind its licence.",
            rich_help_panel=_OUT,
        ),
    ] = False
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="A folder for the answers by id as small text files without any text of the data: "
            "'evaluate --recompute --results FOLDER' computes everything again from them.",
            rich_help_panel=_OUT,
        ),
    ] = None
    known: Annotated[
        Path | None,
        typer.Option(
            help="Go on from answers that another machine gave: a folder that --predictions wrote.",
            rich_help_panel=_OUT,
        ),
    ] = None
    track: Annotated[
        bool,
        typer.Option(
            "--track",
            help="Write it to MLflow: a run an experiment, with its report, and one a system.",
            rich_help_panel=_OUT,
        ),
    ] = False
    redo: Annotated[
        str,
        typer.Option(
            help="Forget what these systems answered, or 'personas', after a change of code.",
            rich_help_panel=_OUT,
        ),
    ] = ""
    choice: LMChoice = field(default_factory=LMChoice)
    as_json: Json = False

    def data(self) -> EvaluationData:
        """The data that the options name.

        Raises:
            DataError: they do not go together, or a file breaks the format.
        """
        from personaagent.experiments.cohort import with_earlier

        return with_earlier(self._files(), self.earlier) if self.earlier else self._files()

    def _files(self) -> EvaluationData:
        from personaagent.cli import importing
        from personaagent.data import ImportSummary

        account = ImportSummary(self.skip_malformed)
        with importing.reading(account):
            data = self._read(account)
        importing.report(account)
        return data

    def _read(self, account: ImportSummary) -> EvaluationData:
        from personaagent.cli import importing
        from personaagent.data import LAMP_TASKS, read_tasks
        from personaagent.data.validation import suggestion
        from personaagent.experiments.cohort import lamp_data, oppu_data, own_data

        if self.task is None:
            raise DataError("name the task with --task, such as lamp-2n")
        lamp, own = (self.questions, self.outputs), (self.history, self.queries)
        if self.oppu and not any(lamp + own):
            return oppu_data(importing.lamp_task(self.task), self.oppu, account)
        if self.questions and self.outputs and not any(own) and not self.oppu:
            lamp_task = importing.lamp_task(self.task)
            return lamp_data(lamp_task, self.questions, self.outputs, account)
        if self.history and self.queries and not any(lamp) and not self.oppu:
            known = LAMP_TASKS | (read_tasks(self.tasks) if self.tasks else {})
            if self.task not in known:
                raise DataError(
                    f"there is no task '{self.task}'{suggestion(self.task, known)}: give --tasks"
                )
            return own_data(known[self.task], self.history, self.queries, known, account)
        raise DataError(
            "give --questions and --outputs (LaMP), or --oppu, or --history and --queries (your "
            "own data)"
        )

    def cohort(self) -> Cohort:
        """Which samples."""
        from personaagent.experiments.cohort import Cohort

        return Cohort(self.samples, self.users, self.seed, self.half)

    def setup(self) -> Setup:
        """How they are answered."""
        from personaagent.experiments.protocol import Setup
        from personaagent.optimizers import read_prior

        setup = Setup(prior=None if self.prior is None else read_prior(self.prior))
        said = {name: getattr(self, name) for name in ("k", "iterations", "batch", "replay")}
        for name, value in said.items():
            setup = setup if value is None else setup.varied(name, value)
        return setup


def names(text: str) -> list[str]:
    """The words between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(text: str, what: str, *, least: int) -> list[int]:
    """The numbers between commas.

    Raises:
        DataError: one is none, or is too small.
    """
    found = names(text)
    if not found or not all(one.isascii() and one.isdigit() and int(one) >= least for one in found):
        raise DataError(f"{what} '{text}': write whole numbers from {least} on, such as 1,2,4")
    return [int(one) for one in found]
