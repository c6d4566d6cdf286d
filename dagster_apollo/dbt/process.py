"""One dbt process: how it is started, how it is stopped, and why it ended."""

import contextlib
import os
import selectors
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dagster_apollo.dbt.interpreter import APOLLOS_OWN, Interpreter
from dagster_apollo.deaths import explain, memory_kills
from dagster_apollo.errors import ApolloError

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_TERMINATE_AFTER_SECONDS: Final = 20
_KILL_AFTER_SECONDS: Final = 5
_CHUNK: Final = 1 << 16


_KILLS_AT_START: Final = memory_kills()


class DbtEndedError(ApolloError):
    """dbt did not end by itself, and nobody canceled its run: the cause is not the project."""


def dbt_command(arguments: Sequence[str], interpreter: Interpreter = APOLLOS_OWN) -> list[str]:
    """The command line that runs dbt with the given arguments."""
    return [os.fspath(interpreter.python), os.fspath(_LAUNCHER), *arguments]


def start_dbt(
    arguments: Sequence[str],
    *,
    interpreter: Interpreter,
    project_dir: Path,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start dbt with its output on a pipe.

    Raises:
        PrepareError: the tenant's own environment is not there.
        DbtEndedError: no dbt may begin in this process any more.
    """
    for why in _barred:
        raise DbtEndedError(f"dbt was not started: {why}.")
    with interpreter.held() as descriptors:
        command = dbt_command(arguments, interpreter)
        return start_process(command, project_dir, environment, descriptors)


def start_process(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start dbt, or what dbt needs, with its output on a pipe.

    It leads a process group of its own: a Ctrl-C at the terminal reaches it only through
    `stop_dbt`, once, since dbt takes a second one as a wish to leave queries running.

    Args:
        command: the command line.
        folder: where to run it.
        environment: its whole environment.
        descriptors: file descriptors that it inherits.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _started.add(process)
    return process


def end_every_dbt(why: str) -> None:
    """End all that this process started, and start none any more; their errors say why."""
    _barred.append(why)
    for process in list(_started):
        if process.poll() is None:
            _stopped[process] = why
            stop_dbt(process)


def require_own_end(process: "subprocess.Popen[bytes]") -> None:
    """Make sure that a dbt which failed did so by itself.

    Raises:
        DbtEndedError: it was killed, or stopped by `end_every_dbt`.
    """
    if process in _stopped:
        raise DbtEndedError(f"dbt was stopped: {_stopped[process]}.")
    code = process.poll()
    if code is not None and code < 0 and process not in _asked:
        _, sentence = explain(code, out_of_memory=memory_kills() > _KILLS_AT_START)
        raise DbtEndedError(sentence.replace("The process that executed the run", "dbt", 1))


def stop_dbt(process: "subprocess.Popen[bytes]") -> None:
    """End dbt if it still runs: politely, so that it cancels its queries, then by force."""
    for number, seconds in (
        (signal.SIGINT, _TERMINATE_AFTER_SECONDS),
        (signal.SIGTERM, _KILL_AFTER_SECONDS),
        (signal.SIGKILL, None),
    ):
        if process.poll() is not None:
            return
        _asked.add(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)


def output_of(
    process: "subprocess.Popen[bytes]",
    *,
    silence: float | None = None,
    growing: Path | None = None,
) -> bytes:
    """All that a process writes, until its end.

    Args:
        process: as `start_dbt` returns it.
        silence: how many seconds it may write nothing; None: as many as it takes.
        growing: a folder of its downloads; what comes in there is a sign of life, too.

    Raises:
        TimeoutError: there was no sign of life for that long. It still runs.
    """
    if process.stdout is None:
        return b""
    chunks: list[bytes] = []
    size = 0
    with process.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(silence):
                if (now := _bytes_below(growing)) == size:
                    raise TimeoutError
                size = now
                continue
            chunk = os.read(pipe.fileno(), _CHUNK)
            if not chunk:
                break
            chunks.append(chunk)
    process.wait()
    return b"".join(chunks)


def _bytes_below(folder: Path | None) -> int:
    size = 0
    for root, _, names in os.walk(folder) if folder else ():
        for name in names:
            with contextlib.suppress(OSError):  # git renames what has come in
                size += Path(root, name).lstat().st_size
    return size


_barred: Final[list[str]] = []
_started: weakref.WeakSet["subprocess.Popen[bytes]"] = weakref.WeakSet()
_asked: weakref.WeakSet["subprocess.Popen[bytes]"] = weakref.WeakSet()
_stopped: weakref.WeakKeyDictionary["subprocess.Popen[bytes]", str] = weakref.WeakKeyDictionary()
