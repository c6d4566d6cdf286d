"""Whether the process lives, and whether the whole can be used: one word each, for everybody.

`/healthz` says that this process answers. `/readyz` looks at everything that it takes; what is
missing is in the log, once a change, and never in the answer.
"""

import logging
import time
from collections.abc import Iterator
from typing import Final

import anyio
import sqlalchemy
from anyio.to_thread import run_sync
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.controller import all_daemons_live
from pydantic import SecretStr
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import SERVICE
from dagster_apollo.instance.schema import SchemaState, connected, read_schema
from dagster_apollo.services.registry import LOST_AFTER

_LIMIT_SECONDS: Final = 3.0
_KEPT_SECONDS: Final = 2.0
_SCHEMA_KEPT_SECONDS: Final = 60.0
_HEADERS: Final = {"Cache-Control": "no-store"}
_log = logging.getLogger("apollo.health")


def faults_of_schema(states: tuple[SchemaState, ...]) -> Iterator[str]:
    """What is wrong with the database's schema, for a webserver that runs already.

    One that is ahead is not: it is there for the minutes of a deploy, in which the next release has
    migrated and this one still serves.
    """
    for item in states:
        if item.state in {"missing", "behind"}:
            yield str(item)


class Health:
    """Answers `/healthz` and `/readyz`."""

    def __init__(self, context: WorkspaceProcessContext, uri: SecretStr) -> None:
        self._context = context
        self._uri = uri
        self._lock = anyio.Lock()
        self._threads = anyio.CapacityLimiter(2)
        self._answer: tuple[float, bool] | None = None
        self._schema_was_good = float("-inf")
        self._said: tuple[str, ...] | None = None

    def routes(self) -> list[BaseRoute]:
        """The two routes."""
        return [Route("/healthz", _healthz), Route("/readyz", self.readyz)]

    async def readyz(self, _request: Request) -> PlainTextResponse:
        """Whether everything is there: 200 ready, or 503 unready, within three seconds."""
        ready = False
        with anyio.move_on_after(_LIMIT_SECONDS):
            ready = await self._is_ready()
        if ready:
            return PlainTextResponse("ready", headers=_HEADERS)
        return PlainTextResponse("unready", 503, headers=_HEADERS)

    async def _is_ready(self) -> bool:
        """Looks once for all who ask at a time, since everybody may ask."""
        async with self._lock:
            now = time.monotonic()
            if self._answer and now - self._answer[0] < _KEPT_SECONDS:
                return self._answer[1]
            faults: tuple[str, ...] = ("no answer in time",)
            try:
                faults = await run_sync(self.look, abandon_on_cancel=True, limiter=self._threads)
            finally:  # cancelled, where it took too long
                self._say(faults)
                self._answer = (time.monotonic(), not faults)
            return not faults

    def look(self) -> tuple[str, ...]:
        """What is missing."""
        try:
            with connected(self._uri) as connection:
                return (
                    *self._schema_faults(connection),
                    *self._daemon_faults(connection),
                    *self._code_faults(),
                )
        except ApolloError as error:
            return (str(error),)
        except Exception as error:  # noqa: BLE001
            return (f"looking failed ({type(error).__name__})",)

    def _schema_faults(self, connection: sqlalchemy.Connection) -> Iterator[str]:
        """Looked at once in a while: it takes longer than all the rest."""
        now = time.monotonic()
        if now - self._schema_was_good > _SCHEMA_KEPT_SECONDS:
            faults = list(faults_of_schema(read_schema(connection)))
            yield from faults
            if not faults:
                self._schema_was_good = now

    def _daemon_faults(self, connection: sqlalchemy.Connection) -> Iterator[str]:
        """That its process lives, which shows within a minute, and that its threads do."""
        running = select(SERVICE.c.id).where(
            SERVICE.c.service == "daemon",
            SERVICE.c.stopped_at.is_(None),
            SERVICE.c.heartbeat_at > func.now() - LOST_AFTER,
        )
        if connection.execute(running).first() is None:
            yield "no daemon runs"
        elif not all_daemons_live(self._context.instance):
            yield "a thread of the daemon has not been heard of lately"

    def _code_faults(self) -> Iterator[str]:
        entries = self._context.get_current_workspace().code_location_entries
        if not entries:
            yield "there is no code location"
        for name, entry in entries.items():
            if entry.load_error or entry.code_location is None:
                yield f"the code location {name} is not loaded"

    def _say(self, faults: tuple[str, ...]) -> None:
        if faults == self._said:
            return
        if faults:
            _log.warning("Not ready: %s", "; ".join(faults))
        else:
            _log.info("Ready")
        self._said = faults


async def _healthz(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok", headers=_HEADERS)
