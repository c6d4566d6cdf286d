"""A run worker's heartbeat, and what it learns by it.

Two threads, for a database that hangs must not keep the second from its work: one writes the
heartbeat and is told how the run is doing; the other keeps the time of the lease.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dagster import DagsterRunStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.instance.liveness import Rhythm
from dagster_apollo.instance.run_workers import Claim, NotOurRunError, RunWorkers

_LOOK_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 5.0
_log = logging.getLogger("apollo.run")


def boot_clock() -> float:
    """Seconds since the host's start, those that it slept included where its system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass
class Pulse:
    """What a worker knows of its run: decisions, without a thread or a database.

    Args:
        lease_seconds: how long the run goes on without the database.
        confirmed: when the last heartbeat that was written was sent.
    """

    lease_seconds: float
    confirmed: float
    _ended: int = 0
    _canceling: int = 0

    def told(self, status: DagsterRunStatus, sent: float) -> str | None:
        """Take note of an answer. Why to stop, if that is to be.

        Two in a row: the worker itself may just have recorded the end, and a code server, which
        looks more often, obeys a cancellation first.
        """
        self.confirmed = sent
        self._ended = self._ended + 1 if status in FINISHED_STATUSES else 0
        self._canceling = self._canceling + 1 if status is DagsterRunStatus.CANCELING else 0
        if self._ended > 1:
            return "the run has been recorded as ended by somebody else"
        return "the run is to be canceled" if self._canceling > 1 else None

    def out_of_time(self, now: float) -> str | None:
        """Why to stop, where the lease is over."""
        if now - self.confirmed <= self.lease_seconds:
            return None
        return (
            f"the database has not been reached for {self.lease_seconds:.0f} s, after which the "
            "run may be resumed elsewhere"
        )


@contextlib.contextmanager
def beating(
    workers: RunWorkers,
    claim: Claim,
    rhythm: Rhythm,
    end_dbt: Callable[[str], None],
    end_run: Callable[[], None],
) -> Iterator[None]:
    """Be heard of while a run is executed.

    Args:
        workers: the table.
        claim: the run, which this process has claimed just now.
        rhythm: how often, and how long the run goes on where that is not possible.
        end_dbt: ends dbt, and lets none begin any more; is told why. When the lease is over that
            is enough: what has been built can still be recorded, if the database comes back first.
        end_run: ends the rest of the run, after dbt.
    """
    pulse = Pulse(rhythm.lease_seconds, boot_clock())
    done = threading.Event()
    asked: set[bool] = set()

    def stop(why: str, whole: bool) -> None:  # noqa: FBT001
        end_dbt(why)
        if whole:
            end_run()

    def end(why: str | None, *, whole: bool) -> None:
        if why and whole not in asked and not done.is_set():
            asked.add(whole)
            threading.Thread(target=stop, args=(why, whole), daemon=True).start()

    def beat() -> None:
        while not done.wait(rhythm.beat_seconds):
            sent = boot_clock()
            try:
                end(pulse.told(workers.beat(claim), sent), whole=True)
            except NotOurRunError:
                why = "the run was taken from this process, of which nothing had been heard"
                end(why, whole=True)
                return
            except SQLAlchemyError as error:  # its text may hold the URI
                _log.warning("No heartbeat: the database is away (%s)", type(error).__name__)

    def keep_time() -> None:
        while not done.wait(_LOOK_SECONDS):
            end(pulse.out_of_time(boot_clock()), whole=False)

    def leave() -> None:
        with contextlib.suppress(SQLAlchemyError):
            workers.end(claim)

    for target in (beat, keep_time):
        threading.Thread(target=target, name=f"apollo-{target.__name__}", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        last = threading.Thread(target=leave, name="apollo-leave", daemon=True)
        last.start()
        last.join(_LEAVE_SECONDS)  # a database that hangs must not keep the process
