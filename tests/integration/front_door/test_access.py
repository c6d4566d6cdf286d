"""Nobody gets in who has not signed in: every route of the application, and the WebSocket."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dagster_apollo.web import webserver
from dagster_apollo.web.roles import Role
from tests.integration.front_door.site import URL, Site, graphql, websocket

pytestmark = pytest.mark.integration

OPEN = {
    "/healthz",
    "/readyz",
    "/auth/sign-in",
    "/auth/signed-out",
    "/auth/style.css",
    "/auth/icon.svg",
    "/auth/oidc",
    "/auth/oidc/callback",
}
WEBSOCKET = "websocket"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def requests(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A method and a path for everything that a router leads to; a folder's files, too."""
    for route in routes:
        if isinstance(route, Mount) and isinstance(route.app, StaticFiles):
            root = Path(str(route.app.directory))
            for file in root.rglob("*"):
                if file.is_file():
                    yield "GET", f"{prefix}{route.path}/{file.relative_to(root)}"
        elif isinstance(route, Mount):
            yield from requests(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            path = re.sub(r"\{\w+:path\}", "some/thing", prefix + route.path)
            path = re.sub(r"\{\w+(:\w+)?\}", "x", path)
            for method in route.methods or METHODS:
                yield method, path
        else:
            assert isinstance(route, WebSocketRoute)
            yield WEBSOCKET, prefix + route.path


@pytest.fixture(scope="module")
def all_requests(site: Site) -> list[tuple[str, str]]:
    found = list(dict.fromkeys(requests(site.app.routes)))
    paths = {path for _, path in found}
    assert paths > OPEN
    assert "{" not in "".join(paths)
    assert [path for method, path in found if method == WEBSOCKET] == ["/graphql"]
    for known in ("/graphql", "/logs/some/thing", "/download_debug/x", "/some/thing", "/"):
        assert known in paths
    return found


def test_an_anonymous_client_gets_401_from_every_route(
    site: Site, all_requests: list[tuple[str, str]]
) -> None:
    client = site.client()
    refused = 0
    for method, path in all_requests:
        if path in OPEN:
            continue
        if method == WEBSOCKET:
            with pytest.raises(WebSocketDisconnect) as closed, websocket(client, path):
                pass
            assert closed.value.code == 1008, path
            continue
        answer = client.request(method, path)
        assert answer.status_code == 401, (method, path)
        assert "set-cookie" not in answer.headers
        refused += 1
    assert refused > 300, "Dagster's static files are routes, too"


def test_every_method_is_refused_on_every_route(
    site: Site, all_requests: list[tuple[str, str]]
) -> None:
    client = site.client()
    for path in {path for _, path in all_requests if "/_next/" not in path} - OPEN:
        for method in METHODS:
            assert client.request(method, path).status_code == 401, (method, path)


def test_a_person_who_opens_a_page_is_shown_where_to_sign_in(site: Site) -> None:
    page = {"Accept": "text/html", "Sec-Fetch-Dest": "document"}
    answer = site.client().get("/runs/abc?q=1&x=%2F", headers=page)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/auth/sign-in?next=%2Fruns%2Fabc%3Fq%3D1%26x%3D%252F"
    assert site.client().get("/", headers=page).headers["location"] == "/auth/sign-in"
    # an image, a script or a fetch is not a page, whatever it accepts
    other = {"Accept": "text/html", "Sec-Fetch-Dest": "empty"}
    assert site.client().get("/runs", headers=other).status_code == 401


def test_an_anonymous_websocket_is_closed_before_it_opens(site: Site) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, websocket(site.client()):
        pass
    assert closed.value.code == 1008


def test_a_path_that_only_looks_open_is_not(site: Site) -> None:
    for path in (
        "/healthz/",
        "/healthz/../graphql",
        "//healthz",
        "/auth/sign-in/",
        "/auth/sign-in/../../graphql",
        "/auth/%73ign-in/x",
        "/AUTH/SIGN-IN",
        "/auth/account",
        "/auth/audit",
        "/auth/tokens",
        "/auth/account.css",
        "/auth/",
    ):
        assert site.client().get(path).status_code == 401, path
        assert site.client().post(path).status_code == 401, path


def test_who_has_signed_in_gets_dagster_with_their_name_and_the_way_out(site: Site) -> None:
    page = site.signed_in("vera").get("/", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert 'href="/auth/account"' in page.text
    assert ">vera</a>" in page.text
    assert page.text.index("__NEXT_DATA__") < page.text.index("apollo-account")
    assert graphql(site.signed_in("vera"), "{ version }").json()["data"]["version"]


@pytest.mark.parametrize("who", ["vera", "otto", "ada"])
def test_everybody_may_read(site: Site, who: str) -> None:
    client = site.signed_in(who)
    assert client.get("/server_info").status_code == 200
    assert client.get("/auth/account").status_code == 200
    assert client.get("/_next/static/chunks/nothing.js").status_code == 404
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    assert graphql(client, query).json()["data"]["repositoriesOrError"]["nodes"]


def test_routes_that_change_something_have_a_role(site: Site) -> None:
    path = "/report_asset_materialization/customers"
    before = len(site.audit(action="POST /report_asset_materialization"))
    assert site.signed_in("vera").post(path).status_code == 403
    assert site.script(Role.VIEWER).post(path).status_code == 403
    assert site.signed_in("otto").post(path).status_code == 200
    assert site.script(Role.OPERATOR).post(path).status_code == 200
    assert site.signed_in("otto").post("/runs").status_code == 403, "unknown: for admins"
    entries = site.audit(action="POST /report_asset_materialization")[before:]
    assert [(it.actor, it.allowed, it.target) for it in entries] == [
        ("vera", False, path),
        ("token:script-viewer", False, path),
        ("otto", True, path),
        ("token:script-operator", True, path),
    ]


def test_pages_for_admins_are_for_admins_who_sit_in_front_of_them(site: Site) -> None:
    for path in ("/auth/audit", "/auth/tokens"):
        for client in (site.signed_in("vera"), site.signed_in("otto"), site.script(Role.ADMIN)):
            assert client.get(path).status_code == 403
        assert site.signed_in("ada").get(path).status_code == 200
    form = {"name": "stolen", "role": "admin"}
    assert site.script(Role.ADMIN).post("/auth/tokens", data=form).status_code == 403
    assert site.signed_in("otto").post("/auth/tokens", data=form).status_code == 403
    assert "stolen" not in site.signed_in("ada").get("/auth/tokens").text


def test_every_answer_carries_the_headers_that_bind_a_browser(site: Site) -> None:
    for client, path in (
        (site.client(), "/healthz"),
        (site.client(), "/runs"),
        (site.client(), "/auth/sign-in"),
        (site.signed_in("vera"), "/"),
        (site.signed_in("vera"), "/server_info"),
        (site.signed_in("vera"), "/manifest.json"),
        (site.client(url="https://evil.example"), "/"),
    ):
        headers = client.get(path).headers
        assert headers["x-frame-options"] == "DENY", path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert "form-action" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin", path
        assert headers["strict-transport-security"].startswith("max-age="), path
        assert "server" not in headers, path


def test_an_answer_that_fails_carries_them_too_and_says_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(webserver, "download", fail)
    vera = site.signed_in("vera")
    with pytest.raises(RuntimeError, match="planted"):  # for uvicorn's log
        vera.get("/logs/some/thing/out")
    quiet = TestClient(site.app, URL, raise_server_exceptions=False, cookies=vera.cookies)
    answer = quiet.get("/logs/some/thing/out")
    assert answer.status_code == 500
    assert "planted" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_apollo_s_own_pages_allow_no_script_at_all(site: Site) -> None:
    policy = site.client().get("/auth/sign-in").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy


def test_dagster_s_page_keeps_its_policy(site: Site) -> None:
    page = site.signed_in("ada").get("/")
    policy = page.headers["content-security-policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert len(nonce) >= 16
    assert page.text.count(f'nonce="{nonce}"') > 5
    assert "'strict-dynamic'" in policy


def test_graphiql_is_served_with_a_policy(site: Site) -> None:
    page = site.signed_in("ada").get("/graphql", headers={"Accept": "text/html"})
    assert page.status_code == 200
    nonce = page.headers["content-security-policy"].partition("'nonce-")[2].partition("'")[0]
    assert page.text.count("<script") == page.text.count(f'<script nonce="{nonce}"') > 3


def test_a_websocket_of_somebody_signed_in_serves_subscriptions(site: Site) -> None:
    client = site.signed_in("vera")
    query = 'subscription { pipelineRunLogs(runId: "none") { __typename } }'
    with websocket(client) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json()["type"] == "connection_ack"
        socket.send_json({"type": "start", "id": "1", "payload": {"query": query}})
        data = socket.receive_json()["payload"]["data"]
    assert data["pipelineRunLogs"]["__typename"] == "PipelineRunLogsSubscriptionFailure"


@pytest.mark.parametrize(
    "query",
    [
        "mutation { reloadWorkspace { __typename } }",
        # graphql-core subscribes to the first field, and executes the operation for each event
        'mutation { pipelineRunLogs(runId: "none") { __typename } setNuxSeen }',
        'mutation M { setNuxSeen } subscription S { pipelineRunLogs(runId: "x") { __typename } }',
        "query { version }",
        "subscription { nothingLikeThis }",
        "{",
    ],
)
def test_a_websocket_takes_no_mutation(site: Site, query: str) -> None:
    before = len(site.audit(action="setNuxSeen"))
    with websocket(site.signed_in("ada")) as socket:
        socket.send_json({"type": "start", "id": "1", "payload": {"query": query}})
        assert socket.receive_json()["type"] == "error"
    assert len(site.audit(action="setNuxSeen")) == before


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        "null",
        '{"type": "start", "id": "1"}',
        '{"type": "start", "id": [], "payload": {"query": "{ version }"}}',
        '{"type": "start", "id": "1", "payload": {"query": 1}}',
        '{"type": "start", "id": "1", "payload": {"query": "{ version }", "variables": [1]}}',
        '{"type": "start", "id": "1", "payload": {"query": "{ version }", "operation_name": 1}}',
        b"{}",
    ],
)
def test_a_websocket_is_closed_by_a_message_that_is_none(site: Site, message: str | bytes) -> None:
    with websocket(site.signed_in("vera")) as socket:
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_text(message)
        assert socket.receive() == {"type": "websocket.close", "code": 1003, "reason": ""}
