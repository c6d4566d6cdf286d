"""A database that is slow, or does not answer, holds up nobody who does not need it."""

from collections.abc import Awaitable, Callable

import anyio
import httpx
import pytest
import sqlalchemy

from dagster_apollo.web.roles import Role
from tests.integration.front_door.site import URL, Site, graphql

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
