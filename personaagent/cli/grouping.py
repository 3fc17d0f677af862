"""Options that several commands share, as a dataclass that each of them takes whole.

A command with a parameter `given: Given` shows the options of Given's fields in its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter whose type is a dataclass replaced by its fields."""
    hints = get_type_hints(command, include_extras=True)
    hints.pop("return", None)
    kinds: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    shown: dict[str, inspect.Parameter] = {}
    for name, one in inspect.signature(command).parameters.items():
        if name not in kinds:
            shown[name] = one.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        of = get_type_hints(kinds[name], include_extras=True)
        shown |= {field.name: _parameter(field, of[field.name]) for field in fields(kinds[name])}

    def run(**options: Any) -> None:
        groups = {
            name: kind(**{field.name: options.pop(field.name) for field in fields(kind)})
            for name, kind in kinds.items()
        }
        command(**groups, **options)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {name: one.annotation for name, one in shown.items()}
    vars(run)["__signature__"] = inspect.Signature(list(shown.values()))
    return run


def _parameter(field: Field[Any], annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=default, annotation=annotation)
