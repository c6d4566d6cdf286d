"""The workspace of people who are limited to tenants: of each code location what is theirs.

Several tenants may share a code location and its repository, so that both are shown in part.
"""

# ruff: noqa: ANN401 - what a view hands on is as the whole has it

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final
from weakref import WeakKeyDictionary

from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.remote_origin import CodeLocationOrigin
from dagster._core.remote_representation.code_location import CodeLocation
from dagster._core.remote_representation.external import (
    RemoteExecutionPlan,
    RemoteJob,
    RemoteRepository,
)
from dagster._core.remote_representation.external_data import (
    JobDataSnap,
    JobRefSnap,
    RemoteJobSubsetResult,
)
from dagster._core.workspace.workspace import CodeLocationEntry, CurrentWorkspace
from dagster_shared.record import replace

from dagster_apollo.web.limits.scope import NotForLimitedError, Scope
from dagster_apollo.web.limits.snapshots import limited_job_data, limited_plan, limited_repository
from dagster_apollo.web.limits.views import made, passed, refusing

_GetJob = Callable[[JobSubsetSelector], RemoteJob]


def jobs_of(repository: RemoteRepository, scope: Scope) -> frozenset[str]:
    """The names of the jobs that belong to the tenants, and no part of them to others."""
    return frozenset(
        job.name
        for job in repository.get_all_jobs()
        if _is_tagged(job.job_data_snap, scope)
        and scope.has_all(it.asset_key for it in repository.get_asset_node_snaps(job.name))
        and scope.has_all(it.asset_key for it in repository.get_asset_check_node_snaps(job.name))
    )


def _is_tagged(data: JobDataSnap, scope: Scope) -> bool:
    """Whether a job's tags say that it is theirs, and those of its runs, where they are others."""
    job = data.job
    return scope.has_tags(job.tags) and (job.run_tags is None or scope.has_tags(job.run_tags))


def _limited(whole: RemoteRepository, scope: Scope) -> RemoteRepository:
    def read(ref: JobRefSnap) -> JobDataSnap:
        return limited_job_data(whole.get_full_job(ref.name).job_data_snap, scope)

    return RemoteRepository(
        limited_repository(whole.repository_snap, jobs_of(whole, scope), scope),
        whole.handle,
        # else Dagster would add the sensor of all tenants' conditions, whose ticks are of them all
        auto_materialize_use_sensors=False,
        ref_to_data_fn=read,
    )


@refusing(CodeLocation, "get_repository_names", "name", "get_job", "gen_subset_job", "cleanup")
class LimitedLocation(CodeLocation):
    """What of a code location belongs to some tenants.

    Args:
        whole: the code location.
        scope: the tenants.
    """

    def __init__(self, whole: CodeLocation, scope: Scope) -> None:
        self._whole = whole
        self._scope = scope

    @cached_property
    def _repositories(self) -> Mapping[str, RemoteRepository]:
        found = {
            name: _limited(it, self._scope) for name, it in self._whole.get_repositories().items()
        }
        return {name: it for name, it in found.items() if _is_anything(it)}

    @property
    def is_anything(self) -> bool:
        """Whether there is anything of theirs."""
        return bool(self._repositories)

    def get_repositories(self) -> Mapping[str, RemoteRepository]:
        """Those in which something is theirs."""
        return self._repositories

    def get_repository(self, name: str) -> RemoteRepository:
        """One of them."""
        return self._repositories[name]

    def has_repository(self, name: str) -> bool:
        """Whether there is one."""
        return name in self._repositories

    def get_execution_plan(self, remote_job: RemoteJob, *args: Any, **more: Any) -> Any:
        """The plan of one of their jobs."""
        self._require(remote_job)
        return self._limited_plan(self._whole.get_execution_plan(remote_job, *args, **more))

    async def gen_execution_plan(
        self, remote_job: RemoteJob, *args: Any, **more: Any
    ) -> RemoteExecutionPlan:
        """The plan of one of their jobs."""
        self._require(remote_job)
        return self._limited_plan(await self._whole.gen_execution_plan(remote_job, *args, **more))

    def _limited_plan(self, plan: RemoteExecutionPlan) -> RemoteExecutionPlan:
        return RemoteExecutionPlan(limited_plan(plan.execution_plan_snapshot, self._scope))

    def _get_subset_remote_job_result(
        self, selector: JobSubsetSelector, get_full_job: _GetJob
    ) -> RemoteJobSubsetResult:
        self._require_selection(selector)
        found = self._whole._get_subset_remote_job_result(selector, get_full_job)
        return self._limited_result(found)

    async def _gen_subset_remote_job_result(
        self, selector: JobSubsetSelector, get_full_job: _GetJob
    ) -> RemoteJobSubsetResult:
        self._require_selection(selector)
        found = await self._whole._gen_subset_remote_job_result(selector, get_full_job)
        return self._limited_result(found)

    def _limited_result(self, found: RemoteJobSubsetResult) -> RemoteJobSubsetResult:
        data = found.job_data_snap
        return replace(found, job_data_snap=data and limited_job_data(data, self._scope))

    def _require(self, job: RemoteJob) -> None:
        repository = self._repositories.get(job.repository_handle.repository_name)
        if repository is None or not repository.has_job(job.name):
            raise NotForLimitedError("That job")

    def _require_selection(self, selector: JobSubsetSelector) -> None:
        repository = self._repositories.get(selector.repository_name)
        keys = [*(selector.asset_selection or ()), *(selector.asset_check_selection or ())]
        if (
            repository is None
            or not repository.has_job(selector.job_name)
            or not self._scope.has_all(keys)
        ):
            raise NotForLimitedError("That selection")

    @property
    def origin(self) -> CodeLocationOrigin:
        """Where the code server is."""
        return self._whole.origin

    @property
    def repository_code_pointer_dict(self) -> Mapping[str, Any]:
        """Where the code is."""
        return self._whole.repository_code_pointer_dict

    is_reload_supported = passed("is_reload_supported")
    executable_path = passed("executable_path")
    container_image = passed("container_image")
    container_context = passed("container_context")
    entry_point = passed("entry_point")

    def get_display_metadata(self) -> Mapping[str, str]:
        """What is shown of the code server."""
        return self._whole.get_display_metadata()

    def get_repository_python_origin(self, repository_name: str) -> Any:
        """Where the code of a repository is."""
        return self._whole.get_repository_python_origin(repository_name)

    def get_dagster_library_versions(self) -> Mapping[str, str] | None:
        """What is installed there."""
        return self._whole.get_dagster_library_versions()

    def get_defs_state_info(self) -> None:
        """Nothing: it may be of any tenant."""


def _is_anything(repository: RemoteRepository) -> bool:
    return bool(repository.repository_snap.asset_nodes) or bool(repository.get_all_jobs())


class Workspaces:
    """The limited workspaces, each made once for each time that code locations are loaded."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._known: WeakKeyDictionary[CurrentWorkspace, dict[Scope, CurrentWorkspace]] = (
            WeakKeyDictionary()
        )

    def of(self, whole: CurrentWorkspace, scope: Scope) -> CurrentWorkspace:
        """What of a workspace belongs to some tenants.

        A code location that is not loaded is not there: nobody knows whose it would be.
        """
        with self._lock:
            known = self._known.setdefault(whole, {})
            if scope not in known:
                known[scope] = _workspace(whole, scope)
            return known[scope]


def _workspace(whole: CurrentWorkspace, scope: Scope) -> CurrentWorkspace:
    entries: dict[str, CodeLocationEntry] = {}
    for name, entry in whole.code_location_entries.items():
        if entry.code_location is not None:
            location = made(LimitedLocation, entry.code_location, scope)
            if location.is_anything:
                # an error of its last load may be about any tenant
                entries[name] = replace(entry, code_location=location, load_error=None)
    return CurrentWorkspace(entries)
