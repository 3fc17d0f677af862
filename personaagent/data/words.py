"""Words, sentences and the one line of a text, as they are counted, shown and left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE = re.compile(r".+?(?:[.!?…]+(?=\s|$)\s*|[。！？]+\s*|\n\s*|$)", re.DOTALL)
_FEWEST = 3  # different stopwords that tell a language
_LANGUAGES = (
    *("EN_PLUS", "CHINESE", "DANISH", "DUTCH", "FRENCH", "GERMAN", "ITALIAN", "KOREAN"),
    *("NORWEGIAN", "PORTUGUESE", "RUSSIAN", "SPANISH", "SWEDISH", "TURKISH"),
)


def words_of(text: str) -> list[str]:
    """All words of a text, as they are written."""
    return _WORD.findall(text)


def one_line(text: str, most: int | None = None) -> str:
    """A text on one line, cut where it has more than `most` characters."""
    line = " ".join(text.split())
    return line if most is None or len(line) <= most else f"{line[: most - 1].rstrip()}…"


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, each with the space behind it: joined they are the text. A line
    break ends one, the point of a decimal does not."""
    return _SENTENCE.findall(text)


def content_words(text: str, stopwords: Collection[str]) -> set[str]:
    """The words that say what a text is about, in lower case; no numbers and no single letters."""
    return {
        word
        for word in map(str.lower, words_of(text))
        if len(word) > 1 and not word[0].isdigit() and word not in stopwords
    }


def stopwords_of(texts: Iterable[str]) -> frozenset[str]:
    """Words such as "the", of the language that the texts have most different ones of; where they
    have hardly any, of English. Those of all languages together would take "dog", which is Danish
    for "however"."""
    said = {word for text in texts for word in map(str.lower, words_of(text))}
    languages = _stopwords()
    name = max(languages, key=lambda name: len(said & languages[name]))
    return languages[name if len(said & languages[name]) >= _FEWEST else _LANGUAGES[0]]


@lru_cache(maxsize=1)
def _stopwords() -> dict[str, frozenset[str]]:
    from bm25s import stopwords as lists  # a tenth of a second to import

    return {name: frozenset(getattr(lists, f"STOPWORDS_{name}")) for name in _LANGUAGES}
