"""Names of files that are made of what users and tasks are called, and files that only their owner
may read.

Names are safe on Linux, Windows and macOS at any length: no character that one of them forbids, no
name that Windows keeps for devices, and no two that a file system without case would confuse.

Whatever holds users' texts is made private from the moment it is there: a file that is narrowed
afterwards was open for a moment, and the log of a database takes the permissions of the database.
What is there already stays as it is; whoever widened it meant to.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_LONGEST = 90  # bytes of a part: two of them, a version and a suffix stay below 255
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)", re.I)


def file_name(*parts: str, suffix: str = "") -> str:
    """The parts with hyphens between, and a suffix.

    What is forbidden, and a hyphen in all parts but the last, is percent-encoded, so that other
    parts are another name. Where that is not enough (capital letters, great length) a part ends
    in `~` and some digits of its hash.
    """
    *first, last = parts
    name = "-".join([*(_part(one, r"[^\w@.+ ]") for one in first), _part(last, r"[^\w@.+ -]")])
    name += suffix
    if _DEVICES.match(name) or name.startswith((".", " ")):
        name = _encoded(name[0]) + name[1:]
    if name.endswith((".", " ")):
        name = name[:-1] + _encoded(name[-1])
    return name


def _part(text: str, forbidden: str) -> str:
    plain = re.sub(forbidden, lambda match: _encoded(match[0]), text)
    short = plain.encode()[:_LONGEST].decode(errors="ignore")
    if short == plain and text == text.casefold():
        return plain
    short = re.sub(r"%[0-9A-F]?$", "", short)  # not half of an encoded byte
    return f"{short}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(exist_ok=True)  # refuses a file in its place


def private_file(path: Path) -> None:
    """Make an empty file, where there is none.

    Raises:
        OSError: it cannot be made.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
