"""Reads the state of an instance: what `apollo status` and /metrics show."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import sqlalchemy
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData
from dagster._core.storage.dagster_run import FINISHED_STATUSES, IN_PROGRESS_RUN_STATUSES, RunRecord
from dagster._utils.schedules import cron_string_iterator
from sqlalchemy import func, select

from dagster_apollo.instance.database import SERVICE
from dagster_apollo.retention.report import read_outcome
from dagster_apollo.services.registry import LOST_AFTER
from dagster_apollo.status.failing import failing_assets
from dagster_apollo.status.model import (
    RunState,
    ScheduleState,
    ServiceState,
    Status,
    TenantState,
)
from dagster_apollo.tenants import Tenant

TENANT_TAG: Final = "apollo/tenant"
_REMEMBERED: Final = timedelta(days=1)
"""A service that was last heard of longer ago is not missed any more."""
_MOST_RUNS: Final = 500


def gather(
    instance: DagsterInstance,
    engine: sqlalchemy.Engine | None,
    home: Path,
    tenants: Sequence[Tenant],
) -> Status:
    """The state of an instance.

    Args:
        instance: the Dagster instance.
        engine: its Postgres database; None: SQLite files.
        home: the instance directory.
        tenants: the tenants of this checkout.
    """
    now = datetime.now(UTC)
    return Status(
        at=now,
        storage="SQLite" if engine is None else "Postgres",
        database_bytes=_files(home) if engine is None else _database(engine),
        services=() if engine is None else tuple(_services(engine)),
        queued=_runs(instance, [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED]),
        running=_runs(
            instance, [it for it in IN_PROGRESS_RUN_STATUSES if it is not DagsterRunStatus.QUEUED]
        ),
        tenants=tuple(_tenant(instance, tenant.name) for tenant in tenants),
        failing=tuple(failing_assets(instance, now)),
        schedules=tuple(_schedules(instance, tenants, now)),
        retention=read_outcome(instance),
    )


def _database(engine: sqlalchemy.Engine) -> int:
    with engine.connect() as connection:
        size = select(func.pg_database_size(func.current_database()))
        return int(connection.execute(size).scalar_one())


def _files(home: Path) -> int:
    """The bytes of Dagster's SQLite files."""
    files = (file for part in ("history", "schedules") for file in (home / part).rglob("*.db"))
    return sum(file.stat().st_size for file in files)


def _services(engine: sqlalchemy.Engine) -> Iterator[ServiceState]:
    """Of each service the process that started last."""
    of = SERVICE.c
    now = func.now()
    query = (
        select(
            of.service,
            of.name,
            of.release,
            of.host,
            of.heartbeat_at,
            (of.stopped_at.is_(None) & (of.heartbeat_at > now - LOST_AFTER)).label("is_up"),
        )
        .where(of.heartbeat_at > now - _REMEMBERED)
        .order_by(of.started_at)
    )
    with engine.connect() as connection:
        newest = {(row.service, row.name): row for row in connection.execute(query)}
    for _, row in sorted(newest.items()):
        yield ServiceState(
            row.service, row.name, row.release, row.host, row.heartbeat_at, row.is_up
        )


def _runs(instance: DagsterInstance, statuses: Sequence[DagsterRunStatus]) -> tuple[RunState, ...]:
    chosen = RunsFilter(statuses=list(statuses))
    records = instance.get_run_records(chosen, limit=_MOST_RUNS, ascending=True)
    return tuple(map(_run, records))


def _run(record: RunRecord) -> RunState:
    run = record.dagster_run
    began = (
        datetime.fromtimestamp(record.start_time, UTC)
        if record.start_time
        else record.create_timestamp.astimezone(UTC)
    )
    return RunState(run.run_id, run.job_name, run.tags.get(TENANT_TAG), run.status.value, began)


def _tenant(instance: DagsterInstance, name: str) -> TenantState:
    def latest(statuses: Iterable[DagsterRunStatus]) -> RunRecord | None:
        chosen = RunsFilter(tags={TENANT_TAG: name}, statuses=list(statuses))
        return next(iter(instance.get_run_records(chosen, limit=1)), None)

    last, success = latest(FINISHED_STATUSES), latest([DagsterRunStatus.SUCCESS])
    ended = success and (success.end_time or success.update_timestamp.timestamp())
    return TenantState(
        name,
        _run(last) if last else None,
        datetime.fromtimestamp(ended, UTC) if ended else None,
    )


def _schedules(
    instance: DagsterInstance, tenants: Sequence[Tenant], now: datetime
) -> list[ScheduleState]:
    """The schedules that are on, as far as the daemon has met them; the next first."""
    zones = {
        f"{tenant.identifier}_build_schedule": tenant.config.timezone
        for tenant in tenants
        if tenant.fault is None
    }
    found = [
        _schedule(instance, state, zones.get(state.name, "UTC"), now)
        for state in instance.all_instigator_state()
        if state.instigator_type is InstigatorType.SCHEDULE and state.is_running
    ]
    return sorted(found, key=lambda item: (item.next is None, item.next, item.name))


def _schedule(
    instance: DagsterInstance, state: InstigatorState, zone: str, now: datetime
) -> ScheduleState:
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    data = state.instigator_data
    following = None
    if isinstance(data, ScheduleInstigatorData) and isinstance(data.cron_schedule, str):
        moments = cron_string_iterator(now.timestamp(), data.cron_schedule, zone)
        following = next(moments).astimezone(UTC)
    last = ticks[0] if ticks else None
    return ScheduleState(
        state.name,
        datetime.fromtimestamp(last.timestamp, UTC) if last else None,
        last.status.value if last else None,
        following,
    )
