"""Addresses, host names, and origins: which are Apollo's own."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
# Browsers take "//" and "/\\" for the beginning of another host. Of Apollo's own pages, only those
# to look at are somewhere to go.
_LOCAL_PATH: Final = re.compile(r"/(?!/|auth/(?!(account|audit|tokens)\b))[!-\[\]-~]*")


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def items(text: str) -> Sequence[str]:
    """The items of a comma-separated text."""
    return [item for part in text.split(",") if (item := part.strip())]


def split_url(text: str) -> SplitResult | None:
    """The parts of a URL that leads to a host; None where it does not."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} and url.hostname else None


def host_of(netloc: str) -> str:
    """The host name of a Host header, in lower case and without the port; empty if it has none."""
    if any(character in netloc for character in "/@\\?#, \t"):
        return ""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def is_own_origin(origin: str, host: str, public_url: str | None) -> bool:
    """Whether a page of an origin is one of Apollo's own.

    Args:
        origin: the header Origin.
        host: the header Host, which names a host that is Apollo's.
        public_url: where people reach the UI. Its scheme counts: a page that came without TLS may
            be anybody's.
    """
    if public_url and urlsplit(public_url).netloc == host.lower():
        return origin.lower() == public_url
    parts = split_url(origin)
    return parts is not None and parts.netloc.lower() == host.lower() and not parts.path


def local_path(target: str | None) -> str:
    """Where to go after signing in: a path of this site, whatever was asked for."""
    return target if target and _LOCAL_PATH.fullmatch(target) else "/"
