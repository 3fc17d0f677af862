"""Label likelihoods from scored tokens: properties, shared beginnings, and the second pass."""

import logging
import math

import dspy
import pytest
from dspy import lm15
from dspy.clients.call_result import attributes
from hypothesis import given
from hypothesis import strategies as st
from stand_in import StandIn

from personaagent.lm.likelihood import ambiguities, label_distribution, read_answer


def listed(**probabilities):
    return [{"token": t, "logprob": math.log(p)} for t, p in probabilities.items()]


WORDS = st.text("abc -", min_size=1, max_size=6).map(str.strip).filter(bool)
LABELS = st.lists(WORDS, min_size=1, max_size=6, unique=True)
TOKENS = st.lists(
    st.tuples(st.text("abcABC -", max_size=4), st.floats(-30, 0)), min_size=1, max_size=20
).map(lambda items: [{"token": token, "logprob": logprob} for token, logprob in items])


@given(TOKENS, LABELS)
def test_every_label_has_a_probability_and_they_sum_to_one(tokens, labels):
    shares = label_distribution(tokens, labels)
    if shares is not None:
        assert list(shares) == labels
        assert all(share > 0 for share in shares.values())
        assert math.isclose(sum(shares.values()), 1, rel_tol=1e-9)


@given(TOKENS, LABELS, st.randoms())
def test_the_order_of_labels_does_not_matter(tokens, labels, random):
    other = random.sample(labels, len(labels))
    first, second = label_distribution(tokens, labels), label_distribution(tokens, other)
    assert (first is None) == (second is None)
    for label in labels if first else ():
        assert math.isclose(first[label], second[label], rel_tol=1e-9)


@given(TOKENS, LABELS)
def test_ambiguous_labels_begin_with_their_prefix(tokens, labels):
    for group in ambiguities(tokens, labels):
        assert len(group.labels) > 1
        for label in group.labels:
            assert label.lower().startswith(group.prefix.lower())


def test_tokens_that_begin_a_label_are_summed_without_case_and_space():
    tokens = [*listed(pol=0.3, crime=0.2), *[{"token": " Pol", "logprob": math.log(0.3)}]]
    shares = label_distribution(tokens, ["politics", "crime"])
    assert shares["politics"] == pytest.approx(0.75)


def test_a_token_longer_than_a_label_counts_for_the_longest_label_it_begins_with():
    tokens = [{"token": "10.", "logprob": math.log(0.5)}, {"token": "2", "logprob": math.log(0.1)}]
    shares = label_distribution(tokens, ["1", "10", "2"])
    assert shares["10"] > 0.7


def test_an_exact_label_wins_over_one_that_begins_it():
    shares = label_distribution(listed(**{"10": 0.6, "2": 0.1}), ["1", "10", "2"])
    assert shares["1"] == shares["2"] == pytest.approx(0.1 / 0.8)


def test_an_unlisted_label_gets_the_floor():
    shares = label_distribution(listed(yes=0.8, zzz=0.1), ["yes", "no"])
    assert shares["no"] == pytest.approx(0.1 / 0.9)


def test_a_shared_token_is_split_equally_and_reported():
    tokens = listed(science=0.6, comedy=0.3)
    labels = ["science fact", "comedy", "science fiction"]
    shares = label_distribution(tokens, labels)
    assert shares == pytest.approx(dict.fromkeys(labels, 1 / 3))
    (group,) = ambiguities(tokens, labels)
    assert (group.prefix, group.labels) == ("science", ("science fact", "science fiction"))
    assert group.mass == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("token", "labels", "prefix"),
    [
        ("based", ["based on a book", "based on a true story"], "based on a"),
        ("sp", ["sports", "spouse"], "sp"),
        ("[", ["[1]", "[2]"], "["),
        ("1", ["1", "10"], "1"),
        ("Action", ["action", "action comedy"], "action"),
    ],
)
def test_a_prefix_ends_where_a_word_or_the_token_ends(token, labels, prefix):
    (group,) = ambiguities(listed(**{token: 0.9}), labels)
    assert group.prefix == prefix


@pytest.mark.parametrize("nothing", [None, [], {"content": []}, listed(maybe=0.9)])
def test_no_listed_label_is_none(nothing):
    assert label_distribution(nothing, ["yes", "no"]) is None


def test_all_the_shapes_that_dspy_returns_are_read():
    top = listed(yes=0.8, no=0.2)
    position = {"token": "yes", "logprob": math.log(0.8), "top_logprobs": top}
    scored = lm15.TokenLogprob(
        "yes", math.log(0.8), top=tuple(lm15.TopLogprob(t["token"], t["logprob"]) for t in top)
    )
    for shape in (top, [position], {"content": [position]}, (scored,)):
        assert label_distribution(shape, ["yes", "no"]) == pytest.approx({"yes": 0.8, "no": 0.2})
    assert label_distribution(attributes({"content": [position]}), ["yes", "no"])["yes"] > 0.7


def test_a_position_without_alternatives_still_tells_its_token():
    bare = lm15.TokenLogprob("yes", math.log(0.8))
    assert label_distribution((bare,), ["yes", "no"]) == pytest.approx({"yes": 0.8, "no": 0.2})


def test_labels_must_be_given():
    with pytest.raises(ValueError, match="at least one"):
        label_distribution(listed(yes=1.0), [])


class Scoring(StandIn):
    """Scores by how the request ends: `{content of the last message: {token: probability}}`."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def complete(self, request):
        self.requests.append(request)
        table = self.table[request.messages[-1].text]
        top = tuple(lm15.TopLogprob(token, math.log(p)) for token, p in table.items())
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(top[0].token),
            finish_reason="length",
            usage=lm15.Usage(input_tokens=5, output_tokens=1),
            logprobs=(lm15.TokenLogprob(top[0].token, top[0].logprob, top=top),),
        )


ASKED = [{"role": "system", "content": "Choose."}, {"role": "user", "content": "film?"}]
SCIENCE = ["comedy", "science fact", "science fiction"]


def test_labels_told_apart_by_the_first_token_take_one_call(make_lm):
    engine = Scoring({"film?": {"comedy": 0.7, "drama": 0.2}})
    shares = read_answer(make_lm(engine), ASKED, ["comedy", "drama"]).distribution
    assert shares == pytest.approx({"comedy": 7 / 9, "drama": 2 / 9})
    (request,) = engine.requests
    assert (request.system, request.config.max_tokens, request.config.logprobs) == ("Choose.", 1, 5)


def test_labels_that_begin_alike_are_told_apart_by_a_second_pass(make_lm):
    table = {"film?": {"science": 0.8, "comedy": 0.2}, "science": {" fiction": 0.9, " fact": 0.1}}
    engine = Scoring(table)
    shares = read_answer(make_lm(engine), ASKED, SCIENCE).distribution
    assert shares["science fiction"] == pytest.approx(0.72 / 1.12, rel=0.01)
    assert len(engine.requests) == 2
    assert engine.requests[1].messages[-1].role == "assistant"


def test_a_label_that_begins_another_has_what_does_not_go_on(make_lm):
    table = {"film?": {"action": 0.9, "x": 0.01}, "action": {"<end>": 0.7, " comedy": 0.3}}
    shares = read_answer(make_lm(Scoring(table)), ASKED, ["action", "action comedy"]).distribution
    assert shares["action"] == pytest.approx(0.7)


def test_little_ambiguous_mass_takes_no_second_pass(make_lm):
    engine = Scoring({"film?": {"comedy": 0.9, "science": 0.04}})
    read_answer(make_lm(engine), ASKED, SCIENCE)
    assert len(engine.requests) == 1


def test_dspys_warning_of_truncation_is_silent_here_and_only_here(make_lm, caplog):
    lm = make_lm(Scoring({"film?": {"comedy": 1.0}}))
    logger = logging.getLogger("dspy.clients.lm")
    logger.addHandler(caplog.handler)
    try:
        read_answer(lm, ASKED, ["comedy", "drama"])
        assert not caplog.records
        lm(dspy.lm15.Request(model=lm.model, messages=(lm15.Message.user("film?"),)))
        assert "truncated" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
