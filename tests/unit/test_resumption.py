"""What is left of a run, and whether it is resumed by itself."""

from collections.abc import Callable
from typing import Any

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterEvent, DagsterEventType, DagsterRun
from dagster._core.events import JobFailureData, RunFailureReason, StepFailureData
from dagster_shared.error import SerializableErrorInfo

from dagster_apollo.instance.remaining import Remaining, remaining
from dagster_apollo.resumption.creation import resumed_tags
from dagster_apollo.resumption.policy import FailedRun, cause_of, decide

pytestmark = pytest.mark.unit

A, B, C = (AssetKey(["acme", name]) for name in "abc")
A_UNIQUE, A_FRESH, B_UNIQUE = (
    AssetCheckKey(A, "unique"),
    AssetCheckKey(A, "fresh"),
    AssetCheckKey(B, "unique"),
)
PLANNED = (A, B, C, A_UNIQUE, A_FRESH, B_UNIQUE)


def test_all_is_left_of_a_run_that_did_nothing() -> None:
    assert remaining(PLANNED, set(), {}) == Remaining(
        frozenset({A, B, C}), frozenset({A_UNIQUE, A_FRESH, B_UNIQUE})
    )


def test_nothing_is_left_of_a_run_that_died_while_it_wrote_its_last_event() -> None:
    passed = {A_UNIQUE: True, A_FRESH: True, B_UNIQUE: True}
    assert not remaining(PLANNED, {A, B, C}, passed)


def test_a_model_whose_tests_did_not_run_is_tested_and_not_built_again() -> None:
    left = remaining(PLANNED, {A, B}, {A_UNIQUE: True, B_UNIQUE: True})
    assert left == Remaining(frozenset({C}), frozenset({A_FRESH}))


def test_a_test_that_failed_runs_again_with_what_it_blocked_but_not_its_model() -> None:
    left = remaining(PLANNED, {A}, {A_UNIQUE: False, A_FRESH: True})
    assert left == Remaining(frozenset({B, C}), frozenset({A_UNIQUE, B_UNIQUE}))


def test_a_model_that_is_built_again_is_tested_again() -> None:
    left = remaining(PLANNED, {B, C}, {A_UNIQUE: True, A_FRESH: True, B_UNIQUE: True})
    assert left == Remaining(frozenset({A}), frozenset({A_UNIQUE, A_FRESH}))


def test_what_a_deploy_removed_is_not_left_any_more() -> None:
    left = Remaining(frozenset({A, B}), frozenset({A_UNIQUE, B_UNIQUE}))
    assert left.among({B, C}, {B_UNIQUE}) == Remaining(frozenset({B}), frozenset({B_UNIQUE}))


@pytest.mark.parametrize(
    ("run", "action", "why"),
    [
        (FailedRun(None), "leave", ""),  # the SQL or the data
        (FailedRun(None, is_requested=True), "resume", "a person"),
        (FailedRun("lost", is_over=False), "wait", "may still run"),
        (FailedRun("lost", is_over=False, is_requested=True), "wait", "may still run"),
        (FailedRun("lost"), "resume", "was lost"),
        (FailedRun("memory", resumed=1), "resume", "memory"),
        (FailedRun("memory", resumed=2), "leave", "2 times, and again the host ran out"),
        (FailedRun("memory", resumed=2, is_requested=True), "resume", "a person"),
        (FailedRun("killed", limit=0), "leave", "turned off"),
        (FailedRun("killed", child="x"), "leave", "run x has re-executed it"),
        (FailedRun("killed", child="x", is_requested=True), "resume", "a person"),
    ],
)
def test_a_run_is_resumed_by_itself_where_the_platform_ended_it_and_not_for_ever(
    run: FailedRun, action: str, why: str
) -> None:
    decision = decide(run)
    assert decision.action == action
    assert why in decision.why


def error(name: str, cause: SerializableErrorInfo | None = None) -> SerializableErrorInfo:
    return SerializableErrorInfo("it", [], name, cause)


def failure(data: Any) -> DagsterEvent:
    return DagsterEvent(DagsterEventType.RUN_FAILURE.value, "acme_build", event_specific_data=data)


def failed_step(cause: SerializableErrorInfo) -> JobFailureData:
    data = StepFailureData(error("DagsterExecutionStepExecutionError", cause), None)
    event = DagsterEvent(
        DagsterEventType.STEP_FAILURE.value, "acme_build", event_specific_data=data
    )
    return JobFailureData(None, RunFailureReason.STEP_FAILURE, event)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (None, None),
        (failed_step(error("DagsterDbtCliRuntimeError")), None),
        (failed_step(error("dagster_apollo.dbt.process.DbtEndedError")), "killed"),
        (failed_step(error("StorageUnavailableError")), "database"),
        (JobFailureData(error("OperationalError"), RunFailureReason.RUN_EXCEPTION), "database"),
        (JobFailureData(error("KeyError"), RunFailureReason.RUN_EXCEPTION), None),
        (JobFailureData(None, RunFailureReason.UNEXPECTED_TERMINATION), "interrupted"),
        (JobFailureData(None, RunFailureReason.START_TIMEOUT), "not started"),
    ],
)
def test_the_event_of_the_failure_tells_the_platform_from_the_project(
    data: Any,
    cause: str | None,
) -> None:
    assert cause_of(failure(data)) == cause


def test_the_tags_link_the_runs_and_say_nothing_of_the_parent_alone() -> None:
    make: Callable[..., DagsterRun] = DagsterRun
    parent = make(
        job_name="acme_build",
        run_id="second",
        root_run_id="first",
        parent_run_id="first",
        tags={
            "dagster/priority": "7",
            "apollo/tenant": "acme",
            "apollo/interrupted": "lost",
            "apollo/code_server": "it",
            "dagster/retry_number": "1",
            "dagster/will_retry": "true",
            "dagster/parent_run_id": "first",
        },
    )
    link = {
        "dagster/priority": "7",
        "apollo/tenant": "acme",
        "dagster/parent_run_id": "second",
        "dagster/root_run_id": "first",
        "dagster/is_asset_resume_retry": "true",
    }
    assert resumed_tags(parent, 2) == {
        **link,
        "apollo/resumed": "automatically",
        "dagster/retry_number": "2",
    }
    assert resumed_tags(parent, None) == {**link, "apollo/resumed": "by hand"}
