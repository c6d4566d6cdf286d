"""Which events may wait, and for how long: the decisions, without a clock, a lock or a database."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

from dagster import DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.events import JobFailureData, RunFailureReason
from dagster_shared.error import SerializableErrorInfo

STEP_STATUS: Final = frozenset(
    {
        DagsterEventType.STEP_START,
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_SKIPPED,
        DagsterEventType.STEP_UP_FOR_RETRY,
        DagsterEventType.STEP_RESTARTED,
    }
)
RUN_END: Final = frozenset(
    {
        DagsterEventType.RUN_SUCCESS,
        DagsterEventType.RUN_FAILURE,
        DagsterEventType.RUN_CANCELED,
    }
)


@dataclass(frozen=True)
class Limits:
    """When events are written.

    Args:
        batch: so many waiting events are written at once.
        delay: seconds after which a waiting event is written, however few there are.
        transaction: the most events of one transaction, where more have piled up.
        memory: so many events wait in memory while the database is away; more go to disk.
        full: so many wait in memory where there is no room on disk; then whoever adds one waits.
        spill_after: seconds that the database is away after which they go to disk anyway.
        wait: seconds that a run waits for a database that is away before it fails.
        elsewhere: the same for events of runs that this process does not execute.
    """

    batch: int = 250
    delay: float = 0.5
    transaction: int = 1000
    memory: int = 5000
    full: int = 100_000
    spill_after: float = 5.0
    wait: float = 300.0
    elsewhere: float = 6.0


def is_status(event: EventLogEntry) -> bool:
    """Whether an event says how a run or a step is doing: such an event never waits."""
    if event.dagster_event is None:
        return False
    return event.dagster_event.is_job_event or event.dagster_event.event_type in STEP_STATUS


def ends_run(event: EventLogEntry) -> bool:
    """Whether a run has come to its end with an event."""
    return event.dagster_event is not None and event.dagster_event.event_type in RUN_END


def tells_failure(event: EventLogEntry) -> bool:
    """Whether an event says that a run or a step has failed, or that a run was canceled."""
    return event.dagster_event is not None and event.dagster_event.is_failure


def run_failure(run_id: str, job_name: str | None, why: str, timestamp: float) -> EventLogEntry:
    """The event that a run has failed for a reason that Dagster itself could not write down."""
    failure = DagsterEvent(
        event_type_value=DagsterEventType.RUN_FAILURE.value,
        job_name=job_name or "",
        message=f'Execution of run for "{job_name}" failed. {why}',
        event_specific_data=JobFailureData(
            SerializableErrorInfo(why, [], "StorageUnavailableError"),
            failure_reason=RunFailureReason.RUN_EXCEPTION,
        ),
    )
    return EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=logging.ERROR,
        user_message="",
        run_id=run_id,
        timestamp=timestamp,
        job_name=job_name,
        dagster_event=failure,
    )


class EventBuffer:
    """Events that wait to be written, in the order in which they came.

    Times are those of any one clock, in seconds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[float, EventLogEntry]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[EventLogEntry]:
        return (event for _, event in self._waiting)

    def add(self, event: EventLogEntry, now: float) -> None:
        """Let an event wait."""
        self._waiting.append((now, event))

    def due_in(self, now: float) -> float:
        """Seconds until the first events are due: 0 for at once, infinite where none waits."""
        if not self._waiting:
            return inf
        if len(self._waiting) >= self._limits.batch:
            return 0.0
        return max(0.0, self._waiting[0][0] + self._limits.delay - now)

    def take(self, limit: int | None = None) -> list[EventLogEntry]:
        """Remove the first events, as many as one transaction takes.

        Args:
            limit: another number of events.
        """
        count = min(len(self._waiting), self._limits.transaction if limit is None else limit)
        return [self._waiting.popleft()[1] for _ in range(count)]

    def overflows(self, now: float, away_since: float) -> bool:
        """Whether events belong on disk, the database being away since some time."""
        return (
            len(self._waiting) >= self._limits.memory
            or now - away_since >= self._limits.spill_after
        )


def backoff(attempt: int) -> float:
    """Seconds to wait after an attempt (the first is 1) that did not reach the database."""
    return float(min(5.0, 0.1 * 2**attempt))
