"""The table of run workers: who executes a run, and when it was last heard of.

Each statement is one transaction of its own and decides by itself: of two processes that claim a
run one gets it, and of a heartbeat and a declaration of death whichever comes first excludes the
other. All times are the database's.
"""

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dagster import DagsterRunStatus
from sqlalchemy import text
from sqlalchemy.engine import Row

from dagster_apollo.instance.liveness import LOST_AFTER_BEATS, Cause, Rhythm, WorkerState
from dagster_apollo.instance.postgres_pool import ConnectionPool, shared_pool
from dagster_apollo.settings import load_process

_EXISTS: Final = text("select to_regclass('apollo_run_worker') is not null as there")
# A row whose worker has left while its run has not begun is free again: the run was handed back to
# the queue meanwhile (its code server died while it launched the run).
_CLAIM: Final = text("""
    insert into apollo_run_worker as it
        (run_id, worker, server, host, pid, beat_seconds, lease_seconds, started_at, heartbeat_at)
    values
        (:run_id, :worker, :server, :host, :pid, :beat_seconds, :lease_seconds, now(), now())
    on conflict (run_id) do update set
        worker = excluded.worker, server = excluded.server, host = excluded.host,
        pid = excluded.pid, beat_seconds = excluded.beat_seconds,
        lease_seconds = excluded.lease_seconds,
        started_at = now(), heartbeat_at = now(), ended_at = null
    where it.lost_at is null and (it.worker is null or it.ended_at is not null)
    returning run_id
""")
_BEAT: Final = text("""
    update apollo_run_worker as it set heartbeat_at = now() from runs
    where it.run_id = :run_id and it.worker = :worker and it.lost_at is null
        and runs.run_id = it.run_id
    returning runs.status
""")
_END: Final = text("""
    update apollo_run_worker set ended_at = now(), heartbeat_at = now()
    where run_id = :run_id and worker = :worker and lost_at is null
""")
_READ: Final = text("""
    select *, extract(epoch from now() - heartbeat_at)::float as silent_seconds
    from apollo_run_worker where run_id = :run_id
""")
_FENCE: Final = text("""
    update apollo_run_worker set lost_at = now(), cause = coalesce(cause, 'lost')
    where run_id = :run_id and lost_at is null
        and heartbeat_at < now() - make_interval(secs => :beats * beat_seconds)
    returning run_id
""")
_BAR: Final = text("""
    insert into apollo_run_worker (run_id, lost_at, cause) values (:run_id, now(), 'not started')
    on conflict (run_id) do nothing returning run_id
""")
_NOTE: Final = text("""
    insert into apollo_run_worker as it (run_id, cause) values (:run_id, :cause)
    on conflict (run_id) do update set cause = coalesce(it.cause, excluded.cause)
""")


class NotOurRunError(Exception):
    """Another process executes the run, or nobody may any more."""


@dataclass(frozen=True)
class Claim:
    """A run that this process executes.

    Args:
        run_id: the run.
        worker: this process, told from all others.
    """

    run_id: str
    worker: str


class RunWorkers:
    """The table, by the connections of the process's pool."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        pool.join(self)

    @classmethod
    def open(cls) -> "RunWorkers | None":
        """The table of the instance's database; None where there is none, as on a laptop.

        Raises:
            ConfigurationError: the environment is not valid.
            SQLAlchemyError: the database is away.
        """
        uri = load_process().dagster_pg_uri
        if uri is None:
            return None
        workers = cls(shared_pool(uri.get_secret_value()))
        row = workers._first(_EXISTS)  # Dagster's tables make themselves, Apollo's are migrated
        return workers if row and row.there else None

    def claim(self, run_id: str, rhythm: Rhythm, *, server: str | None = None) -> Claim:
        """Become the one process that executes a run.

        Raises:
            NotOurRunError: another one is, or the run was given up.
            DagsterPostgresException: the database stayed away for some six seconds.
        """
        claim = Claim(run_id, uuid.uuid4().hex)
        values = {
            "run_id": run_id,
            "worker": claim.worker,
            "server": server,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "beat_seconds": rhythm.beat_seconds,
            "lease_seconds": rhythm.lease_seconds,
        }
        with self._pool.connect() as connection:  # which is patient
            if connection.execute(_CLAIM, values).first() is None:
                raise NotOurRunError
        return claim

    def beat(self, claim: Claim) -> DagsterRunStatus:
        """Say that this process still executes a run, and be told how the run is doing.

        Raises:
            NotOurRunError: the run was taken from it, or deleted.
        """
        row = self._first(_BEAT, run_id=claim.run_id, worker=claim.worker)
        if row is None:
            raise NotOurRunError
        return DagsterRunStatus(row.status)

    def end(self, claim: Claim) -> None:
        """Say that this process leaves a run, whatever has become of it."""
        self._run(_END, run_id=claim.run_id, worker=claim.worker)

    def read(self, run_id: str) -> WorkerState | None:
        """What there is of the worker of a run."""
        row = self._first(_READ, run_id=run_id)
        return None if row is None else worker_state(row._mapping)

    def fence(self, run_id: str) -> bool:
        """Declare a worker dead, if it is still silent. From then on it cannot be heard again."""
        return self._first(_FENCE, run_id=run_id, beats=LOST_AFTER_BEATS) is not None

    def bar(self, run_id: str) -> bool:
        """Let no worker come up any more for a run that has none."""
        return self._first(_BAR, run_id=run_id) is not None

    def note(self, run_id: str, cause: Cause) -> None:
        """Note what ended a run, unless that is known already."""
        self._run(_NOTE, run_id=run_id, cause=cause)

    def _first(self, statement: Any, **values: object) -> Row[Any] | None:  # noqa: ANN401
        with self._pool.engine.connect() as connection:
            return connection.execute(statement, values).first()

    def _run(self, statement: Any, **values: object) -> None:  # noqa: ANN401
        with self._pool.engine.connect() as connection:
            connection.execute(statement, values)


def worker_state(row: Mapping[Any, Any]) -> WorkerState:
    """What a row says, with `silent_seconds` beside its columns."""
    return WorkerState(
        host=row["host"] or "",
        pid=row["pid"],
        rhythm=Rhythm(row["beat_seconds"] or 0, row["lease_seconds"] or 0),
        heard_at=row["heartbeat_at"],
        silent_seconds=row["silent_seconds"] or 0.0,
        is_lost=row["lost_at"] is not None,
        cause=row["cause"],
    )
