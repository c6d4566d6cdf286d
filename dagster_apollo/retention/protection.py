"""What must stay so that the UI says the same of each asset and check: the latest of everything.

Of each asset the newest event of every kind in each partition, of each check the newest results,
and the runs and events to which these point. "Newest" is among what is old enough to go, even
where something newer is there: that state stays true whatever is added or deleted meanwhile, and
what compares with an earlier version of the data (automation) still finds it.

The queries are those behind the asset pages of Dagster 1.13 (sql_event_log.py, data_time.py). They
work alike on Postgres and on the index file of SQLite; each reads one asset by an index.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from dagster import DagsterEventType
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
)
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    ConcurrencySlotsTable,
    PendingStepsTable,
    SqlEventLogStorageTable,
)
from sqlalchemy import Connection, Select, case, func, select

from dagster_apollo.retention.queries import batches, distinct, row_of, values_of

_EVENT: Final = SqlEventLogStorageTable.c
_CHECK: Final = AssetCheckExecutionsTable.c
_COMPLETED: Final = [it.value for it in COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES]
_MATERIALIZATION: Final = DagsterEventType.ASSET_MATERIALIZATION.value
_POINTER: Final = re.compile(r'"dagster/input_event_pointer/(?:[^"\\]|\\.)*": "([0-9]+)"')
"""A tag of a materialization that names the event of an input by its id."""
_AT_A_TIME: Final = 200


@dataclass
class Protected:
    """What must stay.

    Args:
        runs: the runs.
        events: those events that belong to no run (reported by a script, or by the UI).
        checks: the results of checks.
    """

    runs: set[str] = field(default_factory=set)
    events: set[int] = field(default_factory=set)
    checks: set[int] = field(default_factory=set)


def horizon(connection: Connection, before: datetime) -> int:
    """The id of the newest event that is older than a moment (UTC, without a zone).

    Found by halving: ids ascend with time, and timestamps have no index.
    """
    low, high = row_of(connection, select(func.min(_EVENT.id), func.max(_EVENT.id)))
    if low is None:
        return 0
    low -= 1
    while low < high:
        middle = (low + high + 1) // 2
        event = select(_EVENT.id, _EVENT.timestamp).where(_EVENT.id <= middle)
        row = connection.execute(event.order_by(_EVENT.id.desc()).limit(1)).first()
        if row is None or row.timestamp < before:
            low = middle
        else:
            high = row.id - 1
    return int(low)


def asset_keys(connection: Connection) -> list[str]:
    """All assets and sources of which anything is known, in the form of the tables."""
    known = set(values_of(connection, select(AssetKeyTable.c.asset_key)))
    known.update(distinct(connection, _EVENT.asset_key), distinct(connection, _CHECK.asset_key))
    return sorted(known)


def protect_instance(connection: Connection, protected: Protected) -> None:
    """Add the runs that the whole instance points to: assets' last runs, and holders of slots."""
    for column in (AssetKeyTable.c.last_run_id, ConcurrencySlotsTable.c.run_id):
        protected.runs.update(values_of(connection, select(column).distinct()))
    protected.runs.update(values_of(connection, select(PendingStepsTable.c.run_id)))
    protected.runs.discard(None)  # type: ignore[arg-type]


def protect_asset(
    connection: Connection, asset_key: str, up_to: int, protected: Protected
) -> set[int]:
    """Add what the state of one asset and its checks consists of.

    Args:
        connection: the database of the event log.
        asset_key: the asset, in the form of the tables.
        up_to: the id of the newest event that may go.
        protected: is added to.

    Returns:
        The ids of the latest materializations, whose inputs are to be followed.
    """
    latest = (
        select(func.max(_EVENT.id))
        .where(_EVENT.asset_key == asset_key, _EVENT.id <= up_to)
        .group_by(_EVENT.dagster_event_type, _EVENT.partition)
    )
    ids = values_of(connection, latest)
    materializations = set(_protect_events(connection, ids, protected))
    rows = connection.execute(_latest_checks(asset_key, up_to)).all()
    checks = {value for row in rows for value in row[2:] if value is not None}
    protected.checks |= checks
    targets = []
    for some in batches(sorted(checks), _AT_A_TIME):
        query = select(
            _CHECK.run_id,
            _CHECK.evaluation_event_storage_id,
            _CHECK.materialization_event_storage_id,
        )
        for row in connection.execute(query.where(_CHECK.id.in_(some))):
            if row.run_id:
                protected.runs.add(row.run_id)
            targets += [event for event in row[1:] if event is not None]
    materializations.update(_protect_events(connection, targets, protected))
    return materializations


def protect_inputs(
    connection: Connection, materializations: Iterable[int], protected: Protected
) -> Iterator[None]:
    """Add the events from which materializations were made, and from which these were.

    Yields:
        After each statement.
    """
    known: set[int] = set()
    ahead = set(materializations)
    while ahead:
        known |= ahead
        found: set[int] = set()
        for some in batches(sorted(ahead), _AT_A_TIME):
            query = select(_EVENT.event).where(_EVENT.id.in_(some))
            for event in values_of(connection, query):
                found.update(int(value) for value in _POINTER.findall(event))
            yield
        ahead = set(_protect_events(connection, sorted(found - known), protected))


def _latest_checks(asset_key: str, up_to: int) -> "Select[Any]":
    """The newest result, the newest completed one, and the newest whose event is known."""
    completed = case((_CHECK.execution_status.in_(_COMPLETED), _CHECK.id))
    known = case((_CHECK.evaluation_event_storage_id.is_not(None), _CHECK.id))
    return (
        select(
            _CHECK.check_name,
            _CHECK.partition,
            func.max(_CHECK.id),
            func.max(completed),
            func.max(known),
        )
        .where(
            _CHECK.asset_key == asset_key,
            func.coalesce(_CHECK.evaluation_event_storage_id, 0) <= up_to,
        )
        .group_by(_CHECK.check_name, _CHECK.partition)
    )


def _protect_events(
    connection: Connection, ids: Sequence[int], protected: Protected
) -> Iterator[int]:
    """Add events and their runs; those that are materializations are returned."""
    for some in batches(ids, _AT_A_TIME):
        query = select(_EVENT.id, _EVENT.run_id, _EVENT.dagster_event_type)
        for row in connection.execute(query.where(_EVENT.id.in_(some))):
            if row.run_id:
                protected.runs.add(row.run_id)
            else:
                protected.events.add(row.id)
            if row.dagster_event_type == _MATERIALIZATION:
                yield row.id
