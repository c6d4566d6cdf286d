"""When a run's worker is taken to be dead: the decisions, without a clock or a database.

A worker writes a heartbeat while it executes a run. Silence alone does not prove a death: the
database, the network or the reader may be what was away. So silence counts only for a reader that
has itself been connected for as long, a server that still sees the process speaks for it, and a
worker that is declared dead can never write a heartbeat again (run_workers.py): where it lives on,
it finds out and ends its dbt.

A worker that is cut off cannot find out. It has a lease: it ends its dbt by itself when it has not
reached the database for that long. Until the lease is over a lost run is not resumed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

LOST_AFTER_BEATS: Final = 4
"""So many heartbeats must be missing. Every 15 s, and with the poll of run monitoring (15 s), that
is less than two minutes."""
START_SECONDS: Final = 90.0
"""How long a worker may take from the launch of its run to its first heartbeat."""
STOP_SECONDS: Final = 40
"""How long a worker needs at most to end its dbt (dbt/process.py), and a margin for the clocks."""

Cause = Literal["shutdown", "killed", "memory", "lost", "not started", "interrupted", "database"]
"""What of the platform ended a run, where it was the platform."""

WORDS: Final[dict[Cause, str]] = {
    "shutdown": "its code server was stopped",
    "killed": "its process was killed",
    "memory": "the host ran out of memory",
    "lost": "its host, or all that ran there, was lost",
    "not started": "its process never came up",
    "interrupted": "its process was told to stop from outside",
    "database": "the instance's database was away for too long",
}


@dataclass(frozen=True)
class Rhythm:
    """What a worker has promised.

    Args:
        beat_seconds: how often it is heard of.
        lease_seconds: how long it goes on without the database.
    """

    beat_seconds: int
    lease_seconds: int

    @property
    def lost_after_seconds(self) -> int:
        """The silence after which it is taken to be dead."""
        return LOST_AFTER_BEATS * self.beat_seconds


@dataclass(frozen=True)
class WorkerState:
    """What the database has of the worker of a run.

    Args:
        host: the host's name.
        pid: the process there; None where none has come up.
        rhythm: what it has promised.
        heard_at: when it was last heard of.
        silent_seconds: how long ago that is, by the database's clock.
        is_lost: whether it was declared dead already.
        cause: why it ended, where that is known.
    """

    host: str
    pid: int | None
    rhythm: Rhythm
    heard_at: datetime | None
    silent_seconds: float
    is_lost: bool
    cause: Cause | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended its dbt even if it lives on where nobody can reach it."""
        return self.pid is None or self.silent_seconds > self.rhythm.lease_seconds + STOP_SECONDS

    @property
    def text(self) -> str:
        """What happened to it, in words, where it was lost."""
        if self.pid is None or self.heard_at is None:
            return "No process has come up that executes the run."
        return (
            f"Process {self.pid} on {self.host}, which executed the run, has not been heard of "
            f"since {self.heard_at.astimezone(UTC):%H:%M:%S} UTC: it, or its host, is gone or cut "
            "off from the database. If it lives on, it ends its dbt by itself."
        )


@dataclass(frozen=True)
class Reader:
    """For how long a reader has been able to see heartbeats.

    Args:
        since: since when, by the reader's own clock.
        latest: when it last succeeded.
    """

    since: float
    latest: float

    @classmethod
    def after(cls, reader: "Reader | None", now: float) -> "Reader":
        """The reader after it has read once more: it starts anew where it has not for a while."""
        if reader is None or now - reader.latest > _GAP_SECONDS:
            return cls(since=now, latest=now)
        return cls(since=reader.since, latest=now)

    @property
    def seconds(self) -> float:
        """For how long."""
        return self.latest - self.since


def is_suspect(worker: WorkerState, reader: Reader) -> bool:
    """Whether a worker's silence has lasted long enough to mean something."""
    enough = worker.rhythm.lost_after_seconds
    return worker.pid is not None and worker.silent_seconds > enough and reader.seconds >= enough


_GAP_SECONDS: Final = 45.0
"""Three polls of run monitoring: who has not read for longer may have been cut off."""
