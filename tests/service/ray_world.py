"""What the tests of Ray need in other processes: a trainer with a stand-in LM that takes its time
and writes down when it is at work."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dspy import lm15
from rulebook import RuleBook
from standins import HashEmbedder
from worlds_of_mail import INBOX, READINGS

from personaagent.lm.capabilities import Known
from personaagent.lm.meter import Meter
from personaagent.lm.model import Identity, PersonaLM
from personaagent.memory import EpisodicMemory, Store
from personaagent.optimizers import Setting
from personaagent.optimizers.crossval import HeldOut, Split
from personaagent.service import Trainer

SETTING = Setting(1, replay=6)


class Slow:
    """A rule book that is asked over a network; each call is a line in a file of its process.

    Nothing is answered before as many processes ask as are to work `together`: else the first
    may have done everything when a second, slow to start, begins.
    """

    supports_response_schema = True
    supported_params = RuleBook.supported_params

    def __init__(self, folder: Path, latency: float, together: int) -> None:
        self._book = RuleBook(INBOX, READINGS)
        self._folder, self._together = folder, together
        self._latency = latency
        self._log = folder / f"calls-{os.getpid()}"

    def complete(self, request: lm15.Request) -> lm15.Response:
        self._log.touch()
        while len(processes(self._folder)) < self._together:
            time.sleep(0.02)
        began = time.time()
        time.sleep(self._latency)
        said = self._book.complete(request)
        with self._log.open("a") as log:
            log.write(f"{began} {time.time()}\n")
        return said


@dataclass(frozen=True)
class Make:
    """Makes a trainer of a database; pickled by name, so that workers can import it."""

    database: str
    folder: Path
    latency: float
    spec: str = "slow"
    together: int = 1

    def __call__(self, slots: int) -> tuple[PersonaLM, Trainer]:
        lm, memory = self.parts(slots)
        return lm, Trainer(memory, lm, SETTING)

    def parts(self, slots: int) -> tuple[PersonaLM, EpisodicMemory]:
        """What evaluations need."""
        identity = Identity(self.spec, None, "slow", slots, 60.0, 0, 0.0)
        lm: Any = PersonaLM(
            "sim/slow",
            identity,
            known=Known({"alternatives": 20}, name=self.spec, fixed=True),
            meter=Meter(),
            budget=None,
            cache=False,
            engine=Slow(self.folder, self.latency, self.together),
        )
        return lm, EpisodicMemory(Store(self.database), HashEmbedder(dimensions=512))

    def judge(self, splits: Mapping[str, Split], slots: int) -> tuple[PersonaLM, HeldOut]:
        """What tries settings."""
        lm, memory = self.parts(slots)
        return lm, HeldOut(INBOX, memory, splits, "run")


def processes(folder: Path) -> list[int]:
    """The processes that have asked the LM."""
    return [int(log.name.split("-")[1]) for log in folder.glob("calls-*")]


def most_at_once(folder: Path) -> int:
    """The most calls under way at any moment."""
    moments: Counter[tuple[float, int]] = Counter()
    for log in folder.glob("calls-*"):
        for line in log.read_text().splitlines():
            began, ended = map(float, line.split())
            moments[began, 1] += 1
            moments[ended, 0] += 1
    most = now = 0
    for (_, begins), count in sorted(moments.items()):
        now += count if begins else -count
        most = max(most, now)
    return most
