"""The application: its commands, and what becomes of an error.

Nothing heavy is imported here: `--help` must come at once. Each command imports what it needs when
it runs.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, get_type_hints

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


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter whose type is a dataclass replaced by its fields; a field
    whose type is one, by the fields of that."""
    hints = get_type_hints(command, include_extras=True)
    hints.pop("return", None)
    kinds: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    shown: dict[str, inspect.Parameter] = {}
    for name, one in inspect.signature(command).parameters.items():
        if name in kinds:
            shown |= _parameters(kinds[name])
        else:
            shown[name] = one.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)

    def run(**options: Any) -> None:
        groups = {name: _made(kind, options) for name, kind in kinds.items()}
        command(**groups, **options)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {name: one.annotation for name, one in shown.items()}
    vars(run)["__signature__"] = inspect.Signature(list(shown.values()))
    return run


def _parameters(kind: Any) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, inspect.Parameter] = {}
    for field in fields(kind):
        if is_dataclass(hint := hints[field.name]):
            found |= _parameters(hint)
            continue
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        found[field.name] = inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint
        )
    return found


def _made(kind: Any, options: dict[str, Any]) -> Any:
    """A dataclass of the options that it names, which are taken out; of those that are not there
    (where Python calls the command) the defaults."""
    given: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if is_dataclass(hint):
            given[name] = _made(hint, options)
        elif name in options:
            given[name] = options.pop(name)
    return kind(**given)


if find_spec("personaagent.cli.demo"):
    app.command("demo")(grouped(import_module("personaagent.cli.demo").demo))
app.command("import")(data.import_files)
app.command("users")(data.users)
app.command("compile")(grouped(compile_persona))
app.command("ask")(grouped(ask))
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
app.command("worker")(grouped(worker))
app.command("queue")(queue)
app.command("serve")(grouped(serve))
app.add_typer(keys.app, name="keys")
app.command("export-all")(export_all)
app.command("sync")(sync)
app.command("forget")(forget)
app.command("lm")(grouped(lm))
app.command("mcp")(grouped(mcp))
app.command("evaluate")(grouped(evaluate))
app.command("pool")(grouped(pool))
app.command("tune")(grouped(tune))
app.command("ablate")(grouped(trials.ablate))
app.command("scale")(grouped(trials.scale))
app.command("efficiency")(grouped(trials.efficiency))
app.command("coldstart")(grouped(trials.coldstart))
app.command("personas")(grouped(personas))
app.add_typer(lamp.app, name="lamp")
