"""`apollo prune`."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from dagster_apollo.instance.home import open_instance
from dagster_apollo.instance.schema import require_current
from dagster_apollo.retention.contract import load_retention
from dagster_apollo.retention.prune import prune, recorded, run_through
from dagster_apollo.retention.report import Report
from dagster_apollo.retention.scope import open_scope
from dagster_apollo.settings import load_process


def run_prune(*, dry_run: bool, as_json: bool) -> None:
    """Say what is older than the policy allows, and remove it unless it is a dry run.

    Raises:
        ApolloError: the environment is wrong, or the database cannot be used.
    """
    policy, process = load_retention(), load_process()
    if process.dagster_pg_uri:
        require_current(process.dagster_pg_uri)
    with open_instance(process.dagster_home) as instance, open_scope(instance, policy) as scope:
        report = run_through(prune(scope, dry_run=True))
        if not as_json:
            _print(report)
        if not dry_run:
            report = run_through(recorded(scope, prune(scope)))
    if as_json:
        print(json.dumps([asdict(item) for item in report.items], indent=2, default=str))  # noqa: T201
    elif not dry_run:
        gone = ", ".join(f"{rows:,} {what}" for what, rows in report.rows.items())
        Console(highlight=False).print(f"Removed: {gone or 'nothing'}.", soft_wrap=True)


def _print(report: Report) -> None:
    table = Table("what goes", "rows", "oldest", "size")
    for column in table.columns[1:]:
        column.justify = "right"
    for item in report.items:
        table.add_row(
            item.what,
            f"{item.rows:,}",
            f"{item.oldest:%Y-%m-%d}" if item.rows and item.oldest else "",
            decimal(item.size) if item.rows and item.size is not None else "",
        )
    Console(highlight=False).print(table)
