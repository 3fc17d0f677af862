"""Who looks at the page: a login by key, kept in a cookie that no script can read.

The cookie holds no key: it names one, until when it is good, and is signed with a secret of the
store, so it holds in every process of a server and ends when its key is revoked. Every form carries
a token that is made of the cookie; a request that changes something is refused without it. In a
store without keys whoever sits at this machine is let in, with a cookie of chance for the forms.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi.responses import Response

from personaagent.memory.schema import meta
from personaagent.memory.store import Store
from personaagent.server import auth
from personaagent.server.auth import Caller
from personaagent.server.problems import Problem
from personaagent.server.state import Service

COOKIE = "personaagent_page"
LASTS = 12 * 3_600
"""Seconds until one logs in again."""

_LOCAL = "local"  # in the place of a key's id
_SHAPE = re.compile(r"(local|[0-9a-f]{12})\.([0-9]{1,12})\.([0-9a-f]{16})\.([0-9a-f]{64})")
_SECRET = "page"  # a key of `meta`
_FALLBACK = secrets.token_hex(32)  # for a store that cannot be written to: sessions of one process


class LoginNeeded(Exception):
    """Nobody is logged in, or not any more."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page.

    Attributes:
        caller: whose data that reaches.
        name: under which what they write and decide is kept.
        cookie: theirs.
        token: what a form of theirs must carry.
        fresh: whether the cookie is to be set.
        by_key: whether they have logged in.
    """

    caller: Caller
    name: str
    cookie: str
    token: str
    fresh: bool
    by_key: bool

    @property
    def writes(self) -> bool:
        """Whether they may change anything."""
        return "write" in self.caller.scopes


def visitor(request: Request) -> Visitor:
    """Who asks.

    Raises:
        LoginNeeded: nobody that is known.
        Problem: too many requests, no right to read, or a call from elsewhere to a store without
            keys.
    """
    service = auth.service_of(request)
    secret = _secret(service.store)
    cookie = request.cookies.get(COOKIE, "")
    named = _named(secret, cookie)
    if not service.keys.any:
        caller, fresh = auth.caller_of(service, request, None), named != _LOCAL
        cookie = _made(secret, _LOCAL) if fresh else cookie
        return Visitor(caller, "this machine", cookie, _token(secret, cookie), fresh, False)
    key = next((one for one in service.keys.all() if one.id == named), None)
    if key is None or key.revoked is not None:
        raise LoginNeeded
    service.rates.take(key.id)
    caller = auth.of_key(key)
    request.state.tenant = caller.tenant
    caller.require("read")
    name = key.note or key.user or f"key {key.id}"
    return Visitor(caller, name, cookie, _token(secret, cookie), False, True)


async def form_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form, each with its values."""
    body = (await request.body()).decode("utf-8", errors="replace")
    try:
        return parse_qs(body, keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise Problem(400, "this form has too many fields") from None


Form = dict[str, list[str]]


def sending(request: Request, form: Annotated[Form, Depends(form_of)]) -> tuple[Visitor, Form]:
    """Who sends a form, and the form.

    Raises:
        LoginNeeded: nobody that is known.
        Problem: the form was not ours.
    """
    who = visitor(request)
    given = (form.get("csrf") or [""])[0]
    if who.fresh or not hmac.compare_digest(given.encode(), who.token.encode()):
        raise Problem(403, "this form is too old, or not from this page: load the page again")
    return who, form


def posting(sent: Annotated[tuple[Visitor, Form], Depends(sending)]) -> tuple[Visitor, Form]:
    """The same for a form that changes something.

    Raises:
        Problem: its sender may not write.
    """
    sent[0].caller.require("write")
    return sent


def log_in(service: Service, request: Request, text: str, response: Response) -> None:
    """Set the cookie of a key.

    Raises:
        Problem: it is none, was revoked, or may not read.
    """
    address = request.client.host if request.client else ""
    service.rates.take(f"login, {address}")
    _same_site(request)
    key = service.keys.find(text.strip())
    if key is None:
        raise Problem(401, "this key is not valid, or was revoked")
    auth.of_key(key).require("read")
    keep(request, response, _made(_secret(service.store), key.id))


def keep(request: Request, response: Response, cookie: str) -> None:
    """Have the browser keep a cookie, for the page alone."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LASTS,
        path="/page",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _same_site(request: Request) -> None:
    """Refuse a login that another site's page sends: there is no token before it."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "pages of other sites cannot log in here")


def _secret(store: Store) -> str:
    mine = sa.select(meta.c.value).where(meta.c.key == _SECRET)
    with store.database.glance() as connection:
        known = connection.scalar(mine)
    if known is not None:
        return str(known)
    if store.database.readonly:
        return _FALLBACK
    row = {"key": _SECRET, "value": secrets.token_hex(32)}
    with store.database.write() as connection:
        connection.execute(store.database.insert(meta).on_conflict_do_nothing(), row)
        return str(connection.scalar(mine))


def _made(secret: str, id: str) -> str:
    body = f"{id}.{int(time.time()) + LASTS}.{secrets.token_hex(8)}"
    return f"{body}.{_signed(secret, 'cookie', body)}"


def _named(secret: str, cookie: str) -> str | None:
    """The key that a cookie names, None where it is not ours or too old."""
    shape = _SHAPE.fullmatch(cookie)
    if shape is None:
        return None
    id, until, _, signed = shape.groups()
    body = cookie.rpartition(".")[0]
    if not hmac.compare_digest(signed, _signed(secret, "cookie", body)):
        return None
    return id if int(until) > time.time() else None


def _token(secret: str, cookie: str) -> str:
    return _signed(secret, "form", cookie)


def _signed(secret: str, what: str, text: str) -> str:
    return hmac.new(secret.encode(), f"{what}\0{text}".encode(), hashlib.sha256).hexdigest()
