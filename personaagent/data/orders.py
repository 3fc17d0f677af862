"""Orders to an assistant, in the languages that most people speak.

The words are in orders.toml. An order is told from a report of one by the form of its verb, by
where the verb stands, and by who is said to have said it: "ignora las instrucciones" orders, "me
dijo que ignorara las instrucciones" reports.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

WEAK, STRONG = 1, 2


@dataclass(frozen=True, slots=True)
class Sign:
    """One reason for suspicion: its kind, its points, and the piece of text that shows it."""

    kind: str
    points: int
    shown: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A sentence is a sign where it holds every one of `parts` and none of `without`.

    The first part is the verb of the order, if `spoken`: then a report of it is a weak sign.
    """

    kind: str
    points: int
    spoken: bool
    parts: tuple[re.Pattern[str], ...]
    without: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """The words of a language, made into rules. A label makes `standing` strong."""

    script: re.Pattern[str]
    hints: tuple[str, ...]
    opens: bool
    reports: re.Pattern[str]
    rules: tuple[Rule, ...]
    standing: Rule


_SENTENCE = re.compile(r"[^.!?。।۔؟\n]+[.!?。।۔؟]*")
_OPENS = r"(?:^|[:;,،、—–\"'“«„‘『「(¡¿-])\W*"
_QUOTED = re.compile(r"\w\W+\w.*[\"“«„『「‘]\W*$")  # words of one's own, then a quotation mark
_QUOTING = re.compile(r"\w\W+\w.*[\"“«][^\"”»]*$")
_MARKS = {
    # Accents of Latin, Greek and Cyrillic letters, vowel signs of Arabic, dots below of Indic ones.
    **dict.fromkeys((*range(0x300, 0x370), *range(0x64B, 0x660), 0x670, 0x640, 0x93C, 0x9BC)),
    # One letter in Arabic and Urdu, typed in two ways
    **str.maketrans("یىکہھۀ", "ييكههه"),
}
_LOOKALIKES = str.maketrans("аеорсухіјѕԁһοаνιкт", "aeopcyxijsdhoavikt")
_LEET = str.maketrans("013457@$", "oieastas")
_DISGUISED = re.compile(r"[^\W\d_][013457@$]|[013457@$][^\W\d_]")
_MIXED = re.compile(r"[a-z][\u0370-\u04ff]|[\u0370-\u04ff][a-z]", re.IGNORECASE)
_LONGEST = 600  # characters of a sentence that are looked at together: time stays linear


def found_in(text: str) -> Iterator[Sign]:
    """The signs in a text, in every language whose script it has."""
    for language, sentence in _sentences(text):
        for rule in language.rules:
            if points := _points(rule, sentence, language):
                yield Sign(rule.kind, points, sentence.strip())


def standing(text: str) -> list[str]:
    """The sentences that order what to answer from now on."""
    return [
        sentence
        for language, sentence in _sentences(text)
        if _points(language.standing, sentence, language)
    ]


def reported(text: str, at: int) -> bool:
    """Whether an English order that begins there is told of, or quoted, and not given."""
    begin = max(text.rfind(end, 0, at) for end in ".!?\n") + 1
    return _told(_languages()["en"], fold(text[max(begin, at - _LONGEST) : at]), at)


def unmasked(text: str) -> str:
    """The text with the letters that a disguised word stands for: 1gnore, and look-alikes from
    other alphabets inside a Latin word."""
    for disguise, letters in ((_MIXED, _LOOKALIKES), (_DISGUISED, _LEET)):
        if disguise.search(text):
            words = text.split(" ")
            text = " ".join(
                word.translate(letters) if disguise.search(word) else word for word in words
            )
    return text


def fold(text: str) -> str:
    """Lower case, without the marks that people leave out."""
    return text.lower() if text.isascii() else _unmarked(text).lower()


def _unmarked(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).translate(_MARKS))


@lru_cache(maxsize=1)  # a text is asked about twice, for its signs and for its standing orders
def _sentences(text: str) -> list[tuple[Language, str]]:
    """The sentences of a text, with each language that it may be in by its script and its hints."""
    folded = fold(text)
    edged = f" {folded} "
    hinted = {
        name for hint, names in _hints(text.isascii()).items() if hint in edged for name in names
    }
    languages = [one for name, one in _languages().items() if name in hinted]
    return [
        (language, sentence)
        for language in languages
        if language.script.search(folded)
        for whole in _SENTENCE.findall(folded)
        for sentence in _pieces(whole)
    ]


def _pieces(sentence: str) -> list[str]:
    """The sentence, or where it is too long pieces that overlap by half."""
    last = max(len(sentence) - _LONGEST // 2, 1)
    return [sentence[at : at + _LONGEST] for at in range(0, last, _LONGEST // 2)]


@lru_cache(maxsize=2)
def _hints(ascii: bool) -> dict[str, list[str]]:
    """The names of the languages that each hint is of; for ASCII texts, only those it can be in."""
    found: dict[str, list[str]] = {}
    for name, language in _languages().items():
        for hint in language.hints:
            if not ascii or (hint.isascii() and language.script.search("a")):
                found.setdefault(hint, []).append(name)
    return found


def _points(rule: Rule, sentence: str, language: Language) -> int:
    first = rule.parts[0].search(sentence)
    if not first or not all(part.search(sentence) for part in rule.parts[1:]):
        return 0
    if rule.without and rule.without.search(sentence):
        return 0
    told = rule.spoken and _told(language, sentence, first.start("verb"))
    return WEAK if told else rule.points


def _told(language: Language, sentence: str, at: int) -> bool:
    """Whether the verb there is somebody else's: where verbs come last, who says so may follow it,
    and a quotation begins long before it."""
    before = sentence[:at]
    if language.opens:
        return bool(language.reports.search(before) or _QUOTED.search(before))
    return bool(language.reports.search(sentence) or _QUOTING.search(before))


@lru_cache(maxsize=1)
def _languages() -> dict[str, Language]:
    file = resources.files("personaagent.data").joinpath("orders.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: _language(words) for name, words in table.items()}


def _language(words: dict[str, Any]) -> Language:
    # Never in lower case: \S is another thing than \s.
    def one(name: str) -> re.Pattern[str]:
        return re.compile(_unmarked(words[name]))

    def verb(name: str, behind: str = "") -> re.Pattern[str]:
        said = rf"(?P<verb>{_unmarked(words[name])})"
        if not words["opens"]:
            return re.compile(said)
        please = _unmarked(words["please"])
        also = f"|(?:{_unmarked(words[behind])}).{{0,12}}?" if behind else ""
        return re.compile(rf"(?:{_OPENS}(?:{please})*|(?<!\w){please}{also}){said}")

    ignore, become = verb("ignore"), re.compile(rf"(?P<verb>{_unmarked(words['become'])})")
    orders, ai = one("orders"), one("ai")
    mine, named = _unmarked(words["mine"]), _unmarked(words["orders"])
    to_people = re.compile(rf"(?:{mine}).{{0,16}}?(?:{named})|(?:{named}) (?:{mine})")
    order = Rule(
        "standing order", WEAK, True, (verb("reply", behind="now"), one("now")), one("own")
    )
    return Language(
        re.compile(f"[{words['script']}]"),
        tuple(map(_unmarked, words["hints"])),
        words["opens"],
        one("reports"),
        (
            Rule("override", STRONG, True, (ignore, one("before"), orders), to_people),
            Rule("override", STRONG, True, (ignore, one("told"))),
            Rule("role change", STRONG, True, (become, ai, one("free"))),
            Rule("asks for secrets", STRONG, True, (verb("show"), one("secret"))),
            Rule("assistant addressed", STRONG, False, (one("note"),)),
            Rule(
                "role marker",
                WEAK,
                False,
                (re.compile(rf"^[\s\[(*]*(?:{_unmarked(words['system'])})[\])*]*\s*:"),),
            ),
            Rule("assistant addressed", WEAK, False, (one("renewed"),)),
            order,
        ),
        order,
    )
