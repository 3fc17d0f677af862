"""The application: its commands, and what becomes of an error.

Nothing heavy is imported here: `--help` must come at once. Each command imports what it needs when
it runs.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from personaagent.cli import approval, data, editing, export, keys, lamp, show, trials, versions
from personaagent.cli.ask import ask
from personaagent.cli.compile import compile_persona
from personaagent.cli.evaluate import evaluate
from personaagent.cli.forget import forget
from personaagent.cli.interactions import interactions
from personaagent.cli.lm import lm
from personaagent.cli.mcp import mcp
from personaagent.cli.observe import observe
from personaagent.cli.personas import personas
from personaagent.cli.pool import pool
from personaagent.cli.quarantine import quarantine
from personaagent.cli.serve import serve
from personaagent.cli.sync import export_all, sync
from personaagent.cli.tune import tune
from personaagent.cli.worker import queue, worker
from personaagent.errors import PersonaAgentError


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what it holds is given back."""


class Commands(TyperGroup):
    """Commands in the order of a first use, whose errors are messages and not tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PersonaAgentError as error:
            _complain("error", str(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stop:
            _complain("stopped", "the same command goes on from here", sign=";", style="yellow")
            raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # they hold users' data
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"personaagent {version('personaagent')}")
        raise typer.Exit


@app.callback()
def personaagent(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and stop."
        ),
    ] = False,
) -> None:
    """LLM agents that become personal.

    A persona is learned from what a user really answered, and is only ever
    replaced by one that did better on replay.

    [bold]Examples[/bold]

    personaagent import history.jsonl --tasks tasks.json
    personaagent compile --user amira
    personaagent ask "The car needs new tyres." --user amira --trace
    """


def main() -> None:
    """Run the command line.

    A third of a command's start and end went to the garbage collector, which looks at the libraries
    again and again as they are loaded, and once more as they are let go.
    """
    gc.set_threshold(300_000)
    atexit.register(gc.freeze)
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _stop)
    app(prog_name="personaagent")


def _terminate(*_: object) -> None:
    raise Terminated


def _stop(*_: object) -> None:
    """Ctrl-C: what is under way ends, and what is done is kept. A second one does not wait."""
    signal.signal(signal.SIGINT, _stop_at_once)
    raise KeyboardInterrupt


def _stop_at_once(*_: object) -> None:
    """Leave without unwinding: nothing is lost that a kill would not lose."""
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # progress bars hide the cursor
    os._exit(130)


def _complain(what: str, message: str, *, sign: str = ":", style: str = "bold red") -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((what + sign, style), " ", message)
    Console(stderr=True, soft_wrap=True).print(text)


if find_spec("personaagent.cli.demo"):
    app.command("demo")(import_module("personaagent.cli.demo").demo)
app.command("import")(data.import_files)
app.command("users")(data.users)
app.command("compile")(compile_persona)
app.command("ask")(ask)
app.command("observe")(observe)
app.command("interactions")(interactions)
app.command("quarantine")(quarantine)
app.command("show")(show.show)
app.command("blame")(show.blame)
app.command("history")(versions.history)
app.command("diff")(versions.diff)
app.command("rollback")(versions.rollback)
app.command("edit")(editing.edit)
app.command("pin")(editing.pin)
app.command("unpin")(editing.unpin)
app.command("approval")(approval.approval)
app.command("waiting")(approval.waiting)
app.command("approve")(approval.approve)
app.command("reject")(approval.reject)
app.command("export")(export.export)
app.command("restore")(export.restore)
app.command("worker")(worker)
app.command("queue")(queue)
app.command("serve")(serve)
app.add_typer(keys.app, name="keys")
app.command("export-all")(export_all)
app.command("sync")(sync)
app.command("forget")(forget)
app.command("lm")(lm)
app.command("mcp")(mcp)
app.command("evaluate")(evaluate)
app.command("pool")(pool)
app.command("tune")(tune)
app.command("ablate")(trials.ablate)
app.command("scale")(trials.scale)
app.command("efficiency")(trials.efficiency)
app.command("coldstart")(trials.coldstart)
app.command("personas")(personas)
app.add_typer(lamp.app, name="lamp")
