"""Processes that execute runs, with all that they started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dagster_apollo.dbt import process as dbt
from dagster_apollo.dbt.interpreter import APOLLOS_OWN
from dagster_apollo.services.workers import dbt_of, kill_tree, started_at

pytestmark = pytest.mark.integration

SLEEP = "import time; time.sleep(60)"
COLLECTOR = "dagster_apollo.instance.postgres_logs.collector"
PARENT = f"""
import subprocess, sys, time
for extra in ([], [{COLLECTOR!r}]):
    child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}, *extra], start_new_session=True)
    print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_run_takes_its_children_along_but_for_what_stores_its_output() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child, collector = int(parent.stdout.readline()), int(parent.stdout.readline())
        try:
            kill_tree(parent.pid)
            assert parent.wait(10) == -signal.SIGKILL
            until = time.monotonic() + 10
            while started_at(child) is not None and time.monotonic() < until:
                time.sleep(0.05)
            assert started_at(child) is None
            assert started_at(collector) is not None
        finally:
            os.kill(collector, signal.SIGKILL)


def sleeper(tmp_path: Path, run_id: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DBT_TARGET_PATH": str(tmp_path / run_id)}
    return dbt.start_process([sys.executable, "-c", SLEEP], tmp_path, environment)


def test_a_dbt_that_was_killed_is_told_from_one_that_failed(tmp_path: Path) -> None:
    process = sleeper(tmp_path, "a-run")
    assert dbt_of("a-run") == [process.pid]
    assert dbt_of("run") == []
    process.kill()
    process.wait(10)
    with pytest.raises(dbt.DbtEndedError, match=r"dbt was killed from outside by signal 9"):
        dbt.require_own_end(process)
    asked = sleeper(tmp_path, "a-run")
    dbt.stop_dbt(asked)
    dbt.require_own_end(asked)  # whoever stopped it knows why
    assert dbt_of("a-run") == []


def test_a_run_that_is_not_its_own_any_more_ends_its_dbt_and_starts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbt, "_barred", [])
    process = sleeper(tmp_path, "a-run")
    dbt.end_every_dbt("the run was taken")
    assert process.poll() is not None
    with pytest.raises(dbt.DbtEndedError, match="stopped: the run was taken"):
        dbt.require_own_end(process)
    with pytest.raises(dbt.DbtEndedError, match="not started: the run was taken"):
        dbt.start_dbt([], interpreter=APOLLOS_OWN, project_dir=tmp_path, environment={})
