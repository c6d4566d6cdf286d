"""Events of the tenants' runs and assets, less what they say of others' assets: pure functions.

Dagster notes with each materialization what version of what other assets it was made from.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from dagster import AssetKey, DagsterEventType, EventLogEntry, EventLogRecord
from dagster._core.events import AssetObservationData, StepMaterializationData
from dagster._core.storage.event_log.base import AssetRecord
from dagster_shared.record import replace

from dagster_apollo.web.limits.scope import Scope

_INPUTS: Final = "dagster/input_"
"""What the tags begin with that name what an asset was made from; the asset's key follows a /."""
_OF_INPUTS: Final = frozenset({DagsterEventType.STEP_INPUT, DagsterEventType.LOADED_INPUT})


def limited_tags(tags: Mapping[str, str], scope: Scope) -> dict[str, str]:
    """The tags of an event of an asset."""
    return {name: value for name, value in tags.items() if _is_theirs(name, scope)}


def _is_theirs(name: str, scope: Scope) -> bool:
    if not name.startswith(_INPUTS):
        return True
    key = name.removeprefix(_INPUTS).partition("/")[2]
    return bool(key) and scope.has(AssetKey.from_user_string(key))


def limited_entry(entry: EventLogEntry, scope: Scope) -> EventLogEntry:
    """An event."""
    event = entry.dagster_event
    data = event.event_specific_data if event else None
    if event and isinstance(data, StepMaterializationData):
        made = data.materialization
        tags = limited_tags(made.tags or {}, scope)
        told = data._replace(materialization=made._replace(tags=tags), asset_lineage=[])
        return entry._replace(dagster_event=event._replace(event_specific_data=told))
    if event and isinstance(data, AssetObservationData):
        seen = data.asset_observation
        tags = limited_tags(seen.tags, scope)
        observed = data._replace(asset_observation=seen._replace(tags=tags))
        return entry._replace(dagster_event=event._replace(event_specific_data=observed))
    return entry


def is_of_inputs(entry: EventLogEntry) -> bool:
    """Whether an event only says what a step got: inputs are called as others' assets may be."""
    return entry.is_dagster_event and entry.dagster_event_type in _OF_INPUTS


def limited_records(records: Iterable[EventLogRecord], scope: Scope) -> list[EventLogRecord]:
    """Events as they are stored."""
    return [
        record._replace(event_log_entry=limited_entry(record.event_log_entry, scope))
        for record in records
        if not is_of_inputs(record.event_log_entry)
    ]


def limited_asset(record: AssetRecord, scope: Scope) -> AssetRecord:
    """What is stored of an asset: its last events."""
    entry = record.asset_entry

    def last(found: EventLogRecord | None) -> EventLogRecord | None:
        return found and limited_records([found], scope)[0]

    return replace(
        record,
        asset_entry=replace(
            entry,
            last_materialization_record=last(entry.last_materialization_record),
            last_observation_record=last(entry.last_observation_record),
            last_failed_to_materialize_record=last(entry.last_failed_to_materialize_record),
            last_skipped_materialize_record=last(entry.last_skipped_materialize_record),
        ),
    )
