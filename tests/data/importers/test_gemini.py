"""Gemini's activity from Takeout: what the user wrote is taken, the rest counted and left."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personaagent.data import ImportSummary, Interaction, read_gemini
from personaagent.data.importers import chat, gemini
from personaagent.errors import DataError

Write = Callable[[Any], Path]


def activity(title: Any, time: Any, *answers: str, header: str = "Gemini Apps") -> dict[str, Any]:
    html = {"safeHtmlItem": [{"html": answer} for answer in answers]} if answers else {}
    return {"header": header, "title": title, "time": time, "products": [header]} | html


ACTIVITY = [  # newest first, as Takeout has it
    activity("Prompted Which are quiet?", "2025-10-09T09:20:00.000Z", "<p>These.</p>"),
    activity("Created a canvas", "2025-10-09T09:10:00Z"),
    activity(
        "Prompted My tyres are worn.",
        "2025-10-09T09:00:00.123Z",
        "<p>First draft</p>",
        "<h2>Tyres</h2><p>Buy <b>new</b>&nbsp;ones &amp; soon.</p><ul><li>wide</li></ul>"
        "<style>p {}</style>",
    ),
]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(data: Any) -> Path:
        path = tmp_path / "MyActivity.json"
        path.write_text(json.dumps(data))
        return path

    return write


def read(path: Path) -> tuple[list[Interaction], ImportSummary]:
    account = ImportSummary()
    return list(read_gemini(path, "ann", account=account)), account


def test_the_user_replies_to_the_last_draft_of_the_half_hour_before(write: Write):
    (first, reply), account = read(write(ACTIVITY))
    assert (first.query, first.response) == (chat.OPENING, "My tyres are worn.")
    assert (reply.query, reply.response) == (
        "Tyres\nBuy new ones & soon.\nwide",
        "Which are quiet?",
    )
    assert str(first.time) == "2025-10-09 09:00:00.123000+00:00"
    assert (reply.user, reply.task, reply.source) == ("ann", "chat", "gemini")
    assert account.taken == {chat.FIRST: 1, chat.REPLY: 1}
    assert +account.left == {chat.ASSISTANT: 2, gemini.OTHER: 1}


def test_an_answer_of_long_ago_is_no_context(write: Write):
    late = activity("Prompted Which are quiet?", "2025-10-09T09:31:00Z")
    found, _ = read(write([late, ACTIVITY[2]]))
    assert [one.query for one in found] == [chat.OPENING, chat.OPENING]
    undated = activity("Prompted Which are quiet?", None)
    assert {one.query for one in read(write([undated, ACTIVITY[2]]))[0]} == {chat.OPENING}


def test_a_longer_export_has_the_ids_of_the_shorter(write: Write):
    before, _ = read(write(ACTIVITY))
    newer = activity("Prompted Thanks.", "2025-10-09T09:25:00Z")
    after, _ = read(write([newer, *ACTIVITY]))
    assert [one.id for one in after[:2]] == [one.id for one in before]
    assert len({one.id for one in after}) == 3


def test_a_repeated_activity_is_taken_once(write: Write):
    found, account = read(write([*ACTIVITY, *ACTIVITY]))
    assert (len(found), account.left[chat.TWICE]) == (2, 2)


def test_other_products_and_what_is_broken_are_left(write: Write):
    others = [
        activity("Searched for tyres", "2025-10-09T09:00:00Z", header="Search"),
        3,
        activity(None, "2025-10-09T09:00:00Z"),
        activity("Prompted ", "2025-10-08T09:00:00Z"),
        activity("Prompted", "2025-10-08T09:00:01Z"),
    ]
    found, account = read(write([*others, *ACTIVITY]))
    assert len(found) == 2
    assert account.left[gemini.ELSEWHERE] == 2
    assert account.left[chat.UNREADABLE] == 1
    assert account.left[chat.EMPTY] == 2


def test_the_beginning_of_titles_in_another_language_is_learned(write: Write):
    words = ["Reifen?", "Welche sind leise?", "Danke.", "Wie viel Salz?", "Wo ist Lissabon?"]
    german = [
        activity(
            f"Eingegebener Prompt: {text}", f"2025-10-0{n}T09:00:00Z", "Ja.", header="Gemini-Apps"
        )
        for n, text in enumerate(words, 1)
    ]
    created = activity("Canvas erstellt", "2025-10-07T09:00:00Z", header="Gemini-Apps")
    found, account = read(write([created, *german]))
    assert [one.response for one in found] == words
    assert account.left[gemini.OTHER] == 1
    few, account = read(write(german[:4]))
    assert few == []
    assert account.left[gemini.FOREIGN] == 4


def test_titles_that_share_nothing_are_left_and_that_is_said(write: Write):
    titles = [f"{word} と入力しました" for word in ("塩", "旅", "車", "雨", "夜")]
    found, account = read(write([activity(one, "2025-10-09T09:00:00Z", "x") for one in titles]))
    assert found == []
    assert account.left[gemini.FOREIGN] == 5


def test_a_time_that_cannot_be_read_is_unknown(write: Write):
    (one,), account = read(write([activity("Prompted Hi.", "soon")]))
    assert one.time is None
    assert account.changed == {chat.UNTIMED: 1}


def test_the_archive_is_read_as_it_was_downloaded(tmp_path: Path):
    archive = tmp_path / "takeout-001.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("Takeout/archive_browser.html", "<html>")
        packed.writestr("Takeout/Profile/Profile.json", "{}")
        packed.writestr("Takeout/My Activity/Gemini Apps/My Activity.json", json.dumps(ACTIVITY))
    assert [one.response for one in read(archive)[0]] == ["My tyres are worn.", "Which are quiet?"]


def test_a_takeout_without_gemini_or_in_html_says_what_to_choose(write: Write, tmp_path: Path):
    archive = tmp_path / "takeout.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("Takeout/My Activity/Gemini Apps/MyActivity.html", "<html>")
    with pytest.raises(DataError, match="JSON as its format"):
        read(archive)
    with pytest.raises(DataError, match="no activity of Gemini"):
        read(write([activity("Searched for tyres", "2025-10-09T09:00:00Z", header="Search")]))
    with pytest.raises(DataError, match="no activity of Gemini"):
        read(write({}))
    with pytest.raises(DataError, match=r"MyActivity\.html: .*JSON as its format"):
        read(tmp_path / "MyActivity.html")


def test_titles_without_answers_in_another_language_are_left_and_that_is_said(write: Write):
    found, account = read(write([activity("Frage: Reifen?", "2025-10-09T09:00:00Z")]))
    assert found == []
    assert account.left == {gemini.FOREIGN: 1}


def test_messages_of_one_moment_are_in_their_order(write: Write):
    moment = "2025-10-09T09:00:00Z"
    two = [activity("Prompted second", moment), activity("Prompted first", moment)]
    assert [one.response for one in read(write(two))[0]] == ["first", "second"]
