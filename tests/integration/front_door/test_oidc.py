"""Signing in at an OpenID Connect provider: a real one, on this machine."""

import base64
import contextlib
import hashlib
import json
import logging
import math
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import httpx
import oidc_provider_mock
import pytest
import werkzeug.serving
from joserfc import jwt
from joserfc.jwk import RSAKey

from dagster_apollo.web import oidc
from tests.integration.conftest import free_port
from tests.integration.front_door.conftest import ServeSite
from tests.integration.front_door.site import URL, Site

pytestmark = pytest.mark.integration

SECRET = secrets.token_hex(16)
STATE_COOKIE = "__Host-apollo_sign_in"
SESSION_COOKIE = "__Host-apollo_session"


@dataclass
class Provider:
    """The provider, and what it was asked."""

    port: int
    token_requests: list[dict[str, str]] = field(default_factory=list)
    forged_token: str | None = None
    discovery: dict[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}"

    def set(self, sub: str, **claims: Any) -> None:
        httpx.put(f"{self.issuer}/users/{sub}", json=claims).raise_for_status()

    def consent(self, location: str, sub: str) -> str:
        """Let somebody sign in there; returns where they are sent."""
        answer = httpx.post(location, data={"sub": sub})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"].removeprefix(URL)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    app = oidc_provider_mock.app(require_nonce=True)
    found = Provider(free_port())

    @app.before_request
    def note() -> None:
        if flask.request.path == "/oauth2/token":
            found.token_requests.append(dict(flask.request.form))

    @app.after_request
    def forge(response: flask.Response) -> flask.Response:
        if flask.request.path == "/oauth2/token" and found.forged_token and response.is_json:
            response.set_data(json.dumps({**response.get_json(), "id_token": found.forged_token}))
        if flask.request.path.endswith("openid-configuration"):
            response.set_data(json.dumps({**response.get_json(), **found.discovery}))
        return response

    server = werkzeug.serving.make_server("localhost", found.port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()


def variables(provider: Provider, **others: str) -> dict[str, str]:
    return {
        "APOLLO_USERS": "",
        "APOLLO_OIDC_ISSUER": provider.issuer,
        "APOLLO_OIDC_CLIENT_ID": "apollo",
        "APOLLO_OIDC_CLIENT_SECRET": SECRET,
        "APOLLO_OIDC_DOMAINS": "example.com",
        "APOLLO_OIDC_ROLES": "data-readers=viewer, data-engineers=operator, platform=admin",
        **others,
    }


@pytest.fixture(scope="module")
def site(provider: Provider, serve_site: ServeSite) -> Iterator[Site]:
    provider.set(
        "ann",
        email="ann@example.com",
        email_verified=True,
        groups=["x", "data-readers", "platform"],
    )
    with serve_site(**variables(provider)) as serving:
        yield serving


def sign_in(site: Site, provider: Provider, sub: str, path: str = "/auth/oidc") -> Any:
    """Go to the provider, sign in there, and come back: the client, and the last answer."""
    client = site.client()
    client.headers["Sec-Fetch-Site"] = "none"
    there = client.get(path)
    assert there.status_code == 302, there.text
    client.headers["Sec-Fetch-Site"] = "cross-site"
    return client, client.get(provider.consent(there.headers["location"], sub))


def test_somebody_signs_in_and_has_the_highest_role_of_their_groups(
    site: Site, provider: Provider
) -> None:
    client, answer = sign_in(site, provider, "ann", "/auth/oidc?next=%2Fruns%3Fx%3D1")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/runs?x=1"
    assert STATE_COOKIE not in client.cookies
    page = client.get("/auth/account").text
    assert "ann@example.com" in page
    assert "<dd>admin</dd>" in page
    assert "your organization" in page
    entry = site.audit(action="sign-in")[-1]
    assert (entry.actor, entry.role, entry.method) == ("ann@example.com", "admin", "oidc")
    assert entry.detail == {"sub": "ann"}
    assert client.post("/auth/sign-out").status_code == 403, "cross-site"
    client.headers["Sec-Fetch-Site"] = "same-origin"
    client.post("/auth/sign-out")
    assert client.get("/server_info").status_code == 401


def test_the_request_to_the_provider_is_bound_to_this_browser(
    site: Site, provider: Provider
) -> None:
    client = site.client()
    there = client.get("/auth/oidc")
    query = {k: v[0] for k, v in parse_qs(urlsplit(there.headers["location"]).query).items()}
    assert query["redirect_uri"] == f"{URL}/auth/oidc/callback"
    assert query["response_type"] == "code"
    assert query["scope"] == "openid email profile"
    assert query["code_challenge_method"] == "S256"
    assert min(len(query[name]) for name in ("state", "nonce", "code_challenge")) >= 20
    again = parse_qs(urlsplit(client.get("/auth/oidc").headers["location"]).query)
    assert again["state"] != [query["state"]]
    assert again["nonce"] != [query["nonce"]]
    cookie = there.headers["set-cookie"].lower()
    assert all(it in cookie for it in ("httponly", "secure", "samesite=lax", "max-age=600"))
    # what proves to the provider that the one who began is the one who ends
    provider.token_requests.clear()
    location = client.get("/auth/oidc").headers["location"]
    client.get(provider.consent(location, "ann"))
    (request,) = provider.token_requests
    digest = hashlib.sha256(request["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert parse_qs(urlsplit(location).query)["code_challenge"] == [challenge]


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"email": "x@evil.example", "email_verified": True, "groups": ["platform"]}, "domain"),
        ({"email": "x@sub.example.com", "email_verified": True, "groups": ["platform"]}, "domain"),
        (
            {"email": "x@example.com@evil.example", "email_verified": True, "groups": ["platform"]},
            "yours",
        ),
        ({"email": "x@example.com", "email_verified": False, "groups": ["platform"]}, "yours"),
        ({"email": "x@example.com", "groups": ["platform"]}, "yours"),
        ({"groups": ["platform"]}, "yours"),
        ({"email": "x@example.com", "email_verified": True, "groups": ["others"]}, "groups"),
        ({"email": "x@example.com", "email_verified": True, "groups": []}, "groups"),
        ({"email": "x@example.com", "email_verified": True}, "groups"),
        ({"email": "x@example.com", "email_verified": True, "groups": "plat"}, "groups"),
    ],
    ids=str,
)
def test_somebody_whom_the_settings_do_not_let_in_is_told_why(
    site: Site, provider: Provider, claims: dict[str, Any], text: str
) -> None:
    sub = f"user-{secrets.token_hex(4)}"
    provider.set(sub, **claims)
    client, answer = sign_in(site, provider, sub)
    assert answer.status_code == 403
    assert text in answer.text
    assert SESSION_COOKIE not in client.cookies
    assert client.get("/server_info").status_code == 401
    entry = site.audit(action="sign-in")[-1]
    assert not entry.allowed
    assert entry.actor == "(unknown)"
    assert entry.detail == {"reason": "NotAdmittedError"}


def test_an_answer_to_another_browser_s_question_is_refused(site: Site, provider: Provider) -> None:
    victim, attacker = site.client(), site.client()
    there = attacker.get("/auth/oidc").headers["location"]
    callback = provider.consent(there, "ann")
    victim.get("/auth/oidc")
    for client, url in (
        (victim, callback),  # another state
        (site.client(), callback),  # no cookie
        (attacker, callback.replace("state=", "state=x")),
        (attacker, callback.partition("state=")[0]),
        (attacker, "/auth/oidc/callback"),
        (attacker, "/auth/oidc/callback?error=access_denied&error_description=<script>"),
    ):
        answer = client.get(url)
        assert answer.status_code == 401, url
        assert "<script>" not in answer.text
        assert SESSION_COOKIE not in client.cookies


def test_failed_answers_are_limited(provider: Provider, serve_site: ServeSite) -> None:
    with serve_site(**variables(provider)) as site:
        codes = [site.client().get("/auth/oidc/callback?state=x").status_code for _ in range(32)]
        assert codes == [401] * 30 + [429] * 2
        assert len(site.audit(action="sign-in")) == 30
        assert site.client(address="192.0.2.50").get("/auth/oidc/callback").status_code == 401


def test_an_answer_counts_once(site: Site, provider: Provider) -> None:
    client = site.client()
    callback = provider.consent(client.get("/auth/oidc").headers["location"], "ann")
    kept = client.cookies[STATE_COOKIE]
    assert client.get(callback).status_code == 303
    client.cookies.set(STATE_COOKIE, kept)
    assert client.get(callback).status_code == 401, "the provider takes a code once"


@contextlib.contextmanager
def forging(provider: Provider, site: Site, **changes: Any) -> Iterator[Any]:
    """A sign-in whose ID token is made here, with the provider's own key unless said."""
    client = site.client()
    there = client.get("/auth/oidc").headers["location"]
    nonce = parse_qs(urlsplit(there).query)["nonce"][0]
    callback = provider.consent(there, "ann")
    real = {
        "iss": provider.issuer,
        "aud": "apollo",
        "sub": "ann",
        "nonce": nonce,
        "iat": 1_700_000_000,
        "exp": 4_000_000_000,
        "email": "ann@example.com",
        "email_verified": True,
        "groups": ["platform"],
    }
    claims = {k: v for k, v in {**real, **changes}.items() if v is not None and k != "alg"}
    provider.forged_token = make_token(claims, changes.get("alg", "RS256"))
    try:
        yield client, callback
    finally:
        provider.forged_token = None


KEY = RSAKey.generate_key(2048, {"kid": "ours"}, private=True)


def make_token(claims: dict[str, Any], algorithm: str) -> str:
    if algorithm == "none":
        parts = (b'{"alg":"none"}', json.dumps(claims).encode())
        encoded = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        return f"{'.'.join(encoded)}."
    return jwt.encode({"alg": algorithm, "kid": "ours"}, claims, KEY)


@pytest.fixture
def with_our_key(provider: Provider, serve_site: ServeSite) -> Iterator[Site]:
    """A front door whose provider publishes the key that these tests sign with."""

    app = flask.Flask("keys")
    app.add_url_rule("/", view_func=lambda: {"keys": [KEY.as_dict(private=False)]})
    port = free_port()
    server = werkzeug.serving.make_server("localhost", port, app)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    provider.discovery = {"jwks_uri": f"http://localhost:{port}/"}
    try:
        with serve_site(**variables(provider)) as site:
            yield site
    finally:
        provider.discovery = {}
        server.shutdown()
        thread.join()


def test_only_an_id_token_for_this_sign_in_is_believed(
    with_our_key: Site, provider: Provider
) -> None:
    site = with_our_key
    with forging(provider, site) as (client, callback):
        assert client.get(callback).status_code == 303, "what is forged next would be believed"
    wrong: list[dict[str, Any]] = [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": ["another-client", "third"]},
        {"aud": None},
        {"iss": "http://localhost:1"},
        {"iss": None},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"sub": None},
        {"alg": "none"},
    ]
    for changes in wrong:
        with forging(provider, site, **changes) as (client, callback):
            assert client.get(callback).status_code == 401, changes
            assert client.get("/server_info").status_code == 401


def test_an_id_token_that_another_key_signed_is_refused(site: Site, provider: Provider) -> None:
    with forging(provider, site) as (client, callback):
        assert client.get(callback).status_code == 401


def test_a_provider_with_another_issuer_is_not_used(
    provider: Provider, serve_site: ServeSite
) -> None:
    provider.discovery = {"issuer": "https://another.example"}
    try:
        with serve_site(**variables(provider)) as site:
            answer = site.client().get("/auth/oidc")
            assert answer.status_code == 502
            assert "cannot be reached" in answer.text
        provider.discovery = {}
    finally:
        provider.discovery = {}


def test_a_provider_that_is_down_is_said_to_be(serve_site: ServeSite, provider: Provider) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        down = variables(provider, APOLLO_OIDC_ISSUER=f"http://127.0.0.1:{port}")
        with serve_site(**down) as site:
            answer = site.client().get("/auth/oidc?next=/runs")
    assert answer.status_code == 502
    assert "The provider cannot be reached" in answer.text
    assert "next=%2Fruns" in answer.text or "next=/runs" in answer.text


def test_a_provider_that_fails_is_not_asked_again_by_each_who_comes(
    serve_site: ServeSite, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(environ: dict[str, Any], start: Any) -> list[bytes]:
        asked.append(environ["PATH_INFO"])
        start("500 Internal Server Error", [("Content-Length", "0")])
        return [b""]

    server = werkzeug.serving.make_server("localhost", free_port(), fail)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        issuer = f"http://localhost:{server.port}"
        with serve_site(**variables(provider, APOLLO_OIDC_ISSUER=issuer)) as site:
            codes = [site.client().get("/auth/oidc").status_code for _ in range(20)]
            assert codes == [502] * 20
            assert asked == ["/.well-known/openid-configuration"]
            monkeypatch.setattr(oidc, "time", SimpleNamespace(monotonic=lambda: math.inf))
            assert site.client().get("/auth/oidc").status_code == 502
            assert len(asked) == 2
    finally:
        server.shutdown()
        thread.join()


def test_a_default_role_is_for_those_in_no_mapped_group(
    provider: Provider, serve_site: ServeSite
) -> None:
    provider.set("bob", email="Bob@Example.com", email_verified=True, teams=["none"])
    default = variables(
        provider, APOLLO_OIDC_DEFAULT_ROLE="viewer", APOLLO_OIDC_GROUPS_CLAIM="teams"
    )
    with serve_site(**default) as site:
        client, answer = sign_in(site, provider, "bob")
        assert answer.status_code == 303
        assert "<dd>viewer</dd>" in client.get("/auth/account").text
        assert "bob@example.com" in client.get("/auth/account").text


def test_a_session_ends_when_the_provider_s_settings_change(
    site: Site, provider: Provider, serve_site: ServeSite
) -> None:
    client, _ = sign_in(site, provider, "ann")
    for others, status in (
        ({}, 200),
        ({"APOLLO_OIDC_ROLES": "platform=viewer"}, 401),
        ({"APOLLO_OIDC_GROUPS_CLAIM": "teams"}, 401),
    ):
        with serve_site(**variables(provider, **others)) as other:
            copy = other.client()
            copy.cookies.set(SESSION_COOKIE, client.cookies[SESSION_COOKIE])
            assert copy.get("/server_info").status_code == status


def test_no_secret_of_a_sign_in_is_logged(
    provider: Provider, serve_site: ServeSite, caplog: pytest.LogCaptureFixture
) -> None:
    with serve_site(**variables(provider)) as site:
        client = site.client()
        with caplog.at_level(logging.INFO):
            there = client.get("/auth/oidc").headers["location"]
            callback = provider.consent(there, "ann")
            client.get(callback)
            client.get(callback)
        code = parse_qs(urlsplit(callback).query)["code"][0]
        apollo = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("apollo"))
        assert "ann@example.com (admin) did: sign-in" in apollo
        assert code not in apollo
        assert SECRET not in caplog.text
        with site.engine.connect() as connection:
            kept = str(connection.exec_driver_sql("select * from apollo_audit").all())
        assert code not in kept
