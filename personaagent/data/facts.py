"""What code can count of a user's interactions, as short lines.

An LM that writes a persona is given them, and a persona may quote them: an LM guesses a mean, code
computes it. Every fact says on how many interactions it rests; of what could be chance nothing is
said. Many topics are looked at, so those that differ are chosen with the rate of false ones among
them controlled (Benjamini and Hochberg, 1995).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, time
from statistics import fmean, pstdev, quantiles

from personaagent.data.interaction import Interaction
from personaagent.data.secret import secrets_in, without_secrets
from personaagent.data.sensitive import Policy, statement, told_in
from personaagent.data.style import traits_of
from personaagent.data.task import Choice, Rating, Task
from personaagent.data.words import content_words, stopwords_of

FEWEST = 8  # interactions that anything is counted of
FEWEST_OF_A_TOPIC = 4
SHARE_OF_A_TOPIC = 0.04  # of the interactions: what is rarer helps with few queries
FALSE = 0.1  # of the topics that are said to differ, the share that may be chance
TOPICS = 10  # of each kind that are said
LABELS = 8
CLEAR = 2.0  # standard errors from which one difference that is looked at is said
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_LONGEST_VALUE = 40  # characters of metadata that are a topic
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Fact:
    """A line about the user, in which stands on how many interactions (`n`) it rests.

    `about_answers` says that it tells what the user answers, not only when.
    """

    text: str
    n: int
    about_answers: bool = True


def facts_of(
    task: Task, interactions: Sequence[Interaction], policy: Policy = "keep"
) -> tuple[Fact, ...]:
    """What can be counted, the most useful first; the same for the same interactions.

    Args:
        task: whose answers they are.
        interactions: of one user, oldest first; those without an answer are left out.
        policy: for what is sensitive (see `sensitive.POLICIES`); a secret is in no fact.
    """
    past = [one for one in interactions if one.response.strip()]
    if isinstance(task, Rating):
        found = [*_ratings(task, past, policy), *_times(past)]
    elif task.labels and not isinstance(task, Choice):  # [1] and [2] mean nothing by themselves
        found = [*_labels(task, past, policy), *_times(past)]
    elif task.labels:
        found = []
    else:
        traits = traits_of(past, policy)
        found = [*(Fact(one.text, len(one.support)) for one in traits), *_times(past)]
    allowed = ((one, statement(one.text, policy)) for one in found)
    return tuple(replace(one, text=text) for one, text in allowed if text)


def as_lines(facts: Iterable[Fact]) -> str:
    """The facts as an LM is shown them."""
    return "\n".join(f"- {one.text}" for one in facts)


def quoted(facts: Iterable[Fact], words: int) -> str:
    """The facts as a profile of at most so many words: whole facts, the first ones. When the user
    answers says nothing of what, and is left out."""
    said: list[str] = []
    for one in facts:
        sentence = f"{one.text[:1].upper()}{one.text[1:]}."
        if one.about_answers and len(" ".join([*said, sentence]).split()) <= words:
            said.append(sentence)
    return " ".join(said)


def _ratings(task: Rating, past: Sequence[Interaction], policy: Policy) -> list[Fact]:
    n = len(past)
    if n < FEWEST:
        return []
    given = [int(one.response) for one in past]
    low, middle, high = quantiles(given, n=4, method="inclusive")
    deviation = pstdev(given)
    counts = Counter(given)
    levels = ", ".join(
        f"{level}: {counts[level] / n:.0%}" for level in range(task.low, task.high + 1)
    )
    found = [
        Fact(
            f"mean {task.answer} {fmean(given):.1f} on a scale from {task.low} to {task.high}, "
            f"standard deviation {deviation:.1f}, median {middle:.0f}, the middle half {low:.0f} "
            f"to {high:.0f} (n = {n})",
            n,
        ),
        Fact(f"share of each {task.answer}: {levels} (n = {n})", n),
        *_rated_topics(_topics(past, policy), given, deviation),
    ]
    early, late = given[: n // 2], given[n // 2 :]
    error = math.sqrt(_variance(early) / len(early) + _variance(late) / len(late))
    if n >= 2 * FEWEST and abs(fmean(early) - fmean(late)) > CLEAR * error:
        found.append(
            Fact(
                f"mean {task.answer} {fmean(late):.1f} in the latest half, {fmean(early):.1f} "
                f"before (n = {n})",
                n,
            )
        )
    return found


def _rated_topics(
    topics: Mapping[str, Sequence[int]], given: Sequence[int], deviation: float
) -> list[Fact]:
    if not deviation:
        return []
    mean = fmean(given)
    means, chances = {}, {}
    for topic, places in topics.items():
        means[topic] = fmean(given[at] for at in places), len(places)
        rest = len(given) - len(places)
        error = deviation * math.sqrt(1 / len(places) + 1 / rest)
        others = (mean * len(given) - means[topic][0] * len(places)) / rest
        chances[topic] = _two_sided((means[topic][0] - others) / error)
    found = []
    for said, sign in (("higher", 1), ("lower", -1)):
        chosen = [topic for topic in _discovered(chances) if sign * (means[topic][0] - mean) > 0][
            :TOPICS
        ]
        if chosen:
            each = ", ".join(f"{one} {means[one][0]:.1f} (n = {means[one][1]})" for one in chosen)
            n = sum(means[one][1] for one in chosen)
            found.append(Fact(f"rated {said} than the mean: {each}", n))
    return found


def _labels(task: Task, past: Sequence[Interaction], policy: Policy) -> list[Fact]:
    n = len(past)
    if n < FEWEST:
        return []
    counts = Counter(one.response for one in past)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    shares = ", ".join(f"{label} {counts[label] / n:.0%}" for label in ranked[:LABELS])
    beyond = len(ranked) - LABELS
    more = f", and {beyond} rarer ones" if beyond > 0 else ""
    never = [label for label in task.labels if label not in counts]
    found = [Fact(f"share of each {task.answer}: {shares}{more} (n = {n})", n)]
    if never and len(never) <= LABELS:
        found.append(Fact(f"never gave the {task.answer} {', '.join(never)} (n = {n})", n))
    return [
        *found,
        *_labelled_topics(task, past, counts, policy),
        *_labels_by_time(task, past, counts),
    ]


def _labelled_topics(
    task: Task, past: Sequence[Interaction], counts: Mapping[str, int], policy: Policy
) -> list[Fact]:
    said, chances = {}, {}
    for topic, places in _topics(past, policy).items():
        answers = Counter(past[at].response for at in places)
        label, times = min(answers.items(), key=lambda pair: (-pair[1], pair[0]))
        if 2 * times > len(places):
            chances[topic] = _at_least(times, len(places), counts[label], len(past))
            said[topic] = f"“{topic}”: {label} in {times} of {len(places)}", len(places)
    chosen = _discovered(chances)[:TOPICS]
    if not chosen:
        return []
    each = "; ".join(said[topic][0] for topic in chosen)
    text = f"words of a {task.item} and the {task.answer} that comes with them: {each}"
    return [Fact(text, sum(said[topic][1] for topic in chosen))]


def _labels_by_time(
    task: Task, past: Sequence[Interaction], counts: Mapping[str, int]
) -> list[Fact]:
    """What is answered more in the latest half, on weekends, and at some time of the day."""
    groups: dict[str, list[int]] = {"in the latest half": list(range(len(past) // 2, len(past)))}
    for at, one in enumerate(past):
        if one.time and one.time.astimezone(UTC).time() != time():
            moment = one.time.astimezone(UTC)
            weekend = moment.weekday() >= 5
            groups.setdefault("on weekends" if weekend else "on working days", []).append(at)
            hours = f"from {moment.hour // 6 * 6} to {moment.hour // 6 * 6 + 6} h UTC"
            groups.setdefault(hours, []).append(at)
    said, chances = {}, {}
    for name, places in groups.items():
        if not FEWEST <= len(places) < len(past):
            continue
        for label, times in sorted(Counter(past[at].response for at in places).items()):
            if times >= FEWEST_OF_A_TOPIC:
                key = f"{name}/{label}"
                chances[key] = _at_least(times, len(places), counts[label], len(past))
                said[key] = (
                    f"{name} {label} is {times / len(places):.0%} of the {task.answers}, "
                    f"{counts[label] / len(past):.0%} at all times (n = {len(places)})",
                    len(places),
                )
    return [Fact(*said[key]) for key in _discovered(chances)[: TOPICS // 2]]


def _times(past: Sequence[Interaction]) -> list[Fact]:
    """When the user answers, where most answers come at one time of the day or on weekends."""
    moments = [
        moment for one in past if one.time and (moment := one.time.astimezone(UTC)).time() != time()
    ]
    n = len(moments)
    if n < 2 * FEWEST:
        return []
    found = []
    by_start = {
        start: sum((moment.hour - start) % 24 < 6 for moment in moments) for start in range(24)
    }
    start = min(by_start, key=lambda start: (-by_start[start], start))
    if 2 * by_start[start] > n:
        found.append(
            Fact(
                f"{by_start[start] / n:.0%} of it from {start} to {(start + 6) % 24} h UTC "
                f"(n = {n})",
                n,
            )
        )
    days = Counter(moment.weekday() for moment in moments)
    often = [day for day in range(7) if days[day] > 2 * n / 7]
    if often and len({moment.date() for moment in moments}) >= FEWEST:
        each = ", ".join(f"{_DAYS[day]} {days[day] / n:.0%}" for day in often)
        found.append(Fact(f"mostly on {each} (n = {n})", n))
    return [
        Fact(f"when this user does this: {one.text}", one.n, about_answers=False) for one in found
    ]


def _topics(past: Sequence[Interaction], policy: Policy) -> dict[str, list[int]]:
    """By topic the places of the interactions that are about it: words of the query, its decade,
    and what the metadata says; not what nearly all or next to none are about, and of several names
    for the same interactions only the first."""
    places: dict[str, list[int]] = {}
    common = stopwords_of(one.query for one in past)
    for at, one in enumerate(past):
        query = without_secrets(one.query, named=False)
        topics = content_words(query, common)
        topics |= {f"{year[:3]}0s" for year in _YEAR.findall(query)}
        topics |= {
            f"{key} {value}"
            for key, value in one.metadata.items()
            if value and len(value) <= _LONGEST_VALUE and not secrets_in(f"{key}: {value}")
        }
        for topic in topics:
            places.setdefault(topic, []).append(at)
    if policy == "leave-out":
        places = {topic: at for topic, at in places.items() if not told_in(topic)}
    least = max(FEWEST_OF_A_TOPIC, SHARE_OF_A_TOPIC * len(past))
    named: dict[tuple[int, ...], str] = {}
    for topic in sorted(places):
        if least <= len(places[topic]) <= 0.9 * len(past):
            named.setdefault(tuple(places[topic]), topic)
    return {topic: list(at) for at, topic in named.items()}


def _discovered(chances: Mapping[str, float]) -> list[str]:
    """Those that are not by chance, the least likely ones first (Benjamini and Hochberg)."""
    ranked = sorted(chances, key=lambda name: (chances[name], name))
    kept = [
        place
        for place, name in enumerate(ranked, 1)
        if chances[name] <= FALSE * place / len(ranked)
    ]
    return ranked[: max(kept, default=0)]


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _at_least(times: int, of: int, marked: int, everything: int) -> float:
    """The chance that `of` drawn from everything, without putting back, have so many marked ones
    or more: Fisher's exact test."""
    ways = math.comb(everything, of)
    return (
        sum(
            math.comb(marked, k) * math.comb(everything - marked, of - k)
            for k in range(times, min(of, marked) + 1)
        )
        / ways
    )


def _variance(values: Sequence[int]) -> float:
    return pstdev(values) ** 2
