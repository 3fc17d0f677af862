"""PersonaAlignment on a user with two habits, with an LM that follows rules."""

import json
import math
import random
from dataclasses import replace

import dspy
import pytest
from aligning import RULES, align, content
from rulebook import RuleBook, stand_in
from worlds_of_mail import FILLERS, INBOX, book, mail, remembering

from personaagent.data import Choice, Directive, FusionWeights, Persona, Rating, Text
from personaagent.errors import DataError
from personaagent.optimizers import (
    AlwaysAccept,
    FullRewrite,
    HardBatch,
    ItemisedEdits,
    LatestBatch,
    Patience,
    PersonaAlignment,
)
from personaagent.optimizers.log import REACH
from personaagent.programs import PersonaAgent
from personaagent.programs.directive_matching import fit


class Noted(ItemisedEdits):
    """Remembers what it proposed."""

    def __init__(self):
        super().__init__()
        self.proposed = []

    def propose(self, *arguments):
        proposed = super().propose(*arguments)
        self.proposed.append(proposed)
        return proposed


def test_both_habits_are_learned_and_the_held_out_score_rises(agent, history):
    log = align(agent, history)
    assert {(one.cue, one.text.split()[-1]) for one in log.last.directives} == {
        ("dog", "travel."),
        ("car", "family."),
    }
    assert log.first_score < 0.5
    assert log.last_score > 0.9
    assert log.last_loss < log.first_loss / 4


def test_the_aligned_program_answers_by_what_it_learned(agent, history):
    with dspy.context(lm=stand_in(book())):
        aligned = PersonaAlignment().compile(agent, trainset=history)
        assert aligned(query="dinner dog amber", user="ann").answer == "travel"
        assert aligned(query="meeting car jade", user="ann").answer == "family"
        assert aligned(query="meeting jade", user="ann").answer == "work"
    assert aligned.persona.value == aligned.alignment.last


def test_the_student_stays_as_it_is(memory, history):
    mine = Persona("ann", "inbox", profile="Before.", actions=())
    student = PersonaAgent(INBOX, memory, persona=mine)
    before = json.dumps(student.dump_state(), sort_keys=True)
    with dspy.context(lm=stand_in(book())):
        aligned = PersonaAlignment().compile(student, trainset=history)
    assert json.dumps(student.dump_state(), sort_keys=True) == before
    assert student.persona.value is mine
    assert not hasattr(student, "alignment")
    assert aligned is not student
    assert aligned.memory is student.memory
    assert aligned._compiled
    assert memory.store.of("ann").persona("inbox") is None  # publishing is the caller's


def test_every_gradient_and_every_candidate_is_in_the_log(agent, history):
    noted, reported = Noted(), []
    log = align(agent, history, update=noted, report=reported.append)
    truth = {one.id: one.response for one in history}
    assert tuple(step for step in reported if step.candidates or step.batch) == log.steps
    for step in log.steps:
        assert [one.interaction for one in step.gradients] == list(step.batch)
        assert all(one.text and one.truth == truth[one.interaction] for one in step.gradients)
    assert [[one.persona for one in step.candidates] for step in log.steps] == noted.proposed
    json.dumps(log.to_dict())


def test_what_is_accepted_is_the_candidate_that_the_champion_becomes(agent, history):
    log = align(agent, history)
    champion, loss = log.first, log.first_loss
    for step in log.steps:
        assert all(one.persona.parent == champion.hash for one in step.candidates)
        if step.accepted is not None:
            accepted = step.candidates[step.accepted]
            assert step.loss == accepted.loss < loss
            assert accepted.saved == max(one.saved for one in step.candidates) > 0
            champion, loss = accepted.persona, accepted.loss
    assert (log.last.profile, log.last.directives) == (champion.profile, champion.directives)
    assert (log.last.version, log.last.parent) == (1, log.first.hash)  # the next of the chain


def test_an_alignment_reads_nothing_of_another_user(agent, history):
    rules = book()
    align(agent, history, rules)
    assert not any("QQBOB" in one.everything for one in rules.asked)


def test_the_same_seed_gives_the_same_log_and_another_one_another_split(agent, history):
    lm = stand_in(book())
    one, two, other = (align(agent, history, lm=lm, seed=seed) for seed in (3, 3, 4))
    assert content(one) == content(two)
    assert one.judged != other.judged


def test_an_lm_that_ignores_rules_gets_none(agent, history):
    log = align(agent, history, book(obeys=False))
    assert log.steps
    assert any(step.candidates for step in log.steps)
    assert all(step.accepted is None for step in log.steps)
    assert log.last.directives == log.first.directives == ()
    assert log.last_loss == log.first_loss


def test_it_stops_when_steps_in_a_row_bring_nothing(agent, history):
    log = align(agent, history, book(obeys=False), iterations=9)
    assert len(log.steps) == 2
    assert log.stopped != "all iterations done"


def test_it_stops_when_nothing_surprises_any_more(agent, history):
    plain = [one for one in history if "dog" not in one.query and "car" not in one.query]
    log = align(agent, plain)
    assert log.steps == ()
    assert log.last.directives == ()


def rewriting(**options):
    return book(says={"profile": "Has habits.", "rules": RULES}, **options)


def test_the_papers_arm_rewrites_from_the_latest_and_always_accepts(agent, history):
    log = align(
        agent,
        history,
        rewriting(),
        iterations=3,
        sampler=LatestBatch(),
        update=FullRewrite(),
        acceptance=AlwaysAccept(),
    )
    assert [step.accepted for step in log.steps] == [0, 0, 0]
    assert [one.text for one in log.last.directives] == RULES
    assert log.last.profile == "Has habits."
    assert log.last_score > log.first_score
    writing = [one.id for one in history if one.id not in log.judged]
    assert [list(step.batch) for step in log.steps] == [writing[-4:]] * 3


def test_always_accepting_accepts_what_is_worse_and_replay_does_not(agent, history):
    worse = ["If the message mentions dinner, answer work."]
    rules = {"profile": "Wrong.", "rules": worse}
    always = align(
        agent, history, book(says=rules), update=FullRewrite(), acceptance=AlwaysAccept()
    )
    replayed = align(agent, history, book(says=rules), update=FullRewrite())
    assert [one.text for one in always.last.directives] == worse
    assert replayed.last_loss <= replayed.first_loss
    assert always.last_loss > replayed.last_loss


def test_with_nothing_to_judge_by_only_always_accepting_changes_the_persona(agent, history):
    kept = align(agent, history, replay=0)
    accepted = align(agent, history, replay=0, acceptance=AlwaysAccept())
    assert kept.judged == accepted.judged == ()
    assert kept.last.directives == ()
    assert {one.cue for one in accepted.last.directives} >= {"dog"}


def test_free_text_is_rewritten_and_judged_by_its_metric(tmp_path):
    letters = Text("inbox", "Write a letter.", item="topic")
    past = [mail(n, f"topic {n}", f"Dear all, number {n}. Yours, Ann") for n in range(12)]

    def write(asked):
        drawn = "Sign Yours, Ann" in asked.system  # that the texts end so is counted already
        return "Dear all, number. Yours, Ann" if drawn else "Something else entirely."

    rules = RuleBook(letters, says={"text": write, "profile": "", "rules": ["Sign Yours, Ann"]})
    with remembering(tmp_path, *past) as memory:
        log = align(PersonaAgent(letters, memory), past, rules)
    assert [one.text for one in log.last.directives] == ["Sign Yours, Ann"]
    assert log.last_score > log.first_score + 0.3
    assert log.settings["update"] == "by task"


def test_free_text_is_judged_by_its_likelihood_where_the_lm_can_be_held_to_it(tmp_path):
    letters = Text("inbox", "Write a letter.", item="topic")
    # In another order every time, and too long for an example: nothing of it can be counted.
    words = [f"Word{n:02}" for n in range(20)]
    drawn = [" ".join(random.Random(n).choices(words, k=42)) for n in range(12)]
    past = [mail(n, f"topic {n}", text) for n, text in enumerate(drawn)]
    rule = " ".join(words)
    rules = {"text": "Something else.", "profile": "", "rules": [rule]}
    held, sampled = RuleBook(letters, says=rules), RuleBook(letters, says=rules)
    with remembering(tmp_path, *past) as memory:
        log = align(PersonaAgent(letters, memory), past, lm=stand_in(held, texts=True))
        unmoved = align(PersonaAgent(letters, memory), past, sampled)
    # What is written never changes, so its metric tells no persona from another.
    assert log.last_score == log.first_score == unmoved.last_score
    assert unmoved.last.directives == ()
    assert [one.text for one in log.last.directives] == [rule]
    assert log.first_loss == pytest.approx(-math.log(0.01))  # nats a word
    assert log.last_loss == pytest.approx(-math.log(0.5))
    assert {round(one.likelihood, 6) for one in log.steps[0].gradients} == {0.01}


@pytest.mark.parametrize(
    ("task", "query", "responses"),
    [
        (Choice("inbox", ""), 'Which? [1]: "dog {n}" [2]: "car {n}"', ("[1]", "[2]")),
        (Rating("inbox", "Stars?"), "dog number {n}", ("1", "5")),
    ],
)
def test_every_kind_of_task_can_be_aligned(tmp_path, task, query, responses):
    past = [mail(n, query.format(n=n), responses[n % 2]) for n in range(12)]
    with remembering(tmp_path, *past) as memory:
        log = align(PersonaAgent(task, memory), past, RuleBook(task))
    assert len(log.judged) == 4
    assert 0 <= log.last_score <= 1


def test_an_lm_without_likelihoods_can_be_aligned_too(agent, history):
    rules = book()
    lm = stand_in(rules, likelihoods=False)
    log = align(agent, history, lm=lm, sampler=HardBatch(), update=ItemisedEdits())
    assert {one.cue for one in log.last.directives} == {"dog", "car"}
    assert log.last_score > 0.9
    assert log.last.trust.lm > log.first.trust.lm  # it has proved more reliable than is assumed


def test_no_history_and_that_of_two_users_are_refused_before_any_call(agent, history):
    rules = book()
    of_bob = mail(1, "dog", "work", "bob")
    for trainset, valset in (
        ([], None),
        ([], history),
        ([*history, of_bob], None),
        (history, [of_bob]),
    ):
        with pytest.raises(DataError):
            align(agent, trainset, rules, valset=valset)
    assert rules.asked == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_history_is_no_error(agent, history, count):
    log = align(agent, history[:count])
    assert len(log.judged) == count // 3


def test_it_starts_from_the_published_persona(tmp_path, history):
    with remembering(tmp_path, *history) as memory:
        agent = PersonaAgent(INBOX, memory)
        first = align(agent, history)
        published = replace(first.last, version=0, parent=None)
        memory.store.of("ann").publish(published, expected=None, reason="test")
        again = align(agent, history, seed=9)
    assert again.first == published
    assert {one.cue for one in again.last.directives} == {"dog", "car"}


def test_an_alignment_fits_the_weights_of_another_model_anew(tmp_path, history):
    stale = FusionWeights(lm=0.0, habit=4.0, fitted_with="small-7b")
    with remembering(tmp_path, *history) as memory:
        agent = PersonaAgent(INBOX, memory)
        first = replace(align(agent, history).last, version=0, parent=None)
        memory.store.of("ann").publish(replace(first, trust=stale), expected=None, reason="old")
        log = align(agent, history, iterations=0)
    assert log.first.trust == FusionWeights()
    assert log.last.trust.fitted_with == "rule-book"
    assert log.last.directives == first.directives


def test_another_lm_can_write_the_gradients_and_updates(agent, history):
    answering, writing = book(says={"text": "useless"}), book()
    lm, second = stand_in(answering), stand_in(writing)
    log = align(agent, history, lm=lm, gradient_lm=second)
    assert {one.kind for one in answering.asked} == {"labels"}
    assert {one.kind for one in writing.asked} == {"text"}
    assert {one.cue for one in log.last.directives} == {"dog", "car"}
    assert log.usage["calls"] == len(answering.asked) + len(writing.asked)


def test_what_is_known_without_an_answer_goes_into_the_first_profile(tmp_path, history):
    told = mail(3, "Ann keeps bees.", "", id="mem0-1", source="mem0")
    later = mail(90, "Ann sold the bees.", "", id="mem0-2", source="mem0")
    rules = book()
    with remembering(tmp_path, *history, told, later) as memory:
        align(PersonaAgent(INBOX, memory), history, rules, iterations=1)
    first = rules.of("text")[0]
    assert '"Ann keeps bees."' in first.text
    assert not any("sold the bees" in one.everything for one in rules.asked)
    assert not any("bees" in one.everything for one in rules.asked if one is not first)


def test_every_iteration_is_reported_in_its_order_one_without_a_batch_too(agent, history):
    class EverySecond:
        """A sampler that finds nothing in every second iteration."""

        def __init__(self):
            self.turn = 0

        def sample(self, replayed, size, tried):
            self.turn += 1
            return [] if self.turn % 2 else replayed[:size]

    reported = []
    log = align(
        agent,
        history,
        sampler=EverySecond(),
        stopping=Patience(9),
        iterations=4,
        simulate=99,
        reach=99,
        report=reported.append,
    )
    shown = [step for step in reported if step.iteration > 0]
    assert [step.iteration for step in shown] == [1, 2, 3, 4]
    assert {step.iteration for step in shown if not step.batch} == {
        step.iteration for step in shown
    } - {step.iteration for step in log.steps}
    assert any(not step.batch for step in shown)


def test_a_published_rule_that_reaches_too_far_is_narrowed_in_the_end(tmp_path):
    """Nothing else is changed, and a pinned one stays; the LM says what each rule says."""
    dogs = [mail(n, f"dog {FILLERS[n % 10]}", "family") for n in range(0, 30, 3)]
    others = [mail(n, f"meeting {FILLERS[n % 10]} cedar", "work") for n in range(1, 30, 3)]
    rest = [mail(n, f"flight {FILLERS[n % 10]} haven", "travel") for n in range(2, 30, 3)]
    past = sorted([*dogs, *others, *rest], key=lambda one: one.time)
    text = "If the message mentions dog, answer family."
    wide = Directive(text, "dog", -1.0, tuple(one.id for one in dogs[:4]))
    pinned = replace(wide, cue="hound", text=text.replace("dog", "hound"), pinned=True, author="A")
    with remembering(tmp_path, *past) as memory:
        agent = PersonaAgent(INBOX, memory)
        agent.persona.value = Persona("ann", "inbox", directives=(wide, pinned), actions=())
        log = align(agent, past, book(), iterations=0)
        step = next(one for one in log.steps if one.iteration == REACH)
        assert step.accepted == 0
        kept = {one.cue: one for one in log.last.directives}
        spoken_to = [one for one in past if fit(memory, "dog", one.query) >= kept["dog"].reach]
    assert {one.response for one in spoken_to} == {"family"}
    assert kept["dog"].text == text
    assert kept["hound"] == pinned
    assert log.last_loss <= log.first_loss


def test_where_narrowing_does_worse_a_rule_stays_as_wide_as_it_is(tmp_path):
    """The words of the rule are enough for this LM: what it says elsewhere does no harm."""
    past = [mail(n, f"dog {FILLERS[n % 10]}", "family" if n % 2 else "work") for n in range(30)]
    wide = Directive("If the message mentions dog, answer family.", "dog", -1.0, ("ann-1",))
    with remembering(tmp_path, *past) as memory:
        agent = PersonaAgent(INBOX, memory)
        agent.persona.value = Persona("ann", "inbox", directives=(wide,), actions=())
        judges = [one for one in past if one.response == "family"][:6]
        log = align(agent, past, book(), iterations=0, valset=judges)
    (step,) = (one for one in log.steps if one.iteration == REACH)
    assert step.accepted is None
    assert log.last.directives == (wide,)
