"""The environment of the production processes."""

from pathlib import Path

import pytest

from dagster_apollo import __version__
from dagster_apollo.errors import ConfigurationError
from dagster_apollo.services.contract import CodeServer, ServiceSettings, load_both, load_services
from dagster_apollo.web.contract import WebSettings, load_web

pytestmark = pytest.mark.unit

ENVIRON = {
    "DAGSTER_HOME": "/srv/apollo",
    "DAGSTER_PG_URI": "postgres://u:passwordzq@db/apollo?sslmode=require",
}


def problems(*, needs_code_server: bool = False, **variables: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as raised:
        load_services({**ENVIRON, **variables}, needs_code_server=needs_code_server)
    assert "zq" not in str(raised.value)
    return {problem.variable: problem.what for problem in raised.value.problems}


def test_two_variables_are_enough() -> None:
    settings = load_services(ENVIRON)
    assert settings.dagster_home == Path("/srv/apollo")
    uri = settings.dagster_pg_uri.get_secret_value()
    assert uri == "postgresql+psycopg2://u:passwordzq@db/apollo?sslmode=require"
    assert (settings.release, settings.deploy_seconds, settings.shutdown_seconds) == (
        __version__,
        900,
        30,
    )
    assert settings.port is None
    assert settings.code_servers == ()
    assert "passwordzq" not in repr(settings)


def test_what_is_not_set_is_not_guessed() -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_services({})
    text = str(raised.value)
    assert "DAGSTER_PG_URI: is not set, and the services share one Postgres database" in text
    assert "DAGSTER_HOME: is not set, and the services need the same path on every host" in text
    assert "unset" not in text


@pytest.mark.parametrize(
    ("variables", "release"),
    [
        ({"RENDER_GIT_COMMIT": "abc123"}, "abc123"),
        ({"RENDER_GIT_COMMIT": "abc123", "APOLLO_RELEASE": "2026.11"}, "2026.11"),
    ],
)
def test_the_release_is_the_hosts_commit_unless_named(
    variables: dict[str, str], release: str
) -> None:
    assert load_services({**ENVIRON, **variables}).release == release


def test_code_servers_have_the_names_of_their_variables() -> None:
    variables = {
        "APOLLO_CODE_SERVER": "dagster-code:4000",
        "APOLLO_CODE_SERVER_ACME_EU": " 10.0.0.7:10000 ",
        "APOLLO_CODE_SERVER_SIX": "[::1]:4001",
        "APOLLO_CODE_SERVER_OFF": "",
        "OTHER_APOLLO_CODE_SERVER_X": "no:1",
    }
    assert load_services({**ENVIRON, **variables}).code_servers == (
        CodeServer("apollo", "dagster-code", 4000),
        CodeServer("acme_eu", "10.0.0.7", 10000),
        CodeServer("six", "::1", 4001),
    )


@pytest.mark.parametrize(
    "value", ["dagster-code", "dagster-code:", ":4000", "host:0", "host:65536", "http://host:4000"]
)
def test_a_code_server_that_is_no_address_is_named(value: str) -> None:
    assert problems(APOLLO_CODE_SERVER_ACME=value) == {
        "APOLLO_CODE_SERVER_ACME": "is not HOST:PORT"
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APOLLO_DEPLOY_SECONDS", "soon"),
        ("APOLLO_DEPLOY_SECONDS", "-1"),
        ("APOLLO_SHUTDOWN_SECONDS", "0"),
        ("PORT", "70000"),
        ("APOLLO_COMPUTE_LOGS_MAX_BYTES", "1"),
        ("DAGSTER_HOME", "relative/path"),
        ("DAGSTER_PG_URI", "mysql://u:passwordzq@db/apollo"),
    ],
)
def test_what_is_not_valid_is_named(name: str, value: str) -> None:
    assert list(problems(**{name: value})) == [name]


def test_every_problem_is_listed() -> None:
    assert set(problems(PORT="x", APOLLO_DEPLOY_SECONDS="x", APOLLO_CODE_SERVER="x")) == {
        "PORT",
        "APOLLO_DEPLOY_SECONDS",
        "APOLLO_CODE_SERVER",
    }


def test_what_needs_a_code_server_says_so_with_all_else() -> None:
    assert problems(needs_code_server=True, DAGSTER_HOME="", PORT="x") == {
        "PORT": "is not a whole number",
        "DAGSTER_HOME": "is not set, and the services need the same path on every host",
        "APOLLO_CODE_SERVER": "is not set, and there is no other way to reach the tenants",
    }


def test_a_code_server_that_is_no_address_is_not_also_said_to_be_missing() -> None:
    assert problems(needs_code_server=True, APOLLO_CODE_SERVER_ACME="acme") == {
        "APOLLO_CODE_SERVER_ACME": "is not HOST:PORT"
    }


def test_one_code_location_has_one_code_server() -> None:
    twice = {"APOLLO_CODE_SERVER": "a:1", "APOLLO_CODE_SERVER_APOLLO": "b:2"}
    assert problems(needs_code_server=True, **twice) == {
        "APOLLO_CODE_SERVER_APOLLO": "is one of two variables for the code location apollo"
    }


def test_two_parts_of_the_environment_are_read_in_one_round() -> None:
    def services() -> ServiceSettings:
        return load_services(environ)

    def web() -> WebSettings:
        return load_web("127.0.0.1", environ)

    environ = {"DAGSTER_HOME": "/srv/apollo", "APOLLO_SESSION_HOURS": "soon"}
    with pytest.raises(ConfigurationError) as raised:
        load_both(services, web)
    assert [problem.variable for problem in raised.value.problems] == [
        "DAGSTER_PG_URI",
        "APOLLO_SESSION_HOURS",
    ]
    with pytest.raises(ConfigurationError) as raised:
        load_both(services, services)
    assert [problem.variable for problem in raised.value.problems] == ["DAGSTER_PG_URI"]
    environ = dict(ENVIRON)
    assert load_both(services, web) == (services(), web())
