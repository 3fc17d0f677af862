"""Files and folders that only their owner may read, from the moment they are there.

Whatever holds users' texts is made by these: a file that is narrowed afterwards was open for a
moment, and the log of a database takes the permissions of the database. What is there already
stays as it is; whoever widened it meant to.
"""

from __future__ import annotations

import os
from pathlib import Path


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
