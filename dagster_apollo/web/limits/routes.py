"""The routes that people get who are limited to tenants: an allow list, as for the API."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dagster_apollo.web.identity import identity_of
from dagster_apollo.web.limits.scope import NotForLimitedError

ROUTES: Final = frozenset(
    {
        "/server_info",
        "/dagit_info",
        "/graphql",
        "/logs/{path:path}",
        "/{path:path}",
        "/",
    }
)
"""Dagster's routes that limited people get, apart from the files of its UI."""
_PAGES: Final = "/auth/"
"""What Apollo's own pages begin with, which look for themselves who is there."""
_METRICS: Final = "/metrics"
"""Looks for itself, too."""


class _Limited:
    """A route's application, which refuses limited people."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if identity_of(Request(scope)).grant.is_limited:
            await _refusal(self._path)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _refusal(path: str) -> Response:
    return JSONResponse({"error": str(NotForLimitedError(path.partition("{")[0]))}, 403)


def limit_routes(routes: Sequence[BaseRoute], files: Sequence[BaseRoute]) -> Sequence[BaseRoute]:
    """Refuse limited people the routes that are not on the list.

    Args:
        routes: all routes but those for the health, which anybody gets.
        files: those of them that are files of the UI.
    """
    for route in routes:
        path = str(getattr(route, "path", ""))
        if route in files or path in {*ROUTES, _METRICS} or path.startswith(_PAGES):
            continue
        if not isinstance(route, Route):
            raise TypeError(f"a route of a kind that is not known: {type(route).__name__}")
        route.app = _Limited(route.app, route.path)
    return routes
