"""The process that stores what another one prints. It is started with `python -m`.

It reads the pipes that took the place of the other's stdout and stderr, writes on what comes to
where it would have gone, and stores it about every second. It is a process, not a thread, because
it has to outlive the one it watches: what a run printed just before it crashed, or was killed for
want of memory, is what people look for. It also never waits for the other's interpreter lock, and
the other never waits for Postgres: what cannot be stored yet is kept here, within the window.

Its stdin is a socket. The first line that comes is the order; a second says that the other is done,
and so does the end of the socket. Its answer is one line: empty, or what is wrong.
"""

import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, Final

from dagster_apollo.instance.postgres_logs.window import Backlog, Window, key_text
from dagster_apollo.process_privacy import keep_private

STREAMS: Final = ("stdout", "stderr")
_SHIP_EVERY_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 5.0
_GIVE_UP_AFTER_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 1.0
_READ_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Order:
    """What to collect, and where to.

    Args:
        uri: the database; it goes over the socket, so no list of processes shows it.
        log_key: the log.
        max_bytes: what is kept of each stream.
    """

    uri: str = field(repr=False)
    log_key: Sequence[str]
    max_bytes: int

    def to_line(self) -> bytes:
        """The order as it goes over the socket."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Order":
        """The order of a line that `to_line` made."""
        return cls(**json.loads(line))


def pump(source: int, mirror: int, keep: Callable[[bytes], None] | None = None) -> None:
    """Pass on everything that a pipe gives, until all who write to it are gone.

    Where it goes may be slow to take it: then who writes to the pipe waits, as without the pipe.

    Args:
        source: the pipe.
        mirror: where it goes; nowhere any more once that cannot be written to.
        keep: is also given everything, first.
    """
    while data := os.read(source, _READ_BYTES):
        if keep:
            keep(data)
        while data and mirror >= 0:
            try:
                data = data[os.write(mirror, data) :]
            except BlockingIOError:  # somebody set the terminal or pipe to non-blocking
                time.sleep(0.01)
            except OSError:
                mirror = -1


def start_pump(
    source: int, mirror: int, keep: Callable[[bytes], None] | None = None
) -> threading.Thread:
    """Run `pump` on a thread that ends with its process."""
    thread = threading.Thread(target=pump, args=(source, mirror, keep), daemon=True)
    thread.start()
    return thread


class Watch:
    """Knows when the process that gave the order is done, or gone."""

    def __init__(self, control: BinaryIO) -> None:
        self._parent = os.getppid()
        self._done = threading.Event()
        threading.Thread(target=self._listen, args=(control,), daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait until it is done, but not longer than some time; whether it is."""
        # A child that it forked may hold its end of the socket open after it was killed.
        return self._done.wait(seconds) or os.getppid() != self._parent

    def _listen(self, control: BinaryIO) -> None:
        with contextlib.suppress(OSError):
            control.readline()
        self._done.set()


def collect(
    order: Order, backlogs: Mapping[str, Backlog], watch: Watch, drain: Callable[[], None]
) -> str:
    """Store what comes until the other process is done.

    Args:
        order: what to collect.
        backlogs: where the streams' pumps put what comes.
        watch: tells when the other process is done.
        drain: waits until what it wrote has come.

    Returns:
        What is wrong; empty where everything was stored.
    """
    from pydantic import SecretStr  # these take longer to import than pipes take to fill

    from dagster_apollo.instance.postgres_logs.shipper import Shipper
    from dagster_apollo.instance.postgres_logs.store import ComputeLogError, ComputeLogStore

    store = ComputeLogStore(SecretStr(order.uri), Window(order.max_bytes))
    shipper = Shipper(store, order.log_key, backlogs)
    is_last, give_up_at, pause = False, math.inf, _SHIP_EVERY_SECONDS
    while True:
        try:
            shipper.ship(is_last=is_last)
            pause = _SHIP_EVERY_SECONDS
            if is_last:
                return ""
        except ComputeLogError as error:
            if time.monotonic() > give_up_at:
                return f"{shipper.waiting:,} bytes of output are lost. {error}"
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        if is_last:
            time.sleep(_SHIP_EVERY_SECONDS)
        elif watch.wait(pause):
            drain()
            is_last, give_up_at = True, time.monotonic() + _GIVE_UP_AFTER_SECONDS


def main(sources: Sequence[int]) -> None:
    """Do what the order on stdin says.

    Args:
        sources: the pipes, in the order of STREAMS; stdout and stderr are their mirrors.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the other process decides when it is done
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    lines = control.makefile("rb")
    line = lines.readline()
    if not line:
        return
    order = Order.from_line(line)
    backlogs = {stream: Backlog(Window(order.max_bytes)) for stream in STREAMS}
    pumps = [
        start_pump(source, mirror, backlog.add)
        for source, mirror, backlog in zip(sources, (1, 2), backlogs.values(), strict=True)
    ]

    def drain() -> None:
        until = time.monotonic() + _DRAIN_SECONDS
        for thread in pumps:
            thread.join(max(0.0, until - time.monotonic()))

    fault = collect(order, backlogs, Watch(lines), drain)
    try:
        control.sendall(f"{fault}\n".encode())
    except OSError:
        if fault:
            print(f"apollo: compute log {key_text(order.log_key)}: {fault}", file=sys.stderr)  # noqa: T201
    for thread in pumps:  # a process that was left behind may go on writing
        thread.join()


if __name__ == "__main__":
    keep_private()
    main([int(argument) for argument in sys.argv[1:]])
