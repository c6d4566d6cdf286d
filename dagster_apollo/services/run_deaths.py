"""What a code server records of runs whose processes died before the runs had ended."""

import logging
import socket
import time
from typing import Final, Protocol

from dagster import DagsterInstance, DagsterRunStatus

from dagster_apollo.deaths import explain, memory_kills
from dagster_apollo.instance.launcher import INTERRUPTED_TAG
from dagster_apollo.instance.liveness import Cause
from dagster_apollo.instance.run_workers import RunWorkers
from dagster_apollo.services.workers import dbt_of, kill_tree

_DBT_SECONDS: Final = 25.0
"""A dbt that lost its worker may take that long to cancel its queries (dbt/launcher.py)."""
_REAP_SECONDS: Final = 3.0
"""In which the supervisor says how a process ended that it inherited."""
_log = logging.getLogger("apollo.code_server")


class Process(Protocol):
    """A process that executed a run and has ended."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    @property
    def exitcode(self) -> int | None:
        """How it ended; None where that is not known (yet)."""


class RunDeaths:
    """Records deaths, each once nothing of it is left.

    Args:
        instance: the instance of the runs.
    """

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._workers = RunWorkers.open()
        self._memory_kills = memory_kills()
        self._died_at: dict[str, float] = {}

    def note(self, run_id: str, cause: Cause) -> None:
        """Say what of the platform ends a run: to people by a tag, to who resumes it by a row."""
        self._instance.add_run_tags(run_id, {INTERRUPTED_TAG: cause})
        if self._workers:
            self._workers.note(run_id, cause)

    def settle(self, run_id: str, process: Process) -> bool:
        """Record the end of a run whose process died, unless it had ended before.

        Returns:
            Whether that is done; if not, it is to be called again soon.
        """
        lasted = time.monotonic() - self._died_at.setdefault(run_id, time.monotonic())
        if process.exitcode is None and lasted < _REAP_SECONDS:
            return False
        if left := dbt_of(run_id):  # what resumes the run must not meet it
            for pid in left if lasted > _DBT_SECONDS else ():
                kill_tree(pid)
            return False
        self._record(run_id, process)
        self._died_at.pop(run_id, None)
        return True

    def _record(self, run_id: str, process: Process) -> None:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or self._is_executed_elsewhere(run_id, process.pid):
            return
        kills = memory_kills()
        cause, sentence = explain(process.exitcode, out_of_memory=kills > self._memory_kills)
        self._memory_kills = kills
        if run.status is DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, sentence)
            return
        if cause and INTERRUPTED_TAG not in run.tags:
            self.note(run_id, cause)
        self._instance.report_run_failed(run, sentence)
        _log.error("Run %s: %s", run_id, sentence)

    def _is_executed_elsewhere(self, run_id: str, pid: int | None) -> bool:
        """Whether a process has ended because another one executes its run."""
        worker = self._workers.read(run_id) if self._workers else None
        if worker is None or worker.pid is None:
            return False
        return (worker.host, worker.pid) != (socket.gethostname(), pid)
