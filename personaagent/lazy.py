"""Public names that are imported when they are first asked for: DSPy, SQLAlchemy and torch take
seconds, and `personaagent --help` needs none of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package, for the names that it imports for type checkers.

    Args:
        package: its `__name__`.
    """
    homes = _imported(package)

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    def names() -> list[str]:
        there = vars(sys.modules[package]).items()
        own = {one for one, value in there if one[:2] == "__" or isinstance(value, ModuleType)}
        return sorted(own | homes.keys())

    return get, names


def _imported(package: str) -> dict[str, str]:
    """By name the module of a package that its `if TYPE_CHECKING:` imports it from."""
    spec = sys.modules[package].__spec__
    source = spec.loader.get_source(package) if spec and spec.loader else None  # type: ignore[attr-defined]
    return {
        name.name: (statement.module or "").removeprefix(f"{package}.")
        for block in ast.parse(source or "").body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }
