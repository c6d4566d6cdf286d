"""What of an instance's state is wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dagster_apollo.retention.report import Outcome
from dagster_apollo.status.model import (
    Failing,
    RunState,
    ScheduleState,
    ServiceState,
    Status,
    TenantState,
)

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAEMON = ServiceState("daemon", "daemon", "abc", "host", NOW, is_up=True)
RUN = RunState("r1", "acme_build", "acme", "SUCCESS", NOW)
TENANT = TenantState("acme", RUN, NOW)
WELL = Status(
    at=NOW,
    storage="Postgres",
    database_bytes=1234,
    services=(DAEMON,),
    queued=(replace(RUN, run_id="r2", since=NOW - timedelta(minutes=5)),),
    running=(),
    tenants=(TENANT,),
    failing=(Failing("acme/orders", "not_null", "warn", "r1", NOW),),
    schedules=(ScheduleState("acme_build_schedule", NOW, "SUCCESS", NOW + timedelta(hours=1)),),
    retention=Outcome(NOW - timedelta(hours=9), NOW - timedelta(hours=8), succeeded=NOW),
)


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert WELL.problems == ()
    assert replace(WELL, services=(), retention=None).problems == ()  # as on a laptop


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"services": (replace(DAEMON, is_up=False),)}, "daemon daemon is down, since 2026-03-01"),
        ({"services": (replace(DAEMON, service="webserver"),)}, "No daemon runs"),
        ({"queued": (replace(RUN, since=NOW - timedelta(hours=2)),)}, "1 runs are queued, since"),
        (
            {"tenants": (replace(TENANT, last_run=replace(RUN, status="FAILURE")),)},
            "The last run of acme failed: r1",
        ),
        (
            {"failing": tuple(Failing(f"a/{it}", None, "error", "r1", NOW) for it in "vwxyz")},
            "Failing: a/v, a/w, a/x and 2 more",
        ),
        ({"retention": Outcome(NOW, NOW, error="why")}, "Retention failed at 2026-03-01 12:00 UTC"),
        ({"retention": Outcome(NOW - timedelta(days=2))}, "has not come to an end since"),
        (
            {"retention": Outcome(NOW - timedelta(days=4), NOW - timedelta(days=4))},
            "Retention has not run since 2026-02-25",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(change: dict[str, object], said: str) -> None:
    problems = replace(WELL, **change).problems  # type: ignore[arg-type]
    assert [said in problem for problem in problems].count(True) == 1, problems
