"""What the release's dagster.yaml makes of an instance."""

from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler.instigation import TickStatus

from dagster_apollo.instance.home import RELEASE_CONFIG, ensure_home, open_instance
from dagster_apollo.instance.launcher import CodeServerRunLauncher
from dagster_apollo.instance.postgres_logs.manager import PostgresComputeLogManager
from tests.integration.conftest import environment

pytestmark = pytest.mark.integration


@pytest.fixture
def instance(migrated_uri: str, tmp_path: Path, apollo_env):
    env = apollo_env(tmp_path, DAGSTER_PG_URI=migrated_uri)
    with (
        environment(env),
        open_instance(Path(env["DAGSTER_HOME"]), RELEASE_CONFIG) as instance,
    ):
        yield instance


def test_production_queues_monitors_and_keeps_logs_in_postgres(instance: DagsterInstance) -> None:
    assert isinstance(instance.run_launcher, CodeServerRunLauncher)
    assert isinstance(instance.compute_log_manager, PostgresComputeLogManager)
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 4
    assert (queue.max_user_code_failure_retries, queue.user_code_failure_retry_delay) == (40, 15)
    pools = instance.get_concurrency_config().pool_config
    assert (str(pools.pool_granularity), pools.default_pool_limit) == (
        "PoolGranularity.RUN",
        1,
    )
    assert instance.run_monitoring_enabled
    assert instance.run_launcher.supports_check_run_worker_health
    assert instance.run_monitoring_start_timeout_seconds == 600
    assert not instance.run_retries_enabled
    assert not instance.telemetry_enabled


def test_production_forgets_old_ticks(instance: DagsterInstance) -> None:
    def days(kind: InstigatorType) -> dict[TickStatus, int]:
        return dict(instance.get_tick_retention_settings(kind))

    assert set(days(InstigatorType.SCHEDULE).values()) == {90}
    sensor = days(InstigatorType.SENSOR)
    assert (sensor[TickStatus.SKIPPED], sensor[TickStatus.FAILURE]) == (7, 30)


def test_the_releases_configuration_replaces_another_and_a_laptops_stays(tmp_path: Path) -> None:
    config = ensure_home(tmp_path / "home") / "dagster.yaml"
    config.write_text("# mine\n")
    ensure_home(tmp_path / "home")
    assert config.read_text() == "# mine\n"
    ensure_home(tmp_path / "home", RELEASE_CONFIG)
    assert config.read_bytes() == RELEASE_CONFIG.read_bytes()
