"""What is left of a run: what to execute when it is resumed ("from asset failure").

The rule is that of `dbt retry`. What was built is not built again, whatever its tests said. What
failed, was skipped or was not reached is built, and with it every test of it. Of what was built,
those tests are run that failed or did not run. A test that only warns has passed.

Dagster's own rule (1.13) builds a model again whose test failed, and passes over tests that failed
where nothing was blocked by them. It is replaced in the instance, so that the UI's button, `apollo
resume` and the resumption by itself do the same.
"""

import inspect
import logging
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from dagster import AssetCheckKey, AssetKey, DagsterEventType, DagsterInstance
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.definitions.asset_checks.asset_check_spec import AssetCheckSeverity
from dagster._core.instance.runs.run_domain import RunDomain
from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.runs import RunStorage

_PARAMETERS: Final = ("self", "run_id", "execution_plan_snapshot")
_log = logging.getLogger("apollo.resumption")


@dataclass(frozen=True)
class Remaining:
    """What is left of a run.

    Args:
        assets: what to build.
        checks: the tests to run.
        is_asset_run: whether the run had assets or checks at all; one that has not has steps.
    """

    assets: frozenset[AssetKey] = frozenset()
    checks: frozenset[AssetCheckKey] = frozenset()
    is_asset_run: bool = field(default=True, compare=False)

    def __bool__(self) -> bool:
        return bool(self.assets or self.checks)

    def among(self, assets: Set[AssetKey], checks: Set[AssetCheckKey]) -> "Remaining":
        """What of it still exists: a deploy may have removed models."""
        return Remaining(self.assets & assets, self.checks & checks, self.is_asset_run)


def remaining(
    planned: Iterable[AssetKey | AssetCheckKey],
    built: Set[AssetKey],
    passed: Mapping[AssetCheckKey, bool],
) -> Remaining:
    """What is left of what was planned.

    Args:
        planned: the assets and checks that the run was to execute.
        built: the assets that it materialized.
        passed: the checks that it executed, and whether dbt would have gone on after them.
    """
    planned = frozenset(planned)
    assets = frozenset(it for it in planned if isinstance(it, AssetKey) and it not in built)
    checks = frozenset(
        it
        for it in planned
        if isinstance(it, AssetCheckKey) and (not passed.get(it) or it.asset_key in assets)
    )
    return Remaining(assets, checks, bool(planned))


def remaining_of(instance: DagsterInstance, run_id: str, plan: ExecutionPlanSnapshot) -> Remaining:
    """What is left of a run, by its event log.

    Args:
        instance: the run's instance.
        run_id: the run.
        plan: what it was to execute.
    """
    events = instance.all_logs(
        run_id,
        of_type={DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION},
    )
    built: set[AssetKey] = set()
    passed: dict[AssetCheckKey, bool] = {}
    for entry in events:
        event = entry.dagster_event
        if event and event.is_step_materialization and event.asset_key:
            built.add(event.asset_key)
        elif event and isinstance(found := event.event_specific_data, AssetCheckEvaluation):
            passed[found.asset_check_key] = (
                found.passed or found.severity is not AssetCheckSeverity.ERROR
            )
    planned = (
        key
        for step in plan.steps
        if step.key in plan.step_keys_to_execute
        for key in step.entity_keys
    )
    return remaining(planned, built, passed)


def remaining_of_run(instance: DagsterInstance, run: DagsterRun) -> Remaining:
    """What is left of a run; nothing where its plan was never stored."""
    if run.execution_plan_snapshot_id is None:
        return Remaining()
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return remaining_of(instance, run.run_id, plan)


def resume_what_remains(storage: RunStorage) -> None:
    """Let instances that use a storage re-execute runs from what is left of them.

    Where Dagster has moved the name, its own rule counts, and a warning says so.
    """
    stock = storage.register_instance

    def register(instance: DagsterInstance) -> None:
        stock(instance)
        method = getattr(RunDomain, "get_keys_to_reexecute", None)
        if method is None or tuple(inspect.signature(method).parameters) != _PARAMETERS:
            _log.warning("Runs are resumed by Dagster's own rule: this Dagster is not known.")
            return

        def keys(
            run_id: str, execution_plan_snapshot: ExecutionPlanSnapshot
        ) -> tuple[Set[AssetKey], Set[AssetCheckKey]]:
            left = remaining_of(instance, run_id, execution_plan_snapshot)
            return left.assets, left.checks

        instance.run_domain.get_keys_to_reexecute = keys  # type: ignore[method-assign]

    storage.register_instance = register  # type: ignore[method-assign]
