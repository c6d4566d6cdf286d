"""The instance's storage: Postgres where DAGSTER_PG_URI says so, else SQLite files.

dagster.yaml names it, without any configuration: Dagster hands an instance's configuration to run
workers on their command lines and shows it in its UI, so the URI must not become part of it. Each
process reads the environment instead.
"""

import os
from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from dagster_apollo.instance.remaining import resume_what_remains
from dagster_apollo.instance.tenant_tags import tag_tenants
from dagster_apollo.settings import load_process


class InstanceStorage(DagsterStorage[DagsterInstance], ConfigurableClass):
    """Chooses the storage; it is never instantiated itself."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],
    ) -> DagsterStorage[DagsterInstance]:
        """Open the storage that the environment names.

        Raises:
            ConfigurationError: DAGSTER_HOME, DAGSTER_PG_URI or APOLLO_STORAGE_WAIT_SECONDS is not
                valid.
        """
        process = load_process()
        if process.dagster_pg_uri:
            # dagster_postgres takes its time to import, and SQLite needs none of it
            from dagster_apollo.instance.postgres_contract import load_limits
            from dagster_apollo.instance.postgres_storage import open_postgres

            storage: DagsterStorage[DagsterInstance] = open_postgres(
                process.dagster_pg_uri.get_secret_value(),
                process.dagster_home,
                inst_data,
                load_limits(),
            )
        else:
            storage = DagsterSqliteStorage.from_local(os.fspath(process.dagster_home), inst_data)
        resume_what_remains(storage.run_storage)
        tag_tenants(storage.run_storage)
        return storage
