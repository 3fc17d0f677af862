"""Personas that wait for a person: nothing is served before somebody approves it."""

from datetime import UTC, datetime, timedelta

import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, mail, remembering

from personaagent import train
from personaagent.archive import export_all
from personaagent.data import Directive, Persona
from personaagent.errors import ConflictError, DataError
from personaagent.memory.erasure import erase
from personaagent.memory.schema import metadata
from personaagent.memory.tasks import save_tasks
from personaagent.memory.waiting import (
    Changed,
    approve,
    days_to_approve,
    put_to_wait,
    reject,
    require_approval,
    users_waiting,
    waiting_of,
)
from personaagent.optimizers import Setting
from personaagent.service.editing import edit

QUICK = Setting(iterations=1, replay=6)


@pytest.fixture
def memory(tmp_path):
    with remembering(tmp_path, *habitual(count=24)) as memory:
        save_tasks(memory.store, [INBOX])
        yield memory


@pytest.fixture
def store(memory):
    return memory.store


@pytest.fixture
def ann(store):
    return store.of("ann")


@pytest.fixture
def learn(memory):
    lm = stand_in(book())
    return lambda **more: train(
        "ann", **({"memory": memory, "lm": lm, "settings": QUICK, "track": False} | more)
    )


def wait(ann, text="Be brief.", days=30, **more):
    """Something waits for ann, without an alignment."""
    champion = ann.persona("inbox")
    said = {"profile": text, "actions": ()}
    persona = champion.succeed(**said) if champion else Persona("ann", "inbox", **said)
    given = {"over": champion and champion.hash, "reason": "better", "made_of": ["ann-1"]}
    put_to_wait(ann, persona, **(given | {"answers": (), "days": days} | more))
    return persona


def test_with_approval_a_training_publishes_nothing_until_a_person_says_so(learn, store, ann):
    require_approval(store, 30)
    made = learn()
    assert (made.held, made.reason.startswith("waits for approval: aligned")) == ("waiting", True)
    assert ann.persona("inbox") is None
    (found,) = waiting_of(ann)
    assert (found.persona, found.over, found.stale) == (made.persona, None, False)
    assert f"approved by Bela: {found.reason}" == f"approved by Bela: {made.reason[20:]}"
    assert approve(ann, "inbox", "Bela") == made.persona == ann.persona("inbox")
    assert ann.history("inbox")[-1].reason == f"approved by Bela: {found.reason}"
    assert waiting_of(ann) == []


def test_it_is_told_which_past_answers_would_change(learn, store, ann):
    ann.publish(Persona("ann", "inbox", "P.", actions=()), expected=None, reason="start")
    require_approval(store, 30, user="ann")
    made = learn(settings=Setting(iterations=2, replay=8))
    (found,) = waiting_of(ann, "inbox")
    truth = {one.id: one.response for one in ann.interactions()}
    assert found.answers
    assert all(one.before != one.after for one in found.answers)
    assert sum(one.after == truth[one.id] for one in found.answers) > sum(
        one.before == truth[one.id] for one in found.answers
    )
    assert found.over == ann.persona("inbox").hash == made.over


def test_what_is_decided_for_a_user_holds_before_what_holds_for_everyone(store):
    assert (days_to_approve(store), days_to_approve(store, "ann")) == (0, 0)
    require_approval(store, 7)
    assert (days_to_approve(store), days_to_approve(store, "ann")) == (7, 7)
    require_approval(store, 0, user="ann")
    assert (days_to_approve(store, "ann"), days_to_approve(store, "bob")) == (0, 7)
    require_approval(store, None, user="ann")
    assert days_to_approve(store, "ann") == 7
    with pytest.raises(DataError, match="days"):
        require_approval(store, -1)


def test_a_rejected_persona_is_not_proposed_again_and_the_champion_stays(learn, store, ann):
    require_approval(store, 30)
    made = learn()
    assert reject(ann, "inbox", "Ann").persona == made.persona
    assert waiting_of(ann) == []
    again = learn(restart=True)
    assert (again.held, again.persona.render()) == ("rejected", made.persona.render())
    assert again.reason.startswith("not proposed: rejected before")
    assert waiting_of(ann) == []
    assert ann.persona("inbox") is None


def test_a_newer_one_takes_the_place_of_what_waits(ann):
    first, second = wait(ann, "First."), wait(ann, "Second.")
    assert [one.persona for one in waiting_of(ann)] == [second]
    with pytest.raises(ConflictError, match="waits by now: look at it"):
        approve(ann, "inbox", "Ann", hash=first.hash)
    with pytest.raises(ConflictError, match="another persona"):
        reject(ann, "inbox", "Ann", hash=first.hash)
    assert approve(ann, "inbox", "Ann", hash=second.hash) == second


def test_what_waited_too_long_cannot_be_approved(ann, store):
    wait(ann, days=2)
    later = datetime.now(UTC) + timedelta(days=3)
    store.now = lambda: later
    old = store.of("ann")
    assert (waiting_of(old), users_waiting(store)) == ([], [])
    with pytest.raises(DataError, match="it expired"):
        approve(old, "inbox", "Ann")
    assert old.persona("inbox") is None


def test_what_was_overtaken_is_told_and_can_only_be_rejected(ann, store):
    wait(ann)
    now = edit(store, "ann", INBOX, "Ann", add=["Mine."])
    assert waiting_of(ann)[0].stale
    with pytest.raises(ConflictError, match="has changed since this one was proposed"):
        approve(ann, "inbox", "Ann")
    assert ann.persona("inbox") == now
    reject(ann, "inbox", "Ann")
    assert waiting_of(ann) == []


def test_of_two_who_decide_at_once_one_is_told_that_the_other_did(ann, monkeypatch):
    wait(ann)
    whole = type(ann).publish

    def meanwhile(self, *arguments, **options):
        monkeypatch.undo()
        reject(ann, "inbox", "Bela")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(type(ann), "publish", meanwhile)
    with pytest.raises(ConflictError, match="somebody else has decided"):
        approve(ann, "inbox", "Ann")
    assert ann.persona("inbox") is None


def test_nothing_waits_that_rests_on_what_was_erased_or_on_another_champion(ann, store):
    erase(store, "ann", ids=["ann-1"])
    with pytest.raises(ConflictError, match="erased"):
        wait(ann)
    with pytest.raises(ConflictError, match="the champion is none"):
        wait(ann, over="0" * 64, made_of=[])
    assert waiting_of(ann) == []


def test_erasure_takes_what_waits_and_what_it_says_of_answers(ann, store, tmp_path):
    store.add([mail(50, "the xyzzycanary", "work")])
    answers = [Changed("ann-50", "xyzzycanary", "work")]
    wait(ann, "Loves xyzzycanary.", made_of=["ann-50"], answers=answers)
    export_all(store, "ann", tmp_path / "ann.jsonl")
    assert "Loves xyzzycanary." in (tmp_path / "ann.jsonl").read_text()
    erase(store, "ann", ids=["ann-50"])
    with store.database.read() as connection:
        said = repr([connection.execute(one.select()).all() for one in metadata.sorted_tables])
    assert "xyzzycanary" not in said
    assert waiting_of(store.of("ann")) == []


def test_a_users_decision_outlives_erasures_of_single_interactions_but_not_of_everything(store):
    require_approval(store, 9, user="ann")
    erase(store, "ann", ids=["ann-1"])
    assert days_to_approve(store, "ann") == 9
    erase(store, "ann", everything=True)
    assert days_to_approve(store, "ann") == 0


def test_pins_and_authors_travel_by_sync_and_win_over_what_has_none(tmp_path):
    def device(name):
        (tmp_path / name).mkdir()
        return remembering(tmp_path / name, *habitual(count=6))

    from personaagent.memory.sync import read, sync

    with device("a") as one, device("b") as other:
        base = Persona("ann", "inbox", "Learned.", (Directive("Be brief."),), actions=())
        for memory in (one, other):
            memory.store.of("ann").publish(base, expected=None, reason="start")
        edit(one.store, "ann", INBOX, "Ann", profile="Mine.", texts={1: "Be long."})
        theirs = other.store.of("ann")
        learned = base.succeed(profile="Newer.")
        theirs.publish(learned, expected=base.hash, reason="aligned")
        theirs.publish(learned.succeed(profile="Newest."), expected=learned.hash, reason="aligned")
        for here, there in ((one, other), (other, one)):
            with there.store.database.read() as connection:
                known = read(there.store, connection, "ann")
            sync(here.store, known)
        both = [memory.store.of("ann").persona("inbox") for memory in (one, other)]
        assert both[0] == both[1]
        assert (both[0].profile, both[0].profile_author) == ("Mine.", "Ann")
        assert [one for one in both[0].directives if one.pinned] == [
            Directive("Be long.", author="Ann", pinned=True)
        ]
