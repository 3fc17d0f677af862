"""`compile`: learn a user's persona from what the user really answered, and publish it."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from personaagent.cli.options import (
    ApiBase,
    Database,
    Json,
    LMChoice,
    LMName,
    MaxCalls,
    MaxMoney,
    MaxTokens,
    TaskName,
    User,
)

_ALIGNMENT, _LAMP = "Alignment", "LaMP"


def compile_persona(
    user: User,
    task: TaskName = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            help="A questions file of LaMP: this user's history in it is imported first.",
            rich_help_panel=_LAMP,
        ),
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(
            "--outputs",
            help="Its gold answers: the user's questions are answered with the persona before and "
            "after. They teach it nothing.",
            rich_help_panel=_LAMP,
        ),
    ] = None,
    iterations: Annotated[
        int, typer.Option(min=1, help="Steps at most.", rich_help_panel=_ALIGNMENT)
    ] = 4,
    batch: Annotated[
        int, typer.Option(min=1, help="Interactions a step.", rich_help_panel=_ALIGNMENT)
    ] = 4,
    replay: Annotated[
        int,
        typer.Option(min=0, help="Interactions held out to judge by.", rich_help_panel=_ALIGNMENT),
    ] = 12,
    update: Annotated[
        Literal["auto", "edits", "rewrite"],
        typer.Option(
            help="Single directives, the whole persona, or what suits the task.",
            rich_help_panel=_ALIGNMENT,
        ),
    ] = "auto",
    accept: Annotated[
        Literal["replay", "evidence", "always"],
        typer.Option(
            help="Accept what does better on replay, what has enough evidence over all "
            "alignments, or always, as in the paper.",
            rich_help_panel=_ALIGNMENT,
        ),
    ] = "replay",
    sampler: Annotated[
        Literal["hard", "latest"],
        typer.Option(
            help="Learn from what surprises most, or from the latest, as in the paper.",
            rich_help_panel=_ALIGNMENT,
        ),
    ] = "hard",
    seed: Annotated[
        int, typer.Option(help="Decides what is held out.", rich_help_panel=_ALIGNMENT)
    ] = 0,
    no_track: Annotated[bool, typer.Option("--no-track", help="Keep no MLflow run of it.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an interrupted run has done.")
    ] = False,
    db: Database = None,
    lm: LMName = "embedded",
    api_base: ApiBase = None,
    gradient_lm: Annotated[
        str | None,
        typer.Option(
            "--gradient-lm",
            help="Another, larger LM that writes the gradients and updates.",
            rich_help_panel="The language model",
        ),
    ] = None,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_money: MaxMoney = None,
    as_json: Json = False,
) -> None:
    """Learn a user's persona, and publish it as the next version.

    Each step answers past queries again, criticizes the answers against the
    user's own (textual gradients), proposes personas, and accepts one only if
    it does better on interactions that wrote none of them. Stop it at any
    time: the same command goes on from there.

    [bold]Examples[/bold]

    personaagent compile --user amira
    personaagent compile --user elif --gradient-lm openai/gpt-4o --max-calls 500
    personaagent compile --user 110 --task lamp-2m --questions dev_questions.json
    personaagent compile --user amira --update rewrite --accept always
    """
    from personaagent.cli import align, render, session
    from personaagent.cli.steps import Display, scores

    settings = align.Settings(iterations, batch, replay, sampler, update, accept, seed, restart)
    choice = LMChoice(lm, api_base, max_calls, max_tokens, max_money)
    screen = render.screen(as_json=as_json)
    with redirect_stdout(screen.file), session.open_store(db) as store:
        asked = align.import_lamp(store, user, task, questions, outputs)
        kind = session.task_of(store, user, task)
        trainset = align.trainset(store, user, kind, seed)
        champion = store.of(user).persona(kind.name)
        connected = session.connect(choice)
        second = gradient_lm and session.connect(replace(choice, name=gradient_lm), like=connected)
        with (
            session.agent_of(store, kind, connected) as agent,
            Display(screen, connected.meter, settings.iterations, champion) as display,
        ):
            agent.memory.ready(user)
            watched = None
            if accept != "always":
                display.doing("watching the champion")
                watched = align.watch(agent, user, trainset)
            if watched and watched.rolled_back:
                champion = watched.champion
                display.rolled_back(watched)
            display.iteration(1)
            log, run = align.align(agent, trainset, settings, second or None, display.step)
            reason = align.reason(log)
            following = session.following(champion, log.last)
            align.keep_origins(store, following, kind, log, run, trainset[-1])
            persona = session.publish(store, following, champion, reason)
            log = replace(log, last=persona)
            used = connected.meter.snapshot()
            held_out = align.answer_held_out(agent, asked, log, display)
            display.doing("tracking")
            tracked = None if no_track else align.track(agent, log, connected, run, display)
    lines = render.changes(champion, persona)
    if as_json:
        render.print_json(
            {
                "user": user,
                "task": kind.name,
                "version": persona.version,
                "hash": persona.hash,
                "changed": persona != champion,
                "reason": reason,
                "loss": {"first": log.first_loss, "last": log.last_loss},
                "score": {"first": log.first_score, "last": log.last_score},
                "held_out": held_out,
                "lines": [{"sign": sign, "text": text} for sign, text in lines],
                "watched": watched
                and {"rolled_back": watched.rolled_back, "reason": watched.reason},
                "tracked": tracked,
                "log": log.to_dict(),
            }
        )
        return
    screen.print()
    screen.print(render.difference(lines))
    screen.print(scores(log, held_out))
    screen.print(f"{render.spent(used)}; stopped: {log.stopped}")
    if persona == champion:
        screen.print(f"{render.name_of(persona)} stays: nothing better was found")
    else:
        screen.print(f"published {render.name_of(persona)}: {reason}", soft_wrap=True)
    if tracked:
        screen.print(f"tracked as MLflow run {tracked}")
