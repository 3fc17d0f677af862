"""`export` and `restore`: a persona as a file, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from personaagent.cli.options import ApiBase, Database, Json, LMName, TaskName, as_user, as_users

if TYPE_CHECKING:
    from personaagent.data import Persona, Task
    from personaagent.memory import Store


def export(
    user: Annotated[
        list[str],
        typer.Option(
            "--user",
            "-u",
            help="Whose; several for --format mlflow.",
            show_default=False,
            callback=as_users,
        ),
    ],
    task: TaskName = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A folder, or a file that ends in .json; for --format mlflow the new folder of "
            "the model. By default here.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Literal["json", "dspy", "mlflow"],
        typer.Option(
            "--format",
            help="JSON that can be verified with Markdown beside it; the state of a DSPy program; "
            "or a model that MLflow serves.",
        ),
    ] = "json",
    registry: Annotated[
        bool,
        typer.Option("--registry", help="Also make it the champion in MLflow's prompt registry."),
    ] = False,
    db: Database = None,
    lm: LMName = "embedded",
    api_base: ApiBase = None,
    as_json: Json = False,
) -> None:
    """Write a user's persona to a file, or several users' to a model that answers for them.

    The Markdown works as the system prompt of any chat; `agent.load(FILE)` takes
    the DSPy state. None of them holds a text of an interaction. --lm is the
    one that a served model asks.

    [bold]Examples[/bold]

    personaagent export --user amira
    personaagent export --user amira --out personas/ --registry
    personaagent export --user amira --format dspy --out amira.json
    personaagent export --user amira --user bela --format mlflow --out model
    mlflow models serve -m model --env-manager local
    """
    from personaagent.cli import render, session
    from personaagent.memory.tasks import task_of
    from personaagent.service import publish

    if len(user) > 1 and form != "mlflow":
        raise typer.BadParameter("several --user go with --format mlflow")
    with session.open_store(db) as store:
        kind = task_of(store, user[0], task)
        personas = [publish.champion(store, one, kind) for one in user]
        if form == "mlflow":
            files = _save_model(store, kind, personas, out, lm, api_base)
        elif form == "dspy":
            files = _save_program(store, kind, personas[0], out or Path())
        else:
            files = _save_files(store, kind, personas[0], out or Path())
        session.note_unrecorded(store)
    prompts = _register(personas) if registry else []
    if as_json:
        said = [{"user": one.user, "version": one.version, "hash": one.hash} for one in personas]
        about: dict[str, Any] = said[0] if form != "mlflow" else {"personas": said}
        render.print_json(
            {**about, "task": kind.name}
            | {name: str(file) for name, file in files.items()}
            | ({"prompts": prompts} if registry else {})
        )
        return
    screen = render.screen(as_json=False)
    for persona in personas:
        screen.print(f"{render.plain(persona.user)} · {kind.name} · {render.name_of(persona)}")
    for path in (*files.values(), *filter(None, prompts)):
        screen.print(f"  {path}", soft_wrap=True)


def _save_files(store: Store, task: Task, persona: Persona, out: Path) -> dict[str, Path]:
    from personaagent import artifacts
    from personaagent.memory import exports

    artifact = artifacts.Artifact.known(store.of(persona.user), persona, task)
    written, prompt = artifacts.export(out, artifact)
    exports.record(store, persona.user, (written, prompt), persona.hash)
    return {"json": written, "markdown": prompt}


def _save_model(
    store: Store,
    task: Task,
    personas: Sequence[Persona],
    out: Path | None,
    lm: str,
    api_base: str | None,
) -> dict[str, Path]:
    from personaagent.artifacts import Artifact
    from personaagent.files import file_name
    from personaagent.memory import exports
    from personaagent.tracking import save_agent

    found = [Artifact.known(store.of(one.user), one, task) for one in personas]
    folder = save_agent(
        out or Path(file_name(task.name, suffix="-model")),
        task,
        found,
        lm=lm,
        api_base=api_base,
        extras=("postgres",) if store.database.keeps_log else (),
    )
    for persona in personas:
        exports.record(store, persona.user, folder.rglob(f"{persona.hash}.json"), persona.hash)
    return {"model": folder}


def _save_program(store: Store, task: Task, persona: Persona, out: Path) -> dict[str, Path]:
    """The state of the agent with the persona as its own."""
    from personaagent import artifacts, memory
    from personaagent.memory import exports
    from personaagent.programs import PersonaAgent

    remembered = memory.EpisodicMemory(store, memory.named_embedder())
    agent = PersonaAgent(task, remembered, persona=persona)
    name = artifacts.name_of(persona, ".dspy.json")
    target = out if out.suffix.lower() == ".json" else out / name
    written = artifacts.save_program(target, agent)
    exports.record(store, persona.user, [written], persona.hash)
    return {"dspy": written}


def _register(personas: Sequence[Persona]) -> list[str | None]:
    """The addresses of the prompts; None where MLflow cannot be used, which is said."""
    from personaagent import tracking
    from personaagent.cli import session

    with session.tracking_noted():
        return [tracking.register(persona) for persona in personas]


def restore(
    file: Annotated[Path, typer.Argument(help="The exported JSON file.", show_default=False)],
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            "-u",
            help="For this user; by default the one that it names.",
            callback=as_user,
        ),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Publish an exported persona, after verifying it, as the user's next version.

    The file describes its task, so a database that does not know the task, or
    is not there yet, can take it too.

    [bold]Examples[/bold]

    personaagent restore amira-inbox-v2.json
    personaagent restore amira-inbox-v2.json --user amira-at-work
    """
    from personaagent import artifacts
    from personaagent.cli import render, session
    from personaagent.memory.tasks import check_tasks, load_tasks, save_tasks

    artifact = artifacts.load(file)
    with session.open_store(db, create=True) as store:
        defined = [artifact.defined] if artifact.defined else []
        check_tasks(store, defined)
        save_tasks(store, [one for one in defined if one.name not in load_tasks(store)])
        memory = store.of(user or artifact.persona.user)
        before = memory.persona(artifact.persona.task)
        now = artifacts.restore(memory, artifact, source=file)
        known = now.task in load_tasks(store)
    if as_json:
        render.print_json(
            {"user": now.user, "task": now.task, "version": now.version, "hash": now.hash}
            | {"changed": now != before}
        )
        return
    screen = render.screen(as_json=False)
    if now == before:
        screen.print(f"{render.name_of(now)} says the same already: nothing changed")
        return
    screen.print(render.persona_panel(now))
    if not known:
        screen.print(
            f"task '{render.plain(now.task)}' is not known here yet: "
            "'personaagent import --tasks tasks.json' makes it known"
        )
