"""Production processes for tests: started with the `apollo` command, on this machine.

Each has its own log. They share a database and an instance directory, as services of one release
share both by name.
"""

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.test.utils import execute_dagster_graphql

from dagster_apollo.paths import CHECKOUT
from dagster_apollo.services.contract import load_services
from dagster_apollo.services.workspace import CodeServers

SLOW_MODEL = """{{ config(materialized='table') }}
select sum(a.range * b.range) as total from range(3000000) a, range(%d) b
"""
FOR_EVER = 300_000
_SECONDS = 90


def wait_until(condition: Callable[[], Any], seconds: float = _SECONDS) -> Any:
    """Wait for something to be true, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return value


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """One `apollo` process and its log."""

    process: "subprocess.Popen[bytes]"
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def says(self, text: str, seconds: float = _SECONDS) -> str:
        """Wait for a text in the log; the whole log is in the failure."""
        deadline = time.monotonic() + seconds
        while text not in self.log:
            lost = self.process.poll() is not None or time.monotonic() > deadline
            assert not lost, f"no {text!r} in:\n{self.log}"
            time.sleep(0.1)
        return self.log

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = _SECONDS) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def ends(self, seconds: float = _SECONDS) -> int:
        return self.process.wait(seconds)


@dataclass
class Services:
    """The services of one test, which end with it."""

    env: dict[str, str]
    folder: Path
    running: list[Service] = field(default_factory=list)

    def start(self, *arguments: str, shell: str | None = None, **variables: str) -> Service:
        """Start `apollo ARGUMENTS`; `shell` is a script that execs "$@"."""
        log_file = self.folder / f"{arguments[0]}-{len(self.running)}.log"
        command = [sys.executable, "-m", "dagster_apollo.cli", *arguments]
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                ["sh", "-c", shell, "sh", *command] if shell else command,
                cwd=CHECKOUT,
                env={**self.env, "PYTHONUNBUFFERED": "1", **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.running.append(Service(process, log_file))
        return self.running[-1]

    def code_server(
        self, *, seconds: int = 30, shell: str | None = None, port: str = ""
    ) -> Service:
        """Start a code server, which serves when this returns."""
        service = self.start(
            *("code-server", "--port", port or self.env["APOLLO_CODE_SERVER"].split(":")[1]),
            shell=shell,
            APOLLO_SHUTDOWN_SECONDS=str(seconds),
        )
        service.says("Serving the tenants")
        return service

    def daemon(self, **variables: str) -> Service:
        """Start a daemon, which is active or stands by when this returns."""
        service = self.start("daemon", **variables)
        wait_until(lambda: re.search(r"is the active one|Standing by", service.log))
        return service

    def close(self) -> None:
        for service in self.running:
            if service.process.poll() is None:
                for pid in [service.process.pid, *descendants(service.process.pid)]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                service.process.wait(10)


@dataclass
class Control:
    """What a person does in the UI, by the UI's own GraphQL."""

    workspace: WorkspaceProcessContext

    @property
    def instance(self) -> DagsterInstance:
        return self.workspace.instance

    def query(self, text: str, **variables: object) -> Any:
        context = self.workspace.create_request_context()
        result = execute_dagster_graphql(context, text, variables=variables)
        assert not result.errors, result.errors
        return next(iter(result.data.values()))

    def launch(self, job: str = "small_build", **config: object) -> str:
        """Launch a run (into the queue), and return its id."""
        ops = {"ops": {"small_dbt_build": {"config": config}}} if config else {}
        run = self.query(
            """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
            ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            params={
                "selector": {
                    "repositoryLocationName": "apollo",
                    "repositoryName": "__repository__",
                    "pipelineName": job,
                },
                "runConfigData": json.dumps(ops),
                "mode": "default",
            },
        )
        assert "run" in run, run
        return str(run["run"]["runId"])

    def reexecute_from_asset_failure(self, run_id: str) -> str:
        run = self.query(
            """mutation ($params: ReexecutionParams!) { launchRunReexecution(
            reexecutionParams: $params) { ... on LaunchRunSuccess { run { runId } }
            ... on PythonError { message } } }""",
            params={"parentRunId": run_id, "strategy": "FROM_ASSET_FAILURE"},
        )
        assert "run" in run, run
        return str(run["run"]["runId"])

    def terminate(self, run_id: str) -> str:
        """Terminate a run; what GraphQL answers."""
        answer = self.query(
            "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id
        )
        return str(answer["__typename"])

    def status(self, run_id: str) -> DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def ends(self, run_id: str, seconds: float = _SECONDS) -> DagsterRunStatus:
        """Wait for a run's end."""

        def ended() -> bool:
            run = self.instance.get_run_by_id(run_id)
            return run is not None and run.is_finished

        wait_until(ended, seconds)
        return self.status(run_id)

    def messages(self, run_id: str) -> str:
        """The run's event log."""
        return "\n".join(entry.message for entry in self.instance.all_logs(run_id))

    def starts(self, run_id: str) -> int:
        """How often the run was executed."""
        return len(self.instance.all_logs(run_id, of_type=DagsterEventType.RUN_START))


@contextlib.contextmanager
def control(instance: DagsterInstance) -> Iterator[Control]:
    """Be a webserver, within this process; its environment must be that of a service."""
    servers = CodeServers(load_services().code_servers)
    with WorkspaceProcessContext(instance, servers) as workspace:
        yield Control(workspace)


def query_is_running(env: Mapping[str, str], model: str) -> bool:
    """Whether dbt has begun to build a model in any run."""
    runs = Path(env["DAGSTER_HOME"], "tenants", "small", "runs")
    logs = [path.read_text() for path in runs.glob("*/dbt.log")]
    return any(f"START sql table model marts.{model} " in log for log in logs)


def processes(env: Mapping[str, str], part: str) -> list[int]:
    """The processes of this test's environment whose command line has a part."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if part.encode() in command and _is_of(env, process):
                found.append(int(process.name))
    return found


def _is_of(env: Mapping[str, str], process: Path) -> bool:
    try:
        return f"TMPDIR={env['TMPDIR']}\0".encode() in (process / "environ").read_bytes()
    except PermissionError:  # it keeps that from all but root (process_privacy.py)
        return int(process.name) in descendants(os.getpid())


def dbt_processes(env: Mapping[str, str]) -> list[int]:
    return processes(env, "launcher.py")


def run_workers(env: Mapping[str, str]) -> list[int]:
    return processes(env, "multiprocessing.spawn")


def descendants(pid: int) -> list[int]:
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(status.parent.name))
                    queue.append(int(status.parent.name))
    return found


@contextlib.contextmanager
def pgbouncer(uri: str, mode: str, folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A real pgbouncer before a Postgres on a Unix socket: its URI, and its process."""
    binary = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("no pgbouncer (Debian: apt-get install pgbouncer)")
    match = re.fullmatch(r"postgresql://(\w+):\w*@/(\w+)\?host=(.+)", uri)
    assert match, uri
    user, database, directory = match.groups()
    port = free_port()
    config = folder / f"pgbouncer-{mode}.ini"
    config.write_text(
        f"[databases]\n{database} = host={directory} port=5432 user={user}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        f"pool_mode = {mode}\nunix_socket_dir =\n"
    )
    config.chmod(0o644)
    # it refuses to run as root; the server's own user can reach its socket
    owner = pwd.getpwuid(Path(directory).stat().st_uid).pw_name
    user_option = ["-u", owner] if os.geteuid() == 0 else []
    process = subprocess.Popen([binary, *user_option, str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), 10)
        yield f"postgresql://{user}:s3cretvalue@127.0.0.1:{port}/{database}", process
    finally:
        process.kill()
        process.wait(10)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
