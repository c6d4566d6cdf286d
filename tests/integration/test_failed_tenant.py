"""A tenant that cannot be prepared or loaded fails by itself, wherever a person looks."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dagster import (
    AssetKey,
    AssetSpec,
    DagsterInstance,
    Definitions,
    RunsFilter,
    build_schedule_context,
    multi_asset,
)

from dagster_apollo.dbt import code_location
from dagster_apollo.dbt.assets import TenantProject
from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.dbt.failed_tenant import failed_tenant
from dagster_apollo.errors import PrepareError
from dagster_apollo.runtime import start
from dagster_apollo.settings import load
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeEnvironment,
    RunApollo,
    environment,
)

pytestmark = pytest.mark.integration

FAULT = "select * from {{ ref('there_is_no_such_model') }}"
FAILED = AssetKey(["broken", "failed_to_load"])


@pytest.fixture(scope="module")
def env(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> dict[str, str]:
    """A sound tenant, and one that refers to a model that there is not."""
    tenants_dir = copy_tenants(dbt_sound=SMALL, dbt_broken=SMALL)
    (tenants_dir / "dbt_broken" / "models" / "fault.sql").write_text(FAULT)
    return apollo_env(tenants_dir)


@pytest.fixture(scope="module")
def prepared(env: dict[str, str], call_apollo: RunApollo) -> str:
    """What `apollo prepare` said."""
    ended = call_apollo(["prepare"], env)
    assert ended.returncode == 2
    return ended.stderr


@pytest.fixture(scope="module")
def definitions(env: dict[str, str], prepared: str) -> Iterator[Definitions]:
    with environment(env):
        yield build_definitions(start())


def test_preparing_says_what_dbt_says_and_prepares_the_others(
    env: dict[str, str], prepared: str
) -> None:
    assert "dbt parse failed for tenant broken" in prepared
    assert "there_is_no_such_model" in prepared
    assert "sound: prepared in" in prepared
    assert "Traceback" not in prepared


def test_the_other_tenant_loads_and_the_failed_one_shows_as_failed(
    definitions: Definitions,
) -> None:
    repository = definitions.get_repository_def()
    keys = repository.asset_graph.get_all_asset_keys()
    assert {key for key in keys if key.path[0] == "broken"} == {FAILED}
    assert AssetKey(["sound", "marts", "orders"]) in keys
    description = repository.asset_graph.get(FAILED).description
    assert description
    assert "there_is_no_such_model" in description
    assert {"broken_build", "broken_seed", "sound_build"} <= set(repository.job_names)
    assert repository.schedule_defs == []  # not production


def test_its_build_fails_with_the_reason(definitions: Definitions) -> None:
    with DagsterInstance.ephemeral() as instance:
        job = definitions.get_repository_def().get_job("broken_build")
        ended = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not ended.success
        [failure] = [event for event in ended.all_events if event.is_step_failure]
        error = failure.step_failure_data.error
        assert error
        assert "there_is_no_such_model" in str(failure.step_failure_data.user_failure_data)
        tagged = RunsFilter(tags={"apollo/tenant": "broken", "apollo/target": "local"})
        assert instance.get_runs_count(tagged) == 1


def test_in_production_it_keeps_its_schedule(env: dict[str, str]) -> None:
    with environment(env):
        settings = load().of(["broken"])[0]
    in_production = failed_tenant(
        type(settings)(**{**vars(settings), "target": "prod"}), "the reason"
    )
    repository = in_production.get_repository_def()
    [schedule] = repository.schedule_defs
    assert schedule.name == "broken_build_schedule"
    assert schedule.job_name == "broken_build"
    requests = schedule.evaluate_tick(build_schedule_context()).run_requests
    assert [request.tags["apollo/tenant"] for request in requests or ()] == ["broken"]


@pytest.mark.parametrize("name", ["my tenant", "café", "日本"])
def test_a_name_that_dagster_does_not_take_can_fail_too(name: str, env: dict[str, str]) -> None:
    with environment(env):
        settings = load().of(["sound"])[0]
    named = replace(settings, tenant=replace(settings.tenant, name=name))
    [key] = failed_tenant(named, "the reason").get_repository_def().asset_graph.get_all_asset_keys()
    assert key.path == [named.tenant.key_prefix, "failed_to_load"]


def test_doctor_says_what_dbt_said(
    env: dict[str, str], prepared: str, call_apollo: RunApollo
) -> None:
    ended = call_apollo(["doctor", "--json"], env)
    assert ended.returncode == 2
    checks = [it for it in json.loads(ended.stdout) if it["name"] == "manifest"]
    assert {it["tenant"]: it["status"] for it in checks} == {"broken": "error", "sound": "ok"}
    [finding] = [it["finding"] for it in checks if it["tenant"] == "broken"]
    assert "there_is_no_such_model" in finding


def test_a_sound_tenant_is_built_beside_a_broken_one(
    env: dict[str, str], prepared: str, call_apollo: RunApollo
) -> None:
    assert call_apollo(["build", "sound", "--select", "raw_orders"], env).returncode == 0
    refused = call_apollo(["build", "broken"], env)
    assert refused.returncode == 2
    assert "there_is_no_such_model" in refused.stderr


def test_definitions_that_dagster_refuses_fail_their_tenant_alone(
    env: dict[str, str], definitions: Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two assets of one key are seen only when all definitions are put together."""
    stock = code_location._tenant_definitions

    def with_a_double(project: TenantProject) -> Definitions:
        made = stock(project)
        if project.settings.tenant.name == "sound":
            return made
        double = AssetSpec(["broken", "marts", "orders"])
        return Definitions.merge(made, Definitions(assets=[double, double]))

    monkeypatch.setattr(code_location, "_tenant_definitions", with_a_double)
    fault = Path(env["APOLLO_TENANTS_DIR"], "dbt_broken", "models", "fault.sql")
    fault.unlink()
    try:
        with environment(env):
            repository = build_definitions(start()).get_repository_def()
    finally:
        fault.write_text(FAULT)
    keys = repository.asset_graph.get_all_asset_keys()
    assert {key for key in keys if key.path[0] == "broken"} == {FAILED}
    assert AssetKey(["sound", "marts", "orders"]) in keys
    description = repository.asset_graph.get(FAILED).description or ""
    assert "DagsterInvalidDefinitionError" in description
    assert "marts" not in description  # nor anything else that such an error quotes


def test_of_tenants_that_dagster_takes_alone_but_not_together_the_first_is_taken(
    env: dict[str, str], prepared: str
) -> None:
    with environment(env):
        sound = load().of(["sound"])[0]
    settings = [replace(sound, tenant=replace(sound.tenant, name=name)) for name in ("a", "b", "c")]

    def made(name: str, key: str) -> Definitions:
        @multi_asset(name=name, specs=[AssetSpec(["orders", key])])
        def _op() -> None: ...

        return Definitions(assets=[_op])

    definitions = [made(f"op_{name}", key) for name, key in (("a", "x"), ("b", "x"), ("c", "y"))]
    taken, refused = code_location._told_apart(list(zip(settings, definitions, strict=True)))
    assert [it.tenant.name for it, _ in taken] == ["a", "c"]
    assert [it.tenant.name for it, _ in refused] == ["b"]


def test_where_no_tenant_loads_there_is_nothing_to_serve(
    env: dict[str, str], prepared: str, tmp_path: Path
) -> None:
    only = tmp_path / "tenants"
    shutil.copytree(Path(env["APOLLO_TENANTS_DIR"], "dbt_broken"), only / "dbt_broken")
    with (
        environment({**env, "APOLLO_TENANTS_DIR": str(only)}),
        pytest.raises(PrepareError, match="there_is_no_such_model"),
    ):
        build_definitions(start())
