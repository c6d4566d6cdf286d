"""The front door as the tests see it: the real application, a database, a code location."""

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import argon2
import sqlalchemy
from dagster import DagsterInstance
from pydantic import SecretStr
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance.database import AUDIT, engine_of
from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.services.contract import CodeServer
from dagster_apollo.services.workspace import CodeServers
from dagster_apollo.web.contract import load_web
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.roles import Role
from dagster_apollo.web.server import serving
from dagster_apollo.web.tokens import Tokens
from tests.integration.conftest import environment

URL = "https://apollo.example.com"
SECRET = "s" * 20 + secrets.token_hex(20)
PASSWORDS = {name: f"{name}-{secrets.token_hex(8)}" for name in ("vera", "otto", "ada", "lia")}
ROLES = {"vera": Role.VIEWER, "otto": Role.OPERATOR, "ada": Role.ADMIN}
_CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_HASHES = {name: _CHEAP.hash(password) for name, password in PASSWORDS.items()}
LOCATION = "shop"
REPOSITORY = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
JOB = {**REPOSITORY, "pipelineName": "talk"}


def users(**roles: Role) -> str:
    return "\n".join(
        f"{name}:{roles.get(name, role)}:{_HASHES[name]}" for name, role in ROLES.items()
    )


def limited_user(*tenants: str) -> str:
    """An entry of lia, a viewer of some tenants."""
    return f"lia:{Grant(Role.VIEWER, frozenset(tenants))}:{_HASHES['lia']}"


def variables(**others: str) -> dict[str, str]:
    """The front door's environment: three users, one of each role."""
    return {
        "APOLLO_SESSION_SECRET": SECRET,
        "APOLLO_USERS": users(),
        "APOLLO_PUBLIC_URL": URL,
        **others,
    }


@dataclass
class Site:
    """A front door that serves."""

    app: Starlette
    uri: SecretStr
    instance: DagsterInstance
    engine: sqlalchemy.Engine
    cookies: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, *, address: str = "198.51.100.7", url: str = URL) -> TestClient:
        """A client that has not signed in; a browser, but for what it does not say by itself."""
        return TestClient(
            self.app, url, follow_redirects=False, client=(address, 50000), headers={"Origin": url}
        )

    def signed_in(self, name: str) -> TestClient:
        """A browser in which a user has signed in."""
        client = self.client()
        if name not in self.cookies:
            answer = client.post("/auth/sign-in", data={"name": name, "password": PASSWORDS[name]})
            assert answer.status_code == 303, answer.text
            self.cookies[name] = answer.cookies["__Host-apollo_session"]
        client.cookies.set("__Host-apollo_session", self.cookies[name])
        return client

    def script(self, role: Role, *tenants: str) -> TestClient:
        """A script with a token of a role, limited to tenants or not: no cookie, no origin."""
        grant = Grant(role, frozenset(tenants) if tenants else None)
        name = f"script-{role}" + "".join(f"-{tenant}" for tenant in tenants)
        if name not in self.tokens:
            self.tokens[name] = Tokens(self.engine).create(name, grant, created_by="test")
        return self.bearer(self.tokens[name])

    def bearer(self, token: str) -> TestClient:
        return TestClient(
            self.app,
            URL,
            follow_redirects=False,
            client=("203.0.113.9", 50000),
            headers={"Authorization": f"Bearer {token}"},
        )

    def audit(self, **values: Any) -> list[Any]:
        """Entries of the audit log with these values, the oldest first."""
        query = select(AUDIT).order_by(AUDIT.c.id)
        for name, value in values.items():
            query = query.where(AUDIT.c[name] == value)
        with self.engine.connect() as connection:
            return list(connection.execute(query).all())


@contextlib.contextmanager
def serve(
    uri: str,
    home: Path,
    code_servers: Sequence[CodeServer],
    environ: Mapping[str, str],
    bind: str = "0.0.0.0",
) -> Iterator[Site]:
    """Put the application together as `apollo webserver` does."""
    database = SecretStr(normalise_postgres_uri(uri))
    settings = load_web(bind, environ)
    with (
        environment({"DAGSTER_PG_URI": uri, "DAGSTER_HOME": str(home), "HOME": str(home)}),
        open_instance(home, RELEASE_CONFIG) as instance,
        serving(settings, database, instance, CodeServers(tuple(code_servers))) as app,
        contextlib.ExitStack() as stack,
    ):
        engine = engine_of(database)
        stack.callback(engine.dispose)
        yield Site(app, database, instance, engine)


def graphql(client: TestClient, query: str, **values: Any) -> Any:
    """Send an operation as Dagster's UI does."""
    return client.post("/graphql", json={"query": query, "variables": values})


def websocket(client: TestClient, path: str = "/graphql", **headers: str) -> Any:
    """Open the WebSocket as Dagster's UI does, which says where the page is from."""
    url = str(client.base_url.copy_with(scheme="wss", path=path))
    return client.websocket_connect(url, subprotocols=["graphql-ws"], headers=headers)


LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId tags { key value } } }
    ... on PythonError { message stack } ... on InvalidSubsetError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""


def launch(client: TestClient, *tags: tuple[str, str]) -> dict[str, str]:
    """Launch the job `talk`; returns the run's tags, its id under "id"."""
    answer = graphql(
        client,
        LAUNCH,
        params={
            "selector": JOB,
            "runConfigData": "{}",
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags]},
        },
    )
    result = answer.json()["data"]["launchRun"]
    assert result["__typename"] == "LaunchRunSuccess", json.dumps(result)
    run = result["run"]
    return {"id": run["runId"], **{tag["key"]: tag["value"] for tag in run["tags"]}}
