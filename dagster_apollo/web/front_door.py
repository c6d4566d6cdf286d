"""The front door itself: nothing passes but what it takes to sign in, and who is recognised.

Plain ASGI, so that it stands before everything alike: pages, files, the API, the WebSocket.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dagster_apollo.web.audit import ENTRY, Audit, AuditError
from dagster_apollo.web.authentication import Authentication, TooManyAttemptsError
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.guards import HEALTH, POLICY_VIOLATION, refuse
from dagster_apollo.web.identity import Identity, address_of
from dagster_apollo.web.roles import SAFE_METHODS, role_for_route

SIGN_IN: Final = "/auth/sign-in"
OPEN: Final = frozenset(
    {
        SIGN_IN,
        "/auth/signed-out",
        "/auth/oidc",
        "/auth/oidc/callback",
        "/auth/style.css",
        "/auth/icon.svg",
    }
)
"""Open to everybody: what it takes to sign in."""
_LOOK_AGAIN_SECONDS: Final = 15.0
_MOST_BYTES: Final = 8 * 1024 * 1024
_MOST_BYTES_OF_FORM: Final = 64 * 1024
"""For Apollo's own pages, and so for somebody unknown."""
_THREADS: Final = 5
_LONGEST_SECONDS: Final = 5.0
_T = TypeVar("_T")
_log = logging.getLogger("apollo.web")


class FrontDoor:
    """Lets in who is recognised and allowed; everything else gets no further than this."""

    def __init__(
        self, app: ASGIApp, *, settings: WebSettings, authentication: Authentication, audit: Audit
    ) -> None:
        self._app = app
        self._settings = settings
        self._authentication = authentication
        self._audit = audit
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan" or scope["path"] in HEALTH:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            identity = await self._identify(connection)
            refusal = await self._refusal(connection, identity)
        except TooManyAttemptsError as error:
            refusal = too_many_attempts(error.seconds)
        except (SQLAlchemyError, AuditError, TimeoutError) as error:
            refusal = unavailable(error)
        if refusal is not None:
            await refuse(scope, receive, send, refusal)
            return
        scope["user"] = identity
        if scope["type"] == "http":
            form = identity is None or scope["path"].startswith("/auth/")
            most = _MOST_BYTES_OF_FORM if form else _MOST_BYTES
            await self._app(scope, _limited(receive, most), send)
        elif identity is not None:
            await self._while_recognised(identity, connection, receive, send)

    async def _identify(self, connection: HTTPConnection) -> Identity | None:
        """Who makes a request; a request that presents nothing waits for nobody's database."""
        if self._authentication.knows_at_once(connection):
            return self._authentication.identify(connection)
        return await self._in_thread(self._authentication.identify, connection)

    async def _in_thread(self, look: Callable[..., _T], *arguments: object) -> _T:
        """Ask the database in a thread, of which a few are kept for this alone.

        Raises:
            TimeoutError: it does not answer, or others wait for it; the thread is left to itself.
        """
        with anyio.fail_after(_LONGEST_SECONDS):
            return await run_sync(look, *arguments, limiter=self._threads, abandon_on_cancel=True)

    async def _refusal(
        self, connection: HTTPConnection, identity: Identity | None
    ) -> Response | None:
        """Why somebody gets no further; None where they do."""
        if connection.scope["path"] in OPEN:
            return None
        if identity is None:
            return self._to_sign_in(connection)
        if await self._in_thread(self._is_allowed, connection, identity):
            return None
        needed = role_for_route(connection.scope.get("method", "GET"), connection.scope["path"])
        text = f"This needs the role {needed}; you have the role {identity.role}."
        return JSONResponse({"error": text}, 403)

    def _is_allowed(self, connection: HTTPConnection, identity: Identity) -> bool:
        """Whether a role allows a route; what changes something is recorded.

        Mutations are recorded one by one where they are resolved, and Apollo's own pages record
        what they do themselves.
        """
        scope = connection.scope
        method, path = scope.get("method", "GET"), scope["path"]
        if path.startswith("/auth/"):
            return True  # the pages look for themselves
        allowed = identity.role >= role_for_route(method, path)
        if not allowed or (method not in SAFE_METHODS and path != "/graphql"):
            scope[ENTRY] = self._audit.record(
                f"{method} /{path.strip('/').partition('/')[0]}",
                by=identity,
                allowed=allowed,
                remote=address_of(connection),
                target=path,
            )
        return allowed

    def _to_sign_in(self, connection: HTTPConnection) -> Response:
        """A page to sign in at, for somebody who opens a page; else 401."""
        headers = connection.headers
        is_page = (
            connection.scope["type"] == "http"
            and connection.scope["method"] in SAFE_METHODS
            and "authorization" not in headers
            and "text/html" in headers.get("accept", "")
            and headers.get("sec-fetch-dest", "document") == "document"
        )
        if not is_page:
            return JSONResponse(
                {"error": "Sign in, or send a token."}, 401, {"WWW-Authenticate": "Bearer"}
            )
        target = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
        suffix = "" if target == "/" else f"?next={quote(target, safe='')}"
        return RedirectResponse(f"{SIGN_IN}{suffix}", 303, {"Cache-Control": "no-store"})

    async def _while_recognised(
        self, identity: Identity, connection: HTTPConnection, receive: Receive, send: Send
    ) -> None:
        """Serve a WebSocket until its session or token is over."""

        async def watch() -> None:
            while await self._is_still(identity, connection):
                await anyio.sleep(_LOOK_AGAIN_SECONDS)
            group.cancel_scope.cancel()

        served = False
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await self._app(connection.scope, receive, send)
            served = True
            group.cancel_scope.cancel()
        if not served:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})

    async def _is_still(self, identity: Identity, connection: HTTPConnection) -> bool:
        try:
            return await self._identify(connection) == identity
        except (SQLAlchemyError, TooManyAttemptsError, TimeoutError):
            return False


def too_many_attempts(seconds: int) -> Response:
    """The answer to somebody who has tried too often."""
    return PlainTextResponse(
        f"Too many attempts. Try again in {seconds} s.", 429, {"Retry-After": str(seconds)}
    )


def unavailable(error: Exception) -> Response:
    """The answer where the database fails; the error's own text may hold its URI."""
    _log.warning("The database failed (%s)", type(error).__name__)
    return PlainTextResponse("Try again soon.", 503, {"Retry-After": "5"})


def _limited(receive: Receive, most: int) -> Callable[[], Awaitable[Message]]:
    """A request's body, which may have only so many bytes."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413)
        return message

    return receive_limited
