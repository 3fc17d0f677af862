"""Texts to vectors by a server: the `Embedder` of an OpenAI-compatible `/v1/embeddings`.

That is where many users' texts are embedded quickly: a server with a graphics card does thousands
a second, a core of ours fifty. Texts are sent in batches, several at once. What a server takes at
once differs, and is found out: a batch that is refused is halved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from personaagent.errors import EmbeddingError
from personaagent.progress import track

if TYPE_CHECKING:
    import httpx

PREFIX = "openai/"
OPENAI = "https://api.openai.com/v1"
_BATCH = 128  # texts of a request, at most
_SLOTS = 8  # requests side by side
_RETRIES = 5  # of a batch
_RETRIES_OF_ONE = 2  # somebody waits for the answer to a query
_LONGEST_PAUSE = 60.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_TOO_MUCH = frozenset({400, 413, 422})  # of texts or of letters; servers differ
_SHORTEST_CUT = 512  # letters that every model reads


class EndpointEmbedder:
    """An embedding model behind an OpenAI-compatible server. Nothing is sent before it is needed.

    A text that is longer than the model reads is embedded by its beginning, as other embedders do.

    Args:
        model: the name under which the server knows it, after "openai/".
        api_base: the server's address with its `/v1`; by default what the environment variable
            PERSONAAGENT_EMBEDDER_API_BASE names, else OpenAI's.
        api_key: by default PERSONAAGENT_EMBEDDER_API_KEY, else OPENAI_API_KEY. A server of one's
            own may need none.
        dimensions: the length that vectors shall have, where the model offers several; by default
            PERSONAAGENT_EMBEDDER_DIMENSIONS, else the model's own.
        timeout: seconds that one attempt may take.

    Raises:
        EmbeddingError: the address is none; on use, the server fails or refuses a text.
    """

    def __init__(
        self,
        model: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        import httpx

        self.model = model.removeprefix(PREFIX)
        given = api_base or os.environ.get("PERSONAAGENT_EMBEDDER_API_BASE") or OPENAI
        base = httpx.URL(given)
        self._shown = str(base.copy_with(username=None, password=None, query=None)).rstrip("/")
        if base.scheme not in ("http", "https") or not base.host:
            raise EmbeddingError(f"embedding endpoint '{self._shown}' is not an http(s) address")
        if base.userinfo:
            raise EmbeddingError(
                f"embedding endpoint '{self._shown}': give the secret as "
                "PERSONAAGENT_EMBEDDER_API_KEY, not in the address"
            )
        self._key = (
            api_key
            or os.environ.get("PERSONAAGENT_EMBEDDER_API_KEY")
            or os.environ.get("OPENAI_API_KEY")
        )
        self._wanted = dimensions or _number(os.environ.get("PERSONAAGENT_EMBEDDER_DIMENSIONS"))
        self._timeout = timeout
        self._batch, self._taken = _BATCH, 0  # texts at once: that are sent, that were taken

    def __repr__(self) -> str:
        return f"EndpointEmbedder({PREFIX + self.model!r}, api_base={self._shown!r})"

    @property
    def fingerprint(self) -> str:
        """Model, address and dimensions: what a server has under a name is its own affair."""
        return f"{self.model}@{self._shown}:{self.dimensions}"

    @cached_property
    def dimensions(self) -> int:
        """The length of a vector; asks the server for one."""
        return len(self._asked(["dimensions"])[0])

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        """L2-normalised vectors [n, d], in the order of the texts."""
        found = np.empty((len(texts), self.dimensions), dtype=np.float32)
        with track("embedding", len(texts), shown=progress) as advance:
            if len(texts) <= self._batch:
                found[:] = self._unit(texts)
                advance(len(texts))
                return found
            parts = list(self._parts(len(texts)))
            with ThreadPoolExecutor(min(_SLOTS, len(parts))) as pool:
                asked = {pool.submit(self._unit, texts[part]): part for part in parts}
                try:
                    for done in as_completed(asked):
                        part = asked[done]
                        found[part] = done.result()
                        advance(part.stop - part.start)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return found

    def _parts(self, count: int) -> Iterator[slice]:
        size = self._batch
        for start in range(0, count, size):
            yield slice(start, min(start + size, count))

    def _unit(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of a batch, [n, d]."""
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        vectors = np.array(self._asked(texts), dtype=np.float32)
        if vectors.shape != (len(texts), self.dimensions):
            raise self._failed(
                f"gave vectors of {vectors.shape[-1]} numbers, and before of {self.dimensions}: "
                "another model serves that name now"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and lengths.all()):
            raise self._failed("gave a vector without a direction")
        vectors /= lengths
        return vectors

    def _asked(self, texts: Sequence[str]) -> list[list[float]]:
        """The server's vectors; of a batch that it refuses in smaller ones."""
        found = self._tried(texts)
        return self._smaller(texts) if found is None else found

    def _smaller(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts that were too much at once."""
        if len(texts) == 1:
            return self._asked([texts[0][: len(texts[0]) // 2]])
        middle = len(texts) // 2
        halves = texts[:middle], texts[middle:]
        tried = [self._tried(half) for half in halves]
        if None not in tried:  # they were too many; else one of them may be too long
            self._batch = max(len(halves[1]), self._taken)
        return [
            vector
            for half, found in zip(halves, tried, strict=True)
            for vector in (self._smaller(half) if found is None else found)
        ]

    def _tried(self, texts: Sequence[str]) -> list[list[float]] | None:
        """The server's vectors; None where less at once may be taken."""
        answer = self._posted([text or " " for text in texts])
        if answer.status_code == 200:
            self._taken = max(self._taken, len(texts))
            return self._read(answer, len(texts))
        less = len(texts) > 1 or len(texts[0]) > _SHORTEST_CUT
        if answer.status_code in _TOO_MUCH and less:
            return None
        raise self._failed(f"answered {answer.status_code}: {self._said(answer)}")

    def _posted(self, texts: list[str]) -> httpx.Response:
        """The answer to a request, asked for again after what may pass."""
        import httpx

        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self._wanted is not None:
            body["dimensions"] = self._wanted
        retries = _RETRIES if len(texts) > 1 else _RETRIES_OF_ONE
        for attempt in range(retries + 1):
            pause = min(2.0**attempt, _LONGEST_PAUSE)
            try:
                answer = self._client.post("embeddings", json=body)
            except httpx.TransportError as error:
                problem = f"cannot be reached ({type(error).__name__}: {error})"
            else:
                if answer.status_code not in _PASSING:
                    return answer
                problem = f"answered {answer.status_code}: {self._said(answer)}"
                with suppress(KeyError, ValueError):  # none, or a date
                    pause = min(max(float(answer.headers["Retry-After"]), 0.0), _LONGEST_PAUSE)
            if attempt < retries:
                time.sleep(pause)
        raise self._failed(f"{problem} ({retries + 1} attempts)")

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return httpx.Client(base_url=self._shown, headers=headers, timeout=self._timeout)

    def _read(self, answer: httpx.Response, count: int) -> list[list[float]]:
        """The vectors in the order of their texts."""
        try:
            vectors = {one["index"]: one["embedding"] for one in answer.json()["data"]}
            found = [[float(value) for value in vectors[n]] for n in range(count)]
        except (ValueError, TypeError, KeyError) as error:
            raise self._failed(
                f"gave no vectors for {count} texts, but: {self._said(answer)}"
            ) from (error)
        if len({len(one) for one in found}) != 1 or not found[0]:
            raise self._failed("gave vectors of several lengths, or empty ones")
        return found

    def _said(self, answer: httpx.Response) -> str:
        said = " ".join(answer.text.split())[:200] or "nothing"
        return said.replace(self._key, "***") if self._key else said

    def _failed(self, problem: str) -> EmbeddingError:
        return EmbeddingError(
            f"embedding endpoint {self._shown} (model '{self.model}') {problem}: check "
            "PERSONAAGENT_EMBEDDER, PERSONAAGENT_EMBEDDER_API_BASE and the key, or look at the "
            "server's log; what was embedded is kept, and the same command goes on"
        )


def _number(given: str | None) -> int | None:
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or not int(given):
        raise EmbeddingError(
            f"PERSONAAGENT_EMBEDDER_DIMENSIONS is '{given}': it is a whole number of at least 1"
        )
    return int(given)
