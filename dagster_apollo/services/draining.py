"""What is left of the time between SIGTERM and SIGKILL, and what it is for.

First running runs may finish. Then they are told to stop: dbt gets an interrupt and cancels its
queries, for which dbt/process.py allows 25 s, and Dagster records the failure. Last, what still
runs is killed and recorded. Where the host gives little time, stopping comes first.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_STOP_SECONDS: Final = 30.0
"""Ending dbt by force takes 25 s at most; the rest is for Dagster to record it."""
_STOP_SHARE: Final = 0.8
_RECORD_SECONDS: Final = 10.0
"""To record killed runs and leave, before the host kills this process, too."""
_RECORD_SHARE: Final = 0.2


class Phase(IntEnum):
    """What is done with the runs that execute."""

    FINISH = 0
    STOP = 1
    KILL = 2
    LEAVE = 3


@dataclass(frozen=True)
class Plan:
    """When each phase begins, in seconds after SIGTERM."""

    stop_at: float
    kill_at: float
    leave_at: float

    @classmethod
    def of(cls, shutdown_seconds: float) -> "Plan":
        """The plan for a host that kills after so many seconds: 300 -> 260, 290 and 298."""
        record = min(_RECORD_SECONDS, _RECORD_SHARE * shutdown_seconds)
        kill_at = shutdown_seconds - record
        return cls(
            stop_at=kill_at - min(_STOP_SECONDS, _STOP_SHARE * kill_at),
            kill_at=kill_at,
            leave_at=shutdown_seconds - record / 5,
        )

    def phase(self, elapsed: float, requests: int = 1) -> Phase:
        """What to do now.

        Args:
            elapsed: seconds since SIGTERM.
            requests: how often SIGTERM (or Ctrl-C) came: each further one ends a phase early.
        """
        due = sum(elapsed >= begin for begin in (self.stop_at, self.kill_at, self.leave_at))
        return Phase(max(due, min(requests - 1, Phase.KILL)))
