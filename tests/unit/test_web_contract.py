"""The environment of the front door."""

import itertools

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_apollo.errors import ConfigurationError
from dagster_apollo.web import passwords
from dagster_apollo.web.contract import load_web
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.passwords import parse_users
from dagster_apollo.web.roles import Role

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", cheap)


HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
SECRET = "0123456789abcdef" * 2
SIGN_IN = {"APOLLO_USERS": f"ann:admin:{HASH}", "APOLLO_SESSION_SECRET": SECRET}
URL = {"APOLLO_PUBLIC_URL": "https://apollo.example.com"}
OIDC = {
    "APOLLO_SESSION_SECRET": SECRET,
    "APOLLO_OIDC_ISSUER": "https://id.example.com/realm",
    "APOLLO_OIDC_CLIENT_ID": "apollo",
    "APOLLO_OIDC_CLIENT_SECRET": "s3cret",
    "APOLLO_OIDC_ROLES": "engineers=operator, cn=admins,ou=groups=admin",
    **URL,
}


def problems(bind: str = "0.0.0.0", **environ: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as error:
        load_web(bind, environ)
    return {problem.variable: problem.what for problem in error.value.problems}


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_on_loopback_nothing_is_needed(bind: str) -> None:
    settings = load_web(bind, {})
    assert not settings.requires_sign_in
    assert {"localhost", "127.0.0.1", "::1"} <= settings.hosts


@pytest.mark.parametrize(
    "environ",
    [
        {"APOLLO_PUBLIC_URL": "http://localhost:3000"},
        {"APOLLO_PUBLIC_URL": "http://[::1]:3000"},
        {"RENDER_EXTERNAL_URL": "http://127.0.0.1"},
        {"APOLLO_ALLOWED_HOSTS": "127.0.0.2, ::1,localhost"},
    ],
)
def test_on_loopback_what_names_this_machine_alone_changes_nothing(environ: dict[str, str]) -> None:
    assert not load_web("127.0.0.1", environ).requires_sign_in


@pytest.mark.parametrize(
    ("environ", "exposure"),
    [
        ({"APOLLO_PUBLIC_URL": "https://apollo.example.com"}, "reached by APOLLO_PUBLIC_URL"),
        ({"APOLLO_PUBLIC_URL": "https://localhost.evil.org"}, "reached by APOLLO_PUBLIC_URL"),
        ({"RENDER_EXTERNAL_URL": "https://x.onrender.com"}, "reached by RENDER_EXTERNAL_URL"),
        (
            {"APOLLO_PUBLIC_URL": "http://localhost", "RENDER_EXTERNAL_URL": "https://x.org"},
            "reached by RENDER_EXTERNAL_URL",
        ),
        ({"APOLLO_ALLOWED_HOSTS": "localhost, apollo.lan"}, "reached by APOLLO_ALLOWED_HOSTS"),
        ({"APOLLO_ALLOWED_HOSTS": "10.0.0.1"}, "reached by APOLLO_ALLOWED_HOSTS"),
        ({"APOLLO_TRUSTED_PROXIES": "127.0.0.1"}, "behind APOLLO_TRUSTED_PROXIES"),
        ({"APOLLO_TRUSTED_PROXIES": "*"}, "behind APOLLO_TRUSTED_PROXIES"),
    ],
)
def test_on_loopback_somebody_must_be_able_to_sign_in_where_others_are_let_through(
    environ: dict[str, str], exposure: str
) -> None:
    found = problems("127.0.0.1", **environ)
    assert set(found) == {"APOLLO_ADMIN_PASSWORD"}
    assert f"{exposure}, everybody who reaches" in found["APOLLO_ADMIN_PASSWORD"]
    assert load_web("127.0.0.1", {**SIGN_IN, **environ}).requires_sign_in


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.0.0.1", "example.com", "", "127.0.0.1.evil"])
def test_elsewhere_somebody_must_be_able_to_sign_in(bind: str) -> None:
    assert set(problems(bind)) == {"APOLLO_ADMIN_PASSWORD", "APOLLO_PUBLIC_URL"}
    said = problems(bind, **URL)["APOLLO_ADMIN_PASSWORD"]
    assert said.startswith("is not set, nor is APOLLO_USERS or APOLLO_OIDC_ISSUER: ")
    assert "everybody who reaches this host would be an admin" in said


def test_a_sign_in_needs_a_secret_wherever_it_is() -> None:
    users = {"APOLLO_USERS": f"ann:viewer:{HASH}"}
    assert problems("127.0.0.1", **users) == {
        "APOLLO_SESSION_SECRET": "is not set, and signs the sessions"
    }
    assert problems("127.0.0.1", **users, APOLLO_SESSION_SECRET="x" * 31) == {
        "APOLLO_SESSION_SECRET": "is shorter than 32 characters"
    }


def test_users_are_read_with_their_roles() -> None:
    text = f" ann:admin:{HASH}\n\tbob:viewer:{HASH} eve@example.com:operator:{HASH}\n"
    settings = load_web("0.0.0.0", {**SIGN_IN, **URL, "APOLLO_USERS": text})
    assert {name: user.role for name, user in settings.users.items()} == {
        "ann": Role.ADMIN,
        "bob": Role.VIEWER,
        "eve@example.com": Role.OPERATOR,
    }
    assert HASH not in repr(settings)
    assert HASH not in repr(settings.users["ann"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ann", "entry 1 is not NAME:ROLE:HASH"),
        ("ann:admin", "entry 1 is not NAME:ROLE:HASH"),
        (f"Ann:admin:{HASH}", "entry 1 does not begin with a user name"),
        (f":admin:{HASH}", "entry 1 does not begin with a user name"),
        (f"ann:king:{HASH}", "entry 1 is not a role; roles are viewer, operator, admin"),
        ("ann:admin:pa55word", "entry 1 does not end with an argon2 hash"),
        (f"ann:admin:{HASH.replace('argon2id', 'argon2i')}", "entry 1 does not end with"),
        (f"ann:admin:{HASH.replace('m=8', 'm=99999999')}", "entry 1 has a hash that takes"),
        (f"ann:admin:{HASH} ann:viewer:{HASH}", "entry 2 names a user for the second time"),
    ],
    ids=itertools.count(),  # the hash is another one in each process of pytest-xdist
)
def test_an_entry_that_is_wrong_is_spoken_of_by_its_number(text: str, fault: str) -> None:
    found = problems(**{**SIGN_IN, **URL, "APOLLO_USERS": text})["APOLLO_USERS"]
    assert found.startswith(fault)
    assert "pa55word" not in found
    assert HASH not in found


@given(st.text())
def test_whatever_is_in_apollo_users_is_read_or_reported_and_never_shown(text: str) -> None:
    entries, faults = parse_users(text)
    assert len(entries) + len(faults) >= len(text.split()) - len(entries)
    for fault in faults:
        assert fault.startswith("entry ")
        for item in text.split():
            assert len(item) < 8 or item not in fault


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z0-9][a-z0-9._@-]{0,62}", fullmatch=True),
            st.sampled_from(list(Role)),
        ),
        unique_by=lambda pair: pair[0],
        max_size=20,
    )
)
def test_entries_are_read_as_they_were_written(pairs: list[tuple[str, Role]]) -> None:
    entries, faults = parse_users("\n".join(f"{name}:{role}:{HASH}" for name, role in pairs))
    assert faults == []
    assert [(entry.name, entry.role) for entry in entries] == pairs
    assert [str(entry) for entry in entries] == [f"{n}:{r}:{HASH}" for n, r in pairs]


def test_the_admin_password_makes_an_admin_whose_sessions_outlive_a_restart() -> None:
    environ = {"APOLLO_ADMIN_PASSWORD": "a long password", "APOLLO_SESSION_SECRET": SECRET, **URL}
    first, second = load_web("0.0.0.0", environ), load_web("0.0.0.0", environ)
    assert first.users["admin"].role is Role.ADMIN
    assert first.users["admin"].credential == second.users["admin"].credential
    assert "a long password" not in repr(first.users)
    assert problems(**{**environ, "APOLLO_ADMIN_PASSWORD": "short"})["APOLLO_ADMIN_PASSWORD"] == (
        "is shorter than 12 characters"
    )
    long = problems(**{**environ, "APOLLO_ADMIN_PASSWORD": "x" * 1025})["APOLLO_ADMIN_PASSWORD"]
    assert "longer than 1024 characters" in long
    twice = problems(**environ, APOLLO_USERS=f"admin:admin:{HASH}")
    assert "is set beside an entry of the same user" in twice["APOLLO_ADMIN_PASSWORD"]


def test_users_and_groups_are_limited_as_is_written() -> None:
    acme = Grant(Role.VIEWER, frozenset({"acme"}))
    environ = {**OIDC, "APOLLO_USERS": f"ann:{acme}:{HASH}", "APOLLO_OIDC_ROLES": f"eng={acme}"}
    settings = load_web("0.0.0.0", environ)
    assert settings.users["ann"].grant == acme
    assert settings.oidc
    assert settings.oidc.grants == {"eng": acme}
    for wrong in ("viewer@", "admin@acme", "viewer@a,b"):
        found = problems(
            **{**environ, "APOLLO_USERS": f"ann:{wrong}:{HASH}", "APOLLO_OIDC_ROLES": f"e={wrong}"}
        )
        assert {"APOLLO_USERS", "APOLLO_OIDC_ROLES"} <= found.keys(), wrong


def test_a_provider_is_read() -> None:
    settings = load_web("0.0.0.0", {**OIDC, "APOLLO_OIDC_ROLES": "eng=operator, a=b=admin"})
    assert settings.oidc
    assert settings.oidc.grants == {"eng": Grant(Role.OPERATOR), "a=b": Grant(Role.ADMIN)}
    assert settings.oidc.domains is None
    assert settings.oidc.default_grant is None
    assert "s3cret" not in repr(settings)
    with_domains = load_web(
        "0.0.0.0", {**OIDC, "APOLLO_OIDC_ROLES": "e=viewer", "APOLLO_OIDC_DOMAINS": "@A.com, b.org"}
    )
    assert with_domains.oidc
    assert with_domains.oidc.domains == {"a.com", "b.org"}


@pytest.mark.parametrize(
    ("changes", "variable", "what"),
    [
        ({"APOLLO_OIDC_ISSUER": "http://id.example.com"}, "APOLLO_OIDC_ISSUER", "https"),
        ({"APOLLO_OIDC_ISSUER": "id.example.com"}, "APOLLO_OIDC_ISSUER", "https"),
        ({"APOLLO_OIDC_ISSUER": ""}, "APOLLO_OIDC_ISSUER", "is not set beside"),
        ({"APOLLO_OIDC_CLIENT_ID": ""}, "APOLLO_OIDC_CLIENT_ID", "is not set beside"),
        ({"APOLLO_OIDC_CLIENT_SECRET": ""}, "APOLLO_OIDC_CLIENT_SECRET", "is not set beside"),
        ({"APOLLO_OIDC_ROLES": "engineers"}, "APOLLO_OIDC_ROLES", "group=role"),
        ({"APOLLO_OIDC_ROLES": "engineers=king"}, "APOLLO_OIDC_ROLES", "group=role"),
        ({"APOLLO_OIDC_ROLES": "=admin"}, "APOLLO_OIDC_ROLES", "group=role"),
        ({"APOLLO_OIDC_ROLES": ""}, "APOLLO_OIDC_ROLES", "nobody would get in"),
        ({"APOLLO_OIDC_DEFAULT_ROLE": "king"}, "APOLLO_OIDC_DEFAULT_ROLE", "is not a role"),
        ({"APOLLO_OIDC_DEFAULT_ROLE": "viewer"}, "APOLLO_OIDC_DOMAINS", "everybody who has"),
        ({"APOLLO_OIDC_SCOPES": "email"}, "APOLLO_OIDC_SCOPES", "openid"),
        ({"APOLLO_PUBLIC_URL": ""}, "APOLLO_PUBLIC_URL", "the provider sends people back"),
    ],
)
def test_a_provider_that_is_wrong_is_said_to_be(
    changes: dict[str, str], variable: str, what: str
) -> None:
    environ = {**OIDC, "APOLLO_OIDC_ROLES": "engineers=operator", **changes}
    assert what in problems("127.0.0.1", **environ)[variable]


def test_everybody_at_a_provider_can_be_let_in_by_saying_so() -> None:
    environ = {**OIDC, "APOLLO_OIDC_ROLES": ""}
    environ |= {"APOLLO_OIDC_DEFAULT_ROLE": "viewer", "APOLLO_OIDC_DOMAINS": "*"}
    settings = load_web("0.0.0.0", environ)
    assert settings.oidc
    assert settings.oidc.domains is None


@pytest.mark.parametrize(
    "url",
    [
        "apollo.example.com",
        "https://",
        "https://a/b",
        "https://a?x",
        "https://u@a",
        "https://a:b",
        "ftp://a",
    ],
)
def test_a_public_url_is_a_scheme_and_a_host(url: str) -> None:
    found = problems(**SIGN_IN, APOLLO_PUBLIC_URL=url)
    assert found == {"APOLLO_PUBLIC_URL": "is not https://HOST, without a path"}


def test_a_sign_in_needs_tls_but_on_this_machine() -> None:
    assert problems(**SIGN_IN, APOLLO_PUBLIC_URL="http://apollo.example.com") == {
        "APOLLO_PUBLIC_URL": "is not https, without which browsers do not keep a session"
    }
    for url in ("http://localhost:3000", "http://127.0.0.1"):
        assert load_web("0.0.0.0", {**SIGN_IN, "APOLLO_PUBLIC_URL": url}).public_url == url


def test_the_host_of_the_public_url_is_the_only_one_but_for_those_allowed() -> None:
    settings = load_web("0.0.0.0", {**SIGN_IN, "APOLLO_PUBLIC_URL": "https://Apollo.Example.com/"})
    assert settings.public_url == "https://apollo.example.com"
    assert settings.hosts == {"apollo.example.com"}
    assert settings.is_https
    render = {**SIGN_IN, "RENDER_EXTERNAL_URL": "https://x.onrender.com"}
    assert load_web("0.0.0.0", render).hosts == {"x.onrender.com"}
    assert load_web("0.0.0.0", {**render, **URL}).hosts == {"apollo.example.com"}
    more = {**SIGN_IN, **URL, "APOLLO_ALLOWED_HOSTS": "Other.org, 10.1.2.3, ::1"}
    assert load_web("0.0.0.0", more).hosts == {"apollo.example.com", "other.org", "10.1.2.3", "::1"}
    for wrong in ("*", "https://x", "a/b"):
        assert "APOLLO_ALLOWED_HOSTS" in problems(**SIGN_IN, **URL, APOLLO_ALLOWED_HOSTS=wrong)


def test_proxies_are_addresses_networks_or_all() -> None:
    def proxies(text: str) -> tuple[str, ...]:
        environ = {**SIGN_IN, **URL, "APOLLO_TRUSTED_PROXIES": text}
        return load_web("0.0.0.0", environ).trusted_proxies

    assert proxies("") == ()
    assert proxies("*") == ("*",)
    assert proxies("10.0.0.0/8, 192.0.2.1,fd00::/8") == ("10.0.0.0/8", "192.0.2.1", "fd00::/8")
    for wrong in ("proxy", "10.0.0.1/8", "*, 10.0.0.1"):
        assert set(problems(**SIGN_IN, **URL, APOLLO_TRUSTED_PROXIES=wrong)) == {
            "APOLLO_TRUSTED_PROXIES"
        }
