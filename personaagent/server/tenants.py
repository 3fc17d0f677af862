"""Tenants: customers of one server who share its store and see nothing of each other.

Everything in the store is read by user, so a tenant is a part of the user's id: the user `amira` of
tenant `acme` is stored as `@acme/amira`. The tenant without a name has the plain ids, which are
those of the command line; it is refused ids of that form, so no two tenants can mean one user.
"""

from __future__ import annotations

import re

from personaagent.data.normal import normal, whole
from personaagent.errors import DataError

OWN = ""
"""The tenant without a name."""

LONGEST = 200
"""Characters of a user id."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_FOREIGN = re.compile(r"@[a-z0-9-]*/")


def checked(tenant: str) -> str:
    """The name of a tenant.

    Raises:
        DataError: it is none.
    """
    if tenant and not _NAME.fullmatch(tenant):
        raise DataError(
            f"a tenant cannot be called {tenant!r:.60}: give small letters, digits and hyphens, "
            "40 at most"
        )
    return tenant


def stored(tenant: str, user: str) -> str:
    """The id under which the store knows a tenant's user.

    Raises:
        DataError: it is no id of a user.
    """
    named = normal(whole(user))
    if not named:
        raise DataError("the user is empty: name one")
    if len(named) > LONGEST:
        raise DataError(f"the user's id has {len(named)} characters: {LONGEST} are allowed")
    if any(ord(one) < 32 or ord(one) == 127 for one in named):
        raise DataError("the user's id has a control character in it")
    if tenant:
        return f"@{tenant}/{named}"
    if _FOREIGN.match(named):
        raise DataError("the user's id must not begin like '@name/': that names a tenant's user")
    return named


def shown(tenant: str, user: str) -> str:
    """The name that the tenant has for a user of the store: the inverse of `stored`."""
    return user.removeprefix(f"@{tenant}/") if tenant else user


def belongs(tenant: str, user: str) -> bool:
    """Whether a user of the store is this tenant's."""
    return user.startswith(f"@{tenant}/") if tenant else not _FOREIGN.match(user)


def told(tenant: str, text: str) -> str:
    """A message of ours in the tenant's own names."""
    return text.replace(f"@{tenant}/", "") if tenant else text
