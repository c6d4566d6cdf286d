"""The statements by which a batch of events is written: at most one for each table.

Rows travel as one array a column, so that a statement's text is the same for any number of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, TextClause, text

from dagster_apollo.instance.event_buffer import is_status
from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.event_rows import (
    CheckStage,
    EventRow,
    Rows,
    asset_rows,
    check_stages,
    tag_rows,
)

_EVENT_COLUMNS: Final = {
    "id": "bigint",
    "run_id": "text",
    "event": "text",
    "dagster_event_type": "text",
    "timestamp": "timestamp",
    "step_key": "text",
    "asset_key": "text",
    "partition": "text",
}
_CHECK_COLUMNS: Final = {
    "asset_key": "text",
    "check_name": "text",
    "partition": "text",
    "run_id": "text",
    "execution_status": "text",
    "evaluation_event": "text",
    "evaluation_event_timestamp": "timestamp",
    "evaluation_event_storage_id": "bigint",
    "materialization_event_storage_id": "bigint",
}
_ASSET_COLUMNS: Final = {
    "asset_key": "text",
    "last_materialization": "text",
    "last_run_id": "text",
    "last_materialization_timestamp": "timestamptz",
}
_TAG_COLUMNS: Final = {
    "event_id": "bigint",
    "asset_key": "text",
    "key": "text",
    "value": "text",
    "event_timestamp": "timestamp",
}
_CHECK_KEY: Final = ("asset_key", "check_name", "run_id", "partition")


class Commit(NamedTuple):
    """A transaction that was, or may have been, committed."""

    xid: int
    """Postgres's 64-bit id of the transaction."""
    pid: int
    """The server's process that ran it."""


def write_rows(connection: Connection, rows: Sequence[EventRow], promises: Promises) -> Commit:
    """Write all rows of some events, within the connection's transaction.

    A last event that says how its run is doing gets its id last, so that the time between id and
    commit is as short as stock's: whoever follows the log by id could skip it otherwise.
    """
    late = len(rows) > 1 and is_status(rows[-1].event)
    first = rows[:-1] if late else rows
    ids, commit = _insert_events(connection, first, promises)
    kept = [row.kept(promises) for row in first]
    if assets := asset_rows(kept, ids):
        connection.execute(_UPSERT_ASSETS, _arrays(assets, _ASSET_COLUMNS))
    if tags := tag_rows(kept, ids):
        connection.execute(_INSERT_TAGS, _arrays(tags, _TAG_COLUMNS))
    for stage in check_stages(kept, ids, promises):
        _write_checks(connection, stage)
    if late:
        _insert_events(connection, rows[-1:], promises)
    return commit


def _insert_events(
    connection: Connection, rows: Sequence[EventRow], promises: Promises
) -> tuple[list[int], Commit]:
    reserved = connection.execute(_RESERVE_IDS, {"count": len(rows)}).all()
    ids = sorted(int(row.id) for row in reserved)
    promises.keep(
        {row.promise: event_id for row, event_id in zip(rows, ids, strict=True) if row.promise}
    )
    values = [
        {**row.kept(promises).values, "id": event_id}
        for row, event_id in zip(rows, ids, strict=True)
    ]
    connection.execute(_INSERT_EVENTS, _arrays(values, _EVENT_COLUMNS))
    return ids, Commit(reserved[0].xid, reserved[0].pid)


def _write_checks(connection: Connection, stage: CheckStage) -> None:
    if new := [*stage.planned, *stage.runless]:
        connection.execute(_INSERT_CHECKS, _arrays(new, _CHECK_COLUMNS))
    if not stage.evaluated:
        return
    updated = connection.execute(
        _UPDATE_CHECKS, _arrays(list(stage.evaluated.values()), _CHECK_COLUMNS)
    ).all()
    planned = {tuple(row) for row in updated}
    # a check that was not planned, as where a step launcher executes it
    if new := [values for key, values in stage.evaluated.items() if key not in planned]:
        connection.execute(_INSERT_CHECKS, _arrays(new, _CHECK_COLUMNS))


def _arrays(rows: Rows, columns: Iterable[str]) -> dict[str, list[Any]]:
    return {column: [row[column] for row in rows] for column in columns}


def _unnest(columns: Mapping[str, str], alias: str = "v") -> str:
    arrays = ", ".join(f"cast(:{name} as {kind}[])" for name, kind in columns.items())
    return f"unnest({arrays}) with ordinality as {alias}({_names(columns)}, place)"


def _names(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name}" for name in columns)


def _insert(table: str, columns: Mapping[str, str]) -> str:
    return (
        f"insert into {table} ({_names(columns)}) "  # noqa: S608
        f"select {_names(columns, 'v.')} from {_unnest(columns)} order by v.place"
    )


def _upsert_assets() -> TextClause:
    kept = ", ".join(
        f"{name} = coalesce(excluded.{name}, asset_keys.{name})"
        for name in _ASSET_COLUMNS
        if name != "asset_key"
    )
    insert = _insert("asset_keys", _ASSET_COLUMNS)
    return text(f"{insert} on conflict (asset_key) do update set {kept}")


def _update_checks() -> TextClause:
    changed = [name for name in _CHECK_COLUMNS if name not in _CHECK_KEY]
    return text(
        "update asset_check_executions as t "  # noqa: S608
        f"set {', '.join(f'{name} = v.{name}' for name in changed)} "
        f"from {_unnest(_CHECK_COLUMNS)} "
        "where t.asset_key = v.asset_key and t.check_name = v.check_name and t.run_id = v.run_id "
        "and t.partition is not distinct from v.partition "
        f"returning {_names(_CHECK_KEY, 'v.')}"
    )


_RESERVE_IDS: Final = text(
    # a transaction whose client has vanished ends by itself, and none waits for its locks for ever
    "with patience as materialized (select "
    "set_config('idle_in_transaction_session_timeout', '30s', true), "
    "set_config('lock_timeout', '30s', true)) "
    "select nextval(pg_get_serial_sequence('event_logs', 'id')) as id, txid_current() as xid, "
    "pg_backend_pid() as pid from generate_series(1, :count), patience"
)
_INSERT_EVENTS: Final = text(_insert("event_logs", _EVENT_COLUMNS))
_INSERT_TAGS: Final = text(_insert("asset_event_tags", _TAG_COLUMNS))
_INSERT_CHECKS: Final = text(_insert("asset_check_executions", _CHECK_COLUMNS))
_UPSERT_ASSETS: Final = _upsert_assets()
_UPDATE_CHECKS: Final = _update_checks()
