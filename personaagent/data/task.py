"""A task decides what an answer is, how it is asked for, and how it is judged.

A user's own task takes three lines:

    inbox = Classification(
        "inbox", "Which folder does this message belong in?", labels=("work", "home")
    )
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from personaagent.data import validation
from personaagent.data.normal import form, same
from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.data.interaction import Interaction

FLOOR = 1e-6  # least probability of the truth that a loss counts with
_OPTIONS = re.compile(r'^(?P<stem>.*?)\s*\[1\]: "(?P<one>.*)" \[2\]: "(?P<two>.*)"\s*$', re.S)


@dataclass(frozen=True)
class Task:
    """Common part: `instruction` is asked before every query, `labels` is the closed set of
    answers (empty for free text), `item` and `answer` are the nouns for a query and its response,
    `example_item` the noun for a past query where it is not `item`. `lifetime` is for how many
    days an interaction counts where it does not say itself when it expires; None is for ever.
    """

    name: str
    instruction: str
    labels: tuple[str, ...] = ()
    item: str = "text"
    answer: str = "answer"
    example_item: str = ""
    lifetime: float | None = None

    def __post_init__(self) -> None:
        validation.text("the name of a task", self.name)
        validation.instance(f"task {self.name}: instruction", self.instruction, str, "give a text")
        for noun in ("item", "answer"):
            validation.text(f"task {self.name}: {noun}", getattr(self, noun))
        given: object = self.labels
        if not isinstance(given, list | tuple):
            raise DataError(
                f"task {self.name}: labels is of type {type(given).__name__}, must be a tuple of "
                'texts, such as ("work", "home")'
            )
        for label in given:
            validation.text(f"task {self.name}: a label", label)
        object.__setattr__(self, "labels", tuple(given))
        if self.lifetime is not None and not (
            isinstance(self.lifetime, int | float) and 0 < self.lifetime < math.inf
        ):
            raise DataError(
                f"task {self.name}: lifetime is {self.lifetime!r}, must be a number of days above 0"
            )

    def expiry(self, time: datetime | None) -> datetime | None:
        """When an interaction of that time expires; None without a lifetime or a time."""
        if self.lifetime is None or time is None:
            return None
        try:
            return time + timedelta(days=self.lifetime)
        except OverflowError:  # beyond the year 9999
            return None

    @property
    def output_type(self) -> Any:
        """The type of the LM's answer: `Literal[labels]` or `str`."""
        return Literal[self.labels] if self.labels else str

    def prompt(self, query: str) -> str:
        """Instruction and query in one line: LaMP's official input."""
        return f"{self.instruction} {self.question(query)}"

    @property
    def system(self) -> str:
        """What stays the same from query to query: the instruction, and the labels where it does
        not name them."""
        if all(label in self.instruction for label in self.labels):
            return self.instruction
        return f"{self.instruction} {self.answers}: [{', '.join(self.labels)}]"

    @property
    def answers(self) -> str:
        """The noun for several answers; one that ends in s may be said of several already."""
        return self.answer if self.answer.endswith("s") else f"{self.answer}s"

    def question(self, query: str) -> str:
        """What changes: the query under its noun."""
        return f"{self.item}: {query}"

    def read(self, query: str, labels_of: Callable[[str], dict[str, float]]) -> dict[str, float]:
        """The distribution over the labels for a query, by what `labels_of` reads of a query."""
        return labels_of(query)

    def decide(self, distribution: Mapping[str, float]) -> str:
        """The answer with the least expected loss: here the most probable label."""
        return max(distribution, key=lambda label: distribution[label])

    def example(self, query: str, response: str) -> str:
        """A past interaction in one line, label beside the item (the RAG snippet of LaMP).

        Evidence without an answer is quoted alone, as LaMP-1 does with the titles of a profile.
        """
        return self._answered(query, response) if response else f'"{query}"'

    def _answered(self, query: str, response: str) -> str:
        item = self.example_item or self.item
        return f'the {self.answer} for the {item}: "{query}" is "{response}"'

    def parse(self, answer: str) -> str:
        """The canonical form of an answer.

        Raises:
            DataError: the answer is none of the labels.
        """
        text = answer.strip()
        if not self.labels or text in self.labels:
            return text
        for label in self.labels:
            if same(label, text):
                return label
        raise DataError(
            f"task {self.name}: '{text}' is not one of its answers: {', '.join(self.labels)}"
        )

    def answered(self, query: str, response: str) -> str:
        """The canonical form of what a user really answered to a query.

        An empty response is no answer but evidence about the user, and stays empty.

        Raises:
            DataError: the response is blank, or none of the task's answers.
        """
        del query
        if response and not response.strip():
            raise DataError(f"task {self.name}: the answer is blank: give the user's answer")
        return self.parse(response) if response else ""

    def checked(self, past: Interaction) -> Interaction:
        """The interaction with its answer in the canonical form.

        Raises:
            DataError: the answer is none of the task's; names the interaction and what is allowed.
        """
        try:
            response = self.answered(past.query, past.response)
        except DataError as error:
            raise DataError(
                f"interaction '{past.id}' of user '{past.user}': field 'response': {error}"
            ) from error
        return past if response == past.response else replace(past, response=response)

    def loss(self, distribution: Mapping[str, float], gold: str) -> float:
        """-ln p of the true answer, in nats, finite where it was thought impossible.

        Raises:
            DataError: the true answer is none of the task's.
        """
        true = gold if gold in distribution else self.parse(gold)
        return -math.log(max(distribution[true], FLOOR))

    def score(self, answer: str, gold: str) -> float:
        """How good an answer is, in [0, 1], 1 is best."""
        return float(answer.strip() == gold.strip())


def given(task: Task) -> Task:
    """The task that a caller gives.

    Raises:
        DataError: it is something else, such as the name of one.
    """
    remedy = (
        'give a task, such as Classification("inbox", "Which folder?", labels=("work", "home"))'
    )
    validation.instance("task", task, Task, remedy)
    return task


@dataclass(frozen=True)
class Classification(Task):
    """One label of a closed set; metric: accuracy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({form(label) for label in self.labels} - {""}) < max(2, len(self.labels)):
            raise DataError(
                f"task {self.name}: a classification needs at least two labels, none empty and "
                "no two alike but for case and form"
            )


@dataclass(frozen=True)
class Rating(Task):
    """A whole number from `low` to `high`; metric: mean absolute error."""

    low: int = 1
    high: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for end in ("low", "high"):
            validation.whole(f"task {self.name}: {end}", getattr(self, end), -999, 999)
        if self.low >= self.high:
            raise DataError(f"task {self.name}: low ({self.low}) must be below high ({self.high})")
        scale = range(self.low, self.high + 1)
        labels = tuple(str(n) for n in scale)
        if self.labels not in ((), labels):
            raise DataError(f"task {self.name}: a rating has no labels but low and high")
        object.__setattr__(self, "labels", labels)

    def _answered(self, query: str, response: str) -> str:
        if self.answer.endswith("s"):  # "2 is the stars"
            return f'the {self.answer} for "{query}": {response}'
        return f'{response} is the {self.answer} for "{query}"'

    def decide(self, distribution: Mapping[str, float]) -> str:
        """The median, which has the least expected absolute error."""
        mass = accumulate(distribution[label] for label in self.labels)
        return next(
            (label for label, below in zip(self.labels, mass, strict=True) if below >= 0.5),
            self.labels[-1],
        )

    def score(self, answer: str, gold: str) -> float:
        return 1 - self.error(answer, gold) / (self.high - self.low)

    def error(self, answer: str, gold: str) -> float:
        """Absolute error; an unreadable answer counts as the end furthest from gold (LaMP)."""
        true = int(gold)
        try:
            return abs(int(answer) - true)
        except ValueError:
            return max(true - self.low, self.high - true)


@dataclass(frozen=True)
class Choice(Task):
    """Which of two options, [1] or [2], that stand in the query itself; metric: accuracy.

    A small LM prefers a position, so the answer is read in both orders (`swapped`).
    """

    labels: tuple[str, ...] = ("[1]", "[2]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels != ("[1]", "[2]"):
            raise DataError(f"task {self.name}: the answers of a choice are [1] and [2]")

    def prompt(self, query: str) -> str:
        return query

    def question(self, query: str) -> str:
        return query

    def answered(self, query: str, response: str) -> str:
        """As of any task; the query of an answer has its two options.

        Raises:
            DataError: the response is neither option, or the query lacks them.
        """
        if response:
            self.options(query)
        return super().answered(query, response)

    def options(self, query: str) -> tuple[str, str]:
        """The two options of a query.

        Raises:
            DataError: the query does not end in `[1]: "…" [2]: "…"`.
        """
        match = _OPTIONS.match(query)
        if match is None:
            raise DataError(f'task {self.name}: the query lacks its options [1]: "…" [2]: "…"')
        return match["one"], match["two"]

    def stem(self, query: str) -> str:
        """The query without its options."""
        match = _OPTIONS.match(query)
        return match["stem"] if match else query

    def read(self, query: str, labels_of: Callable[[str], dict[str, float]]) -> dict[str, float]:
        """The geometric mean of both orders.

        Raises:
            DataError: the query lacks its options.
        """
        first, second = self.labels
        swapped = self.swapped(query)
        given, exchanged = labels_of(query), labels_of(swapped)
        one = (given[first] * exchanged[second]) ** 0.5
        two = (given[second] * exchanged[first]) ** 0.5
        return {first: one / (one + two), second: two / (one + two)}

    def swapped(self, query: str) -> str:
        """The same question with its two options exchanged."""
        one, two = self.options(query)
        return f'{self.stem(query)} [1]: "{two}" [2]: "{one}"'


@dataclass(frozen=True)
class Text(Task):
    """Free text; metric: ROUGE-L F1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels:
            raise DataError(f"task {self.name}: free text has no labels: use Classification")

    def score(self, answer: str, gold: str) -> float:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"], use_stemmer=True)
        return float(scorer.score(gold, answer)["rougeL"].fmeasure)
