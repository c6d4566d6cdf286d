"""What Dagster is told of a tenant: assets, checks, jobs, the schedule."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetSpec,
    DagsterEventType,
    DagsterInstance,
    DefaultScheduleStatus,
    Definitions,
    LocalFileCodeReference,
)
from dagster._core.definitions.metadata.source_code import CodeReferencesMetadataSet

from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.dbt.prepare import prepare_each, require_prepared
from dagster_apollo.paths import CHECKOUT
from dagster_apollo.runtime import start
from tests.integration.conftest import SMALL, CopyTenants, MakeEnvironment, run_python

pytestmark = pytest.mark.integration

CONFIG = """
cron: "30 5 * * 1-5"
timezone: Europe/London
owners: ["team:data"]
alert_route: sales-desk
"""


@pytest.fixture(scope="module")
def env(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> dict[str, str]:
    tenants_dir = copy_tenants(dbt_small=SMALL)
    (tenants_dir / "dbt_small" / "apollo.yml").write_text(CONFIG)
    sources = tenants_dir / "dbt_small" / "models" / "sources.yml"
    sources.write_text(
        json.dumps(
            {
                "sources": [
                    {
                        "name": "shop",
                        "schema": "raw",
                        "config": {
                            "meta": {"external_location": "seeds/raw_orders.csv"},
                            "freshness": {"warn_after": {"count": 1, "period": "hour"}},
                            "loaded_at_field": "cast(ordered_at as timestamp)",
                        },
                        "tables": [{"name": "visits", "description": "One row a visit."}],
                    }
                ]
            }
        )
    )
    (tenants_dir / "dbt_small" / "models" / "visits.sql").write_text(
        "select * from {{ source('shop', 'visits') }}"
    )
    return apollo_env(tenants_dir)


@pytest.fixture(scope="module")
def environment(env: dict[str, str]) -> Iterator[None]:
    """This process's own variables, as far as loading definitions in it sets them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_PROFILES_DIR", "")
        patch.setenv("DAGSTER_HOME", env["DAGSTER_HOME"])
        yield


@pytest.fixture(scope="module")
def definitions(env: dict[str, str], environment: None) -> Definitions:
    return build_definitions(start(environ=env))


@pytest.fixture(scope="module")
def production(env: dict[str, str], environment: None, rsa_key: str) -> Definitions:
    snowflake = {
        f"SNOWFLAKE_{name}": "placeholder"
        for name in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")
    }
    variables = {
        **env,
        **snowflake,
        "DBT_TARGET": "prod",
        "SNOWFLAKE_PRIVATE_KEY_PEM": rsa_key,
    }
    runtime = start(environ=variables)
    require_prepared(prepare_each(runtime.settings.tenants, runtime.profiles_dir, variables))
    return build_definitions(runtime)


@pytest.fixture(scope="module")
def specs(definitions: Definitions) -> Mapping[AssetKey, AssetSpec]:
    return {spec.key: spec for spec in definitions.resolve_all_asset_specs()}


ORDERS = AssetKey(["small", "marts", "orders"])
CUSTOMERS = AssetKey(["small", "marts", "customers"])
VISITS = AssetKey(["small", "shop", "visits"])


def test_keys_begin_with_the_tenant_and_sources_are_upstream(
    specs: Mapping[AssetKey, AssetSpec],
) -> None:
    assert {key.path[0] for key in specs} == {"small"}
    assert {dep.asset_key for dep in specs[AssetKey(["small", "marts", "visits"])].deps} == {VISITS}
    assert {dep.asset_key for dep in specs[CUSTOMERS].deps} == {ORDERS}


def test_groups_owners_tags_and_kinds_come_from_the_manifest(
    specs: Mapping[AssetKey, AssetSpec],
) -> None:
    orders = specs[ORDERS]
    assert orders.group_name == "sales"
    assert list(orders.owners) == ["sales@small.example"]
    assert "daily" in orders.tags
    assert orders.kinds == {"dbt", "duckdb", "view"}
    assert specs[AssetKey(["small", "reference", "raw_orders"])].kinds == {"dbt", "duckdb", "seed"}
    # a node whose group names no owner is the tenant's
    assert list(specs[CUSTOMERS].owners) == ["team:data"]


def test_descriptions_columns_and_code_come_from_the_manifest(
    specs: Mapping[AssetKey, AssetSpec], env: dict[str, str]
) -> None:
    orders = specs[ORDERS]
    assert "One row an order." in (orders.description or "")
    columns = {column.name: column for column in orders.metadata["dagster/column_schema"].columns}
    assert columns["order_id"].description == "Key of the order."
    assert columns["order_id"].type == "integer"
    references = CodeReferencesMetadataSet.extract(orders.metadata).code_references
    assert references is not None
    (reference,) = references.code_references
    assert isinstance(reference, LocalFileCodeReference)
    assert Path(reference.file_path) == Path(
        env["APOLLO_TENANTS_DIR"], "dbt_small", "models", "orders.sql"
    )


def test_the_code_version_is_the_nodes_checksum(
    specs: Mapping[AssetKey, AssetSpec], env: dict[str, str]
) -> None:
    manifest = json.loads(
        Path(env["DAGSTER_HOME"], "tenants/small/prepared/local/manifest.json").read_text()
    )
    checksum = manifest["nodes"]["model.small.orders"]["checksum"]["checksum"]
    assert specs[ORDERS].code_version == checksum


def test_tests_are_checks_that_block_where_they_are_errors(definitions: Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    blocking = {
        key: graph.get(key).blocking for key in graph.asset_check_keys if key.asset_key == CUSTOMERS
    }
    assert blocking == {
        AssetCheckKey(CUSTOMERS, "unique_customers_customer"): True,
        AssetCheckKey(CUSTOMERS, "not_null_customers_customer"): False,
        AssetCheckKey(CUSTOMERS, "totals_match"): True,
    }


def test_each_tenant_has_its_jobs_and_no_schedule_outside_production(
    definitions: Definitions,
) -> None:
    repository = definitions.get_repository_def()
    names = {name for name in repository.job_names if not name.startswith("__")}
    assert names == {"small_build", "small_seed", "small_snapshot", "small_source_freshness"}
    assert repository.schedule_defs == []
    for name in ("small_build", "small_seed"):
        assert repository.get_job(name).tags["apollo/alert_route"] == "sales-desk"


def test_jobs_hold_what_their_names_say(definitions: Definitions) -> None:
    def keys(name: str) -> set[AssetKey]:
        return set(definitions.resolve_job_def(name).asset_layer.selected_asset_keys)

    assert keys("small_seed") == {AssetKey(["small", "reference", "raw_orders"])}
    assert keys("small_snapshot") == {AssetKey(["small", "snapshots", "orders_history"])}
    assert len(keys("small_build")) == 5


def test_production_has_the_schedule_as_apollo_yml_says(production: Definitions) -> None:
    (schedule,) = production.get_repository_def().schedule_defs
    assert schedule.job_name == "small_build"
    assert schedule.cron_schedule == "30 5 * * 1-5"
    assert schedule.execution_timezone == "Europe/London"
    assert schedule.default_status is DefaultScheduleStatus.RUNNING
    assert len(production.resolve_job_def("small_build").asset_layer.selected_asset_keys) == 5


def test_no_secret_is_in_what_dagster_stores_of_a_job(
    production: Definitions, rsa_key: str
) -> None:
    snapshot = str(production.resolve_job_def("small_build").get_job_snapshot())
    body = "".join(rsa_key.splitlines()[1:-1])
    assert "small_dbt_build" in snapshot
    assert not [body[i : i + 24] for i in range(0, len(body), 24) if body[i : i + 24] in snapshot]


def test_run_config_reaches_dbt(definitions: Definitions, env: dict[str, str]) -> None:
    job = definitions.resolve_job_def("small_build")
    config = {"full_refresh": True, "vars": {"colour": "blue"}, "select": "raw_orders"}
    with DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            run_config={"ops": {"small_dbt_build": {"config": config}}}, instance=instance
        )
    folder = Path(env["DAGSTER_HOME"], "tenants/small/runs", result.run_id)
    run_results = json.loads((folder / "run_results.json").read_text())
    assert run_results["args"]["full_refresh"] is True
    assert run_results["args"]["vars"] == {"colour": "blue"}
    assert [it["unique_id"] for it in run_results["results"]] == ["seed.small.raw_orders"]


def test_a_selection_in_the_run_config_narrows_the_chosen_assets(
    definitions: Definitions, env: dict[str, str]
) -> None:
    job = definitions.resolve_job_def("small_build")
    seed = AssetKey(["small", "reference", "raw_orders"])
    with DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            run_config={"ops": {"small_dbt_build": {"config": {"select": "+orders"}}}},
            asset_selection=[seed, CUSTOMERS],
            instance=instance,
        )
    folder = Path(env["DAGSTER_HOME"], "tenants/small/runs", result.run_id)
    results = json.loads((folder / "run_results.json").read_text())["results"]
    assert [it["unique_id"] for it in results] == ["seed.small.raw_orders"]


def test_some_assets_build_where_the_others_were_never_built(
    definitions: Definitions, env: dict[str, str]
) -> None:
    Path(env["DAGSTER_HOME"], "tenants/small/small.duckdb").unlink(missing_ok=True)
    chosen = [AssetKey(["small", "reference", "raw_orders"]), ORDERS]
    with DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("small_build")
        result = job.execute_in_process(asset_selection=chosen, instance=instance)
        checks = {it.check_name for it in result.get_asset_check_evaluations()}
    assert result.success
    # not totals_match, which is of customers, too
    assert checks == {"unique_orders_order_id", "not_null_orders_order_id"}


def test_one_check_can_be_run_alone(definitions: Definitions, env: dict[str, str]) -> None:
    job = definitions.resolve_job_def("small_build").get_subset(
        asset_check_selection={AssetCheckKey(CUSTOMERS, "unique_customers_customer")}
    )
    with DagsterInstance.ephemeral() as instance:
        definitions.resolve_job_def("small_build").execute_in_process(instance=instance)
        result = job.execute_in_process(instance=instance)
        evaluations = result.get_asset_check_evaluations()
    assert [it.check_name for it in evaluations] == ["unique_customers_customer"]
    folder = Path(env["DAGSTER_HOME"], "tenants/small/runs", result.run_id)
    results = json.loads((folder / "run_results.json").read_text())["results"]
    assert len(results) == 1


def test_source_freshness_is_recorded_on_the_source(definitions: Definitions) -> None:
    job = definitions.resolve_job_def("small_source_freshness")
    with DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        observations = [
            event.asset_observation_data.asset_observation
            for event in result.all_events
            if event.event_type is DagsterEventType.ASSET_OBSERVATION
        ]
    (observation,) = observations
    assert observation.asset_key == VISITS
    assert observation.metadata["dbt/status"].value == "warn"
    assert observation.metadata["dbt/age_seconds"].value > 3600


@pytest.mark.parametrize(
    "command",
    [
        ["dagster", "definitions", "validate"],
        ["dagster_dg_cli.cli", "check", "defs"],
        ["dagster_dg_cli.cli", "list", "defs", "--json"],
    ],
)
def test_dagsters_own_commands_find_the_code_location_without_flags(
    env: dict[str, str], definitions: Definitions, command: list[str]
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=CHECKOUT,
        env={**env, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    if "list" in command:
        assert json.loads(result.stdout)
        assert '"small/marts/customers"' in result.stdout


def test_loading_again_runs_no_dbt(env: dict[str, str], definitions: Definitions) -> None:
    prepared = Path(env["DAGSTER_HOME"], "tenants/small/prepared/local")
    before = {path: path.stat().st_mtime_ns for path in prepared.glob("[!.]*")}
    build_definitions(start(environ=env))
    assert {path: path.stat().st_mtime_ns for path in prepared.glob("[!.]*")} == before


def test_loading_imports_neither_dbt_nor_what_only_column_lineage_and_dbt_cloud_need(
    env: dict[str, str], definitions: Definitions
) -> None:
    """They would cost every process more than a second and 100 MB."""
    code = (
        "import gc, sys; from dagster_apollo.definitions import defs; defs.get_repository_def()\n"
        "unwanted = ('dbt', 'sqlglot', 'requests', 'dagster._grpc.client', 'dagster_dbt.cloud')\n"
        "print(*(name for name in unwanted if name in sys.modules))\n"
        "assert gc.isenabled()"
    )
    result = run_python(code, env)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_what_dagster_dbt_has_beside_is_there_for_those_who_ask(env: dict[str, str]) -> None:
    code = (
        "import dagster_apollo.dbt.stock\n"
        "from dagster_dbt import DbtCloudResource, DbtProjectComponent\n"
        "from dagster_dbt.core import dbt_cli_event as event\n"
        "assert isinstance(DbtCloudResource, type) and isinstance(DbtProjectComponent, type)\n"
        "query = event.optimize(event.parse_one('select 1 as a', dialect='duckdb'))\n"
        "print(query.named_selects, event.to_table('t').find(event.exp.Table).name)\n"
    )
    result = run_python(code, env)
    assert result.stdout.strip() == "['a'] t", result.stderr
