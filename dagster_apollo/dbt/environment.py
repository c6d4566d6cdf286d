"""The environment of a tenant's dbt process: built from a list, never copied.

dbt can run Python and prints what Jinja reads, so whatever is in its environment has to be taken
as readable by the project. It gets what a process needs to run on this host, the tenant's own
variables and the tenant's own credentials, and nothing of Apollo's, Dagster's or another tenant's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dagster_apollo.profiles import dbt_variables
from dagster_apollo.settings import TenantSettings

_HOST_VARIABLES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
        *("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
        *("LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("GIT_SSL_CAINFO", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    }
)


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
    inherited = {
        name: value
        for name, value in host.items()
        if name in _HOST_VARIABLES or name.startswith("LC_")
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
