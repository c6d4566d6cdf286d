"""The part of the daemon that looks after runs which the platform ended.

Dagster's run monitoring (1.13) asks for the worker's health of runs that have started; here it is
asked for those that are starting or being canceled, too. And runs that failed for want of the
platform are resumed. Dagster's own retries are not used for that: they give a run up when its code
location cannot be reached at once, which is what is to be expected after a host was lost.

Nothing is kept in memory, and each step can be repeated: a daemon that dies half way is followed by
one that goes on.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    MetadataValue,
    RunsFilter,
)
from dagster._core.events import EngineEventData, JobFailureData, RunFailureReason
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    MAX_RETRIES_TAG,
    PARENT_RUN_ID_TAG,
    RETRY_NUMBER_TAG,
    WILL_RETRY_TAG,
)
from dagster._core.workspace.context import (
    BaseWorkspaceRequestContext,
    IWorkspaceProcessContext,
)
from dagster._daemon.daemon import IntervalDaemon

from dagster_apollo.instance.launcher import INTERRUPTED_TAG, CodeServerRunLauncher
from dagster_apollo.instance.liveness import START_SECONDS
from dagster_apollo.resumption.candidates import Candidate, Candidates
from dagster_apollo.resumption.creation import (
    AUTOMATICALLY,
    BY_HAND,
    RESUMED_TAG,
    NothingLeftError,
    create_resumed_run,
)
from dagster_apollo.resumption.policy import Decision, FailedRun, cause_of, decide

_EVERY_SECONDS: Final = 10
_NOT_STARTED: Final = (
    "No process has come up for this run since it was launched: its code server, or its host, is "
    "gone. None will from now on."
)


_Workspace = IWorkspaceProcessContext[BaseWorkspaceRequestContext]


class ResumptionDaemon(IntervalDaemon[_Workspace]):
    """Records runs that died on their way in or out, and resumes those that the platform ended.

    Args:
        limit: how many times a run is resumed by itself.
        every: seconds between two looks.
    """

    def __init__(self, limit: int, every: float = _EVERY_SECONDS) -> None:
        super().__init__(interval_seconds=every)
        self._limit = limit
        self._candidates: Candidates | None = None
        self._said: set[tuple[str, str, str]] = set()

    @classmethod
    def daemon_type(cls) -> str:
        """What Dagster calls it."""
        return "APOLLO_RESUMPTION"

    def run_iteration(self, workspace_process_context: _Workspace) -> Iterator[Any]:  # type: ignore[override]
        """Look once. What fails for one run is said, and tried again."""
        instance = workspace_process_context.instance
        self._candidates = self._candidates or Candidates.open()
        for run in instance.get_runs(RunsFilter(statuses=list(_ON_THE_WAY))):
            try:
                check_on_the_way(instance, run)
            except Exception as error:  # noqa: BLE001 - its text may hold the URI
                self._say("The end of run %s is recorded later (%s)", run.run_id, error)
            yield None
        for candidate in self._candidates.find() if self._candidates else ():
            try:
                self._settle(workspace_process_context, candidate)
            except Exception as error:  # noqa: BLE001 - its text may hold the URI
                self._say("Run %s cannot be resumed yet (%s)", candidate.run_id, error)
            yield None

    def _say(self, what: str, run_id: str, error: Exception) -> None:
        """Warn of a run, once for each kind of error: it is tried again every few seconds."""
        said = (what, run_id, type(error).__name__)
        if said not in self._said:
            self._logger.warning(what, run_id, said[2])
            self._said.add(said)

    def _settle(self, workspace: _Workspace, candidate: Candidate) -> None:
        instance, table = workspace.instance, self._candidates
        parent = instance.get_run_by_id(candidate.run_id)
        if parent is None or table is None:
            return
        child = _child_of(instance, parent)
        if child and _was_made_here(child, candidate):  # and then the daemon died
            run, why = child.dagster_run, "see its event log"
        else:
            known = _known(instance, parent, candidate, child, self._limit)
            if known.cause and INTERRUPTED_TAG not in parent.tags:
                instance.add_run_tags(parent.run_id, {INTERRUPTED_TAG: known.cause})
            decision = decide(known)
            if decision.action == "leave":
                _explain_leaving(instance, parent, decision)
                table.settle(parent.run_id, decision.why)
            if decision.action != "resume":
                return
            number = None if candidate.is_requested else _number(parent) + 1
            context = workspace.create_request_context()
            try:
                run, why = create_resumed_run(instance, context, parent, number), decision.why
            except NothingLeftError as error:
                instance.report_engine_event(f"The run is not resumed. {error}", parent)
                table.settle(parent.run_id, str(error))
                return
            _link(instance, parent, run, decision)
        if run.status is DagsterRunStatus.NOT_STARTED:
            instance.submit_run(run.run_id, workspace.create_request_context())
        table.settle(parent.run_id, why, run.run_id)
        self._logger.info("Run %s is resumed by run %s: %s", parent.run_id, run.run_id, why)


_ON_THE_WAY: Final = (DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING)


def check_on_the_way(instance: DagsterInstance, run: DagsterRun) -> None:
    """Record the end of a run that died before it had started, or while it was canceled."""
    launcher = instance.run_launcher
    if not isinstance(launcher, CodeServerRunLauncher):
        return
    health = launcher.check_run_worker_health(run)
    if health.status is WorkerStatus.FAILED:
        now = instance.get_run_by_id(run.run_id)
        if now and now.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, health.msg)
        elif now and not now.is_finished:
            instance.report_run_failed(run, health.msg)
        return
    if run.status is DagsterRunStatus.CANCELING:
        return
    launched = instance.get_run_stats(run.run_id).launch_time
    if launched and time.time() - launched > START_SECONDS and not launcher.has_come_up(run):
        instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: "not started"})
        failure = JobFailureData(error=None, failure_reason=RunFailureReason.START_TIMEOUT)
        instance.report_run_failed(run, _NOT_STARTED, failure)


def _known(
    instance: DagsterInstance,
    run: DagsterRun,
    candidate: Candidate,
    child: RunRecord | None,
    limit: int,
) -> FailedRun:
    """All that the decision about a run needs."""
    cause = candidate.worker.cause
    if cause is None:
        failures = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
        cause = cause_of(failures[-1].dagster_event if failures else None)
    return FailedRun(
        cause=cause if run.status is DagsterRunStatus.FAILURE else None,
        is_over=not candidate.worker.is_lost or candidate.worker.is_over,
        is_requested=candidate.is_requested,
        resumed=_number(run),
        limit=_integer(run.tags.get(MAX_RETRIES_TAG), limit),
        child=child.dagster_run.run_id if child else None,
    )


def _child_of(instance: DagsterInstance, run: DagsterRun) -> RunRecord | None:
    """The latest run that has re-executed a run."""
    tags = {PARENT_RUN_ID_TAG: run.run_id}
    children = instance.get_run_records(RunsFilter(tags=tags), limit=1)
    return children[0] if children else None


def _was_made_here(child: RunRecord, candidate: Candidate) -> bool:
    """Whether a daemon made a run for a candidate before it could say so."""
    kind = child.dagster_run.tags.get(RESUMED_TAG)
    if candidate.requested_at is None:
        return kind == AUTOMATICALLY
    return kind == BY_HAND and child.create_timestamp >= candidate.requested_at


def _number(run: DagsterRun) -> int:
    """How many runs of a run's chain have been resumed by themselves."""
    return _integer(run.tags.get(RETRY_NUMBER_TAG), 0)


def _integer(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default


def _explain_leaving(instance: DagsterInstance, run: DagsterRun, decision: Decision) -> None:
    if decision.why:
        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
        instance.report_engine_event(
            f"The run is not resumed by itself: {decision.why}. `apollo resume {run.run_id}` does "
            "it, and so does Re-execute, From asset failure.",
            run,
        )


def _link(
    instance: DagsterInstance, parent: DagsterRun, run: DagsterRun, decision: Decision
) -> None:
    """Say in both runs' event logs and tags which one goes on with which."""
    instance.add_run_tags(
        parent.run_id, {WILL_RETRY_TAG: "true", AUTO_RETRY_RUN_ID_TAG: run.run_id}
    )
    for of, message, other in (
        (parent, f"The run is resumed: {decision.why}", run),
        (run, f"This run goes on with another, of which {decision.why}", parent),
    ):
        link = EngineEventData({"run": MetadataValue.dagster_run(other.run_id)})
        instance.report_engine_event(message, of, link)
