"""Alignment under an LM that tells its answer alone and can criticize, and under a small one."""

import json
import re

import dspy
import pytest
from aligning import align
from rulebook import RuleBook, stand_in
from worlds_of_mail import INBOX, READINGS, book, habitual, mail, remembering

from personaagent.data import Action, Directive, Persona, Text
from personaagent.optimizers import Gradient, Replayed
from personaagent.optimizers.competing import (
    Competing,
    ProseEdits,
    Tally,
    believed,
    judged,
    kind_of,
    sorted_out,
)
from personaagent.optimizers.log import Candidate
from personaagent.optimizers.prequential import CALLS, TRIAL, parted
from personaagent.optimizers.update import Proposal
from personaagent.programs import PersonaAgent, PersonaRewriter
from personaagent.signatures import Edit

LESSON = re.compile(r'^(\d+)\. "(.*)": the assistant answered (\w+), the user (\w+)$', re.M)
DOGS = "If the message mentions dog, answer travel."


class Capable(RuleBook):
    """Follows rules wherever they stand, criticizes in sentences, and edits by the lessons."""

    def words(self, asked):
        if "Critiques:" in asked.text:
            return "Dogs recur."
        return (
            "What mentions a pet is filed by the pet."
            if "The user answered" in asked.text
            else "P."
        )

    def instance(self, asked, schema):
        if "edits" in asked.fields:
            return {"edits": self.edits(asked)}
        return super().instance(asked, schema)

    def edits(self, asked):
        found = {}
        for number, query, said, truth in LESSON.findall(asked.text):
            for word in ("dog", "car"):
                if word in query and said != truth:
                    rule = f"If the message mentions {word}, answer {truth}."
                    if rule not in asked.text:
                        found.setdefault(rule, []).append(int(number))
        return [
            {"action": "add", "rule": 0, "text": rule, "because": numbers}
            for rule, numbers in found.items()
        ]


def learned(memory, history, rules, **options):
    lm = stand_in(rules, likelihoods=False)
    return align(PersonaAgent(INBOX, memory), history, lm=lm, **options)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    history = habitual(count=72)
    with remembering(tmp_path_factory.mktemp("long"), *history) as memory:
        yield memory, history


@pytest.mark.parametrize("seed", range(3))
def test_a_capable_lm_learns_by_edits_in_prose_within_thirty_calls(long, seed):
    memory, history = long
    rules = Capable(INBOX, READINGS)
    log = learned(memory, history, rules, seed=seed)
    assert len(rules.asked) == log.usage["calls"] <= CALLS + TRIAL
    assert {one.text for one in log.last.directives} & {DOGS}
    assert log.last_score > log.first_score
    known = {one.id for one in history} - set(log.judged)
    assert all(one.support and set(one.support) <= known for one in log.last.directives)


def test_the_first_persona_is_written_from_the_older_part_and_the_rest_tests_it(long):
    memory, history = long
    rules = Capable(INBOX, READINGS)
    log = learned(memory, history, rules)
    writing = [one for one in history if one.id not in log.judged]
    older, newer = parted(writing[-60:])
    (profile,) = [one for one in rules.asked if "past answers of the user" in one.text]
    assert all(one.query in profile.text for one in older[-3:])
    assert not any(one.query in profile.text for one in newer)
    tests = [id for step in log.steps for id in step.batch]
    order = [one.id for one in newer]
    assert tests
    assert [order.index(id) for id in tests] == sorted(order.index(id) for id in tests)


def test_how_long_a_first_profile_may_be_goes_by_the_whole_history(tmp_path):
    history = habitual(count=60)
    with remembering(tmp_path, *history) as memory:
        rules = Capable(INBOX, READINGS)
        log = learned(memory, history, rules, iterations=1)
    (profile,) = [one for one in rules.asked if "past answers of the user" in one.text]
    assert len(log.judged) == 8
    assert "at most 102 words" in profile.system  # of 51; the older part alone is 31, and short


def test_nothing_is_shown_to_a_writer_before_it_was_a_test(long):
    memory, history = long
    rules = Capable(INBOX, READINGS)
    log = learned(memory, history, rules)
    newer = [one for one in history if one.id not in log.judged][-20:]
    position = {one.query: at for at, one in enumerate(newer)}
    tested = -1
    for one in rules.asked:
        named = [at for query, at in position.items() if query in one.everything]
        if one.fields == ("answer",):
            tested = max([tested, *named])
        assert all(at <= tested for at in named)


def test_what_is_answered_right_costs_no_critique(long):
    memory, history = long
    usual = [one for one in history if one.response == dict(READINGS).get(one.query.split()[0])]
    rules = Capable(INBOX, READINGS)
    log = learned(memory, usual[-24:], rules)
    assert log.last_score == 1.0
    assert not [one for one in rules.asked if "The user answered" in one.text]
    assert "on all that judges" in log.stopped


def test_an_lm_whose_edits_bring_nothing_keeps_its_persona_within_thirty_calls(long):
    memory, history = long
    bad = {"action": "add", "rule": 0, "text": "Answer work.", "because": [1]}
    rules = book(says={"text": "x", "edits": [bad], "profile": "P.", "rules": []})
    log = learned(memory, history, rules)
    assert log.last.directives == ()
    assert len(rules.asked) <= CALLS + TRIAL
    assert any("no better" in one.reason for step in log.steps for one in step.candidates)


def test_with_an_lm_that_tells_labels_only_a_long_history_begins_with_memories(
    long, agent, history
):
    memory, many = long
    first = learned(memory, many, Capable(INBOX, READINGS)).first
    assert first.profile
    assert first.actions == (Action("recall"),)
    assert learned(agent.memory, history, Capable(INBOX, READINGS)).first.actions == ()
    read = align(PersonaAgent(INBOX, memory), many, lm=stand_in(book()), iterations=0)
    assert read.first.actions == ()


def test_a_critique_sees_task_persona_what_was_found_and_both_answers(agent, history):
    rules = Capable(INBOX, READINGS)
    mine = Persona("ann", "inbox", profile="P.", actions=(Action("recall"),))
    agent.persona.value = mine
    align(agent, history, lm=stand_in(rules, likelihoods=False))
    critique = next(one for one in rules.asked if "The user answered" in one.text)
    for title in ("Task:", "Persona:", "What was looked up and found:", "The assistant answered:"):
        assert title in critique.text
    assert 'the folder for the message: "' in critique.text


def test_a_critique_of_a_text_does_not_show_the_users_own_as_an_example(tmp_path):
    task = Text("inbox", "Write the reply.", item="message")
    past = [mail(n, f"Question {n}?", f"answer {n} is here, Z") for n in range(9)]
    rules = Capable(task, says={"text": "Good evening.", "edits": [], "profile": "P.", "rules": []})
    (tmp_path / "texts").mkdir()
    with remembering(tmp_path / "texts", *past) as memory:
        align(PersonaAgent(task, memory), past, lm=stand_in(rules, likelihoods=False))
    critiques = [one for one in rules.asked if "The user answered" in one.text]
    assert critiques
    for one in critiques:
        persona = one.text.partition("Persona:")[2].partition("The assistant answered:")[0]
        own = one.text.partition("The user answered:")[2].split("\n")[1].strip()
        assert own.startswith("answer")
        assert own not in persona


# Edits


def lesson(n, query, said, truth):
    return Replayed(mail(n, query, truth), said, None, None, 1.0, 0.0, False)


LESSONS = [lesson(1, "dog x", "work", "travel"), lesson(2, "dog y", "work", "travel")]
RIGHT = lesson(3, "meeting", "work", "work")


def proposed(edits, persona=None, again=None):
    """What becomes of an LM's edits; `again` is what it says when it is asked once more."""
    rules = book(says={"edits": edits, "text": "Dogs."})
    if again is not None:
        answers = [edits, again]
        rules.says["edits"] = lambda _: answers.pop(0) if len(answers) > 1 else answers[0]
    persona = persona or Persona("ann", "inbox")
    texts = [Gradient(one.interaction.id, "work", "travel", "Dogs.") for one in LESSONS]
    past = [*LESSONS, RIGHT]
    seen = Proposal(INBOX, persona, LESSONS, texts, [one.interaction for one in past], past)
    rewriter = PersonaRewriter()
    with dspy.context(lm=stand_in(rules, likelihoods=False)):
        found = ProseEdits().propose(seen, rewriter, None)
    return found, rewriter.notes, rules


def edit(action, text="", rule=0, because=(1,)):
    return {"action": action, "rule": rule, "text": text, "because": list(because)}


def test_an_edit_carries_the_interactions_that_speak_for_it():
    ((new,), notes, _) = proposed([edit("add", "Dogs are travel.", because=[1, 2, 9])])
    assert new.directives == (Directive("Dogs are travel.", support=("ann-1", "ann-2")),)
    assert notes == []


def test_what_is_too_long_is_asked_for_once_more_and_never_cut():
    long = "word " * 40
    (found, notes, rules) = proposed([edit("add", long)], again=[edit("add", "Short.")])
    assert [one.text for one in found[0].directives] == ["Short."]
    assert "too long (at most 30 words" in rules.asked[-1].text
    (found, notes, rules) = proposed([edit("add", long)])
    assert (found, len(rules.of("json"))) == ([], 2)
    assert "too long" in notes[0]


def test_a_rule_with_evidence_outlives_an_edit_that_drops_it():
    kept = Directive("Old.", support=("a", "b", "c"))
    gone = Directive("Weak.", support=("a",))
    mine = Persona("ann", "inbox", directives=(kept, gone))
    drops = [edit("drop", rule=1, because=[1, 2]), edit("drop", rule=2, because=[1, 2])]
    ((new,), _, _) = proposed(drops, mine)
    assert [one.text for one in new.directives] == ["Old."]
    assert set(new.directives[0].oppose) == {"ann-1", "ann-2"}


def test_what_was_answered_right_counts_for_the_rules_that_applied():
    cue = Directive("If it mentions cat, answer work.", cue="cat", reach=0.9, support=("a",))
    mine = Persona("ann", "inbox", directives=(Directive("Always.", support=("a",)), cue))
    ((new,), _, _) = proposed([edit("add", "Dogs are travel.")], mine)
    support = {one.text: one.support for one in new.directives}
    assert support["Always."] == ("a", "ann-3") or set(support["Always."]) == {"a", "ann-3"}
    assert support[cue.text] == ("a",)


def test_advice_on_searching_becomes_a_standing_recall_by_those_words(memory):
    ((new,), _, _) = proposed([edit("search", "dog car")])
    assert new.actions == (Action("recall", {"beside": "dog car"}),)
    assert kind_of(Persona("ann", "inbox"), new) == "edits"
    with dspy.context(lm=stand_in(book())):
        agent = PersonaAgent(INBOX, memory)
        plain = Persona("ann", "inbox", actions=(Action("recall"),))
        found = [
            [one.interaction.id for one in agent(query="jade", user="ann", persona=each).memories]
            for each in (new, plain)
        ]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (edit("revise", "X.", rule=4), "no rule 4"),
        (edit("add", ""), "no text"),
        (edit("add", "X.", because=[7]), "No lesson"),
        (edit("search", "a b c d e f"), "search words"),
        (edit("add", "Search memory for dogs."), "kind search"),
        (edit("revise", "Recall what was said.", rule=1), "kind search"),
    ],
)
def test_an_edit_that_cannot_be_taken_says_why(given, problem):
    mine = Persona("ann", "inbox", directives=(Directive("Old.", support=("a",)),))
    taken, refused = sorted_out([Edit(**given)], mine, LESSONS)
    assert taken == []
    assert problem in refused[0]


def test_one_text_that_differs_makes_no_rule_and_one_label_does():
    once, twice = edit("add", "Dogs.", because=[1, 1, 9]), edit("add", "Cats.", because=[1, 2])
    edits, nobody = [Edit(**once), Edit(**twice)], Persona("ann", "inbox")
    assert sorted_out(edits, nobody, LESSONS) == (edits, [])
    taken, refused = sorted_out(edits, nobody, LESSONS, 2)
    assert taken == edits[1:]
    assert refused == ["A new rule needs 2 lessons that speak for it, and names fewer: Dogs."]


@pytest.mark.parametrize(
    ("score", "teaches"), [(1.0, False), (1 - 1 / 9, False), (1 - 2 / 9, True), (0.75, True)]
)
def test_a_rating_of_ten_that_is_off_by_one_is_no_lesson(score, teaches):
    one = Replayed(mail(1, "a film", "7"), "6", {"6": 1.0}, None, 1.0, score, False, stated=True)
    assert one.teaches is teaches


@pytest.mark.parametrize(
    ("present", "written", "kept", "told"),
    [
        ("Short.", "word " * 100, False, "at most two short sentences"),
        ("word " * 120, "other " * 110, True, "in at most 120 words"),
        ("word " * 120, "other " * 200, False, "in at most 120 words"),
    ],
)
def test_a_long_profile_is_rewritten_as_a_long_one(present, written, kept, told):
    rules = book(says={"profile": written, "rules": ["Dogs are travel."]})
    rewriter, old = PersonaRewriter(), Persona("ann", "inbox", profile=present.strip())
    with dspy.context(lm=stand_in(rules, likelihoods=False)):
        new = rewriter(old, [LESSONS[0].interaction], ["Dogs."]).persona
    assert new.profile == (written if kept else present).strip()
    assert [one.text for one in new.directives] == ["Dogs are travel."]
    assert told in rules.asked[0].everything
    assert bool(rewriter.notes) is not kept


# Kinds


def test_an_lm_that_cannot_write_edits_is_asked_for_what_it_can(long):
    """A small LM behind a server without log-probabilities."""
    memory, history = long

    def words(asked):
        lines = [line for line in asked.text.splitlines() if line.startswith("- ")]
        shared = set.intersection(*(set(re.findall("dog|car", line)) for line in lines or [""]))
        return shared.pop() if shared else "nothing"

    rules = book(says={"text": words, "edits": "none", "profile": "P.", "rules": []})
    log = learned(memory, history, rules)
    assert any("did not answer in the form" in note for step in log.steps for note in step.notes)
    tried = [one.persona for step in log.steps for one in step.candidates]
    assert any(rule.cue for one in tried for rule in one.directives)


def test_what_wins_with_an_lm_is_asked_of_it():
    small = Competing(believed(INBOX, likelihoods=True))
    assert small.kinds == ("directive",)  # as it was measured
    capable = Competing(believed(INBOX, likelihoods=False))
    assert capable.kinds == ("edits", "directive", "rewrite")
    capable.known["edits"] += Tally(0, 6)
    assert "edits" not in capable.kinds
    small.known["directive"] += Tally(0, 40)
    assert small.kinds[0] == "edits"


def test_a_kind_counts_once_a_step():
    old = Persona("ann", "inbox", profile="P.")
    made = [
        old.succeed(directives=(Directive("A.", cue="a"),)),
        old.succeed(directives=(Directive("B.", cue="b"),)),
        old.succeed(profile="Q."),
    ]
    candidates = tuple(Candidate(one, 0.0, 0.0, 1, "") for one in made)
    assert judged(old, candidates, 1) == {"directive": Tally(1, 1), "rewrite": Tally(0, 1)}


def test_an_interrupted_run_goes_on_with_what_was_known_when_it_began(agent, history):
    log = align(agent, history, won={"directive": Tally(0, 400)}, iterations=1)
    assert json.dumps(log.to_dict())
    assert all(kind_of(log.first, one.persona) != "directive" for one in log.steps[0].candidates)
