"""Assets that could not be built, or do not pass a check, as Dagster's asset pages have it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    EventLogEntry,
    RunsFilter,
)
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._serdes import deserialize_value
from sqlalchemy import Connection, func, select

from dagster_apollo.status.model import Failing

_EVENT: Final = SqlEventLogStorageTable.c
_CHECK: Final = AssetCheckExecutionsTable.c
_REMEMBERED: Final = timedelta(days=30)
"""What was last tried longer ago is taken to be no part of its project any more."""
_AT_A_TIME: Final = 200


def failing_assets(instance: DagsterInstance, now: datetime) -> Iterator[Failing]:
    """What fails at present.

    Args:
        instance: the Dagster instance, on Postgres or SQLite.
        now: the time, in UTC.
    """
    events = instance.event_log_storage
    if not isinstance(events, SqlEventLogStorage):
        return
    since = (now - _REMEMBERED).replace(tzinfo=None)
    with events.index_connection() as connection:
        yield from _checks(connection, since)
        runs = _last_runs(connection, since)
    ids = sorted(set(runs.values()))
    failed: dict[str, datetime] = {}
    for start in range(0, len(ids), _AT_A_TIME):
        chosen = RunsFilter(
            run_ids=ids[start : start + _AT_A_TIME], statuses=[DagsterRunStatus.FAILURE]
        )
        for record in instance.get_run_records(chosen):
            failed[record.dagster_run.run_id] = (
                datetime.fromtimestamp(record.end_time, UTC) if record.end_time else now
            )
    with events.index_connection() as connection:
        for asset_key, run_id in runs.items():
            if run_id in failed and not _was_made(connection, asset_key, run_id):
                yield Failing(_path(asset_key), None, "error", run_id, failed[run_id])


def _checks(connection: Connection, since: datetime) -> Iterator[Failing]:
    """The checks whose last result is a failure, unless the asset was made anew since."""
    completed = [it.value for it in COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES]
    latest = (
        select(func.max(_CHECK.id))
        .where(_CHECK.execution_status.in_(completed))
        .group_by(_CHECK.asset_key, _CHECK.check_name, _CHECK.partition)
    )
    failed = select(AssetCheckExecutionsTable).where(
        _CHECK.id.in_(latest),
        _CHECK.execution_status == AssetCheckExecutionRecordStatus.FAILED.value,
        _CHECK.evaluation_event_timestamp > since,
    )
    for row in connection.execute(failed.order_by(_CHECK.asset_key, _CHECK.check_name)).all():
        made = _last_made(connection, row.asset_key)
        if made is None or made < (row.evaluation_event_storage_id or 0):
            yield Failing(
                _path(row.asset_key),
                row.check_name,
                _severity(row.evaluation_event),
                row.run_id,
                row.evaluation_event_timestamp.replace(tzinfo=UTC),
            )


def _severity(event: str) -> Any:  # noqa: ANN401 - one of two literals
    entry = deserialize_value(event, EventLogEntry)
    evaluation = entry.dagster_event and entry.dagster_event.event_specific_data
    is_warning = (
        isinstance(evaluation, AssetCheckEvaluation)
        and evaluation.severity is AssetCheckSeverity.WARN
    )
    return "warn" if is_warning else "error"


def _last_runs(connection: Connection, since: datetime) -> dict[str, str]:
    """The last run of each asset that was lately tried."""
    of = AssetKeyTable.c
    query = select(of.asset_key, of.last_run_id).where(
        of.last_run_id.is_not(None), of.last_materialization_timestamp > since
    )
    return {row.asset_key: row.last_run_id for row in connection.execute(query)}


def _last_made(connection: Connection, asset_key: str) -> int | None:
    query = select(func.max(_EVENT.id)).where(*_is_materialization(asset_key))
    found: int | None = connection.execute(query).scalar()
    return found


def _was_made(connection: Connection, asset_key: str, run_id: str) -> bool:
    query = select(_EVENT.id).where(*_is_materialization(asset_key), _EVENT.run_id == run_id)
    return connection.execute(query.limit(1)).first() is not None


def _is_materialization(asset_key: str) -> tuple[Any, ...]:
    kind = DagsterEventType.ASSET_MATERIALIZATION.value
    return _EVENT.asset_key == asset_key, _EVENT.dagster_event_type == kind


def _path(asset_key: str) -> str:
    key = AssetKey.from_db_string(asset_key)
    return "/".join(key.path) if key else asset_key
