"""Which directives speak to a query."""

from dataclasses import replace
from tempfile import TemporaryDirectory

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rulebook import RuleBook, calls, stand_in
from standins import HashEmbedder
from worlds_of_mail import DAWN, INBOX, book, mail, remembering

from personaagent.data import Choice, Directive, FusionWeights, Item, Persona, Text
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.erasure import erase
from personaagent.programs import PersonaAgent, Personal, QueryScope
from personaagent.programs.directive_matching import (
    announced,
    fit,
    item_scores,
    match_directives,
)


def persona(*directives):
    return Persona("ann", "inbox", directives=directives)


def asking(query, user="ann"):
    return QueryScope(user, INBOX, query)


def test_a_directive_speaks_where_its_cue_reaches(memory):
    dog = Directive("D", cue="dog", reach=fit(memory, "dog", "dog walk"))
    assert match_directives(memory, persona(dog), asking("dog walk")) == [dog]
    assert (
        match_directives(memory, persona(dog), asking("a long evening with steel and no animals"))
        == []
    )


@pytest.mark.parametrize(
    ("cue", "query", "certain"),
    [
        ("dog", "Walk the dogs", True),
        ("dog", "walk the puppy", False),
        ("car repair", "the repair of my car", True),
        ("car repair", "the repair of my bike", False),
        ("ferries", "the ferry to Hull", True),
        ("狗", "我的狗", True),
        ("Köln", "nach KÖLN", True),
    ],
)
def test_an_lm_is_told_that_a_rule_holds_only_where_the_query_says_its_cue(cue, query, certain):
    told = announced(Directive(f"If it mentions {cue}, answer travel.", cue=cue), query, "message")
    assert f"If it mentions {cue}, answer travel." in told
    assert told.startswith("This message falls under a rule") is certain
    assert ("if this message falls under it" in told) is not certain


def test_the_best_fit_comes_first_and_standing_directives_stay_out(memory):
    always = Directive("Always.")
    dog, walk = (Directive(cue, cue=cue, reach=-1.0) for cue in ("dog", "dog walk"))
    assert match_directives(memory, persona(always, dog, walk), asking("dog walk")) == [walk, dog]


def test_items_are_scored_only_where_they_exceed_the_budget(memory):
    items = tuple(
        Item("preference", text, "mail", support=("i1",)) for text in ("dog walk", "tax form")
    )
    plenty = Persona("ann", "inbox", items=items, words=100)
    assert item_scores(memory, plenty, "dog walk") is None
    assert item_scores(memory, replace(plenty, words=None), "dog walk") is None
    scores = item_scores(memory, replace(plenty, words=10), "mail: dog walk")
    assert scores[items[0]] == pytest.approx(1)
    assert scores[items[0]] > scores[items[1]]


def test_a_new_process_embeds_no_item_again_and_an_erasure_takes_the_vectors(memory):
    items = tuple(Item("fact", f"item {n}", support=("i1",)) for n in range(9))
    mine = Persona("ann", "inbox", items=items, words=12)
    before = item_scores(memory, mine, "item 3")
    asked = memory.embedder.encoded
    asked.clear()
    again = EpisodicMemory(memory.store, memory.embedder)
    assert item_scores(again, mine, "item 3") == before
    assert asked == ["item 3"]
    (one, *_) = memory.store.of("ann").interactions()
    erase(memory.store, "ann", ids=[one.id])
    last = EpisodicMemory(memory.store, memory.embedder)
    assert item_scores(last, mine, "item 3") == before
    assert len(asked) == 1 + 9 + 1


def test_the_query_decides_which_items_the_lm_sees_beside_the_most_used(memory):
    used = [Item("habit", f"used {n}", "always", support=("i1", "i2")) for n in range(9)]
    rare = [
        Item("fact", f"rare {word}", "once", support=("i1",))
        for word in ("dog", "steel", "moon", "bread", "violin", "tax")
    ]
    mine = Persona("ann", "inbox", items=(*used, *rare), words=42)
    own = Personal(dspy.Predict("persona, query -> answer"), task=INBOX, memory=memory)
    rules = book()
    for program in (PersonaAgent(INBOX, memory, rounds=0), own):
        for one in (rare[0], rare[-1]):
            with dspy.context(lm=stand_in(rules)):
                program(query=f"once: {one.text}", user="ann", persona=mine)
            system = rules.asked[-1].system
            assert f"- {one.text}" in system
            assert "- used 0" in system
            assert system.count("- rare") < len(rare)
            assert "more, less important, or further from this question)" in system


words = st.lists(st.sampled_from(["dog", "car", "walk", "x"]), min_size=1).map(" ".join)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("empty") / "memory.db") as store:
        yield EpisodicMemory(store, HashEmbedder())


@settings(deadline=None)
@given(st.lists(st.tuples(words, st.floats(-1, 1)), max_size=4), words)
def test_it_is_all_that_fit_and_none_that_do_not(empty, cues, query):
    mine = persona(*(Directive(str(n), *pair) for n, pair in enumerate(cues)))
    found = match_directives(empty, mine, asking(query))
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


# What the user has answered to nearly the same text

TICKET = "the laptop shows nothing since the update and its screen size is odd"
SCREENS = [f"{word} screen size {word} report" for word in ("amber", "birch", "cedar", "delta")]
ALIKE = [f"the laptop shows nothing since {word} and is odd" for word in "abcdefghij"]
NEARLY = f"{TICKET} too"


@pytest.fixture
def desk(tmp_path):
    """Reports of screen sizes go under work; `remember` adds what else the user answered."""
    with remembering(
        tmp_path, *(mail(n, text, "work") for n, text in enumerate(SCREENS))
    ) as memory:
        yield memory


def rule(memory, **changes):
    """What alignment made of the reports; its cue fits the ticket."""
    plain = {"cue": "screen size", "reach": fit(memory, "screen size", TICKET) - 0.01}
    support = tuple(f"ann-{n}" for n in range(len(SCREENS)))
    text = "When a message mentions screen size, answer work."
    return Directive(text, **(plain | {"support": support} | changes))


def remember(memory, *answered, first=10):
    memory.add(mail(first + n, text, response) for n, (text, response) in enumerate(answered))


def test_a_rule_gives_way_to_a_nearly_verbatim_precedent_that_its_neighbours_agree_with(desk):
    mine, asked = persona(rule(desk)), asking(TICKET)
    remember(desk, *((text, "travel") for text in ALIKE))
    assert match_directives(desk, mine, asked) == [rule(desk)]  # alike alone is what rules are for
    remember(desk, (NEARLY, "travel"), first=30)
    assert match_directives(desk, mine, asked) == []
    assert match_directives(desk, mine, asking("amber screen size report")) == [rule(desk)]


def test_the_agent_then_answers_as_the_user_did(desk):
    mine = replace(persona(rule(desk)), trust=FusionWeights(habit=1.5), actions=())
    rules = RuleBook(INBOX, {"laptop": "family"})
    with dspy.context(lm=stand_in(rules)):
        agent = PersonaAgent(INBOX, desk)
        remember(desk, *((text, "travel") for text in ALIKE))
        assert agent(query=TICKET, user="ann", persona=mine).answer == "work"
        remember(desk, (NEARLY, "travel"), first=30)
        said = agent(query=TICKET, user="ann", persona=mine)
    assert said.directives == []
    assert said.answer == "travel"


def test_one_duplicate_alone_overrules_no_rule_however_often_it_is_repeated(desk):
    mine, asked = persona(rule(desk)), asking(TICKET)
    remember(desk, *((f"{NEARLY}{' ' * n}", "travel") for n in range(4)))
    assert match_directives(desk, mine, asked) == [rule(desk)]


def test_a_duplicate_does_not_overrule_a_rule_that_the_neighbours_agree_with(desk):
    ours = [f"ann-{n}" for n in range(10, 20)]
    mine = persona(rule(desk, support=tuple(ours)))
    remember(desk, *((text, "work") for text in ALIKE))
    remember(desk, (NEARLY, "travel"), ("a far flight", "travel"), first=30)
    assert match_directives(desk, mine, asking(TICKET)) == list(mine.directives)


def test_precedents_that_contradict_each_other_overrule_nothing(desk):
    mine = persona(rule(desk))
    remember(desk, (NEARLY, "travel"), (f"{TICKET} again", "work"), (f"{TICKET} now", "work"))
    assert match_directives(desk, mine, asking(TICKET)) == [rule(desk)]


def test_a_precedent_of_little_weight_counts_little(desk):
    mine = persona(rule(desk))
    for n, (text, response, weight) in enumerate(
        [(NEARLY, "travel", 0.1), (f"{TICKET} now", "travel", 0.1), (f"{TICKET} so", "work", 1.0)]
    ):
        desk.add([mail(40 + n, text, response, weight=weight)])
    assert match_directives(desk, mine, asking(TICKET)) == [rule(desk)]


def test_a_rule_with_nothing_behind_it_is_a_persons_own_and_stays(desk):
    mine = persona(rule(desk, support=()))
    remember(desk, *((text, "travel") for text in ALIKE), (NEARLY, "travel"))
    assert match_directives(desk, mine, asking(TICKET)) == list(mine.directives)


def test_a_rule_that_says_the_same_stays(desk):
    remember(desk, *((text, "travel") for text in ALIKE), (NEARLY, "travel"))
    mine = persona(rule(desk, support=("ann-10", "ann-11")))
    assert match_directives(desk, mine, asking(TICKET)) == list(mine.directives)


@pytest.mark.parametrize("seen", [{"before": DAWN}, {"exclude": ("ann-20",)}, {"user": "bob"}])
def test_what_a_query_must_not_see_is_no_precedent(desk, seen):
    remember(desk, *((text, "travel") for text in ALIKE), (NEARLY, "travel"))
    mine = persona(rule(desk))
    assert match_directives(desk, mine, asking(TICKET)) == []
    there = QueryScope(**{"user": "ann", "task": INBOX, "query": TICKET} | seen)
    assert match_directives(desk, mine, there) == [rule(desk)]


def test_pairs_and_texts_have_no_precedents(desk):
    remember(desk, *((text, "travel") for text in ALIKE), (NEARLY, "travel"))
    for task in (Choice("inbox", "?"), Text("inbox", "?")):
        assert match_directives(desk, persona(rule(desk)), QueryScope("ann", task, TICKET)) == [
            rule(desk)
        ]


far = st.lists(st.tuples(st.sampled_from(["dog", "car", "walk"]), st.sampled_from(INBOX.labels)))


@settings(deadline=None, max_examples=30)
@given(far, st.sampled_from(["steel piano", "blue steel rain"]))
def test_without_a_near_verbatim_precedent_nothing_changes(past, query):
    with TemporaryDirectory() as folder, Store(f"{folder}/memory.db") as store:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add(mail(n, f"{text} {n}", answer) for n, (text, answer) in enumerate(past))
        support = tuple(f"ann-{n}" for n in range(len(past)))
        rules = [Directive("D", cue="steel", reach=-1.0, support=support[:2])]
        assert match_directives(memory, persona(*rules), asking(query)) == rules
