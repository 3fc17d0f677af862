"""Who holds a lease: a process, named so that others can see whether it still lives.

A lease runs out by itself. But where its holder ran on this machine and is gone, nobody needs to
wait for that.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Holder:
    """A process at work; as text it is what a lease is signed with.

    Attributes:
        work: what it does, such as `worker` or `compile`.
        host: the name of its machine, for people.
        place: of the machine since it was started, and its container: within one, ids of
            processes name the same ones.
        process: its id.
        mark: tells two of one process apart.
    """

    work: str
    host: str
    place: str
    process: int
    mark: str

    @classmethod
    def new(cls, work: str) -> Self:
        """This process."""
        return cls(work, socket.gethostname(), _place(), os.getpid(), uuid.uuid4().hex)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The holder of a signature, None where it is in another form."""
        parts = text.split("/")
        if len(parts) != 5 or not parts[3].isdigit():
            return None
        work, host, place, process, mark = parts
        return cls(work, host, place, int(process), mark)

    def __str__(self) -> str:
        host = self.host.replace("/", "_")
        return f"{self.work}/{host}/{self.place}/{self.process}/{self.mark}"

    @property
    def gone(self) -> bool:
        """Whether it is known to be dead; False where that cannot be known from here."""
        if self.place != _place() or os.name == "nt":  # there, signal 0 is no question
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's, and alive
            return False
        return False

    def described(self) -> str:
        """In words."""
        return f"'{self.work}', process {self.process} on {self.host}"


def gone(signature: str) -> bool:
    """Whether the holder of a lease is known to be dead."""
    holder = Holder.read(signature)
    return holder is not None and holder.gone


def same_process(one: str | None, other: str | None) -> bool:
    """Whether two leases are held by one process."""
    a, b = Holder.read(one or ""), Holder.read(other or "")
    return a is not None and b is not None and (a.place, a.process) == (b.place, b.process)


def described(signature: str | None) -> str:
    """The holder of a lease, in words."""
    holder = Holder.read(signature or "")
    return "another process" if holder is None else holder.described()


@cache
def _place() -> str:
    told = [socket.gethostname(), *filter(None, map(_told, _TELLING))]
    return sha256("\n".join(told).encode()).hexdigest()[:16]


_TELLING = ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid")


def _told(name: str) -> str:
    path = Path(name)
    try:
        return str(path.readlink()) if path.is_symlink() else path.read_text()
    except OSError:  # not Linux
        return ""
