"""Snapshots of jobs and of plans that no run uses any more.

A run that is being created looks whether its snapshots are there, and is added a moment later. So
what is unused is marked, looking at a snapshot takes its mark away (`PooledRunStorage`), and only
what has been marked for an hour goes: with its mark, in one transaction.
"""

import re
import zlib
from collections.abc import Generator, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from dagster._core.storage.runs.schema import RunsTable, SnapshotsTable
from sqlalchemy import Connection, Engine, Row, func, select
from sqlalchemy.dialects.postgresql import insert

from dagster_apollo.instance.database import UNUSED_SNAPSHOT
from dagster_apollo.retention.queries import row_of, short_transaction, values_of
from dagster_apollo.retention.report import Item

_RUN: Final = RunsTable.c
_SNAPSHOT: Final = SnapshotsTable.c
_PLAN: Final = '"execution_plan_snapshot_id": "([^"]*)"'
_PARENT: Final = re.compile(rb'"parent_snapshot_id": "([^"]*)"')
_MARKED_FOR: Final = timedelta(hours=1)
_LOOKED_AT: Final = 500
_AT_A_TIME: Final = 20


def unused_snapshots(
    engine: Engine, going: frozenset[str] = frozenset()
) -> Generator[None, None, list[str]]:
    """The snapshots that no run uses, and no snapshot of a job that a run uses.

    Args:
        engine: the database.
        going: runs that do not count.

    Yields:
        After each statement.
    """
    jobs: set[str | None] = set()
    used: set[str | None] = set()
    query = select(
        _RUN.id, _RUN.run_id, _RUN.snapshot_id, func.substring(_RUN.run_body, _PLAN).label("plan")
    )
    after = 0
    while True:
        with engine.connect() as connection:
            some = query.where(_RUN.id > after).order_by(_RUN.id).limit(_LOOKED_AT)
            page: Sequence[Row[Any]] = connection.execute(some).all()
        if not page:
            break
        after = page[-1].id
        for row in page:
            if row.run_id not in going:
                jobs.add(row.snapshot_id)
                used.add(row.plan)
        yield
    for job in jobs:
        with engine.connect() as connection:
            used.update(_with_parents(connection, job))
        yield
    with engine.connect() as connection:
        there = values_of(connection, select(_SNAPSHOT.snapshot_id))
        return [snapshot for snapshot in there if snapshot not in used]


def _with_parents(connection: Connection, job: str | None) -> Iterator[str]:
    """A job's snapshot and the one of the job that it is a part of."""
    while job is not None:
        yield job
        query = select(_SNAPSHOT.snapshot_body).where(_SNAPSHOT.snapshot_id == job)
        body = connection.execute(query).scalar()
        parent = _PARENT.search(zlib.decompress(body)) if body else None
        job = parent[1].decode() if parent else None


def remove_snapshots(engine: Engine, item: Item) -> Iterator[None]:
    """Remove what has been unused since an earlier prune, and mark what is unused now.

    Yields:
        After each transaction.
    """
    unused = yield from unused_snapshots(engine)
    mark = UNUSED_SNAPSHOT.c
    with short_transaction(engine) as connection:
        used_again = mark.snapshot_id.not_in(unused) if unused else mark.snapshot_id.is_not(None)
        connection.execute(UNUSED_SNAPSHOT.delete().where(used_again))
    yield
    for start in range(0, len(unused), _AT_A_TIME):
        item.add(_remove(engine, unused[start : start + _AT_A_TIME]))
        yield


def _remove(engine: Engine, unused: list[str]) -> int:
    mark = UNUSED_SNAPSHOT.c
    with short_transaction(engine) as connection:
        marked = connection.execute(
            UNUSED_SNAPSHOT.delete()
            .where(mark.snapshot_id.in_(unused), mark.marked_at < func.now() - _MARKED_FOR)
            .returning(mark.snapshot_id)
        )
        going: set[str] = set(marked.scalars())
        used = select(1).where(_RUN.snapshot_id == _SNAPSHOT.snapshot_id).exists()
        gone = connection.execute(
            SnapshotsTable.delete().where(_SNAPSHOT.snapshot_id.in_(going), ~used)
        )
        left = [{"snapshot_id": it} for it in unused if it not in going]
        if left:
            connection.execute(insert(UNUSED_SNAPSHOT).values(left).on_conflict_do_nothing())
        return int(gone.rowcount)


def survey_snapshots(engine: Engine, going: frozenset[str], item: Item) -> Iterator[None]:
    """Count the snapshots that no run would use without those that go.

    Yields:
        After each statement.
    """
    unused = yield from unused_snapshots(engine, going)
    for start in range(0, len(unused), _LOOKED_AT):
        chosen = _SNAPSHOT.snapshot_id.in_(unused[start : start + _LOOKED_AT])
        with engine.connect() as connection:
            query = select(func.count(), func.sum(func.octet_length(_SNAPSHOT.snapshot_body)))
            rows, size = row_of(connection, query.where(chosen))
        item.add(rows, size=int(size or 0))
        yield
