"""The run launcher of production: runs execute at a code server, which may be replaced meanwhile.

A deploy puts a new code server at the address of the old one, while runs of the old one go on
elsewhere. So a run is terminated in two ways at once: the code server at the address is asked, and
the run is marked as being canceled, which the code server that executes it sees by itself (see
services/grpc_server.py).
"""

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._grpc.types import CancelExecutionRequest, CancelExecutionResult
from dagster._serdes import deserialize_value

_ANSWER_SECONDS = 5


class CodeServerRunLauncher(DefaultRunLauncher):
    """Launches runs at code servers, and terminates them wherever they execute."""

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
