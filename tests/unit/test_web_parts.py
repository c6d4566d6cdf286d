"""The front door's decisions, each by itself."""

import string
from dataclasses import asdict
from typing import Any
from urllib.parse import urljoin, urlsplit

import argon2
import pytest
import sqlalchemy
from dagster._core.workspace.permissions import Permissions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dagster_apollo.errors import ApolloError
from dagster_apollo.web import passwords
from dagster_apollo.web.addresses import host_of, is_loopback, is_own_origin, local_path
from dagster_apollo.web.attempts import Attempts
from dagster_apollo.web.contract import load_web
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.headers import _completed
from dagster_apollo.web.launches import stamped
from dagster_apollo.web.mutations import drop_own_tags
from dagster_apollo.web.oidc import NotAdmittedError, admit
from dagster_apollo.web.oidc_contract import OidcSettings
from dagster_apollo.web.passwords import Passwords, make_entry
from dagster_apollo.web.roles import (
    LAUNCHES,
    ROLE_OF_MUTATION,
    TERMINATIONS,
    Role,
    permissions_of,
    role_for_mutation,
    role_for_route,
)
from dagster_apollo.web.sessions import Sessions, SignInState
from dagster_apollo.web.webserver import with_account
from tests.unit.test_web_contract import SIGN_IN, URL

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", cheap)


ORIGIN = "https://apollo.example.com"


@given(st.text() | st.text(alphabet="/\\.:@#?%\t\r\n ahtps"))
def test_nobody_is_sent_to_another_site(target: str) -> None:
    path = local_path(target)
    landed = urlsplit(urljoin(f"{ORIGIN}/auth/sign-in", path))
    assert (landed.scheme, landed.netloc) == ("https", "apollo.example.com")
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert path.isprintable()
    assert path.isascii()


@given(st.text(alphabet=string.ascii_letters + string.digits + "/-_~.", min_size=1))
def test_a_path_of_this_site_is_kept(path: str) -> None:
    wanted = "/" + path.lstrip("/")
    if not wanted.startswith("/auth/"):
        assert local_path(f"{wanted}?a=%2F&b=1") == f"{wanted}?a=%2F&b=1"


@given(st.text())
def test_a_host_header_of_any_text_is_a_name_or_nothing(text: str) -> None:
    host = host_of(text)
    assert "/" not in host
    assert "@" not in host


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("Apollo.Example.com:443", "apollo.example.com"),
        ("[::1]:3000", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
        ("a@b", ""),
        ("a b", ""),
        ("a,b", ""),
        ("[::1", ""),
    ],
)
def test_the_host_is_what_is_before_the_port(header: str, host: str) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        (ORIGIN, "apollo.example.com", True),
        ("HTTPS://APOLLO.example.com", "apollo.example.com", True),
        ("http://apollo.example.com", "apollo.example.com", False),
        ("https://apollo.example.com:8443", "apollo.example.com", False),
        ("https://other.example.org", "other.example.org", True),
        ("http://localhost:3000", "localhost:3000", True),
        ("http://localhost:3001", "localhost:3000", False),
        ("null", "null", False),
        ("", "", False),
    ],
)
def test_an_origin_is_own_where_its_host_is_the_one_that_is_asked(
    origin: str, host: str, own: bool
) -> None:
    assert is_own_origin(origin, host, ORIGIN) is own


@pytest.mark.parametrize(("host", "inside"), [("127.8.8.8", True), ("::1", True), ("", False)])
def test_loopback(host: str, inside: bool) -> None:
    assert is_loopback(host) is inside


def test_every_known_mutation_has_a_role_and_an_unknown_one_is_for_admins() -> None:
    assert Role.VIEWER not in ROLE_OF_MUTATION.values()
    assert role_for_mutation("somethingNew") is Role.ADMIN
    assert {ROLE_OF_MUTATION[name] for name in LAUNCHES | TERMINATIONS} == {Role.OPERATOR}


def test_roles_are_ordered_and_read_by_name() -> None:
    assert Role.VIEWER < Role.OPERATOR < Role.ADMIN
    assert [Role.parse(str(role)) for role in Role] == list(Role)
    for wrong in ("Admin", "", "king", "3"):
        with pytest.raises(ValueError, match="viewer, operator, admin"):
            Role.parse(wrong)


def test_permissions_grow_with_the_role() -> None:
    def granted(role: Role) -> set[str]:
        return {str(name) for name, result in permissions_of(role).items() if result.enabled}

    assert granted(Role.VIEWER) == set()
    assert granted(Role.VIEWER) < granted(Role.OPERATOR) < granted(Role.ADMIN)
    assert set(permissions_of(Role.OPERATOR)) == set(Permissions)
    assert "wipe_assets" not in granted(Role.OPERATOR)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/anything", Role.VIEWER),
        ("HEAD", "/anything", Role.VIEWER),
        ("POST", "/graphql", Role.VIEWER),
        ("POST", "/report_asset_check/x", Role.OPERATOR),
        ("POST", "/anything", Role.ADMIN),
        ("DELETE", "/graphql/x", Role.ADMIN),
    ],
)
def test_a_route_that_changes_something_unknown_is_for_admins(
    method: str, path: str, role: Role
) -> None:
    assert role_for_route(method, path) is role


SESSIONS = Sessions(load_web("0.0.0.0", {**SIGN_IN, **URL}), sqlalchemy.create_engine("sqlite://"))
COOKIE, SESSION = SESSIONS.start("ann", Grant(Role.ADMIN), "password")


@given(
    text=st.text(),
    at=st.integers(0, len(COOKIE) - 2),  # the last digit has bits that say nothing
    other=st.sampled_from(string.ascii_letters + string.digits + "-_."),
)
def test_no_text_opens_a_session(text: str, at: int, other: str) -> None:
    assert SESSIONS.open(COOKIE) == SESSION
    assert SESSIONS.open(text) is None
    changed = COOKIE[:at] + other + COOKIE[at + 1 :]
    assert changed == COOKIE or SESSIONS.open(changed) is None


def test_a_session_of_another_purpose_or_of_nobody_is_not_one() -> None:
    state = SignInState(load_web("0.0.0.0", {**SIGN_IN, **URL}))
    assert state.open(COOKIE) == {}
    assert SESSIONS.open(state.seal({"id": "x"})) is None
    for name, method in (("bob", "password"), ("ann", "oidc"), ("ann", "token"), ("ann", "local")):
        stray, _ = SESSIONS.start(name, Grant(Role.ADMIN), method)  # type: ignore[arg-type]
        assert SESSIONS.open(stray) is None, (name, method)


def test_a_session_keeps_its_limits_and_one_of_an_earlier_release_is_over() -> None:
    limited = Grant(Role.VIEWER, frozenset({"acme"}))
    cookie, session = SESSIONS.start("ann", limited, "password")
    assert SESSIONS.open(cookie) == session
    assert Grant.parse(session.grant) == limited
    earlier = {name: value for name, value in asdict(session).items() if name != "grant"}
    assert SESSIONS.open(SESSIONS._serializer.dumps({**earlier, "role": 1})) is None


def test_what_is_remembered_of_a_sign_in_is_forgotten_in_time() -> None:
    now = 1000.0
    state = SignInState(load_web("0.0.0.0", {**SIGN_IN, **URL}), clock=lambda: now)
    sealed = state.seal({"next": "/runs"})
    assert state.open(sealed) == {"next": "/runs"}
    now += SignInState.SECONDS
    assert state.open(sealed) == {}
    assert state.open("") == {}


def provider(**changes: Any) -> OidcSettings:
    values: dict[str, Any] = {
        "issuer": "https://id.example.com",
        "client_id": "apollo",
        "client_secret": SecretStr("s"),
        "domains": frozenset({"example.com"}),
        "groups_claim": "groups",
        "grants": {"eng": Grant(Role.OPERATOR), "all": Grant(Role.VIEWER)},
        "default_grant": None,
        "scopes": "openid",
    }
    return OidcSettings(**{**values, **changes})


CLAIMS = {"sub": "1", "email": "Ann@Example.com", "email_verified": True, "groups": ["all", "eng"]}


def test_somebody_of_several_groups_sees_the_tenants_of_those_with_the_highest_role() -> None:
    grants = {"all": Grant.parse("viewer@acme"), "eng": Grant.parse("viewer@globex")}
    assert str(admit(CLAIMS, provider(grants=grants)).grant) == "viewer@acme+globex"
    grants["eng"] = Grant.parse("operator@globex")
    assert str(admit(CLAIMS, provider(grants=grants)).grant) == "operator@globex"


def test_somebody_is_admitted_by_domain_and_group() -> None:
    identity = admit(CLAIMS, provider())
    assert (identity.name, identity.role) == ("ann@example.com", Role.OPERATOR)
    assert admit({**CLAIMS, "groups": "all"}, provider()).role is Role.VIEWER


@pytest.mark.parametrize(
    "verified", [False, None, "false", "yes", 1.5, "True", [], ["true"]], ids=repr
)
def test_an_address_that_is_not_verified_counts_for_nothing(verified: object) -> None:
    with pytest.raises(NotAdmittedError):
        admit({**CLAIMS, "email_verified": verified}, provider())
    # without domains the groups decide, and the name is not the address
    named = admit(
        {**CLAIMS, "email_verified": verified, "preferred_username": "admin"},
        provider(domains=None),
    )
    assert named.name == "oidc:admin"
    assert admit({"sub": "1", "groups": "eng"}, provider(domains=None)).name == "oidc:1"


@pytest.mark.parametrize("email", ["token:ci@example.com", "oidc:x@example.com", "@example.com"])
def test_what_is_no_plain_mail_address_does_not_become_a_name(email: str) -> None:
    with pytest.raises(NotAdmittedError):
        admit({**CLAIMS, "email": email}, provider())
    assert admit({**CLAIMS, "email": email}, provider(domains=None)).name == "oidc:1"


@pytest.mark.parametrize("wanted", ["x" * 129, "a\nb", "\u202eann", "\ud800", ""])
def test_a_name_is_short_and_can_be_shown(wanted: str) -> None:
    claims = {"sub": "1", "groups": "eng", "preferred_username": wanted}
    assert admit(claims, provider(domains=None)).name == "oidc:1"
    digested = admit({**claims, "sub": wanted}, provider(domains=None)).name
    assert digested.startswith("oidc:")
    assert len(digested) == len("oidc:") + 64
    assert digested != admit({**claims, "sub": f"{wanted}\0"}, provider(domains=None)).name


def test_at_google_the_organization_counts_not_the_address() -> None:
    google = provider(issuer="https://accounts.google.com", default_grant=Grant(Role.VIEWER))
    assert admit({**CLAIMS, "hd": "example.com"}, google)
    for hd in ("evil.example", None):
        with pytest.raises(NotAdmittedError):
            admit({**CLAIMS, "hd": hd}, google)


TEXT = st.sampled_from(["", "true", "eng", "all", "example.com", "ann@example.com", "@"])
SCALAR = st.none() | st.booleans() | st.integers(0, 1) | TEXT
JSON = SCALAR | st.lists(SCALAR, max_size=2) | st.dictionaries(TEXT, SCALAR, max_size=2)


@given(
    st.fixed_dictionaries(
        {"sub": st.text(min_size=1)},
        optional={"email": JSON, "email_verified": JSON, "groups": JSON, "hd": JSON},
    )
)
def test_nobody_is_admitted_by_claims_that_say_nothing(claims: dict[str, Any]) -> None:
    try:
        identity = admit(claims, provider())
    except NotAdmittedError:
        return
    assert identity.name.endswith("@example.com")
    assert claims["email_verified"] is True or claims["email_verified"] == "true"


def test_a_password_is_checked_the_same_way_for_a_user_who_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified = []
    entry = make_entry("ann", Grant(Role.ADMIN), "correct horse")
    users = Passwords({"ann": entry})
    real = passwords._is_right
    monkeypatch.setattr(
        passwords, "_is_right", lambda given, password: verified.append(1) or real(given, password)
    )
    assert users.check("ann", "correct horse") == entry
    assert users.check("ann", "wrong") is None
    assert users.check("nobody", "a password that nobody has") is None
    assert len(verified) == 3
    assert users.check("ann", "\ud800") is None, "what cannot be encoded is wrong"


def test_a_user_who_is_not_there_costs_as_much_as_the_costliest_one() -> None:
    costly = argon2.PasswordHasher(time_cost=2, memory_cost=64, parallelism=1).hash("x" * 12)
    entries, faults = passwords.parse_users(
        f"ann:viewer:{costly} {make_entry('bob', Grant(Role.ADMIN), 'x')}"
    )
    assert not faults
    nobody = Passwords({entry.name: entry for entry in entries})._nobody
    assert argon2.extract_parameters(nobody) == argon2.extract_parameters(costly)
    assert Passwords({})._nobody


@pytest.mark.parametrize(
    "parameters", ["m=131073,t=3,p=4", "m=65536,t=11,p=4", "m=16,t=3,p=4", "m=64,t=0,p=1"]
)
def test_a_hash_of_uncommon_cost_is_not_taken(parameters: str) -> None:
    real = argon2.PasswordHasher(time_cost=3, memory_cost=64, parallelism=4).hash("x" * 12)
    assert passwords.parse_users(f"ann:viewer:{real}")[1] == []
    entries, faults = passwords.parse_users(
        f"ann:viewer:{real.replace('m=64,t=3,p=4', parameters)}"
    )
    assert not entries
    assert faults[0].startswith("entry 1 ")


def test_a_password_that_could_not_sign_in_is_not_hashed() -> None:
    entry = make_entry("ann", Grant(Role.ADMIN), "x" * passwords.LONGEST_PASSWORD)
    assert Passwords({"ann": entry}).check("ann", "x" * passwords.LONGEST_PASSWORD)
    with pytest.raises(ApolloError, match="at most 1024"):
        make_entry("ann", Grant(Role.ADMIN), "x" * (passwords.LONGEST_PASSWORD + 1))


def failed(attempts: Attempts, name: str, address: str) -> bool:
    """Fail once more; returns whether that was one too many."""
    if attempts.sign_in_exhausted(name, address):
        return True
    attempts.sign_in_failed(name, address)
    return False


def test_attempts_are_given_back_to_who_succeeds() -> None:
    attempts = Attempts()
    assert [failed(attempts, "ann", "192.0.2.1") for _ in range(4)] == [False] * 4
    attempts.sign_in_succeeded(" ANN", "192.0.2.1")
    assert [failed(attempts, "ann", "192.0.2.1") for _ in range(6)] == [False] * 5 + [True]
    refusal = attempts.sign_in_exhausted("Ann ", "192.0.2.1")
    assert refusal
    assert 0 < refusal.seconds <= 300
    assert not refusal.first, "it was said at the first"


def test_a_whole_office_signs_in_at_nine_o_clock() -> None:
    attempts = Attempts()
    for number in range(200):
        assert attempts.sign_in_exhausted(f"u{number}", "192.0.2.1") is None
        attempts.sign_in_succeeded(f"u{number}", "192.0.2.1")


def test_one_user_can_be_tried_only_so_often_from_everywhere() -> None:
    attempts = Attempts()
    refused = [failed(attempts, "ann", f"192.0.2.{number}") for number in range(51)]
    assert refused == [False] * 50 + [True]


def test_addresses_of_one_subscriber_count_together() -> None:
    attempts = Attempts()
    for number in range(20):
        assert not failed(attempts, f"u{number}", f"2001:db8:1:2::{number:x}")
    assert failed(attempts, "u", "2001:db8:1:2:ffff::1")
    assert not failed(attempts, "u", "2001:db8:1:3::1")
    for number in range(20):
        assert not failed(attempts, f"u{number}", "::ffff:198.51.100.1")
    assert failed(attempts, "u", "::ffff:198.51.100.1")
    assert not failed(attempts, "u", "::ffff:198.51.100.2")


def test_a_policy_is_completed_and_keeps_what_it_says() -> None:
    completed = _completed("base-uri 'self'; script-src 'nonce-x';")
    assert completed.startswith("base-uri 'self'; script-src 'nonce-x'; ")
    assert completed.count("base-uri") == 1
    for directive in ("form-action 'self'", "frame-ancestors 'none'", "object-src 'none'"):
        assert directive in completed


def test_tags_of_apollo_s_are_taken_out_wherever_they_lie() -> None:
    own, others = {"key": "apollo/launched_by", "value": "x"}, {"key": "team", "value": "x"}
    arguments = {
        "params": {"executionMetadata": {"tags": [own, others]}, "tags": [own]},
        "list": [{"extraTags": [others, own, {"key": "apollo/", "value": ""}]}],
        "tags": "not a list",
        "runConfigData": {"ops": {"x": {"config": {"tags": [own]}}}},
    }
    drop_own_tags(arguments)
    assert arguments == {
        "runConfigData": {"ops": {"x": {"config": {"tags": [own]}}}},
        "params": {"executionMetadata": {"tags": [others]}, "tags": []},
        "list": [{"extraTags": [others]}],
        "tags": "not a list",
    }


def test_a_launch_is_stamped_and_inherits_no_end() -> None:
    tags = {
        "team": "finance",
        "apollo/tenant": "acme",
        "apollo/launched_by": "before",
        "apollo/terminated_by": "before",
        "apollo/interrupted": "before",
    }
    assert stamped(tags, "ann") == {
        "team": "finance",
        "apollo/tenant": "acme",
        "apollo/launched_by": "ann",
    }


def test_a_name_is_shown_on_dagster_s_page_and_not_run_there() -> None:
    page = with_account("<body>x</body>", '"><script>alert(1)</script>')
    assert "<script>" not in page
    assert page.endswith("</a></body>")
    assert page.count("</body>") == 1
