"""The baselines with an LM: what each shows it."""

import dspy
import pytest
from rulebook import RuleBook, stand_in
from worlds_of_mail import DAWN, INBOX, book, mail

from personaagent.data import Action, Text
from personaagent.experiments.baselines import ICL, PAG, RAG, NonPersonalized
from personaagent.programs.history import REACH

DOG = "dinner with the dog"


def ask(system, query="dog", **options):
    return system(query=query, user="ann", **options)


def ids(said):
    return [one.interaction.id for one in said.memories]


def test_without_personalization_the_lm_sees_the_query_and_nothing_of_the_user(memory):
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        said = ask(NonPersonalized(INBOX, memory), "meeting")
    assert (said.answer, said.actions, said.memories) == ("work", [], [])
    assert [one.text for one in rules.asked] == [f"{INBOX.system}\n\n{INBOX.question('meeting')}"]


def test_icl_shows_the_most_recent_and_rag_the_most_similar(memory):
    with dspy.context(lm=stand_in(book())):
        recent = ask(ICL(INBOX, memory, k=2), DOG)
        similar = ask(RAG(INBOX, memory, k=2), DOG)
    assert ids(recent) == ["ann-3", "ann-2"]
    assert ids(similar) == ["ann-1", "ann-3"]
    assert recent.actions == similar.actions == [Action("recall")]


def test_icl_and_rag_word_memories_alike_and_put_the_best_nearest_to_the_query(memory):
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        ask(ICL(INBOX, memory, k=3))
        ask(RAG(INBOX, memory, k=3), DOG)
    recent, similar = (one.text.splitlines() for one in rules.asked)
    assert recent[2:5] == [
        INBOX.example(DOG, "travel"),
        INBOX.example("meeting on budgets", "work"),
        INBOX.example("dog walk", "travel"),
    ]
    assert similar[4] == INBOX.example(DOG, "travel")


def test_pag_tells_of_the_profile_before_the_memories(memory):
    rules = book(says={"text": "Has a dog."})
    with dspy.context(lm=stand_in(rules)):
        said = ask(PAG(INBOX, memory, k=1), DOG)
    assert [one.kind for one in rules.asked] == ["text", "labels"]
    text = rules.asked[-1].text
    assert text.index("About this user: Has a dog.") < text.index(INBOX.example(DOG, "travel"))
    assert said.actions == [Action("recall"), Action("read_profile")]


def test_a_profile_is_made_once_for_a_history_and_an_lm(memory):
    rules, other = book(says={"text": "Has a dog."}), book(says={"text": "Has two."})
    lm = stand_in(rules)

    def profiles_of(rules):
        return len(rules.of("text"))

    with dspy.context(lm=lm):
        ask(PAG(INBOX, memory))
        ask(PAG(INBOX, memory), "meeting")
        assert profiles_of(rules) == 1
        ask(PAG(INBOX, memory), before=DAWN)  # no history: no profile
        assert profiles_of(rules) == 1
        ask(PAG(INBOX, memory), exclude=("ann-1",))
        assert profiles_of(rules) == 2
        memory.add([mail(4, "parcel", "work")])
        ask(PAG(INBOX, memory))
        assert profiles_of(rules) == 3
    with dspy.context(lm=stand_in(other)):
        ask(PAG(INBOX, memory))
    assert profiles_of(other) == 1
    assert "Has two." in other.asked[-1].text


def test_a_long_history_takes_one_call_for_its_profile(memory):
    memory.add(mail(n, f"message {n}", "work") for n in range(10, 10 + 2 * REACH))
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        PAG(INBOX, memory).prepare("ann")
    (asked,) = rules.asked
    assert f"message {9 + 2 * REACH}" in asked.text
    assert f"message {9 + REACH}" not in asked.text


@pytest.mark.parametrize("kind", [ICL, RAG, PAG])
def test_an_lm_without_likelihoods_is_asked_for_an_answer(memory, kind):
    with dspy.context(lm=stand_in(book(), likelihoods=False)):
        said = ask(kind(INBOX, memory), "flight")
    assert (said.answer, said.distribution) == ("travel", None)


def test_a_text_is_written_after_texts_of_the_user(memory):
    letter = Text("inbox", "Write a letter.", item="topic")
    rules = RuleBook(letter, says={"text": "Dear all,"})
    with dspy.context(lm=stand_in(rules)):
        said = ask(RAG(letter, memory, k=1), DOG)
    assert said.answer == "Dear all,"
    assert letter.example(DOG, "travel") in rules.asked[0].text


def test_a_copy_of_a_program_shares_the_memory(memory):
    with dspy.context(lm=stand_in(book())):
        assert ids(ask(PAG(INBOX, memory).deepcopy(), DOG)) == ids(ask(PAG(INBOX, memory), DOG))
