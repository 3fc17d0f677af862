"""First personas of long histories, and how the user writes: judged on replay as anything else."""

import re
from dataclasses import replace

import dspy
import pytest
from aligning import align, content
from rulebook import RuleBook, stand_in
from worlds_of_mail import FILLERS, HABITS, INBOX, book, habitual, mail, remembering

from personaagent.data import Action, Persona, Text
from personaagent.data.style import EXAMPLE, style_items
from personaagent.errors import DataError, LMError
from personaagent.optimizers import AlwaysAccept, PersonaAlignment
from personaagent.optimizers.log import LONGER, STYLE
from personaagent.optimizers.replay import Replay
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent

LONG = habitual(count=72)


def labels(asked, told):
    """Right where the persona says what was counted, else the usual reading."""
    rules = book()
    query = rules.query(asked)
    cue = next((cue for cue in HABITS if cue in query), None)
    sure = told in asked.system
    label = HABITS[cue][0] if cue and sure else rules.reading(replace(asked, system=""))[0]
    return {one: 0.9 if one == label else 0.05 for one in INBOX.labels}


def aligned(folder, history, rules, **options):
    folder.mkdir(exist_ok=True)
    with remembering(folder, *history) as memory:
        return align(PersonaAgent(INBOX, memory), history, rules, **options)


def longer(log):
    return [step for step in log.steps if step.iteration == LONGER]


def test_what_was_counted_of_a_long_history_is_quoted_where_that_does_better(tmp_path):
    rules = book(says={"label": lambda asked: labels(asked, "Share of each folder")})
    log = aligned(tmp_path / "a", LONG, rules, iterations=0)
    (step,) = longer(log)
    assert step.accepted == 0
    assert log.last.profile.startswith("Share of each folder: ")
    assert "“dog”: travel in" in log.last.profile
    assert "(n = " in log.last.profile
    assert log.last_score > log.first_score
    assert log.last.parent == log.first.hash


def test_what_the_lm_writes_with_the_facts_is_a_candidate_too(tmp_path):
    def write(asked):
        counted = "Facts" in asked.text and "share of each folder" in asked.text
        return "Files dogs under travel. Files cars under family." if counted else "Has habits."

    told = "Files dogs under travel."
    rules = book(says={"text": write, "label": lambda asked: labels(asked, told)})
    log = aligned(tmp_path / "a", LONG, rules, iterations=0)
    assert log.last.profile == "Files dogs under travel. Files cars under family."
    (asked,) = (one for one in rules.of("text") if "share of each folder" in one.text)
    assert "at most 118 words" in asked.system  # the budget grows with the history, and is told


def test_where_the_short_profile_is_as_good_the_persona_is_as_without_longer_ones(tmp_path):
    runs = {}
    for name, words in (("today", 0), ("longer", 150)):
        rules = book()
        runs[name] = aligned(tmp_path / name, LONG, rules, longest=words), len(rules.asked)
    (today, few), (log, more) = runs["today"], runs["longer"]
    (step,) = longer(log)
    assert step.accepted is None
    assert log.last == today.last
    assert log.last.hash == today.last.hash
    assert more - few == 1 + 2 * len(log.judged)  # one is written, and two are replayed


def test_a_short_history_is_aligned_as_ever(tmp_path):
    history = habitual(count=36)
    logs = [aligned(tmp_path / str(words), history, book(), longest=words) for words in (0, 150)]
    plain, same = (content(log) for log in logs)
    assert plain["settings"].pop("longest") != same["settings"].pop("longest")
    assert plain == same
    assert not longer(logs[1])


def test_the_papers_acceptance_and_a_published_persona_get_no_longer_profile(tmp_path):
    assert not longer(
        aligned(tmp_path / "a", LONG, book(), iterations=0, acceptance=AlwaysAccept())
    )
    with remembering(tmp_path, *LONG) as memory:
        agent = PersonaAgent(INBOX, memory, persona=Persona("ann", "inbox", "Likes dogs."))
        assert not longer(align(agent, LONG, book(), iterations=0))


def test_it_goes_on_after_the_lm_died(tmp_path):
    rules = book()
    whole = aligned(tmp_path / "a", LONG, rules, iterations=1)
    calls = len(rules.asked)
    record, rules = MemoryWorkLog(), book(dies_after=calls // 3)
    with pytest.raises(LMError):
        aligned(tmp_path / "b", LONG, rules, iterations=1, record=record)
    rules.dies_after = None
    log = aligned(tmp_path / "c", LONG, rules, iterations=1, record=record)
    assert content(log) == content(whole)
    assert len(rules.asked) == calls


def test_what_judges_is_in_no_longer_profile(tmp_path):
    rules = book()
    log = aligned(tmp_path / "a", LONG, rules, iterations=0)
    shown = next(one.text for one in rules.of("text") if "share of each folder" in one.text)
    judges = [one for one in LONG if one.id in log.judged]
    assert judges
    others = {one.query for one in LONG if one.id not in log.judged}
    assert not any(one.query in shown for one in judges if one.query not in others)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("keep", "Likes trains. Takes insulin."),
        ("mask", "Likes trains. Takes [health]."),
        ("leave-out", "Likes trains."),
    ],
)
def test_the_setting_for_what_is_sensitive_holds_for_the_first_profile(tmp_path, policy, said):
    rules = book(says={"text": "Likes trains. Takes insulin."})
    log = aligned(tmp_path / policy, habitual(), rules, iterations=0, sensitive=policy)
    assert log.first.profile == said


def test_secrets_are_shown_to_no_writer_and_are_in_no_profile(tmp_path):
    card = "4111 1111 1111 1111"
    history = [
        mail(n, f"{FILLERS[n % 10]} meeting {card} {n}", "work" if n % 2 else "travel")
        for n in range(60)
    ]
    rules = book(says={"text": f"Pays with {card}. Likes trains."})
    log = aligned(tmp_path / "a", history, rules, iterations=0)
    assert rules.of("text")
    assert not any("4111" in one.text for one in rules.of("text"))
    assert "4111" not in log.last.render()
    assert "Likes trains." in log.first.profile


def test_an_unknown_setting_for_what_is_sensitive_is_refused():
    with pytest.raises(DataError, match=r"sensitive is 'hide'.*keep, mask, leave-out"):
        PersonaAlignment(sensitive="hide")


# How the user writes

REPLIES = Text("inbox", "Write the reply.", item="message")
SAID = ["yep, be there at 8", "sent it just now", "sounds good, noon works", "not really, too long"]


def replies(count):
    return [mail(n, f"Question {n}?", f"{SAID[n % 4]} – Z") for n in range(count)]


def told(folder, history, write, persona=None, **options):
    rules = RuleBook(REPLIES, says={"text": write, "profile": "Casual and friendly.", "rules": []})
    with remembering(folder, *history) as memory:
        given = {} if persona is None else {"persona": persona}
        return align(PersonaAgent(REPLIES, memory, **given), history, rules, **options)


def test_of_four_signed_replies_the_persona_says_sign_off_length_and_form(tmp_path):
    log = told(tmp_path, replies(4), "Use a casual and friendly tone.")
    prompt = log.last.render()
    assert "ends with “– Z”" in prompt
    assert re.search(r"writes \d words, .*in 1 sentence", prompt)
    assert "writes on one line" in prompt
    assert any(f"“{text} – Z”" in prompt for text in SAID)
    judged = set(log.judged)
    assert judged
    assert not judged & {id for one in log.last.items for id in one.support}


def test_a_text_that_is_written_again_is_no_example_of_how_to_write_it(tmp_path):
    history = replies(4)
    items = tuple(one for one in style_items(history) if one.topic == EXAMPLE)
    persona = Persona("ann", "inbox", "Short.", items=items, actions=())
    rules = RuleBook(REPLIES, says={"text": "zzz"})
    with remembering(tmp_path, *history) as memory, dspy.context(lm=stand_in(rules)):
        Replay(PersonaAgent(REPLIES, memory), MemoryWorkLog())(persona, history)
    assert len(items) == 3
    for one in history:
        (asked,) = (each for each in rules.asked if one.query in each.text)
        quoted = {id for item in items for id in item.support if item.text in asked.system}
        assert quoted == {id for item in items for id in item.support} - {one.id}


def test_the_style_is_left_out_where_the_lm_does_worse_with_it(tmp_path):
    history = replies(30)

    def write(asked):
        return "zzz" if "ends with" in asked.system else "yep, be there at 8 – Z"

    log = told(tmp_path, history, write, iterations=0)
    (step,) = (one for one in log.steps if one.iteration == STYLE)
    assert step.accepted == 0
    assert log.first.items
    assert log.last.items == ()


def test_a_published_persona_gets_the_style_where_that_does_better_and_only_once(tmp_path):
    def write(asked):
        return "yep, be there at 8 – Z" if "ends with" in asked.system else "Good evening."

    old = Persona("ann", "inbox", "Casual and friendly.", actions=())
    (tmp_path / "a").mkdir()
    log = told(tmp_path / "a", replies(30), write, old, iterations=0)
    assert [step.accepted for step in log.steps if step.iteration == STYLE] == [0]
    assert "ends with “– Z”" in log.last.render()
    (tmp_path / "b").mkdir()
    again = told(tmp_path / "b", replies(32), write, log.last, iterations=0)
    assert not [step for step in again.steps if step.iteration == STYLE]
    assert again.last.items == log.last.items


@pytest.mark.parametrize(
    ("more", "likelihoods", "k"), [("", False, 4), (" and" * 20, False, 3), (" and" * 20, True, 4)]
)
def test_a_first_persona_of_longer_texts_begins_with_a_few_memories(tmp_path, more, likelihoods, k):
    history = [replace(one, response=f"{one.response}{more}") for one in replies(24)]
    rules = RuleBook(REPLIES, says={"text": "Good evening.", "profile": "P.", "rules": []})
    policies = ((), (Action("recall", {"k": k}),))
    with remembering(tmp_path, *history) as memory:
        lm = stand_in(rules, likelihoods=likelihoods, texts=likelihoods)
        log = align(PersonaAgent(REPLIES, memory), history, lm=lm, iterations=0, policies=policies)
    assert log.first.actions == (policies[1] if more and not likelihoods else ())


def test_no_persona_takes_the_place_of_one_that_spoils_texts_a_little(tmp_path):
    def write(asked):
        if "how this user writes" in asked.system:
            return "Casual and friendly."
        return "yep, be there at 8" + ", said with a bow" * ("Casual" in asked.system)

    history = [mail(n, f"Question {n}?", "yep, be there at 8") for n in range(9)]
    rules = RuleBook(REPLIES, says={"text": write})
    with remembering(tmp_path, *history) as memory:
        lm = stand_in(rules, likelihoods=False)
        log = align(PersonaAgent(REPLIES, memory), history, lm=lm)
    assert "Casual" in log.first.profile
    assert log.last.blank
