"""Exchangeable parts by name: ours, those of installed packages, and those that a program adds.

Every place that offers a choice reads the registry: options of the command line, settings, the
tuner, error messages. A package's own part joins by an entry point of the group
`personaagent.<kind>` (for example `personaagent.retrievers`), a program's by `add`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from personaagent.errors import DataError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Parts of one kind, loaded when they are asked for: importing them all would take seconds.

    Args:
        kind: what they are called, in the plural; part of the entry points' group.
        homes: ours by name, as "module:name".

    >>> shapes = Registry("shapes", {"counter": "collections:Counter"})
    >>> shapes.add("list", list)
    <class 'list'>
    >>> shapes.named("counter")("aab")["a"]
    2
    >>> shapes.known("lists")
    Traceback (most recent call last):
        ...
    personaagent.errors.DataError: 'lists' is none of the shapes (do you mean 'list'?); there are: \
counter, list
    """

    def __init__(self, kind: str, homes: Mapping[str, str]) -> None:
        self._kind = kind
        self._homes = dict(homes)
        self._added: dict[str, T] = {}

    @property
    def ours(self) -> tuple[str, ...]:
        """The names of our own parts, without a look at what is installed."""
        return tuple(self._homes)

    def add(self, name: str, part: T) -> T:
        """Make a part known under a name; the part.

        Raises:
            DataError: the name is taken.
        """
        if name in self and self[name] is not part:
            raise DataError(f"{self._kind}: the name '{name}' is taken")
        self._added[name] = part
        return part

    def known(self, name: str) -> str:
        """The name, where there is a part of it; nothing is loaded.

        Raises:
            DataError: there is none; it says which there are.
        """
        if name not in self:
            close = get_close_matches(name, self, n=1)
            hint = f" (do you mean '{close[0]}'?)" if close else ""
            raise DataError(
                f"'{name}' is none of the {self._kind}{hint}; there are: {', '.join(self)}"
            )
        return name

    def named(self, name: str) -> T:
        """The part of a name.

        Raises:
            DataError: see `known`.
        """
        return self[self.known(name)]

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        """Those of other packages; ours keep their names."""
        from importlib.metadata import entry_points  # as slow as all of a command's start

        found = entry_points(group=f"personaagent.{self._kind}")
        return {one.name: one for one in found if one.name not in self._homes}

    def __getitem__(self, name: str) -> T:
        if name in self._added:
            return self._added[name]
        if name in self._homes:
            module, _, attribute = self._homes[name].partition(":")
            return cast(T, getattr(import_module(module), attribute))
        return cast(T, self._installed[name].load())

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self._homes, *self._installed, *self._added])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._added or name in self._homes or name in self._installed
