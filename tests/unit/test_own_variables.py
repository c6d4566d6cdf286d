"""Which variables apollo.yml may name, and what its values become."""

import pytest

from dagster_apollo.dbt.environment import dbt_environment
from dagster_apollo.errors import TenantError
from dagster_apollo.own_variables import HOST_VARIABLES, require_nameable
from dagster_apollo.settings import TenantSettings, load
from dagster_apollo.tenant_config import TenantConfig
from dagster_apollo.tenants import load_tenant

pytestmark = pytest.mark.unit

SECRET = "SentinelZq7xW0pLk3Vb9"


def settings_of(make_tenants, apollo: str, **variables: str) -> TenantSettings:
    root = make_tenants(apollo={"dbt_acme": apollo})
    (tenant,) = load({"APOLLO_TENANTS_DIR": str(root), **variables}).tenants
    return tenant


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("plain", "plain"),
        ("''", ""),
        ("'no'", "no"),
        ("'0123'", "0123"),
        ("'1.10'", "1.10"),
        ("2 h", "2 h"),
        ("é ü", "é ü"),
    ],
)
def test_a_value_is_the_text_that_an_environment_variable_is(make_tenants, written, text):
    assert settings_of(make_tenants, f"env: {{FOO: {written}}}").own_variables == {"FOO": text}


@pytest.mark.parametrize(
    "written",
    # YAML 1.1 reads NO as false, 0123 as 83, 1.10 as 1.1, 12:30 as 750 and 1_000 as 1000
    [
        *("NO", "yes", "on", "true", "0123", "0x1F", "5", "1.10", "12:30", "1_000"),
        *("~", "", "null", "[a]", "{a: b}", "2025-01-31"),
    ],
)
def test_a_value_that_yaml_reads_as_no_text_is_to_be_quoted(make_tenants, written):
    root = make_tenants(apollo={"dbt_acme": f"env:\n  FOO: {written}"})
    with pytest.raises(TenantError, match=r"apollo\.yml is not valid: env\.FOO: .* quote it"):
        load_tenant(root / "dbt_acme")


def test_a_value_that_no_variable_holds_is_refused(make_tenants):
    root = make_tenants(apollo={"dbt_acme": 'env: {FOO: "a\\0b"}'})
    with pytest.raises(TenantError, match="NUL character"):
        load_tenant(root / "dbt_acme")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(HOST_VARIABLES),
        *("LC_ALL", "LD_PRELOAD", "PYTHONSTARTUP", "DYLD_INSERT_LIBRARIES"),
        *("DBT_PROFILES_DIR", "DBT_PROFILE", "DBT_TARGET", "DBT_TARGET_PATH", "DBT_LOG_PATH"),
        *("DBT_SCHEMA", "DBT_DEFER", "DBT_STATE", "DBT_FAIL_FAST", "DBT_EMPTY", "DBT_WARN_ERROR"),
        *("SNOWFLAKE_USER", "DAGSTER_PG_URI", "APOLLO_TENANTS", "DBT_ENGINE_TARGET"),
        *("DBT_ENV_SECRET_TOKEN", "1A", "A-B", "A B", "", "A=B", "É"),
    ],
)
def test_what_is_not_the_tenants_to_decide_is_refused_without_its_value(make_tenants, name):
    root = make_tenants(apollo={"dbt_acme": f"env: {{'{name}': {SECRET}}}\nenv_from: ['{name}']"})
    with pytest.raises(TenantError) as caught:
        load_tenant(root / "dbt_acme")
    text = str(caught.value)
    assert f"env.{name}: Value error, " in text
    assert "env_from.0: Value error, " in text
    assert SECRET not in text


def test_a_flag_of_dbt_has_a_place_in_the_project_and_other_names_of_dbts_are_its_own(make_tenants):
    with pytest.raises(ValueError, match=r"flags:` in dbt_project\.yml"):
        require_nameable("DBT_FAIL_FAST")
    own = [
        *("DBT_ENV_CUSTOM_ENV_REGION", "DBT_REGION", "DBT_CLOUD_PR_ID", "DBT_PACKAGE_HUB_URL"),
        "DAGSTER_DBT_DATABASE",  # those of a project that somebody made for stock Dagster
    ]
    given = settings_of(make_tenants, f"env: {{{', '.join(f'{name}: x' for name in own)}}}")
    assert [*given.own_variables] == own


def test_whatever_apollo_sets_for_dbt_cannot_be_set_by_a_tenant(make_tenants, tmp_path):
    for name in dbt_environment(settings_of(make_tenants, ""), tmp_path, {}):
        with pytest.raises(ValueError, match="env"):
            TenantConfig.model_validate({"env": {name: "x"}})


def test_nothing_passes_that_apollo_yml_does_not_name(make_tenants):
    found = settings_of(
        make_tenants,
        "env: {GIVEN: here, BOTH: here}\nenv_from: [PASSED, BOTH, MISSING]",
        PASSED="there",
        GIVEN="there",
        BOTH="there",
        OTHER="there",
        DBT_ENV_OWN="there",
    )
    assert found.own_variables == {
        "GIVEN": "here",
        "BOTH": "there",
        "PASSED": "there",
        "DBT_ENV_OWN": "there",
    }
    assert "there" not in repr(found)


def test_the_environment_wins_over_a_variable_with_dbts_prefix(make_tenants):
    found = settings_of(make_tenants, "env: {DBT_ENV_A: file, DBT_ENV_B: file}", DBT_ENV_A="real")
    assert found.own_variables == {"DBT_ENV_A": "real", "DBT_ENV_B": "file"}


def test_a_variable_passes_to_the_tenant_whose_prefix_it_has_where_several_share(make_tenants):
    named = "env_from: [TOKEN]"
    root = make_tenants({"a": {}, "b": {}, "c": {}}, apollo={"a": named, "b": named})
    environ = {"APOLLO_TENANTS_DIR": str(root), "A__TOKEN": "for a", "TOKEN": "for nobody"}
    a, b, c = (item.own_variables for item in load(environ).tenants)
    assert (a, b, c) == ({"TOKEN": "for a"}, {}, {})
    alone = load({**environ, "APOLLO_TENANTS": "b"}).tenants[0]
    assert alone.own_variables == {"TOKEN": "for nobody"}


@pytest.mark.parametrize(
    "name",
    [
        "ZENITH__SNOWFLAKE_PRIVATE_KEY_PEM",
        "ZENITH__TOKEN",
        "B__DBT_ENV_SECRET_X",
        "_SNOWFLAKE_USER",
    ],
)
def test_what_could_be_another_tenants_is_not_let_pass(make_tenants, name):
    # with a prefix before it, too: tenants may be named a and a__b, or a and a_
    with pytest.raises(TenantError, match=r"env_from\.0: Value error, two underscores"):
        load_tenant(make_tenants(apollo={"dbt_acme": f"env_from: [{name}]"}) / "dbt_acme")


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "POSTGRES_PASSWORD", "RENDER_API"),
        *("DATABASE_URL", "DAGSTER_CLOUD_TOKEN"),
    ],
)
def test_what_may_be_apollos_own_credential_passes_only_with_the_tenants_prefix(make_tenants, name):
    named = f"env_from: [{name}]"
    assert settings_of(make_tenants, named, **{name: SECRET}).own_variables == {}


def test_a_credential_with_the_tenants_prefix_is_meant_for_it(make_tenants):
    root = make_tenants(apollo={"dbt_acme": "env_from: [AWS_SECRET_ACCESS_KEY]"})
    environ = {
        "APOLLO_TENANTS_DIR": str(root),
        "AWS_SECRET_ACCESS_KEY": "apollo's",
        "ACME__AWS_SECRET_ACCESS_KEY": "acme's",
    }
    assert load(environ).tenants[0].own_variables == {"AWS_SECRET_ACCESS_KEY": "acme's"}


def test_own_variables_never_decide_what_the_process_is_told(make_tenants, tmp_path):
    found = settings_of(make_tenants, "env: {FOO: bar}")
    environment = dbt_environment(found, tmp_path, {"PATH": "/bin", "LC_ALL": "C", "HIDDEN": "x"})
    assert (environment["FOO"], environment["PATH"], environment["LC_ALL"]) == ("bar", "/bin", "C")
    assert "HIDDEN" not in environment


@pytest.mark.parametrize("written", ["[a]", "text", "{a: 2025-01-31}", "{a: .nan}", "{1: x}"])
def test_vars_that_dbt_would_read_otherwise_are_refused(make_tenants, written):
    with pytest.raises(TenantError, match=r"apollo\.yml is not valid: vars"):
        load_tenant(make_tenants(apollo={"dbt_acme": f"vars: {written}"}) / "dbt_acme")
