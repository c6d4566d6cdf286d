"""Logs of real runs, ticks and backfills, as Dagster writes them and its UI asks for them."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import DagsterEventType, DagsterInstance, job, op
from dagster._core.definitions.instigation_logger import (
    InstigationLogger,
    get_instigation_log_records,
)
from dagster_graphql.schema import create_schema
from graphql import ExecutionResult

from dagster_apollo.instance.postgres_logs.manager import PostgresComputeLogManager
from dagster_apollo.paths import CHECKOUT
from tests.integration.compute_logs import STDERR, query
from tests.integration.conftest import environment
from tests.integration.services import wait_until

pytestmark = pytest.mark.integration

_INSTANCE = """
storage:
  custom: {module: dagster_apollo.instance.storage, class: InstanceStorage}
compute_logs: {module: dagster_apollo.instance.compute_logs, class: ComputeLogs}
telemetry: {enabled: false}
"""
_RUN = """
import os, signal, sys, time
from pathlib import Path
from dagster import DagsterInstance, job, op

@op
def speak(context):
    exec(sys.argv[2])

@job
def speaking():
    speak()

signal.alarm(150)  # a test that failed does not end what waits for it
with DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
    speaking.execute_in_process(instance=instance, run_id=sys.argv[1], raise_on_error=False)
"""
RUN_ID = "5c5d4ef3-4de3-4a4a-a6d7-6b0f3f3a3f1c"
_QUERY = """
query Logs($key: [String!]!, $cursor: String, $limit: Int) {
    capturedLogs(logKey: $key, cursor: $cursor, limit: $limit) { stdout stderr cursor }
    capturedLogsMetadata(logKey: $key) { stdoutLocation stdoutDownloadUrl }
}
"""
_SUBSCRIPTION = """
subscription Logs($key: [String!]!, $cursor: String) {
    capturedLogs(logKey: $key, cursor: $cursor) { stdout stderr cursor }
}
"""


@pytest.fixture
def env(apollo_env, migrated_uri: str, tmp_path: Path) -> dict[str, str]:
    """The environment of the host where runs execute."""
    env = apollo_env(
        tmp_path, DAGSTER_PG_URI=migrated_uri, APOLLO_COMPUTE_LOGS_MAX_BYTES=str(1024 * 1024)
    )
    Path(env["DAGSTER_HOME"], "dagster.yaml").write_text(_INSTANCE)
    return env


@pytest.fixture
def instance(apollo_env, env: Mapping[str, str], tmp_path: Path) -> Iterator[DagsterInstance]:
    """The instance as another host opens it, which shares the database and no directory."""
    other = apollo_env(tmp_path, DAGSTER_PG_URI=env["DAGSTER_PG_URI"])
    Path(other["DAGSTER_HOME"], "dagster.yaml").write_text(_INSTANCE)
    with environment(other), DagsterInstance.from_config(other["DAGSTER_HOME"]) as instance:
        assert isinstance(instance.compute_log_manager, PostgresComputeLogManager)
        yield instance


def start_run(env: Mapping[str, str], program: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, RUN_ID, program],
        cwd=CHECKOUT,
        env=dict(env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def log_key_of_run(instance: DagsterInstance) -> list[str]:
    """The key that the run's own event names, as the UI finds it."""
    events = wait_until(
        lambda: (
            instance.all_logs(RUN_ID, of_type=DagsterEventType.LOGS_CAPTURED)
            if instance.has_run(RUN_ID)
            else None
        )
    )
    data = events[0].get_dagster_event().logs_captured_data
    return list(instance.compute_log_manager.build_log_key_for_run(RUN_ID, data.file_key))


def ask(instance: DagsterInstance, **variables: Any) -> dict[str, Any]:
    result = create_schema().execute(
        _QUERY, variables=variables, context_value=SimpleNamespace(instance=instance)
    )
    assert not result.errors
    return result.data


def test_the_ui_shows_what_a_run_on_another_host_printed(
    env: dict[str, str], instance: DagsterInstance
) -> None:
    program = "print('from python €'); os.system('echo from a child'); context.log.info('logged')"
    assert start_run(env, program).wait(timeout=90) == 0
    key = log_key_of_run(instance)
    answer = ask(instance, key=key)
    logs = answer["capturedLogs"]
    assert logs["stdout"] == "from python €\nfrom a child\n"
    assert "logged" in logs["stderr"]
    assert answer["capturedLogsMetadata"] == {
        "stdoutLocation": f"Postgres: {'/'.join(key)} stdout",
        "stdoutDownloadUrl": f"/logs/{'/'.join(key)}/out",
    }
    pieces, cursor = [], None
    for _ in range(30):
        piece = ask(instance, key=key, cursor=cursor, limit=10)["capturedLogs"]
        pieces.append(piece["stdout"] or "")
        cursor = piece["cursor"]
    assert "".join(pieces) == logs["stdout"]
    assert query(env["DAGSTER_PG_URI"], "select distinct run_id from apollo_compute_log") == [
        (RUN_ID,)
    ]


def test_the_ui_follows_a_run_and_is_told_when_there_is_no_more(
    env: dict[str, str], instance: DagsterInstance, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    program = f"""
for part in range(4):
    print("part", part)
    Path({str(flag)!r} + str(part)).touch()
    while part < 3 and not Path({str(flag)!r} + f"-go-{{part}}").exists(): time.sleep(0.05)
"""
    process = start_run(env, program)
    key = log_key_of_run(instance)

    async def follow() -> list[str]:
        updates = await create_schema().subscribe(
            _SUBSCRIPTION, variables={"key": key}, context_value=SimpleNamespace(instance=instance)
        )
        assert not isinstance(updates, ExecutionResult), updates
        given: list[str] = []
        async for update in updates:
            assert not update.errors
            given.append(update.data["capturedLogs"]["stdout"] or "")
            for part in range(3):
                if f"part {part}" in "".join(given):  # the run goes on when this was seen
                    Path(f"{flag}-go-{part}").touch()
        return given

    given = asyncio.run(asyncio.wait_for(follow(), timeout=60))
    assert process.wait(timeout=60) == 0
    assert "".join(given) == "part 0\npart 1\npart 2\npart 3\n"
    assert len([piece for piece in given if piece]) >= 4


def test_a_run_whose_process_was_killed_has_its_log_and_no_follower_waits_for_more(
    env: dict[str, str], instance: DagsterInstance
) -> None:
    program = "print('last words'); os.kill(os.getpid(), signal.SIGKILL)"
    assert start_run(env, program).wait(timeout=90) < 0
    key = log_key_of_run(instance)
    manager = instance.compute_log_manager
    wait_until(lambda: manager.is_capture_complete(key))
    assert manager.get_log_data(key).stdout == b"last words\n"


def test_a_log_whose_host_is_gone_is_complete_once_its_run_has_ended(
    env: dict[str, str], instance: DagsterInstance
) -> None:
    """Nobody is left to say that the log is complete, or ever to write one."""
    assert start_run(env, "print('text')").wait(timeout=90) == 0
    key, uri = log_key_of_run(instance), env["DAGSTER_PG_URI"]
    manager = instance.compute_log_manager
    unwritten = [RUN_ID, "compute_logs", "unwritten"]
    query(uri, "update apollo_compute_log set complete = false")
    query(uri, "update runs set status = 'STARTED', end_time = null")
    assert not manager.is_capture_complete(key)
    query(uri, "update runs set status = 'FAILURE', end_time = extract(epoch from now())")
    assert not manager.is_capture_complete(key)  # the last of it may be on its way
    assert not manager.is_capture_complete(unwritten)
    query(uri, "update runs set end_time = extract(epoch from now()) - 60")
    assert not manager.is_capture_complete(key)
    assert manager.is_capture_complete(unwritten)
    query(uri, "update apollo_compute_log set updated_at = now() - interval '1 minute'")
    assert manager.is_capture_complete(key)


def test_a_run_goes_on_where_no_collector_can_be_started(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    @op
    def speak() -> None:
        print("text")

    @job
    def speaking() -> None:
        speak()

    monkeypatch.setattr(sys, "executable", "/no/such/python")
    result = speaking.execute_in_process(instance=instance, run_id=RUN_ID)
    assert result.success
    assert "text\n" in capfd.readouterr().out
    (event,) = [it for it in result.all_events if "compute log capture" in (it.message or "")]
    assert "No such file or directory" in str(event.event_specific_data)


def test_logs_go_with_their_run_and_do_not_come_back(
    env: dict[str, str], instance: DagsterInstance, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    program = f"""
print("before")
while not Path({str(go_on)!r}).exists(): time.sleep(0.05)
for number in range(20): print("after"); time.sleep(0.1)
"""
    process, uri = start_run(env, program), env["DAGSTER_PG_URI"]
    key = log_key_of_run(instance)
    wait_until(lambda: instance.compute_log_manager.get_log_data(key).stdout)
    instance.delete_run(RUN_ID)
    go_on.touch()
    process.wait(timeout=60)
    assert query(uri, "select count(*) from apollo_compute_log") == [(0,)]
    assert query(uri, "select count(*) from apollo_compute_log_chunk") == [(0,)]
    assert instance.compute_log_manager.get_log_data(key).stdout is None


def test_a_tick_has_what_the_daemon_and_the_code_server_logged(
    instance: DagsterInstance, env: Mapping[str, str]
) -> None:
    key = ["repo", "a/schedule €", "tick-1"]
    with (
        InstigationLogger(key, instance, "repo", "nightly", level=logging.INFO) as daemon,
        InstigationLogger(key, instance, "repo", "nightly") as code_server,
    ):
        code_server.info("evaluating %s", "€")
        daemon.warning("done")
    messages = [record["msg"] for record in get_instigation_log_records(instance, key)]
    assert sorted(messages) == ["repo - nightly - done", "repo - nightly - evaluating €"]
    assert instance.compute_log_manager.is_capture_complete(key)
    listed = instance.compute_log_manager.get_log_keys_for_log_key_prefix(key[:2], STDERR)
    assert listed == [key]


def test_a_tick_that_logs_nothing_leaves_nothing(
    instance: DagsterInstance, env: Mapping[str, str]
) -> None:
    with InstigationLogger(["repo", "sensor", "tick-2"], instance, "repo", "sensor"):
        pass
    assert query(env["DAGSTER_PG_URI"], "select count(*) from apollo_compute_log") == [(0,)]


def test_a_tick_is_not_failed_by_a_database_that_is_away(
    instance: DagsterInstance, env: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    uri = env["DAGSTER_PG_URI"]
    query(uri, "alter table apollo_compute_log rename to apollo_compute_log_away")
    with caplog.at_level(logging.WARNING, "apollo.compute_logs"):  # noqa: SIM117
        with InstigationLogger(["repo", "sensor", "tick-3"], instance, "repo", "s") as logger:
            logger.info("evaluated")
    assert "bytes of the log repo/sensor/tick-3 are lost" in caplog.text
    assert "Run `apollo migrate`" in caplog.text


def test_the_instance_does_not_carry_the_database(
    instance: DagsterInstance, env: Mapping[str, str]
) -> None:
    reference = str(instance.get_ref().to_dict())
    assert env["DAGSTER_PG_URI"] not in reference
    assert "ComputeLogs" in reference
