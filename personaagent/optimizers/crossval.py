"""What a setting brings a user: a persona learned from the earlier interactions, judged on the
later ones.

The later ones are in no memory while it learns or answers, so nothing of them can be seen; and they
are the same for every setting, so that settings are compared user by user.

Users come in folds, so that what is learned on some is judged on others.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import dspy

from personaagent.data import Interaction, Persona, Task, self_supervised_pairs
from personaagent.errors import DataError
from personaagent.lm import Usage
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.replay import Replay
from personaagent.optimizers.selection import means
from personaagent.optimizers.setting import Setting
from personaagent.optimizers.user_pool import Done, side_by_side
from personaagent.optimizers.worklog import Ledger
from personaagent.programs import PersonaAgent

if TYPE_CHECKING:
    from personaagent.optimizers.ray_pool import RayPool
    from personaagent.optimizers.user_pool import Attempt

FOLDS = 5  # what is learned on four of them is judged on the fifth


def no_worse(losses: Sequence[float], least: Sequence[float], users: Sequence[str]) -> bool:
    """Whether they lose to the others by no more than one standard error of the difference."""
    lost = [mine - best for mine, best in zip(losses, least, strict=True)]
    return fmean(lost) <= standard_error(lost, users)


def standard_error(values: Sequence[float], users: Sequence[str]) -> float:
    """The standard error of their mean, which several values of a user make no surer than they are:
    a user's deviations add up before they are squared."""
    mean, apart = fmean(values), defaultdict[str, float](float)
    for value, user in zip(values, users, strict=True):
        apart[user] += value - mean
    spread = sum(deviation**2 for deviation in apart.values()) * len(apart) / (len(apart) - 1)
    return math.sqrt(spread) / len(values)


def fold_of(user: str) -> int:
    """The fold of a user, which depends on the name alone."""
    return int(hashlib.sha256(f"fold {user}".encode()).hexdigest(), 16) % FOLDS


FEWEST = 8  # interactions of a user that settings can be compared on


@dataclass(frozen=True, slots=True)
class Outcome:
    """One setting for one user. `loss` (nats) and `score` (1 is best) are means over the later
    interactions; `calls`, `tokens` and `seconds` (of the calls, summed) are what learning and
    answering take where nothing is known yet."""

    loss: float
    score: float
    calls: int
    tokens: int
    seconds: float
    directives: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Split:
    """A user's interactions, oldest first: the earlier ones teach, the later ones judge. `known`
    is what memory holds."""

    known: tuple[Interaction, ...]
    earlier: tuple[Interaction, ...]
    later: tuple[Interaction, ...]

    @classmethod
    def latest(cls, history: Sequence[Interaction], held_out: int) -> Split:
        """The latest `held_out` judge, at most a third.

        Raises:
            DataError: the user has too few.
        """
        cut = _cut(history, held_out)
        return cls(tuple(history[:cut]), tuple(history[:cut]), tuple(history[cut:]))

    @classmethod
    def papers(
        cls, histories: Mapping[str, Sequence[Interaction]], held_out: int, seed: int
    ) -> dict[str, Split]:
        """By user, for histories without answers (LaMP-1): the questions are made of the papers.
        Those about a user's latest papers judge, and of these papers nothing else knows.

        Raises:
            DataError: a user has too few, or all papers are one user's.
        """
        cuts = {user: _cut(papers, held_out) for user, papers in histories.items()}
        known = {user: tuple(papers[: cuts[user]]) for user, papers in histories.items()}
        late = {one.id for user, papers in histories.items() for one in papers[cuts[user] :]}
        earlier = self_supervised_pairs(known, seed)
        later = [
            one for one in self_supervised_pairs(histories, seed) if one.metadata["stem"] in late
        ]
        return {
            user: cls(
                known[user],
                tuple(one for one in earlier if one.user == user),
                tuple(one for one in later if one.user == user),
            )
            for user in histories
        }


def _cut(history: Sequence[Interaction], held_out: int) -> int:
    if len(history) < FEWEST:
        raise DataError(f"{len(history)} interactions are too few to tune on: {FEWEST} are needed")
    return len(history) - min(held_out, len(history) // 3)


class HeldOut:
    """Judges settings on held-out interactions; every LM call is made once, whoever asks again.

    Args:
        task: what is answered.
        memory: over a store of its own, which knows the earlier interactions and no others.
        splits: by user.
        run: names the journals: task, LM and splits must be the same where it is.
        gradient_lm: another LM for gradients and updates; it counts into the same meter.
        pool: desks with the same judge, that do the work instead of this process.
    """

    def __init__(
        self,
        task: Task,
        memory: EpisodicMemory,
        splits: Mapping[str, Split],
        run: str,
        *,
        gradient_lm: dspy.LM | None = None,
        pool: RayPool[HeldOut] | None = None,
    ) -> None:
        self.pool = pool
        self.task = task
        self.memory = memory
        self.splits = splits
        self.run = run
        self.gradient_lm = gradient_lm
        memory.add(
            (one for split in splits.values() for one in split.known),
            tasks={task.name: task},
        )

    @property
    def users(self) -> list[str]:
        """Whom the settings are judged on, in this order."""
        return list(self.splits)

    def __call__(self, setting: Setting) -> Generator[tuple[str, Outcome]]:
        """Every user as it ends, side by side on the slots of DSPy's LM.

        Raises:
            LMError: the LM failed; what was done is kept.
        """
        judging = Judging(setting)
        everyone: Generator[Done[str, Outcome]]
        if self.pool is not None:
            everyone = self.pool.side_by_side(judging, self.users)
        else:
            everyone = side_by_side(lambda user: judging(self, user), self.users, dspy.settings.lm)
        with closing(everyone):
            for done in everyone:
                if done.error is not None:
                    raise done.error
                assert done.result is not None
                yield done.user, done.result

    def of(self, setting: Setting, user: str) -> Outcome:
        """What the setting brings one user."""
        split = self.splits[user]
        journal = self.memory.store.of(user).journal(f"held-out/{self.run}")
        ledger = Ledger(journal, dspy.settings.lm.meter)
        alignment = setting.alignment(record=ledger, gradient_lm=self.gradient_lm)
        # A persona of its own: a published one may have learned from the later interactions.
        agent = PersonaAgent(self.task, self.memory, persona=Persona(user, self.task.name))
        learned = alignment.compile(agent, trainset=split.earlier).alignment.last
        answered = Replay(agent, ledger)(learned, split.later)
        spent: Usage = ledger.spent
        return Outcome(
            *means(answered),
            spent.calls,
            spent.tokens,
            spent.seconds,
            len(learned.directives),
        )


@dataclass(frozen=True, slots=True)
class Judging:
    """What a setting brings one user, as work of a pool."""

    setting: Setting

    def __call__(self, judge: HeldOut, user: str, attempt: Attempt | None = None, /) -> Outcome:
        del attempt
        return judge.of(self.setting, user)
