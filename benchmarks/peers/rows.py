"""What others take for the same project: prefect-dbt, and astronomer-cosmos on Airflow.

Bare dbt and Apollo run beside each. A peer that cannot be installed, or does not do all of its
work, is a row that says so: it breaks nothing else.
"""

import contextlib
import json
import os
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import process, services, trees
from benchmarks.bench import Bench, size_text
from benchmarks.cells import seconds_text
from benchmarks.machine import taken
from benchmarks.peers.environments import PEERS, made
from benchmarks.process import CommandError, Usage
from benchmarks.table import Row
from benchmarks.workplace import Side, Workplace

_START_SECONDS: Final = 120.0
_LONGEST_REASON: Final = 200
_DAG: Final = "build"


def prefect(bench: Bench) -> list[Row]:
    """prefect-dbt, with a Prefect server that is up: by node, and by one command."""
    what = "peer: prefect-dbt, a flow run from start to end; Prefect's server is up, with SQLite"
    return _row(bench, "prefect-dbt", what, _prefect)


def cosmos(bench: Bench) -> list[Row]:
    """astronomer-cosmos: one task for each model's run, one for its tests."""
    what = "peer: astronomer-cosmos, `airflow dags test`, one task at a time (DuckDB)"
    return _row(bench, "cosmos", what, _cosmos)


def reason_of(error: Exception) -> str:
    """Why a peer was not measured, on one line: the last of what it said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"not measured: {lines[-1][:_LONGEST_REASON]}" if lines else type(error).__name__


def _row(
    bench: Bench, key: str, what: str, measure: Callable[[Bench, Workplace], dict[str, Usage]]
) -> list[Row]:
    place, moment = bench.workplace(bench.sizes.peers), taken()
    sides: tuple[Side, ...] = ("bare", "apollo")
    usages: dict[str, Usage] = {side: place.build(side, bench.server).usage for side in sides}
    bare, apollo = (usages[side].seconds for side in sides)
    try:
        theirs = measure(bench, place)
        usages.update(theirs)
        result = ", ".join(
            f"{name} {seconds_text(it.seconds)} ({it.seconds / bare:.2f} ×)"
            for name, it in theirs.items()
        )
    except (CommandError, OSError) as error:
        bench.say(f"{key}: {error}")
        usages, result = {}, reason_of(error)
    bench.say(f"{key}: bare {seconds_text(bare)}, Apollo {seconds_text(apollo)}; {result}")
    return [
        Row(
            key,
            what,
            size_text(place.models),
            reference=f"bare dbt {seconds_text(bare)}",
            apollo=f"{seconds_text(apollo)} ({apollo / bare:.2f} ×)",
            result=result,
            samples=[{"side": side, **asdict(it)} for side, it in usages.items()],
            taken=moment,
        )
    ]


def _prefect(bench: Bench, place: Workplace) -> dict[str, Usage]:
    python = made("prefect")
    (port,) = services.free_ports(1)
    home = _new_home(place, "prefect")
    env = {
        **place.peer_environment(python),
        "PREFECT_HOME": os.fspath(home),
        "PREFECT_API_URL": f"http://{services.HOST}:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    usages = {}
    with _prefect_server(env, port, home):
        for name, kind, tasks in (
            ("by node", "nodes", place.nodes),
            ("by one command", "command", 0),
        ):
            place.tidy()
            before = _count_tasks(env["PREFECT_API_URL"])
            command = [os.fspath(python), os.fspath(PEERS / "prefect" / "flow.py"), kind]
            usages[name] = process.run(command, env=env, cwd=home)
            found = _count_tasks(env["PREFECT_API_URL"]) - before
            if found != tasks:
                raise CommandError(f"{name}: {found} task runs, not {tasks}")
            bench.say(f"prefect-dbt, {name}: {seconds_text(usages[name].seconds)}")
    return usages


@contextmanager
def _prefect_server(env: Mapping[str, str], port: int, home: Path) -> Iterator[None]:
    command = ["prefect", "server", "start", "--host", services.HOST, "--port", str(port)]
    log = home / "server.log"
    with services.started([*command, "--no-ui"], env, home, log) as server:
        until = time.monotonic() + _START_SECONDS
        while not _answers(f"{env['PREFECT_API_URL']}/health"):
            if trees.has_ended(server.pid) or time.monotonic() > until:
                text = log.read_text(errors="replace")[-2000:]
                raise CommandError(f"Prefect's server is not up\n{text}")
            time.sleep(0.25)
        yield


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
        return bool(response.status == 200)  # noqa: PLR2004
    return False


def _count_tasks(api: str) -> int:
    """How many task runs Prefect's server knows."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{api}/task_runs/count", b"{}", headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        return int(json.load(response))


def _cosmos(bench: Bench, place: Workplace) -> dict[str, Usage]:
    python = made("cosmos")
    home = _new_home(place, "airflow")
    env = {
        **place.peer_environment(python),
        "AIRFLOW_HOME": os.fspath(home),
        "AIRFLOW__CORE__DAGS_FOLDER": os.fspath(PEERS / "cosmos" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    del env["DBT_TARGET_PATH"], env["DBT_LOG_PATH"]  # cosmos has those of its copy of the project
    process.run(["airflow", "db", "migrate"], env=env, cwd=home)
    bench.say("cosmos: the tasks run")
    place.tidy()
    usage = process.run(["airflow", "dags", "test", _DAG], env=env, cwd=home)
    with closing(sqlite3.connect(home / "airflow.db")) as database:
        query = "select count(*) from task_instance where dag_id = ? and state = 'success'"
        ((found,),) = database.execute(query, (_DAG,)).fetchall()
    if found != 2 * place.models:
        raise CommandError(f"{found} tasks succeeded, not {2 * place.models}")
    return {f"{found} tasks": usage}


def _new_home(place: Workplace, name: str) -> Path:
    home = place.root / name
    home.mkdir(exist_ok=True)
    return home
