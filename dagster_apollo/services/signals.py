"""How a service is asked to stop: SIGTERM and SIGINT, noted and waited for.

The handlers only count, so that nothing is interrupted half way: the main thread looks when it is
ready to. They are set whatever was inherited (a background job of a shell script ignores SIGINT,
and Dagster makes SIGTERM of that).
"""

import contextlib
import os
import select
import signal
import time
from types import FrameType
from typing import Final

_AS_ONE_SECONDS: Final = 1.0
"""Signals this close together are one request: hosts may signal every process of a service."""


class StopSignals:
    """Requests to stop, counted."""

    def __init__(self) -> None:
        self.requests = 0
        self._latest = float("-inf")
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def install(self) -> "StopSignals":
        """Handle SIGTERM and SIGINT from now on; SIGCHLD only ends a wait early."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)
        signal.signal(signal.SIGCHLD, self._wake)
        return self

    def wait(self, seconds: float) -> bool:
        """Wait for a further signal, at most this long.

        Returns:
            Whether a stop has been requested, now or before.
        """
        # not threading.Event: setting one in a handler can deadlock with the thread that waits
        if select.select([self._reader], [], [], max(0.0, seconds))[0]:
            os.read(self._reader, 4096)
        return self.requests > 0

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._latest > _AS_ONE_SECONDS:
            self.requests += 1
        self._latest = now
        self._wake()

    def _wake(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full of earlier ones
            os.write(self._writer, b".")
