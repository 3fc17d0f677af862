"""Writes docs/command-line.md: every command with its options, as `--help` has them.

`python docs/command_line.py` after a change of the command line; a test fails when that was
forgotten.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.main import get_command

from personaagent.cli.app import app

PAGE = Path(__file__).parent / "command-line.md"
PREFACE = """\
# The command line

Every command and option, generated from the program by `python docs/command_line.py`. What the
commands are for, in the order of a first use: [usage](usage.md).
"""


def page() -> str:
    """The page as it should be."""
    return PREFACE + "".join(_command(get_command(app), "personaagent", 2))


def _command(command: Any, name: str, depth: int) -> list[str]:
    context = command.context_class(command, info_name=name)
    said, _, examples = (command.help or "").partition("[bold]Examples[/bold]")
    written = [f"\n{'#' * depth} {name}\n\n{_flowing(said)}\n"]
    if examples.strip():
        lines = [line for line in examples.strip().splitlines() if line.strip()]
        written.append("\n```\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n")
    params = [one for one in command.get_params(context) if one.name != "help"]
    rows = [_row(record) for one in params if (record := one.get_help_record(context))]
    if rows:
        written.append("\n| argument or option | what it does |\n|---|---|\n" + "".join(rows))
    for child in command.list_commands(context) if hasattr(command, "list_commands") else ():
        written += _command(command.get_command(context, child), f"{name} {child}", 3)
    return written


def _row(record: tuple[str, str]) -> str:
    name, said = (" ".join(text.split()).replace("|", "\\|") for text in record)
    return f"| `{name}` | {_plain(said)} |\n"


def _flowing(said: str) -> str:
    paragraphs = re.split(r"\n\s*\n", said.strip())
    return "\n\n".join(_plain(" ".join(one.split())) for one in paragraphs)


def _plain(said: str) -> str:
    """Without the terminal's markup, and with nothing that Markdown would take for its own."""
    return re.sub(r"\[/?(bold|dim|italic)\]", "", said).replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
