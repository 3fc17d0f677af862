"""The service from Python: `Client`, and `AsyncClient` whose calls are awaited.

    with Client("http://localhost:8000", key="pa_…", user="amira") as client:
        said = client.answer("The car needs new tyres.")
        client.feedback(said["id"], right=True)

Both have the calls of the REST interface and take and give its JSON: `/docs` of a server describes
every field. A request that failed on its way is sent again under the same idempotency key, so it
does nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import httpx

from personaagent.errors import DataError, PersonaAgentError

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which a request is sent again."""
LONGEST_PAUSE = 30.0
_Http = TypeVar("_Http", httpx.Client, httpx.AsyncClient)


class ServiceError(PersonaAgentError):
    """What a server refused or could not do; `status` is 0 where it cannot be reached."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} (status {status})" if status else detail)
        self.status = status
        self.detail = detail


class _Calls(Generic[_Http]):
    """Every call, as the request that it makes; how that is sent, the two clients decide.

    Args:
        url: the server's address.
        key: of `personaagent keys add`; a server without keys takes none.
        user: whose data, where a call names nobody; a key for one user needs none.
        timeout: seconds that a request may take.
        retries: attempts after the first, where a request fails on its way, or the server is busy.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        key: str | None = None,
        user: str | None = None,
        timeout: float = 300.0,
        retries: int = 2,
    ) -> None:
        self.user = user
        self.retries = retries
        self._settings: dict[str, Any] = {
            "base_url": url.rstrip("/"),
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "timeout": timeout,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings['base_url']!r}, user={self.user!r})"

    _http: _Http

    def _send(self, request: httpx.Request) -> Any:
        raise NotImplementedError

    def _ask(self, method: str, path: str, **parts: Any) -> Any:
        return self._send(self._http.build_request(method, path, **parts))

    # Memory

    def add(
        self,
        query: str,
        response: str,
        *,
        user: str | None = None,
        task: str | None = None,
        **more: Any,
    ) -> Any:
        """Add what a user really answered; `more` are further fields, such as id, time, source."""
        given = {"query": query, "response": response, "task": task, **more}
        return self._post("/v1/interactions", given, user)

    def add_all(self, interactions: Sequence[Mapping[str, Any]]) -> Any:
        """Add up to a thousand interactions, all or none."""
        named = [{"user": self.user, **one} for one in interactions]
        return self._post("/v1/interactions", [_said(one) for one in named])

    def interactions(self, *, user: str | None = None, **only: Any) -> Any:
        """A page of a user's interactions; `only` are task, text, source, before and limit."""
        return self._get("/v1/interactions", user, **only)

    def search(
        self, query: str, *, k: int = 4, user: str | None = None, task: str | None = None
    ) -> Any:
        """The memories that fit a query best, best first."""
        return self._get("/v1/interactions/search", user, query=query, k=k, task=task)

    def delete(self, ids: Collection[str], *, user: str | None = None) -> Any:
        """Erase interactions, and all that was derived from them; the receipt."""
        return self.erase(ids=ids, user=user)

    def quarantine(self, *, user: str | None = None) -> Any:
        """What screening put aside, and why."""
        return self._get("/v1/interactions/quarantine", user)

    def release(self, id: str, *, user: str | None = None) -> Any:
        """Let into memory what was put aside: a person has looked at it."""
        return self._post("/v1/interactions/quarantine/release", {"id": id}, user)

    # Answers

    def answer(
        self,
        query: str,
        *,
        user: str | None = None,
        task: str | None = None,
        trace: bool = False,
        store: bool = True,
    ) -> Any:
        """Answer a query as the user would; `id` is what feedback names the answer by."""
        asked = {"query": query, "task": task, "trace": trace, "store": store}
        return self._post("/v1/answers", asked, user)

    def feedback(self, answer: str, *, user: str | None = None, **said: Any) -> Any:
        """Say what the user made of an answer: right, wrong, edited, click or skip."""
        return self._post("/v1/feedback", {"answer": answer, **said}, user)

    # Personas

    def persona(
        self, *, user: str | None = None, task: str | None = None, version: int | None = None
    ) -> Any:
        """A user's persona."""
        return self._get("/v1/persona", user, task=task, version=version)

    def persona_markdown(
        self, *, user: str | None = None, task: str | None = None, version: int | None = None
    ) -> Any:
        """The same as a text for people."""
        params = self._named({"task": task, "version": version}, user)
        return self._ask("GET", "/v1/persona", params=params, headers={"Accept": "text/markdown"})

    def history(self, *, user: str | None = None, task: str | None = None) -> Any:
        """The versions of a persona, the first one first."""
        return self._get("/v1/persona/history", user, task=task)

    def diff(self, *, user: str | None = None, task: str | None = None, **versions: int) -> Any:
        """What changed from the version `before` to the version `after`."""
        return self._get("/v1/persona/diff", user, task=task, **versions)

    def blame(self, *, user: str | None = None, task: str | None = None) -> Any:
        """Where each item and directive comes from."""
        return self._get("/v1/persona/blame", user, task=task)

    def rollback(self, version: int, *, user: str | None = None, task: str | None = None) -> Any:
        """Return to an earlier version, as a new one."""
        return self._post("/v1/persona/rollback", {"version": version, "task": task}, user)

    def edit(
        self, by: str, *, user: str | None = None, task: str | None = None, **changes: Any
    ) -> Any:
        """Write into a persona: profile, texts by number, add, drop; and of items: items by number,
        add_items, drop_items; `by` is who does."""
        changed = {"by": by, "task": task, **changes}
        return self._post("/v1/persona/edit", changed, user)

    def pin(
        self,
        by: str,
        *,
        directives: Sequence[int] = (),
        profile: bool = False,
        pinned: bool = True,
        user: str | None = None,
        task: str | None = None,
    ) -> Any:
        """Let no alignment change directives or the profile, or (`pinned=False`) let it again."""
        pins = {"directives": list(directives), "profile": profile, "pinned": pinned}
        return self._post("/v1/persona/pin", {"by": by, "task": task, **pins}, user)

    def waiting(self, *, user: str | None = None) -> Any:
        """What waits for approval; of all users where none is named."""
        return self._ask("GET", "/v1/waiting", params=_said({"user": user}))

    def approve(
        self, by: str, *, hash: str | None = None, user: str | None = None, task: str | None = None
    ) -> Any:
        """Publish what waits; with `hash` only the persona that the person has seen."""
        return self._post("/v1/waiting/approve", {"by": by, "hash": hash, "task": task}, user)

    def reject(
        self, by: str, *, hash: str | None = None, user: str | None = None, task: str | None = None
    ) -> Any:
        """Drop what waits."""
        return self._post("/v1/waiting/reject", {"by": by, "hash": hash, "task": task}, user)

    # Alignments

    def align(self, *, user: str | None = None, task: str | None = None) -> Any:
        """Queue an alignment."""
        return self._post("/v1/alignments", {"task": task}, user)

    def alignments(self, *, user: str | None = None) -> Any:
        """The alignments that are due or under way; of all users where none is named."""
        return self._ask("GET", "/v1/alignments", params=_said({"user": user}))

    # Users

    def users(self) -> Any:
        """The users with interactions, of those that the key reaches."""
        return self._ask("GET", "/v1/users")

    def tasks(self) -> Any:
        """The tasks that the server knows."""
        return self._ask("GET", "/v1/tasks")

    def export(self, *, user: str | None = None) -> Any:
        """All data of a user, as the text of a file that `personaagent import` reads."""
        return self._get("/v1/export", user)

    def erase(
        self,
        *,
        user: str | None = None,
        ids: Collection[str] = (),
        source: str | None = None,
        everything: bool = False,
    ) -> Any:
        """Erase interactions by ids, by source, or everything of a user; the receipt."""
        wanted = {"ids": list(ids), "source": source, "everything": everything}
        return self._post("/v1/erasures", wanted, user)

    def _named(self, values: Mapping[str, Any], user: str | None) -> dict[str, Any]:
        return _said({**values, "user": self.user if user is None else user})

    def _get(self, path: str, user: str | None, **params: Any) -> Any:
        return self._ask("GET", path, params=self._named(params, user))

    def _post(self, path: str, body: Any, user: str | None = None) -> Any:
        whole = self._named(body, user) if isinstance(body, dict) else body
        once = {"Idempotency-Key": uuid.uuid4().hex}
        return self._ask("POST", path, json=whole, headers=once)

    def _watching(self, user: str | None, task: str | None) -> tuple[str, str, dict[str, Any]]:
        return "GET", "/v1/alignments/events", self._named({"task": task}, user)

    def _pause(self, attempt: int, answer: httpx.Response | Exception) -> float | None:
        """Seconds until a request is sent again; None where it is not."""
        hint = ""
        if isinstance(answer, httpx.Response):
            if answer.status_code not in AGAIN:
                return None
            hint = answer.headers.get("retry-after", "")
        if attempt >= self.retries:
            return None
        wait = float(hint) if hint.isdigit() else 0.5 * 2.0**attempt
        return min(wait, LONGEST_PAUSE)


class Client(_Calls[httpx.Client]):
    """The service, with calls that wait."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._http = httpx.Client(**self._settings)

    def _send(self, request: httpx.Request) -> Any:
        answer: httpx.Response | Exception
        attempt = 0
        while True:
            try:
                answer = self._http.send(request)
            except httpx.TransportError as error:
                answer = error
            if (wait := self._pause(attempt, answer)) is None:
                return _read(request, answer)
            time.sleep(wait)
            attempt += 1

    def progress(
        self, *, user: str | None = None, task: str | None = None
    ) -> Iterator[tuple[str, Any]]:
        """The progress of an alignment until it ends, as events and their data."""
        method, path, params = self._watching(user, task)
        with self._http.stream(method, path, params=params) as response:
            if not response.is_success:
                response.read()
                raise _refusal(response)
            events = _Events()
            for line in response.iter_lines():
                yield from events.read(line)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Calls[httpx.AsyncClient]):
    """The service, with calls that are awaited; `progress` is an asynchronous iterator."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._http = httpx.AsyncClient(**self._settings)

    async def _send(self, request: httpx.Request) -> Any:
        answer: httpx.Response | Exception
        attempt = 0
        while True:
            try:
                answer = await self._http.send(request)
            except httpx.TransportError as error:
                answer = error
            if (wait := self._pause(attempt, answer)) is None:
                return _read(request, answer)
            await asyncio.sleep(wait)
            attempt += 1

    async def progress(
        self, *, user: str | None = None, task: str | None = None
    ) -> AsyncIterator[tuple[str, Any]]:
        """The progress of an alignment until it ends, as events and their data."""
        method, path, params = self._watching(user, task)
        async with self._http.stream(method, path, params=params) as response:
            if not response.is_success:
                await response.aread()
                raise _refusal(response)
            events = _Events()
            async for line in response.aiter_lines():
                for one in events.read(line):
                    yield one

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Events:
    """Server-sent events from the lines of a stream."""

    def __init__(self) -> None:
        self._name = ""

    def read(self, line: str) -> Iterator[tuple[str, Any]]:
        """The event that a line completes, if it does."""
        if line.startswith("event: "):
            self._name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield self._name, json.loads(line.removeprefix("data: "))


def webhook_event(
    body: bytes, signature: str, secret: str, *, oldest: float = 300.0, now: float | None = None
) -> dict[str, Any]:
    """What a webhook tells, once it is sure that the server sent it, and just now.

    Whoever sends it a second time within `oldest` seconds has the same `id` in it: note the ids.

    Args:
        body: of the request, as it came.
        signature: its header `Personaagent-Signature`.
        secret: that was shown when the webhook was made.
        oldest: seconds after which it is refused.
        now: seconds since 1970; the clock's.

    Raises:
        DataError: it is forged, changed or too old.
    """
    parts = dict(part.partition("=")[::2] for part in signature.split(","))
    sent, given = parts.get("t", ""), parts.get("v1", "")
    signed = hmac.new(secret.encode(), f"{sent}.".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signed.encode(), given.encode()):
        raise DataError("the webhook is not signed with this secret: refuse it")
    if abs((time.time() if now is None else now) - int(sent)) > oldest:
        raise DataError(f"the webhook was sent more than {oldest:g} s ago: refuse it")
    told: dict[str, Any] = json.loads(body)
    return told


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is left to the server."""
    return {name: value for name, value in values.items() if value is not None}


def _read(request: httpx.Request, answer: httpx.Response | Exception) -> Any:
    """What a response says: JSON as data, anything else as text.

    Raises:
        ServiceError: the server refused, or none was reached.
    """
    if isinstance(answer, Exception):
        said = f"{request.method} {request.url.path}: the server cannot be reached"
        raise ServiceError(0, f"{said} ({type(answer).__name__}): is it running?") from answer
    if not answer.is_success:
        raise _refusal(answer)
    if not answer.content:
        return None
    kind = answer.headers.get("content-type", "application/json").partition(";")[0]
    return answer.json() if kind == "application/json" else answer.text


def _refusal(response: httpx.Response) -> ServiceError:
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{response.reason_phrase or 'an answer'} that is not the service's own"
    return ServiceError(response.status_code, detail)
