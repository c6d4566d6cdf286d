"""What the services start in spite of, and what they refuse to start with."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance.schema import connected
from tests.integration.conftest import SMALL, CopyTenants, MakeEnvironment, RunApollo
from tests.integration.services import Services, free_port, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def services(apollo_env: MakeEnvironment, migrated_uri: str, tmp_path: Path) -> Iterator[Services]:
    """The services of one test, on a database of their own."""
    port = free_port()
    variables = {"DAGSTER_PG_URI": migrated_uri, "APOLLO_CODE_SERVER": f"127.0.0.1:{port}"}
    services = Services(apollo_env(tmp_path, **variables), tmp_path)
    yield services
    services.close()


def locations(port: int) -> dict[str, str]:
    """What a webserver on loopback has of each code location; nothing before it serves."""
    query = """{ workspaceOrError { ... on Workspace { locationEntries { name
        locationOrLoadError { __typename } } } } }"""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            entries = json.load(answer)["data"]["workspaceOrError"]["locationEntries"]
    except OSError:
        return {}
    return {it["name"]: it["locationOrLoadError"]["__typename"] for it in entries}


def test_a_webserver_that_starts_before_the_code_server_says_so_in_a_line_and_finds_it(
    services: Services, copy_tenants: CopyTenants, call_apollo: RunApollo
) -> None:
    services.env["APOLLO_TENANTS_DIR"] = str(copy_tenants(dbt_small=SMALL))
    assert call_apollo(["prepare"], services.env).returncode == 0
    port = free_port()
    webserver = services.start("webserver", "--port", str(port))
    webserver.says("Code location apollo is loaded once that is over: ")
    wait_until(lambda: locations(port) == {"apollo": "PythonError"})
    services.code_server()
    wait_until(lambda: locations(port) == {"apollo": "RepositoryLocation"}, 20)
    assert "Traceback" not in webserver.log
    assert "Stack Trace" not in webserver.log
    assert webserver.stop() == 0


def test_an_address_that_is_taken_is_refused_before_anything_is_served(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = services.start("webserver", "--port", str(port))
        assert refused.ends(60) == 2
    assert refused.log.startswith(f"apollo: PORT: 127.0.0.1:{port} cannot be served at (Address")
    assert "Set PORT, --port or --host" in refused.log
    assert "Serving" not in refused.log


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["daemon"], ["DAGSTER_PG_URI", "DAGSTER_HOME", "APOLLO_CODE_SERVER"]),
        (["code-server"], ["DAGSTER_PG_URI", "DAGSTER_HOME"]),
        (
            ["webserver", "--host", "0.0.0.0"],
            [
                *("DAGSTER_PG_URI", "DAGSTER_HOME", "APOLLO_CODE_SERVER"),
                *("APOLLO_ADMIN_PASSWORD", "APOLLO_PUBLIC_URL"),
            ],
        ),
    ],
)
def test_all_that_is_not_set_is_said_in_one_round(
    services: Services, arguments: list[str], names: list[str]
) -> None:
    unset = dict.fromkeys(("DAGSTER_PG_URI", "DAGSTER_HOME", "APOLLO_CODE_SERVER"), "")
    refused = services.start(*arguments, **unset)
    assert refused.ends(60) == 2
    said = re.findall(r"^(?:apollo: )?(\w+): is not set", refused.log, re.MULTILINE)
    assert said == names
    assert len(refused.log.splitlines()) == len(names)


@pytest.mark.parametrize(
    ("arguments", "table", "revision", "said"),
    [
        (
            ["webserver"],
            "alembic_version",
            "f495c27d5019",
            "Dagster's schema is behind: .* Run `apollo migrate`",
        ),
        (
            ["daemon"],
            "alembic_version",
            "9999",
            "Dagster's schema is ahead: .* Deploy the newer release again",
        ),
        (
            ["code-server"],
            "apollo_alembic_version",
            "9999",
            "Apollo's schema is ahead: .* Deploy the newer release",
        ),
    ],
    ids=["Dagster's behind", "Dagster's ahead", "Apollo's ahead"],
)
def test_a_schema_that_is_not_the_release_s_is_refused(
    services: Services, arguments: list[str], table: str, revision: str, said: str
) -> None:
    uri = SecretStr(normalise_postgres_uri(services.env["DAGSTER_PG_URI"]))
    with connected(uri) as connection, connection.begin():
        connection.execute(text(f"update {table} set version_num = '{revision}'"))
    refused = services.start(*arguments, PORT=str(free_port()))
    assert refused.ends(90) == 2
    assert re.search(f"apollo: DAGSTER_PG_URI: {said}", refused.log), refused.log
    assert "Traceback" not in refused.log
    assert "Serving" not in refused.log
    with connected(uri) as connection:
        registered = connection.execute(text("select count(*) from apollo_service")).scalar()
        assert registered == 0
