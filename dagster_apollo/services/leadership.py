"""Which daemon is the active one: the holder of an advisory lock of a Postgres session.

The lock lives exactly as long as the session. Postgres ends that at once when the process dies,
and within 12 s when its host vanishes (TCP keepalives, set for this session). The holder makes
sure once a second that it still holds it, and gives up earlier than Postgres does: after 8 s
without an answer.

A pooler that hands out another session for each transaction would give the lock to everybody, so
it is refused.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import sqlalchemy
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import DatabaseUnreachableError

_KEY: Final = 0x41504F4C4C4F0002  # "APOLLO", and a number; instance/schema.py has another
LOOK_EVERY_SECONDS: Final = 1.0
_GIVE_UP_SECONDS: Final = 8.0
_SESSION: Final = {
    # a vanished host is noticed after 6 + 3 * 2 s: later than it gives up itself
    "tcp_keepalives_idle": "6",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "12000",
    "idle_session_timeout": "0",
    "statement_timeout": "3000",
}
_CONNECT: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
_PROBES: Final = 5
_TAKE: Final = text("select pg_try_advisory_lock(:key)")
_HELD: Final = text(
    "select pg_backend_pid(), exists (select from pg_locks where pid = pg_backend_pid() and "
    "locktype = 'advisory' and objsubid = 1 and classid = :high and objid = :low and granted)"
)
_HOLDER: Final = text(
    "select application_name, host(client_addr) from pg_locks join pg_stat_activity using (pid) "
    "where database = (select oid from pg_database where datname = current_database()) and "
    "locktype = 'advisory' and objsubid = 1 and classid = :high and objid = :low and granted"
)
_NUMBERS: Final = {"high": _KEY >> 32, "low": _KEY & 0xFFFFFFFF}
_log = logging.getLogger("apollo.daemon")


class PoolerError(ApolloError):
    """DAGSTER_PG_URI leads to a pooler that does not keep a session for a client."""

    def __init__(self) -> None:
        super().__init__(
            "DAGSTER_PG_URI: leads to a connection pooler in transaction mode, where the lock that "
            "keeps two daemons from running at once does not hold. Set it to the address of the "
            "database itself, or of a pooler in session mode (on Render: the database's own "
            "connection string)."
        )


class LeadershipLostError(Exception):
    """The lock is not, or not surely, held any more. The text is safe to log."""


def shares_sessions(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two connections that are open side by side do not each have a session of their own.

    Args:
        first: the process ids of the Postgres sessions that the one saw, statement by statement.
        second: those that the other saw.
    """
    return len(set(first)) > 1 or len(set(second)) > 1 or bool(set(first) & set(second))


def refuse_pooler(uri: SecretStr) -> None:
    """Make sure that a connection keeps its session.

    Raises:
        PoolerError: it does not.
        DatabaseUnreachableError: the database cannot be reached.
    """
    with _engine(uri) as engine:
        try:
            with engine.connect() as one, engine.connect() as other:
                # in an uneven order, which a pooler that deals sessions in turn cannot match
                seen: tuple[list[int], list[int]] = ([], [])
                for number in range(_PROBES):
                    seen[0].append(_session(one))
                    seen[1].extend(_session(other) for _ in range(1 + number % 2))
        except SQLAlchemyError as error:
            raise DatabaseUnreachableError(error) from None
    if shares_sessions(*seen):
        raise PoolerError


class Leadership:
    """The lock of the active daemon, and the connection that holds it."""

    def __init__(self, uri: SecretStr) -> None:
        self._uri = uri
        self._engine = contextlib.ExitStack()
        self._connection: sqlalchemy.Connection | None = None
        self._session = 0
        self._confirmed = 0.0

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it.

        Raises:
            SQLAlchemyError: the database cannot be reached; the next call connects anew.
        """
        sent = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self._connect()
            taken = self._connection.execute(_TAKE, {"key": _KEY})
            if not taken.scalar():
                return False
        except SQLAlchemyError:
            self._disconnect()
            raise
        self._confirmed = sent
        return True

    def holder(self) -> str:
        """Who holds the lock, in words."""
        if self._connection is None:
            return "nobody"
        row = self._connection.execute(_HOLDER, _NUMBERS).first()
        if row is None:
            return "nobody"
        return f"{row[0] or 'a session of another user'} (from {row[1] or 'the same host'})"

    def confirm(self) -> None:
        """Make sure that the lock is still held.

        Raises:
            LeadershipLostError: it is not.
        """
        sent = time.monotonic()
        if self._connection is None:
            raise LeadershipLostError("the connection is closed")
        try:
            row = self._connection.execute(_HELD, _NUMBERS).one()
        except SQLAlchemyError as error:  # its text may hold the URI
            raise LeadershipLostError(
                f"the database ended the connection or does not answer ({type(error).__name__})"
            ) from None
        if row[0] != self._session:
            raise LeadershipLostError("the connection was moved to another session by a pooler")
        if not row[1]:
            raise LeadershipLostError("the session does not hold the lock any more")
        self._confirmed = sent

    @contextlib.contextmanager
    def guarded(self, on_loss: Callable[[str], None]) -> Iterator[None]:
        """Watch over the lock for the length of a `with` block.

        Args:
            on_loss: called once, with the reason, on a thread of its own.
        """
        done = threading.Event()
        lost = threading.Lock()

        def report(reason: str) -> None:
            if not done.is_set() and lost.acquire(blocking=False):
                on_loss(reason)

        def confirm() -> None:
            while not done.wait(LOOK_EVERY_SECONDS):
                try:
                    self.confirm()
                except LeadershipLostError as error:
                    report(str(error))
                    return

        def keep_time() -> None:
            while not done.wait(LOOK_EVERY_SECONDS / 2):
                if time.monotonic() - self._confirmed > _GIVE_UP_SECONDS:
                    report(f"the database has not answered for {_GIVE_UP_SECONDS:.0f} s")
                    return

        threads = [threading.Thread(target=it, daemon=True) for it in (confirm, keep_time)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join(timeout=_GIVE_UP_SECONDS)

    def close(self) -> None:
        """Give the lock back, if it is held, by ending the session."""
        self._disconnect()

    def _connect(self) -> sqlalchemy.Connection:
        connection = self._engine.enter_context(_engine(self._uri)).connect()
        for name, value in _SESSION.items():
            with contextlib.suppress(SQLAlchemyError):  # idle_session_timeout: Postgres 14
                connection.exec_driver_sql(f"set {name} = {value}")
        self._session = _session(connection)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.close()
        self._engine.close()


@contextlib.contextmanager
def _engine(uri: SecretStr) -> Iterator[sqlalchemy.Engine]:
    """An engine whose connections are closed when they are given back, and commit by themselves."""
    name = f"apollo daemon, {socket.gethostname()[:40]}, pid {os.getpid()}"
    engine = sqlalchemy.create_engine(
        uri.get_secret_value(),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={**_CONNECT, "application_name": name},
    )
    try:
        yield engine
    finally:
        engine.dispose()


def _session(connection: sqlalchemy.Connection) -> int:
    return int(connection.exec_driver_sql("select pg_backend_pid()").scalar_one())
