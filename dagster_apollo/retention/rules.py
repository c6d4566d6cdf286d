"""What goes by its age alone: one rule for each kind of row, and one way to apply it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunsTable
from dagster._core.storage.schedules.schema import JobTickTable
from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    Table,
    func,
    literal_column,
    null,
    or_,
    select,
    tuple_,
)

from dagster_apollo.instance.database import (
    AUDIT,
    COMPUTE_LOG,
    COMPUTE_LOG_CHUNK,
    REVOKED_SESSION,
    SERVICE,
)
from dagster_apollo.retention.contract import Policy
from dagster_apollo.retention.plan import BACKFILL_IS_OVER, FINISHED
from dagster_apollo.retention.queries import row_of, short_transaction, values_of
from dagster_apollo.retention.report import Item

_SERVICE_DAYS: Final = timedelta(days=30)
_LOOKED_AT: Final = 2000
_LOGS_AT_A_TIME: Final = 5  # a log may have 20 MiB
_FOR_EVER: Final = -1


@dataclass(frozen=True)
class Rule:
    """Rows of a table that go.

    Args:
        what: what they are.
        table: where they are.
        key: what orders them; leads an index.
        goes: which of them go.
        moment: when one was made.
        size: how many bytes one takes; None: those of the row.
        at_a_time: how many keys go in one transaction.
    """

    what: str
    table: Table
    key: "Column[Any]"
    goes: ColumnElement[bool]
    moment: "ColumnElement[Any] | None" = None
    size: "ColumnElement[Any] | None" = None
    at_a_time: int = 200


def rules(policy: Policy, now: datetime, instance: DagsterInstance) -> list[Rule]:
    """All rules.

    Args:
        policy: for how long history is kept.
        now: the time, in UTC.
        instance: its dagster.yaml says for how long ticks are kept.
    """
    found = [*_tick_rules(policy, now, instance)]
    if policy.logs is not None:
        found.append(_log_rule(now - policy.logs))
    if policy.audit is not None:
        old = AUDIT.c.at < now - policy.audit
        found.append(Rule("audit log entries", AUDIT, AUDIT.c.id, old, AUDIT.c.at))
    ended, expires = SERVICE.c.heartbeat_at, REVOKED_SESSION.c.expires_at
    found += [
        Rule("services that ended", SERVICE, SERVICE.c.id, ended < now - _SERVICE_DAYS, ended),
        Rule(
            "sessions that expired",
            REVOKED_SESSION,
            REVOKED_SESSION.c.session_id,
            expires < now,
            expires,
        ),
    ]
    if policy.runs is not None:
        found += _backfill_rules(now - policy.runs)
    return found


def _tick_rules(policy: Policy, now: datetime, instance: DagsterInstance) -> Iterator[Rule]:
    """Ticks by dagster.yaml's `retention`, also those of schedules and sensors that are gone.

    Dagster itself prunes those of what is there and running only. The latest tick of each stays:
    the scheduler goes on from it.
    """
    tick = JobTickTable.c
    newer = JobTickTable.alias()
    is_latest = ~(
        select(1)
        .where(newer.c.selector_id == tick.selector_id, newer.c.timestamp > tick.timestamp)
        .exists()
    )
    old: list[ColumnElement[bool]] = []
    for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR, InstigatorType.AUTO_MATERIALIZE):
        days_of: Mapping[TickStatus, int] = instance.get_tick_retention_settings(kind)
        for status in TickStatus:
            days = days_of.get(status, _FOR_EVER)
            period = policy.ticks if days == _FOR_EVER else timedelta(days=days)
            if period is not None and status is not TickStatus.STARTED:
                old.append(
                    (tick.type == kind.value)
                    & (tick.status == status.value)
                    & (tick.timestamp < (now - period).replace(tzinfo=None))
                )
    if old:
        goes = or_(*old) & ~is_latest
        yield Rule("ticks", JobTickTable, tick.id, goes, tick.timestamp)


def _log_rule(before: datetime) -> Rule:
    """Logs of runs that have ended, of runs that are gone, and of schedules and sensors."""
    log = COMPUTE_LOG.c
    goes_on = (
        select(1)
        .where(RunsTable.c.run_id == log.run_id, RunsTable.c.status.not_in(FINISHED))
        .exists()
    )
    chunk = COMPUTE_LOG_CHUNK.c
    size = (
        select(func.coalesce(func.sum(func.octet_length(chunk.data)), 0))
        .where(chunk.log_key == log.log_key, chunk.stream == log.stream)
        .scalar_subquery()
    )
    goes = (log.updated_at < before) & ~goes_on
    return Rule(
        "logs", COMPUTE_LOG, log.log_key, goes, log.updated_at, size, at_a_time=_LOGS_AT_A_TIME
    )


def _backfill_rules(before: datetime) -> Iterator[Rule]:
    """Backfills that are over and have no run left; then the tags of those."""
    backfill, tag = BulkActionsTable.c, BackfillTagsTable.c
    has_run = select(1).where(RunsTable.c.backfill_id == backfill.key).exists()
    old = backfill.timestamp < before.replace(tzinfo=None)
    goes = BACKFILL_IS_OVER & old & ~has_run
    yield Rule("backfills", BulkActionsTable, backfill.id, goes, backfill.timestamp)
    lost = ~select(1).where(backfill.key == tag.backfill_id).exists()
    yield Rule("tags of backfills", BackfillTagsTable, tag.id, lost)


def apply_rules(
    engine: Engine, chosen: Iterable[Rule], item_of: Callable[[str], Item]
) -> Iterator[None]:
    """Remove what the rules say.

    Each table is read once, in the order of an index, and what goes is removed in batches.

    Yields:
        After each transaction.
    """
    for rule in chosen:
        item = item_of(rule.what)
        window = select(rule.key).distinct().order_by(rule.key).limit(_LOOKED_AT)
        with engine.connect() as connection:
            keys = values_of(connection, window)
        while keys:
            with engine.connect() as connection:
                some = select(rule.key).where(rule.key.in_(keys), rule.goes).distinct()
                going = values_of(connection, some)
            yield
            for start in range(0, len(going), rule.at_a_time):
                item.add(_remove(engine, rule, going[start : start + rule.at_a_time]))
                yield
            with engine.connect() as connection:
                keys = values_of(connection, window.where(rule.key > keys[-1]))


def _remove(engine: Engine, rule: Rule, keys: list[Any]) -> int:
    """Remove the rows of some keys, but for those that somebody else holds or has changed."""
    primary = list(rule.table.primary_key.columns)
    with short_transaction(engine) as connection:
        rows = select(*primary).where(rule.key.in_(keys), rule.goes)
        free = connection.execute(rows.with_for_update(skip_locked=True, of=rule.table)).all()
        if free:
            of_row = tuple_(*primary).in_([tuple(row) for row in free])
            connection.execute(rule.table.delete().where(of_row))
    return len(free)


def survey_rules(
    engine: Engine, chosen: Iterable[Rule], item_of: Callable[[str], Item]
) -> Iterator[None]:
    """Count what the rules say, and remove nothing.

    Yields:
        After each statement.
    """
    for rule in chosen:
        row_size = func.pg_column_size(literal_column(f'"{rule.table.name}"'))
        size = rule.size if rule.size is not None else row_size
        moment = func.min(rule.moment) if rule.moment is not None else null()
        query = select(func.count(), moment, func.sum(size)).select_from(rule.table)
        with engine.connect() as connection:
            rows, oldest, total = row_of(connection, query.where(rule.goes))
        item_of(rule.what).add(rows, oldest, int(total or 0))
        yield
