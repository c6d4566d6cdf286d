"""A batch of events in one transaction, exactly once.

When a connection breaks while COMMIT is under way, only the server knows whether the batch is
stored. Each batch therefore knows the id of its transaction before it commits, and before it is
written again the server is asked what became of that transaction.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy
from dagster import EventLogEntry
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.event_rows import EventRow
from dagster_apollo.instance.postgres_pool import ConnectionPool
from dagster_apollo.instance.postgres_statements import Commit, write_rows

_NOT_REACHED: Final = frozenset({"25006", "40001", "40P01", "53300"})
"""SQLSTATEs that are no fault of the batch: read-only, conflicts, too many connections."""
_OUTCOME_SECONDS: Final = 10.0
"""How long a transaction of a lost connection may go on before its backend is ended."""


class StorageUnavailableError(ApolloError, DagsterPostgresException):
    """The instance's database cannot be reached."""


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
                    return self._holds(connection, batch.events[:1])
                if outcome != "in progress":
                    return outcome == "committed"
                if time.monotonic() > deadline:
                    connection.execute(_END_BACKEND, commit._asdict())
                time.sleep(0.1)

    def _holds(self, connection: Connection, events: Sequence[EventLogEntry]) -> bool:
        """Whether events are in the log; a batch is there as a whole, or not at all."""
        rows = [row.kept(self._promises).values for row in self._prepare(events)]
        return all(
            connection.execute(_HOLDS, {"run_id": row["run_id"], "event": row["event"]}).scalar()
            for row in rows
        )


def is_unreachable(error: Exception) -> bool:
    """Whether an error says that the database is away or busy, rather than that it refuses."""
    if isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError)):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or getattr(error.orig, "pgcode", "") in _NOT_REACHED
    return isinstance(error, DagsterPostgresException)


def _outcome(connection: Connection, xid: int) -> str | None:
    try:
        return connection.execute(_OUTCOME, {"xid": xid}).scalar()
    except sqlalchemy.exc.DataError:  # an id that this server has not come to yet
        return None


_OUTCOME: Final = text("select txid_status(:xid)")
_END_BACKEND: Final = text(
    "select pg_terminate_backend(pid) from pg_stat_activity where pid = :pid "
    "and backend_xid::text::bigint = mod(:xid, 4294967296)"
)
_HOLDS: Final = text(
    "select exists (select from event_logs where run_id = :run_id and event = :event)"
)
