"""A build of one tenant as a Dagster run that executes in this process."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    JobDefinition,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import create_execution_plan, execute_run_iterator
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.snap import snapshot_from_execution_plan
from dagster._core.workspace.load import location_origin_from_module_name

from dagster_apollo.dbt.assets import TenantProject
from dagster_apollo.dbt.resource import DbtEvent
from dagster_apollo.dbt.selection import Selection, resolve_selection
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.log_helpers import keep_helpers_ignorant
from dagster_apollo.paths import CHECKOUT
from dagster_apollo.settings import TenantSettings

CODE_LOCATION: Final = "apollo"
"""The code location's name in pyproject.toml, under which the UI lists the run."""

_NAMES: Final = {
    "success": "success",
    "pass": "success",
    "warn": "warn",
    "error": "error",
    "fail": "error",
    "runtime error": "error",
    "partial success": "error",
    "skipped": "skipped",
    "no-op": "no-op",
}
STATES: Final = ("success", "warn", "error", "skipped", "no-op")


@dataclass(frozen=True)
class BuildRequest:
    """What `apollo build` was asked for."""

    select: str | None = None
    exclude: str | None = None
    full_refresh: bool = False

    @property
    def is_partial(self) -> bool:
        """Whether there is a selection."""
        return self.select is not None or self.exclude is not None

    @property
    def is_blank(self) -> bool:
        """Whether a selection says nothing, such as an empty variable of a script."""
        return any(text is not None and not text.strip() for text in (self.select, self.exclude))

    @property
    def text(self) -> str:
        """The selection as it was asked for."""
        asked = (("select", self.select), ("exclude", self.exclude))
        return " ".join(f"--{name} '{value}'" for name, value in asked if value is not None)


@dataclass(frozen=True)
class Continuation:
    """The run that another one goes on with.

    Args:
        parent: the run that ended.
        tags: what links the two (resumption/creation.py).
    """

    parent: DagsterRun
    tags: Mapping[str, str]


@dataclass(frozen=True)
class NodeResult:
    """dbt's result of one node, from run_results.json.

    Args:
        unique_id: dbt's id of the node.
        state: one of STATES, as dbt counts it.
        seconds: how long it took.
        message: what dbt or the warehouse said.
    """

    unique_id: str
    state: str
    seconds: float
    message: str


@dataclass(frozen=True)
class BuildOutcome:
    """The outcome of one run."""

    run_id: str
    status: DagsterRunStatus
    results: tuple[NodeResult, ...]
    counts: Mapping[str, int]
    target_path: Path
    errors: tuple[str, ...] = field(default=())
    """What failed where dbt has no results: dbt's own messages are in Dagster's."""

    @property
    def is_success(self) -> bool:
        """Whether everything passed (warnings are passes)."""
        return self.status is DagsterRunStatus.SUCCESS and not self.counts["error"]

    @property
    def is_cancelled(self) -> bool:
        """Whether a person stopped it."""
        return self.status is DagsterRunStatus.CANCELED


def create_run(
    instance: DagsterInstance,
    definitions: Definitions,
    prepared: TenantProject,
    request: BuildRequest,
    selection: Selection | None,
    after: Continuation | None = None,
) -> tuple[JobDefinition, DagsterRun]:
    """Record a new run of the selected assets and checks only: of `<tenant>_build`.

    Where it goes on with another run, it is of that one's job, with that one's configuration.
    """
    parent = after.parent if after else None
    name = parent.job_name if parent else f"{prepared.settings.tenant.identifier}_build"
    job = definitions.resolve_job_def(name)
    assets: frozenset[AssetKey] | None = None
    checks: frozenset[AssetCheckKey] | None = None
    if selection:
        assets, checks = selection.assets, selection.checks
        job = job.get_subset(asset_selection=assets, asset_check_selection=checks)
    run_config = parent.run_config if parent else _run_config(prepared, request)
    plan = create_execution_plan(job, run_config)
    run = instance.create_run(
        job_name=job.name,
        run_id=None,
        run_config=run_config,
        status=DagsterRunStatus.NOT_STARTED,
        tags={**job.run_tags, **(after.tags if after else {})},
        root_run_id=(parent.root_run_id or parent.run_id) if parent else None,
        parent_run_id=parent.run_id if parent else None,
        step_keys_to_execute=None,
        execution_plan_snapshot=snapshot_from_execution_plan(plan, job.get_job_snapshot_id()),
        job_snapshot=job.get_job_snapshot(),
        parent_job_snapshot=job.get_parent_job_snapshot(),
        asset_selection=assets,
        asset_check_selection=checks,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=_origin(job.name),
        job_code_origin=None,
        asset_graph=job.asset_layer.asset_graph,
    )
    return job, run


def execute_run(
    instance: DagsterInstance, prepared: TenantProject, job: JobDefinition, run: DagsterRun
) -> BuildOutcome:
    """Execute a run to its end; what fails in it is recorded, not raised."""
    keep_helpers_ignorant()
    for _ in execute_run_iterator(InMemoryJob(job), run, instance):
        pass
    return outcome_of(instance, prepared, run.run_id)


def outcome_of(instance: DagsterInstance, prepared: TenantProject, run_id: str) -> BuildOutcome:
    """The outcome of a finished run, from the event log and dbt's run_results.json."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise ApolloError(f"Run {run_id} is not in the instance any more. Run the build again.")
    target_path = prepared.settings.paths.runs / run_id
    results = read_results(target_path)
    counts = dict.fromkeys(STATES, 0)
    for result in results:
        counts[result.state] += 1
    errors = () if results else tuple(_failures(instance, run_id))
    return BuildOutcome(run_id, run.status, results, counts, target_path, errors)


def _failures(instance: DagsterInstance, run_id: str) -> Iterator[str]:
    """What failed in a run that dbt has no results of, from the event log."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
        error = entry.dagster_event.step_failure_data.error if entry.dagster_event else None
        while error:
            if not error.cause:
                yield error.message.strip()
            error = error.cause


def read_results(target_path: Path) -> tuple[NodeResult, ...]:
    """Dbt's results of a run; none where it ended before it wrote them."""
    try:
        results = orjson.loads((target_path / "run_results.json").read_bytes())["results"]
    except (OSError, orjson.JSONDecodeError):
        return ()
    return tuple(
        NodeResult(
            unique_id=result["unique_id"],
            state=_NAMES.get(result["status"], "error"),
            seconds=result["execution_time"],
            message=result["message"] or "",
        )
        for result in results
    )


def event_state(event: DbtEvent) -> str | None:
    """The state of the node that an event is the result of; None for other events."""
    node = event["data"].get("node_info") or {}
    if event["info"].get("name") == "SkippingDetails":
        return "skipped"
    if not node or "execution_time" not in event["data"]:
        return None
    # a unit test's node_info has no status (dbt-core 1.10 and 1.11)
    return _NAMES.get(str(node.get("node_status"))) or _NAMES.get(str(event["data"].get("status")))


def select(prepared: TenantProject, request: BuildRequest) -> Selection:
    """What a request selects of a tenant.

    Raises:
        ApolloError: the selection is not valid.
    """
    return resolve_selection(
        prepared.manifest,
        prepared.translator,
        prepared.project,
        select=request.select,
        exclude=request.exclude,
    )


def make_runs_folder(settings: TenantSettings) -> None:
    """Make the folder of the runs' target directories, before there is a run that needs it.

    Raises:
        ApolloError: it cannot be made.
    """
    try:
        settings.paths.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ApolloError(
            f"{settings.paths.runs} cannot be made: {os.strerror(error.errno or 0)}. Make the "
            "instance directory (DAGSTER_HOME) writable."
        ) from None


def mark_canceling(instance: DagsterInstance, run_id: str) -> None:
    """Mark a run as being canceled, unless it has ended: that would not be undone."""
    run = instance.get_run_by_id(run_id)
    if run and not run.is_finished:
        instance.report_run_canceling(run)


def _run_config(prepared: TenantProject, request: BuildRequest) -> dict[str, Any]:
    config = {
        **({"full_refresh": True} if request.full_refresh else {}),
        **({"select": request.select} if request.select else {}),
        **({"exclude": request.exclude} if request.exclude else {}),
    }
    return {"ops": {prepared.op_name: {"config": config}}} if config else {}


def _origin(job_name: str) -> RemoteJobOrigin:
    """Where the UI finds the job, so that the run can be executed again from there."""
    location = location_origin_from_module_name(
        "dagster_apollo.definitions", None, str(CHECKOUT), CODE_LOCATION
    )
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job_name)
