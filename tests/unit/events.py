"""Events made to order."""

import dagster as dg
from dagster import AssetCheckEvaluation, AssetKey, DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.events import (
    AssetMaterializationPlannedData,
    EngineEventData,
    JobCanceledData,
    JobFailureData,
    StepMaterializationData,
)
from dagster._core.execution.plan.objects import StepFailureData, StepSuccessData
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle


def entry(event: DagsterEvent | None = None, text: str = "", run_id: str = "run", at: float = 1.0):
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message=text,
        run_id=run_id,
        timestamp=at,
        job_name="job",
        dagster_event=event,
    )


def of_type(kind: DagsterEventType, data: object = None) -> DagsterEvent:
    return DagsterEvent(event_type_value=kind.value, job_name="job", event_specific_data=data)


_DATA = {
    DagsterEventType.STEP_SUCCESS: StepSuccessData(duration_ms=1.0),
    DagsterEventType.STEP_FAILURE: StepFailureData(error=None, user_failure_data=None),
    DagsterEventType.STEP_OUTPUT: StepOutputData(StepOutputHandle("step")),
    DagsterEventType.ENGINE_EVENT: EngineEventData(),
    DagsterEventType.RUN_FAILURE: JobFailureData(error=None),
    DagsterEventType.RUN_CANCELED: JobCanceledData(error=None),
}
"""What an event of a type must come with."""


def line(text: str = "", run_id: str = "run") -> EventLogEntry:
    return entry(text=text, run_id=run_id)


def status(kind: DagsterEventType, run_id: str = "run") -> EventLogEntry:
    return entry(of_type(kind, _DATA.get(kind)), text=kind.value, run_id=run_id)


def materialization(asset: str, at: float = 1.0, **tags: str) -> EventLogEntry:
    data = StepMaterializationData(dg.AssetMaterialization(asset, tags=tags))
    return entry(of_type(DagsterEventType.ASSET_MATERIALIZATION, data), at=at)


def planned(asset: str, at: float = 1.0) -> EventLogEntry:
    data = AssetMaterializationPlannedData(AssetKey(asset))
    return entry(of_type(DagsterEventType.ASSET_MATERIALIZATION_PLANNED, data), at=at)


def planned_check(asset: str, name: str) -> EventLogEntry:
    data = AssetCheckEvaluationPlanned(asset_key=AssetKey(asset), check_name=name)
    return entry(of_type(DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, data))


def evaluation(
    asset: str, name: str, *, passed: bool = True, target: int | None = None, run_id: str = "run"
) -> EventLogEntry:
    data = AssetCheckEvaluation(
        asset_key=AssetKey(asset),
        check_name=name,
        passed=passed,
        target_materialization_data=(
            AssetCheckEvaluationTargetMaterializationData(
                storage_id=target, run_id="run", timestamp=1.0
            )
            if target
            else None
        ),
    )
    return entry(of_type(DagsterEventType.ASSET_CHECK_EVALUATION, data), run_id=run_id)
