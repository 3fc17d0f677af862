"""The exchangeable parts of an alignment: sampling, update, acceptance, stopping."""

from dataclasses import replace
from datetime import timedelta

import dspy
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rulebook import stand_in
from worlds_of_mail import DAWN, INBOX, book, mail

from personaagent.data import Directive, Item, Persona
from personaagent.optimizers import (
    AcceptOnReplay,
    AlwaysAccept,
    Gradient,
    HardBatch,
    ItemisedEdits,
    LatestBatch,
    Patience,
    Replayed,
    Step,
    Trial,
)
from personaagent.optimizers.sampling import widening
from personaagent.optimizers.selection import EmptyPersonaBetter
from personaagent.optimizers.thresholds import LEAST
from personaagent.optimizers.update import Proposal
from personaagent.programs import PersonaRewriter, QueryScope
from personaagent.programs.directive_matching import fit, match_directives


def replayed(n, loss, response="work", query="x"):
    return Replayed(mail(n, query, response), "work", None, None, loss, 0.0, True)


def ids(batch):
    return [one.interaction.id for one in batch]


def step(accepted):
    return Step(1, (), (), (), accepted, 0.0, 0.0)


# Sampling

losses = st.lists(st.tuples(st.floats(0, 5), st.sampled_from(INBOX.labels)), max_size=12).map(
    lambda drawn: [replayed(n, *pair) for n, pair in enumerate(drawn)]
)


def test_the_latest_batch_is_the_latest_and_the_same_every_time():
    past = [replayed(n, 0.0) for n in range(5)]
    assert ids(LatestBatch().sample(past, 3, ())) == ["ann-2", "ann-3", "ann-4"]
    assert ids(LatestBatch().sample(past, 9, {"ann-4"})) == [f"ann-{n}" for n in range(5)]
    assert LatestBatch().sample([], 3, ()) == []


@given(losses, st.integers(1, 5), st.integers(1, 5), st.integers(0, 12))
def test_each_round_of_simulations_is_wider_until_all_are_done(past, size, more, already):
    """`already` were simulated by earlier steps; each time `more` at most come on top of these."""
    writing, already = [one.interaction for one in past], min(already, len(past))
    rounds = list(widening(writing, size=size, already=already, more=more))
    assert all(some == writing[len(past) - len(some) :] for some in rounds)  # the latest
    assert rounds[-1] == writing
    asked = [len(some) for some in rounds]
    for before, now in zip([already, *asked], asked, strict=False):
        assert now == min(before + max(more, size), len(past))


def test_a_flood_takes_a_third_of_what_is_simulated_first():
    past = [replayed(n, 0.0) for n in range(30)]
    hours = [
        replace(mail(30 + n, "note", "work"), time=DAWN + timedelta(days=30, hours=n + 1))
        for n in range(8)
    ]
    writing = [*(one.interaction for one in past), *hours]
    found = next(widening(writing, size=4, already=0, more=12))
    assert [one.id for one in found] == [
        *(f"ann-{n}" for n in range(22, 30)),
        *(f"ann-{n}" for n in range(34, 38)),
    ]


@given(losses, st.integers(1, 5), st.sets(st.sampled_from([f"ann-{n}" for n in range(12)])))
def test_a_hard_batch_is_new_surprising_and_of_one_response(past, size, tried):
    batch = HardBatch().sample(past, size, tried)
    assert len(batch) <= size
    assert all(one in past and one.loss > 0.7 for one in batch)
    assert not tried & set(ids(batch))
    assert len({one.interaction.response for one in batch}) <= 1
    assert [one.loss for one in batch] == sorted((one.loss for one in batch), reverse=True)
    left = [one for one in past if one.loss > 0.7 and one.interaction.id not in tried]
    assert bool(batch) == bool(left)


def test_the_response_that_costs_most_goes_first():
    past = [replayed(1, 3.0), replayed(2, 1.0, "travel"), replayed(3, 2.5, "travel")]
    assert ids(HardBatch().sample(past, 4, ())) == ["ann-3", "ann-2"]
    assert ids(HardBatch().sample(past, 1, ())) == ["ann-3"]


# Update


class Named(PersonaRewriter):
    """Names the cue that a test says."""

    def __init__(self, cue):
        super().__init__()
        self.named = cue

    def cue(self, interactions):
        return self.named


def propose(memory, past, cue="", gradients=("", ""), persona=None, size=2, keep=2):
    batch = past[:size]
    critiques = [
        Gradient(one.interaction.id, "work", one.interaction.response, text)
        for one, text in zip(batch, gradients, strict=True)
    ]
    asked = [one.interaction for one in past]
    proposal = Proposal(INBOX, persona or Persona("ann", "inbox"), batch, critiques, asked, past)
    return ItemisedEdits(keep=keep).propose(proposal, Named(cue), memory)


DOGS = [
    replayed(1, 3.0, "travel", "dinner dog"),
    replayed(2, 3.0, "travel", "meeting dog"),
    replayed(3, 0.1, "work", "meeting budget"),
    replayed(4, 0.1, "family", "dinner guests"),
]


def test_a_directive_names_the_cue_the_answer_and_who_speaks_for_it(memory):
    mine = Persona("ann", "inbox", profile="P.", directives=(Directive("Kept."),))
    (new,) = propose(memory, DOGS, "dog", persona=mine)
    kept, dog = new.directives
    assert kept == mine.directives[0]
    assert (dog.cue, set(dog.support), dog.oppose) == ("dog", {"ann-1", "ann-2"}, ())
    assert "dog" in dog.text
    assert "travel" in dog.text
    assert (new.profile, new.version, new.parent) == ("P.", 1, mine.hash)
    assert match_directives(memory, new, QueryScope("ann", INBOX, "flight dog")) == [dog]
    assert match_directives(memory, new, QueryScope("ann", INBOX, "flight delay")) == []


def test_who_speaks_against_a_directive_is_named_too(memory):
    past = [
        *(replayed(n, 3.0, "travel", "dinner dog") for n in range(4)),
        replayed(9, 0.1, "family", "dog"),
    ]
    (new,) = propose(memory, past, "dog")
    assert set(new.directives[0].support) == {"ann-0", "ann-1", "ann-2", "ann-3"}
    assert new.directives[0].oppose == ("ann-9",)


def test_a_cue_that_speaks_for_fewer_than_two_is_dropped(memory):
    assert LEAST == 2
    past = [replayed(1, 5.0, "travel", "dinner dog"), *DOGS[2:]]
    assert propose(memory, past, "dog", gradients=("dog", "dog")) == []


def test_one_day_alone_does_not_write_against_older_evidence(memory):
    def past(*days):
        said = [(0, "family", "dog"), *((day, "travel", "dinner dog") for day in days)]
        return [
            Replayed(
                mail(n, query, answer, time=DAWN + timedelta(days=day)),
                "",
                None,
                None,
                3.0,
                0,
                True,
            )
            for n, (day, answer, query) in enumerate(said)
        ][::-1]

    assert propose(memory, past(7, 7, 7), "dog") == []
    (new,) = propose(memory, past(7, 7, 8), "dog")
    assert new.directives[0].oppose == ("ann-0",)


def test_a_cue_that_costs_more_than_it_saves_is_dropped(memory):
    past = [
        *(replayed(n, 1.0, "travel", "dinner dog") for n in range(2)),
        *(replayed(n, 0.1, "family", "dog") for n in range(5, 9)),
    ]
    assert propose(memory, past, "dog") == []


def test_gradients_name_cues_as_well_and_the_best_are_kept(memory):
    past = [*DOGS, replayed(5, 3.0, "travel", "flight dog"), replayed(6, 3.0, "travel", "cat")]
    both = propose(memory, past, "cat", gradients=("Dog.", "dinner"), keep=2)
    assert both[0].directives[0].cue == "dog"
    assert len(propose(memory, past, "cat", gradients=("dog", "dinner"), keep=1)) == 1
    assert propose(memory, past, "", gradients=("", "")) == []


def test_the_same_cue_replaces_its_directive(memory):
    old = Directive("Old.", cue="dog", reach=0.9, support=("a", "b"))
    other = Directive("Other.", cue="car", reach=0.9)
    mine = Persona("ann", "inbox", directives=(old, other))
    (new,) = propose(memory, DOGS, "dog", persona=mine)
    assert [one.cue for one in new.directives] == ["car", "dog"]
    assert old not in new.directives


words = st.lists(st.sampled_from(["dog", "car", "jade", "iris"]), min_size=1, max_size=4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(words.map(" ".join), st.sampled_from(INBOX.labels), st.floats(0, 5)),
        min_size=2,
        max_size=10,
    )
)
def test_a_directive_reaches_exactly_those_that_are_named_for_and_against_it(memory, drawn):
    past = [replayed(n, loss, label, text) for n, (text, label, loss) in enumerate(drawn)]
    proposed = propose(memory, past, "dog")
    assume(proposed)
    (directive,) = proposed[0].directives
    told = past[0].interaction.response
    reached = [
        one.interaction
        for one in past
        if fit(memory, directive.cue, one.interaction.query) >= directive.reach
    ]
    assert set(directive.support) == {one.id for one in reached if one.response == told}
    assert set(directive.oppose) == {one.id for one in reached if one.response != told}
    assert len(directive.support) >= LEAST


def test_a_rewrite_keeps_the_evidence_of_rules_that_stay(memory):
    old = Directive("Old rule.", support=("a", "b"))
    mine = Persona("ann", "inbox", directives=(old, Directive("Gone.")))
    said = {"profile": "New\nprofile.", "rules": ["Old rule.", "", "New  rule.", "New rule."]}
    with dspy.context(lm=stand_in(book(says=said))):
        new = PersonaRewriter()(mine, [mail(1, "x", "work")], ["gradient"]).persona
    assert new.directives == (old, Directive("New rule.", support=("ann-1",)))
    assert new.profile == "New profile."
    assert new.parent == mine.hash


def test_a_rewrite_leaves_items_alone_and_does_not_show_them(memory):
    tea = Item("habit", "drinks tea", support=("a",))
    rules = book(says={"profile": "New.", "rules": []})
    with dspy.context(lm=stand_in(rules)):
        mine = Persona("ann", "inbox", profile="Old.", items=(tea,))
        new = PersonaRewriter()(mine, [mail(1, "x", "work")], ["gradient"]).persona
    assert (new.profile, new.items) == ("New.", (tea,))
    assert "Old." in rules.asked[-1].everything
    assert "drinks tea" not in rules.asked[-1].everything


# Acceptance


def trial(before, after, lm=None):
    """Two personas, and the losses under each; with the LM's distribution, of labels."""
    old, new = (
        [replace(replayed(n, loss), lm=lm) for n, loss in enumerate(side)]
        for side in (before, after)
    )
    mine = Persona("ann", "inbox")
    return Trial(mine, mine.succeed(profile="P."), old, new)


def test_always_accepting_needs_no_evidence():
    assert AlwaysAccept().accepts(trial([0.0], [9.0]))[0]


def test_one_mistaken_response_does_not_outvote_two_others():
    """However sure an LM is that a label is wrong; a text's nats a word are all its own."""
    before, after = [2.5, 2.5, 0.1], [0.1, 0.1, 9.0]
    assert AcceptOnReplay().accepts(trial(before, after, dict.fromkeys(INBOX.labels, 1 / 3)))[0]
    assert not AcceptOnReplay().accepts(trial(before, after))[0]


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [
        ([2.0, 2.0], [1.0, 2.0], True),
        ([2.0, 2.0], [1.98, 2.0], False),  # within the margin
        ([2.0, 2.0], [0.0, 5.0], False),  # one better, one much worse
        ([2.0, 2.0], [2.0, 2.0], False),
        ([], [], False),  # no evidence
    ],
)
def test_only_what_lowers_the_loss_on_replay_is_accepted(before, after, accepted):
    verdict, reason = AcceptOnReplay().accepts(trial(before, after))
    assert verdict is accepted
    assert reason


@pytest.mark.parametrize(("margin", "accepted"), [(0.0, True), (1.5, True), (2.5, False)])
def test_no_persona_must_save_more_than_its_margin(margin, accepted):
    rule = EmptyPersonaBetter(margin=margin)
    assert rule.accepts(trial([2.0, 2.0], [1.0, 1.0]))[0] is accepted
    assert not rule.accepts(trial([1.0, 1.0], [2.0, 2.0]))[0]


@given(st.lists(st.tuples(st.floats(0, 14), st.floats(0, 14))), st.floats(0, 5))
def test_a_candidate_and_its_opposite_are_never_both_accepted(pairs, margin):
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    accepts = AcceptOnReplay(margin=margin).accepts
    assert (accepts(trial(one, two))[0], accepts(trial(two, one))[0]) != (True, True)


# Stopping


@pytest.mark.parametrize(
    ("accepted", "stops"),
    [
        ([], False),
        ([None], False),
        ([None, None], True),
        ([0, None], False),
        ([None, 0], False),
        ([None, None, 0], False),
        ([0, None, None], True),
    ],
)
def test_patience_ends_with_two_steps_in_a_row_that_brought_nothing(accepted, stops):
    assert (Patience(2).stops([step(one) for one in accepted]) is not None) is stops


def test_patience_of_one_ends_with_the_first():
    assert Patience(1).stops([step(0), step(None)])
