"""`ask`: an answer as the user would give it, and how it came about."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import (
    Database,
    Json,
    LMChoice,
    TaskName,
    User,
    as_text,
)

if TYPE_CHECKING:
    import dspy
    from rich.tree import Tree

    from personaagent.data import Persona
    from personaagent.lm import Usage


def ask(
    text: Annotated[str, typer.Argument(help="The query.", show_default=False, callback=as_text)],
    user: User,
    task: TaskName = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show the persona, actions, memories and probabilities.")
    ] = False,
    wikipedia: Annotated[
        bool, typer.Option("--wikipedia", help="Let the agent search Wikipedia; needs a network.")
    ] = False,
    mlflow_trace: Annotated[
        bool,
        typer.Option(
            "--mlflow-trace", envvar="PERSONAAGENT_MLFLOW_TRACE", help="Keep a trace in MLflow."
        ),
    ] = False,
    prior: Annotated[
        Path | None,
        typer.Option(
            help="What 'pool' learned on others, for a user who has no persona yet.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    db: Database = None,
    *,
    choice: LMChoice,
    as_json: Json = False,
) -> None:
    """Answer a query as the user would; without a persona yet, from the user's memory alone.

    [bold]Examples[/bold]

    personaagent ask "The car needs new tyres." --user amira
    personaagent ask "The car needs new tyres." --user amira --trace
    personaagent ask "The car needs new tyres." --user amira --mlflow-trace
    personaagent ask "The car needs new tyres." --user new --task inbox --prior prior.json
    personaagent ask "Noisy, but good." --user elif --lm openai/gpt-4o-mini --json
    """
    from personaagent.cli import render, session
    from personaagent.data import validation
    from personaagent.memory.tasks import task_of

    validation.text("the query", text)
    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        connected = session.connect(choice)
        with session.agent_of(store, kind, connected) as agent:
            if wikipedia:
                agent.tools.append(session.wikipedia())
            persona = agent.persona_of(user)
            if prior and store.of(user).persona(kind.name) is None:
                from personaagent.optimizers import read_prior

                persona = read_prior(prior).persona(user, kind.name, connected.fingerprint)
            if persona.blank and not store.of(user).count(kind.name):
                typer.echo(f"nothing is known of user '{user}': this is the LM alone", err=True)
            with ExitStack() as watching:
                if mlflow_trace:
                    from personaagent.tracking import traced

                    watching.enter_context(session.tracking_noted())
                    watching.enter_context(traced(agent))
                used = watching.enter_context(connected.meter.measure())
                said = agent(query=text, user=user, persona=persona)
            usage = used.snapshot()
    if as_json:
        render.print_json(_data(text, persona, said, usage))
    elif trace:
        screen.print(_tree(persona, said, usage))
    else:
        screen.print(render.plain(said.answer), soft_wrap=True)


def _data(text: str, persona: Persona, said: dspy.Prediction, usage: Usage) -> dict[str, Any]:
    from personaagent.cli import render

    return {
        "user": persona.user,
        "task": persona.task,
        "query": text,
        "answer": said.answer,
        "distribution": said.distribution,
        "lm": said.lm,
        "habit": said.habit,
        "persona": {"version": persona.version, "hash": said.persona},
        "directives": [one.text for one in said.directives],
        "actions": [
            {"tool": seen.action.tool, "arguments": seen.action.arguments, "failed": seen.failed}
            for seen in said.observations
        ],
        "memories": [
            {
                "id": memory.interaction.id,
                "score": float(memory.score),
                "query": memory.interaction.query,
                "response": memory.interaction.response,
                "time": render.instant(memory.interaction.time),
            }
            for memory in said.memories
        ],
        "usage": usage.to_dict(),
    }


def _tree(persona: Persona, said: dspy.Prediction, usage: Usage) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    from personaagent.cli import render

    tree = Tree(Text(render.plain(said.answer), style="bold green"), guide_style="dim")
    about = tree.add(Text(f"persona: {_name(persona)}"))
    for directive in said.directives:
        about.add(Text(render.plain(directive.text), style="cyan"))
    actions = tree.add(Text("actions" if said.observations else "actions: none"))
    for seen in said.observations:
        node = actions.add(Text(render.call(seen.action)))
        for memory in seen.memories:
            node.add(render.past(memory.interaction, f"{memory.score:.2f}  "))
        if seen.failed or not seen.memories:
            text = Text(render.short(seen.text) or "nothing", style="red" if seen.failed else "dim")
            node.add(text)
    if said.distribution:
        trust = render.weights(persona.trust)
        node = tree.add(Text(f"distribution (trust: {trust})"))
        node.add(render.bars(said.distribution, said.lm, said.habit))
    tree.add(Text(render.spent(usage), style="dim"))
    return tree


def _name(persona: Persona) -> str:
    from personaagent.cli import render

    return "none yet" if persona.blank and not persona.parent else render.name_of(persona)
