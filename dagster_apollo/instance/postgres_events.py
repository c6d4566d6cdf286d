"""Dagster's event log in Postgres, written in batches."""

import atexit
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from dagster import AssetKey, DagsterInstance, DagsterRunStatus, EventLogEntry
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.base import AssetRecord
from dagster._core.storage.runs import RunStorage
from dagster._time import datetime_from_timestamp
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import text
from sqlalchemy.engine import Connection

from dagster_apollo.instance.event_buffer import Limits
from dagster_apollo.instance.event_delivery import EventDelivery
from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.event_rows import EventRow
from dagster_apollo.instance.event_spill import Spill, spill_folder
from dagster_apollo.instance.postgres_pool import PoolOptions, shared_pool
from dagster_apollo.instance.postgres_writer import (
    Batch,
    EventWriter,
    StorageUnavailableError,
    is_unreachable,
)

_PLANNED_EVENTS: Final = 1_000_000
"""So many planned events of a run are handed over at once: all of them."""
_RUNS: Final = text("select run_id, status from runs where run_id = any(:run_ids)")


class BatchingEventLogStorage(PostgresEventLogStorage):
    """Stock's event log, but for the way in which events are written.

    What the tables hold afterwards is what stock would have left in them, and everything that is
    read through this storage includes what was stored through it.

    Args:
        postgres_url: the database.
        run_storage: the runs of the same instance.
        home: the instance directory, below which events wait while the database is away.
        limits: when events are written.
    """

    def __init__(
        self, postgres_url: str, run_storage: RunStorage, home: Path, limits: Limits
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._run_storage = run_storage
        self._limits = limits
        self._folder = spill_folder(home, postgres_url)
        self._tables: set[str] = set()
        self._columns: set[str] = set()
        self._use_pool(PoolOptions())
        self._promises = Promises()
        self._writer = EventWriter(lambda: self._pool, self._prepare, self._promises)
        self._delivery = EventDelivery(
            self._writer.write, self._recover, self._folder, limits, self._promises
        )
        _deliveries.add(self._delivery)

    def _use_pool(self, options: PoolOptions) -> None:
        self._pool = shared_pool(self.postgres_url, options)
        self._pool.join(self)
        self._engine = self._pool.engine

    def register_instance(self, instance: DagsterInstance) -> None:
        """Have the instance hand over a run's planned events together, not one by one."""
        super().register_instance(instance)
        if not os.environ.get("DAGSTER_EVENT_BATCH_SIZE"):
            instance._get_event_batch_size = lambda: _PLANNED_EVENTS  # type: ignore[method-assign]

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event: now, or soon where its run is being buffered.

        Raises:
            StorageUnavailableError: the database is away, and was waited for in vain.
        """
        self._store([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run, all or none, whatever they are.

        Raises:
            StorageUnavailableError: the database is away, and was waited for in vain.
        """
        kept = [
            event
            for event in events
            if not (event.dagster_event and event.dagster_event.is_asset_failed_to_materialize)
        ]
        if kept:
            self._store(kept)

    def _store(self, events: Sequence[EventLogEntry]) -> None:
        try:
            self._delivery.store(events)
        finally:
            self._pool.patience = self._delivery.patience

    @contextmanager
    def buffering(self, run_id: str) -> Iterator[None]:
        """Write a run's events in batches while this is active (see `event_buffering`)."""
        try:
            with self._delivery.buffering(run_id):
                self._pool.patience = self._delivery.patience
                yield
        finally:
            self._pool.patience = self._delivery.patience

    def recover_spills(self) -> None:
        """Store events that processes which are gone left on disk.

        Raises:
            StorageUnavailableError: the database is away; the events stay on disk.
        """
        for spill in Spill.adopt(self._folder, self._promises):
            spill.replay(self._recover, lambda _event, _error: None)
            spill.remove()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Allow more connections, and limit the time of a statement."""
        self._pool.leave(self)
        self._use_pool(PoolOptions.for_webserver(statement_timeout, pool_recycle, max_overflow))

    def has_table(self, table_name: str) -> bool:
        """Whether a table exists; asked once, for tables do not go."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether `asset_keys` has a column; asked once, for columns do not go."""
        if column_name not in self._columns and super().has_asset_key_col(column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    def get_asset_records(
        self, asset_keys: Sequence[AssetKey] | None = None
    ) -> Sequence[AssetRecord]:
        """The records of assets; of those that a run that executes here has just materialized,
        only what it says itself, and no more of the table: their ids may be promises.
        """  # noqa: D205
        promised = self._promises.records(asset_keys) if asset_keys else None
        return super().get_asset_records(asset_keys) if promised is None else promised

    def dispose(self) -> None:
        """Write what waits, and close the connections."""
        super().dispose()
        self._delivery.close()
        self._pool.leave(self)

    def _connect(self) -> AbstractContextManager[Connection]:
        self._delivery.flush()
        return self._pool.connect()

    def _prepare(self, events: Sequence[EventLogEntry]) -> list[EventRow]:
        return [
            EventRow(
                event,
                self._event_to_row(event),
                self._tags_for_asset_event(event),
                self._promises.of(event),
            )
            for event in events
        ]

    def _recover(self, batch: Batch) -> None:
        """Store a batch that was on disk, but for runs that were deleted since."""
        statuses = self._statuses({event.run_id for event in batch.events})
        batch.events = [
            event for event in batch.events if not event.run_id or event.run_id in statuses
        ]
        self._writer.write(batch)
        for event in batch.events:
            if (
                event.dagster_event
                and event.dagster_event.is_job_event
                and statuses[event.run_id] not in FINISHED_STATUSES
            ):
                self._run_storage.handle_run_event(
                    event.run_id, event.dagster_event, datetime_from_timestamp(event.timestamp)
                )

    def _statuses(self, run_ids: set[str]) -> dict[str, DagsterRunStatus]:
        try:
            with self._pool.engine.connect() as connection:
                rows = connection.execute(_RUNS, {"run_ids": sorted(run_ids)}).all()
        except Exception as error:
            if is_unreachable(error):
                raise StorageUnavailableError(
                    "The instance's database cannot be reached."
                ) from error
            raise
        return {str(row.run_id): DagsterRunStatus(row.status) for row in rows}


def _after_fork() -> None:
    for delivery in list(_deliveries):
        delivery.reset()


def _at_exit() -> None:
    for delivery in list(_deliveries):
        delivery.close()


_deliveries: weakref.WeakSet[EventDelivery] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
