"""A database that is slow, or does not answer, holds up nobody who does not need it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import httpx
import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

from dagster_apollo.instance.database import engine_of
from dagster_apollo.services.contract import CodeServer
from dagster_apollo.web.roles import Role
from tests.integration.front_door.site import PASSWORDS, URL, Site, graphql, serve, variables
from tests.integration.postgres_proxy import proxy_before

pytestmark = pytest.mark.integration

_LOOKS = 500
RUN = "5f1f6ba1-7c1f-4a55-8f0e-6f0a4f4cf0a1"


def client_of(site: Site, token: str = "") -> httpx.AsyncClient:
    """A client whose requests are all served by one loop, as those to a process are."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app), base_url=URL, headers=headers, timeout=60
    )


async def while_locked(
    connection: sqlalchemy.Connection, table: str, do: Callable[[], Awaitable[None]]
) -> None:
    """Hold a table, and wait until somebody waits for it, before doing something."""
    connection.exec_driver_sql("set idle_in_transaction_session_timeout = '25s'")
    connection.exec_driver_sql(f"lock table {table} in access exclusive mode")
    waiting = "select count(*) from pg_locks where not granted and relation = to_regclass(%s)"
    for _ in range(_LOOKS):
        if connection.exec_driver_sql(waiting, (table,)).scalar_one():
            break
        await anyio.sleep(0.02)
    else:
        pytest.fail(f"nobody waits for {table}")
    await do()
    connection.rollback()


@pytest.mark.parametrize(
    ("method", "path", "table"),
    [
        ("GET", "/logs/some/thing.out", "apollo_compute_log"),
        ("GET", f"/download_debug/{RUN}", "runs"),
        ("POST", "/report_asset_materialization/customers", "event_logs"),
        ("POST", "/report_asset_observation/customers", "event_logs"),
        ("POST", "/report_asset_check/customers?check_name=c&passed=true", "event_logs"),
    ],
)
def test_others_are_served_while_one_request_waits(
    site: Site, method: str, path: str, table: str
) -> None:
    path = path.replace("thing.out", "thing/out")
    site.script(Role.OPERATOR)
    answers: list[int] = []

    async def scenario() -> None:
        async with client_of(site, site.tokens["script-operator"]) as client:

            async def ask() -> None:
                answers.append((await client.request(method, path)).status_code)

            async def look_at_the_others() -> None:
                health = await client.get("/healthz")
                info = await client.get("/server_info")
                assert (health.text, info.status_code, answers) == ("ok", 200, [])

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                with site.engine.connect() as connection:
                    await while_locked(connection, table, look_at_the_others)

    anyio.run(scenario)
    assert len(answers) == 1


def test_a_run_that_is_not_there_has_no_file(site: Site) -> None:
    answer = site.script(Role.VIEWER).get("/download_debug/nothere")
    assert (answer.status_code, answer.text) == (404, "There is no such run.")


@pytest.mark.parametrize("body", ["", "{", "[1]", "null", '"asset_key"', "[" * 100_000])
def test_a_report_that_is_not_json_is_refused(site: Site, body: str) -> None:
    answer = site.script(Role.OPERATOR).post(
        "/report_asset_check/customers",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert graphql(site.script(Role.VIEWER), "{ version }").status_code == 200


def test_a_database_that_does_not_answer_costs_those_their_turn_who_need_it(
    migrated_uri: str, code_server: CodeServer, tmp_path: Path
) -> None:
    page = {"Accept": "text/html"}
    answers: list[int] = []
    with (
        proxy_before(migrated_uri) as proxy,
        serve(proxy.uri, tmp_path, [code_server], variables()) as site,
    ):

        async def scenario() -> None:
            async with client_of(site) as anybody, client_of(site) as vera:
                form = {"name": "vera", "password": PASSWORDS["vera"]}
                vera.headers["Origin"] = anybody.headers["Origin"] = URL
                assert (await vera.post("/auth/sign-in", data=form)).status_code == 303

                async def ask() -> None:
                    answers.append((await vera.get("/server_info")).status_code)

                proxy.answers.clear()
                async with anyio.create_task_group() as group:
                    for _ in range(12):
                        group.start_soon(ask)
                    await anyio.sleep(0.5)  # all of them wait, five at the database
                    with anyio.fail_after(4):
                        for path, status in (
                            ("/auth/sign-in", 200),
                            ("/auth/style.css", 200),
                            ("/runs", 303),
                            ("/healthz", 200),
                        ):
                            answer = await anybody.get(path, headers=page)
                            assert answer.status_code == status, path
                    assert answers == []
                assert answers == [503] * 12
                proxy.answers.set()
                await ask()

        anyio.run(scenario)
    assert answers[-1] == 200


def test_a_statement_of_the_front_door_s_ends(site: Site) -> None:
    engine = engine_of(site.uri, statement_seconds=1)
    try:
        with engine.connect() as connection:
            assert connection.exec_driver_sql("show statement_timeout").scalar_one() == "1s"
            with pytest.raises(OperationalError, match="statement timeout"):
                connection.exec_driver_sql("select pg_sleep(60)")
    finally:
        engine.dispose()


def test_a_body_has_an_end(site: Site) -> None:
    vera = site.signed_in("vera")
    padded = {"query": "{ version }", "padding": "x" * 7_000_000}
    assert vera.post("/graphql", json=padded).status_code == 200
    assert vera.post("/graphql", json={**padded, "more": "x" * 2_000_000}).status_code == 413
    form = {"name": "x" * 70_000}
    assert site.signed_in("ada").post("/auth/tokens", data=form).status_code == 413


def mutations(number: int) -> str:
    return " ".join(f"m{n}: setNuxSeen" for n in range(number))


MORE = f"fragment more on Mutation {{ n: setNuxSeen {mutations(5).replace('m', 'n')} ...more }}"


@pytest.mark.parametrize(
    "query",
    [
        f"mutation {{ {mutations(21)} }}",
        f"mutation {{ ... on Mutation {{ {mutations(21)} }} }}",
        f"mutation {{ {mutations(15)} ...more }} {MORE}",
        f"query a {{ version }} mutation b {{ {mutations(3000)} }}",
    ],
)
def test_one_request_makes_only_so_many_mutations(site: Site, query: str) -> None:
    before = len(site.audit(action="setNuxSeen"))
    answer = graphql(site.signed_in("ada"), query)
    assert answer.status_code == 400
    assert "One request may make 20 mutations" in answer.text
    assert len(site.audit(action="setNuxSeen")) == before


def test_twenty_mutations_are_not_too_many(site: Site) -> None:
    query = f"mutation {{ {mutations(20)} ...same ...same }} "
    query += "fragment same on Mutation { m1: setNuxSeen }"
    before = len(site.audit(action="setNuxSeen"))
    assert graphql(site.signed_in("ada"), query).status_code == 200
    assert len(site.audit(action="setNuxSeen")) == before + 20


@pytest.mark.parametrize(
    "operation",
    [
        {"variables": [1]},
        {"variables": "[1]"},
        {"variables": "{"},
        {"variables": 1},
        {"operationName": 1},
        {"query": None},
    ],
)
def test_what_is_no_operation_is_refused(site: Site, operation: dict[str, object]) -> None:
    body = {"query": "{ version }", **operation}
    assert site.signed_in("vera").post("/graphql", json=body).status_code == 400


@pytest.mark.parametrize("variables", [None, {}, {"x": 1}, "{}", "null"])
def test_variables_may_be_said_as_text(site: Site, variables: object) -> None:
    body = {"query": "{ version }", "variables": variables, "operationName": None}
    assert site.signed_in("vera").post("/graphql", json=body).status_code == 200
