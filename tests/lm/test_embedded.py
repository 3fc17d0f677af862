"""The engine and its threads on a stand-in for llama.cpp's server."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from dspy import lm15

from personaagent.lm import llama
from personaagent.lm.embedded import EmbeddedEngine, from_chunks, to_chat
from personaagent.lm.llama import Llama, Stopped


def chunk(**delta):
    return {"id": "1", "choices": [{"finish_reason": None, "delta": delta}]}


END = [
    {"id": "1", "choices": [{"finish_reason": "stop", "delta": {}}]},
    {
        "id": "1",
        "choices": [],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 5},
        },
    },
]


class FakeLlama:
    """Streams `tokens`, one every `pause` seconds, until the callback says stop."""

    def __init__(self, tokens=("Hel", "lo"), pause=0.0, error=None):
        self.tokens, self.pause, self.error = tokens, pause, error
        self.bodies, self.running, self.most = [], 0, 0
        self.lock = threading.Lock()

    def handle_chat_completions(self, body, callback):
        if isinstance(self.error, Exception):
            raise self.error
        if self.error:
            callback({"error": self.error})
            return
        with self.lock:
            self.bodies.append(body)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            for token in self.tokens:
                time.sleep(self.pause)
                if callback(chunk(content=token)):
                    return
            for last in END:
                callback(last)
        finally:
            with self.lock:
                self.running -= 1


ENDLESS = ["x"] * 10_000


def request(**config):
    return lm15.Request(
        model="m",
        system="Be brief.",
        messages=(lm15.Message.user("hi"), lm15.Message.assistant("Well, ")),
        config=lm15.Config(**config),
    )


def test_a_request_becomes_a_chat_body_with_the_begun_answer_last():
    schema = {"type": "object", "properties": {"a": {"enum": ["x"]}}}
    body = to_chat(
        request(
            max_tokens=3,
            temperature=0.0,
            top_p=0.9,
            seed=7,
            stop=("!",),
            logprobs=100,
            response_format={"type": "json_schema", "schema": schema, "name": "n", "strict": True},
        )
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Well, "},
    ]
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (3, 0.0, 0.9)
    assert (body["seed"], body["stop"]) == (7, ["!"])
    assert (body["logprobs"], body["top_logprobs"]) == (True, 100)
    assert body["response_format"] == {"type": "json_schema", "json_schema": {"schema": schema}}


def test_what_is_not_asked_for_is_not_sent():
    assert set(to_chat(request())) == {"messages", "cache_prompt"}


def test_images_and_native_tools_are_refused():
    image = lm15.Request(
        model="m",
        messages=(lm15.Message.user(lm15.ImagePart(url="http://x/y.png", media_type="image/png")),),
    )
    tool = lm15.Request(
        model="m",
        messages=(lm15.Message.user("hi"),),
        tools=(lm15.FunctionTool(name="f", description="d", parameters={"type": "object"}),),
    )
    for refused in (image, tool):
        with pytest.raises(lm15.UnsupportedFeatureError):
            to_chat(refused)


def test_chunks_become_a_response_with_usage_and_scores():
    score = {"id": 4, "token": "é", "bytes": [195, 169], "logprob": -0.5}
    scored = chunk(content="é")
    scored["choices"][0]["logprobs"] = {"content": [score | {"top_logprobs": [score]}]}
    response = from_chunks(
        request(logprobs=1), [chunk(role="assistant", content=None), scored, *END]
    )
    assert (response.message.text, response.finish_reason) == ("é", "stop")
    assert (response.usage.input_tokens, response.usage.cache_read_tokens) == (9, 5)
    assert response.logprobs[0].top[0] == lm15.TopLogprob("é", -0.5, (195, 169), 4)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            {"code": 400, "type": "exceed_context_size_error", "message": "m"},
            lm15.ContextLengthError,
        ),
        ({"code": 400, "type": "invalid_request_error", "message": "m"}, lm15.InvalidRequestError),
        ({"code": 503, "type": "unavailable_error", "message": "m"}, lm15.ServerError),
        (ValueError("bad schema"), lm15.InvalidRequestError),
        (RuntimeError("broken"), lm15.ServerError),
    ],
)
def test_failures_are_told_apart(monkeypatch, tmp_path, error, kind):
    monkeypatch.setattr(llama, "_load", lambda path, slots: FakeLlama(error=error))
    with pytest.raises(kind) as info:
        EmbeddedEngine(tmp_path / "a.gguf", timeout=5).complete(request())
    assert type(info.value) is kind


class Tokenizer(BaseHTTPRequestHandler):
    """A letter is a token, and its code the token's id."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, asked["parse_special"]) == ("/tokenize", False)
        answer = {"tokens": [ord(letter) for letter in asked["content"]]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


def test_an_answer_is_held_to_the_tokens_of_a_text(monkeypatch, tmp_path):
    server = FakeLlama()
    monkeypatch.setattr(llama, "_load", lambda path, slots: server)
    with HTTPServer(("127.0.0.1", 0), Tokenizer) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        server.listening_address = f"http://127.0.0.1:{http.server_port}"
        EmbeddedEngine(tmp_path / "a").complete(request(extensions={"held_to": 'a"é'}))
        http.shutdown()
    assert server.bodies[0]["grammar"] == "root ::= <[97]> <[34]> <[233]>"


def test_an_answer_that_cannot_be_held_to_a_text_is_not_given(monkeypatch, tmp_path):
    server = FakeLlama()
    server.listening_address = "http://127.0.0.1:9"
    monkeypatch.setattr(llama, "_load", lambda path, slots: server)
    with pytest.raises(lm15.ServerError, match="could not be split into tokens"):
        EmbeddedEngine(tmp_path / "a").complete(request(extensions={"held_to": "a"}))
    assert not server.bodies


@pytest.mark.parametrize(
    ("said", "cores"), [("1", 1), ("3", 3), ("", None), ("0", None), ("all", None)]
)
def test_it_takes_all_cores_or_as_many_as_it_is_told(monkeypatch, said, cores):
    monkeypatch.delenv("LLAMA_ARG_THREADS")
    everything = llama._usable_cores()
    monkeypatch.setenv("LLAMA_ARG_THREADS", said)
    assert llama._usable_cores() == (cores or everything)


def test_a_model_that_cannot_be_loaded_is_named(monkeypatch):
    def load(path, slots):
        raise RuntimeError("no such architecture")

    monkeypatch.setattr(llama, "_load", load)
    with pytest.raises(lm15.ConfigurationError, match=r"odd\.gguf: cannot be loaded: no such"):
        EmbeddedEngine(Path("odd.gguf")).complete(request())


def test_engines_of_the_same_file_share_one_model_until_it_is_closed(monkeypatch, tmp_path):
    made = []

    def load(path, slots):
        made.append(FakeLlama())
        return made[-1]

    monkeypatch.setattr(llama, "_load", load)
    first, second = EmbeddedEngine(tmp_path / "a", 2), EmbeddedEngine(tmp_path / "a", 2, timeout=9)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda e: e.complete(request()).message.text, [first, second] * 4))
    assert (answers, len(made)) == (["Hello"] * 8, 1)
    EmbeddedEngine(tmp_path / "a", 3).complete(request())
    assert len(made) == 2
    first.close()
    first.close()
    assert second.complete(request()).message.text == "Hello"
    assert len(made) == 3


def test_a_call_that_takes_too_long_is_stopped_and_its_slot_is_free_again():
    server = FakeLlama(ENDLESS, pause=0.01)
    model = Llama(server, slots=1)
    start = time.monotonic()
    with pytest.raises(Stopped, match=r"no answer within 0\.1 s"):
        model.chat({}, timeout=0.1)
    assert time.monotonic() - start < 1
    server.tokens = ("ok",)
    assert model.chat({}, timeout=5)[0]["choices"][0]["delta"]["content"] == "ok"


def test_a_call_that_never_returns_is_a_timeout_and_so_are_those_behind_it():
    server = FakeLlama(("x",), pause=2)  # within one token nothing can stop it
    model = Llama(server, slots=1)
    with pytest.raises(Stopped, match="no answer"):
        model.chat({}, timeout=0.1)
    with pytest.raises(Stopped, match="all slots are busy"):
        model.chat({}, timeout=0.1)


def test_waiting_in_line_is_no_part_of_a_calls_time():
    server = FakeLlama(("x",), pause=0.15)
    model = Llama(server, slots=1)
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(lambda _: model.chat({}, timeout=0.3), range(6)))) == 6
    assert server.most == 1


def test_no_more_calls_run_than_there_are_slots():
    server = FakeLlama(pause=0.02)
    model = Llama(server, slots=2)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: model.chat({}, timeout=5), range(8)))
    assert server.most == 2


def test_closing_stops_what_runs_and_refuses_what_comes():
    model = Llama(FakeLlama(ENDLESS, pause=0.01), slots=1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(model.chat, {}, 5)
        time.sleep(0.1)
        assert model.close(grace=5)
        with pytest.raises(Stopped, match="closed"):
            running.result()
    with pytest.raises(Stopped, match="closed"):
        model.chat({}, timeout=1)


LEAVE = """
import threading, time
from personaagent.lm import llama
class Slow:
    def handle_chat_completions(self, body, callback):
        for _ in range(10_000):
            time.sleep(0.01)
            if callback({"choices": []}): return
llama._load = lambda path, slots: Slow()
model = llama.loaded("x", 1)
threading.Thread(target=model.chat, args=({}, 300), daemon=True).start()
time.sleep(0.2)
"""


def test_the_interpreter_leaves_at_once_while_a_call_runs():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", LEAVE], check=True, timeout=20)
    assert done.returncode == 0
    assert time.monotonic() - start < 10
