"""From events to rows of Dagster's tables, for a whole batch at once.

Stock dagster-postgres writes event by event: the event, then the row of its asset, its tags, or the
row of its check. What it leaves in the tables after a batch is computed here, so that each table
takes one statement. dagster_postgres/event_log/event_log.py and
dagster/_core/storage/event_log/sql_event_log.py (1.13) are what must be equalled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, cast

from dagster import AssetCheckEvaluation, DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._time import datetime_from_timestamp

from dagster_apollo.instance.event_promises import Promises

Rows = Sequence[Mapping[str, Any]]
_PLANNED: Final = AssetCheckExecutionRecordStatus.PLANNED.value


@dataclass(frozen=True)
class EventRow:
    """An event, and what stock makes of it.

    Args:
        event: the event.
        values: the columns of `event_logs`, by `SqlEventLogStorage._event_to_row`.
        tags: what of its tags is indexed, by `SqlEventLogStorage._tags_for_asset_event`.
        promise: the number by which others refer to it (see `Promises`).
    """

    event: EventLogEntry
    values: Mapping[str, Any]
    tags: Mapping[str, str]
    promise: int | None = None

    @property
    def kind(self) -> DagsterEventType | None:
        """The type of Dagster's event; None for a line of a log."""
        return self.event.dagster_event and self.event.dagster_event.event_type

    def kept(self, promises: Promises) -> "EventRow":
        """The same with ids in the place of promises."""
        text = promises.kept_in(self.values["event"])
        return replace(self, values={**self.values, "event": text})


@dataclass
class CheckStage:
    """Check events that two statements can write: first what is planned, then what came of it."""

    planned: list[dict[str, Any]] = field(default_factory=list)
    evaluated: dict[tuple[str, str, str, str | None], dict[str, Any]] = field(default_factory=dict)
    """By check, run and partition; of several evaluations the last one counts."""
    runless: list[dict[str, Any]] = field(default_factory=list)
    """Evaluations that no run planned: always rows of their own."""


def asset_rows(rows: Sequence[EventRow], ids: Sequence[int]) -> Rows:
    """The rows of `asset_keys`; what is None in one stays as it is in the table.

    They are sorted: transactions that write several of them in one order cannot block each other.

    Args:
        rows: the events.
        ids: their ids in `event_logs`.
    """
    found: dict[str, dict[str, Any]] = {}
    for row, event_id in zip(rows, ids, strict=True):
        asset_key = row.values["asset_key"]
        if row.kind not in ASSET_EVENTS or asset_key is None:
            continue
        values = found.setdefault(
            asset_key,
            {
                "asset_key": asset_key,
                "last_materialization": None,
                "last_run_id": None,
                "last_materialization_timestamp": None,
            },
        )
        if row.kind is DagsterEventType.ASSET_MATERIALIZATION:
            values["last_materialization"] = record_text(row.values["event"], event_id)
        if row.kind in {
            DagsterEventType.ASSET_MATERIALIZATION,
            DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        }:
            values["last_run_id"] = row.event.run_id
        if row.kind in {
            DagsterEventType.ASSET_MATERIALIZATION,
            DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
            DagsterEventType.ASSET_OBSERVATION,
        }:
            values["last_materialization_timestamp"] = datetime_from_timestamp(row.event.timestamp)
    return [found[asset_key] for asset_key in sorted(found)]


def record_text(event_text: str, event_id: int) -> str:
    """`serialize_value(EventLogRecord(id, event))` of an event that is serialized already."""
    return (
        f'{{"__class__": "EventLogRecord", "event_log_entry": {event_text}, '
        f'"storage_id": {event_id}}}'
    )


def tag_rows(rows: Sequence[EventRow], ids: Sequence[int]) -> Rows:
    """The rows of `asset_event_tags`."""
    return [
        {
            "event_id": event_id,
            "asset_key": row.values["asset_key"],
            "key": key,
            "value": value,
            "event_timestamp": row.values["timestamp"],
        }
        for row, event_id in zip(rows, ids, strict=True)
        if row.kind in ASSET_EVENTS and row.values["asset_key"] is not None
        for key, value in row.tags.items()
    ]


def check_stages(
    rows: Sequence[EventRow], ids: Sequence[int], promises: Promises
) -> list[CheckStage]:
    """What to write to `asset_check_executions`, stage by stage; nearly always there is one."""
    stages = [CheckStage()]
    for row, event_id in zip(rows, ids, strict=True):
        if row.kind is DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            for values in _planned(row, event_id):
                if _key(values) in stages[-1].evaluated:
                    stages.append(CheckStage())
                stages[-1].planned.append(values)
        elif row.kind is DagsterEventType.ASSET_CHECK_EVALUATION:
            values = _evaluated(row, event_id, promises)
            if values["run_id"]:
                stages[-1].evaluated[_key(values)] = values
            else:
                stages[-1].runless.append(values)
    return [stage for stage in stages if stage.planned or stage.evaluated or stage.runless]


def _planned(row: EventRow, event_id: int) -> Iterable[dict[str, Any]]:
    data = cast("AssetCheckEvaluationPlanned", row.event.get_dagster_event().event_specific_data)
    subset = data.partitions_subset
    partitions: Iterable[str | None] = (None,)
    if subset:
        partitions = subset.get_partition_keys()
    for partition in partitions:
        yield {
            "asset_key": data.asset_key.to_string(),
            "check_name": data.check_name,
            "partition": partition,
            "run_id": row.event.run_id,
            "execution_status": _PLANNED,
            "materialization_event_storage_id": None,
            **_event_columns(row, event_id),
        }


def _evaluated(row: EventRow, event_id: int, promises: Promises) -> dict[str, Any]:
    data = cast("AssetCheckEvaluation", row.event.get_dagster_event().event_specific_data)
    target = data.target_materialization_data
    status = (
        AssetCheckExecutionRecordStatus.SUCCEEDED
        if data.passed
        else AssetCheckExecutionRecordStatus.FAILED
    )
    return {
        "asset_key": data.asset_key.to_string(),
        "check_name": data.check_name,
        "partition": data.partition,
        "run_id": row.event.run_id,
        "execution_status": status.value,
        "materialization_event_storage_id": promises.id_of(target.storage_id) if target else None,
        **_event_columns(row, event_id),
    }


def _event_columns(row: EventRow, event_id: int) -> dict[str, str | datetime | int]:
    return {
        "evaluation_event": row.values["event"],
        "evaluation_event_timestamp": row.values["timestamp"],
        "evaluation_event_storage_id": event_id,
    }


def _key(values: Mapping[str, Any]) -> tuple[str, str, str, str | None]:
    return values["asset_key"], values["check_name"], values["run_id"], values["partition"]
