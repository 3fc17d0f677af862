"""The programs whose exports can be imported: one entry a program.

A new one is a reader, `read(path, user=…, task=…, account=…)`, and its entry here; the command line
and the check of the documentation go by it. Readers are loaded when they read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personaagent.data import Interaction


@dataclass(frozen=True, slots=True)
class Importer:
    """How the export of a program is read.

    Attributes:
        module: where the reader is.
        reader: its name.
        messages: whether the export holds what the user wrote, so that it needs a user and a task
            of free text.
    """

    module: str
    reader: str
    messages: bool = True

    def read(self, path: object, **options: Any) -> Iterator[Interaction]:
        """What the reader gives for a file."""
        read: Callable[..., Iterator[Interaction]] = getattr(
            import_module(self.module), self.reader
        )
        return read(path, **options)


IMPORTERS = {
    "chatgpt": Importer("personaagent.data.importers.chatgpt", "read_chatgpt"),
    "claude": Importer("personaagent.data.importers.claude", "read_claude"),
    "gemini": Importer("personaagent.data.importers.gemini", "read_gemini"),
    "mem0": Importer("personaagent.data.importers.mem0", "read_mem0", messages=False),
}
