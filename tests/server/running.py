"""`personaagent` as a process of its own, with a stand-in embedder: run as a script."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from standins import HashEmbedder

from personaagent import memory

memory.SentenceEmbedder = HashEmbedder  # in workers too, which import this anew

TESTS = Path(__file__).parents[1]


@contextmanager
def served(
    database: Path | str, *options: str, folder: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of a database on a free port: its process, and its address.

    Its files are beside the database, or in a folder of its own.
    """
    folder = Path(database).parent if folder is None else folder
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, __file__, "serve", "--port", "0", "--db", str(database), *options],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "OPENAI_API_KEY": "none",
        },
        stderr=(folder / "log").open("w"),
        text=True,
    )
    try:
        yield process, _address(process, folder / "log")
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    import time

    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("serving "):
                return line.split()[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


if __name__ == "__main__":
    from personaagent.cli import main

    main()
