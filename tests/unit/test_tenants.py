"""What makes a folder a tenant, and what is said of one that is none."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_apollo.errors import TenantError
from dagster_apollo.tenant_config import TenantConfig
from dagster_apollo.tenants import find_tenants, load_tenant, select_tenants

pytestmark = pytest.mark.unit


def names(root: Path) -> list[str]:
    return [tenant.name for tenant in find_tenants(root)]


# --- names -----------------------------------------------------------------------------------


def test_a_tenant_is_named_after_its_folder_less_dbt(make_tenants):
    root = make_tenants(
        {"dbt_acme": {"name": "other"}, "plain": {}, "dbt_dbt_x": {}, "dbt_": {"name": "x"}}
    )
    assert names(root) == ["acme", "dbt_", "dbt_x", "plain"]
    acme = find_tenants(root)[0]
    assert (acme.project_name, acme.profile_name) == ("other", None)
    assert acme.config == TenantConfig()


def test_tenants_come_in_the_order_of_their_names_not_of_their_folders(make_tenants):
    assert names(make_tenants({"dbt_zeta": {}, "eta": {}, "dbt_alpha": {}})) == [
        "alpha",
        "eta",
        "zeta",
    ]


def test_files_and_hidden_folders_are_no_tenants(make_tenants):
    root = make_tenants({"dbt_acme": {}, ".hidden": None, "_shared": None})
    (root / "README.md").write_text("hello")
    assert names(root) == ["acme"]


def test_a_folder_may_be_a_link_and_is_known_by_the_name_of_the_link(make_tenants):
    elsewhere = make_tenants({"project": {}}, at="elsewhere")
    root = make_tenants({})
    (root / "dbt_linked").symlink_to(elsewhere / "project")
    (tenant,) = find_tenants(root)
    assert (tenant.name, tenant.project_dir) == ("linked", elsewhere / "project")


@pytest.mark.parametrize(
    ("folder", "identifier", "prefix"),
    [
        ("dbt_williamgrant", "williamgrant", "WILLIAMGRANT__"),
        ("dbt_william-grant", "william_grant", "WILLIAM_GRANT__"),
        ("Acme.EU 2", "Acme_EU_2", "ACME_EU_2__"),
        ("café", "caf_", "CAF___"),
    ],
)
def test_a_name_becomes_an_identifier_and_a_prefix(make_tenants, folder, identifier, prefix):
    (tenant,) = find_tenants(make_tenants({folder: {}}))
    assert (tenant.identifier, tenant.variable_prefix) == (identifier, prefix)


def test_the_profile_of_the_project_is_kept(make_tenants):
    (tenant,) = find_tenants(make_tenants({"dbt_acme": {"profile": "snow"}}))
    assert tenant.profile_name == "snow"


@pytest.mark.parametrize(
    ("one", "other"),
    [("dbt_acme", "acme"), ("a-b", "a_b"), ("dbt_Acme", "acme"), ("a b", "a.b"), ("café", "cafe")],
)
def test_two_folders_with_one_name_are_refused_by_path(make_tenants, one, other):
    root = make_tenants({one: {}, other: {}})
    with pytest.raises(TenantError, match="Rename one of the folders") as caught:
        find_tenants(root)
    assert str(root / one) in str(caught.value)
    assert str(root / other) in str(caught.value)


# --- choosing --------------------------------------------------------------------------------


def test_tenants_are_chosen_by_name_in_their_own_order(make_tenants):
    found = find_tenants(make_tenants({"a": {}, "b": {}, "c": {}}))
    assert [tenant.name for tenant in select_tenants(found, ["c", "a", "c"])] == ["a", "c"]
    assert select_tenants(found, []) == found


def test_choosing_an_unknown_tenant_names_it_and_those_that_exist(make_tenants):
    found = find_tenants(make_tenants({"a": {}, "b": {}}))
    with pytest.raises(TenantError, match=r"no tenant named x, y\. Tenants are: a, b\."):
        select_tenants(found, ["y", "a", "x"])


# --- dbt_project.yml -------------------------------------------------------------------------


def test_an_empty_directory_is_an_error_that_says_what_to_put_there(make_tenants):
    with pytest.raises(TenantError, match=r"no tenant in .*dbt_project\.yml"):
        find_tenants(make_tenants({}))


def test_a_missing_directory_is_an_error_that_names_its_variable(tmp_path):
    with pytest.raises(TenantError, match=r"does not exist.*APOLLO_TENANTS_DIR"):
        find_tenants(tmp_path / "missing")


@pytest.mark.parametrize("name", ["/dev/null", "/" + "x" * 300])
def test_what_is_no_directory_is_an_error_that_names_its_variable(name):
    with pytest.raises(TenantError, match="APOLLO_TENANTS_DIR"):
        find_tenants(Path(name))


def test_a_folder_without_a_project_is_named(make_tenants):
    a, b = find_tenants(make_tenants({"dbt_a": {}, "dbt_b": None}))
    a.require_sound()
    with pytest.raises(TenantError, match=r"/dbt_b holds no dbt project.*dbt_project\.yml"):
        b.require_sound()


def test_a_tenant_whose_files_cannot_be_used_keeps_its_name_and_what_apollo_yml_says(make_tenants):
    root = make_tenants(
        {"dbt_a": "- no mapping", "dbt_b": {}, "dbt_c": None},
        apollo={"dbt_a": "cron: 0 5 * * *", "dbt_b": "cron: never", "dbt_c": "owners: [a@b.co]"},
    )
    a, b, c = find_tenants(root)
    assert [(it.name, it.folder) for it in (a, b, c)] == [(it, root / f"dbt_{it}") for it in "abc"]
    assert (a.config.cron, b.config, c.config.owners) == ("0 5 * * *", TenantConfig(), ("a@b.co",))
    assert "dbt_project.yml is not a YAML mapping" in (a.fault or "")
    assert "apollo.yml is not valid: cron: " in (b.fault or "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: a\nvars:\n  x: [1\n", r"not valid YAML, line 4, column 1"),
        ("name: a\n\tb: c\n", r"not valid YAML, line 2, column 1"),
        ("name: a\n? {}\n: {}\n? [a]\n: b: c", r"not valid YAML, line"),
        ("- name: a\n", "not a YAML mapping"),
        ("just text", "not a YAML mapping"),
        ("", "no `name:`"),
        ("profile: a", "no `name:`"),
        ("name:", "no `name:`"),
        ("name: ''", "no `name:`"),
        ("name: 5", "no `name:`"),
        ("name: a\nprofile: 5", "`profile:` in .* is not a text"),
        ("name: a\nvars: {from: 2024-13-01}", "cannot be read"),
        ("name: a\nx: \x07", "cannot be read"),
    ],
)
def test_a_project_file_that_is_not_valid_is_named_with_the_place(make_tenants, content, message):
    root = make_tenants({"dbt_a": content})
    with pytest.raises(TenantError, match=message) as caught:
        load_tenant(root / "dbt_a")
    assert str(root / "dbt_a" / "dbt_project.yml") in str(caught.value)


def test_a_project_file_in_another_encoding_is_named(make_tenants):
    root = make_tenants({"dbt_a": {}})
    (root / "dbt_a" / "dbt_project.yml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(TenantError, match=r"dbt_project\.yml cannot be read.*UTF-8"):
        load_tenant(root / "dbt_a")


def test_jinja_and_unknown_keys_in_a_project_file_are_dbts_business(make_tenants):
    project = {"vars": {"x": "{{ env_var('X') }}"}, "whatever": 1}
    assert names(make_tenants({"a": project})) == ["a"]


# --- apollo.yml ------------------------------------------------------------------------------


def config(make_tenants, text: str) -> TenantConfig:
    return load_tenant(make_tenants(apollo={"dbt_acme": text}) / "dbt_acme").config


def test_apollo_yml_says_when_the_tenant_runs_and_who_owns_it(make_tenants):
    found = config(
        make_tenants,
        "cron: '30 5 * * mon-fri'\ntimezone: Europe/London\nowners: ['team:data', a@b.co]\n"
        "alert_route: pager\npool_limit: 3\n",
    )
    assert (found.cron, found.zone) == ("30 5 * * mon-fri", ZoneInfo("Europe/London"))
    assert (found.owners, found.alert_route) == (("team:data", "a@b.co"), "pager")
    assert found.pool_limit == 3


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}"])
def test_an_empty_apollo_yml_is_as_good_as_none(make_tenants, text):
    assert config(make_tenants, text) == TenantConfig()
    assert TenantConfig().zone == ZoneInfo("UTC")


def test_an_unknown_key_is_an_error_that_lists_the_known_ones(make_tenants):
    with pytest.raises(TenantError) as caught:
        config(make_tenants, "schedule: daily\n")
    text = str(caught.value)
    assert "apollo.yml is not valid: schedule: " in text
    assert "Known keys are: cron, timezone, owners, " in text
    assert all(key in text for key in TenantConfig.model_fields)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("cron: '0 6 * *'", "cron"),
        ("cron: '0 6 * * * *'", "cron"),
        ("cron: daily", "cron"),
        ("cron: ''", "cron"),
        ("cron: 6", "cron"),
        ("timezone: Europe/Nowhere", "timezone"),
        ("timezone: europe/london", "timezone"),
        ("timezone: ../etc/passwd", "timezone"),
        ("owners: team:data", "owners"),
        ("owners: [1]", r"owners\.0"),
        ("owners: [nobody]", r"owners\.0"),
        ("alert_route: [a]", "alert_route"),
        ("pool_limit: 0", "pool_limit"),
        ("pool_limit: many", "pool_limit"),
        ("1: x", "1"),
    ],
)
def test_a_wrong_value_is_reported_with_its_key_and_file(make_tenants, text, key):
    with pytest.raises(TenantError, match=rf"dbt_acme/apollo\.yml is not valid: {key}: \w"):
        config(make_tenants, text)


def test_all_that_is_wrong_in_apollo_yml_is_in_one_report(make_tenants):
    with pytest.raises(TenantError, match=r"cron: .*pool_limit: .*nonsense: "):
        config(make_tenants, "cron: x\npool_limit: -1\nnonsense: 1\n")


@pytest.mark.parametrize("text", ["- cron", "cron: ["])
def test_an_apollo_yml_that_is_no_mapping_is_named(make_tenants, text):
    with pytest.raises(TenantError, match=r"apollo\.yml is not .*YAML"):
        config(make_tenants, text)


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "0 6 * * *",
        "*/15 0-6,22-23 1,15 JAN-jun sun",
        "0 0 L * ?",
        "59 23 31 12 7",
        "0 0 * * 5#2",
        "10-50/20 0 1 1 0",
    ],
)
def test_what_dagster_takes_for_a_schedule_is_taken(cron):
    assert TenantConfig(cron=cron).cron == cron


@pytest.mark.parametrize(
    ("cron", "field"),
    [
        ("60 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("a * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* 1- * * *", "hour"),
        ("* * 0 * *", "day"),
        ("* * 32 * *", "day"),
        ("* * * 13 *", "month"),
        ("* * * mon *", "month"),
        ("* * * * 8", "weekday"),
        ("* * * * funday", "weekday"),
    ],
)
def test_a_cron_that_dagster_would_refuse_in_production_is_refused_at_once(cron, field):
    with pytest.raises(ValueError, match=f"its {field} is not valid"):
        TenantConfig(cron=cron)


@given(st.text(max_size=30))
def test_any_text_for_a_cron_or_a_time_zone_is_taken_or_refused(text):
    for key in ("cron", "timezone"):
        try:
            TenantConfig.model_validate({key: text})
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("project", "config"),
    [
        ("name: acme\nx: !!timestamp abc", ""),
        ("name: acme\nx: !!bool maybe", ""),
        ("name: acme\nx: !!int ''", ""),
        ("name: acme", f"root: {'a' * 300}"),
        ("name: acme", f"vars: {'{a: ' * 3000}1{'}' * 3000}"),
    ],
)
def test_whatever_is_wrong_in_a_folder_is_no_matter_of_the_others(make_tenants, project, config):
    root = make_tenants({"acme": project, "sound": {}}, apollo={"acme": config})
    acme, sound = find_tenants(root)
    assert acme.fault
    assert str(root / "acme") in acme.fault
    assert sound.fault is None


def test_a_link_that_leads_nowhere_is_a_tenant_with_a_fault(make_tenants):
    root = make_tenants({"sound": {}})
    (root / "dbt_gone").symlink_to(root / "not_mounted")
    gone, sound = find_tenants(root)
    assert gone.fault
    assert "leads nowhere" in gone.fault
    assert sound.fault is None
