"""Questions for alignment made from LaMP-1's papers: an adaptation of ours, no part of LaMP.

The history of LaMP-1 has papers and no answers, so a persona has nothing to be aligned to. The
proxy asks, in the official wording, which of two papers belongs with one paper of the author: the
right one is another paper of the same author, the wrong one a paper of someone else. It is made
from histories only; no question of LaMP nor its gold answer is used.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from personaagent.data.interaction import Interaction
from personaagent.data.lamp_tasks import CITATION
from personaagent.errors import DataError


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
