"""One normal form for what people and programs write differently and mean alike.

Labels and user ids are compared in it: "café" typed with a combining accent, or with a mark of
direction before it, is the same label.
"""

from __future__ import annotations

import re
import unicodedata

_HALF = re.compile("[\0\ud800-\udfff]")


def normal(text: str) -> str:
    """NFC, without format characters (Unicode category Cf: marks of direction, joiners, BOM),
    without space around it."""
    if text.isascii():
        return text.strip()
    composed = unicodedata.normalize("NFC", text)
    return "".join(one for one in composed if unicodedata.category(one) != "Cf").strip()


def form(text: str) -> str:
    """What texts have in common that are the same label: their normal form without case."""
    return normal(normal(text).casefold())


def same(one: str, other: str) -> bool:
    """Whether two texts are the same label but for case and form."""
    return form(one) == form(other)


def whole(text: str) -> str:
    """The text with U+FFFD where it has what no database can store: NUL, or half of a character
    (an emoji that a program cut in two)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _HALF.sub("\ufffd", text)
    return text.replace("\0", "\ufffd")
