"""Tenants whose files cannot be used fail by themselves, and the others work."""

import json
from pathlib import Path

import pytest
from dagster import AssetKey

from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.runtime import start
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeEnvironment,
    RunApollo,
    environment,
)

pytestmark = pytest.mark.integration

FAULTS = {
    "broken": "apollo.yml is not valid: cron: ",
    "hollow": "dbt_hollow holds no dbt project",
    "torn": "dbt_project.yml is not valid YAML",
}


@pytest.fixture(scope="module")
def env(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> dict[str, str]:
    """A sound tenant beside three that are not."""
    tenants_dir = copy_tenants(dbt_sound=SMALL, dbt_broken=SMALL)
    (tenants_dir / "dbt_broken" / "apollo.yml").write_text("cron: never\n")
    (tenants_dir / "dbt_hollow").mkdir()
    (tenants_dir / "dbt_torn").mkdir()
    (tenants_dir / "dbt_torn" / "dbt_project.yml").write_text("name: [torn\n")
    return apollo_env(tenants_dir)


@pytest.fixture(scope="module")
def prepared(env: dict[str, str], call_apollo: RunApollo) -> str:
    """What `apollo prepare` said."""
    ended = call_apollo(["prepare"], env)
    assert ended.returncode == 2
    return ended.stderr


def test_preparing_names_each_fault_and_prepares_the_others(prepared: str) -> None:
    assert all(fault in prepared for fault in FAULTS.values())
    assert "sound: prepared in" in prepared
    assert "Traceback" not in prepared


def test_each_shows_in_the_ui_as_failed_and_the_others_load(
    env: dict[str, str], prepared: str
) -> None:
    with environment(env):
        repository = build_definitions(start()).get_repository_def()
    graph = repository.asset_graph
    assert AssetKey(["sound", "marts", "orders"]) in graph.get_all_asset_keys()
    for name, fault in FAULTS.items():
        keys = {key for key in graph.get_all_asset_keys() if key.path[0] == name}
        assert keys == {AssetKey([name, "failed_to_load"])}
        assert fault in (graph.get(*keys).description or "")
        assert f"{name}_build" in repository.job_names


def test_the_doctor_and_the_list_say_so(
    env: dict[str, str], prepared: str, call_apollo: RunApollo
) -> None:
    doctor = call_apollo(["doctor", "--json"], env)
    assert doctor.returncode == 2
    errors = [it for it in json.loads(doctor.stdout) if it["status"] == "error"]
    assert {it["tenant"] for it in errors if it["name"] == "files"} == FAULTS.keys()
    assert call_apollo(["doctor", "sound", "--json"], env).returncode == 0
    rows = json.loads(call_apollo(["tenant", "list", "--json"], env).stdout)
    states = {row["name"]: row["prepared"] for row in rows}
    assert states == {"sound": "fresh", **dict.fromkeys(FAULTS, "failed")}


@pytest.mark.parametrize(
    "arguments", [["build"], ["prepare"], ["dbt"], ["tenant", "check"]], ids=" ".join
)
@pytest.mark.parametrize("name", FAULTS)
def test_a_command_that_names_one_ends_with_its_fault(
    env: dict[str, str], call_apollo: RunApollo, arguments: list[str], name: str
) -> None:
    ended = call_apollo([*arguments, name], env)
    assert ended.returncode == 2
    said = " ".join((ended.stderr + ended.stdout).split())
    assert FAULTS[name] in said
    assert "Traceback" not in said
    assert not Path(env["DAGSTER_HOME"], "tenants", name, "runs").exists()
