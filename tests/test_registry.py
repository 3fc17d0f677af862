"""Parts by name: ours, added ones and those of installed packages, each loaded when asked for."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from personaagent.errors import DataError
from personaagent.registry import Registry


def colours() -> Registry[str]:
    return Registry("colours", {"ours": "string:digits", "broken": "no_such_module:x"})


def test_ours_are_loaded_when_they_are_asked_for():
    assert list(colours()) == ["ours", "broken"]
    assert colours().named("ours") == "0123456789"


def test_an_added_part_is_known_like_ours():
    made = colours()
    made.add("mine", "red")
    assert made.named("mine") == "red"
    assert list(made) == ["ours", "broken", "mine"]
    assert len(made) == 3


def test_a_name_is_taken_once():
    made = colours()
    made.add("mine", "red")
    made.add("mine", made["mine"])
    for name in ("mine", "ours"):
        with pytest.raises(DataError, match=f"colours: the name '{name}' is taken"):
            made.add(name, "blue")


def test_a_part_of_an_installed_package_joins_and_ours_keep_their_names(monkeypatch):
    group = "personaagent.colours"
    found = [EntryPoint("theirs", "string:octdigits", group), EntryPoint("ours", "x:y", group)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found if group else [])
    made = colours()
    assert list(made) == ["ours", "broken", "theirs"]
    assert made.named("theirs") == "01234567"
    assert made.named("ours") == "0123456789"


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(DataError) as caught:
        colours().named("our")
    assert str(caught.value) == (
        "'our' is none of the colours (do you mean 'ours'?); there are: ours, broken"
    )
