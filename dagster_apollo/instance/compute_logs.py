"""Where compute logs are kept: Postgres, or S3 where APOLLO_COMPUTE_LOGS_S3_BUCKET says so.

dagster.yaml names it, without any configuration, for the reason that instance/storage.py gives.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any, Final

from dagster._core.storage.compute_log_manager import ComputeLogManager
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from dagster_apollo.contract import ComputeLogEnvironment
from dagster_apollo.instance.log_helpers import keep_helpers_ignorant
from dagster_apollo.instance.postgres_logs.manager import PostgresComputeLogManager
from dagster_apollo.settings import load_compute_logs, load_process

_UPLOAD_EVERY_SECONDS: Final = 10


class ComputeLogs(ComputeLogManager, ConfigurableClass):
    """Chooses the manager; it is never instantiated itself."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> ComputeLogManager:
        """Make the manager that the environment asks for.

        Without a database it is Dagster's own, which keeps files in the instance directory.

        Raises:
            ConfigurationError: one of the variables is not valid.
        """
        keep_helpers_ignorant()
        process, logs = load_process(), load_compute_logs()
        if logs.apollo_compute_logs_s3_bucket:
            return _s3(logs.apollo_compute_logs_s3_bucket, logs, inst_data)
        if process.dagster_pg_uri:
            return PostgresComputeLogManager(
                process.dagster_pg_uri, logs.apollo_compute_logs_max_bytes, inst_data
            )
        return LocalComputeLogManager(
            os.fspath(process.dagster_home / "storage"), inst_data=inst_data
        )


def _s3(
    bucket: str, logs: ComputeLogEnvironment, inst_data: ConfigurableClassData | None
) -> ComputeLogManager:
    """dagster-aws' manager. boto3 finds the credentials by itself, in AWS_ variables or a role."""
    import boto3  # type: ignore[import-untyped]
    from dagster_aws.s3.compute_log_manager import S3ComputeLogManager

    region = logs.apollo_compute_logs_s3_region
    if region and not boto3.DEFAULT_SESSION:
        # S3ComputeLogManager (0.29) uses its region for links alone, not for its client.
        boto3.setup_default_session(region_name=region)
    directory = tempfile.mkdtemp(prefix="apollo-compute-logs-")  # for nobody else to read
    manager = S3ComputeLogManager(
        bucket=bucket,
        local_dir=directory,
        inst_data=inst_data,
        prefix=logs.apollo_compute_logs_s3_prefix,
        endpoint_url=logs.apollo_compute_logs_s3_endpoint_url,
        upload_interval=_UPLOAD_EVERY_SECONDS,
        region=region,
    )
    weakref.finalize(manager, shutil.rmtree, directory, ignore_errors=True)
    return manager
