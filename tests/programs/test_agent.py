"""PersonaAgent: what it asks the LM, what it lets it see, and what it gives back."""

import asyncio
from datetime import timedelta

import dspy
import pytest
from dspy import lm15
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rulebook import calls, in_turn, stand_in
from worlds_of_mail import DAWN, INBOX, book, mail, remembering

from personaagent.data import Action, Directive, FusionWeights, Persona
from personaagent.errors import BudgetError, DataError, LMError
from personaagent.lm import Budget
from personaagent.programs import PersonaAgent
from personaagent.programs.user_label_prior import named, vote

DOG = Directive("If the message mentions dog, answer travel.", cue="dog", reach=0.4)


def standing(*actions):
    return tuple(Action(*action) for action in actions)


def persona(**fields) -> Persona:
    return Persona("ann", "inbox", **fields)


@pytest.fixture
def agent(memory) -> PersonaAgent:
    return PersonaAgent(INBOX, memory)


def test_an_answer_is_one_of_the_labels_with_a_distribution_over_them(agent):
    with dspy.context(lm=stand_in(book())):
        said = agent(query="flight to the sea", user="ann")
    assert said.answer == "travel"
    assert list(said.distribution) == list(INBOX.labels)
    assert sum(said.distribution.values()) == pytest.approx(1)


def test_half_a_character_in_a_query_is_replaced(agent):
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        agent(query="flight \ud83d to the sea", user="ann")
    assert rules.asked
    assert all("flight \ufffd to the sea" in one.everything for one in rules.asked)


def test_a_user_in_another_form_is_the_same_user(memory):
    mine = Persona("Zo\u00e9", "inbox", profile="Travels.")
    memory.store.of("Zo\u00e9").publish(mine, expected=None, reason="first")
    agent = PersonaAgent(INBOX, memory)
    assert agent.persona_of("Zoe\u0301") == mine
    assert PersonaAgent(INBOX, memory, persona=mine).persona_of("\u200eZoe\u0301 ") == mine
    assert Persona("Zoe\u0301", "inbox", profile="Travels.") == mine


def test_the_persona_is_the_system_message_word_for_word(agent):
    rules = book()
    mine = persona(
        profile="  Odd   spacing,\n\nline breaks and {braces}.",
        directives=(Directive("Never say never."), DOG),
    )
    with dspy.context(lm=stand_in(rules)):
        agent(query="meeting at noon", user="ann", persona=mine)
    assert [one.kind for one in rules.asked] == ["json", "labels"]
    assert {one.system for one in rules.asked} == {mine.standing_prompt()}
    assert not any(DOG.text in one.everything for one in rules.asked)


def test_a_directive_whose_cue_fits_is_shown_and_decides(agent):
    rules = book()
    mine = persona(directives=(DOG,), actions=())
    with dspy.context(lm=stand_in(rules)):
        said = agent(query="dinner dog", user="ann", persona=mine)
        other = agent(query="dinner guests", user="ann", persona=mine)
    assert (said.answer, said.directives) == ("travel", [DOG])
    assert (other.answer, other.directives) == ("family", [])
    assert [DOG.text in one.text for one in rules.asked] == [True, False]


def test_choosing_for_itself_it_asks_the_lm_twice(agent):
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        agent(query="meeting", user="ann")
    assert [one.kind for one in rules.asked] == ["json", "labels"]


def test_standing_actions_cost_no_choosing_call(agent):
    rules = book()
    mine = persona(actions=standing(("recall", {"k": 2}), ("habits", {})))
    with dspy.context(lm=stand_in(rules)):
        said = agent(query="dog", user="ann", persona=mine)
    assert [one.kind for one in rules.asked] == ["labels"]
    assert [one.tool for one in said.actions] == ["recall", "habits"]
    assert {one.interaction.id for one in said.memories} == {"ann-1", "ann-3"}
    assert "dinner with the dog" in rules.asked[0].text


def test_what_the_chosen_actions_found_is_before_the_lm_when_it_answers(agent):
    rules = book(says={"actions": calls(("recall", {"query": "budgets", "k": 1}))})
    with dspy.context(lm=stand_in(rules)):
        said = agent(query="dog", user="ann")
    assert [one.interaction.id for one in said.memories] == ["ann-2"]
    assert "meeting on budgets" in rules.of("labels")[0].text


def test_an_answer_never_sees_the_future_of_its_query_nor_what_is_excluded(agent):
    rules = book(
        says={"actions": calls(("recall", {"query": "dog", "k": 8}), ("habits", {}))},
    )
    noon = DAWN + timedelta(days=3)  # the very moment of ann-3
    with dspy.context(lm=stand_in(rules)):
        trusting = persona(trust=FusionWeights(lm=1.0, habit=0.5))
        said = agent(query="dog", user="ann", before=noon, exclude=("ann-1",), persona=trusting)
    assert [one.interaction.id for one in said.memories] == ["ann-2"]
    seen = "".join(one.everything for one in rules.asked)
    assert "dog walk" not in seen
    assert "dinner with the dog" not in seen
    assert "travel (" not in seen  # neither do they count as habits
    assert said.habit["work"] > max(said.habit["family"], said.habit["travel"])


def test_replaying_a_past_query_hides_its_answer_and_what_came_after(agent, memory):
    rules = book()
    past = memory.store.of("ann").get(["ann-2"])[0]
    with dspy.context(lm=stand_in(rules)):
        said = agent.replay(past, persona(actions=standing(("recall", {"k": 8}))))
    assert [one.interaction.id for one in said.memories] == ["ann-1"]


mentioned = st.sampled_from(["dog", "marker", "ann", "bob", "secret", "x"])
words = st.lists(mentioned, max_size=4).map(" ".join)
chosen = st.lists(
    st.tuples(st.just("recall"), st.fixed_dictionaries({"query": words, "k": st.integers(1, 8)}))
    | st.sampled_from([("habits", {}), ("read_profile", {})]),
    max_size=3,
)


@pytest.fixture(scope="module")
def two_users(tmp_path_factory):
    with remembering(tmp_path_factory.mktemp("two")) as memory:
        for user, mark in (("ann", "QQANN"), ("bob", "QQBOB")):
            memory.add(
                mail(n, f"dog marker secret {mark}{n}", "family" if n % 2 else "work", user)
                for n in range(4)
            )
            memory.store.of(user).publish(
                Persona(
                    user,
                    "inbox",
                    profile=f"Profile {mark}.",
                    directives=(
                        Directive(f"Rule {mark}."),
                        Directive(f"Cue {mark}.", cue=f"dog {mark}", reach=-1.0),
                    ),
                ),
                expected=None,
                reason="test",
            )
        yield memory


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    asker=st.sampled_from(["ann", "bob"]),
    query=words,
    actions=chosen,
    exclude=st.lists(st.sampled_from(["ann-1", "bob-1", "ann-2"])),
    day=st.none() | st.integers(0, 5),
    owner=st.sampled_from(["ann", "bob", None]),
)
def test_nobody_elses_data_is_ever_in_a_request(
    two_users, asker, query, actions, exclude, day, owner
):
    before = None if day is None else DAWN + timedelta(days=day)
    held = two_users.store.of(owner).persona("inbox") if owner else None
    agent = PersonaAgent(INBOX, two_users, persona=held, rounds=2)
    rules = book(says={"actions": in_turn(calls(*actions), [])})
    other = "QQBOB" if asker == "ann" else "QQANN"
    with dspy.context(lm=stand_in(rules)):
        said = agent(query=query or "x", user=asker, before=before, exclude=exclude)
        assert rules.asked
        assert not any(other in one.everything for one in rules.asked)
        assert {memory.interaction.user for memory in said.memories} <= {asker}


@pytest.mark.parametrize("user", ["ann", "carl"])
def test_the_programs_own_persona_is_not_given_to_another_user(memory, user):
    rules = book()
    agent = PersonaAgent(INBOX, memory, persona=Persona("bob", "inbox", profile="BOBS", version=3))
    with dspy.context(lm=stand_in(rules)):
        agent(query="dog", user=user)
        assert not any("BOBS" in one.everything for one in rules.asked)
        agent(query="dog", user="bob")
        assert all("BOBS" in one.everything for one in rules.asked[-2:])


def test_the_calls_persona_goes_before_the_programs_own_and_that_before_the_published(memory):
    rules = book()
    memory.store.of("ann").publish(persona(profile="PUBLISHED"), expected=None, reason="test")
    with dspy.context(lm=stand_in(rules)):
        PersonaAgent(INBOX, memory)(query="dog", user="ann")
        agent = PersonaAgent(INBOX, memory, persona=persona(profile="OWN"))
        agent(query="dog", user="ann")
        said = agent(query="dog", user="ann", persona=persona(profile="GIVEN"))
    for said_of, calls_made in (("PUBLISHED", {0, 1}), ("OWN", {2, 3}), ("GIVEN", {4, 5})):
        assert {at for at, one in enumerate(rules.asked) if said_of in one.system} == calls_made
    assert said.persona == persona(profile="GIVEN").hash


def test_rounds_bound_how_often_actions_are_chosen(memory):
    again = [calls(("recall", {"query": f"dog {n}", "k": 1})) for n in range(9)]
    rules = book(says={"actions": in_turn(*again)})
    with dspy.context(lm=stand_in(rules)):
        said = PersonaAgent(INBOX, memory, rounds=3)(query="dog", user="ann")
    assert [one.kind for one in rules.asked] == ["json"] * 3 + ["labels"]
    assert [one.arguments["query"] for one in said.actions] == ["dog 0", "dog 1", "dog 2"]


def test_choosing_what_was_done_already_ends_the_choosing(memory):
    rules = book(says={"actions": calls(("recall", {"query": "dog", "k": 1}))})
    with dspy.context(lm=stand_in(rules)):
        said = PersonaAgent(INBOX, memory, rounds=5)(query="dog", user="ann")
    assert [one.kind for one in rules.asked] == ["json", "json", "labels"]
    assert len(said.actions) == 1


def test_without_rounds_nothing_is_chosen(memory):
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        said = PersonaAgent(INBOX, memory, rounds=0)(query="dog", user="ann")
    assert [one.kind for one in rules.asked] == ["labels"]
    assert said.actions == []


def test_a_users_own_tool_is_offered_and_called(memory):
    def weather(city: str, days: int = 1) -> str:
        """Tell the weather of a city."""
        return f"Sunny in {city} for {days} days"

    rules = book(says={"actions": calls(("weather", {"city": "Oslo", "days": 2}))})
    agent = PersonaAgent(INBOX, memory, tools=[dspy.Tool(weather)])
    with dspy.context(lm=stand_in(rules)):
        said = agent(query="dog", user="ann")
    choosing, answering = rules.asked
    assert "weather" in choosing.text
    assert "Tell the weather of a city." in choosing.text
    assert "Sunny in Oslo for 2 days" in answering.text
    assert not said.observations[0].failed


def test_weights_fitted_with_another_model_do_not_count_and_that_is_said_once(agent, caplog):
    weights = {"lm": 0.25, "habit": 1.0}
    others, own = (
        persona(actions=(), trust=FusionWeights(**weights, fitted_with=name))
        for name in ("other-7b", "rule-book")
    )
    with dspy.context(lm=stand_in(book(says={"labels": "work"}))):
        alone = agent(query="flight", user="ann", persona=persona(actions=()))
        said, again = (agent(query="flight", user="ann", persona=others) for _ in range(2))
        fitted = agent(query="flight", user="ann", persona=own)
    assert (said.answer, said.distribution) == (alone.answer, alone.distribution)
    assert again.habit is None
    assert fitted.answer == "travel"
    told = [one.message for one in caplog.records if "other-7b" in one.message]
    assert len(told) == 1
    assert "under rule-book" in told[0]
    assert "personaagent compile" in told[0]


def test_a_persona_without_fitted_weights_keeps_its_hash_and_names_no_model():
    plain = persona(trust=FusionWeights(0.5, 0.5))
    assert "fitted_with" not in plain.to_dict()["trust"]
    named = persona(trust=FusionWeights(0.5, 0.5, fitted_with="other-7b"))
    assert Persona.from_dict(named.to_dict()) == named
    assert named.hash != plain.hash


def test_trust_in_habit_can_overrule_the_lm(agent):
    mine = persona(actions=(), trust=FusionWeights(lm=0.25, habit=1.0))
    with dspy.context(lm=stand_in(book())):
        said = agent(query="dinner with the dog", user="ann", persona=mine)
    assert max(said.lm, key=said.lm.get) == "family"
    assert max(said.habit, key=said.habit.get) == "travel"
    assert said.answer == "travel"


def test_a_user_without_memories_is_answered_by_the_lm_and_what_labels_mean(agent, memory):
    mine = Persona("nobody", "inbox", actions=(), trust=FusionWeights(1.0, 1.0))
    with dspy.context(lm=stand_in(book())):
        said = agent(query="flight", user="nobody", persona=mine)
    assert said.answer == "travel"
    assert said.habit == vote(INBOX.labels, [], named(memory, INBOX, "flight"))


def test_a_memory_without_a_response_is_evidence_and_no_vote(agent, memory):
    memory.add([mail(4, "dog paper", "")])
    habitual = FusionWeights(lm=1.0, habit=0.5)
    mine = persona(actions=standing(("recall", {"k": 8}), ("habits", {})), trust=habitual)
    with dspy.context(lm=stand_in(book())):
        said = agent(query="dog paper", user="ann", persona=mine)
    assert set(said.habit) == set(INBOX.labels)
    assert "ann-4" in {memory.interaction.id for memory in said.memories}


def test_sync_and_async_give_the_same(agent):
    rules = book(says={"actions": calls(("recall", {"query": "dog", "k": 2}))})
    with dspy.context(lm=stand_in(rules)):
        one = agent(query="dog", user="ann")
        two = asyncio.run(agent.acall(query="dog", user="ann"))
    assert one.toDict() == two.toDict()
    assert rules.asked[:2] == rules.asked[2:]


def test_observing_twice_is_observing_once_and_other_content_is_refused(agent, memory):
    new = mail(9, "parcel arrived", "work")
    agent.observe(new)
    agent.observe(new)
    assert memory.store.of("ann").count("inbox") == 4
    with pytest.raises(DataError):
        agent.observe(mail(9, "parcel arrived", "family"))
    with dspy.context(lm=stand_in(book())):
        said = agent(
            query="parcel", user="ann", persona=persona(actions=standing(("recall", {"k": 1})))
        )
    assert [one.interaction for one in said.memories] == [new]


@pytest.mark.parametrize("answered", [0, 1])
def test_an_lm_that_fails_is_an_error_and_never_an_answer(agent, answered):
    with (
        dspy.context(lm=stand_in(book(dies_after=answered))),
        pytest.raises(LMError, match="the LM is gone"),
    ):
        agent(query="dog", user="ann")


def test_an_lm_that_hangs_is_an_error_too(agent):
    hanging = book(dies_after=0, failure=lm15.TimeoutError("no answer in 5 s"))
    with dspy.context(lm=stand_in(hanging)), pytest.raises(LMError, match="no answer"):
        agent(query="dog", user="ann")


def test_a_budget_ends_the_call(agent):
    rules = book()
    with (
        dspy.context(lm=stand_in(rules, budget=Budget(calls=1))),
        pytest.raises(BudgetError, match="budget of 1 calls"),
    ):
        agent(query="dog", user="ann")
    assert len(rules.asked) == 1


@pytest.mark.parametrize(
    "nonsense",
    ["no JSON at all", "", {"actions": "recall"}, {"actions": [{"tool": "rm", "path": "/"}]}],
)
def test_actions_in_no_usable_form_are_an_lm_error(agent, nonsense):
    with dspy.context(lm=stand_in(book(says={"json": nonsense}))), pytest.raises(LMError):
        agent(query="dog", user="ann")
