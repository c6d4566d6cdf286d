"""The failed runs of which it is not decided yet whether they are resumed; in Postgres."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dagster import DagsterRunStatus
from sqlalchemy import text

from dagster_apollo.instance.liveness import WorkerState
from dagster_apollo.instance.postgres_pool import ConnectionPool, shared_pool
from dagster_apollo.instance.run_workers import RunWorkers, worker_state
from dagster_apollo.settings import load_process

# Dagster's times are of UTC, without a zone.
_FIND: Final = text("""
    select runs.run_id, runs.status, it.host, it.pid, it.beat_seconds, it.lease_seconds,
        it.heartbeat_at,
        it.lost_at, it.cause, it.requested_at,
        extract(epoch from now() - it.heartbeat_at)::float as silent_seconds
    from runs left join apollo_run_worker as it using (run_id)
    where it.settled_at is null and (
        runs.status = 'FAILURE'
            and runs.update_timestamp > (now() at time zone 'utc') - interval '1 day'
        or it.requested_at is not null and runs.status in ('FAILURE', 'CANCELED')
    )
    order by runs.id limit 100
""")
_SETTLE: Final = text("""
    insert into apollo_run_worker as it (run_id, settled_at, verdict, resumed_by)
    values (:run_id, now(), :verdict, :resumed_by)
    on conflict (run_id) do update set settled_at = now(), requested_at = null,
        verdict = excluded.verdict, resumed_by = excluded.resumed_by
""")
_REQUEST: Final = text("""
    insert into apollo_run_worker as it (run_id, requested_at) values (:run_id, now())
    on conflict (run_id) do update set
        requested_at = now(), settled_at = null, verdict = null, resumed_by = null
""")
_ANSWER: Final = text("""
    select verdict, resumed_by from apollo_run_worker
    where run_id = :run_id and settled_at is not null
""")

_DAEMON: Final = text("""
    select exists (
        select from apollo_service where service = 'daemon' and stopped_at is null
            and heartbeat_at > now() - interval '1 minute'
    ) as there
""")


@dataclass(frozen=True)
class Candidate:
    """A run to decide about.

    Args:
        run_id: the run.
        status: how it ended.
        worker: what executed it.
        requested_at: when a person asked for its resumption; None where nobody did.
    """

    run_id: str
    status: DagsterRunStatus
    worker: WorkerState
    requested_at: datetime | None

    @property
    def is_requested(self) -> bool:
        """Whether a person asked for its resumption."""
        return self.requested_at is not None


@dataclass(frozen=True)
class Answer:
    """What was decided about a run.

    Args:
        verdict: in words.
        resumed_by: the run that goes on with it, if one does.
    """

    verdict: str
    resumed_by: str | None


class Candidates:
    """The runs that failed within a day, and those that a person asked for."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        pool.join(self)

    @classmethod
    def open(cls) -> "Candidates | None":
        """Those of the instance's database; None where Apollo has no tables, as on a laptop.

        Raises:
            ConfigurationError: the environment is not valid.
            SQLAlchemyError: the database is away.
        """
        uri = load_process().dagster_pg_uri
        if uri is None or RunWorkers.open() is None:
            return None
        return cls(shared_pool(uri.get_secret_value()))

    def find(self) -> list[Candidate]:
        """The runs that nothing is decided about, in the order in which they were made."""
        with self._pool.connect() as connection:
            rows = connection.execute(_FIND).mappings().all()
        return [
            Candidate(
                run_id=row["run_id"],
                status=DagsterRunStatus(row["status"]),
                worker=worker_state(row),
                requested_at=row["requested_at"],
            )
            for row in rows
        ]

    def has_daemon(self) -> bool:
        """Whether there is a daemon that looks for them."""
        with self._pool.connect() as connection:
            row = connection.execute(_DAEMON).first()
        return bool(row and row.there)

    def settle(self, run_id: str, verdict: str, resumed_by: str | None = None) -> None:
        """Note what was decided."""
        with self._pool.connect() as connection:
            connection.execute(
                _SETTLE, {"run_id": run_id, "verdict": verdict, "resumed_by": resumed_by}
            )

    def request(self, run_id: str) -> None:
        """Ask for the resumption of a run, whatever ended it."""
        with self._pool.connect() as connection:
            connection.execute(_REQUEST, {"run_id": run_id})

    def answer(self, run_id: str) -> Answer | None:
        """What was decided since; None where nothing was yet."""
        with self._pool.connect() as connection:
            row = connection.execute(_ANSWER, {"run_id": run_id}).first()
        return Answer(row.verdict or "", row.resumed_by) if row else None
