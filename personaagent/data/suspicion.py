"""Signs that a text speaks to an assistant instead of being what it pretends to be.

Each sign has points. A text of one's own may well hold one weak sign ("from now on", "System:"):
it takes a strong one, or weak ones of two kinds, to look like an instruction. Invisible characters
are taken out and encoded parts are read before the signs are looked for, so that hiding does not
help.

What it cannot see: an instruction in plain words that a person could have written to a person.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from personaagent.data.orders import STRONG, WEAK, Sign, found_in, reported, unmasked
from personaagent.table import short

_ORDERS = (
    r"(?:instructions?|prompts?|directives?|directions|guidelines|system messages?|rules|"
    r"training|programming|constraints|restrictions|safeguards)"
)
_BEFORE = r"(?:previous|prior|above|earlier|preceding|foregoing|existing|current|original|other)"
_ASSISTANT = (
    r"(?:a\.?i\.?|llm|(?:large )?language model|ai (?:assistant|agent|model|system)|chat ?bot|"
    r"virtual assistant)"
)
ALWAYS = (
    r"(?:from now on|in (?:the )?future|henceforth|from here on|whenever|every time|always|"
    r"for (?:all|every|any) (?:other |future |following )?\w+|"
    r"if (?:the|a|any) \w+ (?:mentions|contains|is about))"
)
REPLY = (
    r"(?:answer|reply|respond|output|return|classify|label|tag|categori[sz]e|file|sort|rate|"
    r"choose|pick|recommend|say)"
)

_OVERRIDE = ("ignore", "disregard", "forget", "override", "bypass", "discard", "follow")
_STANDING = (
    *("from ", "future", "henceforth", "for ", "whenever", "every", "if "),
    *("always", "only", "never"),
)

# Kind, points, words of which one must be there (cheap to look for), pattern.
# The object decides: "ignore the previous email" is no sign, "ignore my instructions" (of one
# person to another) a weak one, "ignore all previous instructions" a strong one.
_PATTERNS = tuple(
    (kind, worth, hints, re.compile(pattern, re.IGNORECASE | re.MULTILINE))
    for kind, worth, hints, pattern in (
        (
            "override",
            STRONG,
            _OVERRIDE,
            r"\b(?:ignore|disregard|forget|override|bypass|discard|do not follow|stop following)\s+"
            rf"(?:(?:all|any|every|the|your|these|those|of)\s+){{0,3}}{_BEFORE}\s+"
            rf"(?:\w+\s+){{0,2}}{_ORDERS}\b",
        ),
        (
            "override",
            STRONG,
            _OVERRIDE,
            r"\b(?:ignore|disregard|forget|override|bypass)\s+(?:all\s+)?(?:of\s+)?"
            rf"(?:your|the system(?:'s)?)\s+(?:\w+\s+){{0,2}}{_ORDERS}\b",
        ),
        (
            "override",
            STRONG,
            _OVERRIDE,
            r"\b(?:ignore|disregard|forget)\s+(?:everything|all|anything)\s+(?:that\s+)?"
            r"(?:you (?:were|have been|are) (?:told|taught|given|instructed)|"
            r"you (?:know|learned) about (?:the|this) user)\b",
        ),
        (
            "override",
            WEAK,
            _OVERRIDE,
            r"\b(?:ignore|disregard|override)\s+(?:(?:all|any|my|our|the|these|those)\s+){0,2}"
            rf"(?:{_BEFORE}\s+)?{_ORDERS}\b",
        ),
        (
            "role marker",
            STRONG,
            ("<", "[inst", "[/inst", "[[ ##", "##"),
            r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|>|"
            r"\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|\[\[ ## \w+ ## \]\]|"
            r"<(system|assistant)(?:[ _](?:prompt|message))?>.*?</\1|"
            r"^\s*#{2,}\s*(?:system|instruction|assistant)s?\b\s*:?\s*$",
        ),
        (
            "role marker",
            WEAK,
            ("system", "assistant", "developer"),
            r"^\s*[\[(*]*(?:system|assistant|developer)(?: (?:prompt|message|note))?[\])*]*\s*:",
        ),
        (
            "assistant addressed",
            STRONG,
            ("ai", "a.i", "llm", "model", "chat", "virtual"),
            r"\b(?:note|message|instructions?|attention|reminder)\s*(?:to|for)\s+"
            rf"(?:the\s+|any\s+)?{_ASSISTANT}(?= ?[:,.!)\]-])|"
            rf"\byou are (?:now )?(?:an?|the) (?:helpful )?{_ASSISTANT}\b.{{0,80}}"
            r"\b(?:must|always|never|should)\b",
        ),
        (
            "assistant addressed",
            WEAK,
            ("assistant", "ai", "llm", "model", "chat", "system prompt", "you ", "new "),
            rf"\b(?:dear|hey|hello|hi)\s+(?:{_ASSISTANT}|assistant)\b|\bsystem prompt\b(?!\s*:)|"
            r"\byou are now\b|\bnew (?:instructions?|directives?)\s*:|"
            rf"\b(?:the|this|any) (?:assistant|{_ASSISTANT}) (?:must|should|shall|has to)\b|"
            rf"\byou (?:must|shall|have to|are to|will) (?:now |always |only |never )+{REPLY}\b",
        ),
        (
            "standing order",
            WEAK,
            _STANDING,
            rf"(?:(?!always)\b{ALWAYS})\b[^.\n]{{0,80}}?\b{REPLY}\b|"
            rf"(?:^|[.!?:;,\"']\s*|\bplease )(?:always|only|never) {REPLY}\b",
        ),
        (
            "tool call",
            STRONG,
            ("<", "{"),
            r"<(?:tool_call|function_calls?|tool_use|invoke)\b|"
            r"\{\s*\"(?:tool|function|name|tool_name|function_call|tool_calls|actions?)\"\s*:"
            r"[^{}]{0,200}(?:\"(?:arguments|args|parameters|input|query)\"|\{\s*\"tool\")",
        ),
        (
            "tool call",
            WEAK,
            ("(",),
            r"\b(?:recall|habits|read_profile|wikipedia)\(\s*(?:\w+\s*=|[\"'])",
        ),
        ("terminal control", STRONG, ("\x1b",), r"\x1b[\[\]P]"),
    )
)
_ENCODED: tuple[tuple[re.Pattern[str], Callable[[str], bytes]], ...] = (
    (re.compile(r"\b(?:[0-9a-fA-F]{2}){12,}\b"), bytes.fromhex),
    (re.compile(r"(?<![\w+/-])[A-Za-z0-9+/_-]{24,}"), lambda text: _from_base64(text)),
)
_SHORTEST_ENCODED = 24  # characters
_SHORTEST_WORD = 4  # characters
_TAGS = range(0xE0000, 0xE0080)
_FLAG = "\N{WAVING BLACK FLAG}"  # what a legitimate run of tag characters begins with
_OVERRIDES = "\N{LEFT-TO-RIGHT OVERRIDE}\N{RIGHT-TO-LEFT OVERRIDE}"
_KEPT = "\t\n\r\x1b"  # controls that mean something
_LONGEST_SHOWN = 80  # characters


def signs(text: str) -> list[Sign]:
    """What in a text looks like an instruction to an assistant, in no order."""
    found = list(_hidden(text))
    shown = visible(text)
    found += _plain(unmasked(shown))
    for decoded in _decoded(shown):
        found += [
            Sign(f"encoded {one.kind}", STRONG, one.shown) for one in _plain(visible(decoded))
        ]
    return found


def points(found: list[Sign]) -> int:
    """The points of the strongest sign of each kind, added up."""
    strongest: dict[str, int] = {}
    for one in found:
        strongest[one.kind] = max(one.points, strongest.get(one.kind, 0))
    return sum(strongest.values())


def _plain(text: str) -> Iterator[Sign]:
    lower = text.lower()
    for kind, worth, hints, pattern in _PATTERNS:
        if any(hint in lower for hint in hints) and (match := pattern.search(text)):
            told = kind == "override" and reported(text, match.start())
            yield Sign(kind, WEAK if told else worth, short(match[0], _LONGEST_SHOWN))
    for one in found_in(text):
        yield Sign(one.kind, one.points, short(one.shown, _LONGEST_SHOWN))


def _hidden(text: str) -> Iterator[Sign]:
    """Characters that no eye sees: text in tag characters, or letters in another order."""
    if text.isascii():
        return
    tagged = [at for at, letter in enumerate(text) if ord(letter) in _TAGS]
    if len(tagged) >= _SHORTEST_WORD and text[max(tagged[0] - 1, 0)] != _FLAG:
        hidden = "".join(chr(ord(text[at]) - 0xE0000) for at in tagged)
        yield Sign("invisible text", STRONG, short(hidden, _LONGEST_SHOWN))
    reordered = any(letter in text for letter in _OVERRIDES)
    # Where a script runs from right to left, such characters are ordinary.
    if reordered and not any(unicodedata.bidirectional(one) in ("R", "AL") for one in text):
        yield Sign("reversed text", WEAK, short(text, _LONGEST_SHOWN))


def visible(text: str) -> str:
    """As it reads: compatible letters made plain, format and control characters left out."""
    folded = unicodedata.normalize("NFKC", text)
    if folded.isprintable():
        return folded
    return "".join(
        letter
        for letter in folded
        if letter in _KEPT or unicodedata.category(letter) not in ("Cf", "Cc")
    )


def _decoded(text: str) -> Iterator[str]:
    """What encoded parts say, where they say something in words."""
    if text.count("%") + text.count("\\x") > 2:
        yield unquote(text.replace("\\x", "%"))
    if all(len(word) < _SHORTEST_ENCODED for word in text.split()):
        return
    for pattern, decode in _ENCODED:
        for match in pattern.finditer(text):
            try:
                said = decode(match[0]).decode()
            except (ValueError, binascii.Error):
                continue
            if " " in said and said.isprintable():
                yield said


def _from_base64(text: str) -> bytes:
    """Either alphabet, with or without its padding."""
    plain = text.translate(str.maketrans("+/", "-_"))
    return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
