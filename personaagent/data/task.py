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
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from personaagent.data import validation
from personaagent.data.normal import form, same
from personaagent.data.words import one_line
from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.data.interaction import Interaction

OPENING = "(nothing yet: the user opens the conversation)"
"""The query of a conversation's first message."""

LONGEST_MESSAGE = 600  # characters of an earlier message that an LM is shown
STATED = 0.9
"""How far a label counts that was given without telling how sure it is. The fitted weight of the LM
makes it what replay has shown: a weight of 0 leaves it out, one above 1 trusts it more."""
NEAR = 1 / 8  # of a scale: how far off a rating is by which it is e times less likely
FLOOR = 1e-6  # least probability of the truth that a loss counts with


@dataclass(frozen=True)
class Task:
    """Common part: `instruction` is asked before every query, `labels` is the closed set of
    answers (empty for free text), `item` and `answer` are the nouns for a query and its response,
    `example_item` the noun for a past query where it is not `item`. `lifetime` is for how many
    days an interaction counts where it does not say itself when it expires; None is for ever.

    `conversational` says that the answer is an assistant's to its user: a persona is then learned
    by reading what the user wrote, and not by replaying the user's answers.
    """

    conversational: ClassVar[bool] = False

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

    @property
    def role(self) -> str:
        """As whom the LM answers, see `Persona`."""
        return "assistant" if self.conversational else "user"

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

    def stated(self, label: str) -> dict[str, float]:
        """The distribution that an answer counts for of which only the label is known."""
        rest = (1 - STATED) / max(1, len(self.labels) - 1)
        return {one: STATED if one == label else rest for one in self.labels}

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
    """One label of a closed set; metric: accuracy.

    >>> mail = Classification("inbox", "Which folder?", labels=("work", "home"), item="message")
    >>> mail.parse("Work")
    'work'
    >>> mail.decide({"work": 0.2, "home": 0.8})
    'home'
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({form(label) for label in self.labels} - {""}) < max(2, len(self.labels)):
            raise DataError(
                f"task {self.name}: a classification needs at least two labels, none empty and "
                "no two alike but for case and form"
            )


@dataclass(frozen=True)
class Rating(Task):
    """A whole number from `low` to `high`; metric: mean absolute error.

    >>> stars = Rating("stars", "How many stars does the user give?", item="review")
    >>> stars.labels
    ('1', '2', '3', '4', '5')
    >>> stars.decide({"1": 0.3, "2": 0.0, "3": 0.3, "4": 0.0, "5": 0.4})  # the median
    '3'
    """

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

    def stated(self, label: str) -> dict[str, float]:
        """What is near the rating is likelier than what is far, so that its loss grows with the
        absolute error; where only the rating itself counted, a few answers could tell nothing."""
        spread = NEAR * (self.high - self.low)
        masses = [math.exp(-abs(int(one) - int(label)) / spread) for one in self.labels]
        return {one: mass / sum(masses) for one, mass in zip(self.labels, masses, strict=True)}

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
    """Which of some options, [1], [2] and so on, that stand in the query itself; metric: accuracy.

    Two options, unless `labels` name more. A small LM prefers a position, so the answer is read as
    often as there are options, each of them once in every place (`rotated`).

    >>> cited = Choice("citation", "Which paper does the user cite?")
    >>> cited.labels
    ('[1]', '[2]')
    """

    labels: tuple[str, ...] = ("[1]", "[2]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 2 or self.labels != numbered(len(self.labels)):
            raise DataError(
                f"task {self.name}: the answers of a choice are [1], [2] and so on, in this order"
            )

    def prompt(self, query: str) -> str:
        return query

    def question(self, query: str) -> str:
        return query

    def answered(self, query: str, response: str) -> str:
        """As of any task; the query of an answer has its options.

        Raises:
            DataError: the response is no option, or the query lacks them.
        """
        if response:
            self.options(query)
        return super().answered(query, response)

    def options(self, query: str) -> tuple[str, ...]:
        """The options of a query.

        Raises:
            DataError: the query does not end in `[1]: "…" [2]: "…"`, and so on.
        """
        match = _options(len(self.labels)).match(query)
        if match is None:
            due = " ".join(f'{label}: "…"' for label in self.labels)
            raise DataError(f"task {self.name}: the query lacks its options {due}")
        return match.groups()[1:]

    def stem(self, query: str) -> str:
        """The query without its options."""
        match = _options(len(self.labels)).match(query)
        return match["stem"] if match else query

    def read(self, query: str, labels_of: Callable[[str], dict[str, float]]) -> dict[str, float]:
        """The geometric mean over the places of each option.

        Raises:
            DataError: the query lacks its options.
        """
        labels, count = self.labels, len(self.labels)
        read = [labels_of(self.rotated(query, by) if by else query) for by in range(count)]
        means = [
            math.prod(read[by][labels[(at - by) % count]] for by in range(count)) ** (1 / count)
            for at in range(count)
        ]
        return {label: mean / sum(means) for label, mean in zip(labels, means, strict=True)}

    def rotated(self, query: str, by: int) -> str:
        """The same question with its options moved up by so many places, the first ones last."""
        options = self.options(query)
        moved = zip(self.labels, (*options[by:], *options[:by]), strict=True)
        return " ".join([self.stem(query), *(f'{label}: "{option}"' for label, option in moved)])

    def swapped(self, query: str) -> str:
        """The same question in another order: two options are exchanged."""
        return self.rotated(query, 1)


def numbered(count: int) -> tuple[str, ...]:
    """The answers of a choice between so many options."""
    return tuple(f"[{number}]" for number in range(1, count + 1))


@lru_cache(maxsize=64)
def _options(count: int) -> re.Pattern[str]:
    options = " ".join(rf'\[{number}\]: "(.*)"' for number in range(1, count + 1))
    return re.compile(rf"^(?P<stem>.*?)\s*{options}\s*$", re.S)


@dataclass(frozen=True)
class Text(Task):
    """Free text; metric: ROUGE-L F1.

    >>> title = Text("title", "Write a title as the user would.", item="article", answer="title")
    >>> title.score("A short walk", gold="a short walk")
    1.0
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels:
            raise DataError(f"task {self.name}: free text has no labels: use Classification")

    def score(self, answer: str, gold: str) -> float:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"], use_stemmer=True)
        return float(scorer.score(gold, answer)["rougeL"].fmeasure)


@dataclass(frozen=True)
class Chat(Text):
    """Conversations of a user with an assistant. What is stored is what the user wrote; what is
    asked is answered for the user, by an assistant who knows this user."""

    conversational: ClassVar[bool] = True

    def example(self, query: str, response: str) -> str:
        """A past message of the user in one line, with what the assistant had said before it."""
        # People paste whole documents into a chat.
        said, heard = (one_line(text, LONGEST_MESSAGE) for text in (response, query))
        if not said:
            return f'"{heard}"'
        before = "" if query == OPENING else f' (to the assistant\'s: "{heard}")'
        return f'earlier this user wrote: "{said}"{before}'
