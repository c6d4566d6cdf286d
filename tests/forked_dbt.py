"""dbt processes that need not import dbt: forked from a process that has.

The import is two seconds of CPU, most of what dbt costs on a small project. The processes are real
all the same: launcher.py from its first line to its last, with an environment, a working directory,
a session and a pipe of their own, ended by the same signals. Only dbt that a test's own process
starts is started so; what `run_apollo` and the services start is started as in production.
`run_dbt` is plain dbt, with nothing of Apollo.
"""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dagster_apollo.paths import CHECKOUT

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["dbt.cli.main", "dbt.adapters.duckdb", "dbt.adapters.snowflake", __name__]
)
_PLAIN = "dbt"
_LAUNCHER = CHECKOUT / "dagster_apollo" / "dbt" / "launcher.py"
_HOW = {
    "pass_fds": (),
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "start_new_session": True,
}
_lock = threading.Lock()
"""Who reads an exit code takes it out of its pipe; a start looks for all that have ended."""


class ForkedDbt:
    """A process with the parts of `subprocess.Popen` that Apollo uses."""

    def __init__(self, args: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.args = args
        reader, writer = _CONTEXT.Pipe(duplex=False)
        with reader, writer:
            self._process = _CONTEXT.Process(target=_run, args=(args, cwd, dict(env), writer))
            with _lock:
                self._process.start()
            writer.close()
            os.read(reader.fileno(), 1)  # it leads its session from now on
            self.stdout = os.fdopen(os.dup(reader.fileno()), "rb")
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with _lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code


def module_with_forked_dbt() -> SimpleNamespace:
    """What `dagster_apollo.dbt.process` is given for its `subprocess`."""
    return SimpleNamespace(**{**vars(subprocess), "Popen": _start})


def _start(
    args: Sequence[str], *, cwd: Path, env: Mapping[str, str], **how: Any
) -> "ForkedDbt | subprocess.Popen[bytes]":
    """Fork where it is dbt that Apollo's own interpreter would run, as it is run now."""
    is_dbt = args[0] == sys.executable and Path(args[1]) == _LAUNCHER
    if is_dbt and how == _HOW:
        return ForkedDbt(args, cwd, env)
    return subprocess.Popen(args, cwd=cwd, env=env, **how)


def run_dbt(
    args: Sequence[str], *, cwd: Path, env: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run dbt as it comes to its end; stdout has what it writes to either stream."""
    process = ForkedDbt([sys.executable, _PLAIN, *args], cwd, env)
    with process.stdout as pipe:
        output = pipe.read().decode()
    return subprocess.CompletedProcess(args, process.wait(), output, "")


def _run(command: Sequence[str], cwd: Path, env: Mapping[str, str], output: Connection) -> None:
    """Become the process that `command` would have started."""
    from dbt.cli.main import cli  # by now it is there

    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.write(output.fileno(), b"\n")
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()
    _, script, *arguments = command
    sys.argv = [script, *arguments]
    try:
        if script == _PLAIN:
            warnings.simplefilter("ignore")
            cli()
        else:
            sys.path.insert(0, str(Path(script).parent))
            runpy.run_path(script, run_name="__main__")
    finally:
        exit_functions: Any = getattr(atexit, "_run_exitfuncs")  # noqa: B009
        with contextlib.suppress(Exception):
            exit_functions()
