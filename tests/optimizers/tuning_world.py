"""Settings whose outcomes are known by a formula, and a process that tunes on them slowly."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from pathlib import Path

from personaagent.optimizers.crossval import Outcome
from personaagent.optimizers.setting import Setting, Space
from personaagent.optimizers.tuner import Tuner

SPACE = Space(Setting())


class Formula:
    """The loss falls with iterations up to 4, is least at batch 3, and knows nothing of k; the
    cost rises with all three. Users differ a lot, and far more than settings do."""

    def __init__(self, users: int = 8, seconds: float = 0.0, log: Path | None = None) -> None:
        self.users = [f"user-{n}" for n in range(users)]
        self.seconds = seconds
        self.log = log
        self.asked: list[tuple[Setting, str]] = []

    def outcome(self, setting: Setting, user: str) -> Outcome:
        at = int(user.rpartition("-")[2])
        loss = at + 0.3 * abs(setting.batch - 3) ** 0.5 - 0.2 * min(setting.iterations, 4)
        tokens = 100 * setting.iterations * setting.batch + 50 * setting.k
        return Outcome(loss + 0.01 * (at % 3), 0.5, tokens // 100, tokens, tokens / 50, 1)

    def __call__(self, setting: Setting) -> Generator[tuple[str, Outcome]]:
        for user in self.users:
            time.sleep(self.seconds)
            self.asked.append((setting, user))
            yield user, self.outcome(setting, user)
        if self.log:
            with self.log.open("a") as log:
                log.write(f"{setting.batch} {setting.iterations} {setting.k}\n")


def main() -> None:
    folder, log, seconds, trials = sys.argv[1:]
    judge = Formula(seconds=float(seconds), log=Path(log))
    Tuner(judge, SPACE, Path(folder), "world")(int(trials))


if __name__ == "__main__":
    main()
