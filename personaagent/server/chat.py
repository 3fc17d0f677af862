"""`/v1/chat/completions` and `/v1/models`: any OpenAI client becomes personal by its base URL.

The user's persona comes before the application's own system message, and memories that the
persona's standing actions recall come before the user's latest message; all else is passed through
(`upstream`). What stays the same from request to request stays in front, so that a provider's
prompt cache finds it again.

What the user wrote becomes an interaction as in an import of chats (`data.chat`): the reply to what
the assistant said before. Only the latest message of a request is news: earlier ones came with
earlier requests, or are an application's examples and no words of the user's. Its id is made of the
conversation up to it, so a request that is sent again, or goes on after a tool's result, adds
nothing. What the LM says is never remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from personaagent.data import CHAT, ImportSummary, Interaction
from personaagent.data.importers.chat import Message, Replies
from personaagent.errors import PersonaAgentError
from personaagent.memory.tasks import load_tasks, save_tasks
from personaagent.programs.scope import QueryScope
from personaagent.programs.tools import personal_tools, run
from personaagent.server.auth import Unchecked, service_of
from personaagent.server.problems import Problem, detail_of, log_error, status_of
from personaagent.server.state import Service
from personaagent.server.upstream import Reply, Upstream, described, error, event
from personaagent.signatures.chat import RECALLED

SOURCE = "chat"
"""The source of what users wrote in chats that came through here."""

REMEMBERED, PERSONA = "X-PersonaAgent-Remembered", "X-PersonaAgent-Persona"
"""Headers of an answer: what became of the user's message, and the persona's version. A stream has
the second alone: it begins before the first is known."""

_SYSTEM = ("system", "developer")
_DONE = b"data: [DONE]"
_BODY = {
    "description": "A chat completion as OpenAI's clients send it, with `user`.",
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["messages"],
                "properties": {
                    "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
                    "user": {"type": "string", "description": "Whose persona and memory."},
                    "store": {
                        "type": "boolean",
                        "default": True,
                        "description": "False: nothing of this request is remembered.",
                    },
                    "stream": {"type": "boolean", "default": False},
                },
            }
        }
    },
}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    upstream = app.state.upstream = Upstream(app.state.service.lm)
    try:
        yield
    finally:
        await upstream.aclose()


router = APIRouter(prefix="/v1", tags=["chat"], lifespan=_lifespan)


@router.get("/models")
def models(request: Request) -> Response:
    """The LM that the server was given; it answers whatever model a client names."""
    service = service_of(request)
    try:
        Unchecked.of(service, request).checked("read")
    except Problem as refused:
        return _refusal(refused)
    one = {"id": service.lm.spec, "object": "model", "created": 0, "owned_by": "personaagent"}
    return JSONResponse({"object": "list", "data": [one]})


@router.post("/chat/completions", openapi_extra={"requestBody": _BODY})
async def chat_completions(request: Request) -> Response:
    """A chat completion under the persona of `user`; OpenAI's own parameters pass through."""
    service = service_of(request)
    upstream: Upstream = request.app.state.upstream
    try:
        sent = await request.body()
        user, body, talk, personal = await anyio.to_thread.run_sync(_asked, service, request, sent)
        keeping = asyncio.create_task(asyncio.to_thread(_keep, service, user, talk, body))
        try:
            reply = await upstream.complete({**body, "messages": personal.messages})
        except BaseException:
            await asyncio.shield(keeping)
            raise
        headers = {PERSONA: personal.version}
        if isinstance(reply.content, bytes):
            return _response(reply, headers | {REMEMBERED: await keeping})
        reply.content = _kept(reply.content, keeping)
        return _response(reply, headers)
    except Problem as refused:
        return _refusal(refused)
    except PersonaAgentError as failure:
        if status_of(failure) >= 500:
            log_error(failure)
        return _refusal(Problem(status_of(failure), detail_of(request, failure)))


async def _kept(parts: AsyncIterator[bytes], keeping: asyncio.Task[str]) -> AsyncIterator[bytes]:
    """A stream that does not wait for the database to begin, and is done when the user's message is
    stored; where it cannot be, it ends with an error."""
    async for part in parts:
        if _DONE in part and await _failed(keeping):
            yield event(described("the message could not be remembered", "server_error"))
        yield part
    await _failed(keeping)


async def _failed(keeping: asyncio.Task[str]) -> bool:
    """Whether the user's message could not be stored, once that is known."""
    await asyncio.wait([keeping])
    if failure := keeping.exception():
        log_error(failure)
    return failure is not None


def _asked(
    service: Service, request: Request, sent: bytes
) -> tuple[str, dict[str, Any], _Talk, _Personal]:
    """Who asks for whom, what, and with what is known of the user; all on one thread, as each
    change of threads costs as much as reading the persona.

    Raises:
        Problem: the caller may not, or the body is none.
    """
    caller = Unchecked.of(service, request).checked("write")
    body = _read(sent)
    user = caller.stored(body.get("user"))
    talk = _talk(body["messages"], _conversation_of(body))
    return user, body, talk, _personal(service, user, body["messages"], talk)


def _read(sent: bytes) -> dict[str, Any]:
    """The body of a request, as far as it is looked at here.

    Raises:
        Problem: it is none.
    """
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError) as wrong:
        raise Problem(400, "the body is no JSON") from wrong
    if not isinstance(body, dict):
        raise Problem(400, "the body is no JSON object")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Problem(400, "messages: give a list of one message or more")
    for at, one in enumerate(messages):
        if not isinstance(one, dict) or not isinstance(one.get("role"), str):
            raise Problem(400, f"messages[{at}]: give an object with a role and content")
        content = one.get("content")
        if not isinstance(content, str | list | None):
            raise Problem(400, f"messages[{at}].content: give a text or a list of parts")
        if isinstance(content, list) and not all(isinstance(part, dict) for part in content):
            raise Problem(400, f"messages[{at}].content: give a list of objects")
    for name, kind in (("user", str), ("store", bool)):
        if not isinstance(body.get(name), kind | None):
            raise Problem(400, f"{name}: give a {'text' if kind is str else 'boolean'}")
    return body


def _words(message: Mapping[str, Any]) -> str:
    """What is written in a message, without its images and files."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content.strip()
    texts = (part.get("text") for part in content if part.get("type") == "text")
    return "\n\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip())


@dataclass(frozen=True, slots=True)
class _Talk:
    """A conversation as what it says of its user.

    Attributes:
        messages: with ids that are made of everything that was said up to them.
        news: the ids of the user's messages that this request is the first to bring.
        latest: the user's latest message.
        conversation: names the conversation, from request to request.
    """

    messages: Sequence[Message]
    news: frozenset[str]
    latest: str
    conversation: str


def _conversation_of(body: Mapping[str, Any]) -> str:
    """The client's own name of the conversation, in OpenAI's `metadata`."""
    about = body.get("metadata")
    named = about.get("conversation") if isinstance(about, dict) else None
    return named if isinstance(named, str) else ""


def _talk(messages: Sequence[Mapping[str, Any]], conversation: str) -> _Talk:
    said: list[Message] = []
    chain = hashlib.sha256(conversation.encode())
    for one in messages:
        role, text = one["role"], _words(one)
        if role not in ("user", "assistant") or not text:
            continue
        chain.update(json.dumps([role, text]).encode())
        said.append(Message(chain.hexdigest()[:24], role, text))
    mine = [at for at, one in enumerate(said) if one.role == "user"]
    if not mine:
        return _Talk(said, frozenset(), "", conversation)
    first = last = mine[-1]
    while first and said[first - 1].role == "user":
        first -= 1
    news = frozenset(one.id for one in said[first : last + 1])
    return _Talk(said, news, said[last].text, conversation or said[mine[0]].id)


@dataclass(frozen=True, slots=True)
class _Personal:
    """Messages with what is known of the user, and the version of the persona, or `none`."""

    messages: list[dict[str, Any]]
    version: str


def _personal(
    service: Service, user: str, messages: list[dict[str, Any]], talk: _Talk
) -> _Personal:
    persona = service.store.of(user).persona(CHAT.name)
    if persona is None:
        return _Personal(messages, "none")
    told = _with_persona(messages, persona.render())
    recalls = [one for one in persona.actions or () if one.tool == "recall"]
    if talk.latest and recalls:
        # What stands in the conversation anyway is no memory of it.
        known = tuple(f"{SOURCE}-{one.id}" for one in talk.messages if one.role == "user")
        situation = QueryScope.of(talk.latest, user, CHAT, exclude=known)
        tools = personal_tools(
            service.agent(CHAT).retrieve, situation, persona.profile, standing=True
        )
        found = [seen for seen in run(recalls, tools) if not seen.failed and seen.text]
        if found:
            told = _with_memories(told, "\n".join(seen.text for seen in found))
    return _Personal(told, str(persona.version))


def _with_persona(messages: Sequence[dict[str, Any]], prompt: str) -> list[dict[str, Any]]:
    """The persona before all else; in one message with the application's own, since many chat
    templates take a single system message."""
    first, *rest = messages
    if first["role"] not in _SYSTEM:
        return [{"role": "system", "content": prompt}, *messages]
    return [_before(first, f"{prompt}\n\n"), *rest]


def _with_memories(messages: Sequence[dict[str, Any]], memories: str) -> list[dict[str, Any]]:
    """The memories in the user's latest message: they differ from request to request, and whatever
    comes after them no prompt cache finds again."""
    at = max(n for n, one in enumerate(messages) if one["role"] == "user" and _words(one))
    changed = _before(messages[at], RECALLED.format(memories=memories))
    return [*messages[:at], changed, *messages[at + 1 :]]


def _before(message: dict[str, Any], text: str) -> dict[str, Any]:
    content = message.get("content") or ""
    if isinstance(content, str):
        return {**message, "content": f"{text}{content}"}
    return {**message, "content": [{"type": "text", "text": text}, *content]}


def _keep(service: Service, user: str, talk: _Talk, body: Mapping[str, Any]) -> str:
    """Remember the user's news; what became of them, in a word."""
    if body.get("store") is False:
        return "no"
    store = service.store
    if not talk.news:
        return "nothing new"
    if CHAT.name not in load_tasks(store):
        save_tasks(store, [CHAT])
    replies = Replies(user, CHAT.name, SOURCE, ImportSummary())
    now = store.now()
    dated = [Message(one.id, one.role, one.text, now) for one in talk.messages]
    found: list[Interaction] = [
        one
        for one in replies.of(dated, talk.conversation)
        if one.id.removeprefix(f"{SOURCE}-") in talk.news
    ]
    if len(store.of(user).get(one.id for one in found)) == len(found):
        return "known"  # without a write: a tool's results come with the same message again
    # Another process may store it meanwhile; what is known keeps its time.
    added = store.add(found, keep_first=True)
    if added.quarantined:
        return "quarantined"
    if added.erased:
        return "erased"
    return "yes" if added.new else "known"


def _response(reply: Reply, headers: Mapping[str, str]) -> Response:
    given = {**reply.headers, **headers}
    if isinstance(reply.content, bytes):
        return Response(reply.content, reply.status, given, media_type=reply.media)
    return StreamingResponse(reply.content, reply.status, given, media_type=reply.media)


def _refusal(refused: Problem) -> Response:
    """A problem as OpenAI's clients read it."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        refused.status, "invalid_request_error" if refused.status < 500 else "server_error"
    )
    return _response(error(refused.status, refused.detail, kind), refused.headers)
