"""`apollo tenant`."""

import json

from rich.console import Console
from rich.table import Table

from dagster_apollo.settings import load_process, tenants_directory
from dagster_apollo.tenants import find_tenants


def list_tenants(*, as_json: bool) -> None:
    """Show the tenants that there are, without reading any credentials.

    Raises:
        ApolloError: the tenants' directory or a tenant's files are invalid.
    """
    found = find_tenants(tenants_directory(load_process()))
    if as_json:
        rows = [
            {
                "name": tenant.name,
                "project": tenant.project_name,
                "profile": tenant.profile_name,
                "path": str(tenant.project_dir),
                "cron": tenant.config.cron,
                "timezone": tenant.config.timezone,
            }
            for tenant in found
        ]
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    table = Table("tenant", "dbt project", "profile", "schedule in prod", "path")
    for tenant in found:
        table.add_row(
            tenant.name,
            tenant.project_name,
            tenant.profile_name or "-",
            f"{tenant.config.cron} {tenant.config.timezone}",
            str(tenant.project_dir),
        )
    Console().print(table)
