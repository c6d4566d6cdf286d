"""Signing in by password, sessions and their ends, and how often one may try."""

import ipaddress
import json
import logging
import time
import zlib
from urllib.parse import urlencode

import itsdangerous
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_apollo.instance.database import engine_of
from dagster_apollo.web import front_door
from dagster_apollo.web.contract import load_web
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.roles import Role
from dagster_apollo.web.sessions import Sessions
from dagster_apollo.web.tokens import Tokens
from tests.integration.front_door.conftest import ServeSite
from tests.integration.front_door.site import (
    PASSWORDS,
    SECRET,
    Site,
    graphql,
    users,
    variables,
    websocket,
)

pytestmark = pytest.mark.integration

WRONG_TOKEN = "apollo_not-one-of-ours".ljust(50, "-")
COOKIE = "__Host-apollo_session"


def test_the_cookie_is_out_of_reach_for_scripts_subdomains_and_other_sites(site: Site) -> None:
    answer = site.client().post(
        "/auth/sign-in", data={"name": "vera", "password": PASSWORDS["vera"]}
    )
    header = answer.headers["set-cookie"]
    value, _, attributes = header.partition(";")
    assert value.startswith(f"{COOKIE}=")
    assert {it.strip().lower() for it in attributes.split(";")} == {
        "httponly",
        "max-age=43200",
        "path=/",
        "samesite=lax",
        "secure",
    }
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(site: Site) -> None:
    answers = [
        site.client(address=f"192.0.2.{number}").post(
            "/auth/sign-in", data={"name": name, "password": password}
        )
        for number, (name, password) in enumerate(
            [("vera", "wrong"), ("nobody", "wrong"), ("vera", ""), ("", ""), ("vera", "x" * 5000)]
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert "user name or the password is wrong" in answers[0].text
    assert not any(answer.cookies for answer in answers)


def test_a_name_is_the_same_in_capitals(site: Site) -> None:
    form = {"name": " Vera ", "password": PASSWORDS["vera"]}
    assert site.client().post("/auth/sign-in", data=form).status_code == 303


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("/runs?status=x&y=%20", "/runs?status=x&y=%20"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("/a\\..\\evil", "/"),
        ("\\/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/\r\nSet-Cookie: x=y", "/"),
        (" //evil.example", "/"),
        ("/auth/audit?before=5", "/auth/audit?before=5"),
        ("/auth/sign-out", "/"),
        ("/auth/oidc/callback?code=x", "/"),
        ("runs", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_a_path_of_this_site_alone(
    site: Site, wanted: str, target: str
) -> None:
    form = {"name": "vera", "password": PASSWORDS["vera"], "next": wanted}
    answer = site.client().post("/auth/sign-in", data=form)
    assert answer.headers["location"] == target
    page = site.signed_in("vera").get("/auth/sign-in", params={"next": wanted})
    assert page.headers["location"] == target


def test_signing_out_ends_the_session_wherever_its_cookie_was_copied_to(site: Site) -> None:
    browser, thief = site.client(), site.client()
    browser.post("/auth/sign-in", data={"name": "vera", "password": PASSWORDS["vera"]})
    thief.cookies.set(COOKIE, browser.cookies[COOKIE])
    assert thief.get("/server_info").status_code == 200
    out = browser.post("/auth/sign-out")
    assert out.headers["location"] == "/auth/signed-out"
    assert COOKIE not in browser.cookies
    assert browser.get("/server_info").status_code == 401
    assert thief.get("/server_info").status_code == 401
    assert browser.get("/auth/signed-out").status_code == 200
    assert [it.action for it in site.audit(actor="vera", allowed=True)][-1] == "sign-out"


def test_another_process_of_the_same_release_learns_of_a_sign_out(
    site: Site,
) -> None:
    now = time.time()
    here, there = (
        Sessions(load_web("0.0.0.0", variables()), site.engine, clock=lambda: now) for _ in "ab"
    )
    cookie, session = here.start("vera", Grant(Role.VIEWER), "password")
    assert there.identify(cookie)
    here.revoke(session)
    assert here.identify(cookie) is None
    assert there.identify(cookie), "known for some seconds"
    now += 6
    assert there.identify(cookie) is None


def test_a_sign_out_counts_though_the_session_was_just_looked_up(site: Site) -> None:
    engine = engine_of(site.uri, pool_size=2)
    sessions = Sessions(load_web("0.0.0.0", variables()), engine)
    cookie, session = sessions.start("vera", Grant(Role.VIEWER), "password")
    asked: list[int] = []

    def sign_out_meanwhile(*arguments: object) -> None:
        if not asked and "select" in str(arguments[2]).lower():
            asked.append(1)
            sessions.revoke(session)

    sqlalchemy.event.listen(engine, "after_cursor_execute", sign_out_meanwhile)
    assert sessions.identify(cookie), "it was asked before"
    assert asked == [1]
    assert sessions.identify(cookie) is None
    engine.dispose()


def test_signing_in_again_ends_the_browser_s_last_session(site: Site) -> None:
    client = site.client(address="192.0.2.77")
    form = {"name": "vera", "password": PASSWORDS["vera"]}
    client.post("/auth/sign-in", data=form)
    copy = site.client()
    copy.cookies.set(COOKIE, client.cookies[COOKIE])
    assert copy.get("/server_info").status_code == 200
    other = {"name": "otto", "password": PASSWORDS["otto"]}
    assert client.post("/auth/sign-in", data=other).status_code == 303
    assert copy.get("/server_info").status_code == 401
    assert client.get("/server_info").status_code == 200


def test_nothing_of_a_session_stays_in_the_browser(site: Site) -> None:
    client = site.client(address="192.0.2.78")
    client.post("/auth/sign-in", data={"name": "vera", "password": PASSWORDS["vera"]})
    answer = client.post("/auth/sign-out")
    assert answer.headers["clear-site-data"] == '"cache", "storage"'


def forged(site: Site, **changes: object) -> dict[str, str]:
    """Cookies that were not made by Apollo, by how they were made."""
    value = site.cookies.get("vera") or (site.signed_in("vera") and site.cookies["vera"])
    payload, _, signature = value.rpartition(".")
    packed = itsdangerous.encoding.base64_decode(payload.removeprefix("."))
    content = json.loads(zlib.decompress(packed) if payload.startswith(".") else packed)
    assert content["name"] == "vera"
    changed = json.dumps({**content, "role": 3, "name": "ada"}, separators=(",", ":")).encode()
    encoded = itsdangerous.encoding.base64_encode(changed).decode()
    other = itsdangerous.URLSafeSerializer("another secret" * 5, salt="apollo session")
    purpose = itsdangerous.URLSafeSerializer(SECRET, salt="apollo sign-in")
    return {
        "payload": f"{encoded}.{signature}",
        "no signature": encoded,
        "empty signature": f"{payload}.",
        "another secret": str(other.dumps(content)),
        "another purpose": str(purpose.dumps(content)),
        "cut": value[:-1],
        "longer": value + "A",
        "nothing": "",
        "not even close": "🚪".encode().decode("latin-1"),
        "a list": str(purpose.dumps([1, 2])),
    }


def test_a_cookie_that_was_tampered_with_is_worth_nothing(site: Site) -> None:
    for how, cookie in forged(site).items():
        client = site.client()
        answer = client.get(
            "/server_info", headers={"Cookie": f"{COOKIE}={cookie}".encode("latin-1")}
        )
        assert answer.status_code == 401, how


def test_a_session_ends_by_itself(serve_site: ServeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_site(APOLLO_SESSION_HOURS="1") as site:
        client = site.signed_in("vera")
        assert client.get("/server_info").status_code == 200
        real = time.time
        for middle in site.app.user_middleware:
            if middle.cls is front_door.FrontDoor:
                found = middle.kwargs["authentication"]._sessions
        monkeypatch.setattr(found, "_clock", lambda: real() + 3590)
        assert client.get("/server_info").status_code == 200
        monkeypatch.setattr(found, "_clock", lambda: real() + 3601)
        assert client.get("/server_info").status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"APOLLO_USERS": users(vera=Role.OPERATOR)},
        {"APOLLO_USERS": users().replace("vera:", "vela:")},
        {
            "APOLLO_USERS": users().replace(
                users().split()[0].partition("$argon2")[2],
                users().split()[1].partition("$argon2")[2],
                1,
            )
        },
        {"APOLLO_SESSION_SECRET": "another" * 8},
    ],
    ids=["another role", "the user is removed", "another password", "another secret"],
)
def test_a_session_ends_with_what_let_its_user_in(
    site: Site, serve_site: ServeSite, change: dict[str, str]
) -> None:
    site.signed_in("vera"), site.signed_in("otto")
    with serve_site(**change) as other:
        other.cookies = dict(site.cookies)
        assert other.signed_in("vera").get("/server_info").status_code == 401
        kept = 401 if "APOLLO_SESSION_SECRET" in change else 200
        assert other.signed_in("otto").get("/server_info").status_code == kept


def test_attempts_are_limited_by_user_and_address(serve_site: ServeSite) -> None:
    with serve_site() as site:
        client = site.client()
        wrong = {"name": "vera", "password": "wrong"}
        codes = [client.post("/auth/sign-in", data=wrong).status_code for _ in range(7)]
        assert codes == [401] * 5 + [429] * 2
        refused = client.post("/auth/sign-in", data={**wrong, "password": PASSWORDS["vera"]})
        assert refused.status_code == 429, "even with the right password"
        assert 200 < int(refused.headers["retry-after"]) <= 300
        assert "Too many attempts" in refused.text
        # somebody else at the same address, and the user elsewhere, are not affected
        right = {"name": "otto", "password": PASSWORDS["otto"]}
        assert client.post("/auth/sign-in", data=right).status_code == 303
        elsewhere = site.client(address="203.0.113.5")
        form = {"name": "vera", "password": PASSWORDS["vera"]}
        assert elsewhere.post("/auth/sign-in", data=form).status_code == 303


def test_attempts_are_limited_by_address_whatever_the_name(serve_site: ServeSite) -> None:
    with serve_site() as site:
        codes = [
            site.client().post("/auth/sign-in", data={"name": f"u{n}", "password": "x"}).status_code
            for n in range(22)
        ]
        assert codes == [401] * 20 + [429] * 2
        # who counts is the subscriber's network, not one of its 2^64 addresses
        codes = [
            site.client(address=f"2001:db8::{n + 1:x}")
            .post("/auth/sign-in", data={"name": f"u{n}", "password": "x"})
            .status_code
            for n in range(21)
        ]
        assert codes == [401] * 20 + [429]
        assert len(site.audit(action="sign-in", allowed=False)) == 40, "what is limited is not kept"


def test_an_address_behind_a_proxy_is_believed_only_where_told_so(serve_site: ServeSite) -> None:
    def codes(site: Site) -> list[int]:
        return [
            site.client(address="10.1.2.3")
            .post(
                "/auth/sign-in",
                data={"name": f"u{n}", "password": "x"},
                headers={"X-Forwarded-For": f"198.51.100.{n}"},
            )
            .status_code
            for n in range(22)
        ]

    with serve_site() as site:
        assert codes(site) == [401] * 20 + [429] * 2
        assert {it.remote for it in site.audit(action="sign-in")} == {"10.1.2.3"}
    with serve_site(APOLLO_TRUSTED_PROXIES="192.0.2.1") as site:
        assert codes(site) == [401] * 20 + [429] * 2
    with serve_site(APOLLO_TRUSTED_PROXIES="192.0.2.1, 10.1.0.0/16") as site:
        assert codes(site) == [401] * 22
        assert len({it.remote for it in site.audit(action="sign-in")}) == 22
        # what a client itself wrote into the header, before the proxy, counts for nothing
        site.client(address="10.1.2.3").post(
            "/auth/sign-in",
            data={"name": "x", "password": "x"},
            headers={"X-Forwarded-For": "1.1.1.1, 203.0.113.77"},
        )
        assert site.audit(action="sign-in")[-1].remote == "203.0.113.77"
        site.client(address="10.1.2.3").post(
            "/auth/sign-in",
            data={"name": "x", "password": "x"},
            headers={"X-Forwarded-For": "<b>no-address</b>"},
        )
        assert site.audit(action="sign-in")[-1].remote == "unknown"


def test_tokens_that_are_not_valid_are_limited_and_one_that_is_stays_so(
    serve_site: ServeSite,
) -> None:
    with serve_site() as site:
        codes = [site.bearer(WRONG_TOKEN).get("/server_info").status_code for _ in range(32)]
        assert codes == [401] * 30 + [429] * 2
        assert site.script(Role.VIEWER).get("/server_info").status_code == 200, "the same address"
        assert site.bearer(WRONG_TOKEN).get("/server_info").status_code == 429


def test_what_no_token_looks_like_is_refused_without_being_counted(
    serve_site: ServeSite,
) -> None:
    with serve_site() as site:
        for token in ("apollo_x", WRONG_TOKEN[:-1], WRONG_TOKEN + "x", "x" * 50, "", "apollo_?"):
            for _ in range(8):
                code = site.bearer(token).get("/server_info").status_code
                assert code == 401, token
        assert site.bearer(WRONG_TOKEN).get("/server_info").status_code == 401


def test_a_token_is_refused_from_its_revocation_on(serve_site: ServeSite) -> None:
    with serve_site() as site:
        page = site.signed_in("ada").post(
            "/auth/tokens", data={"name": "nightly", "role": "operator", "days": "30"}
        )
        token = page.text.partition('<code class="secret">')[2].partition("<")[0]
        assert token.startswith("apollo_")
        assert len(token) > 45
        script = site.bearer(token)
        assert script.get("/server_info").status_code == 200
        assert token not in site.signed_in("ada").get("/auth/tokens").text
        with site.engine.connect() as connection:
            dump = str(connection.exec_driver_sql("select * from apollo_api_token").all())
        assert "nightly" in dump
        assert token not in dump
        revoked = site.signed_in("ada").post("/auth/tokens/revoke", data={"name": "nightly"})
        assert revoked.status_code == 303
        assert script.get("/server_info").status_code == 401
        assert [(it.action, it.target) for it in site.audit(actor="ada")][-2:] == [
            ("create token", "nightly"),
            ("revoke token", "nightly"),
        ]
        again = site.signed_in("ada").post(
            "/auth/tokens", data={"name": "nightly", "role": "viewer"}
        )
        assert again.status_code == 400
        assert site.audit(actor="ada")[-1].detail == {"role": "viewer", "failed": "TokenError"}
        for bad in (
            {"name": "../x", "role": "viewer"},
            {"name": "y", "role": "king"},
            {"name": "y", "role": "viewer", "days": "-1"},
            {},
        ):
            assert site.signed_in("ada").post("/auth/tokens", data=bad).status_code == 400


def test_a_token_that_cannot_be_recorded_is_neither_made_nor_revoked(
    serve_site: ServeSite,
) -> None:
    with serve_site() as site:
        ada = site.signed_in("ada")
        assert ada.post("/auth/tokens", data={"name": "old", "role": "viewer"}).status_code == 200
        with site.engine.begin() as connection:
            connection.exec_driver_sql("alter table apollo_audit rename to elsewhere")
        made = ada.post("/auth/tokens", data={"name": "new", "role": "viewer"})
        revoked = ada.post("/auth/tokens/revoke", data={"name": "old"})
        assert (made.status_code, revoked.status_code) == (503, 503)
        records = Tokens(site.engine).list()
        assert [(record.name, record.is_valid) for record in records] == [("old", True)]


def test_a_token_ends_on_its_day(site: Site) -> None:
    client = site.script(Role.VIEWER)
    assert client.get("/server_info").status_code == 200
    with site.engine.begin() as connection:
        connection.exec_driver_sql(
            "update apollo_api_token set expires_at = now() - interval '1 second' "
            "where name = 'script-viewer'"
        )
    assert client.get("/server_info").status_code == 401
    del site.tokens["script-viewer"]
    with site.engine.begin() as connection:
        connection.exec_driver_sql("delete from apollo_api_token where name = 'script-viewer'")


def test_only_a_bearer_token_counts_where_there_is_an_authorization_header(site: Site) -> None:
    client = site.signed_in("ada")
    for header in ("Basic YWRhOmFkYQ==", "Bearer", "Bearer ", "bearer x", "apollo_x", ""):
        answer = client.get("/server_info", headers={"Authorization": header})
        assert answer.status_code == 401, header


def test_an_open_websocket_is_closed_when_its_session_is_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "_LOOK_AGAIN_SECONDS", 0.1)
    client = site.client()
    client.post("/auth/sign-in", data={"name": "vera", "password": PASSWORDS["vera"]})
    with websocket(client) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json()["type"] == "connection_ack"
        copy = site.client()
        copy.cookies.set(COOKIE, client.cookies[COOKIE])
        copy.post("/auth/sign-out")
        assert client.get("/server_info").status_code == 401
        assert socket.receive() == {"type": "websocket.close", "code": 1008}


def test_no_secret_is_ever_logged_or_audited(
    serve_site: ServeSite, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), serve_site() as site:
        logging.getLogger("apollo.web").warning("planted-%s", PASSWORDS["vera"])
        assert PASSWORDS["vera"] in caplog.text, "it would be seen"
        caplog.clear()
        client = site.client()
        typed = "typed-into-the-wrong-field"
        client.post("/auth/sign-in", data={"name": "vera", "password": "wrong-password-1"})
        client.post("/auth/sign-in", data={"name": typed, "password": "wrong-password-2"})
        client.post("/auth/sign-in", data={"name": "vera", "password": PASSWORDS["vera"]})
        cookie = client.cookies[COOKIE]
        site.bearer(WRONG_TOKEN).get("/server_info")
        script = site.script(Role.ADMIN)
        graphql(script, "{ version }")
        client.post("/auth/sign-out")
        for _ in range(25):
            client.post("/auth/sign-in", data={"name": typed, "password": "wrong-password-3"})
        with site.engine.connect() as connection:
            kept = str(connection.exec_driver_sql("select * from apollo_audit").all())
        logged = caplog.text + kept + repr(site.app.user_middleware)
        secrets = {typed, "wrong-password", PASSWORDS["vera"], cookie, SECRET, "$argon2"}
        secrets |= {WRONG_TOKEN, *site.tokens.values()}
        assert [secret for secret in secrets if secret in logged] == []
        assert "vera (viewer) did: sign-in from 198.51.100.7" in caplog.text
        assert "(unknown) (none) was refused: sign-in vera from 198.51.100.7" in caplog.text
        assert caplog.text.count("Too many attempts to sign in") == 1


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300)
    | st.lists(
        st.tuples(st.sampled_from(["name", "password", "next", "x"]), st.text(max_size=20)),
        max_size=6,
    ).map(lambda pairs: urlencode(pairs).encode("utf-8", "replace")),
    number=st.integers(1, 2**32 - 1),
)
def test_whatever_is_sent_to_the_sign_in_it_answers_and_lets_nobody_in(
    site: Site, body: bytes, number: int
) -> None:
    client = site.client(address=str(ipaddress.ip_address(number)))
    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/auth/sign-in", content=body, headers={"Content-Type": content_type})
        assert answer.status_code in {400, 401, 429}
        assert not answer.cookies


def test_somebody_unknown_may_send_only_so_much(site: Site) -> None:
    form = {"name": "vera", "password": "x" * 100_000}
    assert site.client().post("/auth/sign-in", data=form).status_code == 413


def test_where_the_database_fails_nobody_is_let_in(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    client = site.client(address="192.0.2.99")
    client.post("/auth/sign-in", data={"name": "vera", "password": PASSWORDS["vera"]})
    tables = ("apollo_revoked_session", "apollo_api_token", "apollo_audit")
    with site.engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"alter table {table} rename to {table}_away")
    try:
        assert client.get("/server_info").status_code == 503
        assert site.bearer(WRONG_TOKEN).get("/server_info").status_code == 503
        form = {"name": "vera", "password": PASSWORDS["vera"]}
        signed_in = site.client(address="192.0.2.98").post("/auth/sign-in", data=form)
        assert signed_in.status_code == 503
        assert not signed_in.cookies
        assert site.client().get("/healthz").status_code == 200
    finally:
        with site.engine.begin() as connection:
            for table in tables:
                connection.exec_driver_sql(f"alter table {table}_away rename to {table}")
    assert client.get("/server_info").status_code == 200
    assert "The database failed (ProgrammingError)" in caplog.text


def test_pages_take_nonsense_for_nonsense(site: Site) -> None:
    ada = site.signed_in("ada")
    for before in ("x", "-1", "9" * 30, "\u0663", "\0", ""):
        assert ada.get("/auth/audit", params={"before": before}).status_code == 200, before
    for name in ("\0", "x" * 5000, "no-such", ""):
        assert ada.post("/auth/tokens/revoke", data={"name": name}).status_code == 400
    assert ada.post("/%00/x%0Ay").status_code == 404
