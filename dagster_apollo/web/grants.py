"""What somebody is granted: a role, and the tenants that it is limited to.

A grant is one text wherever it is kept: in variables, in the cookie, in the table of tokens. A
release that knows nothing of tenants cannot read one that is limited, and so lets nobody in by it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dagster_apollo.web.roles import ROLES_TEXT, Role

_LIMIT: Final = "@"
_AND: Final = "+"
_TENANT: Final = re.compile(r"[^\s,:;@+=\"']{1,200}")
GRANT_TEXT: Final = f"a role ({ROLES_TEXT}), or ROLE@TENANT+TENANT, which an admin cannot have"
"""How a grant is written."""


@dataclass(frozen=True)
class Grant:
    """A role, and where it counts.

    Args:
        role: what may be done.
        tenants: the names of the tenants that it is limited to; None: all, and what is no tenant's.
    """

    role: Role
    tenants: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.tenants is None:
            return
        if self.role is Role.ADMIN:
            raise ValueError("limits an admin to tenants; an admin is never limited")
        if not self.tenants or not all(_TENANT.fullmatch(name) for name in self.tenants):
            raise ValueError("does not name tenants as they are called")

    @property
    def is_limited(self) -> bool:
        """Whether it is limited to tenants."""
        return self.tenants is not None

    def __str__(self) -> str:
        if self.tenants is None:
            return str(self.role)
        return f"{self.role}{_LIMIT}{_AND.join(sorted(self.tenants))}"

    @classmethod
    def parse(cls, text: str) -> "Grant":
        """The grant that a text says.

        Raises:
            ValueError: it says none; the message names the roles that exist.
        """
        role, limit, tenants = text.partition(_LIMIT)
        return cls(Role.parse(role), frozenset(tenants.split(_AND)) if limit else None)

    @classmethod
    def of(cls, role: str, tenants: str | None) -> "Grant":
        """The grant of a role, limited to tenants that are separated by commas; None: all of them.

        Raises:
            ValueError: there is no such role, or it cannot be limited so.
        """
        if tenants is None:
            return cls(Role.parse(role))
        return cls(Role.parse(role), frozenset(name.strip() for name in tenants.split(",")))


def greatest(grants: Iterable[Grant]) -> Grant | None:
    """What somebody has who is granted several things; None: nothing.

    The highest role counts, with the tenants of all grants that give it: a lesser role at other
    tenants does not become a higher one there.
    """
    found = list(grants)
    if not found:
        return None
    role = max(grant.role for grant in found)
    tenants: frozenset[str] = frozenset()
    for grant in found:
        if grant.role is role:
            if grant.tenants is None:
                return Grant(role)
            tenants |= grant.tenants
    return Grant(role, tenants)
