"""`/metrics`: the state of the instance for Prometheus, which signs in by a token."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import anyio
import sqlalchemy
from anyio.to_thread import run_sync
from dagster import DagsterInstance
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from dagster_apollo.errors import ApolloError
from dagster_apollo.settings import load_process, tenants_directory
from dagster_apollo.status.gather import gather
from dagster_apollo.status.model import FAILED, Status
from dagster_apollo.tenants import find_tenants
from dagster_apollo.web.identity import identity_of

PATH: Final = "/metrics"
_KEPT_SECONDS: Final = 15.0


class Metrics:
    """Answers `/metrics`; looks once in a while, however many scrapers there are.

    Args:
        read: reads the state of the instance, which may take a second.
    """

    def __init__(self, read: Callable[[], Status]) -> None:
        self._read = read
        self._lock = anyio.Lock()
        self._answer: tuple[float, str] | None = None

    def routes(self) -> list[BaseRoute]:
        """The route."""
        return [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """All metrics, in Prometheus' text format; not for who is limited to some tenants."""
        if identity_of(request).grant.tenants is not None:
            text = "The metrics are of all tenants; you are limited to some."
            return JSONResponse({"error": text}, 403)
        async with self._lock:
            now = time.monotonic()
            if self._answer is None or now - self._answer[0] > _KEPT_SECONDS:
                text = await run_sync(lambda: exposition(self._read()))
                self._answer = (now, text)
            text = self._answer[1]
        headers = {"Cache-Control": "no-store"}
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4, headers=headers)


def status_reader(instance: DagsterInstance, engine: sqlalchemy.Engine) -> Callable[[], Status]:
    """What reads the state of this webserver's instance."""

    def read() -> Status:
        process = load_process()
        try:
            tenants = find_tenants(tenants_directory(process))
        except ApolloError:  # a webserver has no tenants of its own; the others are still to be had
            tenants = ()
        return gather(instance, engine, process.dagster_home, tenants)

    return read


def exposition(status: Status) -> str:
    """A state of the instance in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(status))
    return generate_latest(registry).decode()


class _Families(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every metric of Apollo's."""
        status = self._status
        yield from _services(status)
        yield from _runs(status)
        yield from _tenants(status)
        yield from _others(status)


def _services(status: Status) -> Iterator[GaugeMetricFamily]:
    up = _family("apollo_service_up", "Whether a service runs.", "service", "name", "release")
    seen = _family(
        "apollo_service_last_seen_timestamp_seconds",
        "When a service was last heard of.",
        *("service", "name"),
    )
    for it in status.services:
        up.add_metric([it.service, it.name, it.release], it.is_up)
        seen.add_metric([it.service, it.name], it.seen.timestamp())
    yield from (up, seen)


def _runs(status: Status) -> Iterator[GaugeMetricFamily]:
    runs = _family("apollo_runs", "Runs that are not over.", "state")
    since = _family(
        "apollo_oldest_run_timestamp_seconds", "Since when the oldest of them is so.", "state"
    )
    for state, found in (("queued", status.queued), ("running", status.running)):
        runs.add_metric([state], len(found))
        if found:
            since.add_metric([state], found[0].since.timestamp())
    yield from (runs, since)


def _tenants(status: Status) -> Iterator[GaugeMetricFamily]:
    success = _family(
        "apollo_tenant_last_success_timestamp_seconds",
        "When a tenant's last successful run ended.",
        "tenant",
    )
    failed = _family(
        "apollo_tenant_last_run_failed", "Whether a tenant's last run failed.", "tenant"
    )
    for tenant in status.tenants:
        if tenant.last_success is not None:
            success.add_metric([tenant.name], tenant.last_success.timestamp())
        if tenant.last_run is not None:
            failed.add_metric([tenant.name], tenant.last_run.status == FAILED)
    failing = _family(
        "apollo_failing", "Assets and checks that fail.", "tenant", "kind", "severity"
    )
    counts = Counter(
        (item.tenant, "check" if item.check else "asset", item.severity) for item in status.failing
    )
    for labels, count in counts.items():
        failing.add_metric(labels, count)
    yield from (success, failed, failing)


def _others(status: Status) -> Iterator[GaugeMetricFamily]:
    ticks = _family(
        "apollo_schedule_next_tick_timestamp_seconds", "When a schedule is due.", "schedule"
    )
    for schedule in status.schedules:
        if schedule.next is not None:
            ticks.add_metric([schedule.name], schedule.next.timestamp())
    size = _family("apollo_database_size_bytes", "How large the instance's database is.")
    size.add_metric([], status.database_bytes)
    problems = _family("apollo_problems", "What `apollo status` calls wrong.")
    problems.add_metric([], len(status.problems))
    pruned = _family(
        "apollo_retention_last_success_timestamp_seconds",
        "When the last prune began that came to its end.",
    )
    failed = _family("apollo_retention_failed", "Whether the last prune failed.")
    if status.retention is not None:
        failed.add_metric([], status.retention.error is not None)
        if status.retention.succeeded is not None:
            pruned.add_metric([], status.retention.succeeded.timestamp())
    yield from (ticks, size, problems, pruned, failed)


def _family(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=labels)
