"""Tokens as the bytes that they spell.

Servers name a token as text, which is no text where it holds part of a character; as GPT-2's
vocabulary spells it ("Ġmoney" for " money"); or as SentencePiece does ("▁money", "<0xE5>"). Where
they give its bytes, these count.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f"
_DECORATION = " \t\r\n\f\v\u00a0\u3000" + _QUOTES + "*_#>~(:-\uff08\uff09\uff1a\u2013\u2014"
"""What stands around a written answer and is none of it: space, quotes, markdown, brackets."""
_KEPT = 4096  # tokens whose bytes are kept as they are compared: labels begin with few
_ENDING = _DECORATION + ".,;!?\u2026)\u3001\u3002\uff01\uff0c\uff1f\u061f\u0964"


def spellings(token: str, given: Any = None) -> tuple[bytes, ...]:
    """The bytes that a token may spell, the likeliest first: `given` ones alone where the server
    tells them."""
    if given:
        return (bytes(given),)
    if match := _BYTE.fullmatch(token):
        return (bytes([int(match[1], 16)]),)
    if "▁" in token:
        return (token.replace("▁", " ").encode(),)
    plain = token.encode("utf-8", "replace")
    alphabet = _gpt2()
    if any(letter not in _PLAIN for letter in token) and all(one in alphabet for one in token):
        return plain, bytes(alphabet[letter] for letter in token)
    return (plain,)


@lru_cache(maxsize=_KEPT)
def folded(text: bytes) -> bytes:
    """Without case and in NFC, as far as the bytes are characters; a part of one stays as it is."""
    whole, rest = _whole(text)
    return unicodedata.normalize("NFC", whole).casefold().encode() + rest


@lru_cache(maxsize=_KEPT)
def begun(text: bytes) -> bytes:
    """Without what may stand before an answer."""
    whole, rest = _whole(text)
    return whole.lstrip(_DECORATION).encode() + rest


@lru_cache(maxsize=_KEPT)
def bare(text: bytes) -> bytes:
    """Without what may stand around an answer."""
    whole, rest = _whole(text)
    return whole.lstrip(_DECORATION).encode() + rest if rest else whole.strip(_ENDING).encode()


def _whole(text: bytes) -> tuple[str, bytes]:
    """The characters, and the bytes of one that is cut at the end."""
    for cut in range(min(4, len(text) + 1)):
        try:
            return text[: len(text) - cut].decode(), text[len(text) - cut :]
        except UnicodeDecodeError:
            continue
    return "", text  # it begins in the middle of a character


@lru_cache(maxsize=1)
def _gpt2() -> dict[str, int]:
    """Letter to byte, as GPT-2's vocabulary has it: printable bytes are themselves, the others the
    letters from U+0100 on (Radford et al., 2019, `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + n): byte for n, byte in enumerate(others)
    }


_PLAIN = frozenset(map(chr, range(0x80)))
