"""The process that executes a run at a code server: Dagster's own, which claims the run first.

A run is executed by the process that claims it in the database, and by no other, whoever started
how many. While it executes it is heard of (instance/pulse.py); when the run is not its own any more
it ends dbt, then itself.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from dagster._grpc.impl import StartRunInSubprocessSuccessful, start_run_in_subprocess
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import deserialize_value

from dagster_apollo.dbt.process import end_every_dbt
from dagster_apollo.instance.pulse import beating
from dagster_apollo.instance.rhythm import load_rhythm
from dagster_apollo.instance.run_workers import NotOurRunError, RunWorkers

_log: Final = logging.getLogger("apollo.run")


class RunProcesses:
    """Dagster's multiprocessing context, whose processes claim the run that they execute.

    Args:
        context: the context.
        server: the code server's id in the registry.
    """

    def __init__(self, context: Any, server: str | None) -> None:  # noqa: ANN401
        self._context = context
        self._server = server

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._context, name)

    def Process(self, *, target: Callable[..., None], args: list[Any]) -> Any:  # noqa: ANN401, N802
        """A process for what Dagster's server (1.13) executes in one: a run."""
        if target is not start_run_in_subprocess:
            raise TypeError(f"Dagster executes {target} in a process, which is not known here")
        return self._context.Process(target=execute_run, args=[self._server, *args])


def execute_run(server: str | None, arguments: str, job: Any, answers: Any, stop: Any) -> None:  # noqa: ANN401
    """Execute a run, if no other process does.

    Args:
        server: the code server's id.
        arguments: Dagster's own, serialized.
        job: the run's job.
        answers: the queue of what the code server is told.
        stop: Dagster's event that ends the run.
    """
    run_id = deserialize_value(arguments, ExecuteExternalJobArgs).run_id
    workers = RunWorkers.open()
    if workers is None:
        start_run_in_subprocess(arguments, job, answers, stop)  # type: ignore[no-untyped-call]
        return
    rhythm = load_rhythm()
    try:
        claim = workers.claim(run_id, rhythm, server=server)
    except NotOurRunError:
        print(f"apollo: run {run_id} is another process's, or was given up", file=sys.stderr)  # noqa: T201
        answers.put(StartRunInSubprocessSuccessful())  # the launch did not fail: the run has begun
        return

    def end_dbt(why: str) -> None:
        print(f"apollo: run {run_id} ends here: {why}", file=sys.stderr)  # noqa: T201
        end_every_dbt(why)

    def end_run() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # as Dagster itself does

    with beating(workers, claim, rhythm, end_dbt, end_run):
        start_run_in_subprocess(arguments, job, answers, stop)  # type: ignore[no-untyped-call]
