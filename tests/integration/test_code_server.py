"""`apollo code-server`: runs and deploys, with real processes, dbt and Postgres."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterEventType, DagsterRunStatus, RunsFilter
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import ExecuteExternalJobArgs

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
    SLOW_MODEL,
    Control,
    Service,
    Services,
    control,
    dbt_processes,
    free_port,
    processes,
    query_is_running,
    run_workers,
    wait_until,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def prepared(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, run_apollo: RunApollo
) -> dict[str, str]:
    """A tenant that is built once and prepared for the services."""
    env = apollo_env(copy_tenants(dbt_small=SMALL), DAGSTER_PG_URI="")
    assert run_apollo(["build"], env).returncode == 0
    Path(env["DAGSTER_HOME"], "dagster.yaml").unlink()
    return env


@pytest.fixture(scope="module")
def daemon(
    prepared: dict[str, str],
    make_database: MakeDatabase,
    _migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Services]:
    """A daemon, which outlives the code servers of the tests; they have one address."""
    env = {
        **prepared,
        "DAGSTER_PG_URI": make_database(_migrated_template),
        "APOLLO_CODE_SERVER": f"127.0.0.1:{free_port()}",
    }
    services = Services(env, tmp_path_factory.mktemp("daemon"))
    services.daemon(APOLLO_RESUMPTIONS="0")  # what the tests end stays ended
    yield services
    services.close()


@pytest.fixture
def services(daemon: Services, open_home: OpenHome, tmp_path: Path) -> Iterator[Services]:
    """The code servers of one test."""
    env = daemon.env
    services = Services(env, tmp_path)
    slow = Path(env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "slow.sql")
    for log in Path(env["DAGSTER_HOME"], "tenants", "small", "runs").glob("*/dbt.log"):
        log.unlink()
    slow.write_text(SLOW_MODEL % FOR_EVER)
    yield services
    services.close()
    slow.unlink()
    wait_until(lambda: not dbt_processes(env), 20)
    with open_home(env) as instance:  # a test that fails may leave runs, and the next would queue
        for run in instance.get_runs(RunsFilter(statuses=NOT_FINISHED_STATUSES)):
            instance.report_run_canceled(run)


@pytest.fixture
def ui(services: Services, open_home: OpenHome) -> Iterator[Control]:
    """A code server, and the UI that goes with it."""
    services.code_server()
    with open_home(services.env) as instance, control(instance) as ui:
        yield ui


def slow_run(services: Services, ui: Control) -> str:
    """Start a run that builds for ever, through the daemon."""
    run_id = ui.launch()
    wait_until(lambda: query_is_running(services.env, "slow"))
    return run_id


def dbt_log(env: Mapping[str, str], run_id: str) -> str:
    log = Path(env["DAGSTER_HOME"], "tenants", "small", "runs", run_id, "dbt.log")
    return log.read_text() if log.exists() else ""


def code_process(service: Service) -> int:
    """The gRPC server below a code server."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    return int(children.read_text().split()[0])


def test_a_run_that_does_not_finish_in_time_is_failed_and_can_be_resumed(
    services: Services, open_home: OpenHome
) -> None:
    old = services.code_server(seconds=20)
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        kind = DagsterEventType.ASSET_MATERIALIZATION
        wait_until(lambda: len(instance.all_logs(run_id, of_type=kind)) == 4)  # all but that one
        old.process.send_signal(signal.SIGTERM)
        # a run that is launched meanwhile waits for the next code server
        waiting = ui.launch(select="orders")
        assert ui.ends(run_id) is DagsterRunStatus.FAILURE
        assert old.ends(30) == 0
        assert not dbt_processes(services.env)
        assert not run_workers(services.env)
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.tags["apollo/interrupted"] == "shutdown"
        assert "From asset failure" in ui.messages(run_id)
        assert "APOLLO_SHUTDOWN_SECONDS" in ui.messages(run_id)
        model = Path(services.env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "slow.sql")
        model.write_text(SLOW_MODEL % 3)
        services.code_server()
        wait_until(lambda: ui.workspace.has_code_location("apollo"))
        assert ui.ends(waiting) is DagsterRunStatus.SUCCESS
        assert ui.starts(waiting) == 1
        resumed = ui.reexecute_from_asset_failure(run_id)
        assert ui.ends(resumed) is DagsterRunStatus.SUCCESS
        again = instance.get_run_by_id(resumed)
        assert again is not None
        assert again.asset_selection == {AssetKey(["small", "marts", "slow"])}


def test_a_run_that_is_stopped_in_a_test_resumes_with_that_test(
    services: Services, open_home: OpenHome
) -> None:
    project = Path(services.env["APOLLO_TENANTS_DIR"], "dbt_small")
    (project / "models" / "slow.sql").write_text(SLOW_MODEL % 1)
    check = project / "tests" / "slow_check.sql"
    sql = "select * from ({}) cross join {{{{ ref('orders') }}}} where total < 0"
    check.write_text(sql.format((SLOW_MODEL % FOR_EVER).partition("}}")[2]))
    try:
        server = services.code_server(seconds=20)
        with open_home(services.env) as instance, control(instance) as ui:
            run_id = ui.launch()
            wait_until(lambda: dbt_log(services.env, run_id).count("START test slow_check"))
            server.process.send_signal(signal.SIGTERM)
            assert ui.ends(run_id) is DagsterRunStatus.FAILURE
            assert server.ends(30) == 0
            check.write_text(sql.format((SLOW_MODEL % 1).partition("}}")[2]))
            services.code_server()
            wait_until(lambda: ui.workspace.has_code_location("apollo"))
            resumed = ui.reexecute_from_asset_failure(run_id)
            assert ui.ends(resumed) is DagsterRunStatus.SUCCESS
            log = dbt_log(services.env, resumed)
            assert "PASS slow_check" in log
            assert "created sql table model marts.customers" in log
            assert "created sql view model marts.orders" not in log
    finally:
        check.unlink()


def test_a_run_that_finishes_in_time_is_left_alone_and_ends_the_wait(
    services: Services, open_home: OpenHome
) -> None:
    model = Path(services.env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "slow.sql")
    model.write_text(SLOW_MODEL % 500)
    server = services.code_server(seconds=300)
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        asked = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.says("1 running")
        # a server that drains says that it cannot be reached: then the queue keeps the run
        client = ui.workspace.create_request_context().get_code_location("apollo").client
        run = instance.get_run_by_id(run_id)
        assert run is not None
        arguments = ExecuteExternalJobArgs(
            job_origin=run.remote_job_origin, run_id=run_id, instance_ref=instance.get_ref()
        )
        with pytest.raises(DagsterUserCodeUnreachableError, match="UNAVAILABLE"):
            client.start_run(arguments)
        assert ui.ends(run_id) is DagsterRunStatus.SUCCESS
        assert server.ends(30) == 0
        assert time.monotonic() - asked < 200
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert "apollo/interrupted" not in run.tags


def test_a_run_that_does_not_react_is_killed_and_recorded(
    services: Services, open_home: OpenHome
) -> None:
    server = services.code_server(seconds=10)
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        for pid in [*run_workers(services.env), *dbt_processes(services.env)]:
            os.kill(pid, signal.SIGSTOP)
        assert server.stop() == 0
        assert ui.status(run_id) is DagsterRunStatus.FAILURE
        assert "From asset failure" in ui.messages(run_id)
        assert not run_workers(services.env)
        assert not dbt_processes(services.env)


def test_a_second_request_to_stop_does_not_wait_for_runs(
    services: Services, open_home: OpenHome
) -> None:
    server = services.code_server(seconds=300)
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        server.process.send_signal(signal.SIGTERM)
        server.says("1 running")
        time.sleep(1.5)  # closer together they are one
        assert server.stop(seconds=40) == 0
        assert ui.status(run_id) is DagsterRunStatus.FAILURE
        assert not dbt_processes(services.env)


def test_a_run_of_the_old_code_server_is_terminated_though_the_new_one_is_asked(
    services: Services, open_home: OpenHome
) -> None:
    services.code_server()
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        # on one machine the new one has a port of its own; on Render it has the old one's address
        port = free_port()
        services.code_server(port=str(port))
        instance.add_run_tags(
            run_id, {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}
        )
        assert ui.terminate(run_id) == "TerminateRunSuccess"
        assert ui.ends(run_id) is DagsterRunStatus.CANCELED
        assert "does not execute this run" in ui.messages(run_id)
        wait_until(lambda: not run_workers(services.env), 20)
        assert not dbt_processes(services.env)


def test_a_run_whose_address_does_not_answer_is_terminated(
    services: Services, open_home: OpenHome
) -> None:
    services.code_server()
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        nobody = {"host": "127.0.0.1", "port": free_port()}
        instance.add_run_tags(run_id, {GRPC_INFO_TAG: json.dumps(nobody)})
        assert ui.terminate(run_id) == "TerminateRunSuccess"
        assert ui.ends(run_id) is DagsterRunStatus.CANCELED
        assert "does not answer" in ui.messages(run_id)


def test_a_run_outlives_its_server_and_can_still_be_terminated(
    services: Services, open_home: OpenHome
) -> None:
    server = services.code_server()
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        workers = run_workers(services.env)
        os.kill(code_process(server), signal.SIGKILL)
        server.says(f"Run {run_id} goes on")
        wait_until(lambda: server.log.count("Serving the tenants") == 2)
        assert run_workers(services.env) == workers
        assert ui.status(run_id) is DagsterRunStatus.STARTED
        assert ui.terminate(run_id) == "TerminateRunSuccess"
        assert ui.ends(run_id) is DagsterRunStatus.CANCELED
        assert not dbt_processes(services.env)
        assert server.stop() == 0


def test_a_run_outlives_its_server_and_ends_as_if_nothing_had_been(
    services: Services, open_home: OpenHome
) -> None:
    model = Path(services.env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "slow.sql")
    model.write_text(SLOW_MODEL % 500)
    server = services.code_server()
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        os.kill(code_process(server), signal.SIGKILL)
        assert ui.ends(run_id) is DagsterRunStatus.SUCCESS
        assert ui.starts(run_id) == 1
        wait_until(lambda: server.log.count("Serving the tenants") == 2)
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_runs_are_ended_though_the_server_dies_while_it_drains(
    services: Services, open_home: OpenHome
) -> None:
    server = services.code_server(seconds=20)
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        server.process.send_signal(signal.SIGTERM)
        server.says("1 running")
        os.kill(code_process(server), signal.SIGKILL)
        server.ends(40)
        assert ui.status(run_id) is DagsterRunStatus.FAILURE
        assert "From asset failure" in ui.messages(run_id)
        assert not run_workers(services.env)
        assert not dbt_processes(services.env)


def test_runs_are_ended_though_the_supervisor_dies(services: Services, open_home: OpenHome) -> None:
    server = services.code_server(seconds=10)
    with open_home(services.env) as instance, control(instance) as ui:
        run_id = slow_run(services, ui)
        server.process.kill()
        assert ui.ends(run_id) is DagsterRunStatus.FAILURE
        wait_until(lambda: not processes(services.env, "code_process"), 20)
        wait_until(lambda: not dbt_processes(services.env), 10)  # nobody is left to wait for it


def test_signals_count_though_a_shell_script_ignored_them(services: Services) -> None:
    server = services.code_server(shell='trap "" INT TERM; exec "$@"')
    assert server.stop(seconds=20) == 0
    assert "Traceback" not in server.log
    assert not processes(services.env, "code_process")


def test_an_address_that_is_taken_is_refused_with_the_mend(services: Services) -> None:
    services.code_server()
    port = services.env["APOLLO_CODE_SERVER"].split(":")[1]
    second = services.start("code-server", "--port", port)
    assert second.ends(30) == 2
    assert "PORT" in second.log
    assert "Traceback" not in second.log


def test_tenants_that_cannot_be_loaded_are_said_without_a_traceback(services: Services) -> None:
    broken = Path(services.env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "broken.sql")
    broken.write_text("select {{ ")
    try:
        server = services.start("code-server", "--port", str(free_port()))
        assert server.ends(60) == 2
    finally:
        broken.unlink()
    assert "broken.sql" in server.log
    assert "Traceback" not in server.log


def test_a_new_code_server_is_noticed_within_seconds(services: Services, ui: Control) -> None:
    def server_id() -> str | None:
        entry = ui.workspace.get_current_workspace().code_location_entries["apollo"]
        return getattr(entry.code_location, "server_id", None)

    first = server_id()
    assert services.running[0].stop() == 0
    services.code_server()
    wait_until(lambda: server_id() not in {first, None}, 10)


def test_the_supervisor_imports_nothing_of_dagster() -> None:
    code = (
        "import sys, dagster_apollo.cli.code_server, dagster_apollo.cli.app\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'dagster', 'sqlalchemy', 'dbt', 'grpc'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
