"""How often somebody may try to sign in."""

import ipaddress
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

_PER_ADDRESS: Final = RateLimitItemPerMinute(20, 5)
"""Wrong passwords from one address: 20 in 5 minutes, whoever they claim to be."""
_PER_USER_AND_ADDRESS: Final = RateLimitItemPerMinute(5, 5)
"""For one user from one address: 5 in 5 minutes."""
_PER_USER: Final = RateLimitItemPerMinute(50, 60)
"""For one user, from wherever: 50 an hour. It is this high because others can use it up."""
_FAILURES: Final = RateLimitItemPerMinute(30, 5)
"""Of each other kind from one address: 30 failures in 5 minutes."""
_SAID: Final = RateLimitItemPerMinute(1, 5)
"""How often it is worth a line in the log."""
Kind = Literal["token", "provider"]
"""What else can fail: a bearer token, a sign-in at the provider."""


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
    """Counts failures in this process's memory; a right password takes the user's back."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def sign_in_exhausted(self, name: str, address: str) -> Refusal | None:
        """Whether there were too many wrong passwords; None: go on."""
        for item, key in _sign_in_limits(name, address):
            if refusal := self._refusal(item, key):
                return refusal
        return None

    def sign_in_failed(self, name: str, address: str) -> None:
        """Count a wrong password."""
        for item, key in _sign_in_limits(name, address):
            self._limiter.hit(item, *key)

    def sign_in_succeeded(self, name: str, address: str) -> None:
        """Take back what was counted against a user who has signed in after all."""
        for item, key in _sign_in_limits(name, address):
            if item is not _PER_ADDRESS:
                self._limiter.clear(item, *key)

    def exhausted(self, kind: Kind, address: str) -> Refusal | None:
        """Whether an address has failed too often; None: go on."""
        return self._refusal(_FAILURES, (kind, _network(address)))

    def failed(self, kind: Kind, address: str) -> None:
        """Count a failure."""
        self._limiter.hit(_FAILURES, kind, _network(address))

    def _refusal(self, item: RateLimitItem, key: tuple[str, ...]) -> Refusal | None:
        if self._limiter.test(item, *key):
            return None
        reset = self._limiter.get_window_stats(item, *key).reset_time
        first = self._limiter.hit(_SAID, *key)
        return Refusal(max(1, math.ceil(reset - time.time())), first)


def _sign_in_limits(name: str, address: str) -> Iterator[tuple[RateLimitItem, tuple[str, ...]]]:
    """The limits that an attempt falls under, each with the key that it is counted by."""
    name, address = name.strip().lower()[:128], _network(address)
    yield _PER_ADDRESS, ("sign-in", address)
    yield _PER_USER_AND_ADDRESS, ("user", name, address)
    yield _PER_USER, ("user", name)


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
