"""The persona as a value."""

import json
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Action, Directive, FusionWeights, Item, Persona
from personaagent.data.items import KINDS, SENSITIVE
from personaagent.data.persona import ROLES
from personaagent.errors import DataError

texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
ids = st.lists(texts, max_size=3).map(tuple)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
directives = st.builds(Directive, texts, texts, numbers, ids, ids, texts, st.booleans())
items = st.builds(
    Item,
    st.sampled_from(KINDS),
    texts.filter(lambda text: any(letter.isalnum() for letter in text)),
    texts,
    texts,
    ids,
    ids,
    st.none() | st.datetimes(datetime(1970, 1, 2), timezones=st.just(UTC)),
    st.sampled_from(("", *SENSITIVE)),
)
actions = st.builds(Action, texts, st.dictionaries(texts, plain, max_size=2))
personas = st.builds(
    Persona,
    user=texts,
    task=texts,
    profile=texts,
    directives=st.lists(directives, max_size=3).map(tuple),
    trust=st.builds(FusionWeights, numbers, numbers),
    actions=st.none() | st.lists(actions, max_size=2).map(tuple),
    version=st.integers(0, 99),
    parent=st.none() | texts,
    items=st.lists(items, max_size=3).map(tuple),
    role=st.sampled_from([*ROLES]),
    words=st.none() | st.integers(0, 500),
    whole=st.booleans(),
    profile_author=texts,
    profile_pinned=st.booleans(),
)
FULL = Persona(
    "ann",
    "inbox",
    profile="Likes dogs.",
    directives=(Directive("Standing rule."), Directive("Dog rule.", "dog", 0.3, ("i1",), ("i2",))),
    trust=FusionWeights(0.5, 0.5),
    actions=(Action("recall", {"k": 2}),),
    version=1,
    parent="0" * 64,
    items=(Item("aversion", "avoids cats", "pets", support=("i3",)),),
    role="assistant",
    words=300,
)


@given(personas)
def test_a_persona_survives_json_with_its_hash(persona):
    again = Persona.from_dict(json.loads(json.dumps(persona.to_dict())))
    assert again == persona
    assert again.hash == persona.hash


@given(personas, personas)
def test_the_hash_tells_personas_apart(one, other):
    assert (one.hash == other.hash) == (one.to_dict() == other.to_dict())


CHANGES = {
    "user": "bob",
    "task": "films",
    "profile": "Likes cats.",
    "directives": FULL.directives[:1],
    "trust": FusionWeights(0.5, 0.25),
    "actions": None,
    "version": 2,
    "parent": None,
    "items": (),
    "role": "user",
    "words": None,
    "whole": True,
    "profile_author": "amira",
    "profile_pinned": True,
}


def test_every_field_has_its_change_here():
    assert set(CHANGES) == {field.name for field in fields(Persona)}


@pytest.mark.parametrize("name", CHANGES)
def test_the_hash_changes_with_any_field(name):
    assert replace(FULL, **{name: CHANGES[name]}).hash != FULL.hash


@pytest.mark.parametrize(
    "change",
    [
        {"text": "x"},
        {"cue": "x"},
        {"reach": 0.31},
        {"support": ()},
        {"oppose": ("i2", "i3")},
        {"author": "amira"},
        {"pinned": True},
    ],
)
def test_the_hash_changes_with_anything_of_a_directive(change):
    first, second = FULL.directives
    assert replace(FULL, directives=(first, replace(second, **change))).hash != FULL.hash


def test_what_no_person_wrote_or_pinned_has_the_hash_that_it_had_before_there_were_authors():
    before = replace(FULL, items=(), role="user", words=None)
    assert before.hash == "413f3ef6e5bf803e6a6796dcad1725b5ef15f36b5bc5970d9f3c398005c8db28"
    assert "author" not in str(before.to_dict())


def test_no_action_and_leaving_it_to_the_lm_are_different():
    assert replace(FULL, actions=()).hash != replace(FULL, actions=None).hash
    assert Persona.from_dict(replace(FULL, actions=()).to_dict()).actions == ()


@given(personas, texts)
def test_a_successor_is_the_next_of_the_chain(persona, profile):
    new = persona.succeed(profile=profile)
    assert (new.version, new.parent) == (persona.version + 1, persona.hash)
    same = {name: getattr(persona, name) for name in ("profile", "version", "parent")}
    same |= {name: getattr(persona, name) for name in ("profile_author", "profile_pinned")}
    assert replace(new, **same) == persona
    unsaid = (persona.profile_author, persona.profile_pinned) if profile == persona.profile else ()
    assert (new.profile_author, new.profile_pinned) == (unsaid or ("", False))
    assert new.succeed().parent == new.hash != persona.hash


def test_a_persona_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        FULL.profile = "New."
    assert hash(FULL) == hash(Persona.from_dict(FULL.to_dict()))


@given(personas)
def test_rendering_contains_the_profile_and_every_directive(persona):
    prompt = persona.render()
    assert persona.profile in prompt
    assert all(directive.text in prompt for directive in persona.directives)


def test_the_standing_prompt_leaves_out_what_has_a_cue():
    assert "Standing rule." in FULL.standing_prompt()
    assert "Dog rule." not in FULL.standing_prompt()
    assert "Likes dogs." in FULL.standing_prompt()
    one = replace(FULL, directives=FULL.directives[1:])
    assert one.standing_prompt() == replace(FULL, directives=()).render()


def test_ids_and_numbers_are_not_rendered():
    assert "i1" not in FULL.render()
    assert "0.3" not in FULL.render()


def test_hashes_from_before_there_were_items_stay_valid():
    before = Persona("ann", "inbox", profile="Likes dogs.")
    assert not {"items", "role", "words"} & set(before.to_dict())
    assert before.hash == "b1341315770d312b220671467b793e3a846f307429c31f33c29847a27348c993"


LATER = {"items", "role", "words", "whole", "profile_author", "profile_pinned"}


@pytest.mark.parametrize("name", [one for one in CHANGES if one not in LATER])
def test_a_missing_field_is_named(name):
    data = FULL.to_dict()
    del data[name]
    with pytest.raises(DataError, match=name):
        Persona.from_dict(data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"directives": None},
        {"directives": ["a rule"]},
        {"directives": [{"text": "x"}]},
        {"directives": [FULL.to_dict()["directives"][0] | {"support": None}]},
        {"trust": {"lm": 1.0, "more": 2}},
        {"trust": 1.0},
        {"actions": [{"name": "recall"}]},
        {"actions": 3},
    ],
)
def test_a_malformed_field_is_refused(wrong):
    with pytest.raises(DataError, match="persona"):
        Persona.from_dict(FULL.to_dict() | wrong)


@pytest.mark.parametrize("data", [None, [], "persona", 3])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(DataError):
        Persona.from_dict(data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": 3},
        {"profile": None},
        {"version": "1"},
        {"profile_author": None},
        {"profile_pinned": 1},
        {"directives": [FULL.to_dict()["directives"][0] | {"pinned": "yes"}]},
        {"parent": 7},
        {"trust": {"lm": "much", "habit": 0.0}},
        {"actions": [{"tool": "recall", "arguments": None}]},
        {"directives": [FULL.to_dict()["directives"][0] | {"reach": "far"}]},
        {"directives": [FULL.to_dict()["directives"][0] | {"text": 1}]},
        {"directives": [FULL.to_dict()["directives"][0] | {"support": "i1"}]},
    ],
)
def test_a_field_of_the_wrong_type_is_refused(wrong):
    with pytest.raises(DataError):
        Persona.from_dict(FULL.to_dict() | wrong)
