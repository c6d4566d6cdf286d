"""What is said of nodes whose schema their own config does not decide (R-015), and its mend."""

from collections.abc import Iterator, Sequence
from typing import Final

from dagster_apollo.dbt.manifest import SchemaFinding
from dagster_apollo.settings import TenantSettings
from dagster_apollo.tenant_root import PROJECT_FILE
from dagster_apollo.tenants import Tenant

_SHOWN: Final = 20
_MACRO: Final = (
    "Let the project's generate_schema_name take `+schema:` as it is (docs/configure.md, Schemas)"
)


def unrouted_message(settings: TenantSettings, findings: Sequence[SchemaFinding]) -> str:
    """Which nodes they are, the lines to add, and the variable that decides instead."""
    tenant = settings.tenant
    who = f"Tenant {tenant.name}, target {settings.target}"
    shown = [f"  {finding}" for finding in findings[:_SHOWN]]
    if len(findings) > _SHOWN:
        shown.append(f"  ... and {len(findings) - _SHOWN:,} more")
    lines = [f"  {line}" for line in schema_lines(findings)]
    add = [f"Add to {tenant.project_dir / PROJECT_FILE}:", *lines] if lines else []
    return "\n".join(
        [
            f"{who}: the schema of {len(findings)} node(s) is not decided by their config:",
            *shown,
            *add,
            f"{_MACRO}, or set {schema_variable(tenant)}, to put all into one schema.",
        ]
    )


def schema_lines(findings: Sequence[SchemaFinding]) -> Iterator[str]:
    """The lines of dbt_project.yml that give schemas to nodes which have none.

    A node that has one, with something put before it, needs a macro instead.
    """
    kinds: dict[str, dict[str, None]] = {}
    for finding in findings:
        if not finding.schema:
            kind, package, _ = finding.unique_id.split(".", 2)
            kinds.setdefault(f"{kind}s", {})[package] = None
    for kind, packages in kinds.items():
        inner = ", ".join(f"{package}: {{+schema: NAME}}" for package in packages)
        yield f"{kind}: {{{inner}}}"


def schema_variable(tenant: Tenant) -> str:
    """The variable to set, which has the tenant's prefix where several share an environment."""
    return f"{tenant.variable_prefix}DBT_SCHEMA (DBT_SCHEMA, if it is the only tenant)"
