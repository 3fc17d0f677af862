"""The real model, in process: what only it can show."""

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import dspy
import pytest

from personaagent.lm import connect, read_answer, read_text

pytestmark = [pytest.mark.lm, pytest.mark.xdist_group("lm"), pytest.mark.timeout(300)]
GENRES = ["comedy", "science fact", "science fiction"]
ASK = f"Choose one label: {', '.join(GENRES)}. Answer with the label only."


@pytest.fixture(scope="module")
def lm():
    pytest.importorskip("xllamacpp")
    lm = connect(cache=False, max_tokens=40)
    yield lm
    lm.engine.close()


class Genre(dspy.Signature):
    """Choose the genre of the film."""

    film: str = dspy.InputField()
    genre: Literal["comedy", "science fact", "science fiction"] = dspy.OutputField()


def test_a_typed_answer_is_parsed_and_the_prompts_beginning_is_cached(lm):
    ask = dspy.Predict(Genre)
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        assert ask(film="Spaceships fight aliens in orbit.").genre == "science fiction"
        with lm.meter.measure() as used:
            assert ask(film="Two clowns fall into a cake.").genre == "comedy"
    assert used.snapshot().calls == 1
    assert used.snapshot().cached_tokens > 50
    assert used.snapshot().money == used.snapshot().unpriced == 0


def test_likelihoods_are_read_and_labels_that_begin_alike_told_apart(lm):
    with lm.meter.measure() as used:
        shares = read_answer(
            lm,
            [{"role": "system", "content": ASK}, {"role": "user", "content": "Aliens attack."}],
            GENRES,
        ).distribution
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["science fiction"] > 2 * shares["science fact"]
    assert used.snapshot().calls == 2
    assert used.snapshot().output_tokens == 2


def test_a_text_is_read_as_likely_as_its_tokens(lm):
    ask = [{"role": "user", "content": "What is the capital of France? One word."}]
    with lm.meter.measure() as used:
        paris = read_text(lm, ask, "Paris")
    assert used.snapshot().calls == 1
    first = read_answer(lm, ask, ["Paris", "Rome"]).distribution
    assert math.exp(paris) == pytest.approx(first["Paris"], abs=0.05)
    assert read_text(lm, ask, "Paris is") < paris
    assert paris > read_text(lm, ask, "Rome") > read_text(lm, ask, "Quartz")
    odd = 'Ünïcode "quoted" \\ back\nslash\t日本 \u200b😀'
    assert -500 < read_text(lm, ask, odd) < -50


def test_an_unlikely_text_is_read_by_its_own_tokens(lm):
    """Held to its letters, this LM had the title at -80 nats: it began it by likelier scraps."""
    ask = [{"role": "user", "content": "Name a paper."}]
    title = "Deep residual learning for image recognition"
    whole = read_text(lm, ask, title)
    assert whole > -30
    begun, rest = title[:13], title[13:]
    going_on = read_text(lm, [*ask, {"role": "assistant", "content": begun}], rest)
    assert whole == pytest.approx(read_text(lm, ask, begun) + going_on, abs=0.5)


def test_two_threads_are_answered_at_once(lm):
    def ask(city):
        return lm(f"What is the capital of {city}? One word.", max_tokens=4)[0]

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, ["France", "Italy"]))
    assert "Paris" in answers[0]
    assert "Rome" in answers[1]


def test_a_prompt_that_does_not_fit_is_refused_without_a_retry(lm):
    with pytest.raises(dspy.ContextWindowExceededError, match="8192"):
        lm("x " * 9000)


LEAVE = """
import threading, time
from personaagent.lm import connect
lm = connect(cache=False)
lm("hi", max_tokens=1)
threading.Thread(target=lm, args=("Tell a long story.",), daemon=True).start()
time.sleep(2)
print("leaving")
"""


def test_a_process_leaves_cleanly_in_the_middle_of_a_call():
    pytest.importorskip("xllamacpp")
    done = subprocess.run(
        [sys.executable, "-c", LEAVE], env=os.environ, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr
