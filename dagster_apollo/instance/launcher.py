"""The run launcher of production: runs execute at a code server, which may be replaced meanwhile.

A deploy puts a new code server at the address of the old one, while runs of the old one go on
elsewhere. So a run is terminated in two ways at once: the code server at the address is asked, and
the run is marked as being canceled, which the code server that executes it sees by itself (see
services/grpc_server.py). And whether a run still executes is not asked at the address, but read
from the heartbeat of the code server that the run's tag names.
"""

import time
from datetime import datetime, timedelta
from typing import Final

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._grpc.types import CancelExecutionRequest, CancelExecutionResult
from dagster._serdes import ConfigurableClassData, deserialize_value
from sqlalchemy import func, select

from dagster_apollo.instance.database import SERVICE, engine_of
from dagster_apollo.settings import load_process

CODE_SERVER_TAG: Final = "apollo/code_server"
"""The id of the code server that executes a run, in the table of services."""
_ANSWER_SECONDS: Final = 5
_GONE_AFTER: Final = timedelta(seconds=180)
"""Of no heartbeat: longer than the next server takes to adopt the run."""
_SUSPECT_SECONDS: Final = 60.0
"""An outage of the database stops heartbeats, too; when it is back, they get this long."""


class CodeServerRunLauncher(DefaultRunLauncher):
    """Launches runs at code servers, terminates them anywhere, and notices when one is lost."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._suspects: dict[str, float] = {}
        """The runs whose code server seems gone, and since when."""

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
        """Whether the code server that executes a run is still there."""
        server = run.tags.get(CODE_SERVER_TAG)
        if server is None or not self._is_gone(server):
            self._suspects.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        since = self._suspects.setdefault(run.run_id, time.monotonic())
        if time.monotonic() - since < _SUSPECT_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            "The code server that executed the run is gone, as when its host was lost. Resume the "
            "run with Re-execute, From asset failure.",
        )

    def _is_gone(self, server: str) -> bool:
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

    def _ask(self, run: DagsterRun) -> bool:
        """Whether the code server at the run's address took the request."""
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return False
        try:
            client.get_server_id(timeout=_ANSWER_SECONDS)  # a lost host would cost a minute
            reply = client.cancel_execution(CancelExecutionRequest(run_id=run.run_id))
        except DagsterUserCodeUnreachableError:
            return False
        return deserialize_value(reply, CancelExecutionResult).success


def is_overdue(now: datetime, heard: datetime) -> bool:
    """Whether a code server that was last heard of then must be gone."""
    return now - heard > _GONE_AFTER
