"""Who makes a request."""

from dataclasses import dataclass
from typing import Final, Literal

from starlette.requests import HTTPConnection

from dagster_apollo.web.grants import Grant
from dagster_apollo.web.roles import Role

Method = Literal["password", "oidc", "token", "local"]
"""How somebody was recognised; `local`: by sitting at the machine, with no sign-in configured."""

UNKNOWN: Final = "(unknown)"
"""Stands for a name that nobody has: it may be a password, typed into the wrong field."""


@dataclass(frozen=True)
class Identity:
    """Somebody who was recognised.

    Args:
        name: the user's name, or the token's.
        grant: what they may do, and of which tenants they see anything.
        method: how they were recognised.
        session_id: the session of a browser; None where there is none.
    """

    name: str
    grant: Grant
    method: Method
    session_id: str | None = None

    @property
    def role(self) -> Role:
        """What they may do."""
        return self.grant.role


LOCAL_ADMIN: Final = Identity("local", Grant(Role.ADMIN), "local")
"""Everyone, where the webserver is bound to loopback and no sign-in is configured."""


def identity_of(connection: HTTPConnection) -> Identity:
    """Who made a request that the front door let in."""
    identity = connection.scope["user"]
    if not isinstance(identity, Identity):
        raise TypeError("the request did not pass the front door")
    return identity


def address_of(connection: HTTPConnection) -> str:
    """The address of the client, as far as it is known."""
    return connection.client.host if connection.client else "unknown"
