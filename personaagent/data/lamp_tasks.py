"""The tasks of LaMP in their official wording, and how their files spell them.

Questions for alignment made from LaMP-1's papers: an adaptation of ours, no part of LaMP.

The history of LaMP-1 has papers and no answers, so a persona has nothing to be aligned to. The
proxy asks, in the official wording, which of two papers belongs with one paper of the author: the
right one is another paper of the same author, the wrong one a paper of someone else. It is made
from histories only; no question of LaMP nor its gold answer is used.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from personaagent.data.interaction import Interaction
from personaagent.data.task import Choice, Classification, Rating, Task, Text
from personaagent.errors import DataError

CITATION = (
    'For an author who has written the paper with the title "{title}", which reference is '
    'related? Just answer with [1] or [2] without explanation. [1]: "{one}" [2]: "{two}"'
)
"""A whole question of LaMP-1."""

_TAGS = (
    "sci-fi",
    "based on a book",
    "comedy",
    "action",
    "twist ending",
    "dystopia",
    "dark comedy",
    "classic",
    "psychology",
    "fantasy",
    "romance",
    "thought-provoking",
    "social commentary",
    "violence",
    "true story",
)
_CATEGORIES = (
    "women",
    "religion",
    "politics",
    "style & beauty",
    "entertainment",
    "culture & arts",
    "sports",
    "science & technology",
    "travel",
    "business",
    "crime",
    "education",
    "healthy living",
    "parents",
    "food & drink",
)

LAMP_TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Choice(
            "lamp-1",
            "Which reference is related? Just answer with [1] or [2] without explanation.",
            item="question",
            answer="reference",
        ),
        Classification(
            "lamp-2m",
            "Which tag does this movie relate to among the following tags? Just answer with the "
            f"tag name without further explanation. tags: [{', '.join(_TAGS)}]",
            labels=_TAGS,
            item="description",
            answer="tag",
            example_item="movie",
        ),
        Classification(
            "lamp-2n",
            "Which category does this article relate to among the following categories? Just "
            "answer with the category name without further explanation. "
            f"categories: [{', '.join(_CATEGORIES)}]",
            labels=_CATEGORIES,
            item="article",
            answer="category",
        ),
        Rating(
            "lamp-3",
            "What is the score of the following review on a scale of 1 to 5? just answer with "
            "1, 2, 3, 4, or 5 without further explanation.",
            item="review",
            answer="score",
        ),
        Text(
            "lamp-4",
            "Generate a headline for the following",
            item="article",
            answer="headline",
        ),
        Text(
            "lamp-5",
            "Generate a title for the following",
            item="abstract of a paper",
            answer="title",
        ),
        Text(
            "lamp-7",
            "Paraphrase the following tweet without any explanation before or after",
            item="it",
            answer="paraphrase",
            example_item="tweet",
        ),
    )
}
"""By name. `task.prompt(item)` is the official input, to the letter."""


@dataclass(frozen=True)
class Layout:
    """How the files of a task spell it: the keys of a profile entry that become the query, the
    response (None: there is none) and the metadata, and the task's names in an outputs file, the
    first of which is written.
    """

    query: str
    response: str | None
    names: tuple[str, ...]
    metadata: tuple[str, ...] = ()


# Movies and news were both called LaMP_2 at a time.
LAYOUTS = {
    "lamp-1": Layout("title", None, ("LaMP_1",), ("abstract", "citation")),
    "lamp-2m": Layout("description", "tag", ("LaMP_2M", "LaMP_2")),
    "lamp-2n": Layout("text", "category", ("LaMP_2N", "LaMP_2"), ("title",)),
    "lamp-3": Layout("text", "score", ("LaMP_3",)),
    "lamp-4": Layout("text", "title", ("LaMP_4",)),
    "lamp-5": Layout("abstract", "title", ("LaMP_5",)),
    "lamp-7": Layout("text", "text", ("LaMP_7",)),
}


def layout(task: Task) -> Layout:
    """How the files of this task spell it.

    Raises:
        DataError: it is no LaMP task.
    """
    if task.name not in LAYOUTS:
        raise DataError(f"task {task.name}: not one of LaMP's: {', '.join(LAYOUTS)}")
    return LAYOUTS[task.name]


def unwrap(task: Task, text: str) -> str:
    """The item of an official input; in LaMP-1, whose options are the item, the whole input.

    Raises:
        DataError: the input is not in the official wording, or has nothing in it.
    """
    if isinstance(task, Choice):
        task.options(text)
        opening, rest = CITATION.split("{title}")
        closing = rest.partition(" [1]: ")[0]
        stem = task.stem(text)
        if not (stem.startswith(opening) and stem.endswith(closing)):
            raise DataError(f"it is not in the official wording '{opening}…{closing}'")
        return text
    wrapper = task.prompt("")
    if not text.startswith(wrapper):
        raise DataError(f"it does not begin with the official wording '{wrapper}'")
    item = text.removeprefix(wrapper)
    if not item.strip():
        raise DataError(f"it has no {task.item} in it")
    return item


def self_supervised_pairs(
    papers_by_user: Mapping[str, Sequence[Interaction]], seed: int
) -> list[Interaction]:
    """One derived question for each paper of each user who has at least two.

    The right option stands as often first as second (per user, give or take one). The two own
    papers are named in `metadata` as `stem` and `own`: whoever answers the question must leave
    them out of the memories, where they would give the answer away.

    Args:
        papers_by_user: the LaMP-1 interactions (response "") of at least two users.
        seed: decides the draws; the same papers and seed give the same questions and ids.

    Raises:
        DataError: all papers are one user's, so that there is no wrong option.
    """
    # A title that several authors have is drawn once, and is nobody's wrong option if it is theirs.
    everyone = list({paper.query: 0 for papers in papers_by_user.values() for paper in papers})
    pairs: list[Interaction] = []
    for user, papers in papers_by_user.items():
        titles = {paper.query for paper in papers}
        if len(titles) < 2:
            continue
        if len(everyone) == len(titles):
            raise DataError(f"user {user}: pairs need papers of at least one other user")
        draw = random.Random(f"{seed} {user}")
        first = draw.randrange(2)
        positions = [(first + n) % 2 for n in range(len(papers))]
        draw.shuffle(positions)
        for stem, position in zip(papers, positions, strict=True):
            own = draw.choice([paper for paper in papers if paper.query != stem.query])
            while (other := draw.choice(everyone)) in titles:
                pass
            pairs.append(_pair(stem, own, other, position))
    return pairs


def _pair(stem: Interaction, own: Interaction, other: str, position: int) -> Interaction:
    one, two = (own.query, other) if position == 0 else (other, own.query)
    pair = Interaction(
        id="",
        user=stem.user,
        task=stem.task,
        query=CITATION.format(title=stem.query, one=one, two=two),
        response=("[1]", "[2]")[position],
        time=max(stem.time, own.time) if stem.time and own.time else None,
        source="derived",
        metadata={"stem": stem.id, "own": own.id},
    )
    return replace(pair, id=pair.digest[:16])
