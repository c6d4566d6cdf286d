"""The tenants' pools: their limits, and a queue that one tenant cannot fill for the others."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, job, op
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.instance.pools import set_pool_limits
from tests.integration.conftest import environment

pytestmark = pytest.mark.integration


@pytest.fixture
def instance(migrated_uri: str, tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance of production."""
    variables = {"DAGSTER_PG_URI": migrated_uri, "DAGSTER_HOME": str(tmp_path)}
    with environment(variables), open_instance(tmp_path, RELEASE_CONFIG) as opened:
        yield opened


def limits(instance: DagsterInstance) -> dict[str, int]:
    return {it.name: it.limit for it in instance.event_log_storage.get_pool_limits()}


def test_limits_are_set_and_set_anew_and_others_stay(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.event_log_storage.set_concurrency_slots("somebodys", 7)
    set_pool_limits(instance, {"acme_dbt": 3, "zenith_dbt": 1})
    assert limits(instance) == {"somebodys": 7, "acme_dbt": 3, "zenith_dbt": 1}
    changed: list[str] = []
    stock = instance.event_log_storage.set_concurrency_slots
    monkeypatch.setattr(
        instance.event_log_storage,
        "set_concurrency_slots",
        lambda pool, limit: (changed.append(pool), stock(pool, limit)),
    )
    set_pool_limits(instance, {"acme_dbt": 1, "zenith_dbt": 1})
    assert changed == ["acme_dbt"]
    assert limits(instance) == {"somebodys": 7, "acme_dbt": 1, "zenith_dbt": 1}


def queue(instance: DagsterInstance, tenant: str, runs: int) -> None:
    @op(pool=f"{tenant}_dbt")
    def build() -> None: ...

    @job(name=f"{tenant}_build")
    def _job() -> None:
        build()

    server = GrpcServerCodeLocationOrigin(host="localhost", port=1)  # nothing is launched
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), _job.name)
    for _ in range(runs):
        instance.create_run_for_job(_job, status=DagsterRunStatus.QUEUED, remote_job_origin=origin)


@pytest.mark.parametrize("places", [1, 3])
def test_a_tenant_that_floods_the_queue_takes_no_more_than_its_places(
    places: int, instance: DagsterInstance
) -> None:
    set_pool_limits(instance, {"flood_dbt": places})
    for tenant, runs in (("flood", 12), ("acme", 1), ("zenith", 1)):
        queue(instance, tenant, runs)
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1, page_size=10)
    chosen = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    jobs = Counter(run.job_name for run in chosen)
    # four runs may execute at once: with three of them the flood leaves one to the next in line
    others = {"acme_build": 1, "zenith_build": 1} if places == 1 else {"acme_build": 1}
    assert jobs == {"flood_build": places, **others}
