"""Runs that the platform ends: known to be dead, with the reason, and resumed by themselves."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeDatabase,
    MakeEnvironment,
    OpenHome,
    RunApollo,
)
from tests.integration.services import (
    FOR_EVER,
    Control,
    Services,
    control,
    dbt_processes,
    free_port,
    run_workers,
    wait_until,
)

pytestmark = pytest.mark.integration

# Its rows are there before it is done: what is killed meanwhile has to be repeated.
SLOW_END = """
{{{{ config(materialized='incremental', unique_key='id', post_hook={{
    'sql': 'select sum(a.range * b.range) from range(3000000) a, range({}) b',
    'transaction': False}}) }}}}
select 1 as id union all select 2
"""


@pytest.fixture(scope="module")
def prepared(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, run_apollo: RunApollo
) -> dict[str, str]:
    """A tenant that is prepared for the services."""
    env = apollo_env(copy_tenants(dbt_small=SMALL), DAGSTER_PG_URI="")
    model(env).write_text(SLOW_END.format(FOR_EVER))
    assert run_apollo(["prepare"], env).returncode == 0
    return env


@pytest.fixture(scope="module")
def daemon(
    prepared: dict[str, str],
    make_database: MakeDatabase,
    _migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Services]:
    """A daemon and a code server, which is started again by the tests that end it."""
    env = {
        **prepared,
        "DAGSTER_PG_URI": make_database(_migrated_template),
        "APOLLO_CODE_SERVER": f"127.0.0.1:{free_port()}",
        "APOLLO_HEARTBEAT_SECONDS": "1",
    }
    services = Services(env, tmp_path_factory.mktemp("services"))
    services.daemon()
    services.code_server()
    yield services
    services.close()


@pytest.fixture
def services(daemon: Services, open_home: OpenHome) -> Iterator[Services]:
    """The services, with a model that does not come to an end."""
    model(daemon.env).write_text(SLOW_END.format(FOR_EVER))
    yield daemon
    with open_home(daemon.env) as instance:  # a test that fails may leave runs
        for run in instance.get_runs(RunsFilter(statuses=NOT_FINISHED_STATUSES)):
            instance.report_run_canceled(run)
    wait_until(lambda: not dbt_processes(daemon.env), 40)


@pytest.fixture
def ui(services: Services, open_home: OpenHome) -> Iterator[Control]:
    with open_home(services.env) as instance, control(instance) as ui:
        yield ui


def model(env: dict[str, str]) -> Path:
    return Path(env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "slow.sql")


def let_it_end(services: Services) -> None:
    model(services.env).write_text(SLOW_END.format(1))


def is_in_its_post_hook(services: Services, run_id: str) -> bool:
    runs = Path(services.env["DAGSTER_HOME"], "tenants", "small", "runs")
    log = runs / run_id / "dbt.log"
    return log.exists() and f"range({FOR_EVER}) b" in log.read_text()


def slow_run(services: Services, ui: Control, run_id: str = "") -> str:
    """A run that has built everything but for the end of one model."""
    run_id = run_id or ui.launch()
    wait_until(lambda: is_in_its_post_hook(services, run_id))
    wait_until(lambda: len(built(ui.instance, run_id)) == 4)
    return run_id


def built(instance: DagsterInstance, *run_ids: str) -> Counter[str]:
    """How often each asset was materialized by some runs."""
    keys = [
        entry.get_dagster_event().asset_key
        for run_id in run_ids
        for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    ]
    return Counter(key.path[-1] for key in keys if key)


def child_of(ui: Control, run_id: str) -> DagsterRun:
    """The one run that goes on with another."""
    child: list[DagsterRun] = wait_until(
        lambda: ui.instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": run_id}))
    )
    assert len(child) == 1
    return child[0]


def error_of(ui: Control, run_id: str) -> str:
    """What the step of a run failed with."""
    (event,) = ui.instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)
    return event.get_dagster_event().step_failure_data.error_display_string


def rows(services: Services) -> int:
    file = Path(services.env["DAGSTER_HOME"], "tenants", "small", "small.duckdb")
    with duckdb.connect(str(file), read_only=True) as warehouse:
        return int(warehouse.execute("select count(*) from marts.slow").fetchall()[0][0])


def test_what_is_killed_from_outside_is_gone_on_with_until_it_is_done(
    services: Services, ui: Control
) -> None:
    first = slow_run(services, ui)
    os.kill(run_workers(services.env)[0], signal.SIGKILL)
    assert ui.ends(first) is DagsterRunStatus.FAILURE
    assert "killed from outside by signal 9 (SIGKILL)" in ui.messages(first)
    assert rows(services) == 2  # the lock is free: nothing of the first is left

    second = child_of(ui, first)
    wait_until(lambda: is_in_its_post_hook(services, second.run_id))
    let_it_end(services)
    os.kill(dbt_processes(services.env)[0], signal.SIGKILL)
    assert ui.ends(second.run_id) is DagsterRunStatus.FAILURE
    assert "dbt was killed from outside by signal 9 (SIGKILL)" in error_of(ui, second.run_id)

    third = child_of(ui, second.run_id)
    assert ui.ends(third.run_id) is DagsterRunStatus.SUCCESS
    assert third.root_run_id == first
    assert third.parent_run_id == second.run_id
    assert third.tags["dagster/retry_number"] == "2"
    assert third.tags["apollo/resumed"] == "automatically"
    assert "apollo/interrupted" not in third.tags
    every = built(ui.instance, first, second.run_id, third.run_id)
    assert set(every.values()) == {1}
    assert len(every) == 5
    assert rows(services) == 2
