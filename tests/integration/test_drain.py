"""A process writes as fast as it likes, however slowly its output is read."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.version import Version

from dagster_apollo.dbt.drain import Drain
from dagster_apollo.dbt.process import stop_dbt
from dagster_apollo.dbt.resource import TenantDbtInvocation
from dagster_apollo.dbt.stock import DagsterDbtTranslator

pytestmark = pytest.mark.integration

WAIT_SECONDS = 60
LINES = 20_000
WRITES = """
import sys, pathlib
for number in range({lines}):
    print(f"{{number:0100d}}")
sys.stdout.flush()
pathlib.Path("written").touch()
"""
LASTS = "import time; print('begun', flush=True); time.sleep(600)"

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start Python on some code as dbt is started; what still runs in the end is stopped."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        stop_dbt(process)


def invocation(process: "subprocess.Popen[bytes]", tmp_path: Path) -> TenantDbtInvocation:
    return TenantDbtInvocation(
        process=process,
        manifest={},
        dagster_dbt_translator=DagsterDbtTranslator(),
        project_dir=tmp_path,
        target_path=tmp_path,
        raise_on_error=True,
        cli_version=Version("1.11"),
    )


def drains() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dbt-output"]


def test_a_reader_that_stops_does_not_stop_the_writer(start: Start, tmp_path: Path) -> None:
    process = start(WRITES.format(lines=LINES))
    lines = invocation(process, tmp_path)._stream_stdout()
    assert next(lines) == f"{0:0100d}"
    # two megabytes are more than a pipe holds
    assert process.wait(WAIT_SECONDS) == 0
    assert (tmp_path / "written").exists()
    assert list(lines) == [f"{number:0100d}" for number in range(1, LINES)]
    assert not drains()


def test_a_reader_that_gives_up_ends_the_process_and_the_thread(
    start: Start, tmp_path: Path
) -> None:
    process = start(LASTS)
    lines = invocation(process, tmp_path)._stream_stdout()
    assert next(lines) == "begun"
    assert len(drains()) == 1
    lines.close()  # type: ignore[attr-defined]  # a generator
    assert process.returncode is not None
    assert not drains()


def test_the_thread_ends_with_a_process_that_is_stopped(start: Start, tmp_path: Path) -> None:
    process = start(LASTS)
    lines = invocation(process, tmp_path)._stream_stdout()
    assert next(lines) == "begun"
    stop_dbt(process)
    assert "KeyboardInterrupt" in list(lines)[-1]
    assert not drains()


def test_what_goes_wrong_on_the_thread_is_raised_where_the_lines_are_read(tmp_path: Path) -> None:
    with (tmp_path / "written").open("wb") as unreadable:
        lines = Drain(unreadable).lines()
        with pytest.raises(OSError, match="Bad file descriptor"):
            next(lines)
    assert not drains()
