"""Requests that are refused whoever makes them: for another host, or from another site.

Plain ASGI, as all that stands before the application: pages, files, the API and the WebSocket pass
through it alike.
"""

from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dagster_apollo.web.addresses import host_of, is_own_origin
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.roles import SAFE_METHODS

HEALTH: Final = frozenset({"/healthz", "/readyz"})
"""Open to everybody, by whatever host name: platforms ask by address."""
POLICY_VIOLATION: Final = 1008
"""The code with which a WebSocket is closed that is not let in."""
_OF_PROXIES: Final = (b"x-forwarded-", b"forwarded", b"x-real-ip", b"via")


class KnownHosts:
    """Refuses requests for host names that are not Apollo's, as those of DNS rebinding are.

    Where nobody has to sign in, it also refuses what a proxy brings: whoever works on this machine
    needs none.
    """

    def __init__(self, app: ASGIApp, *, settings: WebSettings) -> None:
        self._app = app
        self._hosts = settings.hosts
        self._is_local = not settings.requires_sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "lifespan" and scope["path"] not in HEALTH:
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            if len(hosts) != 1 or host_of(hosts[0].decode("latin-1")) not in self._hosts:
                text = "This host name is not served here (see APOLLO_ALLOWED_HOSTS)."
                await refuse(scope, receive, send, PlainTextResponse(text, 421))
                return
            if self._is_local and any(name.startswith(_OF_PROXIES) for name, _ in scope["headers"]):
                text = "Nobody comes in by a proxy before a sign-in is configured."
                await refuse(scope, receive, send, PlainTextResponse(text, 421))
                return
        await self._app(scope, receive, send)


class OwnOrigin:
    """Refuses what a page of another site makes a browser do.

    A request that changes something, or opens the WebSocket, must say that it comes from a page of
    Apollo's own. Browsers always say where it comes from. A bearer token is proof enough instead:
    no page can make a browser send one.
    """

    def __init__(self, app: ASGIApp, *, settings: WebSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "lifespan" and not self._is_own(HTTPConnection(scope)):
            text = "This request comes from a page of another site, or does not say from where."
            await refuse(scope, receive, send, PlainTextResponse(text, 403))
            return
        await self._app(scope, receive, send)

    def _is_own(self, connection: HTTPConnection) -> bool:
        is_websocket = connection.scope["type"] == "websocket"
        if not is_websocket and connection.scope["method"] in SAFE_METHODS:
            return True
        headers = connection.headers
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return False
        origin = headers.get("origin")
        if origin is not None:
            return is_own_origin(origin, headers.get("host", ""), self._settings.public_url)
        if "authorization" in headers or not self._settings.requires_sign_in:
            return True
        return not is_websocket and "sec-fetch-site" in headers


async def refuse(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Send a response instead of what was asked for; a WebSocket is closed before it opens."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
    else:
        await response(scope, receive, send)
