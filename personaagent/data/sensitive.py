"""What a text tells of a person that is nobody's business, and a setting that says what becomes of
it before it is part of a persona.

The words are in sensitive.toml. A word says what a text is about and not what is true of the user:
"allergic to nuts" is marked and so is "reads about allergies". What is told without such a word, or
in a language that the table does not have, is not seen.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Literal, get_args

from personaagent.data.items import SENSITIVE, Item
from personaagent.data.orders import fold
from personaagent.data.secret import secrets_in, without_secrets
from personaagent.data.words import sentences_of

Policy = Literal["keep", "mask", "leave-out"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
"""`keep` marks what is sensitive and keeps it; `mask` puts the category in place of the words that
tell it; `leave-out` leaves the whole statement out. Secrets are left out under each of them."""

_NUMBERS = r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)"  # of social security, as written in the US
_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_ARTICLE = r"(?:(?:و|ف|ب|ك|ل)?ال|لل)?"  # Arabic writes it and small words onto the noun
_ARABIC = re.compile(r"[\u0600-\u06ff]")


@dataclass(frozen=True, slots=True)
class Told:
    """A word that tells something of a category, and where it stands in the text."""

    category: str
    start: int
    end: int


def told_in(text: str) -> list[Told]:
    """The sensitive words of a text by place, those that overlap as one."""
    folded, places = _folded(text)
    found: list[Told] = []
    for match in sorted(
        (match for words in _words() for match in words.finditer(folded)), key=re.Match.start
    ):
        begin, end = places[match.start()], places[match.end() - 1] + 1
        if not found or begin >= found[-1].end:
            found.append(Told(str(match.lastgroup), begin, end))
    return found


def category_of(text: str) -> str:
    """The category that most words of the text tell of, the first of `SENSITIVE` where several
    do; empty if none."""
    counts = Counter(one.category for one in told_in(text))
    return max(SENSITIVE, key=lambda name: counts[name]) if counts else ""


def masked(text: str) -> str:
    """The text with the category in place of each word that tells it: "takes [health] daily"."""
    for one in reversed(told_in(text)):
        text = f"{text[: one.start]}[{one.category}]{text[one.end :]}"
    return text


def statement(text: str, policy: Policy) -> str:
    """One statement as a persona may have it; empty where it may not: see `POLICIES`."""
    if secrets_in(text):
        return ""
    if policy == "keep":
        return text
    if policy == "mask":
        return masked(text)
    return "" if told_in(text) else text


def prose(text: str, policy: Policy) -> str:
    """A text of several sentences as a persona may have it: each is a statement, but of a secret
    only the secret goes."""
    text = without_secrets(text)
    if policy == "keep":
        return text
    sentences = (statement(one, policy) for one in sentences_of(text))
    return "".join(sentences).strip()


def guarded(items: Iterable[Item], policy: Policy) -> tuple[Item, ...]:
    """The items as a persona may have them: each marked with its category, and kept, masked or left
    out; one with a secret is always left out. What is marked already stays so.

    Args:
        items: as they were noted.
        policy: see `POLICIES`.
    """
    left = []
    for one in items:
        if any(map(secrets_in, (one.text, one.topic, one.reach))):
            continue
        category = one.sensitive or category_of(f"{one.text}. {one.topic}. {one.reach}")
        if category and policy == "leave-out":
            continue
        marked = replace(one, sensitive=category)
        if category and policy == "mask":
            text, topic, reach = map(masked, (one.text, one.topic, one.reach))
            marked = replace(marked, text=text, topic=topic, reach=reach)
        left.append(marked)
    return tuple(left)


def _folded(text: str) -> tuple[str, list[int]]:
    """The text folded as the words are, and of each of its letters the place in the text."""
    pieces = [fold(letter) for letter in text]
    places = [at for at, piece in enumerate(pieces) for _ in piece]
    return "".join(pieces), places


@lru_cache(maxsize=1)
def _words() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The words that begin where a word of the text does, and those that may stand anywhere."""
    file = resources.files("personaagent.data").joinpath("sensitive.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    spaced, anywhere = [], []
    for category, languages in table.items():
        words = sorted({word for words in languages.values() for word in words}, key=len)[::-1]
        numbers = [_NUMBERS] if category == "identity" else []
        said = [_word(word) for word in words if not _SPACELESS.search(word)]
        spaced.append(f"(?P<{category}>{'|'.join([*numbers, *said])})")
        letters = [re.escape(word) for word in words if _SPACELESS.search(word)]
        anywhere.append(f"(?P<{category}>{'|'.join(letters)})")
    return re.compile(rf"(?<!\w)(?:{'|'.join(spaced)})"), re.compile("|".join(anywhere))


def _word(word: str) -> str:
    stem = fold(word.removesuffix("*"))
    before = _ARTICLE if _ARABIC.search(stem) else ""
    after = r"\w*" if word.endswith("*") else r"(?!\w)"
    return f"{before}{re.escape(stem)}{after}"
