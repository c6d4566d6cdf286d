"""Programs whose output is captured, and what the tests of compute logs ask of a database."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
from dagster._core.storage.compute_log_manager import ComputeIOType, ComputeLogManager
from pydantic import SecretStr

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance.postgres_logs.manager import PostgresComputeLogManager
from dagster_apollo.paths import CHECKOUT

STDOUT, STDERR = ComputeIOType.STDOUT, ComputeIOType.STDERR
MAX_BYTES = 65_536

_CAPTURING = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from dagster_apollo.instance.compute_logs import ComputeLogs
signal.alarm(150)  # a test that failed does not end what waits for it
manager = ComputeLogs.from_config_value(None, {})
with manager.capture_logs(json.loads(sys.argv[1])):
    exec(sys.argv[2])
"""


def start_capturing(
    env: Mapping[str, str],
    log_key: Sequence[str],
    program: str,
    *,
    before: str = "",
    stdout: int = subprocess.PIPE,
) -> "subprocess.Popen[bytes]":
    """Run a program in a process of its own that captures its output, as a run's does.

    Args:
        env: the process's environment.
        log_key: the log.
        program: Python whose output is captured.
        before: Python to run first, whose output is not.
        stdout: where the process's own stdout leads.
    """
    return subprocess.Popen(
        [sys.executable, "-c", before + _CAPTURING, json.dumps(log_key), program],
        cwd=CHECKOUT,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def capture(
    env: Mapping[str, str], log_key: Sequence[str], program: str, timeout: float = 60
) -> tuple[int, bytes, bytes]:
    """Run such a program to its end: its exit code, and what came out where it would have."""
    process = start_capturing(env, log_key, program)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def manager_of(uri: str, max_bytes: int = MAX_BYTES) -> PostgresComputeLogManager:
    return PostgresComputeLogManager(SecretStr(normalise_postgres_uri(uri)), max_bytes)


def read_all(manager: ComputeLogManager, log_key: Sequence[str]) -> tuple[bytes, bytes]:
    data = manager.get_log_data(log_key)
    return data.stdout or b"", data.stderr or b""


def query(uri: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def collectors(of: int) -> list[Path]:
    """The collectors (as directories of /proc) that a process has started."""
    return [
        process
        for process in Path("/proc").glob("[0-9]*")
        if _parent(process) == of and b"collector" in _command(process)
    ]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
