"""What a process writes, taken from its pipe as it comes, whoever reads it and when.

A pipe holds 64 KiB. Who reads dbt's is the step, which may wait for the database that its events go
to; then the pipe would fill up, and dbt, and with it the warehouse, would wait as well.
"""

import os
import queue
import threading
from collections.abc import Iterator
from typing import IO, Final

_CHUNK: Final = 1 << 16
_END_SECONDS: Final = 5


class Drain:
    """Empties a pipe on a thread of its own, which ends with the pipe and closes it.

    There is no bound to what it holds: one would make dbt wait again, and the lines are small (some
    2 kB for each node that dbt builds) against what dbt itself holds of the node.

    Args:
        pipe: the end of a pipe that is read.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._chunks: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        # a daemon: if a process that dbt left behind holds the pipe open, it holds nothing else up
        self._thread = threading.Thread(target=self._read, name="dbt-output", daemon=True)
        self._thread.start()

    def lines(self) -> Iterator[bytes]:
        """The lines in their order, each without its end, until the pipe is closed.

        Raises:
            OSError: the pipe could not be read; it comes after all that was read before.
        """
        rest: list[bytes] = []  # of a line whose end has not come yet
        while chunk := self._chunks.get():
            if isinstance(chunk, BaseException):
                self.join()
                raise chunk
            first, *others = chunk.split(b"\n")
            rest.append(first)
            if others:
                yield b"".join(rest)
                yield from others[:-1]
                rest = others[-1:]
        if last := b"".join(rest):
            yield last
        self.join()

    def join(self) -> None:
        """Wait for the end of the thread, once the process has ended."""
        self._thread.join(_END_SECONDS)

    def _read(self) -> None:
        end: bytes | BaseException = b""
        try:
            with self._pipe:
                while chunk := os.read(self._pipe.fileno(), _CHUNK):
                    self._chunks.put(chunk)
        except BaseException as error:  # noqa: BLE001  # raised where the lines are read
            end = error
        self._chunks.put(end)
