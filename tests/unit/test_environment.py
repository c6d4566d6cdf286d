"""What a tenant's dbt process may see: a list, of which nothing else is part."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dagster_apollo.dbt.environment import dbt_environment
from dagster_apollo.settings import TenantSettings, load

pytestmark = pytest.mark.unit

PROFILES = Path("/run/profiles/acme")
FIXED = {
    "DBT_PROFILES_DIR": str(PROFILES),
    "DBT_PROFILE": "apollo-snowflake",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DBT_USE_COLORS": "false",
    "DBT_VERSION_CHECK": "false",
    "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",
}
SECRETS_OF_A_HOST = {
    "DAGSTER_PG_URI": "postgresql://u:pw@h/d",
    "DAGSTER_HOME": "/opt/dagster",
    "SNOWFLAKE_PRIVATE_KEY_PEM": "pem",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "passphrase",
    "SNOWFLAKE_PASSWORD": "password",
    "DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY": "of another process",
    "DBT_ENV_SECRET_TOKEN": "token",
    "DBT_CLOUD_TOKEN": "token",
    "BETA__SNOWFLAKE_PRIVATE_KEY_PEM": "pem",
    "AWS_SECRET_ACCESS_KEY": "key",
    "GITHUB_TOKEN": "token",
    "APOLLO_SESSION_SECRET": "secret",
    "RENDER_API_KEY": "key",
    "DATABASE_URL": "postgres://",
    "LCX_TOKEN": "token",
    "path": "of Windows",
    "DBT_TARGET": "prod",
    "DBT_PROFILES_DIR": "/elsewhere",
    "DBT_TARGET_PATH": "/elsewhere",
    "DBT_FULL_REFRESH": "true",
    "PYTHONSTARTUP": "/evil.py",
    "LD_PRELOAD": "/evil.so",
}


OF_THE_HOST = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
    *("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "SYSTEMROOT"),
    *("LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
}
"""The list again, so that one who makes it longer has to think twice."""


def only(environ: dict[str, str], **more: str) -> TenantSettings:
    (tenant,) = load({**environ, **more}).tenants
    return tenant


@pytest.fixture
def local(base) -> TenantSettings:
    return only(base)


def test_on_duckdb_dbt_gets_what_the_list_says_and_nothing_else(local):
    assert dbt_environment(local, PROFILES, {}) == {**FIXED, "DBT_TARGET": "local"}


def test_no_secret_of_the_host_reaches_dbt(local):
    environment = dbt_environment(local, PROFILES, SECRETS_OF_A_HOST)
    assert environment == {**FIXED, "DBT_TARGET": "local"}


@pytest.mark.parametrize("name", sorted(OF_THE_HOST | {"LC_ALL", "LC_CTYPE"}))
def test_what_a_process_needs_to_run_on_this_host_is_passed_on(local, name):
    assert dbt_environment(local, PROFILES, {name: "x"})[name] == "x"


@pytest.fixture(scope="module")
def any_tenant(tmp_path_factory) -> TenantSettings:
    root = tmp_path_factory.mktemp("tenants")
    (root / "acme").mkdir()
    (root / "acme" / "dbt_project.yml").write_text("name: acme\n")
    return only({"APOLLO_TENANTS_DIR": str(root)})


NAMES = st.one_of(
    st.sampled_from([*SECRETS_OF_A_HOST, *OF_THE_HOST]),
    st.text(min_size=1, max_size=12),
    st.builds("{}{}".format, st.sampled_from(sorted(OF_THE_HOST)), st.text(max_size=3)),
)


@given(host=st.dictionaries(NAMES, st.just("of the host")))
@hypothesis_settings(deadline=None)
def test_no_unknown_variable_of_the_host_is_ever_passed_on(any_tenant, host):
    environment = dbt_environment(any_tenant, PROFILES, host)
    passed = {name for name, value in environment.items() if value == "of the host"}
    assert passed == {name for name in host if name in OF_THE_HOST or name.startswith("LC_")}


def test_the_host_cannot_change_what_apollo_decides(local):
    host = dict.fromkeys((*FIXED, "DBT_TARGET"), "of the host")
    assert dbt_environment(local, PROFILES, host) == {**FIXED, "DBT_TARGET": "local"}


def test_a_tenants_own_variables_reach_its_dbt(base):
    own = {"DBT_ENV_REGION": "eu", "DBT_ENV_SECRET_TOKEN": "token"}
    environment = dbt_environment(only({**base, **own}), PROFILES, {})
    assert environment == {**FIXED, "DBT_TARGET": "local", **own}


def test_the_key_is_under_one_name_that_dbt_keeps_out_of_its_logs(dev, pem, encrypted_pem):
    for more in (
        {"SNOWFLAKE_PRIVATE_KEY_PEM": pem},
        {
            "SNOWFLAKE_PRIVATE_KEY_PEM": encrypted_pem,
            "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "open sesame",
        },
    ):
        settings = only({**dev, **more})
        environment = dbt_environment(settings, PROFILES, {**dev, **more})
        secret = settings.snowflake.private_key.base64_der
        holders = [name for name, value in environment.items() if secret in value]
        assert holders == ["DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY"]
        assert "\n" not in secret
        assert not any("PRIVATE KEY" in value for value in environment.values())
        assert "open sesame" not in environment.values()


def test_a_key_of_the_tenants_own_never_stands_in_for_that_of_the_connection(dev):
    settings = only(dev, DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY="of its own")
    environment = dbt_environment(settings, PROFILES, {})
    key = settings.snowflake.private_key.base64_der
    assert environment["DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY"] == key


def test_the_environment_names_the_run_in_the_query_tag_alone(dev):
    environment = dbt_environment(only(dev), PROFILES, {}, run_id="run-1")
    assert [name for name, value in environment.items() if "run-1" in value] == ["APOLLO_QUERY_TAG"]


def test_one_tenant_sees_nothing_of_another(base, make_tenants, connection, other_pem):
    make_tenants({"beta": {}})
    both = {
        **base,
        "DBT_TARGET": "prod",
        **{f"ACME__{name}": value for name, value in connection.items()},
        **{f"BETA__{name}": f"beta{value}" for name, value in connection.items()},
        "BETA__SNOWFLAKE_PRIVATE_KEY_PEM": other_pem,
        "ACME__DBT_ENV_SECRET_TOKEN": "token of acme",
        "BETA__DBT_ENV_SECRET_TOKEN": "token of beta",
        "BETA__DBT_ENV_REGION": "region of beta",
    }
    acme, beta = load(both).tenants
    of_acme = dbt_environment(acme, PROFILES, both)
    of_beta = dbt_environment(beta, PROFILES, both)
    key = "DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY"
    assert of_acme[key] == acme.snowflake.private_key.base64_der
    assert of_beta[key] == beta.snowflake.private_key.base64_der
    assert of_acme[key] != of_beta[key]
    assert not any("beta" in value.lower() for value in of_acme.values())
    assert not any("__" in name for name in of_acme)
    assert of_beta["SNOWFLAKE_USER"] == "betaUSERZQ"
    assert (of_acme["DBT_ENV_SECRET_TOKEN"], of_beta["DBT_ENV_SECRET_TOKEN"]) == (
        "token of acme",
        "token of beta",
    )
