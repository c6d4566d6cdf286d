"""Headers that every response carries, so that browsers do not help an attacker."""

import secrets
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS: Final = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_HSTS: Final = "max-age=31536000"
_POLICY: Final = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
PAGE_POLICY: Final = f"default-src 'none'; style-src 'self'; img-src 'self'; {_POLICY}"
"""For Apollo's own pages, which have no scripts."""
SANDBOX_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
)
"""For documents that others wrote: nothing in them runs, or acts for who reads them."""


def graphiql_policy(nonce: str) -> str:
    """For Dagster's GraphiQL page, whose scripts carry the nonce."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; {_POLICY}"
    )


def make_nonce() -> str:
    """A value that marks the scripts of one response."""
    return secrets.token_urlsafe(16)


def secure(headers: MutableHeaders, *, https: bool) -> None:
    """Add the headers to those of a response; a policy that it brings along is completed."""
    for name, value in _ALWAYS.items():
        headers[name] = value
    policy = headers.get("Content-Security-Policy", "")
    if "frame-ancestors" not in policy:
        headers["Content-Security-Policy"] = _completed(policy)
    if https:
        headers["Strict-Transport-Security"] = _HSTS
    headers.setdefault("Cache-Control", "private")  # for shared caches in between
    if "server" in headers:
        del headers["server"]


class SecurityHeaders:
    """Adds the headers to every response that the application gives."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                https = self._https or scope.get("scheme") == "https"
                secure(MutableHeaders(scope=message), https=https)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _completed(policy: str) -> str:
    """A policy with the directives that it lacks."""
    given = {part.split()[0] for part in policy.split(";") if part.strip()}
    missing = [part for part in _POLICY.split("; ") if part.split()[0] not in given]
    return "; ".join([policy.strip().rstrip(";"), *missing]) if given else _POLICY
