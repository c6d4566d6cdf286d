"""`apollo webserver`: everything that is there before the first request, and until the last."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster_webserver.version import __version__
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from dagster_apollo.instance.database import engine_of
from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.instance.schema import require_current
from dagster_apollo.services.addresses import require_free
from dagster_apollo.services.contract import ServiceSettings, load_both, load_services
from dagster_apollo.services.registry import registered
from dagster_apollo.services.signals import StopSignals
from dagster_apollo.services.workspace import CodeServers, open_workspace
from dagster_apollo.web.account import AccountPages
from dagster_apollo.web.addresses import is_loopback
from dagster_apollo.web.attempts import Attempts
from dagster_apollo.web.audit import Audit
from dagster_apollo.web.authentication import Authentication
from dagster_apollo.web.contract import WebSettings, load_web
from dagster_apollo.web.errors import OUTAGES
from dagster_apollo.web.front_door import unavailable
from dagster_apollo.web.health import Health
from dagster_apollo.web.metrics import Metrics, status_reader
from dagster_apollo.web.sessions import Sessions
from dagster_apollo.web.sign_in import SignInPages
from dagster_apollo.web.tokens import Tokens
from dagster_apollo.web.webserver import ApolloWebserver, Parts

_STATEMENT_MILLISECONDS = 15_000
_POOL_RECYCLE_SECONDS = 3600
_POOL_MAX_OVERFLOW = 20
_OWN_POOL_SIZE = 10
_OWN_POOL_SECONDS = 3
_OWN_STATEMENT_SECONDS = 5
_KEEP_ALIVE_SECONDS = 120
"""Longer than a proxy keeps an idle connection, or it would send a request into one that closes."""
_MOST_HEADER_BYTES = 64 * 1024
_MOST_MESSAGE_BYTES = 1024 * 1024
MOST_CONNECTIONS = 500
"""Open at one time, idle ones and WebSockets among them; each may hold a header in memory."""
_TICK_SECONDS = 0.5
_RESERVE_SECONDS = 5
_LONGEST_DRAIN_SECONDS = 20
_log = logging.getLogger("apollo.web")


class _Server(uvicorn.Server):
    """Uvicorn, which looks less often whether it is to end: ten times a second adds up."""

    async def main_loop(self) -> None:
        """Look until it is to end; what `on_tick` does once a second is each tenth count."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 5) % 864_000
            await asyncio.sleep(_TICK_SECONDS)


def run_webserver(host: str, port: int | None, default_port: int, signals: StopSignals) -> int:
    """Serve the UI until asked to stop.

    Args:
        host: the address to listen at.
        port: the port; None: PORT, else the default.
        default_port: the port that counts where nothing else is said.
        signals: kept, so that the process ends in order: uvicorn raises a signal anew when it has
            stopped.

    Returns:
        The exit code of the process.

    Raises:
        ApolloError: bad configuration, an address that cannot be served at, a schema of another
            release, or a webserver that does not belong to the other services.
    """
    services, settings = load_both(
        lambda: load_services(needs_code_server=True), lambda: load_web(host)
    )
    port = port or services.port or default_port
    require_free(host, port)
    require_current(services.dagster_pg_uri)
    _say_who_gets_in(settings, host)
    code_servers = CodeServers(services.code_servers)
    with (
        open_instance(services.dagster_home, RELEASE_CONFIG) as instance,
        registered(services, "webserver"),
        serving(settings, services.dagster_pg_uri, instance, code_servers) as app,
    ):
        if not signals.requests:
            _log.info("Serving at %s, port %s", host, port)
            server = _Server(_configuration(app, services, host, port))
            server.run()
            if not server.started:
                return 1
    return 0


@contextlib.contextmanager
def serving(
    settings: WebSettings,
    uri: SecretStr,
    instance: DagsterInstance,
    workspace: WorkspaceLoadTarget,
) -> Iterator[Starlette]:
    """The application, for the length of a `with` block.

    Args:
        settings: the front door's settings.
        uri: the database of the instance and of Apollo's own tables.
        instance: the Dagster instance.
        workspace: where the code locations are.
    """
    instance.optimize_for_webserver(
        _STATEMENT_MILLISECONDS, _POOL_RECYCLE_SECONDS, _POOL_MAX_OVERFLOW
    )
    engine = engine_of(
        uri,
        pool_size=_OWN_POOL_SIZE,
        pool_seconds=_OWN_POOL_SECONDS,
        statement_seconds=_OWN_STATEMENT_SECONDS,
    )
    try:
        with open_workspace(instance, workspace, _log, version=__version__) as context:
            sessions = Sessions(settings, engine) if settings.requires_sign_in else None
            tokens, attempts, audit = Tokens(engine), Attempts(), Audit(engine)
            parts = Parts(
                settings=settings,
                authentication=Authentication(settings, sessions, tokens, attempts),
                audit=audit,
                pages=[
                    *SignInPages(settings, sessions, attempts, audit).routes(),
                    *AccountPages(settings.session_lifetime, tokens, audit).routes(),
                    *Metrics(status_reader(instance, engine)).routes(),
                ],
                health=Health(context, uri),
            )
            handlers = dict.fromkeys(OUTAGES, _unavailable)
            yield ApolloWebserver(context, parts).create_asgi_app(exception_handlers=handlers)
    finally:
        engine.dispose()


def _unavailable(_request: Request, error: Exception) -> Response:
    return unavailable(error)


def _configuration(
    app: Starlette, services: ServiceSettings, host: str, port: int
) -> uvicorn.Config:
    """How uvicorn serves: its access log would hold query strings, and names the software.

    What anybody can make it keep in memory has an end: httptools takes headers of any size.
    """
    drain = max(1, min(_LONGEST_DRAIN_SECONDS, services.shutdown_seconds - _RESERVE_SECONDS))
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        http="h11",
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        ws_max_size=_MOST_MESSAGE_BYTES,
        limit_concurrency=MOST_CONNECTIONS,
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # trusted by APOLLO_TRUSTED_PROXIES alone; uvicorn's default differs
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=drain,
    )


def _say_who_gets_in(settings: WebSettings, host: str) -> None:
    if settings.requires_sign_in:
        ways = [f"{len(settings.users)} user(s) by password"] if settings.users else []
        if settings.oidc:
            ways.append(f"people of {settings.oidc.issuer}")
        _log.info("Sign-in is required: %s", ", ".join(ways))
        if not settings.trusted_proxies and (settings.is_https or not is_loopback(host)):
            _log.warning(
                "APOLLO_TRUSTED_PROXIES is not set: if a proxy is in front, all who come through "
                "it count as one address, and one of them can use up the attempts of all"
            )
    else:
        _log.warning(
            "No sign-in is configured: everybody who reaches %s on this machine is an admin", host
        )
