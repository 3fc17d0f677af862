"""`pool`: where personas of a task start with an LM, learned on a cohort of users."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.experiment_options import ExperimentOptions, names
from personaagent.errors import DataError
from personaagent.progress import bars
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.optimizers import Prior, Start


def pool(
    given: ExperimentOptions,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the prior goes.")] = Path(
        "prior.json"
    ),
    starts: Annotated[
        str,
        typer.Option(
            help="What to try, commas between: query, memories, many-memories (16), "
            "profile (a long call a sample)."
        ),
    ] = "query,memories",
) -> None:
    """Learn from a cohort where a new user's persona starts.

    Answers the cohort's questions from every start, and fits how far to trust
    this LM and the users' habits, and which labels it prefers wrongly and what
    they mean to the cohort. Only these numbers go on, never a text. 'evaluate'
    and 'compile' take the file as --prior; mind that they report other users.

    [bold]Examples[/bold]

    personaagent pool --task lamp-2n --questions dev_questions.json \\
        --outputs dev_outputs.json --half dev --samples 60 --out lamp-2n.json
    """
    import dspy

    from personaagent import memory
    from personaagent.cli import render, session
    from personaagent.experiments.results import Results
    from personaagent.experiments.runner import Experiment
    from personaagent.experiments.trace import workplace
    from personaagent.optimizers import pool as learn
    from personaagent.programs import PersonaAgent

    screen = render.screen(as_json=given.as_json)
    tried = _named(starts)
    data, lm = given.data(), session.connect(given.choice)
    where = workplace(given.results, data.digest, None)
    with (
        redirect_stdout(screen.file),
        Results(given.results) as results,
        memory.Store(where) as store,
        bars(on=screen) as progress,
    ):
        episodic = memory.EpisodicMemory(store, memory.named_embedder())
        experiment = Experiment(data, [], lm, episodic, results, cohort=given.cohort())
        session.note_work(data.names, given.results)
        experiment.remember()
        bar = progress.add_task("answering", total=None)
        with dspy.context(lm=experiment.lm):
            prior = learn(
                PersonaAgent(data.task, episodic, k=given.setup().settings["k"]),
                [one.query for one in experiment.samples],
                owners={one.query.user: one.owner for one in experiment.samples},
                starts=tried,
                watch=lambda done, total: progress.update(bar, completed=done, total=total),
            )
    out.write_text(json.dumps(prior.to_dict(), indent=1) + "\n", encoding="utf-8")
    if given.as_json:
        render.print_json(prior.to_dict())
        return
    screen.print(_table(prior).rich())
    if prior.meant:
        screen.print(
            f"habit alone: {prior.meant['names']:.3f} nats where labels mean what they are called, "
            f"{prior.meant['cohort']:.3f} where they mean what they mean to the rest of the cohort",
            soft_wrap=True,
        )
    screen.print(f"{out}: {render.weights(prior.start.trust)}", soft_wrap=True)


def _named(starts: str) -> list[Start]:
    from personaagent.data.validation import suggestion
    from personaagent.optimizers.prior import STARTS

    chosen = list(dict.fromkeys(names(starts)))
    for name in chosen:
        if name not in STARTS:
            raise DataError(f"--starts: there is no '{name}'{suggestion(name, STARTS)}")
    if not chosen:
        raise DataError(f"--starts names none: write some of {', '.join(STARTS)}")
    return [STARTS[name] for name in chosen]


def _table(prior: Prior) -> Table:
    from personaagent.cli import render

    rows, chosen = [], []
    for at, one in enumerate(prior.tried):
        shown = [render.call(action) for action in one.start.actions]
        name = ", ".join([*(["profile"] if one.start.profile else []), *shown]) or "the query alone"
        rows.append(
            [name, f"{one.loss:.3f} ± {one.error:.3f}", f"{one.score:.3f}", f"{one.seconds:.2f}"]
        )
        if replace(prior.start, trust=one.start.trust) == one.start:
            chosen.append(at)
    numbers = ["loss, nats", "score", "seconds"]
    title = f"{prior.task}, {prior.users} users"
    return Table(columns=["start", *numbers], rows=rows, right=numbers, strong=chosen, title=title)
