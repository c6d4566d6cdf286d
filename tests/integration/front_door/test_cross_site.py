"""What a page of another site can make a browser do here: nothing."""

from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from dagster_apollo.web.roles import Role
from tests.integration.front_door.conftest import ServeSite
from tests.integration.front_door.site import PASSWORDS, URL, Site, graphql, websocket

pytestmark = pytest.mark.integration

MUTATION = "mutation { setNuxSeen }"


def ran(site: Site) -> int:
    """How many mutations have been let through so far."""
    return len(site.audit(action="setNuxSeen", allowed=True))


def test_the_mutation_of_these_tests_runs_from_a_page_of_apollo_s(site: Site) -> None:
    before = ran(site)
    assert graphql(site.signed_in("ada"), MUTATION).status_code == 200
    assert ran(site) == before + 1


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (405, {"method": "GET", "params": {"query": MUTATION}}),
        (200, {"method": "GET", "params": {"query": MUTATION}, "headers": {"Accept": "text/html"}}),
        (405, {"method": "GET", "params": {"query": "{ version }"}}),
        (415, {"params": {"query": MUTATION}}),
        (415, {"content": f'{{"query": "{MUTATION}"}}', "headers": {"Content-Type": "text/plain"}}),
        (415, {"content": MUTATION, "headers": {"Content-Type": "application/graphql"}}),
        (415, {"data": {"query": MUTATION}}),
        (415, {"files": {"query": (None, MUTATION)}}),
        (
            415,
            {
                "content": f'{{"query": "{MUTATION}"}}',
                "headers": {"Content-Type": "text/plain; application/json"},
            },
        ),
        (400, {"content": "{", "headers": {"Content-Type": "application/json"}}),
        (400, {"json": [{"query": MUTATION}]}),
        (400, {"json": {"query": [MUTATION]}}),
        (415, {}),
        (400, {"content": "[" * 100_000, "headers": {"Content-Type": "application/json"}}),
    ],
)
def test_operations_are_taken_by_post_of_json_alone(
    site: Site, status: int, request_: dict[str, Any]
) -> None:
    before = ran(site)
    answer = site.signed_in("ada").request(request_.pop("method", "POST"), "/graphql", **request_)
    assert answer.status_code == status, answer.text
    assert ran(site) == before


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://apollo.example.com"},
    {"Origin": "https://apollo.example.com.evil.example"},
    {"Origin": "https://apollo.example.com:444"},
    {"Origin": "https://sub.apollo.example.com"},
    {"Origin": URL, "Sec-Fetch-Site": "cross-site"},
    {"Origin": URL, "Sec-Fetch-Site": "same-site"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["/graphql", "/auth/sign-out", "/auth/tokens", "/auth/sign-in"])
def test_a_post_must_come_from_a_page_of_apollo_s(
    site: Site, headers: dict[str, str], path: str
) -> None:
    before = ran(site)
    client = site.signed_in("ada")
    del client.headers["Origin"]
    answer = client.post(path, json={"query": MUTATION}, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert ran(site) == before
    assert client.get("/server_info").status_code == 200, "still signed in"


def test_a_browser_that_only_says_same_origin_is_believed(site: Site) -> None:
    client = site.signed_in("ada")
    del client.headers["Origin"]
    answer = client.post(
        "/graphql", json={"query": MUTATION}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_websocket_must_come_from_a_page_of_apollo_s(site: Site, headers: dict[str, str]) -> None:
    client = site.signed_in("ada")
    del client.headers["Origin"]
    with pytest.raises(WebSocketDisconnect) as closed, websocket(client, **headers):
        pass
    assert closed.value.code == 1008
    with websocket(client, Origin=URL):
        pass


def test_a_token_needs_no_origin_and_a_cookie_beside_it_counts_for_nothing(site: Site) -> None:
    assert graphql(site.script(Role.ADMIN), MUTATION).status_code == 200
    client = site.script(Role.VIEWER)
    client.cookies.set("__Host-apollo_session", site.signed_in("ada") and site.cookies["ada"])
    assert graphql(client, MUTATION).status_code == 403
    with websocket(site.script(Role.VIEWER)):
        pass


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "apollo.example.com.evil.example",
        "evil.example:443",
        "localhost",
        "127.0.0.1:3000",
        "10.0.0.1",
        "",
        "apollo.example.com@evil.example",
        "apollo.example.com/",
        "apollo.example.com, evil.example",
    ],
)
def test_another_host_name_is_refused_as_in_dns_rebinding(site: Site, host: str) -> None:
    client = site.signed_in("ada")
    for method, path in (("GET", "/"), ("POST", "/graphql"), ("GET", "/auth/sign-in")):
        answer = client.request(
            method, path, headers={"Host": host, "Origin": f"https://{host}"}, json=None
        )
        assert answer.status_code == 421, (method, path)
    with (
        pytest.raises(WebSocketDisconnect),
        websocket(client, Host=host, Origin=f"https://{host}"),
    ):
        pass


def test_the_platform_may_ask_for_health_by_address(site: Site) -> None:
    assert site.client().get("/healthz", headers={"Host": "10.0.0.1:10000"}).status_code == 200


def test_further_hosts_can_be_allowed(serve_site: ServeSite) -> None:
    with serve_site(APOLLO_ALLOWED_HOSTS="data.example.org") as site:
        client = site.client(url="https://data.example.org")
        form = {"name": "vera", "password": PASSWORDS["vera"]}
        assert client.post("/auth/sign-in", data=form).status_code == 303
        assert client.get("/server_info").status_code == 200


def test_on_a_laptop_scripts_need_no_origin_but_other_sites_are_kept_out(
    serve_site: ServeSite,
) -> None:
    with serve_site("127.0.0.1", APOLLO_USERS="", APOLLO_PUBLIC_URL="") as site:
        local = site.client(url="http://localhost:3000")
        assert graphql(local, MUTATION).status_code == 200
        assert ">local</a>" in local.get("/").text
        del local.headers["Origin"]
        assert graphql(local, MUTATION).status_code == 200
        foreign = local.post(
            "/graphql", json={"query": MUTATION}, headers={"Origin": "https://evil.example"}
        )
        assert foreign.status_code == 403
        rebound = site.client(url="http://evil.example:3000")
        assert graphql(rebound, MUTATION).status_code == 421
        assert [(it.actor, it.method) for it in site.audit()] == [("local", "local")] * 2


def test_on_a_laptop_nobody_comes_in_by_a_proxy(serve_site: ServeSite) -> None:
    with serve_site("127.0.0.1", APOLLO_USERS="", APOLLO_PUBLIC_URL="") as site:
        for header in ("X-Forwarded-For", "x-forwarded-proto", "Forwarded", "X-Real-IP", "Via"):
            local = site.client(url="http://127.0.0.1:3000")
            assert local.get("/server_info").status_code == 200
            local.headers[header] = "198.51.100.1"
            assert local.get("/server_info").status_code == 421, header
            assert graphql(local, MUTATION).status_code == 421, header
            with pytest.raises(WebSocketDisconnect), websocket(local):
                pass
            assert local.get("/healthz").status_code == 200
        assert site.audit() == []
