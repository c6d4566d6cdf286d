"""Two tenants in one checkout, of one dbt project name and the same models: nothing is mixed up.

acme is on Snowflake or DuckDB, zenith on DuckDB; zenith's project is hostile where that matters.
"""

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import AssetKey, DagsterEventType, DagsterRun
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster_dbt import DbtCliResource

from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.dbt.run_scope import load_in_runs_what_is_theirs, starting
from dagster_apollo.paths import CHECKOUT
from dagster_apollo.runtime import start
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeEnvironment,
    OpenHome,
    RunApollo,
    Snowflake,
    environment,
    make_pem,
)

pytestmark = pytest.mark.integration

ACME_ORDERS = "order_id,customer,amount,ordered_at\n1,anna,11,2024-01-01\n"
ZENITH_ORDERS = "order_id,customer,amount,ordered_at\n1,zoe,22,2024-01-01\n2,zack,33,2024-01-02\n"
MANY = ("--exclude", "resource_type:unit_test resource_type:snapshot")


def two_tenants(copy_tenants: CopyTenants) -> Path:
    """acme and zenith: copies of dbt_small that differ in their data alone."""
    tenants_dir = copy_tenants(dbt_acme=SMALL, dbt_zenith=SMALL)
    for folder, orders in (("dbt_acme", ACME_ORDERS), ("dbt_zenith", ZENITH_ORDERS)):
        (tenants_dir / folder / "seeds" / "raw_orders.csv").write_text(orders)
    return tenants_dir


def customers(env: Mapping[str, str], tenant: str) -> list[tuple[str, int]]:
    """The mart in a tenant's DuckDB file."""
    path = Path(env["DAGSTER_HOME"]) / "tenants" / tenant / f"{tenant}.duckdb"
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(
            "select customer, total from marts.customers order by 1"
        ).fetchall()


def materialized(open_home: OpenHome, env: Mapping[str, str], run_id: str) -> set[AssetKey]:
    with open_home(env) as instance:
        events = [entry.dagster_event for entry in instance.all_logs(run_id)]
    return {
        event.asset_key
        for event in events
        if event and event.event_type is DagsterEventType.ASSET_MATERIALIZATION and event.asset_key
    }


# --- both on DuckDB --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local_env(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> dict[str, str]:
    return apollo_env(two_tenants(copy_tenants))


@pytest.fixture(scope="module")
def local_build(local_env: dict[str, str], call_apollo: RunApollo) -> dict[str, Any]:
    """Both tenants, built by one command."""
    ended = call_apollo(["build", "--json", *MANY], local_env)
    assert ended.returncode == 0, ended.stderr
    summary: dict[str, Any] = json.loads(ended.stdout)
    return summary


def test_each_tenant_has_a_duckdb_file_with_its_own_data(
    local_env: dict[str, str], local_build: dict[str, Any]
) -> None:
    assert list(local_build) == ["acme", "zenith"]
    assert customers(local_env, "acme") == [("anna", 11)]
    assert customers(local_env, "zenith") == [("zack", 33), ("zoe", 22)]


def test_each_run_materializes_assets_of_its_tenant_alone(
    local_env: dict[str, str], local_build: dict[str, Any], open_home: OpenHome
) -> None:
    for tenant, summary in local_build.items():
        assert materialized(open_home, local_env, summary["run_id"]) == {
            AssetKey([tenant, "marts", "customers"]),
            AssetKey([tenant, "marts", "orders"]),
            AssetKey([tenant, "reference", "raw_orders"]),
        }


def test_one_code_location_holds_both_and_binds_each_to_its_own_project_and_profile(
    local_env: dict[str, str], local_build: dict[str, Any]
) -> None:
    with environment(local_env):
        runtime = start()
        definitions = build_definitions(runtime)
    repository = definitions.get_repository_def()
    keys = {tuple(key.path) for key in repository.asset_graph.get_all_asset_keys()}
    assert {tenant for tenant, *_ in keys} == {"acme", "zenith"}
    acme, zenith = ({key[1:] for key in keys if key[0] == it} for it in ("acme", "zenith"))
    assert acme == zenith
    assert {"acme_build", "acme_seed", "zenith_build", "zenith_seed"} <= set(repository.job_names)
    for settings in runtime.settings.tenants:
        name = settings.tenant.name
        dbt = definitions.resources[f"{name}_dbt"].resource_fn(None)  # a hardcoded resource
        assert isinstance(dbt, DbtCliResource)
        assert dbt.project_dir == str(Path(local_env["APOLLO_TENANTS_DIR"]) / f"dbt_{name}")
        assert dbt.profiles_dir == str(runtime.profiles_dir(settings))
        profile = Path(dbt.profiles_dir, "profiles.yml").read_text()
        other = {"acme": "zenith", "zenith": "acme"}[name]
        assert f"{name}.duckdb" in profile
        assert other not in profile


_LOADS = """
import json, pickle, sys
opened = []
sys.addaudithook(lambda event, its: opened.append(str(its[0])) if event == "open" else None)
for packed in json.load(sys.stdin):
    opened.clear()
    job = pickle.loads(bytes.fromhex(packed))
    print(job.get_definition().name, *(path for path in opened if "zenith" in path))
"""
"""What the process that executes a run does first, and which of zenith's files it opens."""


def test_the_start_of_a_run_opens_the_prepared_files_of_its_own_tenant_only(
    local_env: dict[str, str], local_build: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with environment(local_env):
        tenants = [settings.tenant for settings in start().settings.tenants]
    get = ReconstructableRepository.get_reconstructable_job
    monkeypatch.setattr(ReconstructableRepository, "get_reconstructable_job", get)  # put back
    load_in_runs_what_is_theirs(tenants)
    served = ReconstructableRepository.for_module("dagster_apollo.definitions", "defs")
    chosen = DagsterRun(
        job_name="__ASSET_JOB",
        asset_selection=frozenset({AssetKey(["acme", "reference", "raw_orders"])}),
    )
    with starting(chosen):
        of_assets = served.get_reconstructable_job("__ASSET_JOB")
    jobs = [
        served.get_reconstructable_job("acme_build"),
        of_assets,
        served.get_reconstructable_job("__ASSET_JOB"),
    ]
    ended = subprocess.run(
        [sys.executable, "-c", _LOADS],
        input=json.dumps([pickle.dumps(job).hex() for job in jobs]),
        cwd=CHECKOUT,
        env=local_env,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    build, assets, any_assets = (line.split() for line in ended.stdout.splitlines())
    assert build == ["acme_build"]
    assert assets == ["__ASSET_JOB"]
    # what may be of any tenant loads all, and shows that they would have been seen
    assert any(path.endswith("zenith/prepared/local/digest.json") for path in any_assets)


@pytest.mark.parametrize(
    ("chosen", "served"), [("zenith", ["zenith"]), (" zenith , acme ", ["acme", "zenith"])]
)
def test_a_code_location_serves_the_chosen_tenants_only(
    chosen: str, served: list[str], local_env: dict[str, str], local_build: dict[str, Any]
) -> None:
    with environment({**local_env, "APOLLO_TENANTS": chosen}):
        repository = build_definitions(start()).get_repository_def()
    keys = repository.asset_graph.get_all_asset_keys()
    assert sorted({key.path[0] for key in keys}) == served
    jobs = {name.partition("_")[0] for name in repository.job_names} - {""}  # "__ASSET_JOB"
    assert sorted(jobs) == served


def test_a_tenant_that_is_not_served_cannot_be_built(
    local_env: dict[str, str], call_apollo: RunApollo
) -> None:
    env = {**local_env, "APOLLO_TENANTS": "zenith"}
    for command in (["build", "acme"], ["prepare", "acme"], ["dbt", "acme", "--", "ls"]):
        refused = call_apollo(command, env)
        assert refused.returncode == 2
        assert "There is no tenant named acme. Tenants are: zenith." in refused.stderr


# --- one on Snowflake, the other hostile -----------------------------------------------------

NOT_FOR_ZENITH = {
    "ACME__DBT_ENV_REGION": "region-of-acme-zq",
    "ACME__DBT_ENV_SECRET_TOKEN": "token-of-acme-zq",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-host-zq",
    "DAGSTER_CLOUD_TOKEN": "token-of-the-platform-zq",
    "RENDER_API_KEY": "key-of-the-platform-zq",
}
FOR_ZENITH = {
    "ZENITH__DBT_ENV_REGION": "region-of-zenith",
    "ZENITH__DBT_ENV_SECRET_TOKEN": "token-of-zenith",
}
HOSTILE_PYTHON = """
import json
import os
import pathlib


def model(dbt, session):
    dbt.config(materialized="table", schema="marts")
    seen = pathlib.Path(os.environ["DBT_TARGET_PATH"], "seen.json")
    seen.write_text(json.dumps(dict(os.environ)))
    return session.sql("select 1 as n")
"""


@pytest.fixture(scope="module")
def mixed_env(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    fakesnow_server: Snowflake,
    rsa_key: str,
) -> dict[str, str]:
    """acme on Snowflake's dev, zenith on DuckDB with a model in Python that writes what it sees."""
    tenants_dir = two_tenants(copy_tenants)
    (tenants_dir / "dbt_zenith" / "models" / "hostile.py").write_text(HOSTILE_PYTHON)
    return apollo_env(
        tenants_dir,
        ACME__DBT_TARGET="dev",
        ZENITH__DBT_TARGET="local",
        **fakesnow_server.variables(rsa_key, "ACME_DB", prefix="ACME__"),
        **NOT_FOR_ZENITH,
        **FOR_ZENITH,
    )


@pytest.fixture(scope="module")
def mixed_build(mixed_env: dict[str, str], call_apollo: RunApollo) -> dict[str, Any]:
    ended = call_apollo(["build", "--json", *MANY], mixed_env)
    assert ended.returncode == 0, ended.stderr
    summary: dict[str, Any] = json.loads(ended.stdout)
    return summary


def test_each_tenant_builds_on_its_own_target_and_warehouse(
    mixed_env: dict[str, str],
    mixed_build: dict[str, Any],
    fakesnow_server: Snowflake,
    rsa_key: str,
) -> None:
    assert {name: it["target"] for name, it in mixed_build.items()} == {
        "acme": "dev",
        "zenith": "local",
    }
    logins = [it for it in fakesnow_server.logins_to("ACME_DB") if it.application == "dbt"]
    assert {it.data["LOGIN_NAME"] for it in logins} == {"svc_ACME_DB"}
    assert {it.query_tag["tenant"] for it in logins} == {"acme"}
    assert {it.query_tag["dagster_run_id"] for it in logins} == {mixed_build["acme"]["run_id"]}
    with fakesnow_server.connect(rsa_key, "ACME_DB") as cursor:
        cursor.execute("select customer, total from marts.customers")
        assert cursor.fetchall() == [("anna", 11)]
    assert customers(mixed_env, "zenith") == [("zack", 33), ("zoe", 22)]
    assert not (Path(mixed_env["DAGSTER_HOME"]) / "tenants" / "acme" / "acme.duckdb").exists()


def test_python_in_a_project_sees_nothing_of_another_tenant_or_of_the_platform(
    mixed_env: dict[str, str], mixed_build: dict[str, Any], rsa_key: str
) -> None:
    runs = Path(mixed_env["DAGSTER_HOME"]) / "tenants" / "zenith" / "runs"
    seen = json.loads((runs / mixed_build["zenith"]["run_id"] / "seen.json").read_text())
    assert seen["DBT_ENV_REGION"] == "region-of-zenith"  # its own, so that it did look
    assert seen["DBT_ENV_SECRET_TOKEN"] == "token-of-zenith"
    assert not [name for name in seen if name.startswith(("SNOWFLAKE_", "ACME", "ZENITH__"))]
    assert not [name for name in seen if name.startswith(("DAGSTER_", "AWS_", "APOLLO_"))]
    values = "\n".join(seen.values())
    assert not [value for value in NOT_FOR_ZENITH.values() if value in values]
    assert not [line for line in rsa_key.splitlines()[1:-1] if line in values]


def test_jinja_in_a_project_sees_nothing_of_another_tenant_or_of_the_platform(
    mixed_env: dict[str, str], copy_tenants: CopyTenants, call_apollo: RunApollo
) -> None:
    uri = "postgresql://user:password-zq@localhost:1/dagster"  # `prepare` opens no instance
    names = [
        *("DAGSTER_PG_URI", "DAGSTER_HOME", "APOLLO_TENANTS_DIR", *NOT_FOR_ZENITH, *FOR_ZENITH),
        *(name for name in mixed_env if "SNOWFLAKE_" in name),
        *(name.removeprefix("ACME__") for name in mixed_env if "SNOWFLAKE_" in name),
    ]
    tenants_dir = two_tenants(copy_tenants)
    (tenants_dir / "dbt_zenith" / "models" / "nosy.sql").write_text(
        "{%- set seen = [] -%}\n"
        f"{{%- for name in {['DBT_ENV_REGION', *names]} -%}}\n"
        "  {%- do seen.append(name ~ '=' ~ env_var(name, 'nothing')) -%}\n"
        "{%- endfor -%}\n"
        "{{ exceptions.raise_compiler_error('seen: ' ~ seen | join(', ')) }}\n"
    )
    env = {**mixed_env, "APOLLO_TENANTS_DIR": str(tenants_dir), "DAGSTER_PG_URI": uri}
    refused = call_apollo(["prepare", "zenith"], env)
    assert refused.returncode == 2
    found = re.search(r"seen: (.*)", refused.stderr)
    assert found, refused.stderr
    seen = dict(item.split("=", 1) for item in found[1].split(", "))
    assert seen.pop("DBT_ENV_REGION") == "region-of-zenith"
    assert seen == dict.fromkeys(names, "nothing")


# --- both on Snowflake -----------------------------------------------------------------------


@pytest.fixture
def snowflake_env(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, fakesnow_server: Snowflake
) -> dict[str, str]:
    """Both on target dev, each with a user, a key and a database of its own."""
    return apollo_env(
        two_tenants(copy_tenants),
        DBT_TARGET="dev",
        **fakesnow_server.variables(make_pem(), "ACME_SF", prefix="ACME__"),
        **fakesnow_server.variables(make_pem(), "ZENITH_SF", prefix="ZENITH__"),
    )


def connections(ended: "subprocess.CompletedProcess[str]") -> dict[str, tuple[str, str]]:
    return {
        check["tenant"]: (check["status"], check["finding"])
        for check in json.loads(ended.stdout)
        if check["name"] == "connection"
    }


def test_each_tenant_logs_in_with_its_own_key(
    snowflake_env: dict[str, str], call_apollo: RunApollo
) -> None:
    ended = call_apollo(["doctor", "--connect", "--json"], snowflake_env)
    assert connections(ended) == {
        name: ("ok", f"logged in: role {db}_ROLE, warehouse {db}_WH, database {db}")
        for name, db in (("acme", "ACME_SF"), ("zenith", "ZENITH_SF"))
    }


def test_a_tenant_with_anothers_key_is_refused(
    snowflake_env: dict[str, str], call_apollo: RunApollo
) -> None:
    key = snowflake_env["ACME__SNOWFLAKE_PRIVATE_KEY_PEM"]
    env = {**snowflake_env, "ZENITH__SNOWFLAKE_PRIVATE_KEY_PEM": key}
    ended = call_apollo(["doctor", "--connect", "--json"], env)
    found = connections(ended)
    assert ended.returncode == 2
    assert (found["acme"][0], found["zenith"][0]) == ("ok", "error")


@pytest.mark.parametrize("name", ["PRIVATE_KEY_PEM", "ACCOUNT", "ROLE"])
def test_a_tenant_does_not_fall_back_to_anothers_variables(
    name: str, snowflake_env: dict[str, str], call_apollo: RunApollo
) -> None:
    env = {k: v for k, v in snowflake_env.items() if k != f"ZENITH__SNOWFLAKE_{name}"}
    refused = call_apollo(["build", "zenith"], env)
    assert refused.returncode == 2
    assert f"ZENITH__SNOWFLAKE_{name}: is not set" in refused.stderr
    assert "ACME__" not in refused.stderr


@pytest.mark.parametrize("command", [["build"], ["build", "acme"], ["prepare"], ["doctor"]])
def test_plain_credentials_beside_two_tenants_are_refused_with_the_names_to_set(
    command: list[str], snowflake_env: dict[str, str], call_apollo: RunApollo
) -> None:
    env = {**snowflake_env, "SNOWFLAKE_ROLE": "EVERYBODY"}
    refused = call_apollo(command, env)
    shown = refused.stdout + refused.stderr
    assert refused.returncode == 2
    assert "SNOWFLAKE_ROLE" in shown
    assert "is set for several tenants at once" in shown
    assert "ACME__SNOWFLAKE_ROLE, ZENITH__SNOWFLAKE_ROLE" in shown
    assert "EVERYBODY" not in shown


def test_plain_credentials_serve_the_one_tenant_that_is_chosen(
    snowflake_env: dict[str, str], call_apollo: RunApollo
) -> None:
    plain = {k.removeprefix("ZENITH__"): v for k, v in snowflake_env.items() if "ACME__" not in k}
    ended = call_apollo(["doctor", "--connect", "--json"], {**plain, "APOLLO_TENANTS": "zenith"})
    assert ended.returncode == 0, ended.stdout
    assert list(connections(ended)) == ["zenith"]
    assert "database ZENITH_SF" in connections(ended)["zenith"][1]
