"""Processes that execute runs, with all that they started."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dagster_apollo.services.workers import kill_tree, started_at

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
