"""What a caller gives, checked where it is given: a wrong argument is named at once, and not found
out later by whatever it breaks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from personaagent.errors import DataError

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
