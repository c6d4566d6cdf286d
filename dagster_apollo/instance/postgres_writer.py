"""A batch of events in one transaction, exactly once.

When a connection breaks while COMMIT is under way, only the server knows whether the batch is
stored. Each batch therefore knows the id of its transaction before it commits, and before it is
written again the server is asked what became of that transaction.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy
from dagster import EventLogEntry
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy import Connection, TextClause, bindparam, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.event_buffer import is_status
from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.event_rows import (
    CheckStage,
    EventRow,
    Rows,
    asset_rows,
    check_stages,
    tag_rows,
)
from dagster_apollo.instance.postgres_pool import ConnectionPool

_EVENT_COLUMNS: Final = {
    "id": "bigint",
    "run_id": "text",
    "event": "text",
    "dagster_event_type": "text",
    "timestamp": "timestamp",
    "step_key": "text",
    "asset_key": "text",
    "partition": "text",
}
_CHECK_COLUMNS: Final = {
    "asset_key": "text",
    "check_name": "text",
    "partition": "text",
    "run_id": "text",
    "execution_status": "text",
    "evaluation_event": "text",
    "evaluation_event_timestamp": "timestamp",
    "evaluation_event_storage_id": "bigint",
    "materialization_event_storage_id": "bigint",
}
_ASSET_COLUMNS: Final = {
    "asset_key": "text",
    "last_materialization": "text",
    "last_run_id": "text",
    "last_materialization_timestamp": "timestamptz",
}
_TAG_COLUMNS: Final = {
    "event_id": "bigint",
    "asset_key": "text",
    "key": "text",
    "value": "text",
    "event_timestamp": "timestamp",
}
_CHECK_KEY: Final = ("asset_key", "check_name", "run_id", "partition")
_NOT_REACHED: Final = frozenset({"25006", "40001", "40P01", "53300"})
"""SQLSTATEs that are no fault of the batch: read-only, conflicts, too many connections."""
_OUTCOME_SECONDS: Final = 10.0
"""How long a transaction of a lost connection may go on before its backend is ended."""


class StorageUnavailableError(ApolloError, DagsterPostgresException):
    """The instance's database cannot be reached."""


class Commit(NamedTuple):
    """A transaction that was, or may have been, committed."""

    xid: int
    """Postgres's 64-bit id of the transaction."""
    pid: int
    """The server's process that ran it."""


@dataclass
class Batch:
    """Events to be written together.

    Args:
        events: the events, in order.
        doubt: the transaction that may have stored them already.
        before_commit: told of the transaction, and of the ids that it gives to promised events,
            just before it is committed.
    """

    events: Sequence[EventLogEntry]
    doubt: Commit | None = None
    before_commit: Callable[[Commit, Mapping[int, int]], None] | None = None


class EventWriter:
    """Writes batches to Dagster's tables.

    Args:
        pool: gives the pool, which may be replaced.
        prepare: makes rows of events, in Dagster's own way.
        promises: the promises that these events may refer to.
    """

    def __init__(
        self,
        pool: Callable[[], ConnectionPool],
        prepare: Callable[[Sequence[EventLogEntry]], Sequence[EventRow]],
        promises: Promises,
    ) -> None:
        self._pool = pool
        self._prepare = prepare
        self._promises = promises

    def write(self, batch: Batch) -> None:
        """Store a batch, unless it is stored already.

        Raises:
            StorageUnavailableError: the database could not be reached. What is written again must
                be the same batch, since `doubt` may have been set.
        """
        try:
            if batch.doubt is not None:
                if self._is_stored(batch, batch.doubt):
                    batch.doubt = None
                    self._promises.release(batch.events)
                    return
                batch.doubt = None
            if not batch.events:
                return
            rows = self._prepare(batch.events)
            with self._pool().engine.connect() as connection:
                self._transact(connection, batch, rows)
        except Exception as error:
            if is_unreachable(error):
                raise StorageUnavailableError(
                    f"The instance's database cannot be reached ({type(error).__name__}). "
                    "See to the server, or correct DAGSTER_PG_URI."
                ) from error
            raise

    def _transact(self, connection: Connection, batch: Batch, rows: Sequence[EventRow]) -> None:
        connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin() as transaction:
            commit = write_rows(connection, rows, self._promises)
            if batch.before_commit:
                promised = [row.promise for row in rows if row.promise is not None]
                batch.before_commit(commit, {it: self._promises.id_of(it) for it in promised})
            batch.doubt = commit  # until COMMIT is answered
            transaction.commit()
            batch.doubt = None
            self._promises.release(batch.events)

    def _is_stored(self, batch: Batch, commit: Commit) -> bool:
        """Ask what became of a transaction."""
        deadline = time.monotonic() + _OUTCOME_SECONDS
        with self._pool().engine.connect() as connection:
            while True:
                outcome = _outcome(connection, commit.xid)
                if outcome is None:  # too old, or of a server of which this one is an older copy
                    return not batch.events or _holds(connection, batch.events[0], self._prepare)
                if outcome != "in progress":
                    return outcome == "committed"
                if time.monotonic() > deadline:
                    connection.execute(_END_BACKEND, commit._asdict())
                time.sleep(0.1)


def is_unreachable(error: Exception) -> bool:
    """Whether an error says that the database is away or busy, rather than that it refuses."""
    if isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError)):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or getattr(error.orig, "pgcode", "") in _NOT_REACHED
    return isinstance(error, DagsterPostgresException)


def write_rows(connection: Connection, rows: Sequence[EventRow], promises: Promises) -> Commit:
    """Write all rows of some events, within the connection's transaction.

    A last event that says how its run is doing gets its id last, so that the time between id and
    commit is as short as stock's: whoever follows the log by id could skip it otherwise.
    """
    late = len(rows) > 1 and is_status(rows[-1].event)
    first = rows[:-1] if late else rows
    ids, commit = _insert_events(connection, first, promises)
    kept = [row.kept(promises) for row in first]
    if assets := asset_rows(kept, ids):
        connection.execute(_UPSERT_ASSETS, _arrays(assets, _ASSET_COLUMNS))
    if tags := tag_rows(kept, ids):
        connection.execute(_INSERT_TAGS, _arrays(tags, _TAG_COLUMNS))
    for stage in check_stages(kept, ids, promises):
        _write_checks(connection, stage)
    if late:
        _insert_events(connection, rows[-1:], promises)
    return commit


def _insert_events(
    connection: Connection, rows: Sequence[EventRow], promises: Promises
) -> tuple[list[int], Commit]:
    reserved = connection.execute(_RESERVE_IDS, {"count": len(rows)}).all()
    ids = sorted(int(row.id) for row in reserved)
    promises.keep(
        {row.promise: event_id for row, event_id in zip(rows, ids, strict=True) if row.promise}
    )
    values = [
        {**row.kept(promises).values, "id": event_id}
        for row, event_id in zip(rows, ids, strict=True)
    ]
    connection.execute(_INSERT_EVENTS, _arrays(values, _EVENT_COLUMNS))
    return ids, Commit(reserved[0].xid, reserved[0].pid)


def _write_checks(connection: Connection, stage: CheckStage) -> None:
    if new := [*stage.planned, *stage.runless]:
        connection.execute(_INSERT_CHECKS, _arrays(new, _CHECK_COLUMNS))
    if not stage.evaluated:
        return
    updated = connection.execute(
        _UPDATE_CHECKS, _arrays(list(stage.evaluated.values()), _CHECK_COLUMNS)
    ).all()
    planned = {tuple(row) for row in updated}
    # a check that was not planned, as where a step launcher executes it
    if new := [values for key, values in stage.evaluated.items() if key not in planned]:
        connection.execute(_INSERT_CHECKS, _arrays(new, _CHECK_COLUMNS))


def _outcome(connection: Connection, xid: int) -> str | None:
    try:
        return connection.execute(_OUTCOME, {"xid": xid}).scalar()
    except sqlalchemy.exc.DataError:  # an id that this server has not come to yet
        return None


def _holds(
    connection: Connection,
    event: EventLogEntry,
    prepare: Callable[[Sequence[EventLogEntry]], Sequence[EventRow]],
) -> bool:
    values = prepare([event])[0].values
    return bool(
        connection.execute(_HOLDS, {"run_id": values["run_id"], "event": values["event"]}).scalar()
    )


def _arrays(rows: Rows, columns: Iterable[str]) -> dict[str, list[Any]]:
    return {column: [row[column] for row in rows] for column in columns}


def _unnest(columns: Mapping[str, str], alias: str = "v") -> str:
    arrays = ", ".join(f"cast(:{name} as {kind}[])" for name, kind in columns.items())
    return f"unnest({arrays}) with ordinality as {alias}({_names(columns)}, place)"


def _names(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name}" for name in columns)


def _insert(table: str, columns: Mapping[str, str]) -> str:
    return (
        f"insert into {table} ({_names(columns)}) "  # noqa: S608
        f"select {_names(columns, 'v.')} from {_unnest(columns)} order by v.place"
    )


def _upsert_assets() -> TextClause:
    kept = ", ".join(
        f"{name} = coalesce(excluded.{name}, asset_keys.{name})"
        for name in _ASSET_COLUMNS
        if name != "asset_key"
    )
    insert = _insert("asset_keys", _ASSET_COLUMNS)
    return text(f"{insert} on conflict (asset_key) do update set {kept}")


def _update_checks() -> TextClause:
    changed = [name for name in _CHECK_COLUMNS if name not in _CHECK_KEY]
    return text(
        "update asset_check_executions as t "  # noqa: S608
        f"set {', '.join(f'{name} = v.{name}' for name in changed)} "
        f"from {_unnest(_CHECK_COLUMNS)} "
        "where t.asset_key = v.asset_key and t.check_name = v.check_name and t.run_id = v.run_id "
        "and t.partition is not distinct from v.partition "
        f"returning {_names(_CHECK_KEY, 'v.')}"
    )


_RESERVE_IDS: Final = text(
    "select nextval(pg_get_serial_sequence('event_logs', 'id')) as id, txid_current() as xid, "
    "pg_backend_pid() as pid from generate_series(1, :count)"
)
_INSERT_EVENTS: Final = text(_insert("event_logs", _EVENT_COLUMNS))
_INSERT_TAGS: Final = text(_insert("asset_event_tags", _TAG_COLUMNS))
_INSERT_CHECKS: Final = text(_insert("asset_check_executions", _CHECK_COLUMNS))
_UPSERT_ASSETS: Final = _upsert_assets()
_UPDATE_CHECKS: Final = _update_checks()
_OUTCOME: Final = text("select txid_status(:xid)")
_END_BACKEND: Final = text(
    "select pg_terminate_backend(pid) from pg_stat_activity where pid = :pid "
    "and backend_xid::text::bigint = mod(:xid, 4294967296)"
)
_HOLDS: Final = text(
    "select exists (select from event_logs where run_id = :run_id and event = :event)"
).bindparams(bindparam("run_id"), bindparam("event"))
