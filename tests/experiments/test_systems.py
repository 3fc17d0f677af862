"""What holds for every system: what it may see, what it gives back, what it costs."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dspy
import pytest
from rulebook import RuleBook, stand_in
from worlds_of_mail import DAWN, INBOX, READINGS, mail, remembering

from personaagent.data import Action, Choice, Directive, FusionWeights, Persona, Rating, Text
from personaagent.experiments.ablations import Personas
from personaagent.experiments.systems import SYSTEMS
from personaagent.programs.tools import MOST_MEMORIES

STARS = Rating("inbox", "How many stars?", item="message", answer="rating")
PAIR = Choice("inbox", "Which one?")
LETTER = Text("inbox", "Write a letter.", item="message")
TASKS = {"labels": INBOX, "rating": STARS, "choice": PAIR, "text": LETTER}
ANSWERS = {
    "labels": ("travel", "work", "travel", "family"),
    "rating": ("5", "1", "5", "2"),
    "choice": ("", "", "", ""),
    "text": ("Woof!", "Dear sir,", "Woof woof.", "Dear mum,"),
}
QUERIES = {"choice": 'Which did ann write? [1]: "dinner with the dog" [2]: "meeting on budgets"'}
NOON = DAWN + timedelta(days=9)
LONG_AGO = datetime(2026, 1, 2, tzinfo=UTC)
PERSONA = Persona(
    "ann",
    "inbox",
    profile="Has a dog.",
    directives=(Directive("If the message mentions zebra, answer work.", cue="zebra", reach=0.9),),
    actions=(Action("recall"), Action("habits")),
    trust=FusionWeights(1.0, 0.5),
)
FIRST = Persona("ann", "inbox", profile="Has a dog.")
PERSONAS = Personas(
    aligned={"ann": PERSONA, "eve": PERSONA},
    first={"ann": FIRST},
    strangers={"ann": "eve"},
    paper={"ann": FIRST},
)
# But for the one that needs an extra and asks an LM of its own: see test_lora.py
EVERYONE = [(name, kind) for name in SYSTEMS if name != "lora" for kind in TASKS]


def seen(kind):
    one, two, three, four = ANSWERS[kind]
    return [
        mail(1, "dinner with the dog", one),
        mail(2, "meeting on budgets", two),
        mail(3, "the dog and the vet", three),
        mail(4, "call from mum", four),
    ]


def unseen(kind):
    """What must not exist for the query: all about dogs, all with another answer."""
    other = {"labels": "family", "rating": "1", "choice": "", "text": "MARKER"}[kind]
    return [
        mail(9, "dog MARKER at the same moment", other),
        mail(10, "dog MARKER of the future", other),
        mail(5, "dog MARKER that is replayed", other, id="excluded-1"),
        mail(6, "dog MARKER that is excluded", other, id="excluded-2", time=None),
        mail(7, "dog MARKER that has expired", other, expires=LONG_AGO + timedelta(days=7)),
        mail(8, "dog MARKER of another task", other, task="outbox"),
        *(mail(n, f"dog MARKER of bob {n}", other, "bob") for n in range(1, 6)),
    ]


def calls(asked):
    """All that the tools on offer can find."""
    recall = {"tool": "recall", "query": "dog", "k": MOST_MEMORIES}
    habits = [{"tool": "habits"}] if "Count this user's" in asked.everything else []
    return [recall, *habits, {"tool": "read_profile"}]


def step(asked):
    """One of them a turn, in ReAct."""
    offered = calls(asked)
    turn = min(asked.text.count("observation_"), len(offered) - 1)
    return {"next_thought": "More.", **offered[turn]}


def actions(asked):
    """Each but the profile at once, for PersonaAgent."""
    return calls(asked)[:-1]


def book(kind):
    return RuleBook(TASKS[kind], READINGS, says={"step": step, "actions": actions})


@contextmanager
def asking(folder, name, kind, *interactions):
    """A system over a memory of these interactions, the LM it asks, and a query."""
    folder.mkdir()
    rules = book(kind)
    with remembering(folder, *interactions) as memory, dspy.context(lm=stand_in(rules)):
        system = SYSTEMS[name](TASKS[kind], memory, PERSONAS)

        def ask(user="ann"):
            return system(
                query=QUERIES.get(kind, "dinner with the vet about the dog"),
                user=user,
                before=NOON,
                exclude=("excluded-1", "excluded-2"),
            )

        yield system, rules, ask


def shown(said):
    memories = [(one.interaction, one.score) for one in said.memories]
    return said.answer, said.distribution, said.actions, memories


@pytest.mark.parametrize(("name", "kind"), EVERYONE)
def test_what_is_not_before_the_query_is_as_if_it_did_not_exist(tmp_path, name, kind):
    with asking(tmp_path / "all", name, kind, *seen(kind), *unseen(kind)) as (_, rules, ask):
        with_all = shown(ask())
        requests = rules.asked
    with asking(tmp_path / "seen", name, kind, *seen(kind)) as (_, rules, ask):
        assert shown(ask()) == with_all
    assert [one.everything for one in requests] == [one.everything for one in rules.asked]
    assert not any("MARKER" in one.everything for one in requests)
    assert {one for one, _ in with_all[3]} <= set(seen(kind))


@pytest.mark.parametrize(("name", "kind"), EVERYONE)
def test_every_system_gives_back_an_answer_of_the_task(tmp_path, name, kind):
    task = TASKS[kind]
    with asking(tmp_path / "it", name, kind, *seen(kind)) as (_, _, ask):
        said = ask()
    assert task.parse(said.answer) == said.answer
    assert all(isinstance(action, Action) for action in said.actions)
    if task.labels:
        assert list(said.distribution) == list(task.labels)
        assert sum(said.distribution.values()) == pytest.approx(1)
    else:
        assert said.distribution is None


@pytest.mark.parametrize(("name", "kind"), EVERYONE)
def test_a_user_without_a_history_is_answered_too(tmp_path, name, kind):
    nobody = Persona("nobody", "inbox")
    each = {"nobody": nobody}
    personas = Personas(each, each, {"nobody": "nobody"}, each)
    with (
        remembering(tmp_path, *seen(kind)) as memory,
        dspy.context(lm=stand_in(book(kind))),
    ):
        system = SYSTEMS[name](TASKS[kind], memory, personas)
        said = system(query=QUERIES.get(kind, "dinner"), user="nobody")
    assert said.memories == []
    if TASKS[kind].labels:
        assert said.answer in TASKS[kind].labels


# LM calls of one query: to choose, and to answer (a choice is asked in both orders)
CALLS = {
    "majority": (0, 0),
    "zero-shot": (0, 0),
    "knn": (0, 0),
    "non-personalized": (0, 1),
    "icl": (0, 1),
    "rag": (0, 1),
    "pag": (0, 1),
    "react": (3, 1),
    "membank": (0, 1),
    "lora": (0, 1),
    "personaagent-paper": (1, 1),
    "personaagent": (0, 1),
    "personaagent-without-alignment": (1, 1),
    "personaagent-without-persona": (1, 1),
    "personaagent-without-memory": (0, 1),
    "personaagent-without-action": (0, 1),
    "personaagent-without-habit": (0, 1),
    "personaagent-without-lean": (0, 1),
    "personaagent-without-meanings": (0, 1),
    "personaagent-swapped": (0, 1),
}


@pytest.mark.parametrize(("name", "kind"), EVERYONE)
def test_what_a_query_costs(tmp_path, name, kind):
    with asking(tmp_path / "it", name, kind, *seen(kind)) as (system, rules, ask):
        if prepare := getattr(system, "prepare", None):
            prepare("ann", before=NOON, exclude=("excluded-1", "excluded-2"))
        prepared = len(rules.asked)
        assert (prepared > 0) == (name in ("pag", "react", "membank"))
        for _ in range(2):
            asked = len(rules.asked)
            ask()
            choosing, answering = CALLS[name]
            cost = choosing + answering * (2 if kind == "choice" else 1)
            assert len(rules.asked) - asked == cost


def test_every_system_that_can_be_named_is_tested_here():
    assert list(CALLS) == list(SYSTEMS)


@pytest.mark.parametrize("name", ["icl", "rag", "pag", "membank", "personaagent"])
def test_k_is_how_many_memories_are_shown(memory, name):
    with dspy.context(lm=stand_in(book("labels"))):
        one = SYSTEMS[name](INBOX, memory, PERSONAS, k=1)(query="dog", user="ann")
        two = SYSTEMS[name](INBOX, memory, PERSONAS, k=2)(query="dog", user="ann")
    assert (len(one.memories), len(two.memories)) == (1, 2)


@pytest.mark.parametrize("name", ["react", "personaagent-without-alignment"])
def test_general_tools_go_to_every_system_that_has_tools(memory, name):
    def weather() -> str:
        """Tell the weather."""
        return "It is sunny."

    look = {"next_thought": "Look.", "tool": "weather"}
    rules = RuleBook(INBOX, says={"step": look, "actions": [{"tool": "weather"}]})
    with dspy.context(lm=stand_in(rules)):
        system = SYSTEMS[name](INBOX, memory, PERSONAS, tools=[dspy.Tool(weather)])
        said = system(query="dog", user="ann")
    assert "It is sunny." in rules.of("labels")[0].text
    assert said.actions[0] == Action("weather")
