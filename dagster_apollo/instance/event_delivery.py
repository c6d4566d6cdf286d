"""The way of events to the database: at once or in batches, and past an outage.

Events of a run that is being buffered wait for a fraction of a second, so that many are written in
one transaction; any other event is written before `store` returns, after or together with those
that wait. While the database is away events stay in memory, then on disk, and the run goes on: only
its end waits for its events.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import Final

from dagster import EventLogEntry

from dagster_apollo.instance.event_buffer import (
    EventBuffer,
    Limits,
    backoff,
    ends_run,
    is_status,
    run_failure,
    tells_failure,
)
from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.event_spill import Spill
from dagster_apollo.instance.postgres_writer import Batch, StorageUnavailableError

_LOGGER: Final = logging.getLogger(__name__)
_Write = Callable[[Batch], None]


@dataclass
class _Order:
    """A batch on its way.

    Args:
        batch: the events.
        accepted: how many of the first events are this module's responsibility already; those after
            them are their caller's, who waits for the outcome.
    """

    batch: Batch
    accepted: int

    def singly(self) -> list["_Order"]:
        """The same events, one by one."""
        return [
            _Order(Batch([event]), 1 if place < self.accepted else 0)
            for place, event in enumerate(self.batch.events)
        ]


class EventDelivery:
    """Takes events in order, and writes them in order, from any number of threads.

    Args:
        write: stores a batch (see `EventWriter.write`).
        recover: stores a batch that was on disk.
        folder: where events go while the database is away.
        limits: when events are written.
        promises: what is promised to those who refer to events that wait.
    """

    def __init__(
        self, write: _Write, recover: _Write, folder: Path, limits: Limits, promises: Promises
    ) -> None:
        self._write = write
        self._recover = recover
        self._folder = folder
        self._limits = limits
        self._promises = promises
        self.reset()

    def reset(self) -> None:
        """Start with nothing: after a fork, what waits is the parent's."""
        if (spill := getattr(self, "_spill", None)) is not None:
            spill.close()
        self._writing = threading.RLock()  # one thread at a time writes what has waited
        self._state = threading.Condition()  # guards what follows; never held for long
        self._writer: int | None = None
        self._buffer = EventBuffer(self._limits)
        self._orders: deque[_Order] = deque()
        self._spill: Spill | None = None
        self._buffering: Counter[str] = Counter()
        self._executing: dict[str, str | None] = {}  # and the names of their jobs
        self._away_since: float | None = None
        self._has_given_up = False
        self._refused: Exception | None = None
        self._thread: threading.Thread | None = None

    @property
    def patience(self) -> float:
        """Seconds for which whoever needs the database should wait for it now."""
        if self._has_given_up:
            return 0.0
        return self._limits.wait if self._executing else self._limits.elsewhere

    def store(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of a run: soon, where it is being buffered and they may wait, or else now.

        Raises:
            StorageUnavailableError: the database is away, and was waited for in vain. What was
                accepted before is on disk.
            Exception: the database, or Dagster, refuses the events; none of them is stored.
        """
        run_id = events[-1].run_id
        if run_id in self._executing:
            self._executing[run_id] = events[-1].job_name
        if run_id in self._buffering and not any(is_status(event) for event in events):
            self._accept(events)
            return
        # the failure of a run that executes here is better told late than never
        is_kept = tells_failure(events[-1]) and run_id in self._executing
        try:
            if self._is_idle() and not is_kept:
                self._insist(self._write, Batch(events), self._deadline())
            else:
                self._drain(self._deadline(), events, keep=is_kept)
        except StorageUnavailableError as error:
            self._give_up(error, is_kept=is_kept)
        if ends_run(events[-1]):
            self._executing.pop(run_id, None)
            if not self._executing:
                self._promises.forget()

    def flush(self, patience: float | None = None) -> None:
        """Write all that waits, if the calling thread is not about to do so anyway.

        Args:
            patience: seconds to wait for the database, where they are fewer than they would be.

        Raises:
            StorageUnavailableError: the database is away, and was waited for in vain.
        """
        if self._writer == threading.get_ident() or self._is_idle():
            return
        self._drain(self._deadline(patience))

    @contextmanager
    def buffering(self, run_id: str) -> Iterator[None]:
        """Let a run's events wait for one another while this is active.

        Raises:
            StorageUnavailableError: at the end: the database is away, and was waited for in vain.
            Exception: at the end: what the database had against one of the events.
        """
        with self._state:
            self._buffering[run_id] += 1
            self._executing.setdefault(run_id, None)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._deliver_when_due, name="apollo-events", daemon=True
                )
                self._thread.start()
        try:
            yield
        except BaseException:
            self._end(run_id)
            try:
                self.flush(self._limits.elsewhere)
            except StorageUnavailableError:  # the error at hand matters more
                self._put_on_disk()
            raise
        self._end(run_id)
        try:
            self.flush()
        except StorageUnavailableError as error:
            self._give_up(error)
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def close(self) -> None:
        """Write what waits, or leave it on disk for the next process, with the runs' failure.

        Dagster itself does not get as far as that: it reads the run before it says that it failed.
        """
        if self._has_given_up and self._executing:
            why = "The instance's database was away, and was waited for in vain."
            runs = self._executing.items()
            self._put_on_disk([run_failure(*run, why, time.time()) for run in runs])
            self._executing.clear()
        try:
            self.flush(self._limits.elsewhere)
        except StorageUnavailableError:
            self._put_on_disk()
        with self._writing:
            if self._spill:
                self._spill.close()
                self._spill = None

    def _accept(self, events: Sequence[EventLogEntry]) -> None:
        with self._state:
            before = len(self._buffer)
            for event in events:
                self._promises.make(event)
                self._buffer.add(event, time.monotonic())
            if before == 0 or before < self._limits.batch <= len(self._buffer):
                self._state.notify_all()
            is_full = len(self._buffer) >= self._limits.full
        if is_full:  # the disk does not take them either
            self._drain(self._deadline())

    def _end(self, run_id: str) -> None:
        with self._state:
            self._buffering[run_id] -= 1
            self._buffering += Counter()  # drop what is zero
            self._state.notify_all()

    def _is_idle(self) -> bool:
        with self._state:
            return not (self._buffer or self._orders or self._spill or self._writer)

    def _deadline(self, patience: float | None = None) -> float:
        longest = self.patience
        return time.monotonic() + (longest if patience is None else min(patience, longest))

    def _deliver_when_due(self) -> None:
        """Write what is due, while any run is being buffered: the work of a thread of its own."""
        attempts = 0
        while True:
            with self._state:
                if not attempts and self._buffering and (wait := self._due_in()) > 0:
                    self._state.wait(None if isinf(wait) else wait)
                    continue
                if attempts:
                    self._state.wait_for(lambda: not self._buffering, backoff(attempts))
                if not self._buffering:
                    self._thread = None
                    return
            try:
                self._drain(time.monotonic())
            except StorageUnavailableError:
                attempts += 1
                if self._is_overdue():
                    self._put_on_disk()
            else:
                attempts = 0

    def _due_in(self) -> float:
        return 0.0 if self._spill or self._orders else self._buffer.due_in(time.monotonic())

    def _is_overdue(self) -> bool:
        with self._state:
            since = self._away_since
            return since is not None and self._buffer.overflows(time.monotonic(), since)

    def _drain(
        self, deadline: float, own: Sequence[EventLogEntry] = (), *, keep: bool = False
    ) -> None:
        """Write what is on disk, what waits, and then the caller's own events.

        With `keep`, these wait with the others where the database is away.
        """
        with self._writing:
            outer, self._writer = self._writer, threading.get_ident()
            try:
                self._line_up(own)
                self._replay(deadline)
                while self._orders:
                    self._deliver(self._orders[0], deadline)
            except BaseException as error:
                if not (keep and isinstance(error, StorageUnavailableError)):
                    self._withdraw()
                raise
            finally:
                self._accept_orders()
                self._writer = outer

    def _line_up(self, own: Sequence[EventLogEntry]) -> None:
        """Order what waits now, and the caller's own; what comes later waits for its own time."""
        with self._state:
            while self._buffer:
                events = self._buffer.take()
                accepted = len(events)
                if len(own) == 1 and not self._buffer:
                    events, own = [*events, *own], ()
                self._orders.append(_Order(Batch(events), accepted))
            if own:
                self._orders.append(_Order(Batch(own), 0))

    def _deliver(self, order: _Order, deadline: float) -> None:
        try:
            self._insist(self._write, order.batch, deadline)
        except StorageUnavailableError:
            raise
        except Exception as error:
            self._orders.popleft()
            if not order.accepted:
                raise
            if len(order.batch.events) > 1:  # find the one that is at fault
                self._orders.extendleft(reversed(order.singly()))
            else:
                self._refuse(order.batch.events[0], error)
        else:
            self._orders.popleft()

    def _insist(self, write: _Write, batch: Batch, deadline: float) -> None:
        """Write a batch, trying again until a time."""
        attempts = 0
        while True:
            try:
                write(batch)
            except StorageUnavailableError:
                now = time.monotonic()
                self._away_since = self._away_since or now
                if now >= deadline:
                    raise
                attempts += 1
                time.sleep(min(backoff(attempts), deadline - now))
            else:
                self._away_since = None
                self._has_given_up = False
                return

    def _accept_orders(self) -> None:
        with self._state:
            for order in self._orders:
                order.accepted = len(order.batch.events)

    def _withdraw(self) -> None:
        """Forget events that are their callers' again."""
        with self._state:
            for order in self._orders:
                order.batch.events = order.batch.events[: order.accepted]
            self._orders = deque(order for order in self._orders if order.batch.events)

    def _refuse(self, event: EventLogEntry, error: Exception) -> None:
        self._promises.release([event])
        _LOGGER.error(
            "An event of run %s cannot be stored (%s).", event.run_id, type(error).__name__
        )
        self._refused = self._refused or error

    def _replay(self, deadline: float) -> None:
        if self._spill is None:
            return
        self._spill.replay(lambda batch: self._insist(self._recover, batch, deadline), self._refuse)
        self._spill.remove()
        self._spill = None

    def _give_up(self, error: StorageUnavailableError, *, is_kept: bool = False) -> None:
        """Put on disk what was accepted, and report it, unless all was (`is_kept`)."""
        waited = self.patience
        self._has_given_up = True
        self._put_on_disk()
        if is_kept and self._spill and not self._orders:
            return
        place = (
            f" Events that could not be stored wait in {self._spill.path}." if self._spill else ""
        )
        raise StorageUnavailableError(
            f"{error} It was waited for, for {waited:g} seconds.{place}"
        ) from error

    def _put_on_disk(self, more: Sequence[EventLogEntry] = ()) -> None:
        with self._writing:
            with self._state:
                batches = [order.batch for order in self._orders]
                waiting = [*self._buffer]
            batches += [Batch(part) for part in (waiting, more) if part]
            if not batches:
                return
            try:
                self._spill = self._spill or Spill.create(self._folder, self._promises)
                self._spill.append(batches)
            except OSError as error:
                _LOGGER.error(  # noqa: TRY400
                    "Events cannot be put on disk: %s. They stay in memory.", error.strerror
                )
                return
            with self._state:
                self._orders.clear()
                self._buffer.take(len(waiting))
            _LOGGER.warning("The instance's database is away; events wait in %s.", self._spill.path)
