"""One small pool of connections to the instance's database, shared by a process's storages.

Stock dagster-postgres opens a connection for every statement or two (SQLAlchemy's NullPool), one
pool for each of its three storages. Here all storages of one database share one pool, for as long
as any of them is in use. A connection that a restart of the server has broken is found by a ping
when it is taken, and replaced.
"""

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import sqlalchemy
from dagster_postgres.utils import (
    DagsterPostgresException,
    retry_pg_connection_fn,
    set_pg_statement_timeout,
)
from sqlalchemy.engine import Connection, Engine

from dagster_apollo.instance.database import connect_arguments

POOL_SIZE: Final = 2
MAX_OVERFLOW: Final = 3
"""With POOL_SIZE, the most connections of a process that is not a webserver."""
_WEBSERVER_POOL_SIZE: Final = 3
_RECYCLE_SECONDS: Final = 1800


class PoolOptions(NamedTuple):
    """How large a pool is, and how long a statement may take."""

    size: int = POOL_SIZE
    overflow: int = MAX_OVERFLOW
    recycle: int = _RECYCLE_SECONDS
    statement_timeout: int | None = None
    """Milliseconds; None where a statement may take as long as it does."""

    @classmethod
    def for_webserver(
        cls, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> "PoolOptions":
        """What the webserver asks for, once for all storages instead of once for each."""
        return cls(_WEBSERVER_POOL_SIZE, max_overflow, pool_recycle, statement_timeout)


class ConnectionPool:
    """The connections of a process to one database."""

    def __init__(self, url: str, options: PoolOptions) -> None:
        self.engine: Final = sqlalchemy.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=options.size,
            max_overflow=options.overflow,
            pool_recycle=options.recycle,
            pool_pre_ping=True,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args=connect_arguments(url),
        )
        self.patience = 0.0
        """Seconds for which `connect` goes on where stock gives up, after some six."""
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        if options.statement_timeout is not None:
            _limit_statements(self.engine, options.statement_timeout)

    def join(self, user: object) -> None:
        """Keep connections open for a user, until it leaves or is no more."""
        self._users.add(user)

    def leave(self, user: object) -> None:
        """Close the connections that are not in use, if this was the last user."""
        self._users.discard(user)
        if not self._users:
            self.engine.dispose()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection that commits each statement; it goes back to the pool.

        Raises:
            DagsterPostgresException: the server cannot be reached.
        """
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    def _connect(self) -> Connection:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return retry_pg_connection_fn(self.engine.connect)
            except DagsterPostgresException:
                if time.monotonic() >= deadline:
                    raise


def shared_pool(url: str, options: PoolOptions = PoolOptions()) -> ConnectionPool:  # noqa: B008
    """The process's pool for a database, which exists as long as somebody holds it."""
    with _lock:
        pool = _pools.get((url, options))
        if pool is None:
            pool = _pools[url, options] = ConnectionPool(url, options)
            weakref.finalize(pool, pool.engine.dispose)
        return pool


def _limit_statements(engine: Engine, milliseconds: int) -> None:
    @sqlalchemy.event.listens_for(engine, "connect")
    def limit(connection: Any, _record: object) -> None:  # noqa: ANN401
        set_pg_statement_timeout(connection, milliseconds)


def _after_fork() -> None:
    """Leave the parent's connections to the parent."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    for pool in list(_pools.values()):
        pool.engine.dispose(close=False)


_lock = threading.Lock()
_pools: weakref.WeakValueDictionary[tuple[str, PoolOptions], ConnectionPool] = (
    weakref.WeakValueDictionary()
)
os.register_at_fork(after_in_child=_after_fork)
