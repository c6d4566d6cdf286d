"""Which runs may go: a decision about facts, without a database."""

from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RunFacts:
    """What decides about a run.

    Args:
        run_id: the run.
        root: the first run of its group: the one that it repeats, or itself.
        job: its job.
        partition: the partition of the job that it ran for.
        backfill: the backfill that it belongs to.
        ended: when it ended, in UTC; None while it has not.
    """

    run_id: str
    root: str
    job: str
    partition: str | None
    backfill: str | None
    ended: datetime | None


@dataclass(frozen=True)
class Kept:
    """What must stay, whatever its age.

    Args:
        runs: runs to which the latest state of an asset or a check points, or that hold slots.
        backfills: backfills that are not over.
    """

    runs: AbstractSet[str]
    backfills: AbstractSet[str]


def choose_runs(
    runs: Iterable[RunFacts], kept: Kept, before: datetime, per_job: int
) -> list[list[str]]:
    """The groups of runs that may go, the oldest first.

    A group (a run and all that repeat it) goes as a whole or stays as a whole.

    Args:
        runs: all runs, the newest first.
        kept: what must stay.
        before: runs that ended later stay.
        per_job: as many of a job's latest runs stay.
    """
    going: dict[str, list[str]] = {}
    staying: set[str] = set()
    of_job: Counter[str] = Counter()
    partitions: set[tuple[str, str]] = set()
    for run in runs:
        of_job[run.job] += 1
        is_latest_of_partition = (
            run.partition is not None and (run.job, run.partition) not in partitions
        )
        if run.partition is not None:
            partitions.add((run.job, run.partition))
        if (
            run.ended is None
            or run.ended >= before
            or of_job[run.job] <= per_job
            or is_latest_of_partition
            or run.run_id in kept.runs
            or run.backfill in kept.backfills
        ):
            staying.add(run.root)
            going.pop(run.root, None)
        elif run.root not in staying:
            going.setdefault(run.root, []).append(run.run_id)
    return [group[::-1] for group in reversed(going.values())]
