"""How often somebody may try to sign in."""

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

_PER_ADDRESS: Final = RateLimitItemPerMinute(20, 5)
"""From one address: 20 in 5 minutes, whoever they claim to be."""
_PER_USER_AND_ADDRESS: Final = RateLimitItemPerMinute(5, 5)
"""For one user from one address: 5 in 5 minutes."""
_PER_USER: Final = RateLimitItemPerMinute(50, 60)
"""For one user, from wherever: 50 an hour. It is this high because others can use it up."""
_BEARER: Final = RateLimitItemPerMinute(30, 5)
"""Tokens that are not valid, from one address: 30 in 5 minutes."""


@dataclass(frozen=True)
class Refusal:
    """Too many attempts.

    Args:
        seconds: how long to wait for the next.
        first: whether it is the first refusal of its kind for a while, and so worth a line.
    """

    seconds: int
    first: bool


class Attempts:
    """Counts attempts in this process's memory; a right password takes the user's back."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)

    def sign_in(self, name: str, address: str) -> Refusal | None:
        """Count an attempt to sign in; None: go on."""
        name, address = _plain(name), _network(address)
        return self._first_exhausted(
            (_PER_ADDRESS, ("sign-in", address)),
            (_PER_USER_AND_ADDRESS, ("user", name, address)),
            (_PER_USER, ("user", name)),
        )

    def succeeded(self, name: str, address: str) -> None:
        """Take back what was counted against a user who has signed in after all."""
        name, address = _plain(name), _network(address)
        self._limiter.clear(_PER_USER_AND_ADDRESS, "user", name, address)
        self._limiter.clear(_PER_USER, "user", name)

    def bearer_refused(self, address: str) -> Refusal | None:
        """Whether an address has presented too many tokens that are not valid."""
        return self._refusal(_BEARER, ("bearer", _network(address)), self._limiter.test)

    def bearer_failed(self, address: str) -> None:
        """Count a token that is not valid."""
        self._limiter.hit(_BEARER, "bearer", _network(address))

    def _first_exhausted(self, *limits: tuple[RateLimitItem, tuple[str, ...]]) -> Refusal | None:
        for item, key in limits:
            if refusal := self._refusal(item, key, self._limiter.hit):
                return refusal
        return None

    def _refusal(
        self, item: RateLimitItem, key: tuple[str, ...], look: Callable[..., bool]
    ) -> Refusal | None:
        if look(item, *key):
            return None
        reset = self._limiter.get_window_stats(item, *key).reset_time
        first = self._limiter.hit(RateLimitItemPerMinute(1, 5), "said", *key)
        return Refusal(max(1, math.ceil(reset - time.time())), first)


def _plain(name: str) -> str:
    return name.strip().lower()[:128]


def _network(address: str) -> str:
    """Whom to count for an address: of IPv6, one subscriber has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:  # noqa: PLR2004
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
