"""Which files of the package a piece of work passes through, counted while it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import personaagent

_HOUSE = f"{Path(personaagent.__file__).parent}/"


@dataclass
class Trace:
    """`way` are the files on the call stack whenever one of the milestones was called, in the order
    in which they were first seen there; `entered` are all files of which a function ran."""

    way: dict[str, None] = field(default_factory=dict)
    entered: set[str] = field(default_factory=set)


@contextmanager
def traced(*milestones: str) -> Iterator[Trace]:
    """Watch the block, and the threads that it starts; what an import runs does not count.

    A milestone is a file and a qualified name, such as "memory/store.py:Store.add".
    """
    found, reached = Trace(), frozenset(milestones)

    def enters(frame: FrameType, event: str, argument: Any) -> None:
        del argument
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(_HOUSE):
            return
        file = code.co_filename.removeprefix(_HOUSE)
        milestone = f"{file}:{code.co_qualname}" in reached
        if (file in found.entered and not milestone) or code.co_name == "<module>":
            return
        stack = list(_stack(frame))
        if any(one.co_name == "<module>" for one in stack):
            return
        found.entered.add(file)
        if milestone:
            for one in reversed(stack):
                found.way.setdefault(one.co_filename.removeprefix(_HOUSE))

    threading.setprofile(enters)
    sys.setprofile(enters)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _stack(frame: FrameType | None) -> Iterator[Any]:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_HOUSE):
            yield frame.f_code
        frame = frame.f_back
