"""Who may import whom: data, memory, lm, then programs, optimizers, service, and then commands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import personaagent

HOUSE = Path(personaagent.__file__).parent
BELOW = ("data", "memory", "lm", "signatures", "programs", "optimizers", "tracking")


def imported(folder: str) -> set[str]:
    """The rooms that a room's files import, here or there in them."""
    found = set()
    for file in (HOUSE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "personaagent":
                found |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "personaagent."
            ):
                found.add(str(node.module).split(".")[1])
            elif isinstance(node, ast.Import):
                found |= {
                    one.name.split(".")[1] for one in node.names if "personaagent." in one.name
                }
    return found


@pytest.mark.parametrize("room", BELOW)
def test_nothing_below_the_service_imports_it_or_the_commands(room):
    assert imported(room)
    assert not imported(room) & {"service", "cli"}


def test_the_service_imports_no_command_and_no_experiment():
    rooms = imported("service")
    assert {"memory", "optimizers", "programs"} <= rooms
    assert not rooms & {"cli", "evaluation", "experiments"}
