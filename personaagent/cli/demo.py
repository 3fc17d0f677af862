"""`demo`: the main job on the sample, from a history to a persona that answers better, and out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from personaagent.cli.options import Json, LMChoice
from personaagent.progress import bars
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.data import Query, Task
    from personaagent.lm import PersonaLM, Usage
    from personaagent.memory import EpisodicMemory
    from personaagent.optimizers import AlignmentLog

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
System = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Row:
    """How one system did on the held-out queries of all users of the demo."""

    system: str
    right: int
    of: int
    usage: Usage
    seconds: float


def demo(
    users: Annotated[
        str, typer.Option(help="Users of the sample, separated by commas.")
    ] = "amira,bela",
    queries: Annotated[int, typer.Option(min=1, help="Held-out queries per user.")] = 6,
    out: Annotated[Path, typer.Option(help="Where the exported personas go.")] = Path(
        "personaagent-demo"
    ),
    *,
    recorded: Annotated[
        bool,
        typer.Option(
            "--recorded",
            help="Show a recorded run with a frontier LM on a few chats instead: no LM is asked.",
        ),
    ] = False,
    choice: LMChoice,
    as_json: Json = False,
) -> None:
    """Learn personas on the sample, answer held-out queries with and without them, export them.

    [bold]Examples[/bold]

    personaagent demo

    personaagent demo --users amira --queries 4

    personaagent demo --recorded
    """
    from platformdirs import user_cache_path

    from personaagent.cli import render, session

    screen = render.screen(as_json=as_json)
    if recorded:
        _show_recording(screen, as_json=as_json)
        return
    # Without the response cache: a second demo must not look faster than the first.
    model = session.connect(choice).copy(cache=False)
    folder = user_cache_path("personaagent") / "demo"
    memory, asked, tasks = _workplace(folder, users.split(","), queries)
    logs = [_align(memory, tasks[asked[user][0].task], user, model, screen) for user in asked]
    rows = _compare(memory, tasks, asked, logs, model, screen)
    numbers = ["right", "LM calls", "tokens in", "cached", "out", "seconds"]
    table = Table(
        columns=["system", *numbers],
        rows=[
            [
                row.system,
                f"{row.right} of {row.of}",
                f"{row.usage.calls:,}",
                f"{row.usage.input_tokens:,}",
                f"{row.usage.cached_tokens:,}",
                f"{row.usage.output_tokens:,}",
                f"{row.seconds:.1f}",
            ]
            for row in rows
        ],
        right=numbers,
        title=f"{sum(map(len, asked.values()))} held-out queries of {len(asked)} users",
    )
    screen.print(table.rich())
    files = [_export(log, model, memory, out) for log in logs]
    memory.store.close()
    shutil.rmtree(folder)  # kept only where the demo was interrupted, to go on from
    screen.print(f"The personas are in {out}: the .md file of each is a plain system message.")
    if as_json:
        render.print_json(
            {
                "rows": [
                    {
                        "system": row.system,
                        "right": row.right,
                        "of": row.of,
                        "seconds": row.seconds,
                        **row.usage.to_dict(),
                    }
                    for row in rows
                ],
                "personas": [log.last.to_dict() for log in logs],
                "files": [str(file) for file in files],
            }
        )


def _show_recording(screen: Console, *, as_json: bool) -> None:
    """What a run on the sample's chats gave, as it was kept."""
    from personaagent.cli import render
    from personaagent.data import Persona

    kept = json.loads((SAMPLE / "recorded.json").read_text(encoding="utf-8"))
    if as_json:
        render.print_json(kept)
        return
    persona = Persona.from_dict(kept["persona"])
    chats = json.loads((SAMPLE / "chats.json").read_text(encoding="utf-8"))
    screen.print(
        f"This is a recording of {kept['recorded']}: {kept['lm']}, read {len(chats)} short chats "
        f"of the invented user '{persona.user}' ({kept['messages']} messages) in "
        f"{kept['calls']} calls and {kept['tokens']:,} tokens, and answered two questions. No LM "
        "is asked now.",
        soft_wrap=True,
    )
    screen.print("\nBefore: nothing is known of the user. After:\n")
    screen.print(render.persona_panel(persona))
    for one in kept["answers"]:
        screen.print(f"\n[bold]{escape(one['question'])}[/bold]")
        for how in ("without", "with"):
            screen.print(f"\n[cyan]{how} the persona:[/cyan]")
            screen.print(render.plain(one[how]), soft_wrap=True, markup=False)
    screen.print(
        "\nYour own: personaagent import EXPORT --from chatgpt --user NAME, then personaagent "
        "compile --user NAME --lm LM",
        soft_wrap=True,
        markup=False,
    )


def _workplace(
    folder: Path, users: Sequence[str], queries: int
) -> tuple[EpisodicMemory, dict[str, list[Query]], dict[str, Task]]:
    """A memory of the sample in a folder, what is asked of each user, and the tasks."""
    from personaagent.data import read_interactions, read_queries, read_tasks
    from personaagent.errors import DataError
    from personaagent.memory import EpisodicMemory, Store, named_embedder

    tasks = read_tasks(SAMPLE / "tasks.json")
    held_out = list(read_queries(SAMPLE / "queries.jsonl", tasks))
    known = sorted({query.user for query in held_out})
    if unknown := [user for user in users if user not in known]:
        raise DataError(f"the sample has no user '{unknown[0]}'; it has: {', '.join(known)}")
    folder.mkdir(parents=True, exist_ok=True)
    memory = EpisodicMemory(Store(folder / "memory.db"), named_embedder())
    memory.add(read_interactions(SAMPLE / "history.jsonl", tasks), progress=True)
    asked = {user: [one for one in held_out if one.user == user][:queries] for user in users}
    return memory, asked, tasks


def _align(
    memory: EpisodicMemory, task: Task, user: str, lm: PersonaLM, screen: Any
) -> AlignmentLog:
    """Align one user's persona while it is watched."""
    import dspy
    from rich.rule import Rule

    from personaagent.cli import render
    from personaagent.cli.progress import Display
    from personaagent.optimizers import PersonaAlignment
    from personaagent.programs import PersonaAgent

    history = memory.store.of(user).interactions(task.name)
    agent = PersonaAgent(task, memory)
    screen.print(Rule(f"{user}: {len(history)} interactions of task {task.name}", align="left"))
    before = lm.meter.snapshot()
    display = Display(screen, lm.meter, PersonaAlignment().iterations, None)
    with dspy.context(lm=lm), display:
        alignment = PersonaAlignment(report=display.step)
        journal = memory.store.of(user).journal(alignment.key(agent, history, lm.fingerprint))
        alignment.record = journal
        log: AlignmentLog = alignment.compile(agent, trainset=history).alignment
    screen.print(render.difference(render.changes(log.first, log.last)))
    screen.print(f"{log.stopped}; {render.spent(lm.meter.snapshot() - before)}\n")
    return log


def _compare(
    memory: EpisodicMemory,
    tasks: dict[str, Task],
    asked: dict[str, list[Query]],
    logs: Sequence[AlignmentLog],
    lm: PersonaLM,
    screen: Any,
) -> list[Row]:
    """Every system on the same queries, each metered on its own."""
    import dspy

    from personaagent.experiments.baselines import RAG, NonPersonalized
    from personaagent.programs import PersonaAgent

    first = {log.user: log.first for log in logs}
    last = {log.user: log.last for log in logs}
    systems: dict[str, Callable[[Task], System]] = {
        "non-personalized": NonPersonalized,
        "RAG, k=4": lambda task: RAG(task, memory),
        "persona without alignment": lambda task: _under(PersonaAgent(task, memory), first),
        "persona with alignment": lambda task: _under(PersonaAgent(task, memory), last),
    }
    rows = []
    with dspy.context(lm=lm), bars(on=screen) as bar:
        for name, make in systems.items():
            todo = [query for queries in asked.values() for query in queries]
            row = bar.add_task(name, total=len(todo))
            started, right = time.perf_counter(), 0
            with lm.meter.measure() as used:
                for query in todo:
                    system = make(tasks[query.task])
                    answer = system(query=query.query, user=query.user, before=query.time).answer
                    right += answer == query.gold
                    bar.advance(row)
            seconds = time.perf_counter() - started
            rows.append(Row(name, right, len(todo), used.snapshot(), seconds))
    return rows


def _under(agent: Any, personas: dict[str, Any]) -> System:
    return lambda query, user, before: agent(
        query=query, user=user, before=before, persona=personas[user]
    )


def _export(log: AlignmentLog, lm: PersonaLM, memory: EpisodicMemory, out: Path) -> Path:
    from personaagent import artifacts

    artifact = artifacts.Artifact.of(log.last, log=log, lm=lm, embedder=memory.embedder)
    file, _ = artifacts.export(out, artifact)
    return file
