"""A user's own DSPy program under a persona."""

import asyncio
import logging
from typing import Literal

import dspy
import pytest
from rulebook import RuleBook, stand_in
from worlds_of_mail import INBOX, book, mail

from personaagent.data import Choice, Directive, FusionWeights, Persona, Rating
from personaagent.errors import DataError, LMError
from personaagent.programs import PersonaAgent, Personal
from personaagent.programs.user_label_prior import named, vote

ASK = dspy.Signature("persona, query -> answer", "File it.")
DOG = Directive("If the message mentions dog, answer travel.", cue="dog", reach=0.4)
RULED = Persona("ann", "inbox", directives=(DOG,))


def personal(memory, program=None, **options):
    return Personal(program or dspy.Predict(ASK), task=INBOX, memory=memory, **options)


def ask(program, rules, query="dinner with the dog", *, likelihoods=True, **given):
    with dspy.context(lm=stand_in(rules, likelihoods=likelihoods)):
        return program(query=query, user="ann", **given)


def test_the_persona_is_the_system_message_and_only_the_fitting_rule_is_in_it(memory):
    rules = book()
    plain = ask(personal(memory), rules)
    ruled = ask(personal(memory, persona=RULED), rules)
    other = ask(personal(memory, persona=RULED), rules, "meeting at noon")
    assert (plain.answer, ruled.answer, other.answer) == ("family", "travel", "work")
    assert DOG.text in rules.asked[1].system
    assert DOG.text not in rules.asked[2].system
    assert rules.asked[1].text == "File it.\n\nquery:\ndinner with the dog"


def test_the_answer_is_read_where_the_lm_gives_likelihoods_and_written_elsewhere(memory):
    rules = book(says={"text": "Family"})
    read = ask(personal(memory), rules)
    written = ask(personal(memory), rules, likelihoods=False)
    assert read.distribution == pytest.approx({"work": 0.05, "family": 0.9, "travel": 0.05})
    assert [one.kind for one in rules.asked] == ["labels", "text"]
    assert (written.answer, written.distribution) == ("family", None)


def test_an_answer_with_a_chain_of_thought_is_written(memory):
    rules = book(says={"reasoning": "A meal.", "answer": "family"})
    said = ask(personal(memory, dspy.ChainOfThought(ASK)), rules)
    assert (said.answer, said.said.reasoning, said.distribution) == ("family", "A meal.", None)


def test_a_program_may_make_something_else_of_what_was_read(memory):
    class Contrary(dspy.Module):
        def __init__(self):
            super().__init__()
            self.ask = dspy.Predict(ASK)

        def forward(self, query, persona):
            self.ask(query=query, persona=persona)
            return dspy.Prediction(answer="WORK")

    said = ask(personal(memory, Contrary()), book())
    assert (said.answer, said.lm, said.distribution) == ("work", INBOX.stated("work"), None)


def test_habit_has_the_say_that_the_persona_gives_it(memory):
    trusting = Persona("ann", "inbox", trust=FusionWeights(0.25, 1.0))
    said = ask(personal(memory), book(), "dog walk", persona=trusting)
    assert said.answer == "travel"
    assert said.habit is not None
    assert max(said.lm, key=said.lm.get) == "work"


def test_an_own_adapter_stays(memory):
    rules = book(says={"answer": "travel"})
    with dspy.context(adapter=dspy.JSONAdapter()):
        said = ask(personal(memory), rules)
    assert said.answer == "travel"
    assert [one.kind for one in rules.asked] == ["json"]


def test_the_options_of_a_choice_are_read_in_both_orders(memory):
    pick = Choice("pick", "Which one?")
    rules = RuleBook(pick, position=0.9)
    program = Personal(dspy.Predict(ASK), task=pick, memory=memory)
    said = ask(program, rules, 'Which? [1]: "a" [2]: "b"')
    assert said.distribution == pytest.approx({"[1]": 0.5, "[2]": 0.5})
    assert len(rules.asked) == 2


def test_a_number_stays_a_number_for_the_program(memory):
    class Doubt(dspy.Module):
        def __init__(self):
            super().__init__()
            self.rate = dspy.Predict(dspy.Signature("persona, review -> stars: int"))

        def forward(self, review, persona):
            said = self.rate(review=review, persona=persona)
            return dspy.Prediction(stars=max(said.stars - 1, 1))

    stars = Rating("stars", "How many stars?")
    program = Personal(Doubt(), task=stars, memory=memory, query="review", answer="stars")
    said = ask(program, RuleBook(stars, {"fine": "4"}), "a fine meal")
    assert said.answer == "3"


def test_names_of_fields_are_the_programs_own(memory):
    own = dspy.Signature("persona, message -> folder: Literal['work', 'family', 'travel']", "")
    own = own.with_updated_fields("folder", type_=Literal["work", "family", "travel"])
    program = personal(memory, dspy.Predict(own), query="message", answer="folder")
    assert ask(program, book(), "meeting").answer == "work"


def test_an_answer_that_is_none_of_the_labels_is_an_error(memory):
    with pytest.raises(LMError, match="no answer"):
        ask(personal(memory), book(says={"text": "pets"}), likelihoods=False)


def test_an_answer_field_that_is_not_there_is_an_error(memory):
    with pytest.raises(LMError, match="folder"):
        ask(personal(memory, answer="folder"), book())


def test_a_program_without_a_persona_is_refused(memory):
    with pytest.raises(DataError, match="persona, query -> answer"):
        personal(memory, dspy.Predict("query -> answer"))


def test_a_saved_program_comes_back_with_persona_and_demos(memory, tmp_path):
    path = str(tmp_path / "own.json")
    saved = personal(memory, persona=RULED)
    saved.program.demos = [dspy.Example(query="x", answer="work")]
    saved.save(path)
    loaded = personal(memory)
    loaded.load(path)
    assert loaded.persona.value == RULED
    assert [dict(one) for one in loaded.program.demos] == [{"query": "x", "answer": "work"}]


def test_a_replay_sees_neither_its_answer_nor_the_future(memory):
    past = mail(3, "dog walk", "travel")
    trusting = Persona("ann", "inbox", trust=FusionWeights(0.25, 1.0))
    with dspy.context(lm=stand_in(book())):
        said = personal(memory).replay(mail(1, "dinner with the dog", "travel"), trusting)
        later = personal(memory).replay(past, trusting)
    alone = vote(INBOX.labels, [], named(memory, INBOX, "dinner with the dog"))
    assert said.habit == alone  # ann's first: nothing was before it
    assert later.habit["travel"] > named(memory, INBOX, "dog walk")["travel"]


@pytest.mark.parametrize("times", [1, 10])
def test_an_event_loop_is_answered_without_a_warning(memory, times):
    warned = logging.Handler()
    warned.emit = lambda record: said.append(record.getMessage())
    said: list[str] = []
    own = Personal(dspy.Predict("persona, query -> answer"), task=INBOX, memory=memory)
    logger = logging.getLogger("dspy.primitives.module")
    logger.addHandler(warned)
    try:
        with dspy.context(lm=stand_in(book())):
            for program in (own, PersonaAgent(INBOX, memory)):
                for _ in range(times):
                    answer = asyncio.run(program.acall(query="a meeting", user="ann")).answer
                    assert answer == "work"
    finally:
        logger.removeHandler(warned)
    assert said == []
