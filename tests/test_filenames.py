"""Names of files made of user ids and task names: safe everywhere, and never the same for two."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.files import file_name

NAMES = st.one_of(
    st.text(min_size=1),
    st.text(alphabet='aA.- ~%/\\:*?"<>|\0é', min_size=1, max_size=6),
    st.sampled_from(
        ["con", "CON", "nul", "aux.x", "Com1", "lpt9.", "x" * 500, "é" * 200, "..", "~"]
    ),
)


def on_disk(name: str) -> str:
    """How a file system that knows neither case nor forms sees a name."""
    return unicodedata.normalize("NFD", name.casefold()).casefold()


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("amira", "inbox"), "amira-inbox-v2.json"),
        (("amira@example.org", "in-box"), "amira@example.org-in-box-v2.json"),
        (("a-b", "inbox"), "a%2Db-inbox-v2.json"),
        (("ann/é", "inbox"), "ann%2Fé-inbox-v2.json"),
        (("con.x", "inbox"), "%63on.x-inbox-v2.json"),
        ((".ann", "inbox"), "%2Eann-inbox-v2.json"),
        (("nul",), "nul-v2.json"),
    ],
)
def test_a_name_is_readable_where_that_is_safe(parts: tuple[str, ...], name: str):
    assert file_name(*parts, suffix="-v2.json") == name


@pytest.mark.parametrize(
    ("name", "safe"), [("con", "%63on"), ("NUL", "NUL~"), ("ann. ", "ann.%20")]
)
def test_a_name_without_a_suffix_is_safe_too(name: str, safe: str):
    assert file_name(name).startswith(safe)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann", "ann"),
        ("x" * 300, "x" * 301),
        ("/" * 99, "/" * 98),
        ("ÉA", "éa"),
        ("STRASSE", "straße"),
    ],
)
def test_two_users_never_share_a_file(one: str, other: str):
    names = {on_disk(file_name(user, "inbox", suffix="-v0.json")) for user in (one, other)}
    assert len(names) == 2


@given(st.tuples(NAMES, NAMES))
def test_any_name_can_be_a_file(tmp_path_factory: pytest.TempPathFactory, parts: tuple[str, str]):
    name = file_name(*(part.encode(errors="replace").decode() for part in parts), suffix="-v12.md")
    assert len(name.encode()) <= 255
    assert not set(name) & set('<>:"/\\|?*')
    assert all(ord(letter) >= 32 for letter in name)
    assert not name.startswith((" ", "."))
    assert not name.endswith((" ", "."))
    assert Path(name).name.split(".")[0].strip().casefold() not in {"con", "nul", "aux", "com1"}
    (tmp_path_factory.mktemp("names") / name).write_text("")


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_other_parts_are_another_name(one: tuple[str, str], other: tuple[str, str]):
    def known(parts: tuple[str, str]) -> tuple[str, ...]:  # users are kept in one form
        return tuple(
            unicodedata.normalize("NFC", part.encode(errors="replace").decode()) for part in parts
        )

    same = known(one) == known(other)
    names = [on_disk(file_name(*known(parts), suffix="-v1.json")) for parts in (one, other)]
    assert (names[0] == names[1]) == same
