"""The environment contract: what each variable may be, and what is said of one that may not."""

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

import dagster_apollo.environment as environment_module
import dagster_apollo.settings as settings_module
from dagster_apollo.contract import (
    ProcessEnvironment,
    TenantEnvironment,
    normalise_postgres_uri,
)
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ConfigurationError, Problem, TenantError
from dagster_apollo.settings import Settings, TenantSettings, load, load_process
from dagster_apollo.tenants import load_or_fault

pytestmark = pytest.mark.unit

PROCESS_VARIABLES = {"DAGSTER_HOME", "DAGSTER_PG_URI", "APOLLO_TENANTS_DIR", "APOLLO_TENANTS"}
CONNECTION = [f"SNOWFLAKE_{name}" for name in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")]
KEYS = [f"SNOWFLAKE_PRIVATE_KEY_{name}" for name in ("PEM", "B64", "PATH")]
PASSPHRASE = "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"
TENANT_VARIABLES = {
    *("DBT_TARGET", "DBT_PROFILE_NAME", "DBT_THREADS", "DBT_SCHEMA"),
    *CONNECTION,
    *KEYS,
    PASSPHRASE,
    *("SNOWFLAKE_HOST", "SNOWFLAKE_PORT", "SNOWFLAKE_PROTOCOL"),
}
SECRET = "SentinelZq7xW0pLk3Vb9Nt2Ye5Hs8"
"""Not to be seen anywhere. Letters and digits, so that no repr() escapes it."""


def problems(environ: Mapping[str, str], **options: object) -> dict[str, Problem]:
    """What load() finds wrong, by variable."""
    with pytest.raises(ConfigurationError) as caught:
        load(environ, **options)
    found = caught.value.problems
    assert all(str(problem) in str(caught.value) for problem in found)
    assert all(problem.what and problem.mend for problem in found)
    assert len({problem.variable for problem in found}) == len(found)
    return {problem.variable: problem for problem in found}


def only(environ: Mapping[str, str], **options: object) -> TenantSettings:
    (tenant,) = load(environ, **options).tenants
    return tenant


def key(pem: str) -> dict[str, str]:
    return {"SNOWFLAKE_PRIVATE_KEY_PEM": pem}


# --- the table of the contract ---------------------------------------------------------------


def test_the_models_hold_the_variables_of_the_contract_and_no_other():
    assert {name.upper() for name in ProcessEnvironment.model_fields} == PROCESS_VARIABLES
    assert {name.upper() for name in TenantEnvironment.model_fields} == TENANT_VARIABLES


def test_an_empty_environment_means_one_laptop(monkeypatch, make_tenants):
    settings = load({"APOLLO_TENANTS_DIR": str(make_tenants())})
    checkout = settings_module.CHECKOUT
    assert settings.dagster_home == checkout / ".dagster"
    assert settings.dagster_pg_uri is None
    (tenant,) = settings.tenants
    assert (tenant.target, tenant.threads, tenant.schema) == ("local", 4, None)
    assert tenant.profile_name == "apollo-snowflake"
    assert tenant.snowflake is None
    assert not tenant.is_production
    assert load_process({}).apollo_tenants_dir == checkout / "tenants"


@pytest.mark.parametrize(("target", "threads"), [("local", 4), ("dev", 8), ("prod", 24)])
def test_each_target_has_its_number_of_threads(dev, target, threads):
    tenant = only({**dev, "DBT_TARGET": target})
    assert (tenant.target, tenant.threads) == (target, threads)
    assert (tenant.snowflake is None) == (target == "local")
    assert tenant.is_production == (target == "prod")


def test_a_whole_snowflake_connection_is_read(dev):
    tenant = only(
        {
            **dev,
            "SNOWFLAKE_HOST": "h.privatelink.snowflakecomputing.com",
            "SNOWFLAKE_PORT": "8443",
            "SNOWFLAKE_PROTOCOL": "http",
            "DBT_THREADS": " 256 ",
            "DBT_SCHEMA": "dbt_ann",
        }
    )
    connection = tenant.snowflake
    assert connection is not None
    assert (connection.account, connection.user) == ("orgzq-accountzq", "USERZQ")
    assert (connection.role, connection.warehouse) == ("ROLEZQ", "WAREHOUSEZQ")
    assert connection.database == "DATABASEZQ"
    assert connection.host == "h.privatelink.snowflakecomputing.com"
    assert (connection.port, connection.protocol) == (8443, "http")
    assert connection.private_key is not None
    assert connection.private_key.bits == 2048
    assert (tenant.threads, tenant.schema) == (256, "dbt_ann")


INVALID = [
    ("DBT_TARGET", "production", "not known"),
    ("DBT_TARGET", "Prod", "not known"),
    ("DBT_TARGET", "", "empty"),
    ("DBT_TARGET", " \t", "empty"),
    ("DBT_THREADS", "0", "out of range"),
    ("DBT_THREADS", "257", "out of range"),
    ("DBT_THREADS", "-1", "out of range"),
    ("DBT_THREADS", "abczq", "not a whole number"),
    ("DBT_THREADS", "1.5", "not a whole number"),
    ("DBT_THREADS", "9" * 5000, "not a whole number"),
    ("DBT_SCHEMA", "my-schema", "plain schema name"),
    ("DBT_SCHEMA", "{{ evil }}", "plain schema name"),
    ("DBT_PROFILE_NAME", "other\nprofile", "line break"),
    ("SNOWFLAKE_ACCOUNT", "https://x.snowflakecomputing.com", "account identifier"),
    ("SNOWFLAKE_ACCOUNT", "<account>", "placeholder"),
    ("SNOWFLAKE_USER", "ann\nbob", "line break"),
    ("SNOWFLAKE_ROLE", "<your role>", "placeholder"),
    ("SNOWFLAKE_WAREHOUSE", "ware\x1bhouse", "control character"),
    ("SNOWFLAKE_DATABASE", "data\x00base", "control character"),
    ("SNOWFLAKE_HOST", "https://hostzq", "host name"),
    ("SNOWFLAKE_PORT", "0", "out of range"),
    ("SNOWFLAKE_PORT", "65536", "out of range"),
    ("SNOWFLAKE_PORT", "abczq", "not a whole number"),
    ("SNOWFLAKE_PROTOCOL", "ftp", "not known"),
    ("DAGSTER_HOME", "relative/home", "absolute"),
    ("DAGSTER_HOME", "~/home", "absolute"),
    ("DAGSTER_PG_URI", "mysql://u:pw@host/db", "postgresql://"),
    ("APOLLO_TENANTS", "nosuchtenant", "does not exist"),
    ("APOLLO_TENANTS", "ac\nme", "line break"),
    ("SNOWFLAKE_USER", "\udce4zq", "control character"),
]


@pytest.mark.parametrize(("variable", "value", "what"), INVALID)
def test_an_invalid_value_is_reported_by_name_with_its_mend_and_without_the_value(
    base, variable, value, what
):
    found = problems({**base, variable: value})
    assert list(found) == [variable]
    assert what in found[variable].what
    if len(value.strip()) > 3:  # "ftp" and "0" are too short to say that they do not occur
        assert value not in str(found[variable])


def test_the_mend_of_an_unknown_target_lists_those_that_exist(base):
    found = problems({**base, "DBT_TARGET": "qa"})
    assert "local, dev, prod" in found["DBT_TARGET"].mend


def test_the_mend_of_an_unknown_tenant_lists_those_that_exist(base):
    found = problems({**base, "APOLLO_TENANTS": "acme, nosuch"})
    assert "acme" in found["APOLLO_TENANTS"].mend


def test_blanks_around_a_value_do_not_count(dev):
    padded = {name: f" {value}\n" for name, value in dev.items()}
    assert load({**padded, "DBT_SCHEMA": " s "}) == load({**dev, "DBT_SCHEMA": "s"})


def test_everything_that_is_wrong_is_in_one_report(dev):
    wrong = {variable: value for variable, value, _ in INVALID}
    found = problems(
        {**dev, **wrong, "DBT_PROFILE_NAME": "x\ny", **key("nonsense"), "OTHER__DBT_SCHEMA": "x"}
    )
    expected = {*wrong, "DBT_PROFILE_NAME", "OTHER__DBT_SCHEMA"}
    assert found.keys() >= expected - {"APOLLO_TENANTS"}


def test_an_unusable_tenant_does_not_hide_the_other_problems(base, make_tenants):
    make_tenants({"dbt_broken": None})
    found = problems({**base, "DAGSTER_HOME": "relative", "ACME__DBT_THREADS": "0"})
    assert found.keys() == {"DAGSTER_HOME", "ACME__DBT_THREADS"}


def test_an_unusable_tenant_has_settings_that_say_so(base, make_tenants):
    make_tenants({"dbt_broken": None})
    acme, broken = load({**base, "BROKEN__DBT_THREADS": "3"}).tenants
    assert (acme.tenant.fault, broken.threads) == (None, 3)
    assert "holds no dbt project" in broken.tenant.fault


@pytest.mark.parametrize("target", ["dev", "prod"])
def test_each_missing_variable_of_a_snowflake_target_is_listed(base, target):
    found = problems({**base, "DBT_TARGET": target, "SNOWFLAKE_ROLE": "  "})
    assert found.keys() == {*CONNECTION, KEYS[0]}
    assert all(f"target {target} needs" in problem.what for problem in found.values())
    assert all(name in str(found[KEYS[0]]) for name in KEYS)


def test_the_target_local_needs_no_connection_and_looks_at_no_key(base):
    assert only({**base, **key("nonsense"), KEYS[1]: "more of it"}).snowflake is None


@pytest.mark.parametrize(
    "variables", [{}, {"DBT_TARGET": "prod"}, {"DBT_TARGET": ""}, {"DBT_TARGET": "nonsense"}]
)
def test_the_target_of_the_command_line_wins_over_the_environment(base, variables):
    assert only({**base, **variables}, target="local").target == "local"


@pytest.mark.parametrize("target", ["qa", "", "PROD"])
def test_an_unknown_target_on_the_command_line_is_reported_as_such(base, target):
    assert "local, dev, prod" in problems(base, target=target)["--target"].mend


# --- the private key -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen", [KEYS[:2], KEYS[1:], KEYS[::2], KEYS], ids=lambda names: f"{len(names)} keys"
)
def test_a_conflict_of_keys_names_all_of_them(dev, pem, chosen):
    environ = {name: value for name, value in dev.items() if name not in KEYS}
    found = problems({**environ, **dict.fromkeys(chosen, pem)})
    assert list(found) == [chosen[0]]
    assert all(name in str(found[chosen[0]]) for name in chosen)
    assert not any(name in str(found[chosen[0]]) for name in set(KEYS) - set(chosen))


def test_each_variable_of_a_key_yields_the_same_key(dev, pem, tmp_path):
    file = tmp_path / "rsa_key.p8"
    file.write_text(pem)
    body = "".join(pem.splitlines()[1:-1])
    rest = {name: value for name, value in dev.items() if name not in KEYS}
    forms = {KEYS[0]: pem, KEYS[1]: body, KEYS[2]: str(file)}
    keys = {only({**rest, name: value}).snowflake.private_key for name, value in forms.items()}
    assert len(keys) == 1


def test_an_encrypted_key_is_opened_with_its_passphrase(dev, encrypted_pem):
    tenant = only({**dev, **key(encrypted_pem), PASSPHRASE: "open sesame"})
    assert tenant.snowflake.private_key is not None
    assert tenant.key_is_encrypted


@pytest.mark.parametrize("passphrase", ["open sesame ", "wrong"])
def test_blanks_in_a_passphrase_count(dev, encrypted_pem, passphrase):
    found = problems({**dev, **key(encrypted_pem), PASSPHRASE: passphrase})
    assert list(found) == [PASSPHRASE]
    assert PASSPHRASE in found[PASSPHRASE].mend


def test_a_missing_passphrase_is_reported_under_its_own_name(dev, encrypted_pem):
    assert list(problems({**dev, **key(encrypted_pem)})) == [PASSPHRASE]


def test_a_key_file_that_does_not_exist_is_reported_without_its_path(dev):
    rest = {name: value for name, value in dev.items() if name not in KEYS}
    found = problems({**rest, KEYS[2]: "/nonexistent/zq.p8"})
    assert list(found) == [KEYS[2]]
    assert "zq" not in str(found[KEYS[2]])


def test_without_a_connection_a_key_may_be_missing_but_not_wrong(dev):
    rest = {name: value for name, value in dev.items() if name not in KEYS}
    tenant = only(rest, require_keys=False)
    assert tenant.snowflake.private_key is None
    assert list(problems({**rest, **key("nonsense")}, require_keys=False)) == [KEYS[0]]
    incomplete = {k: v for k, v in rest.items() if k != "SNOWFLAKE_ROLE"}
    assert list(problems(incomplete, require_keys=False)) == ["SNOWFLAKE_ROLE"]


# --- the process -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_uri", "used"),
    [
        ("postgres://u:p@h/d", "u:p@h/d"),
        ("postgresql://u:p@h:5432/d", "u:p@h:5432/d"),
        ("postgresql+psycopg2://u:p@h/d", "u:p@h/d"),
        (
            "postgres://u:p%40x@h/d?sslmode=verify-full&sslrootcert=/ca.pem",
            "u:p%40x@h/d?sslmode=verify-full&sslrootcert=/ca.pem",
        ),
        ("postgresql://u:p@/d?host=/run/postgresql", "u:p@/d?host=/run/postgresql"),
        ("postgresql://u:p@[::1]:5432/d", "u:p@[::1]:5432/d"),
    ],
)
def test_each_spelling_of_a_postgres_uri_is_opened_with_psycopg2(base, given_uri, used):
    uri = load({**base, "DAGSTER_PG_URI": given_uri}).dagster_pg_uri
    assert uri is not None
    assert uri.get_secret_value() == f"postgresql+psycopg2://{used}"
    assert normalise_postgres_uri(uri.get_secret_value()) == uri.get_secret_value()


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("mysql://u:{}@h/d", "postgresql://"),
        ("{}", "postgresql://"),
        ("postgresql:/u:{}@h/d", "postgresql://"),
        ("postgresql://u:{}@h", "no database"),
        ("postgresql://u:{}@h/", "no database"),
        ("postgresql://u:{}@/d", "no host"),
        ("postgresql://u:{}@h:port/d", "valid URI"),
        ("postgresql://u:{}@[h/d", "valid URI"),
        ("postgresql://u:{}/@h/d", "valid URI"),
        ("postgresql://u:{}@h\n/d", "line break"),
        ("postgresql://u:{}\n@h/d", "line break"),
    ],
)
def test_what_is_no_postgres_uri_is_refused_without_its_password(base, uri, what):
    with pytest.raises(ValidationError) as raw:
        ProcessEnvironment(variables={"DAGSTER_PG_URI": uri.format(SECRET)})
    assert SECRET in str(raw.value.errors())  # the sink would have shown it
    found = problems({**base, "DAGSTER_PG_URI": uri.format(SECRET)})
    assert list(found) == ["DAGSTER_PG_URI"]
    assert what in found["DAGSTER_PG_URI"].what
    assert SECRET not in str(found)


def test_the_variables_of_the_process_can_be_read_alone(base):
    assert load_process(base).dagster_home == Path(base["DAGSTER_HOME"])
    with pytest.raises(ConfigurationError, match="DAGSTER_HOME: is not an absolute path"):
        load_process({"DAGSTER_HOME": "relative", "DBT_TARGET": "nonsense"})


def test_a_relative_tenants_directory_counts_from_the_checkout(monkeypatch, make_tenants):
    monkeypatch.setattr(settings_module, "CHECKOUT", make_tenants().parent)
    assert [item.tenant.name for item in load({"APOLLO_TENANTS_DIR": "tenants"}).tenants] == [
        "acme"
    ]


def test_a_tenants_directory_that_cannot_exist_is_an_error_with_a_mend(base, tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for directory in ("x" * 300, str(loop), str(tmp_path / "missing"), "/dev/null"):
        with pytest.raises(TenantError, match="APOLLO_TENANTS_DIR"):
            load({**base, "APOLLO_TENANTS_DIR": directory})


def test_only_the_chosen_tenants_are_served(base, make_tenants):
    make_tenants({"beta": {}, "gamma": {}})
    names = [
        [item.tenant.name for item in load({**base, "APOLLO_TENANTS": chosen}).tenants]
        for chosen in ("", "gamma", " gamma ,acme,gamma")
    ]
    assert names == [["acme", "beta", "gamma"], ["gamma"], ["acme", "gamma"]]
    assert problems({**base, "APOLLO_TENANTS": ","}).keys() == {"APOLLO_TENANTS"}


def test_the_settings_of_named_tenants_can_be_picked(base, make_tenants):
    make_tenants({"beta": {}})
    settings = load(base)
    assert [item.tenant.name for item in settings.of(["beta"])] == ["beta"]
    assert settings.of([]) == settings.tenants
    with pytest.raises(TenantError, match=r"no tenant named nosuch.*acme, beta"):
        settings.of(["nosuch"])


# --- the profile's name ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("project", "variable", "name"),
    [
        ({}, None, "apollo-snowflake"),
        ({}, "mine", "mine"),
        ({"profile": "acme"}, None, "acme"),
        ({"profile": "acme"}, "acme", "acme"),
        ({"profile": "acme"}, " ", "acme"),
    ],
)
def test_the_profile_is_the_one_that_the_project_names(make_tenants, project, variable, name):
    environ = {"APOLLO_TENANTS_DIR": str(make_tenants({"dbt_acme": project}))}
    if variable is not None:
        environ["DBT_PROFILE_NAME"] = variable
    assert only(environ).profile_name == name


def test_a_profile_that_the_project_does_not_name_is_refused(make_tenants):
    directory = make_tenants({"dbt_acme": {"profile": "acme"}})
    found = problems({"APOLLO_TENANTS_DIR": str(directory), "DBT_PROFILE_NAME": "wrongzq"})
    assert list(found) == ["DBT_PROFILE_NAME"]
    assert "dbt_project.yml" in found["DBT_PROFILE_NAME"].what
    assert "wrongzq" not in str(found)


# --- a tenant's own variables ----------------------------------------------------------------


def test_a_tenants_own_variables_are_those_named_dbt_env(base):
    tenant = only(
        {
            **base,
            "DBT_ENV_REGION": "eu",
            "DBT_ENV_SECRET_TOKEN": SECRET,
            "DBT_OTHER": "no",
            "MY_DBT_ENV_X": "no",
        }
    )
    assert tenant.own_variables == {"DBT_ENV_REGION": "eu", "DBT_ENV_SECRET_TOKEN": SECRET}
    assert SECRET not in repr(tenant)


# --- several tenants in one environment ------------------------------------------------------


def prefixed(prefix: str, variables: Mapping[str, str]) -> dict[str, str]:
    return {prefix + name: value for name, value in variables.items()}


@pytest.fixture
def two(base, make_tenants) -> dict[str, str]:
    """An environment with two tenants, acme and beta-x, and nothing set for them."""
    make_tenants({"dbt_beta-x": {}})
    return base


def test_each_of_several_tenants_reads_the_variables_with_its_prefix(two, connection, other_pem):
    settings = load(
        {
            **two,
            "DBT_TARGET": "dev",
            "DBT_THREADS": "3",
            **prefixed("ACME__", connection),
            **prefixed("BETA_X__", connection),
            "BETA_X__SNOWFLAKE_PRIVATE_KEY_PEM": other_pem,
            "BETA_X__SNOWFLAKE_ROLE": "OTHER",
            "BETA_X__DBT_THREADS": "7",
            "BETA_X__DBT_TARGET": "prod",
            "BETA_X__DBT_SCHEMA": "s",
            "ACME__DBT_ENV_SECRET_A": "of acme",
            "BETA_X__DBT_ENV_B": "of beta",
        }
    )
    acme, beta = settings.tenants
    assert (acme.target, acme.threads, acme.schema) == ("dev", 3, None)
    assert (beta.target, beta.threads, beta.schema) == ("prod", 7, "s")
    assert (acme.snowflake.role, beta.snowflake.role) == ("ROLEZQ", "OTHER")
    assert acme.snowflake.private_key != beta.snowflake.private_key
    assert acme.own_variables == {"DBT_ENV_SECRET_A": "of acme"}
    assert beta.own_variables == {"DBT_ENV_B": "of beta"}


def test_a_tenant_never_falls_back_to_the_credentials_of_another(two, connection):
    found = problems({**two, "DBT_TARGET": "dev", **prefixed("ACME__", connection)})
    assert found.keys() == {f"BETA_X__{name}" for name in (*CONNECTION, KEYS[0])}
    mend = found[f"BETA_X__{KEYS[0]}"].mend
    assert all(f"BETA_X__{name}" in mend for name in KEYS[1:])


def test_plain_credentials_beside_several_tenants_are_refused_with_the_names_to_set(
    two, connection
):
    plain = {
        **connection,
        "DBT_SCHEMA": "s",
        "DBT_PROFILE_NAME": "p",
        "DBT_ENV_SECRET_TOKEN": SECRET,
    }
    both = {**prefixed("ACME__", connection), **prefixed("BETA_X__", connection)}
    found = problems({**two, **both, "DBT_TARGET": "prod", **plain})
    assert found.keys() == plain.keys()
    for name in plain:
        assert f"ACME__{name}" in found[name].mend
        assert f"BETA_X__{name}" in found[name].mend
    assert SECRET not in str(found)


def test_plain_credentials_are_refused_though_only_one_of_several_uses_snowflake(two, connection):
    found = problems({**two, "ACME__DBT_TARGET": "dev", **connection})
    assert set(connection) <= found.keys()


def test_several_tenants_on_duckdb_may_share_what_opens_nothing(two):
    acme, beta = load({**two, "DBT_TARGET": "local", "DBT_THREADS": "2"}).tenants
    assert (acme.threads, beta.threads) == (2, 2)


@pytest.mark.parametrize(
    "name", ["DBT_ENV_REGION", "DBT_ENV_SECRET_TOKEN", "DBT_SCHEMA", "DBT_PROFILE_NAME"]
)
def test_what_is_one_tenants_own_is_refused_for_several_on_duckdb_too(two, name):
    found = problems({**two, name: "shared"})
    assert name in found
    assert f"ACME__{name}" in found[name].mend


def test_an_empty_shared_variable_is_none(two):
    assert len(load({**two, "DBT_SCHEMA": "", "DBT_ENV_REGION": " "}).tenants) == 2


def test_snowflake_variables_are_no_matter_where_all_tenants_are_on_duckdb(two, connection):
    assert [tenant.snowflake for tenant in load({**two, **connection}).tenants] == [None, None]


def test_a_prefixed_variable_of_dbts_own_reaches_its_tenant_alone(two):
    for tenant in load({**two, "ACME__DBT_ENV_X": "x"}).tenants:
        assert tenant.own_variables == ({"DBT_ENV_X": "x"} if tenant.tenant.name == "acme" else {})


def test_an_unusable_tenant_does_not_hide_what_else_is_wrong(base, make_tenants):
    folder = make_tenants({"dbt_broken": {}}) / "dbt_broken"
    (folder / "dbt_project.yml").write_text("- no mapping")
    found = problems({**base, "DBT_TARGET": "qa", "DBT_THREADS": "0"})
    assert found.keys() == {"DBT_TARGET", "DBT_THREADS"}


def test_the_target_of_the_command_line_decides_later_whether_dotenv_counts(
    base, monkeypatch, tmp_path, connection
):
    (tmp_path / ".env").write_text("DAGSTER_PG_URI=postgresql://u:p@laptop/dagster\n")
    monkeypatch.setattr(environment_module, "CHECKOUT", tmp_path)
    monkeypatch.setattr(environment_module, "_command_line", {})
    monkeypatch.delenv("DAGSTER_PG_URI", raising=False)
    for name, value in {**base, **connection}.items():
        monkeypatch.setenv(name, value)
    settings_module.load(target="prod")
    assert settings_module.load_process().dagster_pg_uri is None
    settings_module.load(target="dev")
    assert settings_module.load_process().dagster_pg_uri is not None


def test_a_shared_variable_that_is_wrong_is_named_as_it_is_set(two):
    found = problems({**two, "DBT_TARGET": "qa", "DBT_THREADS": "0"})
    assert found.keys() == {"DBT_TARGET", "DBT_THREADS"}
    assert problems({**two, "DBT_TARGET": "local", "ACME__DBT_TARGET": "qa"}).keys() == {
        "ACME__DBT_TARGET"
    }


def test_a_variable_with_the_prefix_of_no_tenant_is_reported(two):
    found = problems({**two, "GAMMA__SNOWFLAKE_ROLE": "x", "acme__DBT_TARGET": "local"})
    assert found.keys() == {"GAMMA__SNOWFLAKE_ROLE", "acme__DBT_TARGET"}
    assert "ACME__, BETA_X__" in found["GAMMA__SNOWFLAKE_ROLE"].mend


def test_variables_of_a_tenant_that_is_not_served_are_no_problem(two, connection):
    environ = {**two, **prefixed("BETA_X__", connection), **connection, "DBT_TARGET": "dev"}
    tenant = only({**environ, "APOLLO_TENANTS": "acme", "BETA_X__SNOWFLAKE_ROLE": "OTHER"})
    assert tenant.snowflake.role == "ROLEZQ"


def test_what_is_asked_of_one_of_several_tenants_is_no_matter_of_the_others(
    two, connection, monkeypatch
):
    """No file of theirs is read, and none of their variables is checked."""
    wrong = {"BETA_X__DBT_TARGET": "dev", "BETA_X__DBT_THREADS": "many"}
    read: list[str] = []
    monkeypatch.setattr(
        "dagster_apollo.settings.load_or_fault",
        lambda found: read.append(found.name) or load_or_fault(found),
    )
    environ = {**two, **prefixed("ACME__", connection), **wrong, "ACME__DBT_TARGET": "dev"}
    (acme,) = load(environ, names=["acme"]).tenants
    assert (acme.tenant.name, acme.target, read) == ("acme", "dev", ["acme"])
    with pytest.raises(ConfigurationError, match="BETA_X__DBT_THREADS"):
        load(environ)
    # a plain variable is as dangerous as beside all of them
    with pytest.raises(ConfigurationError, match="SNOWFLAKE_USER: is set for several tenants"):
        load({**environ, "SNOWFLAKE_USER": "x"}, names=["acme"])
    with pytest.raises(TenantError, match=r"no tenant named nobody. Tenants are: acme, beta-x"):
        load(environ, names=["nobody"])


def test_a_variable_is_the_tenants_whose_whole_prefix_it_has(base, make_tenants, connection):
    root = make_tenants({"a": {}, "a__b": {}}, at="nested")
    environ = {**base, "APOLLO_TENANTS_DIR": str(root), "A__B__DBT_TARGET": "dev"}
    environ |= prefixed("A__B__", connection)
    a, a_b = load(environ).tenants
    assert (a.target, a_b.target) == ("local", "dev")
    del environ["A__B__SNOWFLAKE_ROLE"]
    with pytest.raises(ConfigurationError, match=r"^A__B__SNOWFLAKE_ROLE: is not set"):
        load(environ, names=["a__b"])
    assert load(environ, names=["a"]).tenants[0].snowflake is None


def test_one_tenant_may_use_its_prefix(base, connection):
    tenant = only({**base, "DBT_TARGET": "dev", **prefixed("ACME__", connection)})
    assert tenant.snowflake.role == "ROLEZQ"


def test_one_tenant_with_a_plain_and_a_prefixed_variable_is_a_conflict(dev):
    found = problems({**dev, "ACME__SNOWFLAKE_ROLE": "OTHER"})
    assert "ACME__SNOWFLAKE_ROLE" in found["SNOWFLAKE_ROLE"].what


def test_a_plain_key_does_not_stand_in_for_a_tenants_own(base, connection, pem):
    acme = prefixed("ACME__", {name: connection[name] for name in CONNECTION})
    found = problems({**base, **acme, "DBT_TARGET": "dev", **key(pem)})
    assert "ACME__SNOWFLAKE_PRIVATE_KEY_PEM" in found["SNOWFLAKE_PRIVATE_KEY_PEM"].mend


def test_the_prefixed_target_wins_over_the_plain_one(base):
    tenant = only({**base, "DBT_TARGET": "prod", "ACME__DBT_TARGET": "local"})
    assert tenant.target == "local"


def test_a_wrong_variable_is_named_with_the_prefix_that_it_has(base, connection, encrypted_pem):
    acme = prefixed("ACME__", {**connection, "SNOWFLAKE_PORT": "x", **key(encrypted_pem)})
    found = problems({**base, "DBT_TARGET": "dev", **acme})
    assert found.keys() == {"ACME__SNOWFLAKE_PORT", f"ACME__{PASSPHRASE}"}
    assert f"Set ACME__{PASSPHRASE}" in found[f"ACME__{PASSPHRASE}"].mend
    assert problems({**base, "DBT_TARGET": "dev", "ACME__DBT_TARGET": ""}).keys() == {
        "ACME__DBT_TARGET"
    }
    mixed = {**base, "SNOWFLAKE_HOST": "h", "ACME__SNOWFLAKE_PORT": "x"}
    assert problems(mixed).keys() == {"ACME__SNOWFLAKE_PORT", "SNOWFLAKE_HOST"}


def test_a_tenant_may_be_called_snowflake(base, make_tenants, connection):
    make_tenants({"snowflake": {}})
    environ = {
        **base,
        "SNOWFLAKE__DBT_TARGET": "dev",
        **prefixed("SNOWFLAKE__", connection),
    }
    acme, snowflake = load(environ).tenants
    assert (acme.target, snowflake.target) == ("local", "dev")


# --- .env ------------------------------------------------------------------------------------


@pytest.fixture
def dotenv(tmp_path, monkeypatch, clean_environ, base):
    """Write the `.env` of a checkout in which acme is the tenant."""
    monkeypatch.setattr(environment_module, "CHECKOUT", tmp_path)
    common = "".join(f"{name}={value}\n" for name, value in base.items())

    def write(text: str | bytes) -> None:
        content = text if isinstance(text, bytes) else (common + text).encode()
        (tmp_path / ".env").write_bytes(content)

    return write


def test_without_a_dotenv_file_the_environment_is_all(dotenv, clean_environ):
    clean_environ.setenv("DBT_SCHEMA", "real")
    assert read_environment()["DBT_SCHEMA"] == "real"


def test_the_real_environment_wins_over_dotenv(dotenv, clean_environ):
    dotenv("DBT_SCHEMA=from_file\nDBT_THREADS=3\n")
    clean_environ.setenv("DBT_SCHEMA", "real")
    tenant = only(None)
    assert (tenant.schema, tenant.threads) == ("real", 3)


def test_an_empty_line_of_dotenv_sets_nothing(dotenv):
    dotenv("DBT_TARGET=\nDBT_SCHEMA=\n")
    assert (only(None).target, only(None).schema) == ("local", None)


def test_a_quoted_key_of_several_lines_works_in_dotenv(dotenv, connection, pem):
    rest = "".join(f"{k}={v}\n" for k, v in connection.items() if k not in KEYS)
    for quote in "'\"":
        dotenv(f"DBT_TARGET=dev\n{rest}{KEYS[0]}={quote}{pem}{quote}\nDBT_THREADS=3\n")
        tenant = only(None)
        assert tenant.snowflake.private_key is not None
        assert tenant.threads == 3


def test_a_key_of_several_lines_without_quotes_is_reported_as_cut_short(
    dotenv, connection, pem, capsys, caplog
):
    rest = "".join(f"{k}={v}\n" for k, v in connection.items() if k not in KEYS)
    dotenv(f"DBT_TARGET=dev\n{rest}{KEYS[0]}={pem}\n")
    found = problems(None)
    assert list(found) == [KEYS[0]]
    assert "quotes" in found[KEYS[0]].mend
    shown = f"{found} {caplog.text} {capsys.readouterr()}"
    assert not any(line in shown for line in pem.splitlines()[1:-1])


def test_nothing_is_interpolated_in_dotenv(dotenv, clean_environ):
    clean_environ.setenv("OTHER", "interpolated")
    dotenv("DBT_ENV_A=a${OTHER}b\nDBT_ENV_B=\"$OTHER\"\nDBT_ENV_C='${OTHER:-x}'\n")
    assert only(None).own_variables == {
        "DBT_ENV_A": "a${OTHER}b",
        "DBT_ENV_B": "$OTHER",
        "DBT_ENV_C": "${OTHER:-x}",
    }


@pytest.mark.parametrize("name", ["DBT_TARGET", "ACME__DBT_TARGET", "export DBT_TARGET"])
@pytest.mark.parametrize("value", ["prod", " prod ", "'prod'", '" prod"'])
def test_dotenv_may_not_choose_production(dotenv, name, value):
    dotenv(f"{name}={value}\n")
    found = problems(None)
    assert list(found) == [name.removeprefix("export ")]
    assert ".env" in str(found)


@pytest.mark.parametrize("name", ["DBT_TARGET", "ACME__DBT_TARGET"])
def test_production_does_not_read_dotenv(dotenv, clean_environ, name):
    dotenv("DBT_SCHEMA=from_file\n")
    clean_environ.setenv(name, "prod")
    assert "DBT_SCHEMA" not in read_environment()
    assert read_environment("dev")["DBT_SCHEMA"] == "from_file"  # --target wins


def test_production_on_the_command_line_does_not_read_dotenv(dotenv, clean_environ):
    dotenv("DBT_SCHEMA=from_file\nDBT_TARGET=dev\n")
    assert not {"DBT_SCHEMA", "DBT_TARGET"} & read_environment("prod").keys()


def test_a_byte_order_mark_does_not_hide_the_first_variable_of_dotenv(dotenv):
    dotenv(b"\xef\xbb\xbfDBT_SCHEMA=first\r\nDBT_THREADS=3\r\n")
    found = read_environment()
    assert (found["DBT_SCHEMA"], found["DBT_THREADS"]) == ("first", "3")


def test_a_dotenv_that_is_not_text_is_reported_without_its_contents(dotenv):
    content = f"DBT_ENV_SECRET_X={SECRET}\n".encode() + b"\xff\xfe\n"
    with pytest.raises(UnicodeDecodeError) as raw:
        content.decode()
    assert SECRET in str(raw.value.args)  # the sink would have shown it
    dotenv(content)
    with pytest.raises(ConfigurationError, match=r"\.env: cannot be read") as caught:
        read_environment()
    assert_nothing_shows(caught.value)


# --- secrets ---------------------------------------------------------------------------------


def chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that it was raised from, suppressed ones included."""
    return [] if error is None else [error, *chain(error.__cause__), *chain(error.__context__)]


def sinks(error: BaseException) -> str:
    """All that a log, a debugger or an error tracker may take from an error."""
    return "\n".join(
        (
            *(str(item) + repr(item) + repr(item.args) + repr(vars(item)) for item in chain(error)),
            *traceback.format_exception(error),
        )
    )


def assert_nothing_shows(error: BaseException) -> None:
    assert SECRET not in sinks(error)


def test_the_sinks_of_an_error_show_what_is_in_it():
    with pytest.raises(ValidationError) as raw:
        ProcessEnvironment(variables={"DAGSTER_PG_URI": SECRET})
    assert SECRET not in str(raw.value)
    assert SECRET in repr(raw.value.errors())  # what hide_input_in_errors does not hide

    def fail() -> None:
        try:
            raise ValueError(SECRET)
        except ValueError:
            raise TenantError("says nothing") from None

    with pytest.raises(TenantError) as caught:
        fail()
    assert SECRET in sinks(caught.value)


def test_a_representation_shows_what_is_not_a_secret():
    @dataclass
    class Shown:
        value: str

    assert SECRET in repr(Shown(SECRET))
    assert SECRET in repr(TenantEnvironment(variables={"SNOWFLAKE_USER": SECRET}))


@pytest.mark.parametrize("variable", [*KEYS, PASSPHRASE])
def test_the_model_of_a_tenants_variables_shows_no_secret(variable):
    model = TenantEnvironment(variables={variable: SECRET})
    assert getattr(model, variable.lower()) is not None
    assert SECRET not in repr(model) + str(model)


def test_settings_show_neither_key_nor_passphrase_nor_uri(dev, encrypted_pem):
    uri = f"postgresql://u:{SECRET}@h/d"
    settings = load({**dev, **key(encrypted_pem), PASSPHRASE: "open sesame", "DAGSTER_PG_URI": uri})
    der = settings.tenants[0].snowflake.private_key.base64_der
    shown = everything(settings) + repr(ProcessEnvironment(variables={"DAGSTER_PG_URI": uri}))
    assert "USERZQ" in shown
    assert "SHA256:" in shown  # a key shows its fingerprint, which is no secret
    for secret in (SECRET, "open sesame", der, der[-24:], *encrypted_pem.splitlines()[1:-1]):
        assert secret not in shown


def everything(settings: Settings) -> str:
    """The settings and their parts, as repr() and str() show them."""
    parts = [settings, settings.dagster_pg_uri, *settings.tenants]
    for item in settings.tenants:
        parts += [item.tenant, item.snowflake, item.paths, item.tenant.config]
        parts += [item.snowflake.private_key if item.snowflake else None]
    return "".join(f"{part!r}{part}" for part in parts)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=20)
PEM_LINES = [f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END")]
PLANTED = st.one_of(
    st.builds("{}{}{}".format, TEXT, st.just(SECRET), TEXT),
    st.builds("\n".join, st.tuples(st.just(PEM_LINES[0]), st.just(SECRET), TEXT)),
    st.just("\n".join([PEM_LINES[0], SECRET, PEM_LINES[1]])),
    st.just(f"/tmp/{SECRET}"),
)
URIS = st.builds(
    "{}{}:{}{}{}{}".format,
    st.sampled_from(["postgres://", "postgresql://", "postgresql:", "mysql://", ""]) | TEXT,
    TEXT,
    st.just(SECRET),
    TEXT,
    st.sampled_from(["@", ""]),
    st.sampled_from(["h/d", "h:5432/d?sslmode=require", "h", "[h/d", "h:x/d", ""]) | TEXT,
)
USUAL = ["local", "dev", "prod", "1", "acme", "acme,beta", "apollo-snowflake", "https"]
SECRET_VARIABLES = {*KEYS, PASSPHRASE, "DBT_ENV_SECRET_TOKEN"}


def contract(directory: str) -> st.SearchStrategy[dict[str, str]]:
    """Environments of the contract's variables, with and without a prefix, with any text."""

    def values(name: str) -> st.SearchStrategy[str]:
        if name in SECRET_VARIABLES:
            return PLANTED
        if name == "APOLLO_TENANTS_DIR":
            return st.sampled_from([directory] * 5) | TEXT
        if name == "DAGSTER_PG_URI":
            return URIS
        return TEXT | st.sampled_from(USUAL) | st.from_regex(r"\A[a-z]{1,8}\Z")

    names = [
        *PROCESS_VARIABLES,
        *(
            prefix + name
            for name in sorted(TENANT_VARIABLES | SECRET_VARIABLES)
            for prefix in ("", "ACME__", "BETA__")
        ),
    ]
    pairs = st.sampled_from(sorted(names)).flatmap(
        lambda name: st.tuples(st.just(name), values(re.sub("^(ACME|BETA)__", "", name)))
    )
    start = {"APOLLO_TENANTS_DIR": directory, "DAGSTER_HOME": "/nonexistent"}
    return st.lists(pairs, max_size=25).map(lambda chosen: {**start, **dict(chosen)})


@pytest.fixture(scope="module")
def directories(tmp_path_factory) -> list[str]:
    """A tenants' directory with one tenant, and one with two."""
    roots = []
    for names in (("acme",), ("acme", "beta")):
        root = tmp_path_factory.mktemp("tenants")
        for name in names:
            (root / name).mkdir()
            (root / name / "dbt_project.yml").write_text(f"name: {name}\n")
        roots.append(str(root))
    return roots


@given(data=st.data())
@hypothesis_settings(max_examples=150, deadline=None)
def test_any_environment_loads_or_is_refused_and_shows_no_secret(directories, data):
    environ = data.draw(st.sampled_from(directories).flatmap(contract))
    target = data.draw(st.sampled_from([None, None, "local", "dev", "prod", "qa"]))
    require_keys = data.draw(st.booleans())
    try:
        settings = load(environ, target=target, require_keys=require_keys)
    except (ConfigurationError, TenantError) as error:
        assert_nothing_shows(error)
    else:
        assert SECRET not in everything(settings)


@given(planted=PLANTED, variable=st.sampled_from([*KEYS, PASSPHRASE]))
@example(planted=SECRET, variable=PASSPHRASE)
@hypothesis_settings(max_examples=80, deadline=None)
def test_a_whole_connection_with_an_unusable_key_shows_no_secret(
    directories, connection, encrypted_pem, planted, variable
):
    environ = {
        **{name: value for name, value in connection.items() if name not in KEYS},
        "APOLLO_TENANTS_DIR": directories[0],
        "DBT_TARGET": "dev",
        **(key(encrypted_pem) if variable == PASSPHRASE else {}),
        variable: planted,
    }
    with pytest.raises(ConfigurationError) as caught:
        load(environ)
    assert_nothing_shows(caught.value)
