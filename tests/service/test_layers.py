"""Who may import whom: a room uses rooms of lower floors, never one of its own floor or above."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import personaagent

HOUSE = Path(personaagent.__file__).parent
FLOORS = [
    {"beside", "errors", "lazy", "progress", "table"},
    {"client", "files", "registry"},
    {"policies"},
    {"data", "signatures"},
    {"memory", "lm"},
    {"programs"},
    {"optimizers"},
    {"artifacts"},
    {"archive", "tracking"},
    {"experiments"},
    {"privacy"},
    {"service"},
    {"server"},
    {"cli"},
]
ROOMS = [room for floor in FLOORS for room in sorted(floor)]


def imported(room: str) -> set[str]:
    """The rooms that a room's files import, here or there in them."""
    found = set()
    path = HOUSE / room
    for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
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
    return found - {room}


def test_every_room_has_its_floor():
    files = {one.stem for one in HOUSE.glob("*.py")} - {"__init__", "__main__"}
    rooms = {one.parent.name for one in HOUSE.glob("*/__init__.py")}
    assert files | rooms == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_floors_below_its_own(room):
    floor = next(i for i, rooms in enumerate(FLOORS) if room in rooms)
    below = {one for rooms in FLOORS[:floor] for one in rooms}
    assert imported(room) <= below


def test_the_service_imports_no_experiment():
    rooms = imported("service")
    assert {"memory", "optimizers", "programs"} <= rooms
    assert "experiments" not in rooms
