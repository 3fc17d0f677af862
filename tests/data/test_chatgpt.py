"""ChatGPT's export: what the user wrote is taken, everything else is counted and left."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Account, Interaction, chatgpt, read_chatgpt
from personaagent.errors import DataError, PersonaAgentError

Write = Callable[[Any], Path]


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


def read(path: Path) -> tuple[list[Interaction], Account]:
    account = Account()
    return list(read_chatgpt(path, "ann", account=account)), account


def test_the_user_replies_to_what_the_assistant_said(write: Write):
    (first, reply), account = read(write([TALK]))
    assert (first.query, first.response) == (chatgpt.OPENING, "My tyres are worn.")
    assert (reply.query, reply.response) == ("Buy new ones.", "Which are quiet?")
    assert (reply.id, reply.user, reply.task, reply.source) == (
        "chatgpt-n7",
        "ann",
        "chat",
        "chatgpt",
    )
    assert reply.metadata == {"conversation": "c"}
    assert str(reply.time) == "2023-11-14 22:14:20+00:00"
    assert account.taken == {chatgpt.FIRST: 1, chatgpt.REPLY: 1}
    assert account.left == {chatgpt.TOOL: 2, chatgpt.ASSISTANT: 3, chatgpt.BRANCH: 0}


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
        (chatgpt.OPENING, "Write a poem."),
        ("Violets.", "Shorter."),
    ]
    assert account.left[chatgpt.BRANCH] == 1


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
        chatgpt.WORDLESS: 1,
        chatgpt.EMPTY: 1,
        chatgpt.HIDDEN: 2,
        chatgpt.BRANCH: 0,
    }


def test_content_that_is_null_is_empty(write: Write):
    nothing = talk(node("n0", "user", content=None), node("n1", "user"))
    nothing["mapping"]["n2"]["message"]["content"]["parts"] = None
    assert read(write([nothing]))[1].left[chatgpt.EMPTY] == 2


def test_a_message_of_two_conversations_is_taken_once(write: Write):
    found, account = read(write([TALK, TALK]))
    assert (len(found), account.left[chatgpt.TWICE]) == (2, 2)


@pytest.mark.parametrize(("parent", "of"), [("n2", "n2"), ("gone", "n1"), ("n7", "n1")])
def test_a_broken_tree_is_left_and_the_rest_taken(write: Write, parent: str, of: str):
    broken = json.loads(json.dumps(TALK))
    broken["mapping"][of]["parent"] = parent
    found, account = read(write([broken, TALK]))
    assert (len(found), account.left[chatgpt.BROKEN]) == (2, 2)


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
    ("data", "problem"),
    [
        ([TALK, 3], r"record 2: field '\*'"),
        (broken("mapping", []), "record 2: field 'mapping'"),
        (broken("mapping/n2", 1), r"record 2: field 'mapping\.n2\.\*'"),
        (broken("mapping/n2/message", []), r"mapping\.n2\.message': an object"),
        (broken("mapping/n2/message/author", {}), r"mapping\.n2\.message\.author\.role"),
        (broken("mapping/n2/message/content/parts", "x"), r"n2\.message\.content\.parts"),
        (broken("mapping/n2/message/create_time", "x"), r"n2\.message\.create_time"),
        (broken("mapping/n2/message/create_time", 9e9), "lies in the future"),
        (broken("mapping/n2/message/create_time", 1e99), r"n2\.message\.create_time"),
        (broken("mapping/n2/parent", 3), r"field 'mapping\.n2\.parent'"),
        (broken("current_node", 3), "field 'current_node'"),
        ({"conversations": []}, "not a list of conversations: unpack"),
        ('[{"mapping": {', "after record 0: not valid JSON or cut off"),
    ],
)
def test_what_is_wrong_is_named(write: Write, data: Any, problem: str):
    with pytest.raises(DataError, match=problem) as caught:
        read(write(data))
    assert "conversations.json: " in str(caught.value)


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
            found |= {part for part in parts or [] if isinstance(part, str)} if parts else set()
    return found


@given(record=RECORD)
def test_any_tree_ends_and_every_message_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
):
    ill = [
        one
        for one in record["mapping"].values()
        if isinstance(((one["message"] or {}).get("content") or {}).get("parts"), int)
    ]
    for one in ill:  # a value of the wrong type is an error, tested above
        one["message"]["content"]["parts"] = []
    path = tmp_path_factory.mktemp("tree") / "conversations.json"
    path.write_text(json.dumps([record]))
    found, account = read(path)
    of_users = sum(
        (one["message"] or {"author": {"role": ""}})["author"]["role"] == "user"
        for one in record["mapping"].values()
    )
    left = account.left.total() - account.left[chatgpt.ASSISTANT] - account.left[chatgpt.TOOL]
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
