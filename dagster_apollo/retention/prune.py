"""A prune: everything that goes, in the order in which it may go.

A prune is a generator that does a few milliseconds' work at a time. Whoever drives it can pause
between two steps, and stop after any: the next prune goes on where this one was.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dagster import DagsterInstance
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable as Runs
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from sqlalchemy import ColumnElement, Engine, func, literal_column, select, text

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import PRUNED_RUN
from dagster_apollo.retention.contract import Policy
from dagster_apollo.retention.files import remove_directories, stale_below
from dagster_apollo.retention.plan import Connect, Plan, make_plan
from dagster_apollo.retention.queries import row_of, values_of
from dagster_apollo.retention.removal import (
    note_orphans,
    remove_check_results,
    remove_runless_events,
    remove_runs,
    remove_traces,
)
from dagster_apollo.retention.report import Outcome, Report, read_outcome, write_outcome
from dagster_apollo.retention.rules import apply_rules, rules, survey_rules
from dagster_apollo.retention.snapshots import remove_snapshots, survey_snapshots

_AT_A_TIME: Final = 500
_LOCK: Final = 0x41504F4C4C4F0003  # "APOLLO", and a number; services/leadership.py has another
_RUNS, _EVENTS, _CHECKS = "runs", "events", "results of checks"
_SNAPSHOTS, _DIRECTORIES = "snapshots of jobs and plans", "directories"
Steps = Generator[None, None, Report]


class RetentionError(ApolloError):
    """Something of a prune did not work; the rest is done."""


@dataclass(frozen=True)
class Scope:
    """What is pruned.

    Args:
        instance: the Dagster instance.
        engine: its Postgres database; None: SQLite files.
        home: the instance directory of this host.
        tenants: the identifiers of the tenants; none where that is not known.
        policy: for how long history is kept.
    """

    instance: DagsterInstance
    engine: Engine | None
    home: Path
    tenants: frozenset[str]
    policy: Policy


def prune(scope: Scope, *, dry_run: bool = False) -> Steps:
    """Remove what is older than the policy says, or only count it.

    Yields:
        After each step.

    Raises:
        RetentionError: a part failed that keeps no other from being done.
    """
    now = datetime.now(UTC)
    report = Report()
    plan = yield from make_plan(*_connections(scope), scope.policy, now)
    failures: list[str] = []
    if dry_run:
        yield from _survey(scope, plan, report, now)
    elif scope.engine is not None:
        with _alone(scope.engine):
            yield from _remove(scope, scope.engine, plan, report, now, failures)
    else:
        yield from _remove_by_dagster(scope.instance, plan, report)
    gone = frozenset(plan.runs) if dry_run else frozenset()
    stale = stale_below(
        scope.home,
        scope.tenants,
        lambda run_id: run_id not in gone and scope.instance.has_run(run_id),
        now,
    )
    yield from remove_directories(stale, report.of(_DIRECTORIES), dry_run=dry_run)
    if failures:
        raise RetentionError(f"Not removed: {'; '.join(failures[:5])} ({len(failures)} in all).")
    return report


def recorded(scope: Scope, steps: Steps) -> Steps:
    """Drive a prune, and record in the instance how it goes.

    Yields:
        After each step.
    """
    last = read_outcome(scope.instance)
    outcome = Outcome(datetime.now(UTC), succeeded=last.succeeded if last else None)
    write_outcome(scope.instance, outcome)
    try:
        report = yield from steps
    except GeneratorExit:
        raise  # the process stops; the outcome stays without an end
    except Exception as error:
        reason = str(error) if isinstance(error, ApolloError) else type(error).__name__
        ended = datetime.now(UTC)
        write_outcome(scope.instance, replace(outcome, ended=ended, error=reason))
        raise
    ended = datetime.now(UTC)
    write_outcome(
        scope.instance,
        replace(outcome, ended=ended, removed=report.rows, succeeded=outcome.started),
    )
    return report


def paced(steps: Steps, pause: Callable[[float], object] = time.sleep) -> Steps:
    """Pause after each step for as long as it took, so that others get at least half of the time.

    Yields:
        After each step.
    """
    while True:
        began = time.monotonic()
        try:
            next(steps)
        except StopIteration as ended:
            report: Report = ended.value
            return report
        pause(min(0.5, time.monotonic() - began))
        yield


def run_through(steps: Steps) -> Report:
    """Drive a prune to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            report: Report = ended.value
            return report


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Let nobody else prune meanwhile: twice the work, and half of each report.

    Raises:
        RetentionError: somebody else does.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(
            text("select pg_try_advisory_lock(:key)"), {"key": _LOCK}
        ).scalar():
            raise RetentionError("Another prune of this instance goes on. Wait for its end.")
        try:
            yield
        finally:
            connection.execute(text("select pg_advisory_unlock(:key)"), {"key": _LOCK})


def _connections(scope: Scope) -> tuple[Connect, Connect]:
    """How to reach events and runs; on Postgres each statement by itself, from a pool of two."""
    if scope.engine is not None:
        reading = scope.engine.execution_options(isolation_level="AUTOCOMMIT")
        return reading.connect, reading.connect
    events, runs = scope.instance.event_log_storage, scope.instance.run_storage
    if not isinstance(events, SqlEventLogStorage) or not isinstance(runs, SqlRunStorage):
        raise ApolloError(
            "The instance's storage is neither Postgres nor SQLite: there is nothing to prune it "
            "with. Set DAGSTER_PG_URI, or take `storage` out of dagster.yaml."
        )
    return events.index_connection, runs.connect


def _remove(
    scope: Scope, engine: Engine, plan: Plan, report: Report, now: datetime, failures: list[str]
) -> Iterator[None]:
    logs = scope.instance.compute_log_manager
    yield from remove_runs(engine, plan, report.of(_RUNS))
    yield from note_orphans(engine, plan)
    yield from remove_traces(engine, logs, report.of(_EVENTS), failures)
    yield from remove_check_results(engine, plan, report.of(_CHECKS))
    yield from remove_runless_events(engine, plan, report.of(_EVENTS))
    chosen = rules(scope.policy, now, scope.instance)
    yield from apply_rules(engine, chosen, report.of)
    if scope.policy.runs is not None:
        yield from remove_snapshots(engine, report.of(_SNAPSHOTS))


def _remove_by_dagster(instance: DagsterInstance, plan: Plan, report: Report) -> Iterator[None]:
    """SQLite keeps a file for each run, and takes care of one at a time."""
    for run_id in plan.runs:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        report.of(_RUNS).add(1)
        yield


def _survey(scope: Scope, plan: Plan, report: Report, now: datetime) -> Iterator[None]:
    report.of(_RUNS).add(len(plan.runs))
    if scope.engine is None:
        return
    runs, engine = plan.runs, scope.engine
    with engine.connect() as connection:
        left = values_of(connection, select(PRUNED_RUN.c.run_id))
    for start in range(0, len(runs), _AT_A_TIME):
        some = runs[start : start + _AT_A_TIME]
        with engine.connect() as connection:
            made = func.min(Runs.c.create_timestamp)
            query = select(made, _size_of("runs")).where(Runs.c.run_id.in_(some))
            report.of(_RUNS).add(0, *row_of(connection, query))
        yield
    for name, table, moment, of in (
        (_EVENTS, Events, Events.c.timestamp, [*runs, *left]),
        (_CHECKS, Checks, Checks.c.evaluation_event_timestamp, runs),
    ):
        item = report.of(name)
        item.size = 0
        for start in range(0, len(of), _AT_A_TIME):
            some = of[start : start + _AT_A_TIME]
            with engine.connect() as connection:
                counts = select(func.count(), func.min(moment), _size_of(table.name))
                item.add(*row_of(connection, counts.where(table.c.run_id.in_(some))))
            yield
    yield from survey_rules(engine, rules(scope.policy, now, scope.instance), report.of)
    if scope.policy.runs is not None:
        yield from survey_snapshots(engine, frozenset(runs), report.of(_SNAPSHOTS))


def _size_of(table: str) -> "ColumnElement[Any]":
    return func.sum(func.pg_column_size(literal_column(f'"{table}"')))
