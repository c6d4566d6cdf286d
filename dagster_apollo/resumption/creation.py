"""The run that goes on with another: its selection, its tags, its place in the queue."""

from collections.abc import Mapping
from typing import Any, Final

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.storage.tags import (
    ASSET_RESUME_RETRY_TAG,
    GRPC_INFO_TAG,
    PARENT_RUN_ID_TAG,
    RETRY_NUMBER_TAG,
    ROOT_RUN_ID_TAG,
    TAGS_TO_MAYBE_OMIT_ON_RETRY,
)
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.launcher import CODE_SERVER_TAG, INTERRUPTED_TAG
from dagster_apollo.instance.remaining import Remaining, remaining_of_run

RESUMED_TAG: Final = "apollo/resumed"
"""On a run that goes on with another: how that came."""
AUTOMATICALLY: Final = "automatically"
BY_HAND: Final = "by hand"
_NOT_INHERITED: Final = {
    *TAGS_TO_MAYBE_OMIT_ON_RETRY,
    *(CODE_SERVER_TAG, INTERRUPTED_TAG, RESUMED_TAG, GRPC_INFO_TAG, "apollo/terminated_by"),
}


class NothingLeftError(ApolloError):
    """All that a run was to do had been done when it ended."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Nothing is left of run {run_id}: all that it was to build was built.")


def resumed_tags(parent: DagsterRun, number: int | None) -> dict[str, str]:
    """The tags of the run that goes on with another, which link them as Dagster's retries are.

    Args:
        parent: the run that ended; its priority and its other tags are kept.
        number: how many runs of the chain have been resumed by themselves, this one included;
            None where a person resumes.
    """
    kept = {name: value for name, value in parent.tags.items() if name not in _NOT_INHERITED}
    return {
        **kept,
        PARENT_RUN_ID_TAG: parent.run_id,
        ROOT_RUN_ID_TAG: parent.root_run_id or parent.run_id,
        ASSET_RESUME_RETRY_TAG: "true",
        RESUMED_TAG: BY_HAND if number is None else AUTOMATICALLY,
        **({} if number is None else {RETRY_NUMBER_TAG: str(number)}),
    }


def create_resumed_run(
    instance: DagsterInstance,
    workspace: BaseWorkspaceRequestContext,
    parent: DagsterRun,
    number: int | None,
) -> DagsterRun:
    """Record the run that goes on with another; it is not in the queue yet.

    As Dagster's `create_reexecuted_run`, but that models which a deploy removed are left out, and
    tags that say something of the parent alone.

    Raises:
        NothingLeftError: all had been done.
        DagsterError: the code location is not loaded, or has no such job any more.
    """
    origin = parent.remote_job_origin
    if origin is None:
        raise ApolloError(f"Run {parent.run_id} was not launched from a code location.")
    name = origin.repository_origin.repository_name
    location = workspace.get_code_location(origin.location_name)
    repository = location.get_repository(name)
    left = remaining_of_run(instance, parent)
    assets: Remaining | None = None
    if left.is_asset_run:
        assets = left.among(
            frozenset(repository.get_asset_keys_in_job(parent.job_name)),
            frozenset(node.key for node in repository.get_asset_check_node_snaps(parent.job_name)),
        )
        if not assets:
            raise NothingLeftError(parent.run_id)
    job = location.get_job(
        JobSubsetSelector(
            location_name=location.name,
            repository_name=name,
            job_name=parent.job_name,
            op_selection=parent.op_selection,
            asset_selection=assets.assets if assets else None,
            asset_check_selection=assets.checks if assets else None,
        )
    )
    plan = location.get_execution_plan(
        job, parent.run_config, step_keys_to_execute=None, known_state=None, instance=instance
    )
    tags: Mapping[str, Any] = {**job.tags, **resumed_tags(parent, number)}
    return instance.create_run(
        job_name=parent.job_name,
        run_id=None,
        run_config=parent.run_config,
        status=DagsterRunStatus.NOT_STARTED,
        tags=tags,
        root_run_id=tags[ROOT_RUN_ID_TAG],
        parent_run_id=parent.run_id,
        step_keys_to_execute=None,
        execution_plan_snapshot=plan.execution_plan_snapshot,
        job_snapshot=job.job_snapshot,
        parent_job_snapshot=job.parent_job_snapshot,
        op_selection=parent.op_selection,
        resolved_op_selection=parent.resolved_op_selection,
        asset_selection=job.asset_selection,
        asset_check_selection=job.asset_check_selection,
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
        asset_graph=workspace.asset_graph,
    )
