"""llama.cpp in this process: one loaded model per file and number of slots, shared by its users.

A call streams inside the process, because that is the only way to stop one: the callback's answer
ends it after the current token. So a call that takes too long is really over and its slot free,
and the interpreter can leave without pulling the model from under a running thread (which crashes).
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

CONTEXT = 8192
"""Tokens that one slot holds, prompt and answer together."""
GRACE = 30.0
"""Seconds that running calls are given to notice that the process wants to leave."""


class Server(Protocol):
    """What is used of `xllamacpp.Server`; the callback returns whether to stop."""

    @property
    def listening_address(self) -> str: ...

    def handle_chat_completions(self, body: dict[str, Any], callback: Any) -> object: ...


class Stopped(Exception):
    """A call was ended before its answer: it took too long, or the model was closed."""


class Llama:
    """A loaded model with `slots` parallel calls of `CONTEXT` tokens each.

    Loading happens at the first call (seconds, and the file's size in memory). Callers beyond the
    slots wait here, in line, where waiting does not count as their time.
    """

    def __init__(self, server: Server, slots: int) -> None:
        self._server: Server | None = server
        self._free = threading.Semaphore(slots)
        self._changed = threading.Condition()
        self._running = 0
        self._finished = 0

    def chat(self, body: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
        """The chunks of one streamed chat completion; a failure is a chunk with an `error`.

        Args:
            body: the request in OpenAI's chat format.
            timeout: seconds, from the moment that a slot is free.

        Raises:
            Stopped: the time is over, or `close` was called.
            ValueError: llama.cpp refuses the request's form (such as an impossible JSON schema).
        """
        self._wait_in_line(timeout)
        call = _Call(self, {**body, "stream": True, "stream_options": {"include_usage": True}})
        # A daemon: a call that never returns must not keep the interpreter from leaving.
        threading.Thread(target=call.run, name="personaagent-llama", daemon=True).start()
        try:
            if not call.done.wait(timeout):
                raise Stopped(f"no answer within {timeout:g} s")
        finally:
            call.stop.set()
        if call.error is not None:
            raise call.error
        return call.chunks

    def tokens(self, text: str) -> list[int]:
        """The ids of the model's tokens that spell a text, whatever markup it holds.

        Raises:
            Stopped: `close` was called.
            RuntimeError: llama.cpp does not answer.
        """
        server = self.begin()
        try:
            return _tokenize(server.listening_address, text)
        except (OSError, HTTPException, LookupError, ValueError) as error:
            raise RuntimeError(f"the text could not be split into tokens: {error}") from error
        finally:
            self.end()

    def close(self, grace: float = GRACE) -> bool:
        """Stop what runs and let go of the model; whether every call ended within the grace."""
        with self._changed:
            self._server, server = None, self._server
            idle = self._changed.wait_for(lambda: self._running == 0, grace)
        if not idle:
            _KEPT.append(server)  # freeing a model that is computing is a segmentation fault
        return idle

    def _wait_in_line(self, timeout: float) -> None:
        seen = self._finished
        while not self._free.acquire(timeout=timeout):
            if self._finished == seen:
                raise Stopped(f"all slots are busy and no call has ended for {timeout:g} s")
            seen = self._finished

    def begin(self) -> Server:
        """Count a running call in; the model, unless it was closed meanwhile."""
        with self._changed:
            if self._server is None:
                raise Stopped("the model was closed")
            self._running += 1
            return self._server

    def end(self) -> None:
        """Count a running call out."""
        with self._changed:
            self._running -= 1
            self._finished += 1
            self._changed.notify_all()

    def release(self) -> None:
        """Give a slot back."""
        self._free.release()

    @property
    def closed(self) -> bool:
        """Whether the model has been let go of."""
        return self._server is None


class _Call:
    """One call on its own thread: its chunks or its error, once `done` is set."""

    def __init__(self, llama: Llama, body: dict[str, Any]) -> None:
        self._llama, self._body = llama, body
        self.chunks: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.done, self.stop = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            server = self._llama.begin()
            try:
                server.handle_chat_completions(self._body, self._take)
            finally:
                del server
                self._llama.end()
            if self._llama.closed and not self._complete():
                raise Stopped("the model was closed")
        except Exception as error:
            self.error = error
        finally:
            self._llama.release()
            self.done.set()

    def _take(self, chunk: dict[str, Any]) -> bool:
        self.chunks.append(chunk)
        return self.stop.is_set() or self._llama.closed

    def _complete(self) -> bool:
        return bool(self.chunks) and bool(self.chunks[-1].keys() & {"usage", "error"})


def _tokenize(address: str, text: str) -> list[int]:
    """By HTTP, for what a process may ask of its own llama.cpp directly leaves this out."""
    place = urlsplit(address)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=GRACE)
    try:
        body = json.dumps({"content": text, "add_special": False, "parse_special": False})
        connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        tokens: list[int] = json.loads(answer.read())["tokens"]
        return tokens
    finally:
        connection.close()


_LOADED: dict[tuple[Path, int], Llama] = {}
_KEPT: list[Server | None] = []
_LOCK = threading.Lock()


def loaded(path: Path, slots: int) -> Llama:
    """The model of this process for a file and a number of slots, loaded at the first request.

    Raises:
        ImportError: xllamacpp is not installed.
        RuntimeError: llama.cpp cannot load the file.
    """
    with _LOCK:
        llama = _LOADED.get((path, slots))
        if llama is None or llama.closed:
            if not _LOADED:
                atexit.register(_close_all)
            llama = _LOADED[path, slots] = Llama(_load(path, slots), slots)
        return llama


def unload(path: Path, slots: int) -> None:
    """Stop the model's calls and free its memory; the next request loads it again."""
    with _LOCK:
        llama = _LOADED.get((path, slots))
    if llama is not None:
        llama.close()


def _load(path: Path, slots: int) -> Server:
    # With another busy process, OpenMP's spinning makes generation five times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = slots
    params.n_ctx = CONTEXT * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _usable_cores()
    params.verbosity = -1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server: Server = xllamacpp.Server(params)
    return server


def _usable_cores() -> int:
    """All of this process, or as many as the variable of llama.cpp's own server says."""
    if (said := os.environ.get("LLAMA_ARG_THREADS", "")).isdecimal() and int(said):
        return int(said)
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _close_all() -> None:
    """At exit: leave in order, and when a call will not end, leave without the crash."""
    end = time.monotonic() + GRACE
    idle = [llama.close(max(0.0, end - time.monotonic())) for llama in _LOADED.values()]
    if not all(idle):
        sys.stdout.flush()
        sys.stderr.write(
            "personaagent: a call of the embedded LM did not end; leaving without it\n"
        )
        sys.stderr.flush()
        os._exit(1)
