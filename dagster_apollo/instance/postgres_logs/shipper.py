"""What was written to a log's streams on its way to the store, with nothing lost in between."""

import io
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dagster_apollo.instance.postgres_logs.store import ComputeLogError, ComputeLogStore
from dagster_apollo.instance.postgres_logs.window import Backlog, Window, key_text

_PARTS_AT_A_TIME: Final = 4
_SHIP_EVERY_SECONDS: Final = 1.0
_RETRY_AFTER_SECONDS: Final = 10.0
_CLOSE_WITHIN_SECONDS: Final = 5.0
_log = logging.getLogger("apollo.compute_logs")


class Shipper:
    """Brings the backlogs of one log to the store.

    Args:
        store: where to.
        log_key: the log.
        backlogs: what was written, by stream.
        is_shared: whether others write to the same streams.
    """

    def __init__(
        self,
        store: ComputeLogStore,
        log_key: Sequence[str],
        backlogs: Mapping[str, Backlog],
        *,
        is_shared: bool = False,
    ) -> None:
        self._store = store
        self._log_key = log_key
        self._backlogs = backlogs
        self._is_shared = is_shared
        self._is_open = False

    def ship(self, *, is_last: bool = False) -> bool:
        """Store what there is. What cannot be stored stays for the next time.

        Args:
            is_last: whether nothing more will be written.

        Returns:
            Whether the log is still there; False where it was deleted.

        Raises:
            ComputeLogError: the store cannot be reached.
        """
        if not self._is_open:
            self._store.open(self._log_key, list(self._backlogs))
            self._is_open = True
        are_there = [
            self._ship(stream, backlog, is_last=is_last)
            for stream, backlog in self._backlogs.items()
        ]
        return all(are_there)

    @property
    def waiting(self) -> int:
        """The bytes that are not stored."""
        return sum(map(len, self._backlogs.values()))

    def _ship(self, stream: str, backlog: Backlog, *, is_last: bool) -> bool:
        parts = backlog.take()
        stored = 0
        try:
            while stored < len(parts) or is_last:
                batch = parts[stored : stored + _PARTS_AT_A_TIME]
                ends = is_last and stored + len(batch) == len(parts)
                if not self._store.append(
                    self._log_key, stream, batch, is_last=ends, is_shared=self._is_shared
                ):
                    return False
                stored += len(batch)
                if ends:
                    break
        except ComputeLogError:
            backlog.restore(parts[stored:])
            raise
        return True


class LogStream(io.RawIOBase):
    """A stream of a log to write to, as Dagster does for schedules, sensors and backfills.

    It belongs to a process that does other things, and mostly nothing is written: so there is no
    thread and no connection until something is. The log is stored about every second while it is
    written, and when the stream is closed.
    """

    def __init__(
        self, store: ComputeLogStore, log_key: Sequence[str], stream: str, window: Window
    ) -> None:
        super().__init__()
        self._name = key_text(log_key)
        self._backlog = Backlog(window)
        self._shipper = Shipper(store, log_key, {stream: self._backlog}, is_shared=True)
        self._is_used = False
        self._next = time.monotonic() + _SHIP_EVERY_SECONDS

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401
        """Write bytes, or text, which is what Dagster 1.13 writes to these streams."""
        if self.closed:
            raise ValueError("The log stream is closed.")
        content = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else bytes(data)
        self._backlog.add(content)
        self._is_used = True
        if time.monotonic() >= self._next:
            try:
                self._shipper.ship()
                self._next = time.monotonic() + _SHIP_EVERY_SECONDS
            except ComputeLogError:
                self._next = time.monotonic() + _RETRY_AFTER_SECONDS
        return len(data)

    def close(self) -> None:
        """Store the rest; what cannot be stored is warned of, and does not fail the caller."""
        if not self.closed and self._is_used:
            self._ship_rest()
        super().close()

    def _ship_rest(self) -> None:
        until = time.monotonic() + _CLOSE_WITHIN_SECONDS
        while True:
            try:
                self._shipper.ship(is_last=True)
            except ComputeLogError as error:
                if time.monotonic() + 1 < until:
                    time.sleep(1)
                    continue
                _log.warning(
                    "%s bytes of the log %s are lost: %s",
                    f"{self._shipper.waiting:,}",
                    self._name,
                    error,
                )
            return
