"""What the services decide: when to stop runs, whom to believe, what to load."""

import os
import signal
import threading
from pathlib import Path

import pytest

from dagster_apollo.services.code_server import pause_before
from dagster_apollo.services.contract import CodeServer
from dagster_apollo.services.draining import Phase, Plan
from dagster_apollo.services.leadership import shares_sessions
from dagster_apollo.services.signals import StopSignals
from dagster_apollo.services.workers import Termination, Worker, WorkerFiles, started_at
from dagster_apollo.services.workspace import CodeServers

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("seconds", "stop_at", "kill_at", "leave_at"),
    [(300, 260, 290, 298), (30, 4.8, 24, 28.8), (10, 1.6, 8, 9.6), (1, 0.16, 0.8, 0.96)],
)
def test_stopping_dbt_comes_before_waiting_where_time_is_short(
    seconds: float, stop_at: float, kill_at: float, leave_at: float
) -> None:
    plan = Plan.of(seconds)
    assert (plan.stop_at, plan.kill_at, plan.leave_at) == pytest.approx(
        (stop_at, kill_at, leave_at)
    )


def test_phases_follow_the_clock_and_the_hurry() -> None:
    plan = Plan.of(300)
    assert [plan.phase(at) for at in (0, 259, 260, 289, 290, 297, 298)] == [
        Phase.FINISH,
        Phase.FINISH,
        Phase.STOP,
        Phase.STOP,
        Phase.KILL,
        Phase.KILL,
        Phase.LEAVE,
    ]
    assert [plan.phase(0, requests) for requests in (1, 2, 3, 9)] == [
        Phase.FINISH,
        Phase.STOP,
        Phase.KILL,
        Phase.KILL,
    ]
    assert plan.phase(298, 1) is plan.phase(298, 3) is Phase.LEAVE


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ([7, 7, 7], [8, 8, 8], False),  # a session each
        ([7, 7, 7], [7, 7, 7], True),  # one for both
        ([7, 8, 7], [9, 9, 9], True),  # it changed
        ([7, 7, 7], [8, 7, 8], True),
    ],
)
def test_a_pooler_that_shares_sessions_is_told_from_one_that_does_not(
    first: list[int], second: list[int], shared: bool
) -> None:
    assert shares_sessions(first, second) is shared


def test_pauses_between_starts_grow_and_are_bounded() -> None:
    assert [pause_before(start) for start in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_each_code_server_is_a_code_location() -> None:
    servers = CodeServer("acme", "host", 4000), CodeServer("globex", "::1", 4001)
    origins = CodeServers(servers).create_origins()
    assert [(it.location_name, it.host, it.port) for it in origins] == [
        ("acme", "host", 4000),
        ("globex", "[::1]", 4001),
    ]


def test_a_worker_is_noted_until_it_is_forgotten(tmp_path: Path) -> None:
    files = WorkerFiles(tmp_path)
    files.add("run", os.getpid())
    (worker,) = files.read()
    assert (worker.run_id, worker.pid, worker.is_alive()) == ("run", os.getpid(), True)
    files.remove("run")
    files.remove("run")
    assert files.read() == []


def test_another_process_of_the_same_number_is_not_the_worker() -> None:
    started = started_at(os.getpid())
    assert started is not None
    assert not Worker("run", os.getpid(), started - 1).is_alive()


def test_a_worker_is_told_to_stop_once() -> None:
    told = threading.Semaphore(0)
    termination = Termination(told.release)
    assert not termination.is_set()
    termination.set()
    termination.set()
    assert termination.is_set()
    assert told.acquire(timeout=5)
    assert not told.acquire(timeout=0.05)


def test_signals_that_come_together_are_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    clock = iter([0.0, 0.4, 2.0])
    monkeypatch.setattr("dagster_apollo.services.signals.time.monotonic", lambda: next(clock))
    signals = StopSignals().install()
    try:
        assert not signals.wait(0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert signals.wait(0)
        assert signals.requests == 1
        signal.raise_signal(signal.SIGTERM)
        assert signals.requests == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
