"""What Dagster expects of a compute log manager: of Dagster's own for files, and of Apollo's."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from dagster._core.storage.compute_log_manager import CapturedLogData, ComputeLogManager
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from dagster_apollo.instance.compute_logs import ComputeLogs
from dagster_apollo.instance.postgres_logs.manager import PostgresComputeLogManager
from tests.integration.compute_logs import STDERR, STDOUT, capture, read_all
from tests.integration.conftest import environment

pytestmark = pytest.mark.integration

KEY = ["run", "compute_logs", "abcdefgh"]


@pytest.fixture(params=["files", "postgres"])
def env(request: pytest.FixtureRequest, apollo_env, tmp_path: Path) -> dict[str, str]:
    """The environment of the processes that write."""
    postgres = request.param == "postgres"
    uri = request.getfixturevalue("migrated_uri") if postgres else ""
    return apollo_env(tmp_path, DAGSTER_PG_URI=uri)


@pytest.fixture
def manager(env: Mapping[str, str]) -> Iterator[ComputeLogManager]:
    """Another process's manager of the same logs."""
    with environment(env):
        manager = ComputeLogs.from_config_value(None, {})
    kind = PostgresComputeLogManager if env["DAGSTER_PG_URI"] else LocalComputeLogManager
    assert type(manager) is kind
    yield manager
    manager.dispose()


def write(manager: ComputeLogManager, log_key: list[str], text: str) -> None:
    with manager.open_log_stream(log_key, STDERR) as stream:
        stream.write(text)  # type: ignore[union-attr,arg-type]


def test_what_python_children_and_file_descriptors_write_is_captured_in_order(
    env: dict[str, str], manager: ComputeLogManager
) -> None:
    program = """
print("printed"); os.system("echo by a child; echo to stderr >&2"); print("printed again")
sys.stdout.flush(); os.write(1, b"raw\\n"); print("error", file=sys.stderr)
print("no line", end="")
"""
    code, _, errors = capture(env, KEY, program)
    assert code == 0, errors
    out, err = read_all(manager, KEY)
    assert out.splitlines()[-2:] == [b"raw", b"no line"]
    assert sorted(out.splitlines()[:-2]) == [b"by a child", b"printed", b"printed again"]
    assert err == b"to stderr\nerror\n"


def test_bytes_of_any_kind_come_back_as_they_were(
    env: dict[str, str], manager: ComputeLogManager
) -> None:
    program = "sys.stdout.buffer.write(bytes(range(256)) * 20 + 'grün €'.encode())"
    assert capture(env, KEY, program)[0] == 0
    assert read_all(manager, KEY)[0] == bytes(range(256)) * 20 + "grün €".encode()


def test_a_log_is_complete_when_the_capture_has_ended_not_before(
    env: dict[str, str], manager: ComputeLogManager
) -> None:
    assert not manager.is_capture_complete(KEY)
    assert capture(env, KEY, "print('text')")[0] == 0
    assert manager.is_capture_complete(KEY)


def test_an_error_in_what_is_captured_passes_and_its_output_is_kept(
    env: dict[str, str], manager: ComputeLogManager
) -> None:
    code, _, errors = capture(env, KEY, "print('before'); raise SystemExit(7)")
    assert (code, read_all(manager, KEY)) == (7, (b"before\n", b"")), errors


def test_a_cursor_reads_on_where_the_last_reading_ended(
    env: dict[str, str], manager: ComputeLogManager
) -> None:
    program = "[print(f'line {i:03}') for i in range(300)]; print('error', file=sys.stderr)"
    assert capture(env, KEY, program)[0] == 0
    pieces, cursor = [], None
    while not pieces or pieces[-1].stdout or pieces[-1].stderr:
        pieces.append(manager.get_log_data(KEY, cursor, max_bytes=100))
        cursor = pieces[-1].cursor
    assert max(len(piece.stdout or b"") for piece in pieces) == 100
    assert b"".join(piece.stdout or b"" for piece in pieces) == read_all(manager, KEY)[0]
    assert [piece.stderr for piece in pieces if piece.stderr] == [b"error\n"]
    assert cursor == "2700:6"


def test_a_log_that_is_not_there_reads_as_none(manager: ComputeLogManager) -> None:
    assert manager.get_log_data_for_type(["no", "such"], STDOUT, 5, 100) == (None, 5)
    assert manager.get_log_data(["no", "such"]).stdout is None


def test_what_is_written_to_a_stream_later_on_goes_after_what_is_there(
    manager: ComputeLogManager,
) -> None:
    write(manager, ["ticks", "1"], "one\n")
    write(manager, ["ticks", "1"], "two €\n")
    assert read_all(manager, ["ticks", "1"]) == (b"", "one\ntwo €\n".encode())


def test_logs_are_deleted_by_key_and_by_prefix(manager: ComputeLogManager) -> None:
    keys = [["a", "1"], ["a", "2"], ["a", "sub", "3"], ["ab", "4"], ["a%", "5"], ["A", "6"]]
    for key in keys:
        write(manager, key, "text")

    def left() -> list[str]:
        return [key[-1] for key in keys if manager.get_log_data(key).stderr]

    manager.delete_logs(log_key=["a", "1"])
    assert left() == ["2", "3", "4", "5", "6"]
    manager.delete_logs(prefix=["a"])
    assert left() == ["4", "5", "6"]
    manager.delete_logs(prefix=["no", "such"])
    manager.delete_logs(log_key=["no", "such"])
    with pytest.raises(Exception, match="prefix"):
        manager.delete_logs()


def test_the_logs_right_below_a_prefix_are_listed(manager: ComputeLogManager) -> None:
    for key in (["b_", "1"], ["b_", "2"], ["b_", "sub", "3"], ["bx", "4"]):
        write(manager, key, "text")
    listed = manager.get_log_keys_for_log_key_prefix(["b_"], STDERR)
    assert sorted(listed) == [["b_", "1"], ["b_", "2"]]
    assert manager.get_log_keys_for_log_key_prefix(["b_"], STDOUT) == []


def test_lines_are_read_over_several_logs_as_backfills_do(
    manager: ComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_CAPTURED_LOG_CHUNK_SIZE", "2")
    write(manager, ["backfill", "20260101"], "one\ntwo\nthree")
    write(manager, ["backfill", "20260102"], "four")
    lines: list[str] = []
    cursor = None
    for _ in range(2):
        more, at = manager.read_log_lines_for_log_key_prefix(
            ["backfill"], cursor.to_string() if cursor else None, STDERR
        )
        lines, cursor = [*lines, *more], at
    assert lines == ["one", "two", "three", "four"]
    assert cursor
    assert not cursor.has_more_now


def test_whoever_subscribes_to_a_complete_log_gets_it_and_is_told_that_it_is_complete(
    env: dict[str, str], manager: ComputeLogManager
) -> None:
    assert capture(env, KEY, "print('text')")[0] == 0
    given: list[CapturedLogData] = []
    subscription = manager.subscribe(KEY)
    subscription(given.append)
    assert subscription.is_complete
    assert b"".join(data.stdout or b"" for data in given) == b"text\n"
    subscription.dispose()
    later: list[CapturedLogData] = []
    manager.subscribe(KEY, "2:0")(later.append)
    assert b"".join(data.stdout or b"" for data in later) == b"xt\n"
