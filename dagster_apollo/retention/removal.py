"""Removing runs and what belongs to them from Postgres, in transactions of milliseconds.

A run goes first, with its tags and logs, and is noted in `apollo_pruned_run`; its events follow in
batches, then the note. So the UI shows a run as a whole or not at all, and a prune that was
interrupted is taken up by the next one. Rows are found by an index and locked only where nobody
else holds them; no statement waits for a lock for longer than a second.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from dagster._core.storage.compute_log_manager import ComputeLogManager
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.tags import ROOT_RUN_ID_TAG
from sqlalchemy import Connection, Engine, Select, func, select
from sqlalchemy.dialects.postgresql import insert

from dagster_apollo.instance.database import PRUNED_RUN
from dagster_apollo.retention.plan import FINISHED, Plan
from dagster_apollo.retention.queries import batches, distinct, short_transaction, values_of
from dagster_apollo.retention.report import Item

_EVENT: Final = SqlEventLogStorageTable.c
_CHECK: Final = AssetCheckExecutionsTable.c
_RUNS_AT_A_TIME: Final = 20
_ROWS_AT_A_TIME: Final = 500
_NO_RUN: Final = ""


def remove_runs(engine: Engine, plan: Plan, item: Item) -> Iterator[None]:
    """Remove the chosen runs; their events are to follow.

    Yields:
        After each transaction.
    """
    batch: list[list[str]] = []
    for group in plan.groups:
        batch.append(group)
        if sum(map(len, batch)) >= _RUNS_AT_A_TIME:
            item.add(_remove_groups(engine, batch, plan.up_to))
            batch = []
            yield
    if batch:
        item.add(_remove_groups(engine, batch, plan.up_to))
        yield


def _remove_groups(engine: Engine, groups: Sequence[Sequence[str]], up_to: int) -> int:
    """Remove groups, but for those that have come to life since they were chosen."""
    ids = list(itertools.chain.from_iterable(groups))
    with short_transaction(engine) as connection:
        ended = (
            select(RunsTable.c.run_id)
            .where(RunsTable.c.run_id.in_(ids), RunsTable.c.status.in_(FINISHED))
            .with_for_update(skip_locked=True)
        )
        free = set(values_of(connection, ended))
        lively = select(_EVENT.run_id).where(_EVENT.run_id.in_(ids), _EVENT.id > up_to)
        free.difference_update(values_of(connection, lively.distinct()))
        repeated = select(RunTagsTable.c.value).where(
            RunTagsTable.c.key == ROOT_RUN_ID_TAG,
            RunTagsTable.c.value.in_(ids),
            RunTagsTable.c.run_id.not_in(ids),
        )
        free.difference_update(values_of(connection, repeated))
        gone = [run_id for group in groups if free.issuperset(group) for run_id in group]
        if gone:
            _note(connection, gone)
            connection.execute(RunsTable.delete().where(RunsTable.c.run_id.in_(gone)))
    return len(gone)


def note_orphans(engine: Engine, plan: Plan) -> Iterator[None]:
    """Note the runs of which there are old events, but no run.

    Yields:
        After each transaction.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as reading:
        for some in batches(distinct(reading, _EVENT.run_id), _ROWS_AT_A_TIME):
            with short_transaction(engine) as connection:
                there = select(RunsTable.c.run_id).where(RunsTable.c.run_id.in_(some))
                lost = (
                    set(some) - set(values_of(connection, there)) - plan.protected.runs - {_NO_RUN}
                )
                old = (
                    select(_EVENT.run_id)
                    .where(_EVENT.run_id.in_(lost))
                    .group_by(_EVENT.run_id)
                    .having(func.max(_EVENT.id) <= plan.up_to)
                )
                if lost and (orphans := values_of(connection, old)):
                    _note(connection, orphans)
            yield


def remove_traces(
    engine: Engine, logs: ComputeLogManager, item: Item, failures: list[str]
) -> Iterator[None]:
    """Remove the events and logs of the runs that are noted, and the notes.

    Args:
        engine: the database.
        logs: where the runs' logs are.
        item: counts the events.
        failures: what went wrong with logs; such a run stays noted.

    Yields:
        After each transaction.
    """
    note = PRUNED_RUN.c.run_id
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as reading:
        for run_id in distinct(reading, note):
            while removed := _remove_events(
                engine, select(_EVENT.id).where(_EVENT.run_id == run_id).order_by(_EVENT.id)
            ):
                item.add(removed)
                yield
            try:
                logs.delete_logs(prefix=[run_id])
            except Exception as error:  # noqa: BLE001 - of any object store; its text may hold a key
                failures.append(f"the logs of run {run_id} ({type(error).__name__})")
                continue
            with short_transaction(engine) as connection:
                connection.execute(PRUNED_RUN.delete().where(note == run_id))
            yield


def remove_check_results(engine: Engine, plan: Plan, item: Item) -> Iterator[None]:
    """Remove the results of checks whose run is gone, but for each check's latest.

    Yields:
        After each transaction.
    """
    for asset_key in plan.assets:
        with short_transaction(engine) as connection:
            query = (
                select(_CHECK.id)
                .outerjoin_from(
                    AssetCheckExecutionsTable, RunsTable, RunsTable.c.run_id == _CHECK.run_id
                )
                .where(
                    _CHECK.asset_key == asset_key,
                    RunsTable.c.run_id.is_(None),
                    func.coalesce(_CHECK.evaluation_event_storage_id, 0) <= plan.up_to,
                )
            )
            ids = [i for i in values_of(connection, query) if i not in plan.protected.checks]
        for some in batches(ids, _ROWS_AT_A_TIME):
            with short_transaction(engine) as connection:
                gone = connection.execute(
                    AssetCheckExecutionsTable.delete().where(_CHECK.id.in_(some))
                )
                item.add(gone.rowcount)
            yield


def remove_runless_events(engine: Engine, plan: Plan, item: Item) -> Iterator[None]:
    """Remove old events that belong to no run, but for the latest of each asset.

    Yields:
        After each transaction.
    """
    after = 0
    query = select(_EVENT.id).where(_EVENT.run_id == _NO_RUN, _EVENT.id <= plan.up_to)
    while True:
        with engine.connect() as connection:
            some = query.where(_EVENT.id > after).order_by(_EVENT.id).limit(_ROWS_AT_A_TIME)
            ids = values_of(connection, some)
        if not ids:
            return
        after = ids[-1]
        free = [it for it in ids if it not in plan.protected.events]
        item.add(_remove_events(engine, select(_EVENT.id).where(_EVENT.id.in_(free))))
        yield


def _remove_events(engine: Engine, chosen: Select[tuple[int]]) -> int:
    """Remove one batch of events with their tags."""
    with short_transaction(engine) as connection:
        rows = chosen.limit(_ROWS_AT_A_TIME).with_for_update(skip_locked=True)
        ids = values_of(connection, rows)
        if ids:
            tags = AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(ids))
            connection.execute(tags)
            connection.execute(SqlEventLogStorageTable.delete().where(_EVENT.id.in_(ids)))
    return len(ids)


def _note(connection: Connection, run_ids: Sequence[str]) -> None:
    values = [{"run_id": run_id} for run_id in run_ids]
    connection.execute(insert(PRUNED_RUN).values(values).on_conflict_do_nothing())
