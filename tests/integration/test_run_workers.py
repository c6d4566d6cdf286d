"""Who executes a run: claimed once, heard of, declared dead; in a real Postgres."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.events import DagsterEvent
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import text

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance import launcher
from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.instance.launcher import CodeServerRunLauncher
from dagster_apollo.instance.liveness import Rhythm
from dagster_apollo.instance.postgres_pool import shared_pool
from dagster_apollo.instance.pulse import beating
from dagster_apollo.instance.run_workers import NotOurRunError, RunWorkers
from dagster_apollo.instance.worker_locks import hold, is_held
from dagster_apollo.resumption import daemon
from dagster_apollo.resumption.daemon import check_on_the_way
from tests.integration.conftest import MakeDatabase, MakeEnvironment, environment
from tests.integration.postgres_proxy import proxy_before
from tests.integration.services import wait_until

pytestmark = pytest.mark.integration

RHYTHM = Rhythm(beat_seconds=15, lease_seconds=330)


@pytest.fixture(scope="module")
def instance(
    make_database: MakeDatabase,
    _migrated_template: str,
    apollo_env: MakeEnvironment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DagsterInstance]:
    uri = make_database(_migrated_template)
    env = apollo_env(tmp_path_factory.mktemp("tenants"), DAGSTER_PG_URI=uri)
    with environment(env), open_instance(Path(env["DAGSTER_HOME"]), RELEASE_CONFIG) as instance:
        yield instance


@pytest.fixture(scope="module")
def workers(instance: DagsterInstance) -> RunWorkers:
    assert instance
    workers = RunWorkers.open()
    assert workers
    return workers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance) -> list[float]:
    """The launcher's clock, which stands still."""
    clock = [1000.0]
    monkeypatch.setattr(launcher.time, "monotonic", lambda: clock[0])
    instance.run_launcher._reader = None  # type: ignore[attr-defined]
    return clock


def a_run(
    instance: DagsterInstance, status: DagsterRunStatus = DagsterRunStatus.STARTED
) -> DagsterRun:
    return create_run_for_test(instance, status=status)


def silent_for(workers: RunWorkers, run: DagsterRun, seconds: int) -> None:
    with workers._pool.connect() as connection:
        connection.execute(
            text(
                "update apollo_run_worker set heartbeat_at = now() - make_interval(secs => :it) "
                "where run_id = :run_id"
            ),
            {"it": seconds, "run_id": run.run_id},
        )


def health(instance: DagsterInstance, run: DagsterRun) -> WorkerStatus:
    return instance.run_launcher.check_run_worker_health(run).status


def listen(instance: DagsterInstance, run: DagsterRun, clock: list[float], seconds: int) -> None:
    """Poll as run monitoring does."""
    for _ in range(0, seconds, 15):
        health(instance, run)
        clock[0] += 15


def test_of_processes_that_claim_a_run_at_once_one_gets_it(
    instance: DagsterInstance, workers: RunWorkers
) -> None:
    run = a_run(instance)
    got: list[object] = []

    def claim() -> None:
        try:
            got.append(workers.claim(run.run_id, RHYTHM))
        except NotOurRunError:
            got.append(None)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(it is None for it in got) == [False, True, True, True]


def test_a_run_that_went_back_to_the_queue_is_free_when_its_process_has_left(
    instance: DagsterInstance, workers: RunWorkers
) -> None:
    run = a_run(instance, DagsterRunStatus.STARTING)
    first = workers.claim(run.run_id, RHYTHM)
    workers.end(first)
    second = workers.claim(run.run_id, RHYTHM)
    assert workers.beat(second) is DagsterRunStatus.STARTING
    with pytest.raises(NotOurRunError):
        workers.beat(first)


def test_what_is_declared_dead_is_not_heard_again_and_what_is_heard_is_not_declared_dead(
    instance: DagsterInstance, workers: RunWorkers
) -> None:
    run = a_run(instance)
    claim = workers.claim(run.run_id, RHYTHM)
    silent_for(workers, run, 59)
    assert not workers.fence(run.run_id)
    silent_for(workers, run, 61)
    assert workers.beat(claim) is DagsterRunStatus.STARTED
    assert not workers.fence(run.run_id)
    silent_for(workers, run, 61)
    assert workers.fence(run.run_id)
    with pytest.raises(NotOurRunError):
        workers.beat(claim)
    with pytest.raises(NotOurRunError):
        workers.claim(run.run_id, RHYTHM)


def test_a_run_that_is_deleted_takes_its_row_along(
    instance: DagsterInstance, workers: RunWorkers
) -> None:
    run = a_run(instance)
    claim = workers.claim(run.run_id, RHYTHM)
    instance.delete_run(run.run_id)
    assert workers.read(run.run_id) is None
    with pytest.raises(NotOurRunError):
        workers.beat(claim)


def test_a_process_whose_run_was_taken_is_told_once(
    instance: DagsterInstance, workers: RunWorkers
) -> None:
    run = a_run(instance)
    rhythm = Rhythm(beat_seconds=1, lease_seconds=330)
    claim = workers.claim(run.run_id, rhythm)
    told: list[str] = []
    with beating(workers, claim, rhythm, told.append, lambda: told.append("end")):
        silent_for(workers, run, 5)
        assert workers.fence(run.run_id)
        wait_until(lambda: len(told) == 2, 10)
    why, end = told
    assert "was taken" in why
    assert end == "end"


@pytest.mark.parametrize("hangs", [False, True])
def test_a_process_that_is_cut_off_goes_on_for_as_long_as_its_lease_and_no_longer(
    instance: DagsterInstance, workers: RunWorkers, hangs: bool
) -> None:
    run = a_run(instance)
    rhythm = Rhythm(beat_seconds=1, lease_seconds=4)
    told: list[float] = []
    with proxy_before(os.environ["DAGSTER_PG_URI"]) as proxy:
        cut_off = RunWorkers(shared_pool(normalise_postgres_uri(proxy.uri)))
        claim = cut_off.claim(run.run_id, rhythm)
        with beating(
            cut_off, claim, rhythm, lambda _why: told.append(time.monotonic()), pytest.fail
        ):
            proxy.go_down()
            time.sleep(2)  # an outage that is over before the lease is
            proxy.come_up()
            wait_until(lambda: heard(workers, run) < 1, 10)
            assert not told
            cut = time.monotonic()
            if hangs:
                proxy.answers.clear()
            else:
                proxy.go_down()
            wait_until(lambda: told, 20)
            assert told[0] - cut > 2
            proxy.answers.set()
            proxy.come_up()
    assert len(told) == 1


def heard(workers: RunWorkers, run: DagsterRun) -> float:
    """Seconds since the last heartbeat."""
    state = workers.read(run.run_id)
    assert state is not None
    return state.silent_seconds


def test_a_silent_run_is_lost_once_the_reader_could_have_heard_it(
    instance: DagsterInstance, workers: RunWorkers, clock: list[float]
) -> None:
    run = a_run(instance)
    workers.claim(run.run_id, RHYTHM)
    silent_for(workers, run, 600)  # as after an outage of the database
    listen(instance, run, clock, 60)
    state = workers.read(run.run_id)
    assert state is not None
    assert not state.is_lost
    result = instance.run_launcher.check_run_worker_health(run)
    assert result.status is WorkerStatus.FAILED
    assert f"Process {os.getpid()} on {socket.gethostname()}" in str(result.msg)
    assert "apollo resume" in str(result.msg)
    tags = instance.get_run_by_id(run.run_id).tags  # type: ignore[union-attr]
    assert tags["apollo/interrupted"] == "lost"
    assert health(instance, run) is WorkerStatus.FAILED  # a daemon that died meanwhile asks again


def test_a_run_that_is_heard_of_is_alive_whatever_became_of_its_code_server(
    instance: DagsterInstance, workers: RunWorkers, clock: list[float]
) -> None:
    run = a_run(instance)
    instance.add_run_tags(run.run_id, {launcher.CODE_SERVER_TAG: "one that drained long ago"})
    workers.claim(run.run_id, RHYTHM, server="one that drained long ago")
    listen(instance, run, clock, 300)
    assert health(instance, run) is WorkerStatus.RUNNING


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (DagsterRunStatus.STARTING, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED),
    ],
)
def test_a_run_that_is_lost_on_its_way_in_or_out_has_an_end(
    instance: DagsterInstance,
    workers: RunWorkers,
    clock: list[float],
    status: DagsterRunStatus,
    end: DagsterRunStatus,
) -> None:
    run = a_run(instance, status)
    workers.claim(run.run_id, RHYTHM)
    silent_for(workers, run, 61)
    listen(instance, run, clock, 60)
    check_on_the_way(instance, run)
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is end


def test_a_run_whose_process_never_came_up_has_an_end_and_never_begins(
    instance: DagsterInstance, workers: RunWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(instance, DagsterRunStatus.NOT_STARTED)
    launch = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, run.job_name)
    instance.report_dagster_event(launch, run.run_id)
    run = instance.get_run_by_id(run.run_id)  # type: ignore[assignment]
    now = time.time()
    monkeypatch.setattr(daemon.time, "time", lambda: now + 85)
    check_on_the_way(instance, run)
    assert workers.read(run.run_id) is None
    monkeypatch.setattr(daemon.time, "time", lambda: now + 95)
    check_on_the_way(instance, run)
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is DagsterRunStatus.FAILURE
    with pytest.raises(NotOurRunError):
        workers.claim(run.run_id, RHYTHM)


def test_a_run_of_a_laptop_is_dead_when_nobody_holds_its_lock(
    apollo_env: MakeEnvironment, tmp_path: Path
) -> None:
    env = apollo_env(tmp_path, DAGSTER_PG_URI="")
    home = Path(env["DAGSTER_HOME"])
    with environment(env), open_instance(home) as laptop:
        assert isinstance(laptop.run_launcher, CodeServerRunLauncher)
        assert laptop.run_monitoring_enabled
        mine, other = a_run(laptop), a_run(laptop)
        assert health(laptop, mine) is WorkerStatus.RUNNING  # it has not said so yet
        hold(home, mine.run_id)
        assert is_held(home, mine.run_id)
        assert health(laptop, mine) is WorkerStatus.RUNNING
        code = (
            "import sys, pathlib\nfrom dagster_apollo.instance.worker_locks import hold\n"
            "hold(pathlib.Path(sys.argv[1]), sys.argv[2])"
        )
        subprocess.run([sys.executable, "-c", code, str(home), other.run_id], check=True)
        assert health(laptop, other) is WorkerStatus.FAILED
