"""Dagster's gRPC API for the tenants, in a process of its own; code_server.py supervises it.

It is Dagster's server with five differences. Once it drains it takes no new run, and says so in the
way that makes the queue hand the run to another server. Runs that do not finish in time are told
to stop, with an event that says why. A run is stopped when its status says so, for a person's
request may have reached another server. The workers of a server that died are adopted. And a run
whose worker died is recorded with what killed it, once its dbt has ended, too.
"""

import logging
import sys
import threading
import time
from functools import partial
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.origin import get_python_environment_entry_point
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import FuturesAwareThreadPoolExecutor
from dagster._grpc.server import DagsterApiServer, DagsterGrpcServer
from dagster._grpc.types import ExecuteExternalJobArgs, StartRunResult
from dagster._serdes import deserialize_value
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from dagster_apollo.instance.launcher import CODE_SERVER_TAG
from dagster_apollo.services.run_deaths import RunDeaths
from dagster_apollo.services.run_worker import RunProcesses
from dagster_apollo.services.workers import (
    AdoptedProcess,
    NotedExecutions,
    Termination,
    Terminations,
    WorkerFiles,
    interrupt,
    kill_tree,
)

LOCATION: Final = "apollo"
"""The code location's name, as far as the server is concerned; clients use their own."""
LOOK_EVERY_SECONDS: Final = 2.0
_ENDED_SECONDS: Final = 15.0
"""A worker may take that long to leave after its run was recorded as ended."""
_KILL_SECONDS: Final = 60.0
"""After which a worker is killed that was told to leave: it is stopped, or stuck."""
_EXPLAIN_SECONDS: Final = 3.0
_KILLED: Final = "terminated unexpectedly with exit code -"
"""What Dagster's server (1.13) says of a worker that a signal ended before the run began."""
_END_THE_RUN: Final = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_log = logging.getLogger("apollo.code_server")


class DrainingApiServer(DagsterApiServer):
    """Dagster's server, able to end without losing a run.

    Args:
        instance: the instance.
        server_id: the server's id in the registry; None where it is not registered.
        files: notes of the workers; those that are there are adopted.
        origin: what to serve; None: nothing, but adopted workers are looked after.
    """

    def __init__(
        self,
        instance: DagsterInstance,
        server_id: str | None,
        files: WorkerFiles,
        origin: LoadableTargetOrigin | None,
    ) -> None:
        self._own_instance = instance
        self._registered_id = server_id
        self._gate = threading.Lock()
        self._starting = 0
        self._drains = False
        self._ended_since: dict[str, float] = {}
        self._deaths = RunDeaths(instance)
        self.threads = FuturesAwareThreadPoolExecutor()
        super().__init__(
            server_termination_event=threading.Event(),
            logger=logging.getLogger("dagster.code_server"),
            server_threadpool_executor=self.threads,
            loadable_target_origin=origin,
            entry_point=get_python_environment_entry_point(sys.executable),
            instance_ref=instance.get_ref(),
            location_name=LOCATION,
        )
        self._mp_ctx = RunProcesses(self._mp_ctx, server_id)  # type: ignore[assignment]
        with self._execution_lock:
            self._executions = NotedExecutions(files)
            self._termination_events = Terminations()  # type: ignore[assignment]
            for worker in files.read():
                execution = (AdoptedProcess(worker, files), instance.get_ref())
                self._executions[worker.run_id] = execution
                stop = Termination(partial(interrupt, worker))
                self._termination_events[worker.run_id] = stop  # type: ignore[assignment]
                _log.info("Run %s goes on in process %d", worker.run_id, worker.pid)
        for run_id in self.running():
            self._sign(run_id)
        threading.Thread(target=self._obey, name="apollo-cancellations", daemon=True).start()

    @property
    def termination_event(self) -> threading.Event:
        """Set when the server is to end."""
        return self._server_termination_event

    def StartRun(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401, N802
        """Start a run, unless no new ones are taken any more.

        Dagster's server would answer that the launch failed, which fails the run. For one that
        cannot be reached the queue puts the run back (max_user_code_failure_retries).
        """
        with self._gate:
            refused = self._drains or self._shutdown_once_executions_finish_event.is_set()
            self._starting += not refused
        if refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "This code server is being stopped")
        try:
            from dagster_apollo.dbt.run_scope import starting  # loaded with the tenants

            arguments = request.serialized_execute_run_args
            run_id = deserialize_value(arguments, ExecuteExternalJobArgs).run_id
            self._sign(run_id)
            with starting(self._run(run_id)):
                reply = super().StartRun(request, context)
            result = deserialize_value(reply.serialized_start_run_result, StartRunResult)
            if not result.success and _KILLED in (result.message or ""):
                self._deaths.note(run_id, "killed")
            return reply
        finally:
            with self._gate:
                self._starting -= 1

    def drain(self) -> None:
        """Take no new run from now on."""
        with self._gate:
            self._drains = True

    def running(self) -> list[str]:
        """The runs that execute."""
        with self._execution_lock:
            return list(self._executions)

    def is_idle(self) -> bool:
        """Whether no run executes or is being started."""
        with self._gate:
            return not self._starting and not self.running()

    def stop_runs(self, why: str) -> None:
        """Tell every run to stop that was not told yet; it stops dbt and is recorded as failed.

        Args:
            why: what the run's event log is to say, for the person who wonders.
        """
        with self._execution_lock:
            told = [run for run, event in self._termination_events.items() if not event.is_set()]
        threads = [
            threading.Thread(target=self._explain, args=(run_id, why), daemon=True)
            for run_id in told
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + _EXPLAIN_SECONDS  # a database that hangs must not keep dbt going
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        for run_id in told:
            self._stop(run_id)

    def kill_runs(self) -> None:
        """Kill what executes runs, dbt included; Dagster's server records them as failed."""
        for run_id in self.running():
            self._kill(run_id)

    def _kill(self, run_id: str) -> None:
        with self._execution_lock:
            process, _ = self._executions.get(run_id, (None, None))
        if process is not None and process.pid is not None:
            kill_tree(process.pid)

    def _run(self, run_id: str) -> DagsterRun | None:
        try:
            return self._own_instance.get_run_by_id(run_id)
        except Exception as error:  # noqa: BLE001 - its text may hold the URI
            _log.warning("Run %s may load all tenants (%s)", run_id, type(error).__name__)
            return None

    def _sign(self, run_id: str) -> None:
        """Note on a run which server executes it: run monitoring asks when that one is gone."""
        if self._registered_id is None:
            return
        try:
            self._own_instance.add_run_tags(run_id, {CODE_SERVER_TAG: self._registered_id})
        except Exception as error:  # noqa: BLE001 - its text may hold the URI
            _log.warning("Run %s cannot be tagged (%s)", run_id, type(error).__name__)

    def _explain(self, run_id: str, why: str) -> None:
        try:
            run = self._own_instance.get_run_by_id(run_id)
            if run is None or run.is_finished or run.status == DagsterRunStatus.CANCELING:
                return
            self._deaths.note(run_id, "shutdown")
            self._own_instance.report_engine_event(why, run, cls=self.__class__)
        except Exception as error:  # noqa: BLE001 - the run is stopped with or without it
            _log.warning("Run %s: its event log cannot say why (%s)", run_id, type(error).__name__)

    def _check_for_orphaned_runs(self) -> None:
        """Record the runs whose workers died; Dagster's server does so without their dbt."""
        with self._execution_lock:
            dead = {
                run_id: process
                for run_id, (process, _) in self._executions.items()
                if not process.is_alive()
            }
        for run_id, process in dead.items():
            try:
                if not self._deaths.settle(run_id, process):
                    continue
            except Exception as error:  # noqa: BLE001 - its text may hold the URI
                _log.warning("Run %s: its end is recorded later (%s)", run_id, type(error).__name__)
                continue
            with self._execution_lock:
                if run_id in self._executions:
                    self._clear_run(run_id)
        if self._shutdown_once_executions_finish_event.is_set() and not self.running():
            self._server_termination_event.set()

    def _stop(self, run_id: str) -> None:
        with self._execution_lock:
            if run_id in self._executions and not self._termination_events[run_id].is_set():
                self._termination_events[run_id].set()
                self._termination_times[run_id] = time.time()

    def _obey(self) -> None:
        """Stop the runs whose status asks for it, whoever was told, until the server ends."""
        while not self._server_termination_event.wait(LOOK_EVERY_SECONDS):
            running = self.running()
            if not running:
                continue
            try:
                runs = self._own_instance.get_runs(filters=RunsFilter(run_ids=running))
            except Exception as error:  # noqa: BLE001 - its text may hold the URI
                _log.warning("The database cannot be asked for runs (%s)", type(error).__name__)
                continue
            statuses = {run.run_id: run.status for run in runs}
            for run_id in running:
                if self._must_stop(run_id, statuses.get(run_id)):
                    _log.info("Run %s is stopped: it has ended or is to end", run_id)
                    self._stop(run_id)

    def _must_stop(self, run_id: str, status: DagsterRunStatus | None) -> bool:
        """Whether a run's status (None: it was deleted) asks its worker to end."""
        if status is not None and status not in _END_THE_RUN:
            self._ended_since.pop(run_id, None)
            return status is DagsterRunStatus.CANCELING
        lasted = time.monotonic() - self._ended_since.setdefault(run_id, time.monotonic())
        if lasted > _KILL_SECONDS:
            self._kill(run_id)
        return lasted > _ENDED_SECONDS


class GrpcServer:
    """The network side: serves until it is closed."""

    def __init__(self, servicer: DrainingApiServer, host: str, port: int) -> None:
        self._servicer = servicer
        self._server = DagsterGrpcServer(
            server_termination_event=servicer.termination_event,
            dagster_api_servicer=servicer,
            logger=logging.getLogger("dagster.code_server"),
            threadpool_executor=servicer.threads,
            host=host,
            port=port,
        )
        # as DagsterGrpcServer.serve does, which would not come back
        self._server.server.start()
        self._server._health_servicer.set("DagsterApi", health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """Answer what has been asked, and end."""
        self._servicer.termination_event.set()
        self._server.server.stop(grace=1).wait(5)
        self._servicer.cleanup()
