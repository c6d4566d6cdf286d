"""The instance, as far as it belongs to some tenants, and only for reading."""

# ruff: noqa: ANN401 - what a view hands on is as the whole has it

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from dagster import DagsterInstance
from dagster._core.instance.config import ConcurrencyConfig
from dagster._core.remote_representation.external import RemoteRepository
from dagster._core.remote_representation.historical import HistoricalJob
from dagster._core.workspace.workspace import CurrentWorkspace
from dagster_shared.record import replace

from dagster_apollo.web.limits.events import LimitedEvents
from dagster_apollo.web.limits.logs import LimitedLogs
from dagster_apollo.web.limits.runs import LimitedRuns
from dagster_apollo.web.limits.scope import NotForLimitedError, Scope
from dagster_apollo.web.limits.ticks import LimitedTicks
from dagster_apollo.web.limits.views import Refused, made


class LimitedInstance(DagsterInstance):
    """An instance whose storages are views of another's.

    Args:
        whole: the instance.
        scope: the tenants.
        workspace: what of the workspace belongs to them.
    """

    def __init__(self, whole: DagsterInstance, scope: Scope, workspace: CurrentWorkspace) -> None:
        # the constructor of DagsterInstance would have the parts of the whole serve this one
        self._instance_type = whole._instance_type
        self._settings = whole._settings
        self._ref = whole._ref
        self._scheduler = whole._scheduler
        self._run_coordinator = whole.run_coordinator
        self._run_launcher = whole.run_launcher
        self._secrets_loader = None
        self._defs_state_storage = None
        self._subscribers = defaultdict(list)
        self._event_buffer = defaultdict(list)
        self._workspace = workspace
        runs = made(LimitedRuns, whole.run_storage, scope, self._is_job)
        self._run_storage = runs
        self._event_storage = made(LimitedEvents, whole.event_log_storage, scope, runs.has_run)
        self._compute_log_manager = made(LimitedLogs, whole.compute_log_manager, runs.has_run)
        if whole.schedule_storage is None:
            raise TypeError("the instance has no schedules")
        self._schedule_storage = made(LimitedTicks, whole.schedule_storage, self._is_instigator)
        for part in (runs, self._event_storage, self._compute_log_manager, self._schedule_storage):
            part.register_instance(self)
        self._run_monitoring_enabled = whole.run_monitoring_enabled

    def _is_job(self, snapshot_id: str | None) -> bool:
        return snapshot_id in self._jobs

    def _is_instigator(self, selector_id: str | None) -> bool:
        return selector_id in self._instigators

    @cached_property
    def _jobs(self) -> frozenset[str]:
        return frozenset(
            job.identifying_job_snapshot_id
            for repository in self._repositories()
            for job in repository.get_all_jobs()
        )

    @cached_property
    def _instigators(self) -> frozenset[str]:
        return frozenset(
            selector_id
            for repository in self._repositories()
            for selector_id in (
                *(schedule.selector_id for schedule in repository.get_schedules()),
                *(sensor.selector_id for sensor in repository.get_sensors()),
            )
        )

    def _repositories(self) -> Iterator[RemoteRepository]:
        for entry in self._workspace.code_location_entries.values():
            if entry.code_location is not None:
                yield from entry.code_location.get_repositories().values()

    def get_historical_job(self, snapshot_id: str) -> HistoricalJob:
        """A job as it was; what it was a part of only where that is theirs, too."""
        snapshot = self.get_job_snapshot(snapshot_id)
        parent = None
        if lineage := snapshot.lineage_snapshot:
            with contextlib.suppress(NotForLimitedError):
                parent = self.get_job_snapshot(lineage.parent_snapshot_id)
        return HistoricalJob(snapshot, snapshot_id, parent)

    def get_concurrency_config(self) -> ConcurrencyConfig:
        """How many runs and steps there may be at a time, but for limits that may name tenants."""
        config = super().get_concurrency_config()
        queue = config.run_queue_config
        return replace(config, run_queue_config=queue and queue._replace(tag_concurrency_limits=[]))

    def dispose(self) -> None:
        """Nothing is disposed of: it is all the other instance's."""

    def __exit__(self, *_: Any) -> None:
        """Nothing ends here."""

    # what acts by other ways than the storages, which refuse to be written to
    submit_run: Any = Refused("submit_run")
    launch_run: Any = Refused("launch_run")
    resume_run: Any = Refused("resume_run")
    info_dict: Any = Refused("info_dict")
    info_str: Any = Refused("info_str")
    root_directory: Any = Refused("root_directory")
    storage_directory: Any = Refused("storage_directory")
