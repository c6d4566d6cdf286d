"""Settings in, profiles.yml out; never a value of the connection in it.

Each tenant gets a profiles.yml of its own with the targets local, dev and prod. All that a
Snowflake target needs is an `env_var()`, and the variables exist only in the environment of that
tenant's dbt process (`dbt_variables`), for the one target that was chosen: a target that was not
cannot be reached by naming it, and one tenant's dbt cannot read another tenant's key.
"""

import atexit
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from dagster_apollo.contract import DEFAULT_THREADS
from dagster_apollo.errors import ApolloError
from dagster_apollo.settings import TenantSettings

PROFILES_FILE: Final = "profiles.yml"
KEY_VARIABLE: Final = "DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY"
"""dbt scrubs values of variables so named from its logs; base64 DER is one line, as that needs."""
QUERY_TAG_VARIABLE: Final = "APOLLO_QUERY_TAG"
_LOCAL_SCHEMA: Final = "main"
_DIRECTORY = re.compile(r"^apollo-profiles-(\d+)-")

# A connection is retried after 0, 1, 4, 9 and 16 s on what Snowflake calls temporary (HTTP 5xx and
# 429, internal errors). Not on a refused login or any other database error: they do not get better,
# and repeated failures lock the user. connect_timeout would make each of the waits that long, so it
# is left out. A session stays open between a thread's statements
# (reuse_connections) but is not kept alive beyond that, or a hung dbt would hold it for ever.
_CONNECTOR: Final[Mapping[str, Any]] = {
    "connect_retries": 5,
    "retry_on_database_errors": False,
    "retry_all": False,
    "reuse_connections": True,
    "client_session_keep_alive": False,
}


def profile_of(settings: TenantSettings) -> dict[str, Any]:
    """The contents of a tenant's profiles.yml, as a mapping.

    Models' own configs decide the schema, so Snowflake targets say `schema: ""` (dbt requires the
    property) unless DBT_SCHEMA is set; on DuckDB `main` lets any project run.
    """

    def threads(target: str) -> int:
        return settings.threads if target == settings.target else DEFAULT_THREADS[target]

    local = {
        "type": "duckdb",
        "path": os.fspath(settings.paths.duckdb_file),
        "schema": settings.schema or _LOCAL_SCHEMA,
        "threads": threads("local"),
    }
    outputs = {
        "local": local,
        "dev": {**_snowflake_output(settings), "threads": threads("dev")},
        "prod": {**_snowflake_output(settings), "threads": threads("prod")},
    }
    return {settings.profile_name: {"target": settings.target, "outputs": outputs}}


def _snowflake_output(settings: TenantSettings) -> dict[str, Any]:
    connection = settings.snowflake
    output: dict[str, Any] = {"type": "snowflake"}
    for name in ("account", "user", "role", "warehouse", "database"):
        # as_text: dbt would read an all-digits name as a number
        output[name] = f"{{{{ env_var('SNOWFLAKE_{name.upper()}') | as_text }}}}"
    for name in ("host", "protocol"):
        if connection and getattr(connection, name):
            output[name] = f"{{{{ env_var('SNOWFLAKE_{name.upper()}') | as_text }}}}"
    if connection and connection.port:
        output["port"] = "{{ env_var('SNOWFLAKE_PORT') | as_number }}"
    return {
        **output,
        "private_key": f"{{{{ env_var('{KEY_VARIABLE}') }}}}",
        "schema": settings.schema or "",
        "query_tag": f"{{{{ env_var('{QUERY_TAG_VARIABLE}') | as_text }}}}",
        **_CONNECTOR,
    }


def dbt_variables(settings: TenantSettings, run_id: str | None = None) -> dict[str, str]:
    """What the tenant's dbt process needs in its environment for its profile to render.

    The result holds the private key: it goes to that one process and nowhere else.

    Args:
        settings: the tenant's settings.
        run_id: the Dagster run that dbt works for, named in the query tag.
    """
    connection = settings.snowflake
    if connection is None:
        return {}
    variables = {
        f"SNOWFLAKE_{name.upper()}": str(value)
        for name in ("account", "user", "role", "warehouse", "database", "host", "port", "protocol")
        if (value := getattr(connection, name))
    }
    variables[QUERY_TAG_VARIABLE] = query_tag(settings, run_id)
    variables[KEY_VARIABLE] = connection.private_key.base64_der if connection.private_key else ""
    return variables


def query_tag(settings: TenantSettings, run_id: str | None = None) -> str:
    """The Snowflake QUERY_TAG of a session: JSON, so that `parse_json(query_tag)` reads it."""
    tag = {"app": "apollo", "tenant": settings.tenant.name, "target": settings.target}
    if run_id:
        tag["dagster_run_id"] = run_id
    return json.dumps(tag, separators=(",", ":"))


class ProfilesDirectory:
    """A private temporary directory with one subdirectory and profiles.yml a tenant.

    It is removed when the process exits; what a killed process left behind is removed by the next
    one that starts.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, tenants: Sequence[TenantSettings]) -> "ProfilesDirectory":
        """Write the profiles of the tenants that this process serves.

        Raises:
            ApolloError: the temporary directory cannot be written; nothing is left behind.
        """
        root = None
        try:
            _remove_abandoned()
            root = Path(tempfile.mkdtemp(prefix=f"apollo-profiles-{os.getpid()}-"))  # mode 0700
            directory = cls(root)
            for settings in tenants:
                directory.of(settings).mkdir(mode=0o700)
                _write_private(directory.of(settings) / PROFILES_FILE, _dump(settings))
        except OSError as error:
            if root:
                shutil.rmtree(root, ignore_errors=True)
            # gettempdir() itself raises where no candidate can be written: mostly, the disk is full
            where = root.parent if root else tempfile.tempdir or "the temporary directory"
            raise ApolloError(
                f"{PROFILES_FILE} cannot be written below {where}: "
                f"{os.strerror(error.errno or 0)}. Make room there, or set TMPDIR to a private "
                "directory with room."
            ) from None
        atexit.register(directory.remove)
        return directory

    def of(self, settings: TenantSettings) -> Path:
        """The directory that is the tenant's DBT_PROFILES_DIR."""
        return self.root / settings.tenant.identifier

    def remove(self) -> None:
        """Remove the directory and all in it."""
        shutil.rmtree(self.root, ignore_errors=True)


def _dump(settings: TenantSettings) -> str:
    header = "# Written by Apollo when the process started; removed when it ends.\n"
    return header + yaml.safe_dump(profile_of(settings), sort_keys=False, allow_unicode=True)


def _write_private(path: Path, content: str) -> None:
    """Write a file that no one else can read and that is never seen half written."""
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _remove_abandoned() -> None:
    """Remove the directories of this user's processes that are no more."""
    for entry in Path(tempfile.gettempdir()).glob("apollo-profiles-*"):
        match = _DIRECTORY.match(entry.name)
        try:
            if match and entry.stat().st_uid == os.getuid() and not _is_alive(int(match[1])):
                shutil.rmtree(entry, ignore_errors=True)
        except (OSError, OverflowError):  # it vanished (another process was faster); no process id
            continue


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
