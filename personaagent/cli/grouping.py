"""Options that several commands share, as a dataclass that each of them takes whole.

A command with a parameter `given: Given` shows the options of Given's fields in its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


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
