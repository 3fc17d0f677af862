"""Work that runs as somebody whom permissions bind: root may write to what is read-only."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOBODY = 65534


def unprivileged(work: Callable[[], Any]) -> Any:
    """What the work returns, done in another process; an exception is returned too."""
    read, write = os.pipe()
    if not (child := os.fork()):
        os.close(read)
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(said, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(said)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may read and write, wherever pytest's own are."""
    folder = Path(tempfile.mkdtemp(prefix="personaagent-test-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        for one in (folder, *folder.rglob("*")):
            one.chmod(0o777)
        shutil.rmtree(folder)
