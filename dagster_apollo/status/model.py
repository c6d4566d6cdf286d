"""What there is to know of an instance, and what of that is wrong. It reads nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from dagster_apollo.retention.report import Outcome

_QUEUED_FOR: Final = timedelta(hours=1)
_PRUNED_WITHIN: Final = timedelta(hours=49)
_PRUNES_FOR: Final = timedelta(hours=24)
FAILED: Final = "FAILURE"


@dataclass(frozen=True)
class ServiceState:
    """A production process: the newest of its kind and name.

    Args:
        service: webserver, daemon or code-server.
        name: which of its kind.
        release: the release that it runs.
        host: where it runs.
        seen: when it was last heard of.
        is_up: whether it runs, as far as can be known.
    """

    service: str
    name: str
    release: str
    host: str
    seen: datetime
    is_up: bool


@dataclass(frozen=True)
class RunState:
    """A run.

    Args:
        run_id: the run.
        job: its job.
        tenant: the tenant that it builds; None where it says none.
        status: Dagster's word for how it is.
        since: when it was started, or else made.
    """

    run_id: str
    job: str
    tenant: str | None
    status: str
    since: datetime


@dataclass(frozen=True)
class TenantState:
    """A tenant's runs.

    Args:
        name: the tenant.
        last_run: the latest run that has ended.
        last_success: when the latest successful one ended.
    """

    name: str
    last_run: RunState | None
    last_success: datetime | None


@dataclass(frozen=True)
class Failing:
    """An asset that could not be built, or does not pass a check.

    Args:
        asset: the parts of its key, joined by `/`.
        check: the check; None: the asset itself.
        severity: `error`, or `warn` for a check that only warns.
        run_id: the run in which it failed.
        at: when.
    """

    asset: str
    check: str | None
    severity: Literal["error", "warn"]
    run_id: str
    at: datetime

    @property
    def tenant(self) -> str:
        """The tenant whose asset it is: the first part of the key."""
        return self.asset.partition("/")[0]


@dataclass(frozen=True)
class ScheduleState:
    """A schedule that is on.

    Args:
        name: the schedule.
        last: when it last had a tick; None: never.
        last_status: how that ended.
        next: when it is due.
    """

    name: str
    last: datetime | None
    last_status: str | None
    next: datetime | None


@dataclass(frozen=True)
class Status:
    """All of it.

    Args:
        at: when it was so, in UTC.
        storage: where the instance keeps its history.
        database_bytes: how large that is.
        services: the production processes; none on a laptop.
        queued: runs that wait, the oldest first.
        running: runs in progress, the oldest first.
        tenants: the tenants.
        failing: what fails.
        schedules: the schedules that are on, the next first.
        retention: how the last prune ended; None: there was none.
    """

    at: datetime
    storage: Literal["Postgres", "SQLite"]
    database_bytes: int
    services: Sequence[ServiceState]
    queued: Sequence[RunState]
    running: Sequence[RunState]
    tenants: Sequence[TenantState]
    failing: Sequence[Failing]
    schedules: Sequence[ScheduleState]
    retention: Outcome | None

    @property
    def problems(self) -> tuple[str, ...]:
        """What somebody should look at, each in a sentence; none where all is well."""
        return tuple(_problems(self))


def _problems(status: Status) -> Iterator[str]:
    for service in status.services:
        if not service.is_up:
            yield f"The {service.service} {service.name} is down, since {moment(service.seen)}"
    if status.services and not any(
        service.service == "daemon" and service.is_up for service in status.services
    ):
        yield "No daemon runs: nothing is scheduled and no run leaves the queue"
    if status.queued and status.at - status.queued[0].since > _QUEUED_FOR:
        yield f"{len(status.queued)} runs are queued, since {moment(status.queued[0].since)}"
    for tenant in status.tenants:
        if tenant.last_run is not None and tenant.last_run.status == FAILED:
            yield f"The last run of {tenant.name} failed: {tenant.last_run.run_id}"
    if broken := [item for item in status.failing if item.severity == "error"]:
        assets = sorted({item.asset for item in broken})
        more = f" and {len(assets) - 3} more" if len(assets) > 3 else ""  # noqa: PLR2004
        yield f"Failing: {', '.join(assets[:3])}{more}"
    if status.retention is not None:
        yield from _of_retention(status.retention, status.at)


def _of_retention(last: Outcome, now: datetime) -> Iterator[str]:
    if last.error is not None:
        yield f"Retention failed at {moment(last.started)}: {last.error}"
    elif last.ended is None and now - last.started > _PRUNES_FOR:
        yield f"Retention has not come to an end since {moment(last.started)}"
    elif last.ended is not None and now - last.ended > _PRUNED_WITHIN:
        yield f"Retention has not run since {moment(last.ended)}"


def moment(value: datetime) -> str:
    """A moment for people."""
    return f"{value:%Y-%m-%d %H:%M} UTC"
