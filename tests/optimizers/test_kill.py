"""kill -9 in the middle of an alignment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}


def start(database: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(TESTS / "optimizers" / "aligner.py"), database, log, seconds]
    return subprocess.Popen(
        [str(part) for part in command], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )


def calls(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    folder = tmp_path_factory.mktemp("undisturbed")
    told, _ = start(folder / "memory.db", folder / "log", 0).communicate(timeout=120)
    return told, calls(folder / "log")


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_killed_alignment_goes_on_and_repeats_no_finished_call(
    share: float, undisturbed: tuple[str, int], tmp_path: Path
) -> None:
    told, needed = undisturbed
    assert "mentions" in told  # it learned something
    log = tmp_path / "log"
    process = start(tmp_path / "memory.db", log, 0.1)
    deadline = time.monotonic() + 60
    while calls(log) < share * needed and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    killed_at = calls(log)
    assert 0 < killed_at < needed

    again, _ = start(tmp_path / "memory.db", log, 0).communicate(timeout=120)

    assert again == told
    in_flight = 2 + 1  # the slots' own, and a step's last value that was not yet written down
    assert needed <= calls(log) <= needed + in_flight
