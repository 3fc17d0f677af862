"""How a user writes, as far as code can tell: length, form, greeting, sign-off, words, punctuation.

An LM that is shown four short replies signed "– Z" says "casual and friendly"; that they are short
and signed "– Z" can be counted. What is counted here is said with the number of texts that it rests
on and of those that it holds for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from personaagent.data.interaction import Interaction
from personaagent.data.items import Item, merged
from personaagent.data.secret import secrets_in
from personaagent.data.sensitive import Policy, guarded, statement
from personaagent.data.words import content_words, sentences_of, stopwords_of, words_of

FEWEST = 3  # texts that a habit is told from
OFTEN = 0.4  # of the texts that a greeting, a sign-off or a mark must be in to be a habit
USUAL = 0.6  # of them, to be said of all
NEVER = 8  # texts that none of them may have, to say that this user never writes it
FAVOURITES = 8  # words that are said to come back
EXAMPLES = 3
EXAMPLE = "example"  # the topic of an item that quotes a text
TOPICS = ("length", "form", "greeting", "sign-off", "punctuation", "emoji", "words", EXAMPLE)
LONGEST_EXAMPLE = 40  # words
_LONGEST_LINE = 5  # words of a greeting or a sign-off
_SHORTEST_IN_CAPITALS = 6  # letters: "OK" is none
_LONG_WORD = 4  # letters
_TITLED = 0.75  # of the longer words, to be a text in the manner of a headline

_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_LIST = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+\S", re.MULTILINE)
_EMOJI = re.compile(
    "[\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001faff\u2600-\u27bf]"
    "|[:;]-?[)(DP](?!\\w)"
)
_MARKS = {
    "exclamation marks": re.compile(r"[!！]"),
    "question marks": re.compile(r"[?？]"),
    "dots (...)": re.compile(r"\.{2,}|…"),
    "dashes": re.compile(r"\s[-–—]\s|—|\w–\s"),
    "brackets": re.compile(r"[(（](?!$)"),
    "colons": re.compile(r"\w[:：](?:\s|$)"),
    "semicolons": re.compile(r"[;；]\s"),
}


@dataclass(frozen=True, slots=True)
class Trait:
    """One habit of writing: what it is of ("length", "sign-off"), what it is, and the ids of the
    texts that it was told from."""

    topic: str
    text: str
    support: tuple[str, ...]


def traits_of(texts: Sequence[Interaction], policy: Policy = "keep") -> tuple[Trait, ...]:
    """The habits in what a user wrote; none from fewer than three texts.

    Args:
        texts: their responses are what the user wrote, oldest first.
        policy: for what is sensitive; a secret is in none of them.
    """
    written = [one for one in texts if one.response.strip()]
    if len(written) < FEWEST:
        return ()
    everyone = tuple(one.id for one in written)
    opens, opening = _edge(written, first=True)
    closes, closing = _edge(written, first=False)
    found = [
        Trait("length", _length([one.response for one in written]), everyone),
        *_form(written),
        *(
            [Trait("greeting", f"opens with “{opens}”{_in(opening, written)}", opening)]
            * bool(opens)
        ),
        *(
            [Trait("sign-off", f"ends with “{closes}”{_in(closing, written)}", closing)]
            * bool(closes)
        ),
        *_case(written),
        *_punctuation(written, closes),
        *_emoji(written),
        *_words(written, f"{opens} {closes}"),
    ]
    allowed = ((one, statement(one.text, policy)) for one in found)
    return tuple(Trait(one.topic, text, one.support) for one, text in allowed if text)


def examples_of(texts: Sequence[Interaction], policy: Policy = "keep") -> tuple[Interaction, ...]:
    """The user's own texts that show best how the user writes: those of the most usual length, the
    latest first, each said once; none with a secret, nor what the policy leaves out or masks.

    Args:
        texts: oldest first.
        policy: for what is sensitive.
    """
    written = [one for one in texts if one.response.strip()]
    if len(written) < FEWEST:
        return ()
    usual = median(len(words_of(one.response)) for one in written)
    chosen: dict[str, Interaction] = {}
    latest_first = list(reversed(written))
    latest_first.sort(key=lambda one: abs(len(words_of(one.response)) - usual))
    for one in latest_first:
        said = " ".join(one.response.split())
        fits = len(words_of(said)) <= LONGEST_EXAMPLE and not secrets_in(one.response)
        if fits and statement(said, policy) == said:
            chosen.setdefault(said.casefold(), one)
        if len(chosen) == EXAMPLES:
            break
    return tuple(chosen.values())


def style_items(texts: Sequence[Interaction], policy: Policy = "keep") -> tuple[Item, ...]:
    """The habits of `traits_of` as items of a persona, and examples in the user's own words.

    An example is an item that only its own interaction supports, so it is forgotten with it.

    Args:
        texts: their responses are what the user wrote, oldest first.
        policy: for what is sensitive.
    """
    times = {one.id: one.time for one in texts}

    def item(topic: str, text: str, support: tuple[str, ...]) -> Item:
        last = max((time for id in support if (time := times[id])), default=None)
        return Item("style", text, topic, support=support, last=last)

    traits = [item(one.topic, one.text, one.support) for one in traits_of(texts, policy)]
    examples = [
        item(EXAMPLE, f"wrote, for example{_on_one_line(one.response)}", (one.id,))
        for one in examples_of(texts, policy)
    ]
    return guarded((*traits, *examples), policy)


def restyled(
    items: Iterable[Item], texts: Sequence[Interaction], policy: Policy
) -> tuple[Item, ...]:
    """The items with the habits of writing counted anew; what else is known stays.

    Args:
        items: of a persona.
        texts: what the user wrote, oldest first.
        policy: for what is sensitive.
    """
    others = (one for one in items if one.kind != "style" or one.topic not in TOPICS or one.author)
    return merged(others, style_items(texts, policy))


def _on_one_line(text: str) -> str:
    """A text as it is quoted; where its lines end is a part of how a user writes."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    marks = " (/ ends a line)" if len(lines) > 1 else ""
    return f"{marks}: “{' / '.join(lines)}”"


def _length(texts: Sequence[str]) -> str:
    spaceless = sum(len(_SPACELESS.findall(text)) for text in texts)
    if 2 * spaceless > sum(len(text) for text in texts):
        unit, lengths = "characters", [len("".join(text.split())) for text in texts]
    else:
        unit, lengths = "words", [len(words_of(text)) for text in texts]
    low, _, high = quantiles(lengths, n=4, method="inclusive")
    sentences = median(len(sentences_of(text.strip())) for text in texts)
    spread = f", the middle half {low:.0f} to {high:.0f}" if round(low) != round(high) else ""
    return (
        f"writes {median(lengths):.0f} {unit}{spread}, in {sentences:.0f} "
        f"sentence{'s' * (round(sentences) != 1)} (median of {len(texts)} texts)"
    )


def _form(written: Sequence[Interaction]) -> list[Trait]:
    broken, lists = _having(written, r"\S\s*\n\s*\S"), _having(written, _LIST)
    found = []
    if not broken:
        found.append(
            Trait("form", f"writes on one line{_in(_ids(written), written)}", _ids(written))
        )
    elif len(broken) >= USUAL * len(written):
        found.append(Trait("form", f"breaks the text into lines{_in(broken, written)}", broken))
    if len(lists) >= max(FEWEST, OFTEN * len(written)):
        found.append(Trait("form", f"writes lists{_in(lists, written)}", lists))
    return found


def _case(written: Sequence[Interaction]) -> list[Trait]:
    for holds, said in (
        (_lower, "writes in lower case"),
        (_small, "begins with a small letter"),
        (_capitals, "writes in capitals"),
        (_titled, "begins most words with a capital letter"),
    ):
        found = [one for one in written if holds(one.response)]
        if len(found) >= max(FEWEST, USUAL * len(written)):
            ids = _ids(found)
            return [Trait("punctuation", f"{said}{_in(ids, written)}", ids)]
    return []


def _letters(text: str) -> str:
    """Those that can be small or capital."""
    return "".join(one for one in text if one.isalpha() and one.lower() != one.upper())


def _lower(text: str) -> bool:
    return _small(text) and sum(map(str.isupper, _letters(text))) <= 1


def _small(text: str) -> bool:
    return _letters(text)[:1].islower()


def _capitals(text: str) -> bool:
    said = _letters(text)
    return len(said) >= _SHORTEST_IN_CAPITALS and said.isupper()


def _titled(text: str) -> bool:
    """Whether the words after the first have a capital, as in a headline; short ones, such as
    "of", may have none. In a sentence only names have, in a German one nouns."""
    later = [one for one in words_of(text)[1:] if len(one) >= _LONG_WORD]
    return len(later) >= 2 and sum(one[0].isupper() for one in later) >= _TITLED * len(later)


def _punctuation(written: Sequence[Interaction], closing: str) -> list[Trait]:
    found, absent = [], []
    for name, mark in _MARKS.items():
        ids = tuple(
            one.id for one in written if mark.search(one.response.strip().removesuffix(closing))
        )
        if len(ids) >= max(FEWEST, OFTEN * len(written)):
            found.append(Trait("punctuation", f"uses {name}{_in(ids, written)}", ids))
        elif not ids and len(written) >= NEVER and name in ("exclamation marks", "dots (...)"):
            absent.append(name)
    if absent:
        said = f"uses no {' and no '.join(absent)} (in {len(written)} texts)"
        found.append(Trait("punctuation", said, _ids(written)))
    bare = tuple(
        one.id
        for one in written
        if re.search(r"\w$", _unsigned(one.response.strip().removesuffix(closing)))
    )
    if len(bare) >= max(FEWEST, USUAL * len(written)):
        said = f"leaves out the full stop at the end{_in(bare, written)}"
        found.append(Trait("punctuation", said, bare))
    return found


def _unsigned(text: str) -> str:
    """A text without the short lines at its end: a name is no sentence, however a user signs."""
    lines = text.strip().splitlines()
    while len(lines) > 1 and len(words_of(lines[-1])) <= _LONGEST_LINE:
        lines.pop()
    return lines[-1].strip() if lines else ""


def _emoji(written: Sequence[Interaction]) -> list[Trait]:
    with_some = _having(written, _EMOJI)
    if len(with_some) >= max(FEWEST, OFTEN / 2 * len(written)):
        counts = Counter(
            emoji for one in written for emoji in dict.fromkeys(_EMOJI.findall(one.response))
        )
        usual = " ".join(emoji for emoji, _ in counts.most_common(3))
        return [Trait("emoji", f"uses emoji, mostly {usual}{_in(with_some, written)}", with_some)]
    if not with_some and len(written) >= NEVER:
        return [Trait("emoji", f"uses no emoji (in {len(written)} texts)", _ids(written))]
    return []


def _words(written: Sequence[Interaction], edges: str) -> list[Trait]:
    """Words that come back although the query does not have them."""
    known = set(map(str.lower, words_of(edges)))
    users: dict[str, list[str]] = {}
    common = stopwords_of(one.response for one in written)
    for one in written:
        own = content_words(one.response, common) - content_words(one.query, common)
        for word in own - known:
            users.setdefault(word, []).append(one.id)
    least = max(FEWEST, OFTEN / 2 * len(written))
    often = sorted(
        ((word, ids) for word, ids in users.items() if len(ids) >= least),
        key=lambda pair: (-len(pair[1]), pair[0]),
    )[:FAVOURITES]
    if not often:
        return []
    n = len(written)
    said = ", ".join(f"“{word}” ({len(ids)} of {n})" for word, ids in often)
    used = {id for _, ids in often for id in ids}
    return [
        Trait("words", f"often writes {said}", tuple(one.id for one in written if one.id in used))
    ]


def _edge(written: Sequence[Interaction], *, first: bool) -> tuple[str, tuple[str, ...]]:
    """The words that many texts begin, or end, with, and the ids of those texts: as many words as
    nearly all of them share."""

    def edge(text: str, count: int) -> str:
        words = text.split()
        if len(words) <= count:  # all of the text is no greeting
            return ""
        return " ".join(words[:count] if first else words[-count:])

    best, base = "", 0
    ids: tuple[str, ...] = ()
    for count in range(1, _LONGEST_LINE + 1):
        said = Counter(found for one in written if (found := edge(one.response, count)))
        if not said:
            break
        text, times = min(said.items(), key=lambda pair: (-pair[1], pair[0]))
        base = base or times
        if times < max(FEWEST, OFTEN * len(written), 0.75 * base):
            break
        best = text
        ids = tuple(one.id for one in written if edge(one.response, count) == text)
    if len(best.split()) == 1 and best.strip(",.!").lower() in stopwords_of(
        one.response for one in written
    ):
        return "", ()  # "The" begins many texts
    return best, ids


def _having(written: Sequence[Interaction], pattern: str | re.Pattern[str]) -> tuple[str, ...]:
    return tuple(one.id for one in written if re.search(pattern, one.response.strip()))


def _ids(written: Sequence[Interaction]) -> tuple[str, ...]:
    return tuple(one.id for one in written)


def _in(ids: Sequence[str], written: Sequence[Interaction]) -> str:
    return f" (in {len(ids)} of {len(written)} texts)"
