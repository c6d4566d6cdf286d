"""`apollo tenant`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from dagster_apollo import settings as settings_module
from dagster_apollo.checks import Check
from dagster_apollo.cli.doctor import show_checks
from dagster_apollo.dbt.digest import read_digest
from dagster_apollo.dbt.manifest import asset_nodes
from dagster_apollo.dbt.prepare import check_freshness, digest_path, last_failure
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.home import CONFIG_FILE
from dagster_apollo.lineage import tenants_read
from dagster_apollo.scaffold import create_project
from dagster_apollo.settings import TenantSettings, load_process, tenants_directory
from dagster_apollo.tenants import Tenant, find_tenants, select_tenants
from dagster_apollo.touched import tenants_touched_since


@dataclass(frozen=True)
class _LastRun:
    """The latest run of a tenant, as the instance has it."""

    run_id: str
    job: str
    status: str
    started: str | None


def new_tenant(name: str) -> None:
    """Write the project of a new tenant, and say what to do with it.

    Raises:
        ApolloError: the name is not usable or taken, or the folder cannot be written.
    """
    folder = create_project(tenants_directory(load_process()), name)
    console = Console(highlight=False)
    console.print(f"Tenant {name}: {folder}", soft_wrap=True)
    console.print(f"  apollo build {name}         builds it, on DuckDB")
    console.print(f"  apollo tenant check {name}  says what is missing for production")


def check_tenants(names: Sequence[str], *, as_json: bool) -> int:
    """Show all that would keep tenants from production.

    Returns:
        0, or 2 if there is something.

    Raises:
        ApolloError: the tenants' directory or a tenant's files are invalid.
    """
    from dagster_apollo.readiness import readiness_checks

    found = find_tenants(tenants_directory(load_process()))
    checks: list[Check] = []
    for tenant in select_tenants(found, names):
        checks += readiness_checks(tenant)
    return show_checks(checks, as_json=as_json)


def list_tenants(*, as_json: bool, changed_since: str | None = None) -> None:
    """Show the tenants that there are, without reading any private key.

    Args:
        as_json: print what is known of them as JSON.
        changed_since: a commit of Git: show only those that changes since then touch.

    Raises:
        ApolloError: the tenants' directory or a tenant's files are invalid, or Git does not know
            the commit.
    """
    folder = tenants_directory(load_process())
    found = find_tenants(folder)
    by_prefix = {it.key_prefix: it.name for it in found}
    reads = {it.name: sorted(by_prefix.get(key, key) for key in tenants_read(it)) for it in found}
    if changed_since is not None:
        names = tenants_touched_since(changed_since, found, checkout=folder, tenants_dir=folder)
        found = tuple(it for it in found if it.name in names)
    served = _served()
    runs = dict(_last_runs(found))
    rows = [
        {
            **_row(tenant, served.get(tenant.name), runs.get(tenant.name)),
            "reads": reads[tenant.name],
        }
        for tenant in found
    ]
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    table = Table()
    for title in ("tenant", "nodes", "target", "prepared"):
        table.add_column(title, no_wrap=True)
    for title in ("last run", "schedule in prod", "root"):
        table.add_column(title, overflow="fold")  # nothing is cut off, however narrow it is
    for row in rows:
        run = row["last_run"]
        table.add_row(
            row["name"],
            "-" if row["nodes"] is None else f"{row['nodes']:,}",
            row["target"] or "-",
            row["prepared"] or "-",
            f"{run['status'].lower()}\n{run['started'] or ''}" if run else "-",
            f"{row['cron']} {row['timezone']}",
            row["root"],
        )
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table, soft_wrap=False)
    for row in rows:
        if row["fault"]:
            console.print(f"{row['name']}: {row['fault']}")


def _row(tenant: Tenant, settings: TenantSettings | None, run: _LastRun | None) -> dict[str, Any]:
    return {
        "name": tenant.name,
        "project": tenant.project_name,
        "profile": tenant.profile_name,
        "path": str(tenant.folder),
        "root": str(tenant.project_dir),
        "cron": tenant.config.cron,
        "timezone": tenant.config.timezone,
        "target": settings and settings.target,
        "nodes": settings and _nodes(settings),
        "prepared": settings and _prepared(settings),
        "last_run": run and asdict(run),
        "fault": tenant.fault,
    }


def _served() -> Mapping[str, TenantSettings]:
    """Settings by name; none where the environment is not complete, which `doctor` explains."""
    try:
        loaded = settings_module.load(require_keys=False)
    except ApolloError:
        return {}
    return {item.tenant.name: item for item in loaded.tenants}


def _nodes(settings: TenantSettings) -> int | None:
    """The models, seeds and snapshots of the last preparation."""
    try:
        return sum(1 for _ in asset_nodes(read_digest(digest_path(settings))))
    except ApolloError:
        return None


def _prepared(settings: TenantSettings) -> str:
    if check_freshness(settings).is_fresh:
        return "fresh"
    return "failed" if settings.tenant.fault or last_failure(settings) else "stale"


def _last_runs(tenants: Sequence[Tenant]) -> Iterator[tuple[str, _LastRun]]:
    """The latest run of each tenant that has one; none where there is no instance yet."""
    process = load_process()
    if not (process.dagster_home / CONFIG_FILE).exists():
        return
    # Dagster takes a second to import, and there is nothing to ask it before the first run
    from dagster import RunsFilter

    from dagster_apollo.instance.home import open_instance

    with open_instance(process.dagster_home) as instance:
        for tenant in tenants:
            chosen = RunsFilter(tags={"apollo/tenant": tenant.name})
            for record in instance.get_run_records(chosen, limit=1):
                began = record.start_time
                yield (
                    tenant.name,
                    _LastRun(
                        record.dagster_run.run_id,
                        record.dagster_run.job_name,
                        record.dagster_run.status.value,
                        datetime.fromtimestamp(began, UTC).isoformat(timespec="minutes")
                        if began
                        else None,
                    ),
                )
