"""`apollo doctor`."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dagster_apollo import settings as settings_module
from dagster_apollo.checks import (
    Check,
    configuration_checks,
    connection_check,
    process_checks,
    tenant_checks,
)
from dagster_apollo.errors import ApolloError

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def run_doctor(names: Sequence[str], *, connect: bool, target: str | None, as_json: bool) -> int:
    """Make every check and show the results.

    Returns:
        0, or 2 if a check ended in an error.
    """
    return show_checks(_all_checks(names, connect=connect, target=target), as_json=as_json)


def show_checks(checks: Sequence[Check], *, as_json: bool) -> int:
    """Show checks, as a table or as JSON.

    Returns:
        0, or 2 if a check ended in an error.
    """
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))  # noqa: T201
    else:
        _print(checks)
    return ApolloError.exit_code if any(check.status == "error" for check in checks) else 0


def _all_checks(names: Sequence[str], *, connect: bool, target: str | None) -> list[Check]:
    try:
        settings = settings_module.load(target=target)
        chosen = settings.of(names)
    except ApolloError as error:
        return configuration_checks(error)
    checks = process_checks(settings)
    for tenant in chosen:
        checks += tenant_checks(tenant)
        if connect:
            checks.append(connection_check(tenant))
    return checks


def _print(checks: Sequence[Check]) -> None:
    table = Table("", "tenant", "check", "finding and mend", show_lines=False, expand=False)
    for check in checks:
        text = Text(check.finding)
        if check.mend and check.status != "ok":
            text.append(f"\n{check.mend}", style="italic")
        status = Text(check.status, style=_STYLES[check.status])
        table.add_row(status, check.tenant or "", check.name, text)
    Console().print(table)
    counts = {status: sum(c.status == status for c in checks) for status in _STYLES}
    Console().print(", ".join(f"{count} {status}" for status, count in counts.items()))
