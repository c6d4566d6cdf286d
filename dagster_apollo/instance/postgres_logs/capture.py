"""Takes the place of this process's stdout and stderr, and hands what is written to a collector.

The file descriptors themselves lead to the collector's pipes, so what child processes and C code
write is captured, too.
"""

import contextlib
import io
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final, TextIO

from dagster_apollo.instance.postgres_logs.collector import Order, start_pump
from dagster_apollo.instance.postgres_logs.window import key_text

_COLLECTOR: Final = "dagster_apollo.instance.postgres_logs.collector"
_NEEDED: Final = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ|VIRTUAL_ENV|PYTHON[A-Z]+|LD_LIBRARY_PATH"
    r"|SSL_CERT_(FILE|DIR)|PG[A-Z]+"  # PG...: libpq's own, which it reads where a URI is silent
)
_PIPE_BYTES: Final = 1024 * 1024
"""What fits in a pipe while the collector starts; as much as Linux allows everybody."""
_WAIT_SECONDS: Final = 10.0
_DRAIN_SECONDS: Final = 1.0
_log = logging.getLogger("apollo.compute_logs")


@contextmanager
def capture(order: Order) -> Iterator[None]:
    """Have a collector store all that this process and its children write.

    When the block ends, everything has been stored, unless that takes longer than ten seconds: the
    collector then goes on by itself for a minute. A failure to store is a warning in this process's
    log, never an error.

    Raises:
        OSError: the collector cannot be started; nothing was changed.
    """
    with ExitStack() as stack:
        captured = [_Stream(stream, stack) for stream in (sys.stdout, sys.stderr)]
        collector = _Collector(order, captured, stack)
        stack.callback(collector.finish)
        for stream in captured:
            stack.enter_context(stream.redirected())
        yield


class _Stream:
    """One of the process's streams, the pipe that takes its place, and where it led before."""

    def __init__(self, stream: TextIO | None, stack: ExitStack) -> None:
        self._stream = stream
        self._fd = _fileno(stream)
        self.original = os.open(os.devnull, os.O_WRONLY) if self._fd is None else os.dup(self._fd)
        stack.callback(os.close, self.original)
        self.source, self._pipe = os.pipe()
        stack.callback(os.close, self.source)
        self._pipe_closer = stack.enter_context(ExitStack())
        self._pipe_closer.callback(os.close, self._pipe)
        _enlarge(self._pipe)

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Let the stream lead to the pipe. Each line goes at once: it is to be seen live."""
        if self._fd is None or self._stream is None:
            self._pipe_closer.close()
            yield
            return
        is_inherited = os.get_inheritable(self._fd)
        self._flush()
        os.dup2(self._pipe, self._fd, inheritable=is_inherited)
        self._pipe_closer.close()
        try:
            with _line_buffered(self._stream):
                yield
        finally:
            self._flush()
            os.dup2(self.original, self._fd, inheritable=is_inherited)

    def _flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed, or its reader is gone
            if self._stream:
                self._stream.flush()


class _Collector:
    """The collector's process, and the line to it.

    The reading ends of the pipes stay open here, too: if the collector is killed, writing to them
    is no error, and what comes is passed on to where it would have gone.
    """

    def __init__(self, order: Order, streams: list[_Stream], stack: ExitStack) -> None:
        self._name = key_text(order.log_key)
        self._streams = streams
        self._control, theirs = socket.socketpair()
        stack.callback(self._control.close)
        self._answer: bytes | None = None
        self._answered = threading.Event()
        self._is_left = False
        self._pumps: list[threading.Thread] = []
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _COLLECTOR, *(str(it.source) for it in streams)],
                env=collector_environment(os.environ),
                stdin=theirs.fileno(),
                stdout=streams[0].original,
                stderr=streams[1].original,
                pass_fds=[it.source for it in streams],
                start_new_session=True,  # Ctrl-C is for the process that is watched
            )
        self._control.sendall(order.to_line())
        threading.Thread(target=self._listen, daemon=True).start()

    def finish(self) -> None:
        """Say that no more will come, and wait for what the collector says; not for long."""
        with contextlib.suppress(OSError):
            self._control.sendall(b"done\n")
        if not self._answered.wait(_WAIT_SECONDS):
            self._is_left = True
            self._control.shutdown(socket.SHUT_RDWR)  # what it has to say, it says in the log
            fault = "its end is not stored yet; the collector goes on trying for a minute"
        elif self._answer:
            fault = self._answer.decode().strip()
        else:
            fault = "its collector was killed; what came after that is not stored"
        for thread in self._pumps:
            thread.join(_DRAIN_SECONDS)
        if fault:
            _log.warning("Compute log %s: %s", self._name, fault)

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self._control.makefile("rb") as lines:
            self._answer = lines.readline()
        if not self._answer and not self._is_left:
            self._pumps = [
                start_pump(os.dup(stream.source), os.dup(stream.original))
                for stream in self._streams
            ]
        self._answered.set()
        self._process.wait()


def collector_environment(host: Mapping[str, str]) -> dict[str, str]:
    """What a collector needs of this process's environment.

    All else comes with its order. It outlives the run, and has no use for the run's credentials.
    """
    return {name: value for name, value in host.items() if _NEEDED.fullmatch(name)}


@contextmanager
def _line_buffered(stream: TextIO) -> Iterator[None]:
    if not isinstance(stream, io.TextIOWrapper) or stream.line_buffering:
        yield
        return
    stream.reconfigure(line_buffering=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(line_buffering=False)


def _fileno(stream: TextIO | None) -> int | None:
    """The stream's file descriptor; None where it has none, as under some test runners."""
    try:
        return stream.fileno() if stream else None
    except (OSError, ValueError):
        return None


def _enlarge(pipe: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
