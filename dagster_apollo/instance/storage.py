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
from dagster_postgres import DagsterPostgresStorage

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
            ConfigurationError: DAGSTER_HOME or DAGSTER_PG_URI is not valid.
        """
        process = load_process()
        if process.dagster_pg_uri:
            return DagsterPostgresStorage(
                process.dagster_pg_uri.get_secret_value(), inst_data=inst_data
            )
        return DagsterSqliteStorage.from_local(os.fspath(process.dagster_home), inst_data)
