"""The sequential test: what it promises, what it can find, and how its evidence adds up."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds_of_mail import mail

from personaagent.data import Directive, Item, Persona
from personaagent.memory import Store
from personaagent.optimizers import BETS, AcceptOnEvidence, Bet, Contests, Replayed, Trial, pooled
from personaagent.optimizers.evidence import ALPHA, MOST, e_value, identity, kind_of
from personaagent.optimizers.worklog import MemoryWorkLog

MINE = Persona("ann", "inbox", profile="P.")
DOG = Directive("If the message mentions dog, answer travel.", "dog", 0.4, ("w1", "w2"))
BETTER = MINE.succeed(directives=(DOG,))
SURE = {"travel": 0.9, "work": 0.1}

shares = st.lists(st.floats(-1, 1), max_size=20)
bets = st.builds(Bet, st.floats(0.5, 9), st.floats(0.5, 9))


def replays(losses, first=0, lm=SURE):
    return [
        Replayed(mail(first + n, "x", "travel"), "work", lm, None, loss, 0.0, lm is not None)
        for n, loss in enumerate(losses)
    ]


def trial(before, after, first=0, champion=MINE, candidate=BETTER, **options):
    lm = options.pop("lm", SURE)
    return Trial(
        champion, candidate, replays(before, first, lm), replays(after, first, lm), **options
    )


def wins(count, first=0, **options):
    return trial([3.0] * count, [0.1] * count, first, **options)


def losses(count, first=0, **options):
    return trial([0.1] * count, [3.0] * count, first, **options)


# What it promises


@given(shares, st.floats(0, 1), bets)
def test_a_fair_next_answer_leaves_the_expected_evidence_as_it_is(saved, size, bet):
    now = e_value(saved, bet)
    won, lost = e_value([*saved, size], bet), e_value([*saved, -size], bet)
    assert (won + lost) / 2 == pytest.approx(now)
    assert won >= now >= lost > 0


@given(shares, bets, st.randoms())
def test_the_order_of_the_answers_does_not_matter(saved, bet, dice):
    shuffled = list(saved)
    dice.shuffle(shuffled)
    assert e_value(shuffled, bet) == e_value(saved, bet)


@given(bets)
def test_without_answers_there_is_no_evidence(bet):
    assert e_value([], bet) == pytest.approx(1)
    assert e_value([0.0] * 9, bet) == pytest.approx(1)


NULLS = {
    "as often better as worse": lambda dice: dice.choice([-1.0, 1.0]),
    "by any amount": lambda dice: dice.uniform(-1, 1),
    "mostly a little better, seldom much worse": lambda dice: -1.0 if dice.random() < 0.2 else 0.25,
    "seldom much better, mostly a little worse": lambda dice: 1.0 if dice.random() < 0.2 else -0.25,
    "mostly unchanged": lambda dice: dice.choice([-1.0, 0.0, 0.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("kind", ["add", "rewrite"])
def test_of_challengers_that_are_no_better_few_are_ever_accepted(null, kind):
    """However often one looks: here after every one of 60 answers."""
    dice, lives, accepted = random.Random(0), 400, 0
    for _ in range(lives):
        saved = []
        for _ in range(60):
            saved.append(NULLS[null](dice))
            if e_value(saved, BETS[kind]) >= 1 / ALPHA:
                accepted += 1
                break
    assert accepted / lives <= ALPHA


def accepted_within(share, answers, lives=300):
    """The share of challengers, right on a share of the answers, that win within so many."""
    dice, found = random.Random(1), 0
    for _ in range(lives):
        saved = [1.0 if dice.random() < share else -1.0 for _ in range(answers)]
        found += any(e_value(saved[:n], BETS["add"]) >= 1 / ALPHA for n in range(1, answers + 1))
    return found / lives


def test_the_better_a_challenger_the_sooner_it_is_accepted():
    assert accepted_within(1.0, 3) == 1
    assert accepted_within(0.9, 12) > 0.85
    assert accepted_within(0.75, 40) > 0.8
    assert accepted_within(0.4, 40) < 0.1


@pytest.mark.parametrize(
    ("won", "lost", "accepted"),
    [(2, 0, False), (3, 0, True), (4, 0, True), (4, 1, False), (7, 1, True), (0, 4, False)],
)
def test_what_a_dozen_replayed_interactions_decide(won, lost, accepted):
    saved = [1.0] * won + [-1.0] * lost
    assert (e_value(saved, BETS["add"]) >= 1 / ALPHA) is accepted


@pytest.mark.parametrize(("won", "evidence"), [(3, 5.41), (4, 9.74)])
def test_clear_wins_are_worth_what_the_integral_over_the_belief_says(won, evidence):
    """E[(2p)^n] for p of Beta(6, 1) above one half, by hand: a stricter test lets four pass too."""
    assert e_value([1.0] * won, BETS["add"]) == pytest.approx(evidence, abs=0.03)


# The policy


def test_a_challenger_needs_evidence_and_says_how_much_it_has():
    judge = AcceptOnEvidence()
    assert judge.accepts(trial([], [])) == (False, "changes nothing on replay")
    assert judge.accepts(trial([1.0, 2.0], [1.0, 2.0]))[0] is False
    accepted, reason = judge.accepts(wins(4))
    assert accepted
    assert "of the 5 needed, better on 4 of 4 answers" in reason
    assert not AcceptOnEvidence().accepts(losses(4))[0]


def test_one_answer_counts_for_no_more_than_the_most():
    huge, most = (AcceptOnEvidence().accepts(trial([x], [0.0]))[1] for x in (13.0, MOST))
    less = AcceptOnEvidence().accepts(trial([MOST / 2], [0.0]))[1]
    assert huge == most != less


def test_without_probabilities_a_whole_point_is_the_most():
    assert AcceptOnEvidence().accepts(trial([1.0] * 3, [0.0] * 3, lm=None))[0]
    assert not AcceptOnEvidence().accepts(trial([1.0] * 3, [0.0] * 3))[0]  # nats


def test_evidence_adds_up_over_alignments_and_survives_the_process(tmp_path):
    def judge(store):
        return AcceptOnEvidence(Contests.of(store.of("ann"), "inbox"))

    with Store(str(tmp_path / "memory.db")) as store:
        assert not judge(store).accepts(wins(2))[0]
    with Store(str(tmp_path / "memory.db")) as store:
        accepted, reason = judge(store).accepts(wins(2, first=2))
    assert accepted
    assert "4 of 4" in reason


def test_an_interaction_counts_once_a_pair_and_first_come():
    judge = AcceptOnEvidence()
    first = judge.accepts(wins(2))
    assert judge.accepts(wins(2)) == judge.accepts(losses(2)) == first
    assert judge.accepts(losses(1, champion=MINE.succeed(profile="Q."), candidate=MINE))[1] != first


def test_what_may_have_written_a_challenger_never_judges_it():
    judge = AcceptOnEvidence()
    judge.accepts(wins(1, first=20, writing=frozenset({"ann-0", "ann-1"})))
    accepted, reason = judge.accepts(wins(3))  # a later alignment, where these two may judge
    assert not accepted
    assert "2 of 2" in reason


def test_another_champion_or_challenger_has_evidence_of_its_own():
    judge = AcceptOnEvidence()
    judge.accepts(wins(2))
    narrower = BETTER.succeed(directives=(replace(DOG, reach=0.5),))
    other = replace(MINE, profile="Q.")
    assert not judge.accepts(wins(2, first=2, candidate=narrower))[0]
    assert not judge.accepts(wins(2, first=2, champion=other, candidate=BETTER))[0]


def test_what_a_persona_says_names_it_whatever_its_place_trust_and_evidence():
    same = replace(
        BETTER,
        version=9,
        parent=None,
        actions=(),
        trust=replace(BETTER.trust, habit=1.0),
        directives=(replace(DOG, support=("x",), oppose=("y",)),),
    )
    assert identity(same) == identity(BETTER)
    for other in (
        replace(BETTER, user="bob"),
        replace(BETTER, task="films"),
        replace(BETTER, profile=""),
        replace(BETTER, directives=(replace(DOG, reach=0.41),)),
        replace(BETTER, directives=(replace(DOG, text="Other."),)),
        MINE,
    ):
        assert identity(other) != identity(BETTER)


def test_a_challenger_comes_back_with_its_items_and_their_budget():
    tea = Item("habit", "drinks tea", support=("ann-1",))
    known, contests = replace(MINE, items=(tea,)), Contests(MemoryWorkLog())
    challengers = [
        known.succeed(items=()),
        known.succeed(items=(tea, replace(tea, text="drinks milk"))),
        known.succeed(words=50),
        known.succeed(profile="Q."),
    ]
    for one in challengers:
        assert kind_of(known, one) == "rewrite"
        assert contests.add(known, one, {"ann-2": 0.5}, kind="rewrite").persona == one
    assert {one.persona for one in contests.challengers(known)} == set(challengers)
    assert identity(replace(known, items=(replace(tea, support=("ann-9",)),))) == identity(known)


def test_the_undecided_come_back_and_the_decided_do_not():
    judge = AcceptOnEvidence()
    car = MINE.succeed(directives=(replace(DOG, cue="car", text="Car."),))
    worse = MINE.succeed(directives=(replace(DOG, cue="cat", text="Cat."),))
    won = MINE.succeed(profile="Won.")
    judge.accepts(wins(1))
    judge.accepts(wins(2, candidate=car))
    judge.accepts(losses(2, candidate=worse))
    judge.accepts(wins(12, candidate=won))
    champion = replace(MINE, version=3, trust=replace(MINE.trust, habit=0.5))
    back = judge.undecided(champion)
    assert [one.directives[0].cue for one in back] == ["car", "dog"]
    assert all(one.parent == champion.hash and one.trust == champion.trust for one in back)
    assert judge.undecided(BETTER) == []


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ({"directives": (DOG, Directive("Car.", "car"))}, "add"),
        ({"directives": (replace(DOG, reach=0.9),)}, "revise"),
        ({"directives": (Directive("Other.", "dog"),)}, "revise"),
        ({"directives": (Directive("Car.", "car"),)}, "revise"),  # it took the other's place
        ({"directives": ()}, "drop"),
        ({"profile": "New."}, "rewrite"),
        ({"directives": (DOG, Directive("A."), Directive("B."))}, "rewrite"),
    ],
)
def test_an_edit_is_of_one_kind(after, kind):
    assert kind_of(BETTER, BETTER.succeed(**after)) == kind


# Pooled over users


def of_others(kind, saved):
    return [(kind, share) for share in saved]


def test_other_users_shift_the_bets_of_the_kind_and_only_so_far():
    bet = pooled(of_others("add", [1.0, 1.0, 1.0, -1.0]))["add"]
    assert bet == Bet(BETS["add"].wins + 3, BETS["add"].losses + 1)
    many = pooled(of_others("add", [-1.0] * 500))
    assert many["add"] == Bet(BETS["add"].wins, BETS["add"].losses + 20)
    assert {kind: bet for kind, bet in many.items() if kind != "add"} == {
        kind: bet for kind, bet in BETS.items() if kind != "add"
    }
    assert pooled([]) == BETS


def test_where_the_edits_of_others_mostly_failed_more_evidence_is_needed():
    wary = AcceptOnEvidence(bets=pooled(of_others("add", [1.0, -1.0] * 20)))
    assert AcceptOnEvidence().accepts(wins(3))[0]
    assert not wary.accepts(wins(3))[0]


# The contests


@given(st.dictionaries(st.text(max_size=5), st.floats(-1, 1).filter(bool), max_size=6))
def test_contests_give_back_what_was_added_whatever_the_ids(saved):
    contests = Contests(MemoryWorkLog())
    contests.add(MINE, BETTER, saved, kind="add")
    (known,) = contests.challengers(MINE)
    assert (known.kind, known.saved) == ("add", saved)
    assert sorted(contests.shares()) == sorted(("add", share) for share in saved.values())
    assert identity(known.persona) == identity(BETTER)


def test_shares_are_of_the_most_that_counts():
    contests = Contests(MemoryWorkLog())
    AcceptOnEvidence(contests).accepts(trial([MOST, 2 * MOST, 0.0, 1.0], [0.0, MOST / 2, 9.0, 1.0]))
    (known,) = contests.challengers(MINE)
    assert known.saved == {"ann-0": 1.0, "ann-1": 1.0, "ann-2": -1.0}
    assert math.isclose(MOST, np.log(4))
