"""What a cohort's users have in common becomes the start of another user's persona."""

from __future__ import annotations

import json
from dataclasses import replace

import dspy
import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, mail, remembering

from personaagent.data import Action, FusionWeights, Query, Text
from personaagent.errors import DataError
from personaagent.optimizers import PersonaAlignment, Prior, Start, pool
from personaagent.programs import PersonaAgent
from personaagent.programs.fusion import fuse

COHORT = ("ann", "bob", "cyd", "dan", "eve", "fay")
RECALLS = Start(profile=False, actions=(Action("recall"),))
PLAIN = Start(profile=False)


def asked(user: str, seed: int, count: int = 6) -> list[Query]:
    """What the user is asked after a history of 24."""
    later = habitual(user, 24 + count, seed=seed)[24:]
    return [Query(f"q-{one.id}", user, "inbox", one.query, one.response, one.time) for one in later]


@pytest.fixture
def cohort(tmp_path):
    past = [one for at, user in enumerate(COHORT) for one in habitual(user, 24, seed=at)]
    with remembering(tmp_path, *past, mail(1, "dog", "family", "gus")) as memory:
        yield PersonaAgent(INBOX, memory)


@pytest.fixture
def queries() -> list[Query]:
    return [query for at, user in enumerate(COHORT) for query in asked(user, at)]


def test_habit_is_trusted_where_it_knows_the_cohort_better_than_the_lm(cohort, queries):
    with dspy.context(lm=stand_in(book())):
        prior = pool(cohort, queries, starts=[PLAIN])
    assert prior.start.trust.habit > 0.5
    assert prior.users == len(COHORT)
    assert prior.tried[0].score > 0.6  # the LM's own readings are right in a third


def test_a_label_that_the_lm_prefers_wrongly_is_corrected(cohort):
    said = {"work": 0.6, "family": 0.2, "travel": 0.2}  # whatever is asked
    with dspy.context(lm=stand_in(book(says={"label": said}))):
        queries = [query for at, user in enumerate(COHORT) for query in asked(user, at, 12)]
        never_work = [query for query in queries if query.gold != "work"]
        trust = pool(cohort, never_work, starts=[PLAIN]).start.trust
    assert fuse(said, None, trust)["work"] < 0.4
    assert trust.lean["work"] < 0


def test_the_lm_is_left_alone_where_nothing_answers_better(cohort, queries):
    """This LM is always right, and so unsure that a fit would rather believe in habits."""

    def reads(asked):
        gold = {one.query: one.gold for one in queries}[asked.text.rsplit("message: ", 1)[-1]]
        return {label: 0.34 if label == gold else 0.33 for label in INBOX.labels}

    with dspy.context(lm=stand_in(book(says={"label": reads}))):
        prior = pool(cohort, queries, starts=[PLAIN])
    assert prior.tried[0].score == 1
    assert prior.start.trust == FusionWeights()


def test_a_question_more_or_less_does_not_decide_that_the_lm_is_left_alone(cohort, queries):
    """This LM is wrong in one of 36, what is fitted in two, and the fit knows how sure it is."""
    wrong = queries[14]

    def reads(asked):
        query = asked.text.rsplit("message: ", 1)[-1]
        gold = {one.query: one.gold for one in queries}[query]
        said = next(one for one in INBOX.labels if (one != gold) == (query == wrong.query))
        return dict.fromkeys(INBOX.labels, 0.3) | {said: 0.4}

    with dspy.context(lm=stand_in(book(says={"label": reads}))):
        prior = pool(cohort, queries, starts=[PLAIN])
    assert prior.tried[0].score == pytest.approx(34 / 36)
    assert prior.start.trust.habit > 1


def test_of_starts_that_are_as_good_the_fastest_is_taken(cohort, queries, monkeypatch):
    seconds = iter(range(10_000))  # every answer takes one second, and recalls three
    monkeypatch.setattr("time.perf_counter", lambda: float(next(seconds)))
    with dspy.context(lm=stand_in(book(), slots=1)):
        prior = pool(cohort, queries, starts=[RECALLS, PLAIN])
    assert {one.start.actions for one in prior.tried} == {(), RECALLS.actions}
    fastest = min(prior.tried, key=lambda one: one.seconds)
    named = replace(prior.start, trust=replace(prior.start.trust, meanings=None))
    assert named == fastest.start


def test_a_start_that_is_clearly_better_is_taken_whatever_it_costs(cohort, queries):
    """This LM answers rightly only where it is shown memories."""

    def reads(asked):
        shown = "the folder for the message" in asked.text
        label = {one.query: one.gold for one in queries}.get(asked.text.rsplit("message: ", 1)[-1])
        rest = dict.fromkeys(INBOX.labels, 0.02)
        return rest | {label: 0.96} if shown else dict.fromkeys(INBOX.labels, 1 / 3)

    with dspy.context(lm=stand_in(book(says={"label": reads}))):
        prior = pool(cohort, queries, starts=[PLAIN, RECALLS])
    assert prior.start.actions == RECALLS.actions


def test_what_was_answered_is_not_asked_again(cohort, queries):
    first, second = book(), book()
    lm = stand_in(first)
    with dspy.context(lm=lm):
        prior = pool(cohort, queries, starts=[PLAIN])
    again = stand_in(second)
    again.identity = lm.identity
    with dspy.context(lm=again):
        assert pool(cohort, queries, starts=[PLAIN]) == prior
    assert not second.asked


def test_an_answer_sees_neither_its_own_interaction_nor_later_ones(cohort, queries):
    reader = book()
    with dspy.context(lm=stand_in(reader)):
        pool(cohort, queries[:6] + queries[6:12], starts=[RECALLS])
    late = {query.query for query in queries}
    for request in reader.asked:
        *shown, _ = request.text.split("message: ")
        assert not any(query in part for query in late for part in shown)


def test_progress_is_told(cohort, queries):
    seen = []
    with dspy.context(lm=stand_in(book())):
        pool(cohort, queries[:8], starts=[PLAIN, RECALLS], watch=lambda *at: seen.append(at))
    assert sorted(seen) == [(n, 16) for n in range(1, 17)]


def test_one_user_is_no_cohort(cohort, queries):
    with dspy.context(lm=stand_in(book())), pytest.raises(DataError, match="there are 1"):
        pool(cohort, queries[:6])


def test_of_an_lm_that_tells_its_answer_alone_the_answers_are_pooled(cohort, queries):
    """It answers rightly only where it is shown memories."""

    def says(asked):
        shown = "the folder for the message" in asked.text
        label = next(one.gold for one in queries if f"message: {one.query}" in asked.text)
        return label if shown else INBOX.labels[0]

    with dspy.context(lm=stand_in(book(says={"answer": says}), likelihoods=False)):
        prior = pool(cohort, queries, starts=[PLAIN, RECALLS])
    recalling, plain = sorted(prior.tried, key=lambda one: one.loss)
    assert (recalling.start.actions, plain.start.actions) == (RECALLS.actions, ())
    assert recalling.score == 1
    assert recalling.start.trust.lm > plain.start.trust.lm


def test_texts_are_not_pooled(cohort, queries):
    letters = PersonaAgent(Text("letters", "Write it."), cohort.memory)
    with (
        dspy.context(lm=stand_in(book())),
        pytest.raises(DataError, match="one of texts"),
    ):
        pool(letters, queries)


def test_a_prior_survives_json(cohort, queries):
    with dspy.context(lm=stand_in(book())):
        prior = pool(cohort, queries)
    assert Prior.from_dict(json.loads(json.dumps(prior.to_dict()))) == prior


def test_what_labels_mean_to_the_cohort_is_in_the_prior_and_for_a_newcomer(tmp_path):
    """What nobody would read into the labels' names, and everybody in the cohort does."""
    users = [f"user{n}" for n in range(12)]
    says = {"piano": "family", "boat": "travel", "tax": "work"}
    past = [
        mail(n, f"{word} {user}", label, user)
        for user in users
        for n, (word, label) in enumerate(says.items())
    ]
    queries = [
        Query(f"q-{user}-{word}", user, "inbox", f"{word} again {user}", label)
        for user in users
        for word, label in says.items()
    ]
    lm = stand_in(book())
    with remembering(tmp_path, *past) as memory, dspy.context(lm=lm):
        agent = PersonaAgent(INBOX, memory)
        prior = pool(agent, queries)
        persona = prior.persona("gus", "inbox", lm.fingerprint)
        answers = {w: agent(query=f"{w} gus", user="gus", persona=persona).answer for w in says}
    assert prior.meant["cohort"] < prior.meant["names"]
    assert answers == says
    assert Prior.from_dict(json.loads(json.dumps(prior.to_dict()))) == prior
    named = replace(prior.start, trust=replace(prior.start.trust, meanings=None))
    assert named in [one.start for one in prior.tried]
    assert replace(prior, start=named).digest != prior.digest


@pytest.mark.parametrize("field", ["start", "task", "tried"])
def test_a_broken_prior_is_refused(field):
    whole = Prior("inbox", "lm", PLAIN, 2).to_dict()
    with pytest.raises(DataError, match=field):
        Prior.from_dict({name: value for name, value in whole.items() if name != field})


def test_a_new_users_persona_starts_from_the_prior(cohort):
    trust = FusionWeights(0.5, 0.75, {"work": -0.5, "family": 0.25, "travel": 0.0})
    reader = book()
    lm = stand_in(reader)
    prior = Prior("inbox", lm.fingerprint, replace(RECALLS, trust=trust), 6)
    with dspy.context(lm=lm):
        alignment = PersonaAlignment(prior=prior, iterations=0)
        log = alignment.compile(cohort, trainset=[mail(1, "dog", "family", "gus")]).alignment
    assert (log.first.trust, log.first.actions) == (trust, RECALLS.actions)
    assert log.first.profile == ""
    assert not reader.of("text")
    assert log.settings["prior"] == prior.digest


@pytest.mark.parametrize("other", [{"task": "outbox"}, {"lm": "another"}])
def test_a_prior_of_another_task_or_lm_is_refused(cohort, other):
    lm = stand_in(book())
    prior = replace(Prior("inbox", lm.fingerprint, PLAIN, 6), **other)
    with dspy.context(lm=lm), pytest.raises(DataError, match="prior"):
        PersonaAlignment(prior=prior).compile(cohort, trainset=[mail(1, "dog", "family", "gus")])
