"""What dbt said was wrong, from the JSON lines that it writes, and what mends it."""

import json
import re
from typing import Final

from dagster_apollo.own_variables import SECRET_PREFIX, require_nameable
from dagster_apollo.tenant_config import CONFIG_FILE
from dagster_apollo.tenants import Tenant

UNREACHABLE: Final = (
    "A package cannot be fetched from here: let this host reach it (HTTPS_PROXY), or keep the "
    "package in the project and name it by `local:`. Then run `apollo prepare` again."
)
_LAST_LINES: Final = 20
_TRACEBACK: Final = "Traceback (most recent call last):"


def error_messages(output: bytes) -> str:
    """The errors in the output of a dbt command, indented.

    Args:
        output: JSON lines (DBT_LOG_FORMAT=json), with whatever else the process wrote among them.

    Returns:
        The messages of dbt's error events, without tracebacks; failing those, the end
        of the output.
    """
    lines = output.decode(errors="replace").splitlines()
    errors = [text for line in lines if (text := _error(line))]
    # dbt logs the traceback of an exception after its text
    told = [text for text in errors if not text.startswith(_TRACEBACK)]
    shown = list(dict.fromkeys(map(_without_frames, told or errors)))
    shown = shown or [line for line in lines if not line.startswith("{")][-_LAST_LINES:]
    return "\n".join(f"  {line}" for text in shown for line in text.splitlines())


def mend_of(messages: str, tenant: Tenant) -> str:
    """What to do about dbt's messages; where to give the variable, if it misses one."""
    config = tenant.folder / CONFIG_FILE
    if missing := re.search(r"Env var required but not provided: '(.*?)'", messages):
        return _mend_of_variable(missing[1], tenant)
    if re.search(r"Required var '.*' not found", messages):
        return f"Give the variable under `vars:` in {config}, then run `apollo prepare` again."
    if "External connection exception occurred" in messages:
        return UNREACHABLE
    if "Error checking out" in messages:
        return (
            f"{UNREACHABLE} A private repository needs a key (SSH_AUTH_SOCK or GIT_SSH_COMMAND in "
            f"this process's environment), or a token in its URL: env_var('{SECRET_PREFIX}NAME')."
        )
    if "No dbt_project.yml found at expected path" in messages:
        return (
            "A `local:` package of packages.yml is not where it says, as seen from the project's "
            "folder: bring it along, or correct the path. Then run `apollo prepare` again."
        )
    return "Correct the project and run `apollo prepare` again."


def _mend_of_variable(name: str, tenant: Tenant) -> str:
    if name.startswith(SECRET_PREFIX):
        return (
            f"Set {name} in the environment (where several tenants share one, as "
            f"{tenant.variable_prefix}{name}), then run `apollo prepare` again."
        )
    try:
        require_nameable(name)
    except ValueError as reason:
        return f"{name}: {reason}. Or give env_var() a default in the project."
    return (
        f"Give the variable in {tenant.folder / CONFIG_FILE}, then run `apollo prepare` again: its "
        "value under `env:`, or its name under `env_from:` and its value in the environment (where "
        f"several tenants share one, as {tenant.variable_prefix}{name})."
    )


def _error(line: str) -> str | None:
    """The message of an error event; None for any other line."""
    try:
        info = json.loads(line)["info"]
        return str(info["msg"]).strip() if info["level"] == "error" else None
    except (ValueError, KeyError, TypeError):
        return None


def _without_frames(text: str) -> str:
    """A message of which only the exceptions' own lines are left of the tracebacks in it."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        inside = line.startswith((_TRACEBACK, " ")) if inside else line.startswith(_TRACEBACK)
        if not inside:
            kept.append(line)
    return "\n".join(kept).strip()
