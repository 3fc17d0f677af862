"""The runner: every sample asked once, failures counted, the future unseen."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest
from contest import NAMES, failing, inbox, world
from dspy import lm15
from rulebook import RuleBook
from tiny_lms import tiny_folder

from personaagent.data import LAMP_TASKS, FusionWeights, Interaction, Query
from personaagent.data.lamp_tasks import CITATION
from personaagent.errors import BudgetError, DataError, LMError
from personaagent.experiments.analysis import analyse
from personaagent.experiments.cohort import Cohort, EvaluationData, Sample
from personaagent.experiments.lineup import SystemSpec, entrants
from personaagent.experiments.lora import Lora
from personaagent.experiments.lora_lm import Recipe
from personaagent.experiments.protocol import Setup, defaults
from personaagent.experiments.results import Results
from personaagent.lm.meter import Budget
from personaagent.optimizers import Prior
from personaagent.optimizers.prior import Start


@pytest.fixture
def here(tmp_path):
    with world(tmp_path) as made:
        yield made


def test_every_system_answers_every_sample(here):
    done = here.run()
    rows = here.results.rows(done.run, done.protocol["samples"])
    assert Counter(row.system for row in rows) == dict.fromkeys(NAMES, 12)
    assert all(row.answer in here.data.task.labels for row in rows)
    assert all(row.seconds > 0 and row.calls == 1 and row.input_tokens == 10 for row in rows)
    assert all(row.distribution and row.loss is not None for row in rows)
    rag = [row for row in rows if row.system == "rag"]
    assert all(row.actions == ("recall",) and len(row.memories) == 4 for row in rag)


def test_every_system_there_is_takes_part(here):
    here.book.says["step"] = {"next_thought": "Enough.", "tool": "finish"}
    found = analyse(here.results, here.run(entrants(), cohort=Cohort(samples=4)))
    assert [(line.system, line.failed) for line in found.lines if line.n < 4] == []
    assert {line.role for line in found.lines} == {"floor", "baseline", "personaagent", "ablation"}
    assert all(line.cost.calls == 0 for line in found.lines if line.role == "floor")


def test_a_system_that_trains_does_so_ahead_of_the_clock_and_counts_its_answers(here, tmp_path):
    pytest.importorskip("peft", reason="fine-tuning needs the extra: personaagent[lora]")
    base = tiny_folder(tmp_path / "tiny")

    def make(task, memory, _, /, **options):
        return Lora(task, memory, base=base, recipe=Recipe(rate=0.03, epochs=1))

    done = here.run([SystemSpec("lora", make)], cohort=Cohort(samples=4))
    rows = here.results.rows(done.run, done.protocol["samples"])
    assert [row.error for row in rows] == [None] * 4
    assert all(row.distribution and row.calls == 1 and row.input_tokens > 50 for row in rows)
    assert all(row.ahead_seconds > 0 and row.ahead_calls == 0 for row in rows)


def test_the_personas_of_several_users_are_aligned_at_a_time(here, monkeypatch):
    answer, meeting, first = RuleBook.complete, threading.Barrier(2, timeout=20), iter("ab")

    def complete(self, request):
        if request.config.logprobs is None and next(first, None):  # each user's profile
            meeting.wait()
        return answer(self, request)

    monkeypatch.setattr(RuleBook, "complete", complete)
    personas = here.experiment().personas(["bob", "ann"])
    assert not meeting.broken
    assert next(first, None) is None
    assert list(personas.aligned) == list(personas.first) == ["bob", "ann"]


def test_an_error_of_one_users_alignment_is_that_users(here):
    experiment = here.experiment()
    one = experiment.aligner.work

    def fails(memory, user):
        if user == "ann":
            raise LMError("no answer to ann")
        return one(memory, user)

    experiment.aligner.work = fails
    fails.run = one.run
    personas = experiment.personas(["ann", "bob"])
    assert list(personas.aligned) == ["bob"]
    assert experiment.aligner.failures == {"ann": "no answer to ann"}


def test_a_persona_that_was_learned_does_better(here):
    found = analyse(here.results, here.run())
    plain, ours = found.line("non-personalized"), found.line("personaagent")
    assert ours.scores["accuracy"].value > plain.scores["accuracy"].value
    assert ours.against_plain.difference.value > 0
    assert [one.user for one in found.personas] == ["ann", "bob"]
    assert all(one.accepted and one.calls and one.directives for one in found.personas)


def test_the_same_again_asks_nothing(here):
    here.run()
    asked = len(here.book.asked)
    here.run()
    assert len(here.book.asked) == asked


def test_another_system_does_not_redo_the_first(here):
    here.run(entrants(["rag"]))
    before = len(here.asked())
    done = here.run(entrants(["non-personalized"]))
    assert len(here.asked()) == before + 12
    assert list(done.protocol["systems"]) == ["rag", "non-personalized"]


def test_other_personas_do_not_redo_what_has_none(here):
    systems = entrants(["rag", "personaagent"])
    plain = Setup(alignment={"iterations": 0, "replay": 0})
    first = here.run(systems, setup=plain)
    asked = len(here.asked())
    prior = Prior(
        "inbox", here.lm.fingerprint, Start(profile=False, trust=FusionWeights(1.0, 0.5)), 2
    )
    done = here.run(systems, setup=replace(plain, prior=prior))
    assert done.run != first.run
    assert len(here.asked()) == asked + 12  # PersonaAgent alone
    assert [line.n for line in analyse(here.results, done).lines] == [12, 12]
    here.experiment(setup=plain).redo(entrants(["rag"]))  # after a change of its code
    here.run(systems, setup=replace(plain, prior=prior))
    assert len(here.asked()) == asked + 12 + 12


def test_a_larger_cohort_asks_only_for_the_rest(here):
    systems = entrants(["non-personalized"])
    here.run(systems, cohort=Cohort(samples=5))
    assert len(here.asked()) == 5
    here.run(systems, cohort=Cohort(samples=9))
    assert len(here.asked()) == 9


def test_what_was_killed_goes_on_and_asks_nothing_twice(tmp_path):
    """The LM is gone after so many requests, again and again, until all is done."""
    with world(tmp_path / "whole") as whole:
        whole.run()
        expected = Counter(whole.asked())
    with world(tmp_path / "broken") as broken:
        for limit in range(7, 400, 23):
            broken.book.dies_after = limit
            broken.book.failure = KeyboardInterrupt()
            try:
                done = broken.run()
                break
            except (KeyboardInterrupt, LMError):
                continue
        assert limit > 7
        assert Counter(broken.asked()) == expected
        rows = broken.results.rows(done.run, done.protocol["samples"])
        assert [row.error for row in rows] == [None] * 36


def test_failures_are_counted_and_not_scored(here):
    found = analyse(here.results, here.run([failing(), *entrants(["non-personalized"])]))
    fragile = found.line("fragile")
    dogs = sum("dog" in one.query.query for one in here.data.samples)
    right = sum(one.gold == "work" and "dog" not in one.query.query for one in here.data.samples)
    assert (fragile.failed, fragile.n) == (dogs, 12 - dogs)
    assert fragile.scores["accuracy"].value == pytest.approx(right / (12 - dogs))
    assert fragile.against_plain.n == 12 - dogs


def test_failures_say_why_and_are_asked_again(here):
    done = here.run([failing()])
    failed = [r for r in here.results.rows(done.run, done.protocol["samples"]) if r.error]
    assert {row.error for row in failed} == {"ValueError: it broke"}
    assert all(row.answer is None and row.loss is None for row in failed)
    here.run([failing(on="")])
    rows = here.results.rows(done.run, done.protocol["samples"])
    assert all(row.error is None for row in rows)
    assert {row.attempts for row in rows} == {1, 2}


def test_a_system_that_always_fails_does_not_end_the_others(here):
    found = analyse(here.results, here.run([failing(on=" "), *entrants(["rag"])]))
    assert found.line("fragile") is None
    assert [(line.failed, line.n) for line in found.lines] == [(12, 0), (0, 12)]


def test_who_cannot_be_aligned_fails_and_the_others_go_on(here):
    here.book.dies_after = 30
    done = here.run()
    rows = here.results.rows(done.run, done.protocol["samples"])
    errors = [row.error for row in rows if row.error is not None]
    assert len(errors) > 0
    assert all("Error" in error for error in errors)
    assert any("no persona" in error for error in errors)
    here.book.dies_after = None
    done = here.run()
    rows = here.results.rows(done.run, done.protocol["samples"])
    assert [row.error for row in rows] == [None] * 36


def test_a_budget_ends_the_run_and_keeps_what_was_answered(tmp_path):
    with world(tmp_path, budget=Budget(calls=8)) as here:
        with pytest.raises(BudgetError):
            here.run(entrants(["non-personalized"]))
        (done,) = here.results.experiments()
        rows = here.results.rows(done.run, done.protocol["samples"])
        assert 5 <= len(rows) <= 8
        assert all(row.answer for row in rows)


def test_a_system_sees_no_future_and_not_the_question_itself(here):
    seen = []

    def make(task, memory, personas, /, **options):
        def system(query, user, before=None, exclude=()):
            recalled = memory.recall(user, query, 100, before=before, exclude=exclude)
            seen.append((before, exclude, [one.interaction for one in recalled]))
            raise ValueError("never mind")

        return system

    here.run([SystemSpec("watcher", make)])
    assert len(seen) == 12
    for before, exclude, recalled in seen:
        assert recalled
        assert all(one.time < before and one.id not in exclude for one in recalled)


def test_a_cold_start_leaves_the_latest_interactions(here):
    here.run(entrants(["rag"]), setup=Setup(latest=3))
    for user in ("ann", "bob"):
        past = here.memory.store.of(user).interactions("inbox")
        assert [one.id for one in past] == [f"{user}-{n}" for n in (15, 16, 17)]


def test_nobody_is_known_at_a_start_from_nothing(here):
    done = here.run(entrants(["rag", "personaagent"]), setup=Setup(latest=0))
    rows = here.results.rows(done.run, done.protocol["samples"])
    assert [row.error for row in rows] == [None] * 24


def test_who_is_not_known_starts_where_the_cohort_does(here):
    trust = FusionWeights(0.5, 0.75)
    prior = Prior("inbox", here.lm.fingerprint, Start(profile=False, trust=trust), 6)
    done = here.run(entrants(["personaagent"]), setup=Setup(latest=0, prior=prior))
    rows = here.results.rows(done.run, done.protocol["samples"])
    assert {row.calls for row in rows} == {1}  # the LM chooses no actions


def test_what_is_prepared_is_not_on_the_clock(here):
    class Prepared:
        def prepare(self, user, *, before=None, exclude=()):
            here.lm("make a profile")

        def __call__(self, query, user, before=None, exclude=()):
            import dspy

            return dspy.Prediction(answer="work")

    done = here.run([SystemSpec("prepared", lambda *_, **__: Prepared())])
    for row in here.results.rows(done.run, done.protocol["samples"]):
        assert (row.calls, row.ahead_calls) == (0, 1)


def test_redo_forgets_a_system_and_the_personas(here):
    here.run()
    before = len(here.asked())
    assert here.experiment().redo(entrants(["rag"])) == 12
    here.run()
    assert len(here.asked()) == before + 12
    here.experiment().redo(entrants(["personaagent"]), personas=True)
    here.run()
    assert len(here.asked()) > before + 24


def test_settings_that_change_answers_make_another_run(here):
    plain = here.experiment()
    others = [
        here.experiment(setup=Setup(k=2)),
        here.experiment(setup=Setup(alignment={"iterations": 1})),
    ]
    here.data = replace(here.data, digest="e" * 64)
    others.append(here.experiment())
    assert len({plain.run, *(one.run for one in others)}) == 4
    assert here.experiment(cohort=Cohort(samples=2)).run == others[-1].run


def test_the_swap_test_answers_under_the_persona_of_somebody_who_was_not_asked(tmp_path):
    with world(tmp_path, inbox(["ann", "bob", "cem"])) as here:
        swapped = entrants(["personaagent", "personaagent-swapped"])
        experiment = here.experiment(swapped, cohort=Cohort(users=1))
        done = here.run(swapped, cohort=Cohort(users=1))
        rows = here.results.rows(done.run, done.protocol["samples"])
        assert [row.error for row in rows] == [None] * 12
        (user,) = set(done.protocol["samples"].values())
        stranger = experiment.strangers[user]
        personas = experiment.personas([user, stranger]).aligned
        name = f"evaluation/{done.run}/trace/personaagent-swapped"
        trace = here.memory.store.of(user).journal(name).get(rows[0].sample)
        assert trace["persona"] == personas[stranger].render()
        past = {one.query for one in here.memory.store.of(user).interactions("inbox")}
        assert {one["query"] for one in trace["memories"]} <= past


def test_the_papers_own_way_has_personas_of_its_own(tmp_path):
    with world(tmp_path, inbox(["ann", "bob"])) as here:
        both = entrants(["personaagent", "personaagent-paper"])
        done = here.run(both, cohort=Cohort(users=1))
        rows = here.results.rows(done.run, done.protocol["samples"])
        assert {row.error for row in rows} == {None}
        assert {row.system for row in rows} == {one.name for one in both}
        assert done.protocol["systems"]["personaagent-paper"] == "baseline"
        (user,) = set(done.protocol["samples"].values())
        shown = {}
        for one in both:
            name = f"evaluation/{done.run}/trace/{one.name}"
            trace = here.memory.store.of(user).journal(name).get(rows[0].sample)
            shown[one.name] = trace["persona"]
        assert shown["personaagent"] != shown["personaagent-paper"]


def test_one_user_cannot_be_swapped(tmp_path):
    with world(tmp_path, inbox(["ann"])) as here, pytest.raises(DataError, match="one user's"):
        here.run(entrants(["personaagent-swapped"]))


def test_one_persona_serves_every_k(here):
    systems = entrants(["personaagent"])
    here.run(systems)
    before = len(here.asked())
    done = here.run(systems, setup=Setup(k=1))
    assert len(here.asked()) == before + 12  # one call a sample, and none to align
    found = analyse(here.results, done)
    assert [one.user for one in found.personas] == ["ann", "bob"]


def test_what_is_measured_at_another_number_side_by_side_is_asked_anew(here):
    systems = entrants(["rag"])
    here.run(systems)
    before = len(here.asked())
    done = here.run(systems, setup=Setup(parallel=1))
    assert len(here.asked()) == before + 12
    assert done.protocol["parallel"] == 1


def test_a_value_that_is_the_default_is_no_variant():
    base = Setup()
    named = defaults()
    assert named == {"k": 4, "batch": 4, "iterations": 4, "replay": 12}
    for name, value in named.items():
        assert base.varied(name, value) == base
        assert base.varied(name, value + 1).variant == {name: value + 1}
        assert base.varied(name, value + 1).varied(name, value) == base
    assert base.varied("interactions", 0).variant == {"interactions": 0}


def test_progress_tells_the_stages_and_the_score(here):
    told = []
    here.run(watch=told.append)
    stages = list(dict.fromkeys(one.stage for one in told))
    assert stages == ["personas", *NAMES]
    assert all(told[at].done <= told[at].total for at in range(len(told)))
    last = {one.stage: one for one in told}
    assert last["rag"].done == 12
    assert 0 <= last["rag"].score <= 1


def test_an_interrupt_writes_down_what_is_under_way(here):
    here.book.dies_after, here.book.failure = 6, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        here.run(entrants(["non-personalized"]), parallel=1)
    (done,) = here.results.experiments()
    assert len(here.results.rows(done.run, done.protocol["samples"])) == 5


def test_a_local_lm_that_is_gone_is_an_error_before_anything_fails(here):
    here.book.dies_after, here.book.failure = 0, lm15.ServerError("gone")
    with pytest.raises(LMError):
        here.run(entrants(["non-personalized"]))
    (done,) = here.results.experiments()
    assert here.results.rows(done.run, done.protocol["samples"]) == []


def test_results_are_shared_by_several_handles(here):
    here.run(entrants(["rag"]))
    with Results(here.results.path, must_exist=True) as again:
        assert again.experiments() == here.results.experiments()


def test_the_smallest_worlds_work(tmp_path):
    with world(tmp_path, inbox(["ann"], questions=1, history=1)) as here:
        found = analyse(here.results, here.run())
        assert [line.n for line in found.lines] == [1, 1, 1]


def test_papers_without_answers_are_aligned_by_questions_made_of_them(tmp_path):
    task = LAMP_TASKS["lamp-1"]
    papers = [
        Interaction(f"{user}{n}", user, "lamp-1", f"{user} paper {n}", "")
        for user in ("ann", "bob")
        for n in range(6)
    ]
    asked = CITATION.format(title="ann paper 9", one="ann paper 8", two="bob paper 8")
    sample = Sample(Query("q", "ann", "lamp-1", asked, "[1]"), "ann")

    def histories(owners):
        return iter([one for one in papers if owners is None or one.user in owners])

    data = EvaluationData(task, "papers", "f" * 64, (sample,), histories)
    with world(tmp_path, data) as here:
        here.book.task = task
        found = analyse(here.results, here.run())
    assert [(line.n, line.failed) for line in found.lines] == [(1, 0)] * 3
    (persona,) = found.personas
    assert persona.calls > 0
