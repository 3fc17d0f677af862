"""Outside data and callers' arguments, checked where they are given: each error says where, what
and how to put it right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from personaagent.data.normal import normal
from personaagent.errors import DataError

Refuse = Callable[[str, str], DataError]
"""The error for (field, problem), which knows the place."""


class Row(BaseModel):
    """Strict: no value is converted and no unknown field is let through."""

    model_config = ConfigDict(strict=True, extra="forbid")


_R = TypeVar("_R", bound=Row)


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text


Filled = Annotated[str, AfterValidator(_filled)]
"""A text with something in it."""


def _named(id: str) -> str:
    _filled(normal(id))
    return id


UserId = Annotated[str, AfterValidator(_named)]
"""A text that names somebody, as it is written."""


def parse_json(raw: bytes, path: str | Path, first_line: int = 1) -> object:
    """The JSON value of some bytes that begin at `first_line` of a file, as `opened` gives them.

    Raises:
        DataError: invalid UTF-8 or JSON, with line and column; a field that stands twice.
    """
    raw = raw.rstrip()  # where something is missing, it is missing at the end of the last line
    try:
        value: object = json.loads(raw.decode(), object_pairs_hook=_once)
        return value
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        column = error.start - raw.rfind(b"\n", 0, error.start)
        problem = f"column {column}: byte 0x{raw[error.start]:02x} is not UTF-8: save it as UTF-8"
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        problem = f"column {error.colno}: not valid JSON: {error.msg}"
    except (ValueError, RecursionError) as error:
        line, problem = first_line, f"not usable JSON: {error}"
    raise DataError(f"{path}: line {line}: {problem}")


def validated(model: type[_R], data: object, refuse: Refuse) -> _R:
    """The data as a row of the model.

    Raises:
        DataError: made by `refuse` for the first field that is wrong.
    """
    try:
        return model.model_validate(require_object(data, refuse))
    except ValidationError as error:
        # What is not known comes first: a misspelt field is also a missing one.
        first = min(error.errors(), key=lambda details: details["type"] != "extra_forbidden")
        field = ".".join(str(part) for part in first["loc"])
        raise refuse(field, _problem(first, model)) from error


def require_object(data: object, refuse: Refuse) -> dict[str, Any]:
    """The data itself, which must be a JSON object."""
    if not isinstance(data, dict):
        raise refuse("*", f"an object {{...}} is due, not {data!r:.60}")
    return data


def suggestion(word: str, known: Iterable[str]) -> str:
    """What was probably meant, and what there is."""
    names = list(known)
    close = get_close_matches(word, names, n=1)
    meant = f": did you mean '{close[0]}'?" if close else ""
    return f"{meant} (known: {', '.join(names) or 'none'})"


def _problem(details: ErrorDetails, model: type[Row]) -> str:
    value = f"{details['input']!r:.60}"
    match details["type"]:
        case "extra_forbidden":
            return f"it is not known{suggestion(str(details['loc'][-1]), model.model_fields)}"
        case "missing":
            return "it is missing: add it"
        case "string_type":
            return f"it must be a text in quotes, not {value}"
        case "value_error":
            return str(details["ctx"]["error"])
        case _:
            return f"{details['msg']}, not {value}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in data if names.count(name) > 1)
        raise ValueError(f"field '{twice}' stands twice: keep one")
    return data


T = TypeVar("T")


def text(what: str, value: object) -> None:
    """Refuse what is no text, or has nothing in it.

    Raises:
        DataError: names `what` it was to be.
    """
    if not isinstance(value, str):
        raise DataError(f"{what} is {_shown(value)}, must be text")
    if not value.strip():
        raise DataError(f"{what} is empty: give a text")


def whole(what: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number in this range.

    Raises:
        DataError: names `what` it was to be.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise DataError(f"{what} is {_shown(value)}, must be a whole number {wanted}")


def number(what: str, value: object, least: float, most: float = float("inf")) -> None:
    """Refuse what is no number in this range.

    Raises:
        DataError: names `what` it was to be.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        wanted = f"of at least {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
        raise DataError(f"{what} is {_shown(value)}, must be a number {wanted}")


def instance(what: str, value: object, kind: type | tuple[type, ...], remedy: str) -> None:
    """Refuse what is no such object.

    Raises:
        DataError: names `what` it was to be, what it is, and the remedy.
    """
    if not isinstance(value, kind):
        raise DataError(f"{what} is {_shown(value)}: {remedy}")


def every(what: str, values: Iterable[T], kind: type[T], remedy: str) -> list[T]:
    """The values as a list, each of them such an object.

    Raises:
        DataError: names `what` it was to be, which of them is wrong, and the remedy.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DataError(f"{what} is {_shown(values)}: {remedy}")
    listed = list(values)
    for at, value in enumerate(listed):
        instance(f"{what}[{at}]", value, kind, remedy)
    return listed


def _shown(value: object) -> str:
    """A number or a class as it is; else only its type: a value may be a user's text."""
    if value is None or isinstance(value, int | float):
        return repr(value)
    return f"of type {type(value).__name__}"
