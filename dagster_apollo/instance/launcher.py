"""The run launcher of production: runs execute at a code server, which may be replaced meanwhile.

A deploy puts a new code server at the address of the old one, while runs of the old one go on
elsewhere. So a run is terminated in two ways at once: the code server at the address is asked, and
the run is marked as being canceled, which the code server that executes it sees by itself (see
services/grpc_server.py). And whether a run still executes is read from the heartbeat of its own
worker (liveness.py). On a laptop, which has no heartbeats, it is read from a lock of the worker's.
"""

import time
from datetime import datetime, timedelta
from typing import Final

from dagster import DagsterRun, DagsterRunStatus
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import (
    CanCancelExecutionRequest,
    CanCancelExecutionResult,
    CancelExecutionRequest,
    CancelExecutionResult,
)
from dagster._serdes import ConfigurableClassData, deserialize_value
from sqlalchemy import func, select

from dagster_apollo.instance.database import SERVICE, engine_of
from dagster_apollo.instance.liveness import Reader, WorkerState, is_suspect
from dagster_apollo.instance.run_workers import RunWorkers
from dagster_apollo.instance.worker_locks import is_held
from dagster_apollo.settings import load_process

CODE_SERVER_TAG: Final = "apollo/code_server"
"""The id of the code server that executes a run, in the table of services."""
INTERRUPTED_TAG: Final = "apollo/interrupted"
"""What of the platform ended a run (liveness.py, Cause)."""
_ANSWER_SECONDS: Final = 5
_GONE_AFTER: Final = timedelta(seconds=180)
"""Of no heartbeat: longer than the next server takes to adopt the run."""
_SUSPECT_SECONDS: Final = 60.0
"""An outage of the database stops heartbeats, too; when it is back, they get this long."""
_HINT: Final = "Resume it with Re-execute, From asset failure, or with `apollo resume`."
_ALIVE: Final = CheckRunHealthResult(WorkerStatus.RUNNING)


class CodeServerRunLauncher(DefaultRunLauncher):
    """Launches runs at code servers, terminates them anywhere, and notices when one is lost."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._reader: Reader | None = None
        self._workers: RunWorkers | None = None
        self._suspects: dict[str, float] = {}
        """The runs of an earlier release whose code server seems gone, and since when."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run at its code server.

        The queue launches one run after the other, and Dagster waits a minute for each answer: a
        server that hangs would keep the runs of all others waiting.

        Raises:
            DagsterUserCodeUnreachableError: the server does not answer. The queue tries again.
        """
        origin, queue = context.dagster_run.remote_job_origin, self._queue
        if origin and queue and queue.max_user_code_failure_retries and context.workspace:
            location = context.workspace.get_code_location(origin.location_name)
            if isinstance(location, GrpcServerCodeLocation):
                location.client.get_server_id(timeout=_ANSWER_SECONDS)
        super().launch_run(context)

    @property
    def _queue(self) -> RunQueueConfig | None:
        return self._instance.get_concurrency_config().run_queue_config

    def terminate(self, run_id: str) -> bool:
        """Ask for a run's end; it stands until the run has ended, whoever can be reached.

        Returns:
            Whether there was anything to terminate.
        """
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if not self._ask(run):
            self._instance.report_engine_event(
                "The code server at the run's address does not execute this run, or does not "
                "answer. The one that does looks every few seconds and will stop it; where it is "
                "gone, run monitoring records the run as canceled.",
                run,
                cls=self.__class__,
            )
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring is to ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the process that executes a run is alive; where not, it is from now on dead.

        Raises:
            SQLAlchemyError: the database is away; run monitoring asks again.
        """
        self._workers = self._workers or RunWorkers.open()
        if self._workers is None:
            return self._by_lock(run)
        worker = self._workers.read(run.run_id)
        self._reader = Reader.after(self._reader, time.monotonic())
        if worker is None or (worker.pid is None and not worker.is_lost):
            found = self._of_an_earlier_release(run)
            return self._by_lock(run) if found is _ALIVE else found  # `apollo build` has a lock
        if not worker.is_lost:
            if not is_suspect(worker, self._reader) or self._is_vouched_for(run, worker):
                return _ALIVE
            if not self._workers.fence(run.run_id):
                return _ALIVE  # it has just been heard of
        self._instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: worker.cause or "lost"})
        return CheckRunHealthResult(WorkerStatus.FAILED, f"{worker.text} {_HINT}")

    def has_come_up(self, run: DagsterRun) -> bool:
        """Whether a process has come up for a run that was launched; if not, none ever will."""
        self._workers = self._workers or RunWorkers.open()
        return self._workers is None or not self._workers.bar(run.run_id)

    def _is_vouched_for(self, run: DagsterRun, worker: WorkerState) -> bool:
        """Whether the code server at the run's address sees the process that is not heard of.

        Then it is the worker that cannot reach the database, and its lease decides.
        """
        if worker.is_over:
            return False
        client = self._client(run)
        if client is None:
            return False
        try:
            answer = client.can_cancel_execution(
                CanCancelExecutionRequest(run_id=run.run_id), timeout=_ANSWER_SECONDS
            )
        except DagsterUserCodeUnreachableError:
            return False
        return deserialize_value(answer, CanCancelExecutionResult).can_cancel

    def _by_lock(self, run: DagsterRun) -> CheckRunHealthResult:
        """By the lock that a worker on this host holds: it also tells after a laptop has slept."""
        if is_held(load_process().dagster_home, run.run_id) is not False:
            return _ALIVE
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"The process that executed the run is gone. {_HINT}"
        )

    def _of_an_earlier_release(self, run: DagsterRun) -> CheckRunHealthResult:
        """By the heartbeat of its code server: its worker has none of its own."""
        server = run.tags.get(CODE_SERVER_TAG)
        if server is None or run.status is not DagsterRunStatus.STARTED or not _is_gone(server):
            self._suspects.pop(run.run_id, None)
            return _ALIVE
        since = self._suspects.setdefault(run.run_id, time.monotonic())
        if time.monotonic() - since < _SUSPECT_SECONDS:
            return _ALIVE
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"The code server that executed the run is gone, as when its host was lost. {_HINT}",
        )

    def _client(self, run: DagsterRun) -> DagsterGrpcClient | None:
        """The code server at the run's address."""
        client: DagsterGrpcClient | None = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        return client

    def _ask(self, run: DagsterRun) -> bool:
        """Whether the code server at the run's address took the request."""
        client = self._client(run)
        if client is None:
            return False
        try:
            client.get_server_id(timeout=_ANSWER_SECONDS)  # a lost host would cost a minute
            reply = client.cancel_execution(CancelExecutionRequest(run_id=run.run_id))
        except DagsterUserCodeUnreachableError:
            return False
        return deserialize_value(reply, CancelExecutionResult).success


def _is_gone(server: str) -> bool:
    uri = load_process().dagster_pg_uri
    if uri is None:
        return False
    engine = engine_of(uri)
    try:
        with engine.connect() as connection:
            heard = func.greatest(SERVICE.c.heartbeat_at, SERVICE.c.stopped_at)
            row = connection.execute(
                select(func.now(), heard).where(SERVICE.c.id == server)
            ).first()
    finally:
        engine.dispose()
    return row is None or is_overdue(row[0], row[1])


def is_overdue(now: datetime, heard: datetime) -> bool:
    """Whether a code server that was last heard of then must be gone."""
    return now - heard > _GONE_AFTER
