"""One normal form for what people and programs write differently and mean alike.

Labels and user ids are compared in it: "café" typed with a combining accent, or with a
right-to-left mark before it, is the same label.
"""

from __future__ import annotations

import unicodedata


def normal(text: str) -> str:
    """NFC, without format characters (Unicode category Cf: marks of direction, joiners, BOM),
    without space around it."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(one for one in composed if unicodedata.category(one) != "Cf").strip()


def same(one: str, other: str) -> bool:
    """Whether two texts are the same label but for case and form."""
    return normal(one).casefold() == normal(other).casefold()
