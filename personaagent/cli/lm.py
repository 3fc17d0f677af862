"""`lm`: what an LM can do, found out by asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import Json, LMChoice
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.lm import PersonaLM

MEANINGS = {
    "alternatives": "log-probabilities listed a token",
    "form": "strictest form of an answer",
    "system": "system message",
    "temperature": "temperature",
    "limit": "name of the token limit",
    "room": "tokens for its thought",
    "output": "most tokens at once",
    "context": "tokens of prompt and answer",
    "prefills": "goes on with a begun answer",
}
SOURCES = {
    "option": "an option",
    "metadata": "the provider's metadata",
    "learned": "found out",
    "assumed": "assumed",
}


def lm(
    name: Annotated[
        str | None,
        typer.Argument(help="The LM, as --lm takes it.", show_default=False),
    ] = None,
    *,
    choice: LMChoice,
    as_json: Json = False,
) -> None:
    """Find out what an LM can do: two small calls. What is found is remembered for a week.

    [bold]Examples[/bold]

    personaagent lm embedded
    personaagent lm openai/gpt-5-mini
    personaagent lm qwen3 --api-base http://localhost:8000/v1 --json
    """
    from dataclasses import replace

    from personaagent.cli import render, session
    from personaagent.lm.capabilities import probe

    connected = session.connect(replace(choice, lm=name) if name else choice)
    probe(connected)
    if as_json:
        render.print_json(_data(connected))
    else:
        screen = render.screen(as_json=False)
        screen.print(_table(connected).rich())
        screen.print(render.spent(connected.meter.snapshot()), style="dim")


def _data(lm: PersonaLM) -> dict[str, Any]:
    return {
        "lm": lm.spec,
        "fingerprint": lm.fingerprint,
        "capabilities": {
            name: {"value": value, "source": source} for name, value, source in lm.known.table()
        },
        "usage": lm.meter.snapshot().to_dict(),
    }


def _table(lm: PersonaLM) -> Table:
    rows = [
        [MEANINGS[name], _worded(value), SOURCES[source]]
        for name, value, source in lm.known.table()
    ]
    return Table(columns=["what", "value", "known from"], rows=rows, title=lm.spec)


def _worded(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
