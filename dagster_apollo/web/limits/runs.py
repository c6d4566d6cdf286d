"""The runs of some tenants."""

# ruff: noqa: ANN401 - what a view hands on is as the whole has it

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dagster import DagsterRun, RunsFilter
from dagster._core.errors import DagsterRunNotFoundError
from dagster._core.snap import ExecutionPlanSnapshot, JobSnap
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.runs import RunStorage
from dagster._daemon.types import DaemonHeartbeat

from dagster_apollo.web.limits.scope import NotForLimitedError, Scope
from dagster_apollo.web.limits.snapshots import limited_job, limited_plan
from dagster_apollo.web.limits.views import passed, refusing

_RECENT: Final = 1000
"""Runs whose tags are looked through, the newest: the storage cannot tell them by tenant."""
IsTheirs = Callable[[str | None], bool]


@refusing(RunStorage)
class LimitedRuns(RunStorage):
    """What of the runs belongs to some tenants; backfills are nobody's.

    Args:
        whole: all runs.
        scope: the tenants.
        is_job: whether a snapshot is that of a job in their workspace.
    """

    def __init__(self, whole: RunStorage, scope: Scope, is_job: IsTheirs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._whole = whole
        self._scope = scope
        self._is_job = is_job
        self._known: set[str] = set()

    supports_bucket_queries = passed("supports_bucket_queries")

    def get_runs(self, filters: RunsFilter | None = None, *args: Any, **more: Any) -> Any:
        """Theirs of the runs that a filter finds."""
        narrowed = self._scope.narrowed(filters)
        found = self._whole.get_runs(narrowed, *args, **more) if narrowed else []
        return [run for run in found if self._scope.has_run(run)]

    def get_run_records(
        self, filters: RunsFilter | None = None, *args: Any, **more: Any
    ) -> Sequence[RunRecord]:
        """Theirs of the runs that a filter finds."""
        narrowed = self._scope.narrowed(filters)
        found = self._whole.get_run_records(narrowed, *args, **more) if narrowed else []
        return [record for record in found if self._scope.has_run(record.dagster_run)]

    def get_run_ids(
        self,
        filters: RunsFilter | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Sequence[str]:
        """The ids of theirs."""
        return [run.run_id for run in self.get_runs(filters, cursor, limit)]

    def get_runs_count(self, filters: RunsFilter | None = None) -> int:
        """How many are theirs."""
        narrowed = self._scope.narrowed(filters)
        return self._whole.get_runs_count(narrowed) if narrowed else 0

    def has_run(self, run_id: str | None) -> bool:
        """Whether there is such a run, and it is theirs; a run's tenant does not change."""
        if run_id and run_id not in self._known and self.get_runs(RunsFilter(run_ids=[run_id])):
            self._known.add(run_id)
        return run_id in self._known

    def get_run_group(self, run_id: str) -> tuple[str, Sequence[DagsterRun]] | None:
        """A run, and those that repeat it.

        Raises:
            DagsterRunNotFoundError: it is not theirs.
        """
        if not self.has_run(run_id):
            raise DagsterRunNotFoundError(  # type: ignore[no-untyped-call]
                "There is no such run.", invalid_run_id=run_id
            )
        found = self._whole.get_run_group(run_id)
        if found is None or not self.has_run(found[0]):
            return None
        return found[0], [run for run in found[1] if self._scope.has_run(run)]

    def get_run_tags(
        self, tag_keys: Sequence[str], value_prefix: str | None = None, limit: int | None = None
    ) -> Sequence[tuple[str, set[str]]]:
        """The tags of their newest runs."""
        found: dict[str, set[str]] = {}
        for run in self.get_runs(limit=_RECENT):
            for key, value in run.tags.items():
                if key in tag_keys and value.startswith(value_prefix or ""):
                    found.setdefault(key, set()).add(value)
        return [(key, set(sorted(values)[:limit])) for key, values in sorted(found.items())]

    def get_run_tag_keys(self) -> Sequence[str]:
        """The names of the tags of their newest runs."""
        return sorted({key for run in self.get_runs(limit=_RECENT) for key in run.tags})

    def has_job_snapshot(self, job_snapshot_id: str) -> bool:
        """Whether there is such a job, and one of their runs, or their workspace, has it."""
        theirs = self._is_job(job_snapshot_id) or bool(
            self.get_runs(RunsFilter(snapshot_id=job_snapshot_id), limit=1)
        )
        return theirs and self._whole.has_job_snapshot(job_snapshot_id)

    def get_job_snapshot(self, job_snapshot_id: str) -> JobSnap:
        """A job of theirs.

        Raises:
            NotForLimitedError: it is not.
        """
        if not self.has_job_snapshot(job_snapshot_id):
            raise NotForLimitedError("That job")
        return limited_job(self._whole.get_job_snapshot(job_snapshot_id), self._scope)

    def has_execution_plan_snapshot(self, execution_plan_snapshot_id: str) -> bool:
        """Whether there is such a plan; `get_execution_plan_snapshot` looks whose it is."""
        return self._whole.has_execution_plan_snapshot(execution_plan_snapshot_id)

    def get_execution_plan_snapshot(self, execution_plan_snapshot_id: str) -> ExecutionPlanSnapshot:
        """The plan of a job of theirs.

        Raises:
            NotForLimitedError: it is not.
        """
        plan = self._whole.get_execution_plan_snapshot(execution_plan_snapshot_id)
        if not self.has_job_snapshot(plan.job_snapshot_id):
            raise NotForLimitedError("That plan")
        return limited_plan(plan, self._scope)

    def get_backfills(self, *_: Any, **__: Any) -> Sequence[Any]:
        """None: each may be of several tenants."""
        return []

    def get_backfills_count(self, *_: Any, **__: Any) -> int:
        """None."""
        return 0

    def get_backfill(self, backfill_id: str) -> None:
        """None."""

    def get_daemon_heartbeats(self) -> Mapping[str, DaemonHeartbeat]:
        """When the daemon was heard of; its errors may be about any tenant."""
        found = self._whole.get_daemon_heartbeats()
        return {name: beat._replace(errors=[]) for name, beat in found.items()}

    def get_cursor_values(self, keys: set[str]) -> Mapping[str, str]:  # noqa: ARG002
        """None: what daemons remember may be about any tenant."""
        return {}
