"""Apollo's three services, and stock's two, as real processes that a run is launched through.

Apollo: `apollo code-server`, `apollo daemon`, `apollo webserver`. Stock: `dagster-webserver` and
`dagster-daemon run` on a workspace with a Python module, as its documentation shows; each starts
a code server of its own, and the daemon replaces its own every minute. Webservers listen at the
loopback address, where Apollo's asks nobody to sign in.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from benchmarks import subreaper, trees
from benchmarks.postgres import Server
from benchmarks.process import CommandError
from benchmarks.workplace import NAME, Workplace, apollo_command
from dagster_apollo.services.contract import ServiceEnvironment
from dagster_apollo.web.contract import WebEnvironment

Platform = Literal["apollo", "stock"]
HOST: Final = "127.0.0.1"
_MODULE: Final = "benchmarks.stock.definitions"
_JOBS: Final[Mapping[Platform, tuple[str, str]]] = {
    "apollo": ("apollo", f"{NAME}_build"),
    "stock": (_MODULE, "build"),
}
"""The code location and the job, of each."""
_START_SECONDS: Final = 240.0
_RUN_SECONDS: Final = 1800.0
_STOP_SECONDS: Final = 20.0
_LOOK_EVERY_SECONDS: Final = 0.05
_READY: Final = """{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } }
instance { daemonHealth { allDaemonStatuses { required healthy } } } }"""
_LAUNCH: Final = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
__typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


@dataclass(frozen=True)
class Launched:
    """A run that has succeeded.

    Args:
        seconds: from the call that launched it until its success was in the database.
        queued_seconds: from when it was in the queue until the daemon launched it.
        starting_seconds: from there until it executed.
    """

    seconds: float
    queued_seconds: float
    starting_seconds: float


@dataclass
class Services:
    """The services of one side, which are up.

    Args:
        side: whose they are.
        url: of the webserver.
        database: the name of their database.
        pids: the first process of each, by the service's name.
    """

    side: Platform
    url: str
    database: str
    folder: Path
    pids: dict[str, int] = field(default_factory=dict)

    def cpu_seconds(self) -> dict[str, float]:
        """The CPU time that each has taken so far."""
        return {name: trees.cpu_seconds(pid) for name, pid in self.pids.items()}

    def launch(
        self, server: Server, *, job: str = "", assets: Sequence[Sequence[str]] = ()
    ) -> Launched:
        """Launch a job, and wait for its success.

        Args:
            server: where the services' database is.
            job: its name; by default that of the one that builds everything.
            assets: the keys of those that it is to materialize; none: all.

        Raises:
            CommandError: it was not launched, failed, or does not end.
        """
        location, whole = _JOBS[self.side]
        chosen = {"assetSelection": [{"path": list(key)} for key in assets]} if assets else {}
        selector = {
            "repositoryLocationName": location,
            "repositoryName": "__repository__",
            "pipelineName": job or whole,
            **chosen,
        }
        params = {"selector": selector, "runConfigData": "{}", "mode": "default"}
        with server.connected(self.database) as query:
            begun = time.monotonic()
            answer = graphql(self.url, _LAUNCH, params=params)["launchRun"]
            if "run" not in answer:
                raise CommandError(f"{self.side}: the run was not launched: {answer}")
            run_id = answer["run"]["runId"]
            status = ""
            while status != "SUCCESS":
                time.sleep(_LOOK_EVERY_SECONDS)
                ((status,),) = query("select status from runs where run_id = %s", run_id)
                late = time.monotonic() - begun > _RUN_SECONDS
                if status in {"FAILURE", "CANCELED"} or late:
                    raise CommandError(f"{self.side}: the run is {status}\n{self.logs()}")
            seconds = time.monotonic() - begun
            rows = query(
                "select dagster_event_type, extract(epoch from min(timestamp)) from event_logs "
                "where run_id = %s and dagster_event_type like 'PIPELINE_%%' group by 1",
                run_id,
            )
        at = {kind.removeprefix("PIPELINE_"): float(moment) for kind, moment in rows}
        return Launched(seconds, at["STARTING"] - at["ENQUEUED"], at["START"] - at["STARTING"])

    def logs(self) -> str:
        """The end of what each has printed."""
        texts = {name: _log(self.folder, self.side, name) for name in self.pids}
        return "\n".join(
            f"== {name}\n{path.read_text(errors='replace')[-2000:]}" for name, path in texts.items()
        )


@contextmanager
def running(side: Platform, place: Workplace, server: Server) -> Iterator[Services]:
    """Services that are up and healthy, on a new database, for the length of a `with` block.

    Raises:
        CommandError: one of them ended, or they are not healthy in time.
    """
    database, (web, code) = server.make_database(), free_ports(2)
    uri = server.uri(database)
    services = Services(side, f"http://{HOST}:{web}", database, place.root)
    with ExitStack() as stack:
        if side == "apollo":
            stack.callback(place.forget_instance)
            place.forget_instance()
        for name, command, env in _commands(side, place, uri, web, code):
            log = _log(place.root, side, name)
            process = stack.enter_context(started(command, env, place.root, log))
            services.pids[name] = process.pid
            if name == "code server":
                _wait(services, lambda: _is_open(code))
        _wait(services, lambda: _is_ready(services.url))
        yield services


def graphql(url: str, query: str, **variables: object) -> Any:  # noqa: ANN401
    """What a webserver answers to an operation.

    Raises:
        CommandError: it answers with errors.
        OSError: it does not answer.
    """
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer = json.load(response)
    if answer.get("errors"):
        raise CommandError(f"{url}: {answer['errors']}")
    return answer["data"]


def is_healthy(answer: Mapping[str, Any]) -> bool:
    """Whether the definitions are loaded and the daemon's threads all report."""
    statuses = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    required = [it["healthy"] for it in statuses if it["required"]]
    return bool(answer["repositoriesOrError"].get("nodes")) and bool(required) and all(required)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _commands(
    side: Platform, place: Workplace, uri: str, web: int, code: int
) -> list[tuple[str, list[str], dict[str, str]]]:
    """Name, command and environment of each service, in the order in which they start."""
    if side == "apollo":
        models = (ServiceEnvironment, WebEnvironment)
        env = {
            **place.apollo_environment(uri),
            **{name.upper(): "" for model in models for name in model.model_fields},
            "APOLLO_CODE_SERVER": f"{HOST}:{code}",
            "APOLLO_SHUTDOWN_SECONDS": "10",
        }
        apollo = apollo_command()
        return [
            ("code server", [*apollo, "code-server", "--port", str(code)], env),
            ("daemon", [*apollo, "daemon"], env),
            ("webserver", [*apollo, "webserver", "--port", str(web)], env),
        ]
    workspace = place.stock_home / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": _MODULE}]}))
    env = place.stock_environment(uri, "in_process")
    shared = ["-w", os.fspath(workspace)]
    return [
        ("daemon", ["dagster-daemon", "run", *shared], env),
        ("webserver", ["dagster-webserver", "-h", HOST, "-p", str(web), *shared], env),
    ]


@contextmanager
def started(
    command: list[str], env: Mapping[str, str], cwd: Path, log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that ends with the `with` block, and all that it started with it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, subreaper.__file__, *command],
            env={**env, "PYTHONUNBUFFERED": "1"},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in trees.members(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def _wait(services: Services, holds: Any) -> None:  # noqa: ANN401
    until = time.monotonic() + _START_SECONDS
    while not holds():
        gone = [name for name, pid in services.pids.items() if trees.has_ended(pid)]
        if gone or time.monotonic() > until:
            what = f"{', '.join(gone)} ended" if gone else "not healthy in time"
            raise CommandError(f"{services.side}: {what}\n{services.logs()}")
        time.sleep(0.25)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _is_ready(url: str) -> bool:
    try:
        return is_healthy(graphql(url, _READY))
    except OSError:  # it is not up yet
        return False


def _log(folder: Path, side: str, name: str) -> Path:
    return folder / f"{side}-{name.replace(' ', '-')}.log"
