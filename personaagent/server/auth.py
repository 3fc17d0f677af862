"""Who calls, and whose data the call may reach.

With keys: `Authorization: Bearer pa_...`. Without any key in the store the caller is whoever sits
at this machine: the connection must come from it, and be meant for it. A page of some other site
that a browser has open reaches the same address, so requests that name a foreign host or origin
are refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from personaagent.errors import DataError
from personaagent.server import tenants
from personaagent.server.keys import SCOPES, Key, Scope
from personaagent.server.problems import Problem
from personaagent.server.state import Service

_bearer = HTTPBearer(auto_error=False, description="A key of `personaagent keys add`.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        key: the key's id; empty where the store has no keys.
        tenant: whose users the caller reaches.
        user: the only one of them that it reaches, as the tenant names it; None for all.
        scopes: what it may do.
    """

    key: str
    tenant: str
    user: str | None
    scopes: frozenset[Scope]

    def stored(self, user: str | None) -> str:
        """The id under which the store knows a user that the caller names; nobody names another
        tenant's. Without a name the one that the key is for.

        Raises:
            Problem: no user is named, it cannot be one, or the key is for another one: the same
                words whether there is such a user or not.
        """
        named = self.user if user is None else user
        if named is None:
            raise Problem(422, "name the user: this key is for all users of its tenant")
        try:
            wanted = tenants.stored(self.tenant, named)
            mine = None if self.user is None else tenants.stored(self.tenant, self.user)
        except DataError as error:
            raise Problem(422, str(error)) from error
        if mine is not None and wanted != mine:
            raise Problem(403, "this key is for another user")
        return wanted

    def shown(self, user: str) -> str:
        """A user of the store as the tenant names it."""
        return tenants.shown(self.tenant, user)

    def reaches(self, user: str) -> bool:
        """Whether a user of the store is one that the caller may know of."""
        if not tenants.belongs(self.tenant, user):
            return False
        return self.user is None or user == tenants.stored(self.tenant, self.user)

    @property
    def operates(self) -> bool:
        """Whether the caller runs the server: what it does may concern every tenant."""
        return self.tenant == tenants.OWN and self.user is None and "admin" in self.scopes

    def require(self, scope: Scope) -> None:
        """
        Raises:
            Problem: the caller's key does not have the scope.
        """
        if scope not in self.scopes:
            raise Problem(403, f"this key lacks the scope '{scope}'")


def service_of(request: Request) -> Service:
    """The app's own."""
    service: Service = request.app.state.service
    return service


# What FastAPI is to do on a thread costs a thread; only `_caller` reads the database.


async def _serving(request: Request) -> Service:
    return service_of(request)


def caller_of(service: Service, request: Request, text: str | None) -> Caller:
    """Who calls, by the key that was given, from wherever it was given.

    Raises:
        Problem: no key or a wrong one, or, where the store has no keys, a call from elsewhere.
    """
    address = request.client.host if request.client else ""
    if not service.keys.any:
        _from_here(request, address)
        caller = Caller("", tenants.OWN, None, frozenset(SCOPES))
        service.rates.take(address)
    else:
        key = None if text is None else service.keys.find(text)
        if key is None:
            service.rates.take(f"no key, {address}")
            raise Problem(
                401,
                "give a key: 'Authorization: Bearer pa_...'"
                if text is None
                else "this key is not valid, or was revoked",
                {"WWW-Authenticate": "Bearer"},
            )
        caller = of_key(key)
        service.rates.take(key.id)
    request.state.tenant = caller.tenant
    return caller


def of_key(key: Key) -> Caller:
    """The caller that has a key."""
    return Caller(key.id, key.tenant, key.user, key.scopes)


def _caller(
    request: Request,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    return caller_of(service_of(request), request, given.credentials if given else None)


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Who calls, not looked up yet: for calls that do all their reading on one thread.

    Attributes:
        service: that is called.
        request: theirs.
        key: the text that was given as one, None without.
    """

    service: Service
    request: Request
    key: str | None

    @classmethod
    def of(cls, service: Service, request: Request) -> Unchecked:
        """Whoever sent a request."""
        scheme, key = get_authorization_scheme_param(request.headers.get("authorization"))
        return cls(service, request, key if scheme.lower() == "bearer" and key else None)

    def checked(self, scope: Scope | None = None) -> Caller:
        """Who it is; this reads the database.

        Raises:
            Problem: as of `caller_of`, or the key lacks the scope.
        """
        caller = caller_of(self.service, self.request, self.key)
        if scope is not None:
            caller.require(scope)
        return caller


async def _unchecked(
    request: Request,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Unchecked:
    return Unchecked(service_of(request), request, given.credentials if given else None)


async def _reading(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    caller.require("read")
    return caller


async def _writing(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    caller.require("write")
    return caller


async def _administering(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    caller.require("admin")
    return caller


async def _operating(caller: Annotated[Caller, Depends(_administering)]) -> Caller:
    if not caller.operates:
        raise Problem(403, "this concerns all tenants: it takes the operator's own key")
    return caller


Anyone = Annotated[Unchecked, Depends(_unchecked)]
Serving = Annotated[Service, Depends(_serving)]
Reader = Annotated[Caller, Depends(_reading)]
Writer = Annotated[Caller, Depends(_writing)]
Admin = Annotated[Caller, Depends(_administering)]
Operator = Annotated[Caller, Depends(_operating)]


def _from_here(request: Request, address: str) -> None:
    host = _host(f"//{request.headers.get('host', '')}")
    origin = request.headers.get("origin")
    if not (is_loopback(address) and is_loopback(host)):
        raise Problem(
            401,
            "without keys only this machine is served: 'personaagent keys add' makes the first one",
            {"WWW-Authenticate": "Bearer"},
        )
    if origin is not None and not is_loopback(_host(origin)):
        raise Problem(403, "pages of other sites are not served")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address or the name of a host is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
