"""The variables of a tenant's dbt: which are the host's or Apollo's, and which its own to name.

A tenant's apollo.yml may give its dbt variables (`env:`) and let some of this process's environment
pass (`env_from:`). Neither may decide what the host or Apollo decides, or carry a secret into Git.
"""

import re
from typing import Final

OWN_VARIABLE_PREFIX: Final = "DBT_ENV_"
"""What the names of a tenant's own variables begin with; dbt's convention, secrets included."""
SECRET_PREFIX: Final = "DBT_ENV_SECRET_"  # noqa: S105
"""dbt keeps values of variables so named out of its logs and its manifest."""

HOST_VARIABLES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
        *("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
        *("LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("GIT_SSL_CAINFO", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    }
)
"""What a process needs to run on this host; every tenant's dbt gets them."""
HOST_PREFIX: Final = "LC_"
PYTHON_VARIABLES: Final = frozenset({"PYTHONPATH", "VIRTUAL_ENV"})
"""Those of the host's that lead to Apollo's packages: none for a dbt of the tenant's own."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HOST_PREFIXES: Final = (HOST_PREFIX, "LD_", "DYLD_", "PYTHON")
_APOLLO_VARIABLES: Final = frozenset(
    {
        *("DBT_PROFILES_DIR", "DBT_PROFILE", "DBT_PROFILE_NAME", "DBT_PROJECT_DIR", "DBT_SCHEMA"),
        *("DBT_TARGET", "DBT_TARGET_PATH", "DBT_THREADS", "DBT_QUIET", "DBT_WRITE_JSON"),
        *("DBT_SEND_ANONYMOUS_USAGE_STATS", "DBT_USE_COLORS", "DBT_VERSION_CHECK", "DO_NOT_TRACK"),
        *("DAGSTER_HOME", "DAGSTER_PG_URI"),
    }
)
_DBT_FLAGS: Final = frozenset(
    {
        *("DBT_ARTIFACT_STATE_PATH", "DBT_CACHE_SELECTED_ONLY", "DBT_CLEAN_PROJECT_FILES_ONLY"),
        *("DBT_DEBUG", "DBT_DEFER", "DBT_DEFER_STATE", "DBT_DEFER_TO_STATE", "DBT_EMPTY"),
        *("DBT_EVENT_TIME_END", "DBT_EVENT_TIME_START", "DBT_EXCLUDE_RESOURCE_TYPES"),
        *("DBT_EXPORT_SAVED_QUERIES", "DBT_FAIL_FAST", "DBT_FAVOR_STATE"),
        *("DBT_FAVOR_STATE_MODE", "DBT_FULL_REFRESH", "DBT_INCLUDE_SAVED_QUERY"),
        *("DBT_INDIRECT_SELECTION", "DBT_INTROSPECT", "DBT_INVOCATION_ENV"),
        *("DBT_MACRO_DEBUGGING", "DBT_NO_PRINT", "DBT_PARTIAL_PARSE"),
        *("DBT_PARTIAL_PARSE_FILE_DIFF", "DBT_PARTIAL_PARSE_FILE_PATH", "DBT_POPULATE_CACHE"),
        *("DBT_PP_FILE_DIFF_TEST", "DBT_PP_TEST", "DBT_PRINT", "DBT_PRINTER_WIDTH"),
        *("DBT_RECORDED_FILE_PATH", "DBT_RESOURCE_TYPES", "DBT_SAMPLE"),
        *("DBT_SHOW_RESOURCE_REPORT", "DBT_SINGLE_THREADED"),
        *("DBT_SNOWFLAKE_CONNECTOR_DEBUG_LOGGING", "DBT_STATE", "DBT_STATIC_PARSER"),
        *("DBT_STORE_FAILURES", "DBT_TEST_SINGLE_THREADED", "DBT_TEST_STATE_MODIFIED"),
        *("DBT_UPLOAD_TO_ARTIFACTS_INGEST_API", "DBT_USE_COLORS_FILE"),
        *("DBT_USE_EXPERIMENTAL_PARSER", "DBT_USE_FAST_TEST_EDGES", "DBT_WARN_ERROR"),
        *("DBT_WARN_ERROR_OPTIONS",),
    }
)
"""Flags that dbt 1.10 and 1.11 take from the environment (dbt.env_vars; a test compares). They
decide what is parsed, selected and built, which has to be the same in all that Apollo starts. Where
packages come from (DBT_PACKAGE_HUB_URL, DBT_DOWNLOAD_DIR) and the address that `dbt docs serve`
listens at (DBT_HOST) decide nothing of that; any other DBT_ name is a project's own."""
_PLATFORM_PREFIXES: Final = (
    *("AWS_", "DAGSTER_", "PG", "POSTGRES", "RENDER_", "DATABASE_URL"),
    "UV_",  # of package indexes
)
_APOLLO_PREFIXES: Final = ("SNOWFLAKE_", "APOLLO_")
_DBT_FLAG_PREFIXES: Final = ("DBT_ENGINE_", "DBT_LOG_", "DBT_RECORDER_")


def is_host_variable(name: str) -> bool:
    """Whether every tenant's dbt gets the variable as this process has it."""
    return name in HOST_VARIABLES or name.startswith(HOST_PREFIX)


def is_platform_variable(name: str) -> bool:
    """Whether a variable of this name may be a credential of Apollo's own: logs in S3, Postgres.

    Such a one passes to a tenant's dbt only with the tenant's prefix, which says that it is meant.
    """
    return name.startswith(_PLATFORM_PREFIXES)


def require_nameable(name: str) -> str:
    """Check that apollo.yml may name a variable, whether to set it or to let it pass.

    Returns:
        The name.

    Raises:
        ValueError: it may not; the text says why and what to do, and holds no value.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("not a variable's name; take letters, digits and _, no digit first")
    if name in HOST_VARIABLES or name.startswith(_HOST_PREFIXES):
        raise ValueError("the host decides this one; set it in the environment of Apollo's process")
    if name in _APOLLO_VARIABLES or name.startswith(_APOLLO_PREFIXES):
        raise ValueError("Apollo decides this one; take another name (docs/configure.md)")
    if name in _DBT_FLAGS or name.startswith(_DBT_FLAG_PREFIXES):
        raise ValueError("a flag of dbt itself; set it under `flags:` in dbt_project.yml")
    return name


def require_settable(name: str) -> str:
    """Check that `env:` may set a variable.

    Raises:
        ValueError: as `require_nameable`, or the name is one of a secret.
    """
    if name.startswith(SECRET_PREFIX):
        raise ValueError("secrets come from the environment only; remove it here and set it there")
    return require_nameable(name)


def require_passable(name: str) -> str:
    """Check that `env_from:` may let a variable pass.

    Raises:
        ValueError: as `require_nameable`, or the variable passes without being named.
    """
    if name.startswith(OWN_VARIABLE_PREFIX):
        raise ValueError(f"{OWN_VARIABLE_PREFIX} variables pass by themselves; remove it")
    if "__" in name or name.startswith("_"):
        raise ValueError("two underscores end a tenant's prefix; name the variable without one")
    return require_nameable(name)
