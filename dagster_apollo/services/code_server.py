"""`apollo code-server`: keeps a process that serves the tenants' code running.

It imports nothing of Dagster, so that it is small and has little to die of. What it does itself: it
starts the serving process again when that dies, passes signals on, and, as the "subreaper" of all
that descends from it, inherits the runs of a serving process that died: they go on, and the next
one adopts them.
"""

import contextlib
import ctypes
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dagster_apollo.errors import EXIT_DEFECT
from dagster_apollo.services.addresses import require_free
from dagster_apollo.services.contract import ServiceSettings
from dagster_apollo.services.draining import Plan
from dagster_apollo.services.signals import StopSignals
from dagster_apollo.services.workers import WorkerFiles, children_of, kill_tree

_MODULE: Final = "dagster_apollo.services.code_process"
_LOOK_SECONDS: Final = 1.0
_RESTARTS: Final = 10
"""Starts in a row that did not get as far as serving, before the host is asked to start anew."""
_LONGEST_PAUSE_SECONDS: Final = 30.0
_ORPHAN_SECONDS: Final = 5.0
"""How long what lost its run may take to notice and cancel its queries (dbt/launcher.py)."""
_PR_SET_CHILD_SUBREAPER: Final = 36
_log = logging.getLogger("apollo.code_server")


def pause_before(start: int) -> float:
    """How long to wait before a start, the first after a death being number 1."""
    return float(min(2 ** (start - 1), _LONGEST_PAUSE_SECONDS))


def run_code_server(settings: ServiceSettings, host: str, port: int, signals: StopSignals) -> int:
    """Serve the tenants' code until asked to stop.

    Returns:
        The exit code: 0 after a stop, else that of the serving process.

    Raises:
        ApolloError: the address cannot be served at.
    """
    require_free(host, port)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory(prefix="apollo-code-server-") as directory:
        try:
            return _Supervisor(settings, host, port, Path(directory), signals).run()
        finally:
            _end_orphans()


class _Process:
    """The serving process."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._serves = False
        try:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", _MODULE, *arguments, "--ready", str(writer)],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[writer],
                start_new_session=True,  # a Ctrl-C at the terminal comes by way of the supervisor
            )
        finally:
            os.close(writer)

    @property
    def serves(self) -> bool:
        """Whether it has served, or still does."""
        with contextlib.suppress(BlockingIOError):
            self._serves = self._serves or bool(os.read(self._reader, 1))
        return self._serves

    def close(self) -> None:
        os.close(self._reader)


class _Supervisor:
    def __init__(
        self, settings: ServiceSettings, host: str, port: int, directory: Path, signals: StopSignals
    ) -> None:
        self._arguments = [
            *("--host", host, "--port", str(port)),
            *("--workers", str(directory), "--parent", str(os.getpid())),
        ]
        self._environment = {**os.environ, "DAGSTER_HOME": str(settings.dagster_home)}
        self._seconds = settings.shutdown_seconds
        self._plan = Plan.of(settings.shutdown_seconds)
        self._files = WorkerFiles(directory)
        self._signals = signals
        self._passed_on = 0
        self._asked_at: float | None = None

    def run(self) -> int:
        """Keep a process serving; return the exit code."""
        has_served = False
        failures = 0
        while True:
            code, served = self._watch(_Process(self._arguments, self._environment))
            if self._signals.requests:
                return self._finish(code)
            has_served = has_served or served
            if not has_served:
                return code
            failures = 0 if served else failures + 1
            if failures >= _RESTARTS:
                _log.error("The serving process does not start any more. Ending")
                self._ask()
                self._finish(code)
                return code or EXIT_DEFECT
            pause = pause_before(failures + 1)
            _log.error("The serving process ended (%d). Starting it in %d s", code, pause)
            until = time.monotonic() + pause
            while time.monotonic() < until and not self._signals.wait(until - time.monotonic()):
                self._reap()
            if self._signals.requests:
                return self._finish(code)

    def _watch(self, process: _Process) -> tuple[int, bool]:
        """Wait for a process's end, passing signals on. Its exit code, and whether it served."""
        with contextlib.closing(process):
            while process.popen.poll() is None:
                self._reap(but=process.popen.pid)
                if self._signals.requests > self._passed_on:
                    self._ask()
                    if not process.serves and not self._workers():
                        process.popen.kill()  # nothing to wait for: it is still loading
                    else:
                        process.popen.terminate()
                if self._left() < 0:
                    _log.error("The serving process does not end. Killing it")
                    process.popen.kill()
                self._signals.wait(_LOOK_SECONDS)
            code = process.popen.returncode
            return (code if code >= 0 else EXIT_DEFECT), process.serves

    def _ask(self) -> None:
        """Take note that the service is to stop, and since when."""
        self._passed_on = self._signals.requests
        self._asked_at = self._asked_at or time.monotonic()

    def _left(self) -> float:
        """The seconds until the serving process must have ended."""
        if self._asked_at is None:
            return 1.0
        return self._asked_at + (self._plan.leave_at + self._seconds) / 2 - time.monotonic()

    def _finish(self, code: int) -> int:
        """End the runs that a serving process left when it died while it was to drain them."""
        self._ask()
        if not self._workers():
            return 0 if code in {0, EXIT_DEFECT} else code
        _log.error("The serving process died (%d) before its runs had ended", code)
        if self._left() > 0:
            arguments = [*self._arguments, "--drain", str(self._left())]
            self._watch(_Process(arguments, self._environment))
        return code

    def _workers(self) -> list[int]:
        return [worker.pid for worker in self._files.read() if worker.is_alive()]

    def _reap(self, but: int = 0) -> None:
        """Take leave of inherited processes that have ended, other than the serving one."""
        with contextlib.suppress(ChildProcessError):
            while True:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None or ended.si_pid == but:
                    return
                _, status = os.waitpid(ended.si_pid, 0)
                self._files.note_exit(ended.si_pid, os.waitstatus_to_exitcode(status))


def _end_orphans() -> None:
    """Leave nothing behind: not a run's dbt that was killed with it, not a helper of Python's."""
    until = time.monotonic() + _ORPHAN_SECONDS
    while (orphans := children_of(os.getpid())) and time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.1)
    for pid in orphans:
        kill_tree(pid)
