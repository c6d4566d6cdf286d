"""`apollo status`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.instance.database import DatabaseUnreachableError, engine_of
from dagster_apollo.instance.home import open_instance
from dagster_apollo.instance.schema import require_current
from dagster_apollo.settings import load_process, tenants_directory
from dagster_apollo.status.gather import gather
from dagster_apollo.status.model import RunState, Status, moment
from dagster_apollo.tenants import find_tenants

_MOST_LINES = 10
_STATEMENT_SECONDS = 30


def show_status(*, as_json: bool) -> int:
    """Show the state of the instance.

    Returns:
        0 where all is well, 1 where something is not.

    Raises:
        ApolloError: the environment is wrong, or the database cannot be used.
    """
    status = _read()
    if as_json:
        values = {**asdict(status), "problems": status.problems}
        print(json.dumps(values, indent=2, default=_text))  # noqa: T201
    else:
        _print(status)
    return 1 if status.problems else 0


def _read() -> Status:
    process = load_process()
    uri = process.dagster_pg_uri
    if uri is not None:
        require_current(uri)
    engine = engine_of(uri, statement_seconds=_STATEMENT_SECONDS) if uri else None
    tenants = find_tenants(tenants_directory(process))
    try:
        with open_instance(process.dagster_home) as instance:
            return gather(instance, engine, process.dagster_home, tenants)
    except SQLAlchemyError as error:
        if engine is None:
            raise
        raise DatabaseUnreachableError(error) from None
    finally:
        if engine is not None:
            engine.dispose()


def _text(value: object) -> object:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)


def _print(status: Status) -> None:
    console = Console(highlight=False, markup=False)
    for table in _tables(status):
        if table.row_count:
            console.print(table)
    console.print(f"{status.storage}: {decimal(status.database_bytes)}. {_retention(status)}")
    for problem in status.problems:
        console.print(f"! {problem}", style="bold red", soft_wrap=True)
    if not status.problems:
        console.print("All is well.", style="green")


def _tables(status: Status) -> Iterator[Table]:
    table = _table("services", "name", "up", "release", "last seen")
    for it in status.services:
        up = "yes" if it.is_up else "NO"
        table.add_row(it.service, it.name, up, it.release[:12], _age(it.seen, status.at))
    yield table
    yield _runs(f"in progress: {len(status.running)}", status.running, status.at)
    yield _runs(f"queued: {len(status.queued)}", status.queued, status.at)
    table = _table("tenants", "last run", "last success")
    for tenant in status.tenants:
        run = tenant.last_run
        last = f"{run.status.lower()}, {_age(run.since, status.at)}" if run else "none"
        success = _age(tenant.last_success, status.at) if tenant.last_success else "never"
        table.add_row(tenant.name, last, success)
    yield table
    table = _table(f"failing: {len(status.failing)}", "check", "severity", "run")
    for failing in status.failing[:_MOST_LINES]:
        table.add_row(failing.asset, failing.check or "", failing.severity, failing.run_id)
    yield table
    table = _table("next ticks", "due", "last")
    for schedule in status.schedules[:_MOST_LINES]:
        last = f"{schedule.last_status}, {_age(schedule.last, status.at)}" if schedule.last else ""
        table.add_row(schedule.name, moment(schedule.next) if schedule.next else "", last)
    yield table


def _runs(title: str, runs: Sequence[RunState], now: datetime) -> Table:
    table = _table(title, "job", "tenant", "since")
    for run in runs[:_MOST_LINES]:
        table.add_row(run.run_id, run.job, run.tenant or "", _age(run.since, now))
    return table


def _table(*titles: str) -> Table:
    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _age(then: datetime, now: datetime) -> str:
    """How long ago something was, in one unit."""
    seconds = max(0, int((now - then.astimezone(UTC)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _retention(status: Status) -> str:
    last = status.retention
    if last is None:
        return "Nothing was pruned yet."
    if last.error is not None:
        return f"Pruning failed at {moment(last.started)}."
    if last.ended is None:
        return f"Pruning since {moment(last.started)}."
    gone = ", ".join(f"{rows:,} {what}" for what, rows in last.removed.items())
    return f"Pruned at {moment(last.ended)}: {gone or 'nothing'}."
