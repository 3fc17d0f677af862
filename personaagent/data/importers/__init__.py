"""The programs whose exports can be imported, by name.

A new one is a module here with an `IMPORTER`, and its entry below; or a package's own, by an entry
point of the group `personaagent.importers`. The command line and the check of the documentation go
by the registry. Readers are loaded when they read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personaagent.registry import Registry

if TYPE_CHECKING:
    from personaagent.data import Interaction


@dataclass(frozen=True, slots=True)
class Importer:
    """How the export of a program is read.

    Attributes:
        read: called as `read(path, user=…, task=…, account=…)`; gives interactions.
        messages: whether the export holds what the user wrote, so that it needs a task of free
            text.
        named: whether it may say itself whose data it is; otherwise it needs a user.
    """

    read: Callable[..., Iterator[Interaction]]
    messages: bool = True
    named: bool = False


IMPORTERS: Registry[Importer] = Registry(
    "importers",
    {
        "chatgpt": f"{__name__}.chatgpt:IMPORTER",
        "claude": f"{__name__}.claude:IMPORTER",
        "gemini": f"{__name__}.gemini:IMPORTER",
        "mem0": f"{__name__}.mem0:IMPORTER",
        "roles": f"{__name__}.roles:IMPORTER",
    },
)
