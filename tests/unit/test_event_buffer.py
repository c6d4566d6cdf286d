"""Which events may wait, and for how long."""

from math import inf

import pytest
from dagster import DagsterEventType

from dagster_apollo.instance.event_buffer import (
    EventBuffer,
    Limits,
    backoff,
    ends_run,
    is_status,
    run_failure,
    tells_failure,
)
from tests.unit.events import evaluation, line, materialization, status

pytestmark = pytest.mark.unit

LIMITS = Limits(batch=3, delay=0.5, transaction=4, memory=5, spill_after=10.0)


def test_events_leave_in_the_order_in_which_they_came() -> None:
    buffer = EventBuffer(LIMITS)
    events = [line(str(number)) for number in range(6)]
    for event in events:
        buffer.add(event, 0.0)
    assert [*buffer] == events
    assert buffer.take() == events[:4]
    assert buffer.take() == events[4:]
    assert buffer.take() == []


def test_nothing_is_due_where_nothing_waits() -> None:
    assert EventBuffer(LIMITS).due_in(0.0) == inf


def test_the_oldest_event_says_when_all_are_due() -> None:
    buffer = EventBuffer(LIMITS)
    buffer.add(line(), 10.0)
    buffer.add(line(), 10.4)
    assert buffer.due_in(10.4) == pytest.approx(0.1)
    assert buffer.due_in(11.0) == 0


def test_a_batch_is_due_at_once() -> None:
    buffer = EventBuffer(LIMITS)
    for _ in range(3):
        buffer.add(line(), 10.0)
    assert buffer.due_in(10.0) == 0


def test_many_events_or_a_long_outage_belong_on_disk() -> None:
    buffer = EventBuffer(LIMITS)
    assert not buffer.overflows(now=5.0, away_since=0.0)
    assert buffer.overflows(now=10.0, away_since=0.0)
    for _ in range(5):
        buffer.add(line(), 0.0)
    assert buffer.overflows(now=0.0, away_since=0.0)


@pytest.mark.parametrize(
    "kind",
    [
        DagsterEventType.RUN_START,
        DagsterEventType.RUN_SUCCESS,
        DagsterEventType.RUN_CANCELING,
        DagsterEventType.STEP_START,
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.STEP_UP_FOR_RETRY,
    ],
)
def test_what_says_how_a_run_or_step_is_doing_never_waits(kind: DagsterEventType) -> None:
    assert is_status(status(kind))


def test_all_else_may_wait() -> None:
    kinds = (DagsterEventType.ENGINE_EVENT, DagsterEventType.STEP_OUTPUT)
    waiting = [line(), materialization("a"), evaluation("a", "c"), *map(status, kinds)]
    assert not any(is_status(event) for event in waiting)


def test_a_runs_end_is_told_from_a_steps() -> None:
    assert ends_run(status(DagsterEventType.RUN_SUCCESS))
    assert not ends_run(status(DagsterEventType.STEP_FAILURE))
    assert tells_failure(status(DagsterEventType.STEP_FAILURE))
    assert tells_failure(status(DagsterEventType.RUN_CANCELED))
    assert not tells_failure(status(DagsterEventType.RUN_SUCCESS))


def test_a_failure_made_here_is_one_to_dagster() -> None:
    event = run_failure("run", "job", "The database was away.", 7.0)
    assert event.get_dagster_event().is_run_failure
    assert event.get_dagster_event().job_failure_data.error.message == "The database was away."


def test_attempts_become_rarer() -> None:
    pauses = [backoff(attempt) for attempt in range(1, 9)]
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.2)
    assert pauses[-1] == 5
