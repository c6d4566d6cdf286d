"""Dagster's webserver behind the front door: its application, routes and requests."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from anyio.to_thread import run_sync
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema  # type: ignore[import-untyped]
from graphql import ASTValidationRule, GraphQLError
from markupsafe import escape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from dagster_apollo.web.audit import ENTRY, Audit
from dagster_apollo.web.authentication import Authentication
from dagster_apollo.web.compute_logs import download
from dagster_apollo.web.context import RoleRequestContext
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.errors import RefusedError, asked_by, is_outage, veil_errors, veiled
from dagster_apollo.web.front_door import FrontDoor
from dagster_apollo.web.graphql_requests import (
    CheckedWebSocket,
    FewMutations,
    refusal_of,
    wants_graphiql,
)
from dagster_apollo.web.guards import KnownHosts, OwnOrigin
from dagster_apollo.web.headers import (
    SANDBOX_POLICY,
    SecurityHeaders,
    graphiql_policy,
    make_nonce,
    secure,
)
from dagster_apollo.web.health import Health
from dagster_apollo.web.identity import identity_of
from dagster_apollo.web.launches import stamp_launches
from dagster_apollo.web.limits.fields import limit_fields
from dagster_apollo.web.limits.routes import limit_routes
from dagster_apollo.web.limits.scope import NotForLimitedError
from dagster_apollo.web.limits.workspace import Workspaces
from dagster_apollo.web.mutations import guard_fields, guard_mutations
from dagster_apollo.web.reports import reported_asset
from dagster_apollo.web.threads import in_thread

_FORBIDDEN: Final = 403
_UNAVAILABLE: Final = 503
_POLL_MILLISECONDS: Final = 2000
_CSP: Final = "Content-Security-Policy"


@dataclass(frozen=True)
class Parts:
    """What the front door is made of, for the webserver to put together."""

    settings: WebSettings
    authentication: Authentication
    audit: Audit
    pages: Sequence[BaseRoute]
    health: Health


class ApolloWebserver(DagsterWebserver[WorkspaceProcessContext, RoleRequestContext]):
    """Dagster's webserver, which lets nobody in who has not signed in."""

    def __init__(self, process_context: WorkspaceProcessContext, parts: Parts) -> None:
        self._parts = parts
        self._workspaces = Workspaces()
        self._files: list[BaseRoute] = []
        super().__init__(process_context, live_data_poll_rate=_POLL_MILLISECONDS)
        stamp_launches(process_context.instance)

    def build_graphql_schema(self) -> Schema:
        """Dagster's schema, guarded: its mutations, what else has code run, and its errors."""
        schema = super().build_graphql_schema()
        guard_mutations(schema.graphql_schema, self._parts.audit)
        guard_fields(schema.graphql_schema, self._parts.audit)
        limit_fields(schema.graphql_schema)
        veil_errors(schema)
        return schema

    def build_graphql_validation_rules(self) -> Collection[type[ASTValidationRule]]:
        """GraphQL's own rules, and a limit to what one request does."""
        return [*super().build_graphql_validation_rules(), FewMutations]

    def build_middleware(self) -> list[Middleware]:
        """What stands before every route, the outermost first."""
        parts = self._parts
        settings = parts.settings
        proxies = list(settings.trusted_proxies)
        return [
            *([Middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)] if proxies else []),
            Middleware(SecurityHeaders, https=settings.is_https),
            Middleware(KnownHosts, settings=settings),
            Middleware(OwnOrigin, settings=settings),
            Middleware(
                FrontDoor,
                settings=settings,
                authentication=parts.authentication,
                audit=parts.audit,
            ),
            *super().build_middleware(),
        ]

    def create_asgi_app(self, **options: Any) -> Starlette:  # noqa: ANN401
        """The application. Starlette answers for what nobody caught outside of all middleware."""
        handlers = {**options.pop("exception_handlers", {}), Exception: self._failed}
        app: Starlette = super().create_asgi_app(exception_handlers=handlers, **options)
        return app

    def _failed(self, request: Request, _error: Exception) -> Response:
        response = PlainTextResponse("Internal error. The log says more.", 500)
        https = self._parts.settings.is_https or request.url.scheme == "https"
        secure(response.headers, https=https)
        return response

    def build_routes(self) -> list[BaseRoute]:
        """Apollo's own routes, then Dagster's, whose last ones take every path."""
        stock: Sequence[BaseRoute] = super().build_routes()  # type: ignore[no-untyped-call]
        limited = limit_routes([*self._parts.pages, *stock], self._files)
        return [*self._parts.health.routes(), *limited]

    def build_static_routes(self) -> list[BaseRoute]:
        """The files of the UI."""
        self._files = super().build_static_routes()  # type: ignore[no-untyped-call]
        return self._files

    def _make_request_context(self, conn: HTTPConnection) -> RoleRequestContext:
        return RoleRequestContext.of(self._process_context, conn, self._workspaces)

    @contextmanager
    def request_context(self, conn: HTTPConnection) -> Iterator[RoleRequestContext]:
        """What a request is answered with, its errors by the role of who makes it."""
        with asked_by(identity_of(conn).role), super().request_context(conn) as context:
            yield context

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Take operations by POST of JSON alone; GET shows the page that explores the API."""
        if wants_graphiql(request):
            page: Response = await super().graphql_http_endpoint(request)
            nonce = make_nonce()
            html = bytes(page.body).decode().replace("<script", f'<script nonce="{nonce}"')
            return HTMLResponse(html, headers={_CSP: graphiql_policy(nonce)})
        refusal = await refusal_of(request)
        if refusal is not None:
            return refusal
        response: Response = await super().graphql_http_endpoint(request)
        return response

    async def graphql_ws_endpoint(self, websocket: WebSocket) -> None:
        """Subscriptions, and nothing that is not one."""
        checked = CheckedWebSocket(websocket.scope, websocket.receive, websocket.send)
        await super().graphql_ws_endpoint(checked)

    def handle_graphql_errors(self, errors: Sequence[GraphQLError]) -> list[Any]:
        """Say in one sentence what was refused; Dagster adds stacks to what admins are shown."""
        return [
            error.formatted
            if _is_refusal(error)
            else super(ApolloWebserver, self).handle_graphql_errors([veiled(error)])[0]
            for error in errors
        ]

    def _determine_status_code(
        self, resolver_errors: list[GraphQLError] | None, captured_errors: list[Exception]
    ) -> int:
        if any(map(_is_refusal, resolver_errors or ())):
            return _FORBIDDEN
        originals = [error.original_error for error in resolver_errors or ()]
        if any(map(is_outage, [*originals, *captured_errors])):
            return _UNAVAILABLE
        return int(super()._determine_status_code(resolver_errors, captured_errors))

    def index_html_endpoint(self, request: Request) -> HTMLResponse:
        """Dagster's page, with who is signed in and the way out."""
        page: HTMLResponse = super().index_html_endpoint(request)
        html = with_account(bytes(page.body).decode(), identity_of(request).name)
        headers = {k: v for k, v in page.headers.items() if not k.startswith("content-length")}
        return HTMLResponse(html, headers=headers)

    async def download_captured_logs_endpoint(self, request: Request) -> Response:
        """What a run printed, from whichever compute log manager there is."""
        with self.request_context(request) as context:
            manager = context.instance.compute_log_manager
            try:
                return await run_sync(download, manager, request.path_params["path"])
            except NotForLimitedError:
                raise HTTPException(404, "There is no such log.") from None

    async def download_debug_file_endpoint(self, request: Request) -> Response:
        """All that there is of a run, for who looks for an error."""
        instance, run_id = self._process_context.instance, request.path_params["run_id"]
        if await run_sync(instance.get_run_by_id, run_id) is None:
            raise HTTPException(404, "There is no such run.")
        response: Response = await in_thread(super().download_debug_file_endpoint, request)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def download_notebook(self, request: Request) -> Response:
        """A notebook of a code location, in a sandbox: it is not Apollo's."""
        response: Response = await in_thread(super().download_notebook, request)
        response.headers[_CSP] = SANDBOX_POLICY
        return response

    async def _report(
        self, endpoint: Callable[[Request], Awaitable[JSONResponse]], request: Request
    ) -> JSONResponse:
        """Take a report, once its entry says what it is about."""
        if asset := await reported_asset(request):
            about = f"{request.url.path} {asset}"
            await run_sync(self._parts.audit.complete, request.scope[ENTRY], about, None)
        return await in_thread(endpoint, request)

    async def report_asset_materialization_endpoint(self, request: Request) -> JSONResponse:
        """Take a script's word for a materialization."""
        return await self._report(super().report_asset_materialization_endpoint, request)

    async def report_asset_check_endpoint(self, request: Request) -> JSONResponse:
        """Take a script's word for what a check found."""
        return await self._report(super().report_asset_check_endpoint, request)

    async def report_asset_observation_endpoint(self, request: Request) -> JSONResponse:
        """Take a script's word for what it observed."""
        return await self._report(super().report_asset_observation_endpoint, request)


def _is_refusal(error: GraphQLError) -> bool:
    return isinstance(error.original_error, RefusedError)


def with_account(html: str, name: str) -> str:
    """Dagster's page with a link to the account page; its own scripts do not know of it."""
    link = (
        '<link rel="stylesheet" href="/auth/account.css"/>'
        f'<a class="apollo-account" href="/auth/account" title="Account and sign-out">'
        f"{escape(name)}</a>"
    )
    return html.replace("</body>", f"{link}</body>", 1)
