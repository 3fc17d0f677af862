"""Any OpenAI-compatible server: the right answer comes out, and what was learned is remembered."""

from __future__ import annotations

import json
import logging
import time

import dspy
import pytest
import servers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import CASES, serving

from personaagent.data import Classification, Rating, Text
from personaagent.errors import LMError
from personaagent.lm import connect, read_answer
from personaagent.lm.model import CallError, ContextError
from personaagent.programs import Answerer

INBOX = Classification(
    "inbox",
    "Which folder does this message belong in?",
    labels=("work", "money", "family"),
    item="message",
    answer="folder",
)
LETTER = Text("letter", "Write a letter.", item="topic")
ASKED = [{"role": "user", "content": "Which folder does this message belong in?"}]


@pytest.fixture(autouse=True)
def forgotten(tmp_path, monkeypatch):
    """Nothing is known of any LM."""
    monkeypatch.setenv("PERSONAAGENT_LMS", str(tmp_path / "lms"))


def lm_of(server, **options):
    given = {"cache": False, "retries": 2, "timeout": 20.0, **options}
    return connect("tiny", api_base=server.address, **given)


def answered(server, task=INBOX, query="new tyres", lm=None, **options):
    with dspy.context(lm=lm or lm_of(server, **options)):
        return Answerer(task)(query=query, persona="You are amira.")


@pytest.mark.parametrize("likelihoods", [None, False])
@pytest.mark.parametrize("case", CASES)
def test_the_right_answer_comes_out(case, likelihoods):
    with serving(CASES[case]) as server:
        assert answered(server, likelihoods=likelihoods).answer == "money"


@pytest.mark.parametrize(
    ("case", "learned"),
    [
        ("ignores logprobs", {"alternatives": 0}),
        ("refuses logprobs", {"alternatives": 0}),
        ("at most 5 top_logprobs", {"alternatives": 5}),
        ("at most 1 top_logprobs", {"alternatives": 1}),
        (
            "reasoning model",
            {
                "alternatives": 0,
                "temperature": False,
                "limit": "max_completion_tokens",
                "room": 16384,
            },
        ),
        ("think tags", {"alternatives": 0, "room": 16384}),
        ("a reasoning field", {"alternatives": 0, "room": 16384}),
        ("no system role", {"system": False}),
    ],
)
def test_what_an_lm_cannot_do_is_learned_once_said_once_and_known_to_the_next_process(
    case, learned, caplog
):
    with serving(CASES[case]) as server, caplog.at_level(logging.WARNING):
        answered(server)
        said = [one for one in caplog.messages if one.startswith("tiny: ")]
        assert len(said) == len(set(said)) >= 1
        caplog.clear()
        server.seen = 0
        answered(server, lm=(again := lm_of(server)))
        table = {name: (value, source) for name, value, source in again.known.table()}
        assert {name: table[name] for name in learned} == {
            name: (value, "learned") for name, value in learned.items()
        }
        assert server.seen == 1
        assert not [one for one in caplog.messages if one.startswith("tiny: ")]


def test_a_form_that_is_refused_steps_down_and_the_schema_is_told_in_words():
    for case, form in (("no json_schema", "json_object"), ("no response_format", "none")):
        with serving(CASES[case]) as server:
            lm = lm_of(server, likelihoods=False)
            assert answered(server, lm=lm).answer == "money"
            assert lm.capabilities.form == form
            assert '"enum":["work","money","family"]' in servers.text_of(
                server.bodies[-1]["messages"][-1]
            )


def test_what_was_learned_is_forgotten_after_a_week(tmp_path):
    with serving(CASES["refuses logprobs"]) as server:
        answered(server)
        (file,) = (tmp_path / "lms").glob("*.json")
        content = json.loads(file.read_text())
        content["learned"]["alternatives"][1] = "2020-01-01T00:00:00+00:00"
        file.write_text(json.dumps(content))
        assert lm_of(server).capabilities.alternatives == 20


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"fingerprint": 1}', "\x00"])
def test_a_torn_memory_of_an_lm_is_no_memory(tmp_path, torn):
    with serving(CASES["refuses logprobs"]) as server:
        answered(server)
        (file,) = (tmp_path / "lms").glob("*.json")
        file.write_text(torn)
        assert answered(server).answer == "money"


def test_an_option_says_it_beforehand():
    with serving(servers.plain) as server:
        assert answered(server, likelihoods=False).distribution is None
        assert "logprobs" not in server.bodies[0]
    with serving(servers.reasoning) as server:
        answered(server, reasoning=True, max_output=5000)
        assert {body.get("logprobs") for body in server.bodies} == {None}
        assert server.bodies[-1]["max_completion_tokens"] == 5000


def test_parallel_calls_learn_of_one_refusal_together():
    from concurrent.futures import ThreadPoolExecutor

    with serving(CASES["refuses logprobs"]) as server:
        lm = lm_of(server)
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda _: read_answer(lm, ASKED, INBOX.labels).label, range(24))
        assert set(found) == {"money"}
        assert lm.meter.snapshot().failed == 0


@pytest.mark.parametrize(
    "pieces",
    [["家"], [b"\xe5\xae", b"\xb6"], [b"\xe5", b"\xae\xb6"], ["「", "家"]],
)
def test_a_label_is_told_apart_by_parts_of_its_characters(pieces):
    labels = ("家", "工作", "宇宙")  # the first and the last begin with the same byte
    content = []
    for piece in pieces:
        raw = piece if isinstance(piece, bytes) else piece.encode()
        token = {"token": raw.decode("utf-8", "replace"), "logprob": -0.1, "bytes": list(raw)}
        content.append({**token, "top_logprobs": [token]})

    def behave(server, body):
        logprobs = {"content": content} if body.get("logprobs") else None
        return servers.completion(body, "家", logprobs=logprobs)

    with serving(behave, right="家") as server:
        read = read_answer(lm_of(server), ASKED, labels)
    assert read.label == "家"
    assert max(read.distribution, key=read.distribution.get) == "家"


@pytest.mark.parametrize(
    ("pieces", "right"), [(["1"], "1"), (["10"], "10"), (["1", "0"], "10"), (["Ġ1", "0"], "10")]
)
def test_a_number_is_not_a_longer_one_that_begins_alike(pieces, right):
    stars = Rating("stars", "How many stars?", low=1, high=10)
    logprobs = servers.tokens(pieces, give=False)

    def behave(server, body):
        return servers.completion(body, right, logprobs=logprobs if body.get("logprobs") else None)

    with serving(behave, right=right) as server:
        assert answered(server, stars).answer == right


def test_likelihoods_that_lead_elsewhere_than_what_was_written_do_not_count():
    """Of a chatty answer the first token ("The") begins a label, which the LM did not say."""
    labels = ("the office", "money")
    logprobs = servers.tokens(["The", " best", " folder", " is", " money", "."])

    def behave(server, body):
        said = "The best folder is money."
        return servers.completion(body, said, logprobs=logprobs if body.get("logprobs") else None)

    with serving(behave) as server:
        read = read_answer(lm_of(server), ASKED, labels)
    assert (read.distribution, read.label) == (None, "money")


def test_a_thought_without_an_end_is_an_error_that_says_so():
    with serving(servers.never_ends_its_thought) as server:
        with pytest.raises(LMError, match=r"cut in the middle of its thought.*--max-output"):
            answered(server)
        assert len(server.bodies) <= 4


@pytest.mark.parametrize(
    "text",
    [
        "<think>Is it a letter?</think>Dear all,",
        "Is it a letter?\n</think>\n\nDear all,",
        "[THINK]A letter.[/THINK]Dear all,",
        "<|channel|>analysis<|message|>A letter.<|end|><|start|>assistant<|channel|>final"
        "<|message|>Dear all,",
    ],
)
def test_of_free_text_the_thought_is_never_the_answer(text):
    with serving(lambda server, body: servers.completion(body, text)) as server:
        assert answered(server, LETTER, "delays").answer == "Dear all,"


def test_an_answer_that_is_not_unmistakable_is_an_error_that_quotes_it():
    with serving(servers.rambling) as server:
        with pytest.raises(LMError, match="Either money or family"):
            answered(server)
        assert len(server.bodies) == 2


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
@pytest.mark.parametrize("content", ["", None])
def test_an_empty_answer_is_tried_once_more_and_then_an_error_with_its_reason(reason, content):
    with serving(servers.empty(reason, then_right=False, content=content)) as server:
        with pytest.raises(LMError, match=reason):
            answered(server, likelihoods=False)
        assert 2 <= len(server.bodies) <= 3


def test_an_exhausted_quota_ends_at_once():
    with serving(servers.out_of_quota) as server:
        with pytest.raises(LMError, match="quota"):
            answered(server)
        assert len(server.bodies) == 1


def test_a_rate_limit_is_waited_for_as_long_as_the_server_says():
    with serving(servers.rate_limited(as_date=True)) as server:
        lm, before = lm_of(server), time.monotonic()
        assert answered(server, lm=lm).answer == "money"
        assert lm.meter.snapshot().retries == 1
        assert time.monotonic() - before < 10


@pytest.mark.parametrize("usage", [..., None, {}, {"prompt_tokens": None}])
def test_tokens_that_nobody_counted_are_metered_as_unknown(usage):
    with serving(servers.uncounted(usage)) as server:
        answered(server, lm=(lm := lm_of(server)))
    used = lm.meter.snapshot()
    assert (used.calls, used.unmetered, used.tokens) == (1, 1, 0)


def test_thought_is_metered():
    with serving(servers.reasoning) as server:
        answered(server, lm=(lm := lm_of(server)))
    used = lm.meter.snapshot()
    assert used.thought_tokens >= 300
    assert 0 < used.thought_seconds <= used.seconds


@pytest.mark.parametrize("as_llama", [True, False])
def test_a_prompt_that_does_not_fit_is_a_context_error(as_llama):
    with serving(servers.small_context(10, as_llama=as_llama)) as server:
        lm = lm_of(server)
        with pytest.raises(ContextError, match="shorten the prompt"):
            lm("Which folder does this message belong in?")
    assert lm.capabilities.context == (None if as_llama else 10)


class TestFallback:
    def test_another_lm_answers_while_the_first_is_down(self, caplog):
        with serving(servers.down) as first, serving(servers.plain) as second:
            lm = lm_of(first, retries=0, fallback="other", fallback_api_base=second.address)
            for _ in range(3):
                assert answered(first, lm=lm).answer == "money"
        used = lm.meter.snapshot()
        assert (used.fallbacks, used.failed) == (3, 1)
        assert first.seen == 1  # then it is left alone for a while
        assert len([one for one in caplog.messages if "other answers instead" in one]) == 1

    def test_out_of_quota_is_down_and_a_wrong_request_is_not(self):
        def wrong(server, body):
            raise servers.Refusal(400, "messages: too many vegetables")

        with serving(servers.out_of_quota) as first, serving(servers.plain) as second:
            lm = lm_of(first, fallback="other", fallback_api_base=second.address)
            assert answered(first, lm=lm).answer == "money"
        with serving(wrong) as first, serving(servers.plain) as second:
            lm = lm_of(first, fallback="other", fallback_api_base=second.address)
            with pytest.raises(CallError, match="vegetables"):
                answered(first, lm=lm)
            assert second.seen == 0

    async def _ask(self, lm):
        return await lm.acall("Which folder does this message belong in?")

    def test_it_answers_where_it_is_awaited_too(self):
        import asyncio

        with serving(servers.down) as first, serving(servers.plain) as second:
            lm = lm_of(first, retries=0, fallback="other", fallback_api_base=second.address)
            assert asyncio.run(self._ask(lm)) == ["money"]

    def test_it_has_capabilities_of_its_own(self):
        with serving(servers.down) as first, serving(servers.refuses_logprobs) as second:
            lm = lm_of(first, retries=0, fallback="other", fallback_api_base=second.address)
            assert answered(first, lm=lm).answer == "money"
            assert lm.fallback.capabilities.alternatives == 0
            assert lm.capabilities.alternatives == 20


PIECES = st.sampled_from(
    [
        "money", "Money", "work", "family", "**", '"', "```", "```json\n", "\n", " ", ".", "{", "}",
        '{"answer": ', "<think>", "</think>", "Sure! ", "The folder is ", "not ", "worker",
        "moneyed", "家", "[1]", "null", "answer: ", "\u200f", "\ud7ff", "10", ",",
    ]
)  # fmt: skip
ANSWERS = st.lists(PIECES, max_size=8).map("".join)
TOKENS = st.sampled_from(["mon", "money", "Ġwork", "fam", "ily", "x", "**", ""])
LOGPROBS = st.lists(st.tuples(TOKENS, st.floats(-9, 0)), max_size=4)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=ANSWERS,
    listed=LOGPROBS,
    reason=st.sampled_from(["stop", "length", None]),
    likelihoods=st.booleans(),
)
def test_no_response_whatsoever_yields_an_answer_that_it_does_not_contain(
    make_lm, text, listed, reason, likelihoods
):
    from dspy import lm15

    top = tuple(lm15.TopLogprob(token, p) for token, p in listed)
    scores = (lm15.TokenLogprob(top[0].token, top[0].logprob, top=top),) if top else None

    class Anything:
        supports_response_schema = True

        def complete(self, request):
            return lm15.Response(
                id=None,
                model=request.model,
                message=lm15.Message.assistant(text),
                finish_reason=reason or "stop",
                usage=lm15.Usage(),
                logprobs=scores if request.config.logprobs is not None else None,
            )

    lm = make_lm(Anything(), retries=0)
    lm.known = type(lm.known)({"alternatives": 20 if likelihoods else 0})
    with dspy.context(lm=lm):
        try:
            answer = Answerer(INBOX)(query="new tyres").answer
        except LMError:
            return
    assert answer in text.lower()
