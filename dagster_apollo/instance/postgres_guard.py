"""Whether the installed Dagster is one that Apollo's Postgres storage was written for."""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from dagster import DagsterInstance
from dagster._core.instance.runs.run_domain import RunDomain
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)

VERSIONS: Final[Mapping[str, str]] = {"dagster": "1.13.", "dagster-postgres": "0.29."}
_URL: Final = ("self", "postgres_url", "should_autocreate_tables", "inst_data", "token_provider")
_WEB: Final = ("self", "statement_timeout", "pool_recycle", "max_overflow")
OVERRIDDEN: Final[tuple[tuple[type, str, tuple[str, ...]], ...]] = (
    (PostgresEventLogStorage, "__init__", _URL),
    (PostgresEventLogStorage, "_connect", ("self",)),
    (PostgresEventLogStorage, "_event_to_row", ("self", "event")),
    (PostgresEventLogStorage, "_tags_for_asset_event", ("self", "event")),
    (PostgresEventLogStorage, "has_table", ("self", "table_name")),
    (PostgresEventLogStorage, "has_asset_key_col", ("self", "column_name")),
    (PostgresEventLogStorage, "get_asset_records", ("self", "asset_keys")),
    (PostgresEventLogStorage, "store_event", ("self", "event")),
    (PostgresEventLogStorage, "store_event_batch", ("self", "events")),
    (PostgresEventLogStorage, "register_instance", ("self", "instance")),
    (PostgresEventLogStorage, "optimize_for_webserver", _WEB),
    (PostgresRunStorage, "__init__", _URL),
    (PostgresRunStorage, "connect", ("self",)),
    (PostgresRunStorage, "_has_snapshot_id", ("self", "snapshot_id")),
    (PostgresRunStorage, "has_execution_plan_snapshot", ("self", "execution_plan_snapshot_id")),
    (PostgresRunStorage, "handle_run_event", ("self", "run_id", "event", "update_timestamp")),
    (PostgresRunStorage, "optimize_for_webserver", _WEB),
    (PostgresScheduleStorage, "__init__", _URL),
    (PostgresScheduleStorage, "connect", ("self", "run_id")),
    (PostgresScheduleStorage, "optimize_for_webserver", _WEB),
    (DagsterPostgresStorage, "__init__", _URL),
    (
        RunDomain,
        "ensure_persisted_execution_plan_snapshot",
        ("self", "execution_plan_snapshot", "job_snapshot_id", "step_keys_to_execute"),
    ),
    (DagsterInstance, "_get_event_batch_size", ("self",)),
)
"""What is overridden or called, and the parameters that it was seen to have."""


def why_unsupported(
    version_of: Callable[[str], str] = version,
    names: tuple[tuple[type, str, tuple[str, ...]], ...] = OVERRIDDEN,
) -> str | None:
    """Why stock's storage must be used instead; None where Apollo's can be.

    Args:
        version_of: gives the installed version of a package.
        names: what must be there.
    """
    for package, prefix in VERSIONS.items():
        found = version_of(package)
        if not found.startswith(prefix):
            return f"{package} is {found}, and known are {prefix}x"
    for owner, name, parameters in names:
        member: Any = getattr(owner, name, None)
        if member is None:
            return f"{owner.__name__} has no {name}"
        if tuple(inspect.signature(member).parameters) != parameters:
            return f"{owner.__name__}.{name} takes other parameters than it did"
    return None
