"""What would keep a tenant from production; `apollo tenant check` shows it.

The project is parsed and loaded for target prod in an instance directory of its own, which is
removed afterwards. No warehouse is touched. Where the environment holds no connection to Snowflake,
stand-ins take its place, so that all but the connection is checked on a laptop, too.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final

from dagster_apollo import settings as settings_module
from dagster_apollo.checks import Check
from dagster_apollo.contract import KEY_VARIABLES, PRODUCTION
from dagster_apollo.dbt.prepare import NotPrepared, prepare_each
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ApolloError, ConfigurationError, TenantError
from dagster_apollo.runtime import Runtime, start
from dagster_apollo.settings import load_process
from dagster_apollo.tenant_config import CONFIG_FILE
from dagster_apollo.tenants import Tenant

_STAND_INS: Final[Mapping[str, str]] = {
    f"SNOWFLAKE_{name}": "not-known-here"
    for name in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")
}
_NOT_FOR_PARSING: Final = frozenset({*KEY_VARIABLES, "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"})


def readiness_checks(tenant: Tenant) -> Iterator[Check]:
    """All that would keep a tenant from production, each with its mend."""
    if tenant.fault is not None:
        yield Check(tenant.name, "files", "error", tenant.fault)
        return
    yield from _file_checks(tenant)
    yield from _variable_checks(tenant)
    yield from _project_checks(tenant)


def _file_checks(tenant: Tenant) -> Iterator[Check]:
    name, config = tenant.name, tenant.config
    if config.owners:
        yield Check(name, "owners", "ok", ", ".join(config.owners))
    else:
        mend = f"Name a team or a person under `owners:` in {CONFIG_FILE}."
        yield Check(name, "owners", "warning", "nobody is named for what has no owner", mend)
    yield Check(name, "schedule", "ok", f"{config.cron} ({config.timezone})")
    shipped = tenant.project_dir / "profiles.yml"
    if shipped.exists():
        yield Check(name, "profile", "ok", f"{shipped} is not used; Apollo writes its own")


def _variable_checks(tenant: Tenant) -> Iterator[Check]:
    """The environment as it is here; where production's is elsewhere, these are what it needs."""
    name = tenant.name
    try:
        environ = read_environment(PRODUCTION)
        served = load_process(environ).served
        if served and name not in served:
            yield Check(
                name,
                "APOLLO_TENANTS",
                "error",
                "leaves this tenant out: no process with this environment serves it",
                "Add it, or check it with the environment of the code server that serves it.",
            )
            return
        settings_module.load(environ, names=[name], target=PRODUCTION)
    except ConfigurationError as error:
        for problem in error.problems:
            yield Check(name, problem.variable, "error", problem.what, problem.mend)
    except TenantError as error:
        yield Check(name, "variables", "error", str(error))
    else:
        yield Check(name, "variables", "ok", f"all that target {PRODUCTION} needs are set")


def _project_checks(tenant: Tenant) -> Iterator[Check]:
    name = tenant.name
    with tempfile.TemporaryDirectory(prefix="apollo-check-") as home:
        try:
            runtime = start(environ=_environment(tenant, home), require_keys=False)
        except ApolloError as error:
            yield Check(name, "project", "error", f"was not parsed: {error}")
            return
        try:
            [outcome] = prepare_each(runtime.settings.tenants, runtime.profiles_dir, os.environ)
            if isinstance(outcome, NotPrepared):
                yield Check(name, "project", "error", outcome.reason)
                return
            yield Check(name, "project", "ok", f"dbt parses it for target {PRODUCTION}")
            yield Check(name, "schema routing", "ok", "each node's schema is named by its config")
            yield _definitions_check(name, runtime)
        finally:
            runtime.profiles.remove()


def _definitions_check(name: str, runtime: Runtime) -> Check:
    from dagster_apollo.dbt.code_location import build_definitions

    try:
        graph = build_definitions(runtime).get_repository_def().asset_graph
    except ApolloError as error:
        return Check(name, "definitions", "error", str(error))
    assets, checks = len(graph.materializable_asset_keys), len(graph.asset_check_keys)
    return Check(name, "definitions", "ok", f"{assets} assets, {checks} checks")


def _environment(tenant: Tenant, home: str) -> dict[str, str]:
    """This process's environment, with stand-ins for what it lacks, for this tenant alone."""
    given = read_environment(PRODUCTION)
    prefix = tenant.variable_prefix
    kept = {
        variable: value
        for variable, value in given.items()
        if value.strip() and variable.removeprefix(prefix) not in _NOT_FOR_PARSING
    }
    prefixed = any(variable.startswith(f"{prefix}SNOWFLAKE_") for variable in kept)
    stand_ins = {f"{prefix if prefixed else ''}{key}": it for key, it in _STAND_INS.items()}
    return {
        **stand_ins,
        **kept,
        "DBT_TARGET": PRODUCTION,
        f"{prefix}DBT_TARGET": PRODUCTION,
        "APOLLO_TENANTS": tenant.name,
        "DAGSTER_HOME": home,
        "DAGSTER_PG_URI": "",
    }
