"""The profile, what a replayed query may see, and cues."""

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, mail

from personaagent.data import CHAT, Choice, Text
from personaagent.errors import LMError
from personaagent.programs import GradientWriter, ProfileSummarizer, QueryScope
from personaagent.programs.profile import UserDescriber, words_for
from personaagent.programs.rewriter import LONGEST_CUE, clean


@pytest.mark.parametrize(
    ("count", "calls"), [(0, 0), (1, 1), (10, 1), (11, 3), (40, 5), (100, 11), (101, 13)]
)
def test_a_long_history_is_summarized_chunk_by_chunk(count, calls):
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        said = ProfileSummarizer(chunk=10)(INBOX, habitual(count=count))
    assert len(rules.asked) == calls
    assert bool(said.profile) == bool(count)


def test_every_interaction_is_before_the_lm_once():
    rules, past = book(), habitual(count=25)
    with dspy.context(lm=stand_in(rules)):
        ProfileSummarizer(chunk=10)(INBOX, past)
    shown = "\n".join(one.everything for one in rules.asked)
    assert all(shown.count(f'"{one.query}"') == 1 for one in past)


def test_chunks_of_one_come_to_an_end():
    with dspy.context(lm=stand_in(book())):
        assert ProfileSummarizer(chunk=1)(INBOX, habitual(count=5)).profile


def test_of_texts_a_profile_says_how_the_user_writes_and_of_labels_what_the_user_prefers():
    asked = {}
    for task in (INBOX, Text("inbox", "Write the reply.", item="message")):
        rules = book()
        with dspy.context(lm=stand_in(rules)):
            ProfileSummarizer()(task, habitual(count=4))
            UserDescriber(words=80)(task, habitual(count=4))
        asked[task.name, type(task)] = [one.system for one in rules.asked]
    labels, texts = asked.values()
    assert ["how this user writes" in one for one in labels] == [False, False]
    assert "how this user writes" in texts[0]
    assert "how one user writes" in texts[1]
    assert "at most 80 words" in texts[1]


def test_a_longer_profile_grows_with_the_history_and_sooner_with_texts():
    texts = Text("replies", "Write the reply.")
    choice = Choice("cite", "Which one?", labels=("[1]", "[2]"))
    assert [words_for(INBOX, n) for n in (39, 40, 75, 500)] == [0, 80, 150, 150]
    assert [words_for(texts, n) for n in (9, 10, 25, 500)] == [0, 60, 150, 150]
    assert words_for(choice, 500) == words_for(CHAT, 500) == 0


def test_a_profile_is_one_line():
    with dspy.context(lm=stand_in(book(says={"text": " Likes\n\ndogs. "}))):
        assert ProfileSummarizer()(INBOX, habitual(count=2)).profile == "Likes dogs."


def test_a_gradient_is_about_the_query_and_one_line():
    rules = book(says={"text": "the\ndog"})
    with dspy.context(lm=stand_in(rules)):
        said = GradientWriter()(INBOX, mail(1, "dinner dog", "travel"), "family")
    assert said.gradient == "the dog"
    assert "dinner dog" in rules.asked[0].text


def test_an_lm_that_fails_writes_no_gradient():
    lm = stand_in(book(dies_after=0))
    with dspy.context(lm=lm), pytest.raises(LMError):
        GradientWriter()(INBOX, mail(1, "dinner dog", "travel"), "family")


@given(st.text(max_size=60))
def test_a_cue_is_short_and_on_one_line(said):
    cue = clean(said)
    assert len(cue) <= LONGEST_CUE
    assert cue == cue.strip()
    assert "\n" not in cue


def test_a_cue_is_given_without_its_decoration():
    assert clean(' "The Dog." \n') == "the dog"
    assert clean("all of these texts mention that there is a dog somewhere") == ""


def test_a_replayed_query_sees_neither_itself_nor_what_it_was_made_from():
    past = mail(4, "x", "work", metadata={"stem": "s", "own": "o", "other": "n"})
    seen = QueryScope.replaying(INBOX, past)
    assert (seen.user, seen.query, seen.before) == ("ann", "x", past.time)
    assert set(seen.exclude) == {"ann-4", "s", "o"}
