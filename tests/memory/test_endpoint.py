from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest
from loopback import answering
from worlds import interaction

from personaagent.errors import EmbeddingError
from personaagent.memory import (
    EndpointEmbedder,
    EpisodicMemory,
    SentenceEmbedder,
    Store,
    endpoint,
    named_embedder,
)


@dataclass
class Server:
    """An embeddings endpoint on localhost: a text's vector counts its letters a, b, c and the rest.

    Attributes:
        most: texts that it takes at once.
        longest: letters that its model reads.
        answers: what it says to the next requests instead: a status, and headers.
        asked: (path, body, authorization) of the requests.
    """

    most: int = 1_000
    longest: int = 10_000
    dimensions: int = 4
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    base: str = ""

    def reply(self, texts: list[str]) -> tuple[int, dict[str, Any]]:
        if len(texts) > self.most:
            return 422, {"error": f"batch size {len(texts)} > maximum allowed {self.most}"}
        if any(not text or len(text) > self.longest for text in texts):
            return 400, {"error": "the input is empty or too long for the model"}
        rows = [{"index": n, "embedding": self.vector(text)} for n, text in enumerate(texts)]
        return 200, {"data": rows[::-1]}

    def vector(self, text: str) -> list[float]:
        counts = [text.count(letter) for letter in "abc"]
        return [*counts, len(text) - sum(counts) + 1, *[0] * (self.dimensions - 4)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("API_BASE", "API_KEY", "DIMENSIONS"):
        monkeypatch.delenv(f"PERSONAAGENT_EMBEDDER_{name}", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    known = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # an answer in one packet

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known.asked.append((self.path, body, self.headers.get("Authorization", "")))
            status, headers = known.answers.pop(0) if known.answers else (0, {})
            if status:
                said: dict[str, Any] = {"error": f"no, {known.asked[-1][2]}"}
            else:
                status, said = known.reply(body["input"])
            data = json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with answering(Handler) as address:
        known.base = f"{address}/v1"
        yield known


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, of no length."""
    pauses: list[float] = []
    monkeypatch.setattr(endpoint.time, "sleep", pauses.append)
    return pauses


def unit(server: Server, texts: list[str]) -> Any:
    vectors = np.array([server.vector(text) for text in texts], dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_vectors_are_normalised_and_in_the_order_of_their_texts(server: Server) -> None:
    texts = [f"{'a' * (n % 7)}{'b' * (n % 5)}{'c' * (n % 3)}" for n in range(500)]
    embedder = EndpointEmbedder("openai/tiny", api_base=server.base, api_key="key")
    vectors = embedder.encode(texts)
    np.testing.assert_allclose(vectors, unit(server, [text or " " for text in texts]), atol=1e-6)
    assert vectors.dtype == np.float32
    assert embedder.fingerprint == f"tiny@{server.base}:4"
    assert embedder.encode([]).shape == (0, 4)
    path, body, authorization = server.asked[-1]
    assert (path, body["model"], authorization) == ("/v1/embeddings", "tiny", "Bearer key")
    assert max(len(body["input"]) for _, body, _ in server.asked) == 128


def test_a_server_that_takes_fewer_texts_at_once_gets_fewer_from_then_on(server: Server) -> None:
    server.most = 32
    embedder = EndpointEmbedder("tiny", api_base=server.base)
    texts = ["a" * (n % 9 + 1) for n in range(300)]
    np.testing.assert_allclose(embedder.encode(texts), unit(server, texts), atol=1e-6)
    refused = len(server.asked)
    server.asked.clear()
    embedder.encode(texts)
    assert len(server.asked) == 10 < refused
    assert max(len(body["input"]) for _, body, _ in server.asked) == 32


def test_a_text_too_long_for_the_model_is_embedded_by_its_beginning_and_slows_no_other(
    server: Server,
) -> None:
    server.longest = 1_000
    embedder = EndpointEmbedder("tiny", api_base=server.base)
    texts = [*["a"] * 100, "b" * 1_500 + "c" * 1_500, *["c"] * 27]
    seen = [*texts[:100], "b" * 750, *texts[101:]]
    np.testing.assert_allclose(embedder.encode(texts), unit(server, seen), atol=1e-6)
    server.asked.clear()
    embedder.encode(["a"] * 128)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_pass_is_asked_again_when_the_server_says(
    server: Server, slept: list[float], status: int
) -> None:
    server.answers = [(status, {"Retry-After": "7"}), (status, {})]
    assert EndpointEmbedder("tiny", api_base=server.base).encode(["a"]).shape == (1, 4)
    assert slept == [7.0, 2.0]


def test_a_server_that_stays_down_is_named_sooner_where_a_query_waits(
    server: Server, slept: list[float]
) -> None:
    embedder = EndpointEmbedder("tiny", api_base=server.base)
    assert embedder.dimensions == 4
    for texts, pauses in (["a"], [1.0, 2.0]), (["a", "b"], [1.0, 2.0, 4.0, 8.0, 16.0]):
        server.answers = [(503, {})] * (1 + len(pauses))
        told = rf"127\.0\.0\.1.*'tiny'.*503.*{1 + len(pauses)} attempts.*goes on"
        slept.clear()
        with pytest.raises(EmbeddingError, match=told):
            embedder.encode(texts)
        assert slept == pauses
    with pytest.raises(EmbeddingError, match="cannot be reached"):
        EndpointEmbedder("tiny", api_base="http://127.0.0.1:9/v1").encode(["a"])


def test_a_refusal_is_told_without_the_key(server: Server) -> None:
    server.answers = [(401, {})]
    with pytest.raises(EmbeddingError, match=r"401.*no, Bearer \*\*\*") as refused:
        EndpointEmbedder("tiny", api_base=server.base, api_key="hidden").encode(["a"])
    assert "hidden" not in str(refused.value)
    assert len(server.asked) == 1


def test_another_model_under_the_same_name_is_refused(server: Server) -> None:
    embedder = EndpointEmbedder("tiny", api_base=server.base)
    embedder.encode(["a"])
    server.dimensions = 6
    with pytest.raises(EmbeddingError, match="vectors of 6 numbers, and before of 4"):
        embedder.encode(["a"])


@pytest.mark.parametrize(
    "reply",
    [
        lambda texts: (200, {"data": []}),
        lambda texts: (200, ["nothing"]),
        lambda texts: (200, {"data": [{"index": 0, "embedding": None}] * len(texts)}),
        lambda texts: (200, {"data": [{"index": 0, "embedding": [0.0, 0.0]}] * len(texts)}),
    ],
)
def test_an_answer_that_is_no_vectors_is_refused(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    reply: Callable[[list[str]], tuple[int, Any]],
) -> None:
    monkeypatch.setattr(server, "reply", reply)
    with pytest.raises(EmbeddingError, match=r"no vectors for 1 texts|without a direction"):
        EndpointEmbedder("tiny", api_base=server.base).encode(["a"])


def test_the_environment_names_the_endpoint_of_every_command(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(named_embedder(), SentenceEmbedder)
    monkeypatch.setenv("PERSONAAGENT_EMBEDDER", "openai/tiny")
    monkeypatch.setenv("PERSONAAGENT_EMBEDDER_API_BASE", server.base)
    monkeypatch.setenv("PERSONAAGENT_EMBEDDER_API_KEY", "mine")
    monkeypatch.setenv("PERSONAAGENT_EMBEDDER_DIMENSIONS", "4")
    assert named_embedder().encode(["a"]).shape == (1, 4)
    _, body, authorization = server.asked[-1]
    assert (body["dimensions"], authorization) == (4, "Bearer mine")
    monkeypatch.setenv("PERSONAAGENT_EMBEDDER_DIMENSIONS", "many")
    with pytest.raises(EmbeddingError, match="'many': it is a whole number"):
        named_embedder()


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("ftp://host/v1", "no.* http"),
        ("host/v1", "no.* http"),
        ("http://me:secret@host/v1", "not in the address"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_secret(address: str, problem: str) -> None:
    with pytest.raises(EmbeddingError, match=problem) as refused:
        EndpointEmbedder("tiny", api_base=address)
    assert "secret@" not in str(refused.value)


def test_memory_embeds_once_and_recalls_by_an_endpoint(server: Server, store: Store) -> None:
    memory = EpisodicMemory(store, EndpointEmbedder("tiny", api_base=server.base))
    memory.add(interaction(n, query=text) for n, text in enumerate(["aaaa", "bbbb", "cccc"]))
    assert memory.recall("ann", "bb", 1)[0].interaction.query == "bbbb"
    asked = len(server.asked)
    again = EpisodicMemory(store, EndpointEmbedder("tiny", api_base=server.base))
    assert again.recall("ann", "bb", 1)[0].interaction.query == "bbbb"
    assert len(server.asked) == asked + 2  # the dimensions, and the query
