"""Whether a failed run is resumed by itself: the decision, from what is known of the run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from dagster import DagsterEvent
from dagster._core.events import JobFailureData, RunFailureReason
from dagster_shared.error import SerializableErrorInfo

from dagster_apollo.instance.liveness import WORDS, Cause

Action = Literal["resume", "wait", "leave"]

_DATABASE_ERRORS: Final = frozenset(
    {
        "StorageUnavailableError",
        "DagsterPostgresException",
        "OperationalError",
        "InterfaceError",
        "AdminShutdown",
        "CannotConnectNow",
    }
)
"""dbt has a process and a driver of its own: in a run's process these are the instance's."""
_DBT_ERROR: Final = "DbtEndedError"


@dataclass(frozen=True)
class FailedRun:
    """What is known of a run that has failed.

    Args:
        cause: what of the platform ended it; None where it was not the platform.
        is_over: whether nothing of it can execute any more, wherever.
        is_requested: whether a person asked for its resumption.
        resumed: how many runs before it were resumed by themselves, one from the other.
        limit: how many may be.
        child: the run that has re-executed it already.
    """

    cause: Cause | None
    is_over: bool = True
    is_requested: bool = False
    resumed: int = 0
    limit: int = 2
    child: str | None = None


@dataclass(frozen=True)
class Decision:
    """What to do with a failed run, and why; no reason where there is nothing to explain."""

    action: Action
    why: str = ""


def decide(run: FailedRun) -> Decision:
    """Decide what to do with a failed run."""
    if run.cause is None and not run.is_requested:
        return Decision("leave")
    if not run.is_over:
        return Decision("wait", "what executed it may still run where it cannot be reached")
    if run.is_requested or run.cause is None:
        return Decision("resume", "a person asked for it")
    if run.child:
        return Decision("leave", f"run {run.child} has re-executed it already")
    if run.resumed >= run.limit:
        times = "once" if run.resumed == 1 else f"{run.resumed} times"
        return Decision(
            "leave",
            f"it has been resumed by itself {times}, and again {WORDS[run.cause]}"
            if run.resumed
            else "resumption by itself is turned off",
        )
    return Decision("resume", WORDS[run.cause])


def cause_of(failure: DagsterEvent | None) -> Cause | None:
    """What of the platform ended a run, by the event that says that the run has failed.

    Args:
        failure: the event; None where there is none.
    """
    data = failure.event_specific_data if failure else None
    if not isinstance(data, JobFailureData):
        return None
    if data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION:
        return "interrupted"
    if data.failure_reason is RunFailureReason.START_TIMEOUT:
        return "not started"
    step = data.first_step_failure_event
    for error in _chain(data.error, step.step_failure_data.error if step else None):
        name = (error.cls_name or "").rpartition(".")[2]
        if name == _DBT_ERROR:
            return "killed"
        if name in _DATABASE_ERRORS:
            return "database"
    return None


def _chain(*errors: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    """Errors, and what caused each."""
    for error in errors:
        found = error
        while found:
            yield found
            found = found.cause or found.context
