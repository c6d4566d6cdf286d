"""The instance's storage in Postgres: Dagster's own, but with one pool and batched events."""

import logging
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Final

import sqlalchemy
from dagster import DagsterInstance
from dagster._core.events import DagsterEvent
from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.storage.event_log import EventLogStorage
from dagster._core.storage.event_log.migration import ASSET_KEY_INDEX_COLS
from dagster._core.storage.runs import RunStorage
from dagster._core.storage.runs.schema import SnapshotsTable
from dagster._core.storage.runs.sql_run_storage import SnapshotType
from dagster._core.storage.schedules import ScheduleStorage
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage, PostgresScheduleStorage
from dagster_postgres.utils import retry_pg_connection_fn
from dagster_shared.serdes.utils import hash_str
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.instance.database import UNUSED_SNAPSHOT
from dagster_apollo.instance.event_buffer import Limits
from dagster_apollo.instance.postgres_events import BatchingEventLogStorage
from dagster_apollo.instance.postgres_guard import why_unsupported
from dagster_apollo.instance.postgres_pool import ConnectionPool, PoolOptions, shared_pool
from dagster_apollo.instance.postgres_writer import StorageUnavailableError, is_unreachable

_LOGGER: Final = logging.getLogger(__name__)
_MAIN_TABLES: Final = frozenset({"runs", "instance_info", "event_logs", "jobs"})
"""The tables by which stock's storages tell a database that has none of theirs."""
_WRITTEN_TABLES: Final = frozenset(
    {"event_logs", "asset_keys", "asset_event_tags", "asset_check_executions", "secondary_indexes"}
)
_IS_INDEXED: Final = sqlalchemy.text(
    "select exists (select from secondary_indexes "
    "where name = :name and migration_completed is not null)"
).bindparams(name=ASSET_KEY_INDEX_COLS)
_ATTEMPTS: Final = 3


class _Pooled:
    """A storage of stock's that takes its connections from the process's pool."""

    postgres_url: str

    def _use_pool(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._engine = pool.engine

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Use the webserver's pool."""
        options = PoolOptions.for_webserver(statement_timeout, pool_recycle, max_overflow)
        self._use_pool(shared_pool(self.postgres_url, options))


class PooledRunStorage(_Pooled, PostgresRunStorage):
    """Stock's runs, with connections of the process's pool."""

    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._use_pool(shared_pool(postgres_url))
        self._marks_are_there: bool | None = None

    def connect(self) -> AbstractContextManager[Connection]:
        """A connection of the pool."""
        return self._pool.connect()

    def register_instance(self, instance: DagsterInstance) -> None:
        """Have the instance serialize the plan of a new run once; stock does it three times.

        It is the largest part of what creating a run costs: twice for the plan's id, then to store
        it. The id is the digest of the very text that is stored.
        """
        super().register_instance(instance)
        domain = instance.run_domain
        stock = domain.ensure_persisted_execution_plan_snapshot

        def ensure_persisted(
            execution_plan_snapshot: ExecutionPlanSnapshot,
            job_snapshot_id: str,
            step_keys_to_execute: Sequence[str] | None,
        ) -> str:
            if execution_plan_snapshot.job_snapshot_id != job_snapshot_id:
                # stock says what is wrong with it
                return stock(execution_plan_snapshot, job_snapshot_id, step_keys_to_execute)
            return self._ensure_plan(serialize_value(execution_plan_snapshot))

        domain.ensure_persisted_execution_plan_snapshot = (  # type: ignore[method-assign]
            ensure_persisted
        )

    def _ensure_plan(self, serialized: str) -> str:
        snapshot_id = str(hash_str(serialized))
        if not self.has_execution_plan_snapshot(snapshot_id):
            row = insert(SnapshotsTable).values(
                snapshot_id=snapshot_id,
                snapshot_body=zlib.compress(serialized.encode()),
                snapshot_type=SnapshotType.EXECUTION_PLAN.value,
            )
            with self.connect() as connection:
                connection.execute(row.on_conflict_do_nothing())
        return snapshot_id

    def _has_snapshot_id(self, snapshot_id: str) -> bool:
        """Whether a snapshot is stored, of which a run is about to be made.

        Retention removes what is unused and marked. Taking the mark away first, by a statement of
        its own, leaves it no moment in between (retention/snapshots.py).
        """
        if self._has_marks():
            unmark = UNUSED_SNAPSHOT.delete().where(UNUSED_SNAPSHOT.c.snapshot_id == snapshot_id)
            with self.connect() as connection:
                connection.execute(unmark)
        return bool(super()._has_snapshot_id(snapshot_id))

    def _has_marks(self) -> bool:
        """Whether Apollo's own tables are there; a database that only Dagster made has none."""
        if self._marks_are_there is None:
            with self.connect() as connection:
                there = sqlalchemy.select(sqlalchemy.func.to_regclass(UNUSED_SNAPSHOT.name))
                self._marks_are_there = connection.execute(there).scalar() is not None
        return self._marks_are_there

    def has_execution_plan_snapshot(self, execution_plan_snapshot_id: str) -> bool:
        """Whether a plan is stored; stock reads and unpacks all of it to tell."""
        return bool(self._has_snapshot_id(execution_plan_snapshot_id))

    def handle_run_event(
        self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None
    ) -> None:
        """Say in the run what an event says of it; again, where a connection breaks meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                super().handle_run_event(run_id, event, update_timestamp)
            except SQLAlchemyError as error:
                if attempt == _ATTEMPTS or not is_unreachable(error):
                    raise
            else:
                return


class PooledScheduleStorage(_Pooled, PostgresScheduleStorage):
    """Stock's schedules and sensors, with connections of the process's pool."""

    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._use_pool(shared_pool(postgres_url))

    def connect(
        self,
        run_id: str | None = None,  # noqa: ARG002 - the base class has it
    ) -> AbstractContextManager[Connection]:
        """A connection of the pool."""
        return self._pool.connect()


class PooledPostgresStorage(DagsterPostgresStorage):
    """All three of them.

    Args:
        postgres_url: the database.
        home: the instance directory.
        inst_data: how Dagster makes this storage again.
        limits: when events are written.
    """

    def __init__(
        self,
        postgres_url: str,
        home: Path,
        inst_data: ConfigurableClassData | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False, inst_data=inst_data)
        self._pooled_runs = PooledRunStorage(postgres_url)
        self._pooled_schedules = PooledScheduleStorage(postgres_url)
        self._batched_events = BatchingEventLogStorage(
            postgres_url, self._pooled_runs, home, limits
        )
        _recover_spills(self._batched_events)

    @property
    def event_log_storage(self) -> EventLogStorage:
        """The event log."""
        return self._batched_events

    @property
    def run_storage(self) -> RunStorage:
        """The runs."""
        return self._pooled_runs

    @property
    def schedule_storage(self) -> ScheduleStorage:
        """The schedules and sensors."""
        return self._pooled_schedules


def open_postgres(
    postgres_url: str, home: Path, inst_data: ConfigurableClassData | None, limits: Limits
) -> DagsterPostgresStorage:
    """Open the instance's storage; stock's own where Dagster or its schema is not as expected."""
    pool = shared_pool(postgres_url)  # held, so that its first connection is the storage's
    why = why_unsupported() or _why_not_at_head(pool, postgres_url)
    if why is None:
        return PooledPostgresStorage(postgres_url, home, inst_data, limits)
    _LOGGER.warning("Postgres is used as stock Dagster uses it, which is slower: %s.", why)
    return DagsterPostgresStorage(postgres_url, inst_data=inst_data)


def _why_not_at_head(pool: ConnectionPool, postgres_url: str) -> str | None:
    """What keeps Apollo from writing to the tables; those of an empty database are made first."""
    names = set(retry_pg_connection_fn(lambda: sqlalchemy.inspect(pool.engine).get_table_names()))
    if not names >= _MAIN_TABLES:
        DagsterPostgresStorage(postgres_url)  # makes them, in its own way
        names |= _WRITTEN_TABLES
    with pool.connect() as connection:
        if names >= _WRITTEN_TABLES and connection.execute(_IS_INDEXED).scalar():
            return None
    return "the schema is older than this Dagster (dagster instance migrate)"


def _recover_spills(events: BatchingEventLogStorage) -> None:
    try:
        events.recover_spills()
    except (StorageUnavailableError, OSError) as error:
        _LOGGER.warning("Events of an earlier process stay on disk for now: %s", error)
