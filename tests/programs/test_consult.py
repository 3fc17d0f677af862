"""Which directives speak to a query."""

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rulebook import calls, stand_in
from standins import HashEmbedder
from worlds_of_mail import INBOX, book, mail

from personaagent.data import Directive, Persona
from personaagent.memory import EpisodicMemory, Store
from personaagent.programs import PersonaAgent
from personaagent.programs.consult import consult, fit


def persona(*directives):
    return Persona("ann", "inbox", directives=directives)


def test_a_directive_speaks_where_its_cue_reaches(memory):
    dog = Directive("D", cue="dog", reach=fit(memory, "dog", "dog walk"))
    assert consult(memory, persona(dog), "dog walk") == [dog]
    assert consult(memory, persona(dog), "a long evening with steel and no animals") == []


def test_the_best_fit_comes_first_and_standing_directives_stay_out(memory):
    always = Directive("Always.")
    dog, walk = (Directive(cue, cue=cue, reach=-1.0) for cue in ("dog", "dog walk"))
    assert consult(memory, persona(always, dog, walk), "dog walk") == [walk, dog]


words = st.lists(st.sampled_from(["dog", "car", "walk", "x"]), min_size=1).map(" ".join)


@pytest.fixture(scope="module")
def empty():
    with Store(":memory:") as store:
        yield EpisodicMemory(store, HashEmbedder())


@settings(deadline=None)
@given(st.lists(st.tuples(words, st.floats(-1, 1)), max_size=4), words)
def test_it_is_all_that_fit_and_none_that_do_not(empty, cues, query):
    mine = persona(*(Directive(str(n), *pair) for n, pair in enumerate(cues)))
    found = consult(empty, mine, query)
    for directive in mine.directives:
        value = fit(empty, directive.cue, query)
        assert -1.001 <= value <= 1.001
        assert (directive in found) == (value >= directive.reach)


def test_answering_embeds_nothing_of_another_user(tmp_path):
    with Store(str(tmp_path / "memory.db")) as store:
        store.add([mail(1, "ann's mail", "work"), mail(1, "bob's mail", "work", "bob")])
        embedder = HashEmbedder()
        memory = EpisodicMemory(store, embedder)
        rules = book(says={"actions": calls(("recall", {"query": "mail", "k": 8}))})
        mine = persona(Directive("D", cue="dog", reach=0.5))
        with dspy.context(lm=stand_in(rules)):
            PersonaAgent(INBOX, memory)(query="QUERY", user="ann", persona=mine)
    assert set(embedder.encoded) == {"ann's mail", "QUERY", "mail", "dog"}
