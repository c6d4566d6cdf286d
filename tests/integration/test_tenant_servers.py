"""deploy/render-tenants.yaml, run: two code servers, and what becomes of one tenant's run while the
other tenant's server hangs, runs out of memory and is killed.

The services have the variables that the Blueprint gives them, and its start commands, in processes
of this machine; the chapters share them and depend on each other, in this order. `make rehearse`
runs this, too; the hosts and the builds of a Blueprint are what tests/rehearsal is about.
"""

import contextlib
import json
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from dagster_apollo.paths import CHECKOUT
from dagster_apollo.services.workers import dbt_of
from tests.integration.conftest import (
    CopyTenants,
    MakeDatabase,
    MakeEnvironment,
    RunApollo,
    make_pem,
)
from tests.integration.privacy import environments
from tests.integration.services import Service, Services, descendants, free_port, wait_until
from tests.rehearsal.blueprint import Address, Answers, load

pytestmark = pytest.mark.integration

WEB, DAEMON = "dagster-webserver", "dagster-daemon"
CALM, SICK = "williamgrant", "acme"
DATABASE = "dagster-postgres"
CREDENTIALS = ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")
MEMORY = 'exec prlimit --as=6000000000 -- "$@"'
"""Shell: no process of the service gets more than 6 GB of addresses."""
WAITS = """
import pathlib
import time


def model(dbt, session):
    dbt.config(materialized="table")
    folder = pathlib.Path({folder!r})
    (folder / "waits").touch()
    while not (folder / "go").exists():
        time.sleep(0.1)
    return session.sql("select 1 as n")
"""
GROWS = """
import mmap


def grow():
    held = []
    while True:
        held.append(mmap.mmap(-1, 64 << 20))  # not written to: this machine keeps its own memory


def model(dbt, session):
    dbt.config(materialized="table")
    grow()
    return session.sql("select 1 as n")
"""
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name
    locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
RELOAD = """mutation ($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {
    __typename } }"""
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUN = """query ($id: ID!) { runOrError(runId: $id) { ... on Run { status
    eventConnection { events { ... on MessageEvent { message } } } } } }"""


@dataclass
class Person:
    """Somebody who has signed in to the web service, by what the pages ask it for."""

    client: httpx.Client

    def ask(self, text: str, **variables: object) -> Any:
        answer = self.client.post("/graphql", json={"query": text, "variables": variables})
        body = answer.json()
        assert "errors" not in body, body
        return next(iter(body["data"].values()))

    def locations(self) -> dict[str, str]:
        """What each code location is; a PythonError for one that cannot be reached."""
        entries = self.ask(LOCATIONS)["locationEntries"]
        return {it["name"]: it["locationOrLoadError"]["__typename"] for it in entries}

    def launch(self, tenant: str) -> str:
        selector = {
            "repositoryLocationName": tenant,
            "repositoryName": "__repository__",
            "pipelineName": f"{tenant}_build",
        }
        params = {"selector": selector, "runConfigData": "{}", "mode": "default"}
        return str(self.ask(LAUNCH, params=params)["run"]["runId"])

    def status(self, run_id: str) -> str:
        return str(self.ask(RUN, id=run_id)["status"])

    def log(self, run_id: str) -> str:
        events = self.ask(RUN, id=run_id)["eventConnection"]["events"]
        return "\n".join(it["message"] for it in events if it)


@dataclass
class Estate:
    """All services but the daemon, and what they were given."""

    services: Services
    variables: dict[str, dict[str, str]]
    servers: dict[str, Service]
    person: Person
    folder: Path
    runs: dict[str, str]

    def start(self, name: str, *, shell: str | None = None) -> Service:
        """Start a service as the Blueprint says."""
        _, *arguments = BLUEPRINT.services[name].start_command.split()
        return self.services.start(*arguments, shell=shell, **self.variables[name])

    def serving_process(self, tenant: str) -> int:
        return next(
            pid
            for pid in descendants(self.servers[tenant].process.pid)
            if b"services.code_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )

    def run_of(self, tenant: str) -> str:
        return self.person.status(self.runs[tenant])

    def results(self, tenant: str) -> list[dict[str, str]]:
        """What dbt says of each node of the tenant's run."""
        runs = Path(self.variables[WEB]["DAGSTER_HOME"], "tenants", tenant, "runs")
        results = json.loads((runs / self.runs[tenant] / "run_results.json").read_text())
        return list(results["results"])


BLUEPRINT = load(CHECKOUT / "deploy" / "render-tenants.yaml")


def project(folder: Path, model: str) -> Path:
    """The least that is a dbt project, with one model in Python."""
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: shop\nversion: '1.0'\nprofile: default\n")
    (folder / "models" / "only.py").write_text(model)
    return folder


@pytest.fixture(scope="module")
def estate(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    make_database: MakeDatabase,
    _migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Estate]:
    """Two tenants, each with a code server of its own, and a web service."""
    folder = tmp_path_factory.mktemp("estate")
    waits = WAITS.replace("{folder!r}", repr(str(folder)))
    tenants_dir = copy_tenants(
        dbt_williamgrant=project(folder / "calm", waits), dbt_acme=project(folder / "sick", GROWS)
    )
    base = apollo_env(tenants_dir)
    ports = {name: free_port() for name, it in BLUEPRINT.services.items() if it.listens}
    addresses = {name: Address("127.0.0.1", port) for name, port in ports.items()}
    uri, generated = make_database(_migrated_template), secrets.token_urlsafe(32)
    variables = {}
    for name in BLUEPRINT.services:
        given = {f"SNOWFLAKE_{it}": f"{it.lower()}-for-{name}" for it in CREDENTIALS}
        given["SNOWFLAKE_PRIVATE_KEY_PEM"] = make_pem()
        answers = Answers({DATABASE: uri}, addresses, given, lambda _owner, _key: generated)
        variables[name] = {
            **BLUEPRINT.variables(name, answers),
            # not Snowflake; where this machine has room; a port of its own
            "DBT_TARGET": "local",
            "DAGSTER_HOME": base["DAGSTER_HOME"],
            **({"PORT": str(ports[name])} if name in ports else {}),
        }
    variables[WEB]["APOLLO_PUBLIC_URL"] = addresses[WEB].url
    servers = {tenant: f"dagster-code-{tenant}" for tenant in (CALM, SICK)}
    for name in servers.values():
        assert call_apollo(["prepare"], {**base, **variables[name]}).returncode == 0
    services = Services(base, folder)
    estate = Estate(services, variables, {}, Person(httpx.Client()), folder, {})
    try:
        for tenant, name in servers.items():
            estate.servers[tenant] = estate.start(name, shell=MEMORY if tenant == SICK else None)
        for server in estate.servers.values():
            server.says("Serving the tenants")
        estate.start(WEB).says("Serving at")
        estate.person.client = sign_in(addresses[WEB].url, generated)
        yield estate
    finally:
        estate.person.client.close()
        services.close()


def sign_in(url: str, password: str) -> httpx.Client:
    client = httpx.Client(base_url=url, headers={"Origin": url}, timeout=60)

    def answer() -> httpx.Response | None:
        with contextlib.suppress(httpx.ConnectError):  # it says that it serves just before it does
            return client.post("/auth/sign-in", data={"name": "admin", "password": password})
        return None

    answered = wait_until(answer)
    assert answered.status_code == 303, answered.text
    cookie = answered.headers["set-cookie"].partition(";")[0]  # httpx keeps it for https alone
    client.headers["Cookie"] = cookie
    return client


def test_each_service_knows_the_credentials_of_its_own_tenant_alone(estate: Estate) -> None:
    known = {
        name: {key for key, value in it.items() if key.startswith("SNOWFLAKE_") and value}
        for name, it in estate.variables.items()
    }
    assert known[WEB] == known[DAEMON] == set()
    for tenant, other in ((CALM, SICK), (SICK, CALM)):
        pid = estate.serving_process(tenant)
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert f"SNOWFLAKE_USER=user-for-dagster-code-{tenant}" in environment
        assert other not in environment
    assert estate.person.locations() == dict.fromkeys((CALM, SICK), "RepositoryLocation")


def test_while_one_server_hangs_the_other_tenant_s_run_starts_and_the_ui_shows_which_hangs(
    estate: Estate,
) -> None:
    person = estate.person
    # that of the sick one comes first in the queue
    estate.runs = {tenant: person.launch(tenant) for tenant in (SICK, CALM)}
    os.kill(estate.serving_process(SICK), signal.SIGSTOP)
    daemon = estate.start(DAEMON)
    daemon.says("This daemon is the active one")

    wait_until((estate.folder / "waits").exists)

    assert estate.run_of(CALM) == "STARTED"
    assert estate.run_of(SICK) in {"QUEUED", "STARTING"}
    person.ask(RELOAD, name=SICK)
    assert person.locations() == {CALM: "RepositoryLocation", SICK: "PythonError"}
    assert person.client.get("/healthz").status_code == 200
    assert person.client.get("/readyz").status_code == 503
    assert f"Code location {SICK} is loaded once that is over" in daemon.log


def test_nobody_but_root_looks_into_what_serves_or_builds_a_tenant(estate: Estate) -> None:
    server = estate.servers[CALM].process.pid
    everything = [server, *descendants(server)]
    open_to_all = environments(everything)
    assert len(everything) >= 5, "supervisor, server, worker, dbt, and what Python adds"
    assert len(open_to_all) < len(everything) / 2
    dbt = set(dbt_of(estate.runs[CALM])) - open_to_all.keys()
    assert [Path(f"/proc/{pid}/comm").read_text().strip() for pid in dbt] == [
        f"dbt-{estate.runs[CALM]}"[:15]
    ], "by which it is found"
    for secret in ("DAGSTER_PG_URI", "SNOWFLAKE_"):
        assert not [pid for pid, content in open_to_all.items() if secret in content]


def test_a_server_that_goes_on_gets_the_run_that_waited_for_it(estate: Estate) -> None:
    os.kill(estate.serving_process(SICK), signal.SIGCONT)

    wait_until(lambda: estate.run_of(SICK) == "FAILURE")  # see the next test

    waited = estate.person.log(estate.runs[SICK])
    assert "re-submitting the run into the queue" in waited
    wait_until(lambda: set(estate.person.locations().values()) == {"RepositoryLocation"})


def test_a_run_that_takes_all_memory_fails_by_itself(estate: Estate) -> None:
    assert [it["status"] for it in estate.results(SICK)] == ["error"]
    assert "Cannot allocate memory" in estate.results(SICK)[0]["message"]
    assert estate.servers[SICK].process.poll() is None, "its server goes on"
    assert estate.run_of(CALM) == "STARTED"


def test_a_server_that_is_killed_takes_no_other_tenant_s_run_with_it(estate: Estate) -> None:
    person, server = estate.person, estate.servers[SICK].process
    for pid in (server.pid, *descendants(server.pid)):  # all at once, as with its host
        os.kill(pid, signal.SIGKILL)
    server.wait(10)
    person.ask(RELOAD, name=SICK)
    assert person.locations() == {CALM: "RepositoryLocation", SICK: "PythonError"}
    assert estate.run_of(CALM) == "STARTED"

    (estate.folder / "go").touch()

    wait_until(lambda: estate.run_of(CALM) != "STARTED")
    assert estate.run_of(CALM) == "SUCCESS", person.log(estate.runs[CALM])
    assert [it["status"] for it in estate.results(CALM)] == ["success"]
