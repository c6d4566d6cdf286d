"""The environment of retention: for how long history is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Final

from pydantic import Field

from dagster_apollo.contract import Environment, validate
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ConfigurationError, Problem

_LONGEST: Final = 36_500
_DAYS_MEND: Final = f"Set it to days from 1 to {_LONGEST}, or to 0 to keep all, or unset it"
Days = Annotated[int, Field(ge=0, le=_LONGEST)]


class RetentionEnvironment(Environment):
    """The variables of retention; 0 days is for ever."""

    mends: ClassVar[Mapping[str, str]] = {
        "APOLLO_RETENTION_DAYS": _DAYS_MEND,
        "APOLLO_RETENTION_RUNS_PER_JOB": "Set it to a number from 1 to 1000000, or unset it",
        "APOLLO_RETENTION_LOG_DAYS": _DAYS_MEND,
        "APOLLO_RETENTION_AUDIT_DAYS": _DAYS_MEND,
        "APOLLO_RETENTION_TICK_DAYS": _DAYS_MEND,
        "APOLLO_RETENTION_HOUR": "Set it to an hour of the day from 0 to 23 (UTC), or unset it",
    }

    apollo_retention_days: Days = 90
    apollo_retention_runs_per_job: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    apollo_retention_log_days: Days = 30
    apollo_retention_audit_days: Days = 400
    apollo_retention_tick_days: Days = 90
    apollo_retention_hour: Annotated[int, Field(ge=0, le=23)] = 3


@dataclass(frozen=True)
class Policy:
    """For how long history is kept; None is for ever.

    Args:
        runs: runs with their events, from their end on.
        runs_per_job: as many of a job's latest runs stay, however old they are.
        logs: what runs, schedules and sensors printed.
        audit: entries of the audit log.
        ticks: ticks for which dagster.yaml's `retention` says for ever.
        hour: when the daemon prunes, in UTC.
    """

    runs: timedelta | None
    runs_per_job: int
    logs: timedelta | None
    audit: timedelta | None
    ticks: timedelta | None
    hour: int = 3


def load_retention(environ: Mapping[str, str] | None = None) -> Policy:
    """For how long history is kept, by the environment.

    Raises:
        ConfigurationError: a variable is wrong.
    """
    problems: list[Problem] = []
    environ = read_environment() if environ is None else environ
    values = validate(RetentionEnvironment, environ, str, problems)
    if problems:
        raise ConfigurationError(problems)
    return Policy(
        runs=_period(values.apollo_retention_days),
        runs_per_job=values.apollo_retention_runs_per_job,
        logs=_period(values.apollo_retention_log_days),
        audit=_period(values.apollo_retention_audit_days),
        ticks=_period(values.apollo_retention_tick_days),
        hour=values.apollo_retention_hour,
    )


def _period(days: int) -> timedelta | None:
    return timedelta(days=days) if days else None


def is_due(
    now: datetime, hour: int, started: datetime | None, *, succeeded: bool, again: timedelta
) -> bool:
    """Whether it is time to prune.

    Args:
        now: the time, in UTC.
        hour: the hour of the day at which pruning begins.
        started: when it was last begun; None: never.
        succeeded: whether it then came to its end.
        again: after a failure it is tried again this much later.
    """
    if started is None:
        return True
    if not succeeded:
        return now - started >= again
    latest = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    if latest > now:
        latest -= timedelta(days=1)
    return started < latest
