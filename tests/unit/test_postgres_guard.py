"""Apollo's Postgres storage is used with the Dagster that it was written for, and no other."""

import hashlib
import inspect

import pytest
from dagster import DagsterInstance
from dagster._core.execution.context.data_version_cache import DataVersionCache
from dagster._core.instance.methods.event_methods import EventMethods
from dagster._core.instance.runs.run_domain import RunDomain
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)

from dagster_apollo.instance.postgres_guard import why_unsupported

pytestmark = pytest.mark.unit

EQUALLED = {
    (SqlEventLogStorage, "_event_to_row"): "93d47fbe7edc",
    (SqlEventLogStorage, "_get_asset_entry_values"): "bb3b9df2c6c3",
    (SqlEventLogStorage, "_tags_for_asset_event"): "c5c3936a8de8",
    (SqlEventLogStorage, "_store_asset_event_tags"): "85d6f17ef04b",
    (SqlEventLogStorage, "_store_asset_check_evaluation_planned"): "bbecef7ab5ce",
    (SqlEventLogStorage, "_store_runless_asset_check_evaluation"): "6f98e740f38a",
    (SqlEventLogStorage, "_update_asset_check_evaluation"): "961fd6041447",
    (SqlEventLogStorage, "store_asset_check_event"): "6d148295fa69",
    (SqlEventLogStorage, "_event_insert_timestamp"): "02e6947ee3f9",
    (PostgresEventLogStorage, "store_event"): "4a2e37e5871b",
    (PostgresEventLogStorage, "store_event_batch"): "ff147ed514ba",
    (PostgresEventLogStorage, "_store_asset_event"): "2dc70ccdb0fe",
    (PostgresEventLogStorage, "index_transaction"): "d4018b0dade4",
    (PostgresEventLogStorage, "__init__"): "647dff00b58c",
    (PostgresRunStorage, "__init__"): "c20e1fcd1ee5",
    (PostgresScheduleStorage, "__init__"): "ac8f466b4e76",
    (DagsterPostgresStorage, "__init__"): "8e85b361f659",
    (SqlRunStorage, "handle_run_event"): "1c95c3b77926",
    (SqlRunStorage, "_add_snapshot"): "c2ff91180334",
    (SqlRunStorage, "add_execution_plan_snapshot"): "be8238fcdfee",
    (RunDomain, "ensure_persisted_execution_plan_snapshot"): "58a15e8febeb",
    (EventMethods, "handle_new_event"): "db900859da5b",
    (EventMethods, "_get_event_batch_size"): "92c419ba6dbe",
    (DataVersionCache, "_fetch_asset_records"): "c4593f46f0ca",
    (DataVersionCache, "_get_input_asset_event"): "30b78d3adc9c",
}
"""What is overridden, or done in another way, and the source that it was read in (1.13.27)."""


def test_the_installed_dagster_is_known() -> None:
    assert why_unsupported() is None


@pytest.mark.parametrize(("owner", "name"), EQUALLED)
def test_the_source_that_is_equalled_is_the_one_that_was_read(owner: type, name: str) -> None:
    """Where this fails: read what changed, follow it, then note the new digest."""
    source = inspect.getsource(getattr(owner, name))
    assert hashlib.sha256(source.encode()).hexdigest()[:12] == EQUALLED[owner, name]


@pytest.mark.parametrize("package", ["dagster", "dagster-postgres"])
def test_another_version_means_stock(package: str) -> None:
    known = {"dagster": "1.13.27", "dagster-postgres": "0.29.27", package: "2.0.0"}
    assert why_unsupported(known.__getitem__) == (
        f"{package} is 2.0.0, and known are {'1.13' if package == 'dagster' else '0.29'}.x"
    )


def test_a_name_that_is_gone_means_stock() -> None:
    gone = ((DagsterInstance, "_no_such_name", ("self",)),)
    assert why_unsupported(names=gone) == "DagsterInstance has no _no_such_name"


def test_other_parameters_mean_stock() -> None:
    changed = ((PostgresEventLogStorage, "store_event", ("self", "event", "more")),)
    assert why_unsupported(names=changed) == (
        "PostgresEventLogStorage.store_event takes other parameters than it did"
    )
