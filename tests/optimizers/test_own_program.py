"""PersonaAlignment on DSPy programs that are not PersonaAgent."""

import dspy
from rulebook import stand_in
from worlds_of_mail import INBOX, book

from personaagent import Personal
from personaagent.optimizers import AlwaysAccept, FullRewrite, LatestBatch, PersonaAlignment


def align(program, history, rules=None, *, likelihoods=True, **options):
    lm = stand_in(rules or book(), likelihoods=likelihoods)
    with dspy.context(lm=lm):
        return PersonaAlignment(**options).compile(program, trainset=history)


def own(memory):
    program = dspy.Predict(dspy.Signature("persona, query -> answer", "File it."))
    return Personal(program, task=INBOX, memory=memory)


def test_habits_are_learned_for_an_own_program(memory, history):
    program = own(memory)
    aligned = align(program, history)
    log = aligned.alignment
    assert {one.text for one in log.last.directives} >= {
        "If the message mentions dog, answer travel.",
        "If the message mentions car, answer family.",
    }
    assert log.last_loss < log.first_loss
    assert program.persona.value is None
    with dspy.context(lm=stand_in(book())):
        assert program(query="dinner fjord dog", user="ann").answer == "family"
        assert aligned(query="dinner fjord dog", user="ann").answer == "travel"


def test_actions_that_the_program_cannot_take_cost_no_calls(memory, history):
    rules = book()
    aligned = align(own(memory), history, rules)
    replayed = {(one.system, one.text) for one in rules.of("labels")}
    assert len(replayed) == len(rules.of("labels"))  # nothing was asked twice
    assert aligned.alignment.last.actions == ()


def test_typed_answers_are_judged_by_the_tasks_own_score(memory, history):
    rules = book(says={"text": "work", "profile": "p", "rules": ["Answer work."]})
    aligned = align(
        own(memory),
        history,
        rules,
        likelihoods=False,
        update=FullRewrite(),
        sampler=LatestBatch(),
        acceptance=AlwaysAccept(),
        iterations=1,
    )
    right = [one for one in history if one.id in aligned.alignment.judged]
    share = sum(one.response == "work" for one in right) / len(right)
    assert aligned.alignment.last_score == share
    assert [one.text for one in aligned.alignment.last.directives] == ["Answer work."]
