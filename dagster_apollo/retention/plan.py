"""What would go of runs, checks and events: everything that is decided before anything is deleted.

It only reads, in short statements, on Postgres and on SQLite alike.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.runs.schema import BulkActionsTable, RunsTable, RunTagsTable
from dagster._core.storage.tags import ROOT_RUN_ID_TAG
from sqlalchemy import Connection, Row, func, select

from dagster_apollo.retention.choice import Kept, RunFacts, choose_runs
from dagster_apollo.retention.contract import Policy
from dagster_apollo.retention.protection import (
    Protected,
    asset_keys,
    horizon,
    protect_asset,
    protect_inputs,
    protect_instance,
)

FINISHED: Final = frozenset(status.value for status in FINISHED_STATUSES)
BACKFILL_IS_OVER: Final = BulkActionsTable.c.status.in_(
    [status.value for status in BULK_ACTION_TERMINAL_STATUSES]
)
_AT_A_TIME: Final = 1000
Connect = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Plan:
    """What goes of the runs.

    Args:
        up_to: the id of the newest event that may go.
        assets: all assets, in the form of the tables.
        groups: the groups of runs that go, the oldest first.
        protected: what stays of what is old.
    """

    up_to: int = 0
    assets: list[str] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    protected: Protected = field(default_factory=Protected)

    @property
    def runs(self) -> list[str]:
        """The runs that go."""
        return [run_id for group in self.groups for run_id in group]


def make_plan(
    events: Connect, runs: Connect, policy: Policy, now: datetime
) -> Generator[None, None, Plan]:
    """Decide what goes.

    Args:
        events: connects to the database of the event log.
        runs: connects to the database of the runs.
        policy: for how long history is kept.
        now: the time, in UTC.

    Yields:
        After each asset, so that whoever drives it can pause or stop.
    """
    if policy.runs is None:
        return Plan()
    before = now - policy.runs
    protected = Protected()
    with events() as connection:
        up_to = horizon(connection, before.replace(tzinfo=None))
        protect_instance(connection, protected)
        assets = asset_keys(connection)
    materializations: set[int] = set()
    for asset_key in assets:
        with events() as connection:
            materializations |= protect_asset(connection, asset_key, up_to, protected)
        yield
    with events() as connection:
        yield from protect_inputs(connection, materializations, protected)
    with runs() as connection:
        kept = Kept(protected.runs, frozenset(_open_backfills(connection)))
        groups = choose_runs(_facts(connection), kept, before, policy.runs_per_job)
    yield
    return Plan(up_to, assets, groups, protected)


def _open_backfills(connection: Connection) -> Iterator[str]:
    query = select(BulkActionsTable.c.key).where(~BACKFILL_IS_OVER)
    yield from connection.execute(query).scalars()


def _facts(connection: Connection) -> Iterator[RunFacts]:
    """All runs, the newest first."""
    run, tag = RunsTable.c, RunTagsTable.c
    query = (
        select(
            run.id,
            run.run_id,
            func.coalesce(tag.value, run.run_id).label("root"),
            run.pipeline_name,
            run.partition,
            run.backfill_id,
            run.status,
            run.end_time,
            run.update_timestamp,
        )
        .select_from(
            RunsTable.outerjoin(
                RunTagsTable, (tag.run_id == run.run_id) & (tag.key == ROOT_RUN_ID_TAG)
            )
        )
        .order_by(run.id.desc())
        .limit(_AT_A_TIME)
    )
    page = connection.execute(query).all()
    while page:
        yield from map(_fact, page)
        page = connection.execute(query.where(run.id < page[-1].id)).all()


def _fact(row: "Row[Any]") -> RunFacts:
    ended = None
    if row.status in FINISHED:
        ended = (
            datetime.fromtimestamp(row.end_time, UTC)
            if row.end_time
            else row.update_timestamp.replace(tzinfo=UTC)
        )
    return RunFacts(
        row.run_id, row.root, row.pipeline_name or "", row.partition, row.backfill_id, ended
    )
