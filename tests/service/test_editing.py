"""A person's word: edits and pins are versions, with their author, and outlive alignments."""

import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, mail, remembering

from personaagent import train
from personaagent.data import Directive, Persona
from personaagent.errors import ConflictError, DataError
from personaagent.memory.erasure import erase
from personaagent.memory.tasks import save_tasks
from personaagent.optimizers import Setting
from personaagent.service.editing import edit, set_pins

RULE = Directive("If the message mentions dog, answer travel.", "dog", 0.3, ("ann-0", "ann-3"))
WRONG = "If the message mentions dog, answer work."


@pytest.fixture
def memory(tmp_path):
    with remembering(tmp_path, *habitual(count=24)) as memory:
        save_tasks(memory.store, [INBOX])
        first = Persona("ann", "inbox", "Learned.", (RULE, Directive("Be brief.")), actions=())
        memory.store.of("ann").publish(first, expected=None, reason="learned")
        yield memory


@pytest.fixture
def store(memory):
    return memory.store


def test_an_edit_is_the_next_version_with_its_author(store):
    before = store.of("ann").persona("inbox")
    after = edit(store, "ann", INBOX, "Ann", texts={1: f" {WRONG}\n"}, add=["Sign as A."], drop=[2])
    assert (after.version, after.parent) == (1, before.hash)
    assert after.directives == (
        Directive(WRONG, "dog", 0.3, author="Ann", pinned=True),
        Directive("Sign as A.", author="Ann", pinned=True),
    )
    assert store.of("ann").persona("inbox") == after
    assert store.of("ann").history("inbox")[-1].reason == "edited by Ann"


def test_a_profile_is_written_and_emptied_by_a_person(store):
    one = edit(store, "ann", INBOX, "Ann", profile="Runs a bakery.", pin=False)
    assert (one.profile, one.profile_author, one.profile_pinned) == ("Runs a bakery.", "Ann", False)
    none = edit(store, "ann", INBOX, "Ann", profile=" ")
    assert (none.profile, none.profile_pinned) == ("", True)


def test_the_first_persona_may_be_a_persons(store):
    store.add([mail(1, "dinner", "family", "bob")])
    made = edit(store, "bob", INBOX, "Bob", add=["Family first."])
    assert (made.version, made.parent) == (0, None)
    assert store.of("bob").persona("inbox") == made


def test_pins_come_and_go_without_another_author(store):
    pinned = set_pins(store, "ann", INBOX, "Ann", directives=[1], profile=True)
    assert [one.pinned for one in pinned.directives] == [True, False]
    assert (pinned.profile_pinned, pinned.directives[0].author) == (True, "")
    assert set_pins(store, "ann", INBOX, "Ann", directives=[1]) == pinned
    free = set_pins(store, "ann", INBOX, "Ann", directives=[1], profile=True, pinned=False)
    assert free.directives == (RULE, Directive("Be brief."))
    reasons = [one.reason for one in store.of("ann").history("inbox")]
    assert reasons == ["learned", "pinned by Ann", "unpinned by Ann"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"texts": {3: "x"}}, "no directive 3: there are 1 to 2"),
        ({"drop": [0]}, "no directive 0"),
        ({"add": [" \n"]}, "an empty text"),
        ({"add": ["x" * 1_001]}, "1,000 characters|1,001 characters"),
        ({"add": ["Be brief."]}, "would say twice"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(store, changes, problem):
    before = store.of("ann").persona("inbox")
    with pytest.raises(DataError, match=problem):
        edit(store, "ann", INBOX, "Ann", **changes)
    assert store.of("ann").persona("inbox") == before


def test_who_saw_another_version_changes_nothing(store):
    seen = store.of("ann").persona("inbox")
    edit(store, "ann", INBOX, "Ann", add=["One."])
    with pytest.raises(ConflictError, match="has changed since you saw it"):
        set_pins(store, "ann", INBOX, "Bela", directives=[1], expected=seen.hash)
    assert store.of("ann").persona("inbox").directives[2].text == "One."


def test_what_a_person_wrote_outlives_trainings_that_know_better(memory, store):
    edit(store, "ann", INBOX, "Ann", texts={1: WRONG}, profile="Written.")
    options = {"memory": memory, "lm": stand_in(book()), "track": False}
    train("ann", settings=Setting(iterations=2, replay=6), **options)
    memory.add([mail(60 + n, "meeting dog", "travel") for n in range(6)])
    train("ann", settings=Setting(iterations=2, replay=6, accept="evidence"), **options)
    now = store.of("ann").persona("inbox")
    assert WRONG in [one.text for one in now.directives if one.pinned]
    assert (now.profile, now.profile_author) == ("Written.", "Ann")


def test_erasure_leaves_what_a_person_wrote_unless_it_quotes_what_is_gone(memory, store):
    memory.add([mail(90, "the xyzzycanary dog", "travel"), mail(91, "plain words", "work")])
    edit(store, "ann", INBOX, "Ann", add=["Never say xyzzycanary.", "Answer in plain words."])
    edit(store, "ann", INBOX, "Ann", profile="Loves the xyzzycanary.")
    erase(store, "ann", ids=["ann-90"])
    now = store.of("ann").persona("inbox")
    assert "Answer in plain words." in [one.text for one in now.directives]
    with store.database.read() as connection:
        from personaagent.memory.schema import metadata

        said = repr([connection.execute(one.select()).all() for one in metadata.sorted_tables])
    assert "xyzzycanary" not in said
    written = edit(store, "ann", INBOX, "Ann", profile="Knows plain words.")
    erase(store, "ann", ids=["ann-1"])
    now = store.of("ann").persona("inbox")
    assert now.version == written.version + 1
    assert (now.profile, now.profile_author, now.profile_pinned) == (written.profile, "Ann", True)
