"""Runs that the platform ends: known to be dead, with the reason, and resumed by themselves."""

import contextlib
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import Connection

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance.database import engine_of
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
    Service,
    Services,
    control,
    dbt_processes,
    descendants,
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
    found: list[DagsterRun] = wait_until(lambda: children_of(ui, run_id))
    assert len(found) == 1
    return found[0]


def error_of(ui: Control, run_id: str) -> str:
    """What the step of a run failed with."""
    (event,) = ui.instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)
    return event.get_dagster_event().step_failure_data.error_display_string


def children_of(ui: Control, run_id: str) -> list[DagsterRun]:
    return list(ui.instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": run_id})))


def expire_lease(services: Services, run_id: str) -> None:
    """Let the time go by for which a worker goes on without the database."""
    with database(services) as connection:
        connection.execute(
            text(
                "update apollo_run_worker set heartbeat_at = now() - interval '1 hour' "
                "where run_id = :run_id"
            ),
            {"run_id": run_id},
        )


def answer_to(services: Services, run_id: str) -> bool:
    """Whether it was decided what becomes of a run, and that it is nothing."""
    with database(services) as connection:
        row = connection.execute(
            text(
                "select resumed_by from apollo_run_worker "
                "where run_id = :run_id and settled_at is not null"
            ),
            {"run_id": run_id},
        ).first()
    return row is not None and row.resumed_by is None


@contextlib.contextmanager
def database(services: Services) -> Iterator[Connection]:
    engine = engine_of(SecretStr(normalise_postgres_uri(services.env["DAGSTER_PG_URI"])))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def rows(services: Services) -> int:
    file = Path(services.env["DAGSTER_HOME"], "tenants", "small", "small.duckdb")
    with duckdb.connect(str(file), read_only=True) as warehouse:
        return int(warehouse.execute("select count(*) from marts.slow").fetchall()[0][0])


def code_server(services: Services) -> Service:
    """The latest code server."""
    return next(it for it in reversed(services.running) if it.log_file.name.startswith("code"))


def lose_disk(services: Services, run_id: str) -> None:
    """What a run leaves on its host is not there on the next."""
    shutil.rmtree(Path(services.env["DAGSTER_HOME"], "tenants", "small", "runs", run_id))


def test_what_the_platform_ends_goes_on_by_itself_and_the_rest_by_hand(
    services: Services, ui: Control, call_apollo: RunApollo
) -> None:
    # a deploy whose time is over
    first = slow_run(services, ui)
    ui.instance.add_run_tags(first, {"dagster/priority": "3"})
    assert code_server(services).stop() == 0
    assert ui.status(first) is DagsterRunStatus.FAILURE
    assert "APOLLO_SHUTDOWN_SECONDS" in ui.messages(first)
    lose_disk(services, first)
    services.code_server()

    # the run's process
    second = child_of(ui, first).run_id
    wait_until(lambda: is_in_its_post_hook(services, second))
    os.kill(run_workers(services.env)[0], signal.SIGKILL)
    assert ui.ends(second) is DagsterRunStatus.FAILURE
    assert "killed from outside by signal 9 (SIGKILL)" in ui.messages(second)
    assert rows(services) == 2  # the lock of the file is free: nothing of the run is left

    # dbt's, and now it is enough
    third = child_of(ui, second)
    wait_until(lambda: is_in_its_post_hook(services, third.run_id))
    os.kill(dbt_processes(services.env)[0], signal.SIGKILL)
    assert ui.ends(third.run_id) is DagsterRunStatus.FAILURE
    assert "dbt was killed from outside by signal 9 (SIGKILL)" in error_of(ui, third.run_id)
    wait_until(lambda: "not resumed by itself: it has been" in ui.messages(third.run_id))
    assert third.root_run_id == first
    assert third.parent_run_id == second
    expected = {"dagster/retry_number": "2", "dagster/priority": "3"}
    assert expected.items() <= third.tags.items()
    assert third.tags["apollo/resumed"] == "automatically"
    assert "apollo/interrupted" not in third.tags

    # a person goes on with it, and meets an error of the project's
    model(services.env).write_text("select * from nowhere")
    shown = call_apollo(["resume", third.run_id, "--dry-run"], services.env)
    assert "1 asset(s) and 0 check(s) are left" in shown.stdout
    assert call_apollo(["resume", third.run_id], services.env).returncode == 0
    fourth = child_of(ui, third.run_id).run_id
    assert ui.ends(fourth) is DagsterRunStatus.FAILURE
    wait_until(lambda: answer_to(services, fourth))
    let_it_end(services)
    asked = call_apollo(["resume", fourth], services.env)
    fifth = child_of(ui, fourth)  # the one and only: the platform did not end the fourth
    assert fifth.run_id in asked.stdout
    assert ui.ends(fifth.run_id) is DagsterRunStatus.SUCCESS
    assert fifth.tags["apollo/resumed"] == "by hand"
    assert fifth.root_run_id == first

    every = built(ui.instance, first, second, third.run_id, fourth, fifth.run_id)
    assert every == dict.fromkeys(
        ("raw_orders", "orders", "customers", "orders_history", "slow"), 1
    )
    assert rows(services) == 2
    again = call_apollo(["resume", fifth.run_id], services.env)
    assert again.returncode == 2
    assert "is SUCCESS" in again.stderr


def test_a_run_whose_host_was_lost_goes_on_elsewhere_and_not_at_once_on_both(
    services: Services, ui: Control
) -> None:
    run_id = slow_run(services, ui)
    lost = code_server(services).process
    host = [*run_workers(services.env), *dbt_processes(services.env)]
    for pid in host:  # as a virtual machine that is stopped for a while
        os.kill(pid, signal.SIGSTOP)
    for pid in {lost.pid, *descendants(lost.pid)} - set(host):
        os.kill(pid, signal.SIGKILL)
    lost.wait(10)
    services.code_server()
    assert ui.ends(run_id) is DagsterRunStatus.FAILURE
    assert "has not been heard of since" in ui.messages(run_id)
    assert dbt_processes(services.env)

    for pid in host:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not dbt_processes(services.env), 40)  # it found out, with nobody's help
    wait_until(lambda: not set(host) & set(run_workers(services.env)), 40)
    assert ui.starts(run_id) == 1
    assert not children_of(ui, run_id)  # where it cannot be seen, its lease is waited for

    let_it_end(services)
    lose_disk(services, run_id)
    expire_lease(services, run_id)
    child = child_of(ui, run_id)
    assert ui.ends(child.run_id) is DagsterRunStatus.SUCCESS
    assert set(built(ui.instance, run_id, child.run_id).values()) == {1}
    assert rows(services) == 2
