"""A tenant's profiles.yml: what is in it, what must not be, and where it lives."""

import errno
import json
import os
import re
import resource
import signal
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dagster_apollo import profiles
from dagster_apollo.errors import ApolloError
from dagster_apollo.profiles import (
    KEY_VARIABLE,
    ProfilesDirectory,
    dbt_variables,
    profile_of,
    query_tag,
)
from dagster_apollo.settings import Settings, TenantSettings, load

pytestmark = pytest.mark.unit

ENV_VAR = re.compile(r"env_var\('(\w+)'\)")
ENDPOINT = {
    "SNOWFLAKE_HOST": "hostzq.example",
    "SNOWFLAKE_PORT": "48443",
    "SNOWFLAKE_PROTOCOL": "http",
}


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The directory that TMPDIR names, for this process alone."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def only(environ: dict[str, str], **more: str) -> TenantSettings:
    (tenant,) = load({**environ, **more}).tenants
    return tenant


def written(settings: TenantSettings) -> str:
    """The text of the profiles.yml that is made of the settings."""
    directory = ProfilesDirectory.create([settings])
    try:
        return (directory.of(settings) / "profiles.yml").read_text(encoding="utf-8")
    finally:
        directory.remove()


# --- contents --------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["local", "dev", "prod"])
def test_profiles_yml_is_the_profile_with_all_targets(dev, temporary, target):
    tenant = only(dev, DBT_TARGET=target)
    profile = yaml.safe_load(written(tenant))
    assert profile == profile_of(tenant)
    (only_profile,) = profile.values()
    assert list(profile) == ["apollo-snowflake"]
    assert only_profile["target"] == target
    assert {name: item["type"] for name, item in only_profile["outputs"].items()} == {
        "local": "duckdb",
        "dev": "snowflake",
        "prod": "snowflake",
    }


@pytest.mark.parametrize("target", ["local", "dev", "prod"])
def test_no_value_of_the_connection_is_in_the_file(dev, temporary, encrypted_pem, target):
    environ = {
        **dev,
        **ENDPOINT,
        "DBT_TARGET": target,
        "SNOWFLAKE_PRIVATE_KEY_PEM": encrypted_pem,
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "open sesame",
        "DAGSTER_PG_URI": "postgresql://u:passwordzq@hostzq/d",
        "DBT_ENV_SECRET_TOKEN": "tokenzq",
    }
    tenant = only(environ)
    text = written(tenant)
    assert "duckdb" in text
    values = [value for name, value in environ.items() if name.startswith("SNOWFLAKE_")]
    if tenant.snowflake:
        values.append(tenant.snowflake.private_key.base64_der)
    for value in values:
        if value != "http":  # in no danger of being found: {{ env_var('…') }} holds none
            assert value not in text
    assert "zq" not in text.lower()
    assert not any(line in text for line in encrypted_pem.splitlines())


@pytest.mark.parametrize("target", ["dev", "prod"])
def test_the_key_is_read_from_a_variable_that_dbt_keeps_out_of_its_logs(dev, target):
    outputs = profile_of(only(dev, DBT_TARGET=target))["apollo-snowflake"]["outputs"]
    output = outputs[target]
    assert output["private_key"] == "{{ env_var('DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY') }}"
    assert not {"password", "private_key_path", "private_key_passphrase", "token"} & output.keys()


@pytest.mark.parametrize("target", ["dev", "prod"])
@pytest.mark.parametrize("endpoint", [{}, ENDPOINT])
def test_every_variable_that_the_chosen_target_reads_is_handed_to_dbt(dev, target, endpoint):
    tenant = only({**dev, **endpoint}, DBT_TARGET=target)
    output = profile_of(tenant)["apollo-snowflake"]["outputs"][target]
    read = set(ENV_VAR.findall(json.dumps(output)))
    assert read == dbt_variables(tenant).keys()
    assert endpoint.keys() <= read


def test_a_port_is_a_number_in_the_end_and_everything_else_a_text(dev):
    output = profile_of(only({**dev, **ENDPOINT}))["apollo-snowflake"]["outputs"]["dev"]
    assert output["port"] == "{{ env_var('SNOWFLAKE_PORT') | as_number }}"
    for name in ("account", "user", "role", "warehouse", "database", "host", "protocol"):
        assert output[name] == f"{{{{ env_var('SNOWFLAKE_{name.upper()}') | as_text }}}}"


def test_without_an_endpoint_of_its_own_a_profile_names_none(dev):
    output = profile_of(only(dev))["apollo-snowflake"]["outputs"]["dev"]
    assert not {"host", "port", "protocol"} & output.keys()


@pytest.mark.parametrize(
    ("variables", "local", "snowflake"),
    [({}, "main", ""), ({"DBT_SCHEMA": "dbt_ann"}, "dbt_ann", "dbt_ann")],
)
def test_the_models_decide_the_schema_unless_dbt_schema_does(dev, variables, local, snowflake):
    outputs = profile_of(only({**dev, **variables}))["apollo-snowflake"]["outputs"]
    assert outputs["local"]["schema"] == local
    assert outputs["dev"]["schema"] == outputs["prod"]["schema"] == snowflake


def test_only_the_chosen_target_takes_the_threads_of_the_environment(dev):
    outputs = profile_of(only(dev, DBT_THREADS="77"))["apollo-snowflake"]["outputs"]
    assert {name: item["threads"] for name, item in outputs.items()} == {
        "local": 4,
        "dev": 77,
        "prod": 24,
    }


def test_a_connection_is_retried_but_a_refused_login_or_statement_is_not(dev):
    outputs = profile_of(only(dev))["apollo-snowflake"]["outputs"]
    for target in ("dev", "prod"):
        assert outputs[target]["connect_retries"] == 5
        assert outputs[target]["retry_on_database_errors"] is False
        assert outputs[target]["retry_all"] is False
        assert outputs[target]["reuse_connections"] is True
        assert outputs[target]["client_session_keep_alive"] is False


def test_duckdb_has_one_file_a_tenant_below_the_instance_directory(base):
    output = profile_of(only(base))["apollo-snowflake"]["outputs"]["local"]
    assert output["path"] == f"{base['DAGSTER_HOME']}/tenants/acme/acme.duckdb"


@pytest.mark.parametrize("name", ["123", "yes", "a: b", "é", "#x"])
def test_any_name_of_a_profile_survives_yaml(make_tenants, temporary, name):
    tenant = only(
        {
            "APOLLO_TENANTS_DIR": str(make_tenants({"acme": {"profile": name}})),
            "DAGSTER_HOME": "/home é: #x",
        }
    )
    profile = yaml.safe_load(written(tenant))
    assert list(profile) == [name]
    assert profile[name]["outputs"]["local"]["path"].startswith("/home é: #x/")


# --- variables -------------------------------------------------------------------------------


def test_dbt_on_duckdb_gets_no_variable_of_a_connection(dev):
    assert dbt_variables(only(dev, DBT_TARGET="local")) == {}


def test_dbt_on_snowflake_gets_the_connection_and_the_key_in_its_one_form(dev, pem):
    variables = dbt_variables(only(dev))
    assert variables.pop("APOLLO_QUERY_TAG")
    assert variables.pop(KEY_VARIABLE) == "".join(pem.splitlines()[1:-1])
    assert variables == {
        name: value
        for name, value in dev.items()
        if name.startswith("SNOWFLAKE_") and "PRIVATE_KEY" not in name
    }


def test_without_a_key_its_variable_is_empty_so_that_the_profile_still_renders(dev):
    environ = {name: value for name, value in dev.items() if "PRIVATE_KEY" not in name}
    (tenant,) = load(environ, require_keys=False).tenants
    assert dbt_variables(tenant)[KEY_VARIABLE] == ""


@pytest.mark.parametrize("target", ["dev", "prod"])
def test_the_query_tag_says_tenant_target_and_run(dev, target):
    tenant = only(dev, DBT_TARGET=target)
    assert json.loads(query_tag(tenant)) == {"app": "apollo", "tenant": "acme", "target": target}
    tag = dbt_variables(tenant, "run-1")["APOLLO_QUERY_TAG"]
    assert json.loads(tag)["dagster_run_id"] == "run-1"
    assert len(tag) < 2000  # Snowflake's limit


# --- the directory ---------------------------------------------------------------------------


@pytest.fixture
def two(base, make_tenants) -> Settings:
    make_tenants({"beta-x": {}})
    return load(base)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_can_read_the_profiles_whatever_the_umask(two, temporary):
    before = os.umask(0)
    try:
        directory = ProfilesDirectory.create(two.tenants)
    finally:
        os.umask(before)
    assert directory.root.parent == temporary
    assert mode(directory.root) == 0o700
    for settings in two.tenants:
        folder = directory.of(settings)
        assert mode(folder) == 0o700
        assert mode(folder / "profiles.yml") == 0o600
        assert names(folder) == ["profiles.yml"]
    assert names(directory.root) == ["acme", "beta_x"]
    directory.remove()


def test_removing_leaves_nothing_and_may_be_done_twice(two, temporary):
    directory = ProfilesDirectory.create(two.tenants)
    assert names(temporary)
    directory.remove()
    directory.remove()
    assert not names(temporary)


def test_the_profiles_are_removed_when_the_process_ends(two, temporary, monkeypatch):
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    ProfilesDirectory.create(two.tenants)
    assert names(temporary)
    for function in at_exit:
        function()
    assert not names(temporary)


def ended_process() -> int:
    """The id of a process that is no more."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_has_is_kept(two, temporary):
    dead, parent = ended_process(), os.getppid()
    kept = [
        f"apollo-profiles-{parent}-abc",
        f"apollo-profiles-{os.getpid()}-abc",
        "apollo-profiles-99999999999999999999-abc",  # no process has such a number
        "apollo-profiles-abc",
        "apollo-profiles-",
        f"other-{dead}-abc",
    ]
    left = [f"apollo-profiles-{dead}-abc", f"apollo-profiles-{dead}-def"]
    for name in (*kept, *left):
        (temporary / name / "acme").mkdir(parents=True)
        (temporary / name / "acme" / "profiles.yml").write_text("x")
    directory = ProfilesDirectory.create(two.tenants)
    assert names(temporary) == sorted([*kept, directory.root.name])
    directory.remove()


def test_the_directory_of_another_user_is_left_alone(two, temporary, monkeypatch):
    left = temporary / f"apollo-profiles-{ended_process()}-abc"
    left.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: left.stat().st_uid + 1)
    ProfilesDirectory.create(two.tenants).remove()
    assert left.exists()


def test_a_link_among_abandoned_directories_is_not_followed(two, temporary, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (temporary / f"apollo-profiles-{ended_process()}-abc").symlink_to(precious)
    ProfilesDirectory.create(two.tenants).remove()
    assert (precious / "file").exists()


# --- a full disk -----------------------------------------------------------------------------


def test_a_disk_that_is_full_when_the_file_is_synced_leaves_nothing(two, temporary, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(profiles.os, "fsync", full)
    with pytest.raises(ApolloError, match=r"No space left on device.*set TMPDIR") as caught:
        ProfilesDirectory.create(two.tenants)
    assert str(temporary) in str(caught.value)
    assert not names(temporary)


def in_a_child_that_can_write_no_file(action: Callable[[], object]) -> str:
    """The text of the ApolloError that the action raises where each write fails with EFBIG."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        result = "no error"
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            action()
        except ApolloError as error:
            result = f"ApolloError: {error}"
        except BaseException as error:  # noqa: BLE001
            result = repr(error)
        finally:
            os.write(writer, result.encode())  # the limit is on files, not on pipes
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(two, temporary):
    text = in_a_child_that_can_write_no_file(lambda: ProfilesDirectory.create(two.tenants))
    assert re.match(rf"ApolloError: .*{temporary}: File too large.*set TMPDIR", text), text
    assert not names(temporary)


def test_a_process_that_starts_on_a_full_disk_is_told_so(two, temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)  # as when a process starts: it is looked for
    monkeypatch.setenv("TMPDIR", str(temporary))
    text = in_a_child_that_can_write_no_file(lambda: ProfilesDirectory.create(two.tenants))
    assert re.match(r"ApolloError: profiles\.yml cannot be written .*set TMPDIR", text), text
    assert not names(temporary)


def test_a_directory_that_cannot_be_made_is_an_error_with_its_mend(two, temporary):
    temporary.rmdir()
    with pytest.raises(ApolloError, match=r"No such file or directory.*set TMPDIR"):
        ProfilesDirectory.create(two.tenants)
