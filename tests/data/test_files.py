"""Clean UTF-8 of whatever a data file is in, and times in every form."""

from __future__ import annotations

import json
import random
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data.files import Document, exported_instant, mended, opened
from personaagent.data.normal import form, normal, same, whole
from personaagent.errors import DataError

PIECES = [
    rb"\\",
    rb"\ud83d",
    rb"\uDE00",
    rb"\uD83D",
    rb"\u0041",
    rb"\n",
    rb"\"",
    b"a",
    "한😀".encode(),
]


def strictly(text: str) -> str:
    """The text with every half of a pair replaced, and pairs that were escaped apart joined."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@given(st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join))
def test_halves_are_replaced_and_nothing_else_is_touched(raw: bytes):
    assert json.loads(b'"' + mended(raw) + b'"') == strictly(json.loads(b'"' + raw + b'"'))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("gap", ["", " "])
def test_what_stands_across_the_parts_of_a_read_is_whole(tmp_path: Path, encoding: str, gap: str):
    dice = random.Random(encoding)
    words = [
        dice.choice([r"\ud83d\ude00", r"\ud83d", "日本", "é", r"\\", "x" * 7])
        for _ in range(60_000)
    ]
    text = f'["{gap.join(words)}"]'
    path = tmp_path / "long.json"
    path.write_bytes(text.encode(encoding))
    with opened(path) as stream:
        assert json.loads(stream.read()) == [strictly(json.loads(text)[0])]


def test_a_locked_archive_says_what_to_do(tmp_path: Path):
    path = tmp_path / "locked.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("conversations.json", "[]")
    raw = bytearray(path.read_bytes())
    raw[6] |= 1  # the flag of a password, in both places
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"locked\.zip: conversations\.json: .*unpack it first"):
        list(Document(path, "conversations.json").records("a list"))
    with (
        pytest.raises(DataError, match="this is a zip archive: unpack it, or say with --from"),
        opened(path),
    ):
        pass


@given(
    st.datetimes(datetime(1974, 1, 1), datetime(2025, 1, 1)).map(
        lambda one: one.replace(microsecond=0)
    )
)
def test_a_time_is_the_same_in_every_form(moment: datetime):
    moment = moment.replace(tzinfo=UTC)
    seconds = int(moment.timestamp())
    for given_as in (seconds, seconds * 10**3, seconds * 10**6, seconds * 10**9):
        assert exported_instant(given_as) == exported_instant(f"{given_as}") == moment
    for text in (moment.isoformat(), moment.replace(tzinfo=None).isoformat(" ")):
        assert exported_instant(text) == moment


@given(st.text())
def test_a_text_is_made_whole_once_and_normal_once(text: str):
    assert whole(whole(text)) == whole(text)
    assert normal(normal(text)) == normal(text)
    assert same(text, normal(text))
    assert form(form(text)) == form(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "CAFE\u0301"),
        ("\u200f日本", "日本\u200e"),
        ("straße", "STRASSE"),
        (" a\u200b", "a"),
        ("\ufeffa", "A"),
    ],
)
def test_texts_that_look_alike_are_the_same(one: str, other: str):
    assert same(one, other)


def test_other_texts_are_not_the_same():
    assert not same("cafe", "café")
    assert not same("work", "works")
