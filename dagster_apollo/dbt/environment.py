"""The environment of a tenant's dbt process: built from a list, never copied.

dbt can run Python and prints what Jinja reads, so whatever is in its environment has to be taken
as readable by the project. It gets what a process needs to run on this host, the tenant's own
variables and the tenant's own credentials, and nothing of Apollo's, Dagster's or another tenant's.
"""

from collections.abc import Mapping
from pathlib import Path

from dagster_apollo.own_variables import PYTHON_VARIABLES, is_host_variable
from dagster_apollo.profiles import dbt_variables
from dagster_apollo.settings import TenantSettings


def dbt_environment(
    settings: TenantSettings,
    profiles_dir: Path,
    host: Mapping[str, str],
    *,
    run_id: str | None = None,
) -> dict[str, str]:
    """The whole environment of one dbt process.

    Args:
        settings: the tenant's settings.
        profiles_dir: the directory of the tenant's profiles.yml.
        host: the environment of this process, of which only the listed variables are taken.
        run_id: the Dagster run that dbt works for.
    """
    left_out = PYTHON_VARIABLES if settings.tenant.config.requirements else frozenset()
    inherited = {
        name: value
        for name, value in host.items()
        if is_host_variable(name) and name not in left_out
    }
    return {
        **inherited,
        **settings.own_variables,
        **dbt_variables(settings, run_id),
        "DBT_PROFILES_DIR": str(profiles_dir),
        "DBT_PROFILE": settings.profile_name,
        "DBT_TARGET": settings.target,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_USE_COLORS": "false",
        "DBT_VERSION_CHECK": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
