"""ChatGPT's export: what the user wrote is taken, everything else is counted and left."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import ImportSummary, Interaction, read_chatgpt
from personaagent.data.importers import chat, chatgpt
from personaagent.errors import DataError, PersonaAgentError

Write = Callable[[Any], Path]
CASES = Path(__file__).resolve().parents[2] / "cases"


def node(
    parent: str | None, role: str | None, *parts: Any, at: float | None = 1.7e9, **more: Any
) -> dict[str, Any]:
    content = {"content_type": more.pop("kind", "text"), "parts": list(parts)}
    message = {"author": {"role": role}, "content": content, "create_time": at, **more}
    return {"parent": parent, "children": [], "message": message if role else None}


def talk(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A conversation whose nodes are called n0 (the root), n1, n2 …"""
    nodes = {f"n{n}": turn for n, turn in enumerate((node(None, None), *turns))}
    last = f"n{len(turns)}"
    return {"conversation_id": "c", "title": "Tyres", "mapping": nodes, "current_node": last} | more


TALK = talk(
    node("n0", "system", ""),
    node("n1", "user", "My tyres are worn.", at=1.7e9),
    node("n2", "assistant", "Let me think.", kind="thoughts"),
    node("n3", "assistant", "search()", recipient="browser"),
    node("n4", "tool", "a page"),
    node("n5", "assistant", "Buy new ones."),
    node("n6", "user", "Which are quiet?", at=1.7e9 + 60),
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(data: Any) -> Path:
        path = tmp_path / "conversations.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return write


def read(path: Path) -> tuple[list[Interaction], ImportSummary]:
    account = ImportSummary()
    return list(read_chatgpt(path, "ann", account=account)), account


def test_the_user_replies_to_what_the_assistant_said(write: Write):
    (first, reply), account = read(write([TALK]))
    assert (first.query, first.response) == (chat.OPENING, "My tyres are worn.")
    assert (reply.query, reply.response) == ("Buy new ones.", "Which are quiet?")
    assert (reply.id, reply.user, reply.task, reply.source) == (
        "chatgpt-n7",
        "ann",
        "chat",
        "chatgpt",
    )
    assert reply.metadata == {"conversation": "c", "turn": "2"}
    assert reply.searched == reply.response
    assert str(reply.time) == "2023-11-14 22:14:20+00:00"
    assert account.taken == {chat.FIRST: 1, chat.REPLY: 1}
    assert account.left == {chat.TOOL: 2, chat.ASSISTANT: 3, chat.BRANCH: 0}


def test_the_title_gives_nothing_away(write: Write):
    found, _ = read(write([TALK]))
    assert "Tyres" not in repr(found)


def test_branches_that_were_edited_away_are_left(write: Write):
    edited = talk(
        node("n0", "user", "Rite a poem."),
        node("n0", "user", "Write a poem."),
        node("n2", "assistant", "Roses."),
        node("n2", "assistant", "Violets."),
        node("n4", "user", "Shorter."),
    )
    found, account = read(write([edited]))
    assert [(one.query, one.response) for one in found] == [
        (chat.OPENING, "Write a poem."),
        ("Violets.", "Shorter."),
    ]
    assert account.left[chat.BRANCH] == 1


def test_two_messages_in_a_row_reply_to_the_same(write: Write):
    found, _ = read(write([talk(node("n0", "assistant", "Hello?"), node("n1", "user", "Hi."),
                                node("n2", "user", "It is me."))]))  # fmt: skip
    assert [(one.query, one.response) for one in found] == [
        ("Hello?", "Hi."),
        ("Hello?", "It is me."),
    ]


def test_of_a_message_with_an_image_the_words_are_taken(write: Write):
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
    shown = talk(
        node("n0", "user", image, "What is this?", None, kind="multimodal_text"),
        node("n1", "user", image, kind="multimodal_text"),
        node("n2", "user", "", kind="text"),
        node("n3", "user", user_profile="I am Ann.", kind="user_editable_context"),
        node("n4", "user", "secret", metadata={"is_visually_hidden_from_conversation": True}),
    )
    found, account = read(write([shown]))
    assert [one.response for one in found] == ["What is this?"]
    assert account.left == {
        chat.WORDLESS: 1,
        chat.EMPTY: 1,
        chatgpt.HIDDEN: 2,
        chat.BRANCH: 0,
    }


def test_content_that_is_null_is_empty(write: Write):
    nothing = talk(node("n0", "user", content=None), node("n1", "user"))
    nothing["mapping"]["n2"]["message"]["content"]["parts"] = None
    assert read(write([nothing]))[1].left[chat.EMPTY] == 2


def test_a_message_of_two_conversations_is_taken_once(write: Write):
    found, account = read(write([TALK, TALK]))
    assert (len(found), account.left[chat.TWICE]) == (2, 2)


@pytest.mark.parametrize(("parent", "of"), [("n2", "n2"), ("gone", "n1"), ("n7", "n1")])
def test_a_broken_tree_is_left_and_the_rest_taken(write: Write, parent: str, of: str):
    broken = json.loads(json.dumps(TALK))
    broken["mapping"][of]["parent"] = parent
    found, account = read(write([broken, TALK]))
    assert (len(found), account.left[chat.BROKEN]) == (2, 2)


def test_without_a_current_node_the_last_leaf_counts(write: Write):
    found, _ = read(write([TALK | {"current_node": None}]))
    assert len(found) == 2
    assert read(write([TALK | {"current_node": None, "mapping": {}}]))[0] == []


def test_a_message_without_a_time_has_its_conversations(write: Write):
    undated = talk(node("n0", "user", "Hi.", at=None), create_time=1.6e9)
    (found,), _ = read(write([undated]))
    assert str(found.time) == "2020-09-13 12:26:40+00:00"


def test_a_packed_file_is_read(tmp_path: Path):
    path = tmp_path / "conversations.json.gz"
    path.write_bytes(gzip.compress(json.dumps([TALK]).encode()))
    assert len(read(path)[0]) == 2


def broken(field: str, value: Any) -> list[Any]:
    copy = json.loads(json.dumps(TALK))
    *way, last = field.split("/")
    at = copy
    for name in way:
        at = at[name]
    at[last] = value
    return [TALK, copy]


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ([TALK, 3], {chat.HOLLOW: 1}),
        ([TALK, {"id": "z", "title": None}], {chat.HOLLOW: 1}),
        (broken("mapping", []), {chat.HOLLOW: 1}),
        (broken("mapping", None), {chat.HOLLOW: 1}),
        (broken("mapping/n2", 1), {chat.BROKEN: 1}),
        (broken("mapping/n2/parent", 3), {chat.BROKEN: 2}),
        (broken("current_node", 3), {chat.BROKEN: 2}),
    ],
)
def test_a_hollow_or_broken_conversation_is_left_and_costs_no_other(
    write: Write, data: Any, left: dict[str, int]
):
    found, account = read(write([*data[1:], data[0]]))
    assert [one.response for one in found] == ["My tyres are worn.", "Which are quiet?"]
    assert {why: account.left[why] for why in left} == left


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mapping/n2/message", []),
        ("mapping/n2/message", "x"),
        ("mapping/n2/message/author", {}),
        ("mapping/n2/message/author", None),
        ("mapping/n2/message/author/role", 3),
        ("mapping/n2/message/content/parts", "x"),
    ],
)
def test_a_broken_message_is_left_and_costs_no_other(write: Write, field: str, value: Any):
    found, account = read(write(broken(field, value)[1:]))
    assert [one.response for one in found] == ["Which are quiet?"]
    empty = value == []  # no message stands there
    assert account.left[chat.UNREADABLE] == (0 if empty else 1)


MOMENT = "2025-10-09 08:55:20+00:00"


@pytest.mark.parametrize(
    "given",
    [
        1760000120,
        1760000120.0,
        "1760000120",
        "1760000120.0",
        1760000120000,
        "1760000120000",
        1760000120000000,
        1760000120000000000,
        "2025-10-09T08:55:20Z",
        "2025-10-09T10:55:20+02:00",
        "2025-10-09 08:55:20",
        " 2025-10-09T08:55:20.000000 ",
    ],
)
def test_a_time_is_read_in_every_form(write: Write, given: Any):
    (found,), account = read(write([talk(node("n0", "user", "Hi.", at=given))]))
    assert str(found.time) == MOMENT
    assert not account.changed


@pytest.mark.parametrize("given", ["soon", True, [], 9e9, 1e99, "nan", "inf", "9" * 400, {"$": 1}])
def test_a_time_that_cannot_be_read_is_counted_and_costs_nothing_else(write: Write, given: Any):
    (found,), account = read(write([talk(node("n0", "user", "Hi.", at=given), create_time=1.6e9)]))
    assert str(found.time) == ("2020-09-13 12:26:40+00:00")
    assert account.changed == ({chat.UNTIMED: 1} if given else {})


def test_what_was_spoken_is_the_users_text_and_context(write: Write):
    def spoken(text: str, direction: str) -> dict[str, Any]:
        return {"content_type": "audio_transcription", "text": text, "direction": direction}

    sound = {"content_type": "audio_asset_pointer", "asset_pointer": "file-service://x"}
    voices = talk(
        node("n0", "assistant", spoken("Hello?", "out"), sound, kind="multimodal_text"),
        node("n1", "user", spoken("Less salt.", "in"), sound, kind="multimodal_text"),
        node("n2", "user", spoken("Echo.", "out"), sound, kind="multimodal_text"),
    )
    found, account = read(write([voices]))
    assert [(one.query, one.response) for one in found] == [("Hello?", "Less salt.")]
    assert account.left[chat.WORDLESS] == 1


def test_half_a_character_and_nul_cost_nothing(write: Write):
    cut = json.dumps([talk(node("n0", "user", "half @ of an emoji\0"))]).replace("@", r"\ud83d")
    (found,), _ = read(write(cut))
    assert found.response == "half \ufffd of an emoji"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"conversations": []}, "not a list of ChatGPT's conversations"),
        ('[{"mapping": {', "not valid JSON, or cut off, after record #0"),
        ("<html>", "this is a web page"),
    ],
)
def test_what_is_no_list_of_conversations_is_refused(write: Write, data: Any, problem: str):
    with pytest.raises(DataError, match=problem) as caught:
        read(write(data))
    assert "conversations.json: " in str(caught.value)


# the cases


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("shell", "2025-10-09 08:55:20+00:00"),
        ("time-as-text", "2025-10-09 08:55:20.500000+00:00"),
        ("time-in-milliseconds", "2025-10-09 08:55:20.500000+00:00"),
        ("bom", "2025-10-09 08:55:20+00:00"),
        ("utf16", "2025-10-09 08:55:20+00:00"),
    ],
)
def test_what_breaks_other_readers_is_read(name: str, time: str):
    found, account = read(CASES / f"chatgpt-{name}.json")
    assert [one.response for one in found] == [
        "How much salt goes into a litre of soup?",
        "Too much for me, halve it please.",
        "Two days in Lisbon, nothing with queues.",
        "Fewer hills, I walk with a cane.",
    ]
    assert str(found[1].time) == time
    assert account.left[chat.HOLLOW] == (name == "shell")


def test_a_transcript_is_what_the_user_said():
    found, _ = read(CASES / "chatgpt-voice.json")
    assert [one.response for one in found if one.id == "chatgpt-a-2"] == ["Less salt, please."]
    assert len(found) == 4


def test_a_longer_export_has_the_ids_of_the_shorter():
    before, _ = read(CASES / "chatgpt-before.json")
    after, _ = read(CASES / "chatgpt-after.json")
    assert [one.id for one in before] == ["chatgpt-a-0", "chatgpt-a-2"]
    assert {one.id for one in after} - {one.id for one in before} == {
        "chatgpt-a-4",
        "chatgpt-b-0",
        "chatgpt-b-2",
    }


def test_the_archive_is_read_as_it_was_downloaded_and_unpacked(tmp_path: Path):
    archive = CASES / "chatgpt-export.zip"
    zipped, _ = read(archive)
    assert [one.id for one in zipped] == [f"chatgpt-{id}" for id in ("a-0", "a-2", "b-0", "b-2")]
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "export" / "inside")
    junk = tmp_path / "export" / "__MACOSX" / "._conversations-000.json"
    junk.parent.mkdir()
    junk.write_bytes(b"\0\5\26\7")
    assert read(tmp_path / "export")[0] == zipped
    one = tmp_path / "export" / "inside" / "conversations-001.json"
    assert [found.id for found in read(one)[0]] == ["chatgpt-b-0", "chatgpt-b-2"]


def test_an_archive_without_conversations_or_damaged_is_refused(tmp_path: Path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as packed:
        packed.writestr("chat.html", "<html>")
    with pytest.raises(DataError, match=r"other\.zip: it holds no conversations\.json"):
        read(other)
    with pytest.raises(DataError, match="it holds no conversations"):
        read(tmp_path)
    raw = bytearray((CASES / "chatgpt-export.zip").read_bytes())
    raw[60:90] = bytes(30)
    other.write_bytes(raw)
    with pytest.raises(DataError, match=r"other\.zip: conversations-000\.json: damaged or cut off"):
        read(other)


IDS = st.sampled_from(["a", "b", "c", "d", "gone"])
PARTS = st.lists(st.one_of(st.text(max_size=5), st.none(), st.just({"content_type": "image"})))
CONTENT = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"content_type": st.sampled_from(["text", "multimodal_text", "code"])},
        optional={"parts": st.one_of(st.none(), PARTS, st.integers())},
    ),
)
MESSAGE = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            "author": st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"])}),
            "content": CONTENT,
        }
    ),
)
NODE = st.fixed_dictionaries({"message": MESSAGE}, optional={"parent": st.one_of(st.none(), IDS)})
RECORD = st.fixed_dictionaries(
    {"mapping": st.dictionaries(IDS.filter("gone".__ne__), NODE)},
    optional={"current_node": st.one_of(st.none(), IDS), "create_time": st.just(1.6e9)},
)


def words(record: dict[str, Any], role: str) -> set[str]:
    """Every text that somebody of this role wrote anywhere in the tree."""
    found = set()
    for one in record["mapping"].values():
        message = one["message"] or {"author": {"role": ""}}
        if message["author"]["role"] == role:
            parts = (message["content"] or {}).get("parts")
            if isinstance(parts, list):
                found |= {part for part in parts if isinstance(part, str)}
    return found


@given(record=RECORD)
def test_any_tree_ends_and_every_message_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
):
    path = tmp_path_factory.mktemp("tree") / "conversations.json"
    path.write_text(json.dumps([record]))
    found, account = read(path)
    of_users = sum(
        (one["message"] or {"author": {"role": ""}})["author"]["role"] == "user"
        for one in record["mapping"].values()
    )
    left = account.left.total() - account.left[chat.ASSISTANT] - account.left[chat.TOOL]
    assert account.taken.total() == len(found)
    assert len(found) + left == of_users
    texts = "".join(words(record, "user"))
    assert all(set(one.response.replace("\n", "")) <= set(texts) for one in found)


@given(data=st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["mapping", "current_node", "message", "parent", "content", "author", "a"]),
        inner, max_size=4),
    max_leaves=25,
))  # fmt: skip
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: Any):
    path = tmp_path_factory.mktemp("any") / "conversations.json"
    path.write_text(json.dumps([{"mapping": data}, data]))
    with suppress(PersonaAgentError):
        read(path)
