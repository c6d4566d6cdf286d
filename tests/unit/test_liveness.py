"""When a run's worker is taken to be dead, and when it takes its run to be somebody else's."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster import DagsterRunStatus

from dagster_apollo.deaths import explain, memory_kills
from dagster_apollo.errors import ConfigurationError
from dagster_apollo.instance.liveness import Cause, Reader, Rhythm, WorkerState, is_suspect
from dagster_apollo.instance.pulse import Pulse
from dagster_apollo.instance.rhythm import load_rhythm

pytestmark = pytest.mark.unit


def worker(silent: float, pid: int | None = 7) -> WorkerState:
    heard = datetime(2026, 11, 24, 12, 0, 5, tzinfo=UTC)
    return WorkerState("host", pid, Rhythm(15, 330), heard, silent, is_lost=False, cause=None)


def test_silence_counts_when_the_reader_has_been_able_to_hear_for_as_long() -> None:
    patient = Reader(since=0, latest=60)
    assert is_suspect(worker(silent=61), patient)
    assert not is_suspect(worker(silent=60), patient)
    assert not is_suspect(worker(silent=300), Reader(since=0, latest=59))
    assert not is_suspect(worker(silent=300, pid=None), patient)


def test_a_reader_that_was_cut_off_begins_anew() -> None:
    reader = Reader.after(None, 100)
    for now in (115, 130, 145, 160):
        reader = Reader.after(reader, now)
    assert reader.seconds == 60
    assert Reader.after(reader, 160 + 46).seconds == 0


def test_what_is_lost_may_live_on_until_its_lease_is_over_and_its_dbt_has_ended() -> None:
    assert not worker(silent=370).is_over
    assert worker(silent=371).is_over
    assert worker(silent=0, pid=None).is_over
    assert "Process 7 on host" in worker(61).text
    assert "since 12:00:05 UTC" in worker(61).text


def test_a_worker_ends_when_its_run_has_ended_without_it_but_not_at_its_own_end() -> None:
    pulse = Pulse(330, confirmed=0)
    assert pulse.told(DagsterRunStatus.STARTED, 15) is None
    assert pulse.told(DagsterRunStatus.FAILURE, 30) is None
    assert "ended by somebody else" in str(pulse.told(DagsterRunStatus.FAILURE, 45))


def test_a_worker_obeys_a_cancellation_that_no_code_server_obeys() -> None:
    pulse = Pulse(330, confirmed=0)
    assert pulse.told(DagsterRunStatus.CANCELING, 15) is None
    assert "canceled" in str(pulse.told(DagsterRunStatus.CANCELING, 30))


def test_a_worker_without_the_database_ends_when_its_lease_is_over() -> None:
    pulse = Pulse(330, confirmed=0)
    pulse.told(DagsterRunStatus.STARTED, 15)
    assert pulse.out_of_time(15 + 330) is None
    assert "330 s" in str(pulse.out_of_time(15 + 331))


def test_the_lease_is_what_a_run_waits_for_the_database_and_a_margin() -> None:
    assert load_rhythm({}) == Rhythm(15, 330)
    assert load_rhythm({"APOLLO_STORAGE_WAIT_SECONDS": "3600"}) == Rhythm(15, 3630)
    with pytest.raises(ConfigurationError, match="APOLLO_HEARTBEAT_SECONDS"):
        load_rhythm({"APOLLO_HEARTBEAT_SECONDS": "0"})


@pytest.mark.parametrize(
    ("code", "out_of_memory", "cause", "text"),
    [
        (-9, True, "memory", "memory ran out"),
        (-9, False, "killed", "signal 9 (SIGKILL)"),
        (-11, True, "killed", "signal 11 (SIGSEGV)"),
        (None, True, "memory", "memory ran out"),
        (None, False, "killed", "was killed."),
        (1, True, None, "exit code 1"),
    ],
)
def test_an_exit_code_says_whether_it_was_the_platform(
    code: int | None, out_of_memory: bool, cause: Cause | None, text: str
) -> None:
    found, sentence = explain(code, out_of_memory=out_of_memory)
    assert found == cause
    assert text in sentence


def test_kills_for_want_of_memory_are_read_of_either_version_of_control_groups(
    tmp_path: Path,
) -> None:
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/app/one\n0::/app/two\n")
    assert memory_kills(tmp_path / "none", own) == 0
    first = tmp_path / "1" / "memory" / "app" / "one"
    second = tmp_path / "2" / "app" / "two"
    for folder in (first, second):
        folder.mkdir(parents=True)
    (first / "memory.oom_control").write_text("under_oom 0\noom_kill 3\n")
    (second / "memory.events").write_text("oom 1\noom_kill 4\noom_group_kill 0\n")
    assert memory_kills(tmp_path / "1", own) == 3
    assert memory_kills(tmp_path / "2", own) == 4
