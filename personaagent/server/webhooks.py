"""`/v1/webhooks`: an application is told when a persona of its users is published, waits for a
person, or was rejected by one.

Nothing has to call this: a delivery is due for everything in the store that a webhook was not told
of, whoever did it. Each is signed and tried again until it is taken; an event has an
`id`, so whoever gets one twice can tell. It says whose persona and which version; no text.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import logging
import secrets
import socket
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import anyio
import httpx
import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from personaagent.memory.encoding import microseconds, moment
from personaagent.memory.schema import deliveries, journal, personas, waiting, webhooks
from personaagent.memory.waiting import REJECTED
from personaagent.server import tenants
from personaagent.server.auth import Admin, Caller, Serving
from personaagent.server.interactions import Strict
from personaagent.server.problems import Problem
from personaagent.server.state import Service

log = logging.getLogger("personaagent.server")

Event = Literal["persona.published", "persona.waiting", "persona.rejected"]

EVERY = 1.0
"""Seconds between looks for what is due."""

ATTEMPTS = 10
"""After which a delivery is given up: about 17 hours."""

_PAUSE = timedelta(minutes=1)  # after the first failure; twice as long after each further one
_AT_ONCE = 100
_SECONDS = 10.0


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError("give an address such as https://example.org/hooks, without a password")
    return url


class Wanted(Strict):
    """Where to tell of what."""

    url: Annotated[str, AfterValidator(_address)] = Field(max_length=2_000)
    events: list[Event] = Field(default=list(get_args(Event)), min_length=1)


class Webhook(BaseModel):
    """What is known of a webhook; its secret is shown only when it is made."""

    id: str
    url: str
    events: list[Event]
    created: datetime
    secret: str | None = None


router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", status_code=201)
def add(wanted: Wanted, service: Serving, caller: Admin) -> Webhook:
    """Tell an address of what happens to the personas of the tenant's users from now on.

    The header `Personaagent-Signature: t=SECONDS,v1=HEX` has the HMAC-SHA256 of `SECONDS.BODY`
    under the secret that this answer has; refuse what is older than some minutes.
    """
    _whole_tenant(caller)
    if not caller.operates:
        _refuse_inside(wanted.url)
    secret = f"whsec_{secrets.token_urlsafe(32)}"
    row = {
        "id": secrets.token_hex(8),
        "tenant": caller.tenant,
        "url": wanted.url,
        "events": " ".join(sorted(set(wanted.events))),
        "secret": secret,
        "created": microseconds(service.store.now()),
    }
    with service.store.database.write() as connection:
        connection.execute(webhooks.insert(), row)
    return _webhook(row, secret=secret)


@router.get("")
def every(service: Serving, caller: Admin) -> list[Webhook]:
    """The tenant's webhooks."""
    _whole_tenant(caller)
    select = sa.select(webhooks).where(webhooks.c.tenant == caller.tenant)
    with service.store.database.read() as connection:
        found = connection.execute(select.order_by(webhooks.c.created)).mappings().all()
    return [_webhook(row) for row in found]


@router.delete("/{id}", status_code=204)
def remove(id: str, service: Serving, caller: Admin) -> None:
    """Tell an address nothing more."""
    _whole_tenant(caller)
    mine = sa.and_(webhooks.c.id == id, webhooks.c.tenant == caller.tenant)
    with service.store.database.write() as connection:
        if not connection.execute(webhooks.delete().where(mine)).rowcount:
            raise Problem(404, "there is no such webhook")


def _happening(kind: str, key: sa.ColumnElement[Any], **told: Any) -> sa.Select[Any]:
    """What happened of a kind; `event` names it, and `key` tells it from others of its kind."""
    columns = {"type": sa.literal(kind), "event": sa.literal(f"{kind} ").concat(key), **told}
    return sa.select(*(value.label(name) for name, value in columns.items()))


def _no(kind: type[sa.types.TypeEngine[Any]]) -> sa.ColumnElement[Any]:
    return sa.cast(sa.null(), kind)


_P, _W, _J = personas.c, waiting.c, journal.c
_HAPPENED = sa.union_all(
    _happening(
        "persona.published", _P.hash, user=_P.user, task=_P.task, created=_P.created,
        hash=_P.hash, version=_P.version, parent=_P.parent,
    ),
    _happening(
        "persona.waiting", _W.hash, user=_W.user, task=_W.task, created=_W.created,
        hash=_W.hash, version=_no(sa.Integer), parent=_W.over,
    ),
    _happening(
        "persona.rejected", sa.cast(_J.created, sa.Text).concat(_J.key),
        user=_J.user, task=sa.func.substr(_J.run, len(REJECTED) + 1), created=_J.created,
        hash=_no(sa.Text), version=_no(sa.Integer), parent=_no(sa.Text),
    ).where(_J.run.startswith(REJECTED)),
).subquery("happened")  # fmt: skip


def _wanted() -> sa.ColumnElement[bool]:
    """Whether a webhook is to be told of what happened; `tenants.belongs` decides for the rest."""
    w, e = webhooks.c, _HAPPENED.c
    ours = sa.or_(w.tenant == tenants.OWN, e.user.startswith(sa.literal("@") + w.tenant + "/"))
    return sa.and_(w.events.contains(e.type), ours)


async def deliver(service: Service, client: httpx.AsyncClient) -> None:
    """Deliver what is due, for as long as the server runs."""
    while True:
        try:
            due = await anyio.to_thread.run_sync(_due, service)
            for one in due:
                await _tell(service, client, one)
        except Exception as error:  # a database that is away comes back
            log.error("webhooks: %s", type(error).__name__)
        await anyio.sleep(EVERY)


def _due(service: Service) -> list[dict[str, Any]]:
    """What is to be told now; several servers of a store share it, as each claims what it takes."""
    store, now = service.store, microseconds(service.store.now())
    w, e, d = webhooks.c, _HAPPENED.c, deliveries.c
    with store.database.read() as connection:
        if connection.scalar(sa.select(w.id).limit(1)) is None:
            return []
        new = (
            sa.select(w.id, w.tenant, e.event, e.user)
            .join_from(webhooks, _HAPPENED, sa.and_(e.created >= w.created, _wanted()))
            .where(~sa.exists().where(d.webhook == w.id, d.event == e.event))
        )
        fresh = [
            {"webhook": id, "event": event}
            for id, tenant, event, user in connection.execute(new)
            if tenants.belongs(tenant, user)
        ]
        waits = sa.and_(d.state == "waiting", d.due <= now)
        again = connection.scalar(sa.select(sa.func.count()).select_from(deliveries).where(waits))
    if not (fresh or again):
        return []
    with store.database.write() as connection:
        if fresh:
            insert = store.database.insert(deliveries).on_conflict_do_nothing()
            rows = [{**one, "attempts": 0, "due": now, "state": "waiting"} for one in fresh]
            connection.execute(insert, rows)
        select = (
            sa.select(
                d.webhook, d.event, d.attempts, w.url, w.secret, w.tenant,
                e.type, e.user, e.task, e.created, e.hash, e.version, e.parent,
            )
            .join_from(deliveries, webhooks)
            .join(_HAPPENED, e.event == d.event)
            .where(waits)
            .order_by(d.due)
            .limit(_AT_ONCE)
        )  # fmt: skip
        found = [dict(row) for row in connection.execute(select).mappings()]
        for one in found:  # whoever dies now leaves it to be tried again
            pause = microseconds(service.store.now() + _PAUSE * 2 ** one["attempts"])
            _set(connection, one, attempts=one["attempts"] + 1, due=pause)
    return found


async def _tell(service: Service, client: httpx.AsyncClient, one: dict[str, Any]) -> None:
    event = {
        "id": hashlib.sha256(f"{one['webhook']} {one['event']}".encode()).hexdigest()[:32],
        "type": one["type"],
        "time": moment(one["created"]).isoformat(),
        "user": tenants.shown(one["tenant"], one["user"]),
        "task": one["task"],
        "version": one["version"],
        "hash": one["hash"],
        "parent": one["parent"],
    }
    body = json.dumps(event).encode()
    seconds = int(service.store.now().timestamp())
    headers = {
        "Content-Type": "application/json",
        "Personaagent-Signature": f"t={seconds},v1={signature(one['secret'], seconds, body)}",
    }
    try:
        if one["tenant"]:
            await anyio.to_thread.run_sync(_refuse_inside, one["url"])
        answered = await client.post(
            one["url"], content=body, headers=headers, timeout=_SECONDS, follow_redirects=False
        )
        taken = answered.is_success
    except (httpx.HTTPError, Problem):
        taken = False
    if taken or one["attempts"] + 1 >= ATTEMPTS:
        state = "told" if taken else "given up"
        await anyio.to_thread.run_sync(_settle, service, one, state)


def signature(secret: str, seconds: int, body: bytes) -> str:
    """What proves that a body was sent by us at that time."""
    return hmac.new(secret.encode(), b"%d." % seconds + body, hashlib.sha256).hexdigest()


def _settle(service: Service, one: dict[str, Any], state: str) -> None:
    with service.store.database.write() as connection:
        _set(connection, one, state=state)


def _set(connection: sa.Connection, one: dict[str, Any], **values: Any) -> None:
    d = deliveries.c
    mine = sa.and_(d.webhook == one["webhook"], d.event == one["event"])
    connection.execute(deliveries.update().where(mine).values(**values))


def _whole_tenant(caller: Caller) -> None:
    if caller.user is not None:
        raise Problem(403, "webhooks tell of all users of a tenant: this key is for one")


def _refuse_inside(url: str) -> None:
    """Refuse an address in the server's own network, which is not the tenant's to call."""
    host = urlsplit(url).hostname or ""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        raise Problem(422, "the host of this address is not known") from None
    if not all(ipaddress.ip_address(str(one).partition("%")[0]).is_global for one in found):
        raise Problem(422, "this address is in the server's own network")


def _webhook(row: Any, *, secret: str | None = None) -> Webhook:
    return Webhook(
        id=row["id"],
        url=row["url"],
        events=row["events"].split(),
        created=moment(row["created"]),
        secret=secret,
    )
